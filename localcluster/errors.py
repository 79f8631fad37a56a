"""The one error that the commands show to a person."""


class ClusterError(Exception):
    """Something failed that a person can act on; the text says what, and what to do about it."""
