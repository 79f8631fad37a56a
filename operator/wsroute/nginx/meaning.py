"""Whether two files say the same to nginx: comments, blanks, and ways to write a word aside. Pure.

Such files need no reload. A version names its file's bytes, comments included, and a new release, or an edit of a
custom main template, may change nothing but those.
"""

from collections.abc import Iterator
from itertools import zip_longest

from wsroute.nginx.structure import StructureError, directives


def same_meaning(one: str, other: str, *, versions: tuple[str, str]) -> bool:
    """Whether nginx does the same with either. ``versions`` are the names of the two, which stand in them."""
    if any(was != now for was, now in zip_longest(_lines(one, versions[0]), _lines(other, versions[1]))):
        return False
    try:
        return _directives(one, versions[0]) == _directives(other, versions[1])
    except StructureError:
        return False


def _lines(text: str, version: str) -> Iterator[str]:
    """The lines without what looks like a comment: where these differ already, nothing need be read further."""
    for line in text.split("\n"):
        plain = line.strip()
        if plain and not plain.startswith("#"):
            yield " ".join(plain.partition(" # ")[0].split()).replace(version, "")


def _directives(text: str, version: str) -> list[tuple[tuple[str, ...], tuple[str, ...], bool]]:
    """The directives in their order: their words, the blocks around them, and whether they open one."""
    return [
        (tuple(word.replace(version, "") for word in found.words), found.blocks, text[found.end - 1] == "{")
        for found in directives(text)
    ]
