"""The structure of a text in nginx's language: its directives, with the blocks that they stand in.

Only as much as it takes to say where something stands, by nginx's own rules of tokens (``ngx_conf_read_token``). What a
directive means, and whether there is such a one, is nginx's business.
"""

import re
from dataclasses import dataclass
from typing import Final

_BLANKS: Final = re.compile(r"(?:[ \t\r\n]+|#[^\n]*)*")
_QUOTED: Final = {sign: re.compile(rf"(?:[^\\{sign}]|\\.)*{sign}", re.DOTALL) for sign in "\"'"}
# A brace after a dollar sign belongs to a variable's name.
_WORD: Final = re.compile(r"(?:\\.|\$\{|[^\\ \t\r\n;{])+", re.DOTALL)
_ESCAPE: Final = re.compile(r"""\\(["'\\trn])""")
_ESCAPED: Final = {"t": "\t", "r": "\r", "n": "\n"}

DEPTH_LIMIT: Final = 100
"""Blocks within one another: nginx has no use for ten, and each directive that is found names all around it."""


class StructureError(ValueError):
    """The text is no sequence of directives. ``line`` is where, counted from 1."""

    def __init__(self, message: str, line: int) -> None:
        super().__init__(message)
        self.line = line


@dataclass(frozen=True, slots=True)
class Directive:
    """A directive: its words, the names of the blocks around it from the outside in, and its place in the text.

    ``end`` is behind its semicolon, or behind the brace that opens its block.
    """

    words: tuple[str, ...]
    blocks: tuple[str, ...]
    start: int
    end: int

    @property
    def name(self) -> str:
        """What the directive is."""
        return self.words[0]


def directives(text: str) -> tuple[Directive, ...]:
    """All directives in their order. Raises StructureError."""
    found: list[Directive] = []
    blocks: list[str] = []
    words: list[str] = []
    start = 0
    position = _skip(text, 0)
    while position < len(text):
        sign = text[position]
        if sign not in ";{}":
            start = position if not words else start
            word, position = _word(text, position)
            words.append(word)
        elif bool(words) == (sign == "}") or (sign == "}" and not blocks):
            raise StructureError(f'unexpected "{sign}"', _line(text, position))
        else:
            if sign == "{" and len(blocks) == DEPTH_LIMIT:
                raise StructureError(f"blocks are nested more than {DEPTH_LIMIT} deep", _line(text, position))
            position += 1
            if sign == "}":
                blocks.pop()
            else:
                found.append(Directive(tuple(words), tuple(blocks), start, position))
                blocks += words[:1] if sign == "{" else []
                words = []
        position = _skip(text, position)
    if words:
        raise StructureError(f'the directive "{words[0][:80]}" has no end: a ";" is missing', _line(text, start))
    if blocks:
        raise StructureError(f'the block "{blocks[-1][:80]}" is not closed: a "}}" is missing', _line(text, len(text)))
    return tuple(found)


def _skip(text: str, position: int) -> int:
    """Behind blanks and comments. A number sign begins a comment only where a word could begin."""
    match = _BLANKS.match(text, position)
    return match.end() if match else position


def _word(text: str, position: int) -> tuple[str, int]:
    """The word that begins here, without its quotes and escapes, and where it ends."""
    sign = text[position]
    if sign in _QUOTED:
        match = _QUOTED[sign].match(text, position + 1)
        if match is None:
            raise StructureError(f"a {sign} is not closed", _line(text, position))
        end = match.end()
        # nginx wants a blank, or the directive's end, behind a closing quote.
        if end < len(text) and text[end] not in " \t\r\n;{)":
            raise StructureError(f'unexpected "{text[end]}" behind a closing {sign}', _line(text, end))
        return _unescaped(match.group()[:-1]), end
    match = _WORD.match(text, position)
    if match is None:
        raise StructureError("a backslash stands at the end", _line(text, position))
    return _unescaped(match.group()), match.end()


def _unescaped(word: str) -> str:
    return _ESCAPE.sub(lambda match: _ESCAPED.get(match[1], match[1]), word)


def _line(text: str, position: int) -> int:
    return text.count("\n", 0, position) + 1
