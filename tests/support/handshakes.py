"""What handshakes get, as tables for every data plane: by their Origin, and by what makes them none (RFC 6455)."""

from typing import Final, NamedTuple

from wsroute.api.policies import OriginRules

HOST: Final = "chat.example.com"
WILDCARD: Final = "*.rooms.example.com"


def rules(*allow: str, policy: str = "Enforce", hosts: tuple[str, ...] = (HOST,), header: bool = False) -> OriginRules:
    """The rules of a route with these hosts, sorted as the graph has them."""
    return OriginRules(policy, tuple(sorted(hosts)), tuple(sorted(allow)), header)  # type: ignore[arg-type]


class OriginCase(NamedTuple):
    """A handshake for ``host`` with this Origin (None: without the header) on a route with these rules.

    ``told`` is what the access log has as ``origin``: what the route does not allow, be that enforced or reported.
    """

    rules: OriginRules
    origin: str | None
    passes: bool
    told: str = ""
    host: str = HOST


OWN: Final = rules()
TWO: Final = rules(hosts=(HOST, "talk.example.org"))
ROOMS: Final = rules(hosts=(WILDCARD,))
LISTED: Final = rules("https://app.example.net", "http://localhost:3000", "https://*.example.net:8443")
NULL: Final = rules("null")
STRICT: Final = rules("https://app.example.net", header=True)
REPORTED: Final = rules(policy="Report", header=True)
OFF: Final = rules(policy="Off", header=True)
LONG: Final = rules(
    *(f"https://{'a' * 60}.{'b' * 60}.{'c' * 60}.{'d' * 50}.n{number}.example" for number in range(32)),
    hosts=(HOST, *(f"{'h' * 60}.{'i' * 60}.{'j' * 60}.{'k' * 50}.n{number}.example" for number in range(15))),
)
"""As long as the API allows."""


def _refused(rules: OriginRules, *origins: str, host: str = HOST) -> list[OriginCase]:
    return [OriginCase(rules, origin, passes=False, told=origin, host=host) for origin in origins]


def _passed(rules: OriginRules, *origins: str | None, host: str = HOST) -> list[OriginCase]:
    return [OriginCase(rules, origin, passes=True, host=host) for origin in origins]


