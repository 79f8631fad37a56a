"""The grammar of every string. The ids are those of the catalogue of hostile inputs that the rules were made from."""

import re
from collections.abc import Callable
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsroute.api import values
from wsroute.api.grammar import Grammar

ALL_GRAMMARS = [value for value in vars(values).values() if isinstance(value, Grammar)]


class Bad(NamedTuple):
    """A text that must be refused, with words of the sentence that says why."""

    id: str
    text: str
    words: str


def ids(cases: list[Bad]) -> list[str]:
    return [f"{case.id}-{number}" for number, case in enumerate(cases)]


BAD_HOSTS = [
    *(Bad("H1", f"a{character}b.example.com", "must") for character in ";{}\"' \t#\\"),
    *(Bad("H2", f"a.example.com{character}", "must") for character in "\n\r\0\x1b\x7f\u200b\ufeff"),
    Bad("H2", "a\n.example.com", "blanks or control characters"),
    Bad("H3", "~^(.*)$", "lower-case letters"),
    Bad("H3", "~a.example.com", "lower-case letters"),
    Bad("H3", ".example.com", "DNS name"),
    Bad("H3", "_", "lower-case letters"),
    Bad("H3", "", "empty"),
    Bad("H4", "a.*.example.com", "whole first label"),
    Bad("H4", "a*.example.com", "whole first label"),
    Bad("H4", "*a.example.com", "whole first label"),
    Bad("H4", "*.*.example.com", "whole first label"),
    Bad("H4", "*.com", "at least two labels"),
    Bad("H4", "*", "at least two labels"),
    Bad("H4", "*.", "dot at its end"),
    Bad("H5", "a.example.com.", "dot at its end"),
    Bad("H5", "A.example.com", "lower case"),
    Bad("H5", "bücher.example.com", "punycode"),
    Bad("H5", "аpple.example.com", "punycode"),
    Bad("H5", "chat.example.com".replace("c", "ｃ"), "punycode"),
    Bad("H5", "xn--zzzzzzzz.example.com", "punycode"),
    Bad("H5", "xn--.example.com", "DNS name"),
    Bad("H5", "xn--abc-.example.com", "DNS name"),
    Bad("H5", "xn--a.example.com", "punycode"),
    Bad("H6", f"{'a' * 64}.example.com", "at most 63"),
    Bad("H6", f"{'a.' * 126}com", "At most 253"),
    Bad("H6", "-a.example.com", "DNS name"),
    Bad("H6", "a-.example.com", "DNS name"),
    Bad("H6", "a..example.com", "DNS name"),
    Bad("H7", "192.0.2.1", "IP address"),
    Bad("H7", "192.0.2.1:80", "IP address"),
    Bad("H7", "2001:db8::1", "IP address"),
    Bad("H7", "[2001:db8::1]", "IP address"),
    Bad("H7", "[2001:db8::1]:443", "IP address"),
    Bad("H7", "127.1", "IP address"),
    Bad("H7", "a.0x7f", "DNS name"),
    Bad("H8", "a.example.com:8080", "without a port"),
    Bad("H8", "wss://a.example.com", "without scheme"),
    Bad("H8", "a.example.com/ws", "without a path"),
    Bad("H8", "user@a.example.com", "lower-case letters"),
    Bad("H8", "a%2eb.example.com", "lower-case letters"),
    Bad("H9", "$host", "lower-case letters"),
    Bad("H9", "${host}.example.com", "lower-case letters"),
    Bad("H10", "localhost", "reserved"),
    Bad("H10", "chat.team-a.svc", "cluster's own names"),
    Bad("H10", "chat.team-a.svc.cluster.local", "cluster's own names"),
    Bad("H10", "chat.cluster.local", "cluster's own names"),
    Bad("H10", "*.team-a.svc", "cluster's own names"),
    Bad("H10", "chat", "two labels"),
]

