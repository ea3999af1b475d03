"""Event loops: from an algorithm and compute times to a schedule."""
