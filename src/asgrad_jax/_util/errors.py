"""Errors that have a class of their own."""


class CallsFailed(RuntimeError):
    """Calls of a sweep failed on a cluster; a report of several lines says which."""
