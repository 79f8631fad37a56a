"""Emitters of what a route says about origins and hash keys.

nginx compares an Origin with a list that the route's locations set: words with blanks between them, of which
``http.conf.j2`` has the reading. A host is a page's, over http and https and from every port.
"""

import re
from collections.abc import Iterator, Sequence
from typing import Final, Self, final

from wsroute.api.policies import HashKey, HashSource, OriginRules
from wsroute.nginx.quoting import EmitError, Emitted, ServerName, matches

_HEADER_REQUIRED: Final = ":header"
_NULL: Final = ":null"
"""Words for requireHeader and for the origin ``null``; the colon tells them from hosts, as of ``https://null``."""

_LABEL: Final = "[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?"
_ORIGIN: Final = re.compile(rf"https?://(?:\*\.)?{_LABEL}(?:\.{_LABEL})*(?::[1-9][0-9]{{0,4}})?", re.ASCII)

_CHUNK: Final = 2_000
"""Bytes of the words in one line: nginx's buffer for a token has 4,096."""

_HEADER: Final = re.compile(r"[A-Za-z0-9-]+", re.ASCII)
_NAME: Final = re.compile(r"[A-Za-z0-9_]+", re.ASCII)


@final
class OriginWords(Emitted):
    """Hosts, origins and words, with blanks between them; stands *inside* double quotes."""

    __slots__ = ()

    def __new__(cls, words: Sequence[str]) -> Self:
        for word in words:
            if word not in (_HEADER_REQUIRED, _NULL) and not matches(_ORIGIN, word):
                ServerName(word)
        return str.__new__(cls, " ".join(words))


@final
class HashVariable(Emitted):
    """nginx's variable for what is hashed."""

    __slots__ = ()

    def __new__(cls, key: HashKey) -> Self:
        if key.on is HashSource.CLIENT_IP:
            return str.__new__(cls, "$remote_addr")
        pattern = _HEADER if key.on is HashSource.HEADER else _NAME
        if not matches(pattern, key.name):
            raise EmitError(f"nginx has no variable for a hash key of this name: {ascii(key.name)[:80]}.")
        match key.on:
            case HashSource.HEADER:
                return str.__new__(cls, f"$http_{key.name.lower().replace('-', '_')}")
            case HashSource.QUERY:
                return str.__new__(cls, f"$arg_{key.name}")
            case HashSource.COOKIE:
                return str.__new__(cls, f"$cookie_{key.name}")
        raise EmitError("There is no such hash key.")


def origin_words(rules: OriginRules, host: str) -> tuple[OriginWords, ...]:
    """What a location of a server of this host adds to that host, whose pages may always open sockets; in lines."""
    if rules.policy == "Off":
        return ()
    words = [own for own in rules.own_hosts if own != host or own.startswith("*.")]
    words += [_NULL if origin == "null" else origin for origin in rules.allow]
    if rules.require_header:
        words.append(_HEADER_REQUIRED)
    return tuple(OriginWords(chunk) for chunk in _chunks(words))


def _chunks(words: Sequence[str]) -> Iterator[list[str]]:
    chunk: list[str] = []
    size = 0
    for word in words:
        length = len(OriginWords([word]))
        if chunk and size + length > _CHUNK:
            yield chunk
            chunk, size = [], 0
        chunk.append(word)
        size += length + 1
    if chunk:
        yield chunk