GOOD_HOSTS = [
    "chat.example.com",
    "*.example.com",
    "chat.localhost",
    "xn--bcher-kva.example",
    "a.b.c.d.e.f.example",
    "1.example.com",
    "chat--team-a.ws.example.com",
    f"{'a' * 63}.example.com",
    f"{'a.' * 125}com",
]


@pytest.mark.parametrize("case", BAD_HOSTS, ids=ids(BAD_HOSTS))
def test_bad_hosts_are_refused_with_the_sentence_that_helps(case: Bad) -> None:
    fault = values.host_fault(case.text)
    assert fault is not None
    assert case.words in fault


@pytest.mark.parametrize("host", GOOD_HOSTS)
def test_good_hosts(host: str) -> None:
    assert values.host_fault(host) is None
    assert values.host_pattern_fault(host) is None


def test_a_pattern_may_be_the_bare_asterisk_and_a_host_may_not() -> None:
    assert values.host_pattern_fault("*") is None
    assert values.host_fault("*") is not None
    assert "two labels" in (values.host_pattern_fault("*.com") or "")


def test_a_domain_is_no_wildcard() -> None:
    assert values.domain_fault("ws.example.com") is None
    assert "without a wildcard" in (values.domain_fault("*.example.com") or "")
    assert "two labels" in (values.domain_fault("example") or "")
    assert "punycode" in (values.domain_fault("xn--zzzzzzzz.example") or "")


BAD_PATHS = [
    Bad("P1", "ws", "start with a slash"),
    Bad("P1", "", "start with a slash"),
    *(Bad("P1", f"{modifier}/ws", "start with a slash") for modifier in ("~", "^~", "=", "@", "~*")),
    *(Bad("P2", f"/a{character}b", "must consist of") for character in "\"'\\"),
    Bad("P2", "/a\\", "must consist of"),
    *(Bad("P3", f"/a{character}b", "must consist of") for character in "{};`<>^|[]"),
    Bad("P3", "/a#b", "fragment"),
    *(Bad("P4", f"/a{character}b", "printable ASCII") for character in "\n\r\t\0\u2028\u2029\x1b\x85"),
    Bad("P4", "/a\n", "printable ASCII"),
    Bad("P4", "/a b", "must consist of"),
    Bad("P5", "/$uri", "must consist of"),
    Bad("P5", "/${host}", "must consist of"),
    Bad("P6", "/a/../b", "elements . and .."),
    Bad("P6", "/a/..", "elements . and .."),
    Bad("P6", "/./a", "elements . and .."),
    Bad("P6", "/.", "elements . and .."),
    Bad("P6", "//a", "empty elements"),
    Bad("P6", "/a//", "empty elements"),
    *(Bad("P6", f"/a{encoded}b", "percent-encoded") for encoded in ("%2f", "%2e%2e", "%00", "%")),
    Bad("P7", "/.wsroute", "reserved"),
    Bad("P7", "/.wsroute/healthz", "reserved"),
    Bad("P9", "/" + "a" * 1024, "At most 1024"),
    Bad("P12", "/\ud800", "printable ASCII"),
    Bad("W1", "https://evil.example.com/", "start with a slash"),
    Bad("W1", "//evil.example.com/", "empty elements"),
    Bad("W2", "/$1", "must consist of"),
    Bad("W3", "/a?b=$1", "query"),
    Bad("W4", "/a;b", "must consist of"),
]

GOOD_PATHS = [
    "/",
    "/ws",
    "/ws/",
    "/a.b/..c/d../...",
    "/~user/@me/a=b&c",
    "/.well-known/x",
    "/.wsrouter",
    "/etc/passwd",
    "/" + "a" * 1023,
]


@pytest.mark.parametrize("case", BAD_PATHS, ids=ids(BAD_PATHS))
def test_bad_paths_are_refused_with_the_sentence_that_helps(case: Bad) -> None:
    fault = values.PATH.fault(case.text)
    assert fault is not None
    assert case.words in fault


