"""In which words a rendered file says what a route says, for tests that look for a value in it."""

import re
from typing import Final

_WHOLE_ELEMENTS: Final = r"(/|\z)"
_ALONE: Final = r"/\z"
_REST: Final = "$wsroute_rest"


def is_written(value: str, word: str) -> bool:
    """Whether an argument is the value: as it is, as the expression of a location, or as a path's new beginning."""
    return word == value or takes_path(word, value) or word.removesuffix(_REST).rstrip("/") == value.rstrip("/")


def takes_path(expression: str, path: str) -> bool:
    """Whether the expression of a location takes a path and what is below it (or, with a slash at its end, the path
    alone), and nothing that only looks like it."""
    below = expression.endswith(_WHOLE_ELEMENTS)
    if not expression.startswith("^/") or not (below or expression.endswith(_ALONE)):
        return False
    # Python's re, which has another name for the end of the text, knows the same escapes.
    taken = re.compile(expression.replace(r"\z", r"\Z").encode())
    told = [taken.match(f"{path}{rest}".encode()) is not None for rest in ("", "/", "/a", "x", "\n")]
    others = [f"{path[:place]}\0{path[place + 1 :]}" for place in range(len(path))]
    return told == [True, below, below, False, False] and not any(taken.match(other.encode()) for other in others)
