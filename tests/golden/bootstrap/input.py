"""Before the first version there is nothing to serve."""

CONFIGURATION = None