@pytest.mark.parametrize("path", GOOD_PATHS)
def test_good_paths(path: str) -> None:
    assert values.PATH.fault(path) is None


BAD_HEADER_NAMES = [
    *(Bad("N1", f"X{character}A", "must consist of") for character in " :\"'\t\n\r\0;{}$#\\/()éＸ"),
    Bad("N1", "", "must consist of"),
    Bad("N1", "X-A\n", "must consist of"),
    Bad("N1", "-X", "must consist of"),
    Bad("N1", "X" * 257, "At most 256"),
    *(
        Bad("N2", name, "must not be changed")
        for name in [
            "Host",
            "host",
            "HOST",
            "Connection",
            "connection",
            "Upgrade",
            "Content-Length",
            "content_length",
            "Transfer-Encoding",
            "TE",
            "Trailer",
            "Keep-Alive",
            "HTTP2-Settings",
            "http2_settings",
            "Sec-WebSocket-Key",
            "SEC_WEBSOCKET_VERSION",
            "Sec-WebSocket-Protocol",
            "Proxy-Authorization",
            "Proxy-Connection",
        ]
    ),
    *(
        Bad("N3", name, "set by the balancer")
        for name in [
            "X-Forwarded-For",
            "x-forwarded-proto",
            "X_Forwarded_For",
            "X-Forwarded_Host",
            "X-Forwarded",
            "Forwarded",
            "forwarded",
            "X-Real-IP",
            "x_real_ip",
            "X-WSRoute-Reason",
            "x_wsroute_anything",
        ]
    ),
]


@pytest.mark.parametrize("case", BAD_HEADER_NAMES, ids=ids(BAD_HEADER_NAMES))
def test_bad_header_names_are_refused_with_the_sentence_that_helps(case: Bad) -> None:
    fault = values.HEADER_NAME.fault(case.text)
    assert fault is not None
    assert case.words in fault


@pytest.mark.parametrize(
    "name", ["X-Team", "x_team", "X.Team", "Tea", "Hosted-By", "Upgraded", "X-Forwardedness", "1st"]
)
def test_good_header_names(name: str) -> None:
    assert values.HEADER_NAME.fault(name) is None


BAD_HEADER_VALUES = [
    *(Bad("V1", f"a{character}b", "printable ASCII") for character in "\n\r\0\t\x1b\x7f"),
    Bad("V1", "a\\r\\nX-Evil: 1", "line break"),
    Bad("V1", "a\\n", "line break"),
    Bad("V3", "$host", "dollar sign"),
    Bad("V3", "a${host}", "dollar sign"),
    Bad("V4", "$http_authorization", "dollar sign"),
    Bad("V5", "a" * 2001, "At most 2000"),
    Bad("V7", " a", "blank"),
    Bad("V7", "a ", "blank"),
    Bad("V7", "é", "printable ASCII"),
    Bad("V7", "", "empty"),
]


@pytest.mark.parametrize("case", BAD_HEADER_VALUES, ids=ids(BAD_HEADER_VALUES))
def test_bad_header_values_are_refused_with_the_sentence_that_helps(case: Bad) -> None:
    fault = values.HEADER_VALUE.fault(case.text)
    assert fault is not None
    assert case.words in fault


@pytest.mark.parametrize("value", ["a", "a b", 'V2 "quoted"', "V2 \\", "a;b{c}#d'e", "a" * 2000])
def test_good_header_values_may_need_escaping(value: str) -> None:
    assert values.HEADER_VALUE.fault(value) is None


BAD_NAMES = [
    *(Bad("S1", text, "DNS label") for text in ("a/b", "a.b", "A", "a\n", "", "-a", "a-", "a_b", "ä", "a b", "../a")),
    Bad("S1", "a" * 64, "At most 63"),
]


@pytest.mark.parametrize("case", BAD_NAMES, ids=ids(BAD_NAMES))
def test_bad_names_are_refused(case: Bad) -> None:
    assert case.words in (values.DNS_LABEL.fault(case.text) or "")


