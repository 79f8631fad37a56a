"""nginx's own grammar (``ngx_conf_read_token``), for tests: crossplane leaves doubled backslashes doubled, and knows
nothing of the longest token."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

LONGEST: Final = 4_096
"""Bytes of nginx's buffer: a token or comment that fills it ends the parser."""

_TOKEN: Final = re.compile(
    r"""(?P<blank>[ \t\r\n]+)
    |(?P<comment>\#[^\n]*)
    |(?P<sign>[;{}])
    |(?P<quoted>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')(?=[ \t\r\n;{)])
    |(?P<bare>(?![\#"'}])(?:\\.|\$\{|[^ \t\r\n;{\\])+)
    """,
    re.VERBOSE | re.DOTALL,
)
_ESCAPE: Final = re.compile(r"\\([\"'\\trn])")
_TABLES: Final = frozenset({"map", "geo", "split_clients"})
_MEANING: Final = {"t": "\t", "r": "\r", "n": "\n"}


class NginxSyntaxError(ValueError):
    """What nginx would refuse to read."""


@dataclass(slots=True)
class Directive:
    """A directive: its name with its arguments, and what is in its block."""

    words: tuple[str, ...]
    children: list["Directive"] = field(default_factory=list)

    @property
    def shape(self) -> tuple[object, ...]:
        """Its name, how many arguments it has, and the same of all below it; what a table holds are no names."""
        below = tuple(child.shape for child in self.children)
        if self.words[0] in _TABLES:
            below = tuple(("", *rest) for _, *rest in below)
        return (self.words[0], len(self.words) - 1, below)

    def walk(self) -> Iterator["Directive"]:
        """It and all below it."""
        yield self
        for child in self.children:
            yield from child.walk()


def parse(text: str) -> Directive:
    """The tree of a file, below a directive without a name. Raises NginxSyntaxError."""
    root = Directive(("",))
    open_blocks = [root]
    words: list[str] = []
    position = 0
    while position < len(text):
        found = _TOKEN.match(text, position)
        if found is None:
            raise NginxSyntaxError(f"unreadable at {text[position : position + 40]!r}")
        position = found.end()
        token = found.group()
        if len(token.encode("utf-8", "surrogatepass")) >= LONGEST and found.lastgroup != "blank":
            raise NginxSyntaxError(f"too long: {token[:40]!r}")
        match found.lastgroup:
            case "quoted":
                words.append(_plain(token[1:-1]))
            case "bare":
                words.append(_plain(token))
            case "sign":
                _close(token, words, open_blocks)
                words = []
    if words or len(open_blocks) > 1:
        raise NginxSyntaxError("unexpected end of file")
    return root


def _close(sign: str, words: list[str], open_blocks: list[Directive]) -> None:
    """End a directive, or its head, or a block."""
    if bool(words) == (sign == "}") or (sign == "}" and len(open_blocks) == 1):
        raise NginxSyntaxError(f"unexpected {sign}")
    if sign == "}":
        open_blocks.pop()
        return
    directive = Directive(tuple(words))
    open_blocks[-1].children.append(directive)
    if sign == "{":
        open_blocks.append(directive)


def _plain(token: str) -> str:
    return _ESCAPE.sub(lambda found: _MEANING.get(found.group(1), found.group(1)), token)
