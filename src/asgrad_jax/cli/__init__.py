"""The command line, configs, the demo and reports."""
