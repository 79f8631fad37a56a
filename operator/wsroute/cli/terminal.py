"""What people read in a terminal, of which much was written by others."""

import sys


def printable(text: str) -> str:
    """A line, without what a terminal would obey."""
    return "".join(char if char.isprintable() else " " for char in text)


def complain(what: object) -> None:
    """Print a line to standard error."""
    print(printable(str(what)), file=sys.stderr)
