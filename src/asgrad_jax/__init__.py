"""Asynchronous SGD experiments as one compiled sweep."""
