"""Which pages may open a socket."""

import pytest

from wsroute.dataplane.origin import Origin, origin_allowed, parse_origin

OWN = ("chat.example.com", "*.rooms.example.com")
ALLOW = ("https://*.example.org", "https://app.example.net:8443", "http://plain.example.net", "chrome-extension://abc")


@pytest.mark.parametrize(
    ("header", "allowed"),
    [
        # The route's own hosts, over http and https, from any port.
        ("https://chat.example.com", True),
        ("http://chat.example.com", True),
        ("https://chat.example.com:8443", True),
        ("HTTPS://Chat.Example.COM", True),
        ("https://a.rooms.example.com", True),
        ("https://rooms.example.com", False),
        ("https://a.b.rooms.example.com", False),
        ("https://.rooms.example.com", False),
        ("ws://chat.example.com", False),
        ("chrome-extension://chat.example.com", False),
        ("https://chat.example.com.evil.test", False),
        ("https://evil.test.chat.example.com", False),
        ("https://xchat.example.com", False),
        ("https://chat.example.com.", False),
        ("https://chat.example.com@evil.test", False),
        ("https://evil.test#chat.example.com", False),
        ("https://evil.test/chat.example.com", False),
        ("https://chat.example.com/", False),
        ("https://chat.example.com, https://evil.test", False),
        ("https://chat.example.com https://evil.test", False),
        ("https://chat.example.com:", False),
        ("https://chat.example.com:port", False),
        ("//chat.example.com", False),
        ("chat.example.com", False),
        # What the route allows: scheme, host and port as they are listed.
        ("https://a.example.org", True),
        ("https://A.example.org:443", True),
        ("https://a.example.org:8443", False),
        ("http://a.example.org", False),
        ("https://example.org", False),
        ("https://a.b.example.org", False),
        ("https://app.example.net:8443", True),
        ("https://app.example.net", False),
        ("http://plain.example.net", True),
        ("http://plain.example.net:80", True),
        ("http://plain.example.net:443", False),
        ("https://plain.example.net", False),
        ("chrome-extension://abc", True),
        ("chrome-extension://abd", False),
        ("https://other.test", False),
        ("null", False),
        ("NULL", False),
    ],
)
def test_an_origin(header: str, allowed: bool) -> None:
    assert origin_allowed(header, own_hosts=OWN, allow=ALLOW, require_header=False) is allowed
    assert origin_allowed(header, own_hosts=OWN, allow=ALLOW, require_header=True) is allowed


@pytest.mark.parametrize("required", [True, False])
def test_a_client_without_one(required: bool) -> None:
    assert origin_allowed("", own_hosts=OWN, allow=ALLOW, require_header=required) is not required


def test_null_when_it_is_listed() -> None:
    for header in ("null", "NULL"):
        assert origin_allowed(header, own_hosts=OWN, allow=("null",), require_header=False)
    assert not origin_allowed("https://evil.test", own_hosts=OWN, allow=("null",), require_header=False)


def test_what_is_listed_wrongly_allows_nothing() -> None:
    for entry in ("", "*", "https://", "https://*", "evil.test", "https://evil.test/"):
        assert not origin_allowed("https://evil.test", own_hosts=(), allow=(entry,), require_header=False)


def test_the_default_port_is_left_out() -> None:
    assert parse_origin("https://[2001:DB9::1]:443") == Origin("https", "[2001:db9::1]", "")
    assert parse_origin("http://a:443") == Origin("http", "a", "443")
    assert parse_origin("ftp://a:21") == Origin("ftp", "a", "21")