def test_object_names_may_have_dots_and_balancers_stay_short() -> None:
    assert values.DNS_SUBDOMAIN.fault("shared.balancer-1") is None
    assert values.DNS_SUBDOMAIN.fault("a" * 253) is None, "Kubernetes bounds no label of a name"
    assert values.DNS_SUBDOMAIN.fault("shared..balancer") is not None
    assert values.BALANCER_NAME.fault("a" * 40) is None
    assert "At most 40" in (values.BALANCER_NAME.fault("a" * 41) or "")
    assert values.BALANCER_NAME.fault("a.b") is not None


@pytest.mark.parametrize(
    ("text", "milliseconds"),
    [
        ("1h30m", 5_400_000),
        ("30s", 30_000),
        ("500ms", 500),
        ("0h0m1s", 1_000),
        ("1m1m", 120_000),
        ("2147483647ms", None),
    ],
)
def test_durations(text: str, milliseconds: int | None) -> None:
    if milliseconds is None:
        assert values.duration_fault(text) is not None, "GEP-2257 has at most five digits"
    else:
        assert values.duration_fault(text) is None
        assert values.parse_duration(text) == milliseconds


BAD_DURATIONS = [
    *(
        Bad("D1", text, "units")
        for text in ("-1s", "1.5s", "1e3s", "", " ", "30", "30d", "1y", "1M", "1h 30m", "30s ", "30s\n", "s", "1s2")
    ),
    Bad("D1", "0s", "at least 1ms"),
    Bad("D1", "0h0m0s0ms", "at least 1ms"),
    Bad("D1", "1h1h1h1h1h", "units"),
    Bad("D2", "597h", "at most 2147483647ms"),
    Bad("D2", "99999h99999h99999h", "at most 2147483647ms"),
    Bad("D2", "9" * 100 + "s", "At most 32"),
    *(Bad("D3", text, "units") for text in ("٣s", "３０s", "+30s", "3_0s")),
]


@pytest.mark.parametrize("case", BAD_DURATIONS, ids=ids(BAD_DURATIONS))
def test_bad_durations_are_refused_with_the_sentence_that_helps(case: Bad) -> None:
    fault = values.duration_fault(case.text)
    assert fault is not None
    assert case.words in fault


BAD_NETWORKS = [
    Bad("C1", "10.0.0.1/8", "write 10.0.0.0/8"),
    Bad("C1", "2001:db8::1/32", "write 2001:db8::/32"),
    Bad("C1", "10.0.0.0/33", "address and a prefix length"),
    Bad("C1", "2001:db8::/129", "address and a prefix length"),
    Bad("C1", "10.0.0.5", "/32"),
    Bad("C1", "2001:db8::1", "/128"),
    Bad("C1", "010.0.0.0/8", "address and a prefix length"),
    Bad("C1", "10.0.0.0/08", "write 10.0.0.0/8"),
    Bad("C1", "fe80::%eth0/64", "address and a prefix length"),
    Bad("C1", "proxy.example.com/32", "address and a prefix length"),
    Bad("C1", "all", "address and a prefix length"),
    Bad("C1", "unix:", "address and a prefix length"),
    Bad("C1", "10.0.0.0/255.0.0.0", "address and a prefix length"),
    Bad("C1", "10.0.0.0/8\n", "address and a prefix length"),
    Bad("C3", "::ffff:10.0.0.0/104", "IPv4 form"),
    Bad("C3", "0:0:0:0:0:FFFF:10.0.0.0/104", "IPv4 form"),
]


@pytest.mark.parametrize("case", BAD_NETWORKS, ids=ids(BAD_NETWORKS))
def test_bad_networks_are_refused_with_the_sentence_that_helps(case: Bad) -> None:
    fault = values.network_fault(case.text)
    assert fault is not None
    assert case.words in fault


@pytest.mark.parametrize(
    "network", ["10.0.0.0/8", "192.0.2.1/32", "2001:db8::/32", "2001:DB8::/32", "::/0", "0.0.0.0/0"]
)
def test_good_networks(network: str) -> None:
    assert values.network_fault(network) is None


