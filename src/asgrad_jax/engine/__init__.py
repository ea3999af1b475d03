"""What JAX traces: one compiled program for a whole grid of runs."""