ORIGIN_CASES: Final = (
    # The host's own pages: both schemes, any port, any case. Clients that are no browsers.
    *_passed(OWN, None, "", "https://chat.example.com", "http://chat.example.com", "https://chat.example.com:8443"),
    *_passed(OWN, "http://chat.example.com:80", "HTTPS://Chat.Example.COM", "https://chat.example.com:80"),
    *_passed(OWN, "https://chat.example.com", host="CHAT.example.com"),
    # Others, and what only looks like its own.
    *_refused(OWN, "https://evil.example", "https://chat.example.com.evil.example", "https://xchat.example.com"),
    *_refused(OWN, "https://example.com", "https://a.chat.example.com", "https://chat-example.com", "https://com"),
    *_refused(OWN, "https://chat.example.com@evil.example", "https://evil.example/chat.example.com", "https://*"),
    *_refused(OWN, "https://evil.example#chat.example.com", "https://evil.example?https://chat.example.com"),
    *_refused(OWN, "https://me@chat.example.com", "https://chat.example.com/", "https://chat.example.com."),
    *_refused(OWN, "chat.example.com", "//chat.example.com", "wss://chat.example.com", "ftp://chat.example.com"),
    *_refused(OWN, "file://", "null", "NULL", "*", "https://", "https://*.example.com", "header", "x", "https://chat"),
    *_refused(OWN, "https://evil.example, https://chat.example.com", "https://chat.example.com https://evil.example"),
    *_refused(OWN, "https://evil.example https://evil.example", "https://chat.example.com:", "https://[::1]"),
    *_refused(OWN, "https://chat.example.com:x", "https://chat.example.com:443:443", "https://chat.example.com\\.x"),
    *_refused(OWN, f"https://{'a' * 2_000}.example", f"https://{'a.' * 1_000}chat.example.com"),
    # Another host of the route, and one that belongs to somebody else.
    *_passed(TWO, "https://talk.example.org", "http://talk.example.org:3000", "https://chat.example.com"),
    *_passed(TWO, "https://chat.example.com", "https://talk.example.org", host="talk.example.org"),
    *_refused(TWO, "https://a.talk.example.org", "https://org", "https://talk.example.orgs"),
    # A host that is a wildcard: one label.
    *_passed(ROOMS, "https://a.rooms.example.com", "http://b.rooms.example.com:81", host="a.rooms.example.com"),
    *_refused(ROOMS, "https://rooms.example.com", "https://a.b.rooms.example.com", host="a.rooms.example.com"),
    *_refused(ROOMS, "https://.rooms.example.com", "https://chat.example.com", host="a.rooms.example.com"),
    # What is listed: scheme, host and port; a default port is no port.
    *_passed(LISTED, "https://app.example.net", "https://app.example.net:443", "http://localhost:3000", "HTTPS://APP.example.net"),
    *_passed(LISTED, "https://a.example.net:8443", "https://app.example.net:8443", "https://chat.example.com", None),
    *_refused(LISTED, "http://app.example.net", "https://app.example.net:80", "https://app.example.net:8444"),
    *_refused(LISTED, "http://localhost", "https://localhost:3000", "http://localhost:30001", "http://localhost:300"),
    *_refused(LISTED, "https://a.example.net", "https://a.b.example.net:8443", "https://example.net:8443", "null"),
    *_refused(LISTED, "http://a.example.net:8443", "https://.example.net:8443", "https://*.example.org:8443"),
    # null, as sandboxed and local pages have it.
    *_passed(NULL, "null", None, "https://chat.example.com"),
    *_refused(NULL, "nullx", "null null", "null, null", "https://null", "undefined"),
    # The header is required.
    *_passed(STRICT, "https://app.example.net", "https://chat.example.com"),
    OriginCase(STRICT, None, passes=False, told="missing"),
    OriginCase(STRICT, "", passes=False, told="missing"),
    *_refused(STRICT, "https://evil.example", "header", "missing"),
    # Reported, and not looked at.
    *_passed(REPORTED, "https://chat.example.com"),
    OriginCase(REPORTED, "https://evil.example", passes=True, told="https://evil.example"),
    OriginCase(REPORTED, None, passes=True, told="missing"),
    *_passed(OFF, "https://evil.example", "null", None, "x"),
    # As many hosts and origins as there may be.
    *_passed(LONG, LONG.allow[0], LONG.allow[-1], f"https://{LONG.own_hosts[-1]}", "https://chat.example.com", None),
    *_refused(LONG, "https://evil.example", f"{LONG.allow[7]}:8443", f"https://x.{LONG.own_hosts[3]}"),
)  # fmt: skip


class HandshakeCase(NamedTuple):
    """A request for a WebSocket that differs from a good one in its method or in these headers; None takes one away."""

    status: int
    reason: str = ""
    method: str = "GET"
    headers: tuple[tuple[str, str | None], ...] = ()


def _with(status: int, reason: str, name: str, *values: str | None) -> list[HandshakeCase]:
    return [HandshakeCase(status, reason, headers=((name, value),)) for value in values]


_KEY, _VERSION = "Sec-WebSocket-Key", "Sec-WebSocket-Version"

_GOOD: Final = "AAAAAAAAAAAAAAAAAAAAAA=="

HANDSHAKE_CASES: Final = (
    HandshakeCase(101),
    *_with(101, "", _KEY, _GOOD, "/+/+/+/+/+/+/+/+/+/+/g=="),
    *_with(400, "bad-handshake", _KEY, None, "", "x", _GOOD[:22], _GOOD[:22] + "AA", f"{_GOOD}x", f"{_GOOD}, {_GOOD}"),
    *_with(400, "bad-handshake", _KEY, f"AA AA{_GOOD[5:]}", f"AA-AA{_GOOD[5:]}", f"AA_AA{_GOOD[5:]}", "A" * 3_000),
    *_with(426, "upgrade-required", _VERSION, None, "", "12", "8", "0", "014", "1", "130", "13, 8", "8, 13", "13.0"),
    *(HandshakeCase(400, "bad-handshake", method) for method in ("POST", "PUT", "HEAD", "OPTIONS", "DELETE", "PATCH")),
    HandshakeCase(400, "bad-handshake", "POST", ((_VERSION, "8"),)),
    HandshakeCase(426, "upgrade-required", headers=((_VERSION, "8"), (_KEY, "x"))),
    HandshakeCase(400, "bad-handshake", headers=((_KEY, "x"), ("Origin", "https://evil.example"))),
)
"""On paths of either kind. A version that is not spoken is told before a key that is none, a method before both."""