@pytest.mark.parametrize(
    ("pattern", "host", "covered"),
    [
        ("*", "a.example.com", True),
        ("*", "*.example.com", True),
        ("a.example.com", "a.example.com", True),
        ("a.example.com", "b.example.com", False),
        ("*.example.com", "a.example.com", True),
        ("*.example.com", "*.example.com", True),
        ("*.example.com", "example.com", False),
        ("*.example.com", "a.b.example.com", False),
        ("*.example.com", "aexample.com", False),
        ("*.example.com", "*.a.example.com", False),
        ("*.b.example.com", "*.example.com", False),
        ("a.example.com", "*.example.com", False),
    ],
)
def test_what_a_host_pattern_covers(pattern: str, host: str, covered: bool) -> None:
    assert values.host_covers(pattern, host) is covered


def test_hosts_derived_from_a_domain() -> None:
    assert values.derived_host("chat", "team-a", "ws.example.com") == "chat--team-a.ws.example.com"
    assert values.derived_host("chat.v2", "team-a", "ws.example.com") is None, "one label is what a certificate covers"
    assert values.derived_host("c" * 40, "n" * 40, "ws.example.com") is None
    assert values.derived_host("xn", "a", "ws.example.com") is None, "xn--a claims to be punycode"


@pytest.mark.parametrize("grammar", ALL_GRAMMARS, ids=lambda grammar: grammar.name)
def test_every_example_is_good_and_no_hint_speaks_of_it(grammar: Grammar) -> None:
    assert grammar.fault(grammar.example) is None
    assert not [hint for hint in grammar.hints if re.search(hint.pattern, grammar.example, re.ASCII)]


@pytest.mark.parametrize("grammar", ALL_GRAMMARS, ids=lambda grammar: grammar.name)
def test_patterns_mean_the_same_to_re2(grammar: Grammar) -> None:
    """Only what Python's re and Go's RE2 share, and anchored at both ends."""
    for pattern in (grammar.pattern, *(hint.pattern for hint in (*grammar.hints, *grammar.refusals))):
        assert not re.search(r"\\[dwsbDWSBAZzG1-9]", pattern), pattern
        assert not re.search(r"\(\?(?!i\))|[*+?}]\+", re.sub(r"\[[^]]+\]", "C", pattern)), pattern
        assert all(int(count) < 1000 for count in re.findall(r"\{(?:[0-9]+,)?([0-9]+)\}", pattern)), pattern
    assert grammar.pattern.startswith("^")
    assert grammar.pattern.endswith("$")


SAFE = re.compile(r"[ -~]*")


@pytest.mark.parametrize("grammar", ALL_GRAMMARS, ids=lambda grammar: grammar.name)
@given(data=st.data())
def test_whatever_is_accepted_is_short_and_printable(grammar: Grammar, data: st.DataObject) -> None:
    text = data.draw(st.one_of(st.text(max_size=80), st.from_regex(grammar.pattern)))
    if grammar.fault(text) is None:
        assert SAFE.fullmatch(text)
        assert len(text) <= grammar.max_length


@pytest.mark.parametrize("check", [values.host_fault, values.duration_fault, values.network_fault, values.domain_fault])
@given(text=st.one_of(st.text(), st.text(alphabet="0123456789abcdefx:./*-hms%\n", max_size=60)))
def test_checks_never_raise(check: Callable[[str], str | None], text: str) -> None:
    check(text)


@given(st.from_regex(values.HOST.pattern, fullmatch=True))
def test_a_good_host_is_lower_case_and_ends_in_a_letter_first_label(host: str) -> None:
    if values.host_fault(host) is None:
        assert host == host.lower()
        assert host.rpartition(".")[2][0].isalpha()
        assert all(0 < len(label) <= 63 for label in host.split("."))
        assert host.count("*") in (0, 1)
