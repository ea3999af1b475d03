"""Sweeps and single runs: what users call."""
