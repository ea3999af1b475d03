"""The schedule: a whole method as arrays."""
