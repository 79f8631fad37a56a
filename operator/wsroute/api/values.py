"""The grammar of every string that a user may write, and the checks that no pattern can do.

What nginx or a log will see is kept to a narrow, printable part of ASCII on purpose: a character that no rule lets in
needs no escaping downstream.
"""

import ipaddress
import re
from typing import Final

from wsroute.api.grammar import Grammar, Hint

_LABEL: Final = "[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?"
_SUBDOMAIN_LABEL: Final = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
"""Of an object's name: there Kubernetes bounds the whole and not its labels."""

_TOP_LABEL: Final = "[a-z]([-a-z0-9]{0,61}[a-z0-9])?"
"""The last label of a host starts with a letter: what ends in a number is an IP address to browsers (WHATWG URL)."""

_NOT_ASCII_TEXT: Final = r"[^ -~]"
"""Control characters and everything outside of ASCII."""

DNS_LABEL: Final = Grammar(
    name="name",
    pattern=f"^{_LABEL}$",
    max_length=63,
    sentence="A name must be a DNS label: lower-case letters, digits and hyphens, with a letter or digit at both ends",
    example="chat",
)
"""RFC 1123 label: names of namespaces, listeners, ports. Also of Services, which newer API servers let begin with a
digit."""

DNS_SUBDOMAIN: Final = Grammar(
    name="object name",
    pattern=rf"^{_SUBDOMAIN_LABEL}(\.{_SUBDOMAIN_LABEL})*$",
    max_length=253,
    sentence="A name must consist of lower-case letters, digits, hyphens and dots, with a letter or digit at both ends",
    example="shared-balancer",
)
"""RFC 1123 subdomain as Kubernetes means it: names of Deployments, and of most objects."""

CONFIG_KEY: Final = Grammar(
    name="config key",
    pattern=r"^[-._a-zA-Z0-9]+$",
    max_length=253,
    sentence="A key must consist of letters, digits, hyphens, underscores and dots",
    example="nginx.conf.j2",
)
"""As the API server has it; it refuses ``..`` besides, which then is a key that no ConfigMap has."""

BALANCER_NAME: Final = Grammar(
    name="balancer name",
    pattern=DNS_LABEL.pattern,
    max_length=40,
    sentence=(
        "A balancer's name must be at most 40 lower-case letters, digits and hyphens, with a letter or digit at both "
        "ends"
    ),
    example="shared",
)
"""Shorter than a DNS label, because the names of generated objects append to it."""

PORT_NAME: Final = Grammar(
    name="port name",
    pattern=DNS_LABEL.pattern,
    max_length=63,
    sentence="A port must be a number from 1 to 65535, or the name of a port of the Service in lower case",
    example="web",
    refusals=(Hint(r"^[0-9]+$", "A port's number must be written without quotes"),),
)

_HOST_HINTS: Final = (
    Hint(r"^$", "A host must not be empty"),
    Hint(
        r"[^\x00-\x7f]",
        "A host must be in ASCII: write an international name in punycode, as in xn--bcher-kva.example",
    ),
    Hint(r"[\x00-\x20\x7f]", "A host must not contain blanks or control characters"),
    Hint(r"://", "A host must be written without scheme and path, as in chat.example.com"),
    Hint(r"/", "A host must be written without a path, as in chat.example.com"),
    Hint(
        r"^\[|^[0-9a-fA-F]*:[0-9a-fA-F:.]*:|(^|\.)[0-9]+(:[0-9]+)?$",
        "A host must be a name, not an IP address",
    ),
    Hint(r":", "A host must be written without a port: the balancer's listeners say which ports there are"),
    Hint(r"[A-Z]", "A host must be written in lower case"),
    Hint(r"\.$", "A host must be written without the dot at its end"),
    Hint(r"[^-a-z0-9.*]", "A host must consist of lower-case letters, digits, hyphens and dots"),
    Hint(r"(^|\.)[^.]{64,}", "The labels of a host, which are the parts between dots, have at most 63 characters"),
)
_WILDCARD_HINTS: Final = (
    Hint(r"^\*\.[^.]*$", "A wildcard must stand before a name of at least two labels, as in *.example.com"),
    Hint(r".\*|^\*[^.]", "A wildcard must be the whole first label, as in *.example.com"),
)
_HOST_REFUSALS: Final = (
    Hint(
        r"(^|\.)(svc|svc\.cluster\.local|cluster\.local)$",
        "A host must not be one of the cluster's own names, which end in .svc or .cluster.local",
    ),
)
_HOST_SENTENCE: Final = (
    "A host must be a DNS name of at least two labels, as in chat.example.com, or a wildcard, as in *.example.com"
)

HOST: Final = Grammar(
    name="host",
    pattern=rf"^(\*\.{_LABEL}|{_LABEL})(\.{_LABEL})*\.{_TOP_LABEL}$",
    max_length=253,
    sentence=_HOST_SENTENCE,
    example="chat.example.com",
    hints=(
        *_HOST_HINTS,
        Hint(r"^\*$", "A wildcard must stand before a name of at least two labels, as in *.example.com"),
        *_WILDCARD_HINTS,
        Hint(r"^localhost$", "The host localhost is reserved: take a name below it, as in chat.localhost"),
    ),
    refusals=_HOST_REFUSALS,
)
"""What a route may claim: at least two labels, lower case, no dot at the end. A wildcard covers exactly one label."""

HOST_PATTERN: Final = Grammar(
    name="host pattern",
    pattern=rf"^\*$|{HOST.pattern}",
    max_length=253,
    sentence="A host pattern must be a host, a wildcard, as in *.example.com, or * alone for any host",
    example="*.example.com",
    hints=(*_HOST_HINTS, *_WILDCARD_HINTS),
    refusals=_HOST_REFUSALS,
)
"""What a balancer lets routes claim."""

DOMAIN: Final = Grammar(
    name="domain",
    pattern=rf"^({_LABEL}\.)+{_TOP_LABEL}$",
    max_length=253,
    sentence="A domain must be a DNS name of at least two labels, as in ws.example.com",
    example="ws.example.com",
    hints=(Hint(r"\*", "A domain must be written without a wildcard, as in ws.example.com"), *_HOST_HINTS),
    refusals=_HOST_REFUSALS,
)

_PATH_CHARACTERS: Final = "-A-Za-z0-9_~!()*+,=:@&"
"""RFC 3986 pchar without the dot, without percent-encoding (nginx matches decoded paths), and without what nginx or a
shell reads as syntax: ``$ ' ; %`` are legal in a URL but refused here."""

_PATH_SENTENCE: Final = "A path must consist of letters, digits and the characters - . _ ~ ! ( ) * + , = : @ & /"

_PATH_HINTS: Final = (
    Hint(r"^[^/]|^$", "A path must start with a slash"),
    Hint(_NOT_ASCII_TEXT, "A path must consist of printable ASCII characters"),
    Hint(
        r"%",
        "A path must not be percent-encoded: nginx compares it with the decoded path of the request",
    ),
    Hint(r"\?|#", "A path must be written without query and fragment"),
    Hint(rf"[^{_PATH_CHARACTERS}./]", _PATH_SENTENCE),
)
_PATH_REFUSALS: Final = (
    Hint(r"//", "A path must not contain empty elements (//)"),
    Hint(r"/\.\.?(/|$)", "A path must not contain the elements . and .. between its slashes"),
    Hint(r"^/\.wsroute(/|$)", "Paths below /.wsroute are reserved for the balancer"),
)

PATH: Final = Grammar(
    name="path",
    pattern=rf"^/([{_PATH_CHARACTERS}./]*)$",
    max_length=1024,
    sentence=_PATH_SENTENCE,
    example="/ws",
    hints=_PATH_HINTS,
    refusals=_PATH_REFUSALS,
)

DURATION: Final = Grammar(
    name="duration",
    pattern=r"^([0-9]{1,5}(h|m|s|ms)){1,4}$",
    max_length=32,
    sentence=(
        "A duration must be whole numbers of at most 5 digits with the units h, m, s or ms, as in 30s, 1h30m or 500ms"
    ),
    example="1h30m",
)
"""GEP-2257. The bounds are ``parse_duration``'s."""

MAX_DURATION: Final = 2**31 - 1
"""nginx keeps times as 32-bit milliseconds; about 24 days and 20 hours."""

DURATION_BOUNDS_SENTENCE: Final = f"A duration must be at least 1ms and at most {MAX_DURATION}ms, which is about 596h"

PAUSE_BOUNDS_SENTENCE: Final = f"The duration must be at most {MAX_DURATION}ms, which is about 596h; 0s is none at all"
"""Of a duration that may be none."""

_HEADER_NAME_REFUSALS: Final = (
    Hint(
        r"(?i)^(host|connection|upgrade|content[-_]length|transfer[-_]encoding|te|trailer|keep[-_]alive|"
        r"http2[-_]settings|sec[-_]websocket[-_].*|proxy([-_].*)?)$",
        "Host, Connection, Upgrade, Sec-WebSocket-*, Proxy-* and the headers of framing must not be changed",
    ),
    Hint(
        r"(?i)^(forwarded|x[-_]forwarded|x[-_]forwarded[-_].*|x[-_]real[-_]ip|x[-_]wsroute[-_].*)$",
        "Forwarded, X-Forwarded-*, X-Real-IP and X-WSRoute-* are set by the balancer and must not be changed",
    ),
)

HEADER_NAME: Final = Grammar(
    name="header name",
    pattern=r"^[A-Za-z0-9][-A-Za-z0-9_.]*$",
    max_length=256,
    sentence="A header's name must consist of letters, digits and the characters - _ . after a letter or digit",
    example="X-Team",
    refusals=_HEADER_NAME_REFUSALS,
)
"""Of RFC 9110's token what names of headers are really made of: the rest is syntax to nginx, a shell or a log."""

HEADER_VALUE: Final = Grammar(
    name="header value",
    pattern=r"^[!-~]([ -~]*[!-~])?$",
    max_length=2000,
    sentence="A header's value must consist of printable ASCII characters",
    example="team-a",
    hints=(
        Hint(r"^$", "A header's value must not be empty: list the header under remove to drop it"),
        Hint(
            _NOT_ASCII_TEXT,
            "A header's value must consist of printable ASCII characters, without line breaks and tabs",
        ),
        Hint(r"^ | $", "A header's value must not begin or end with a blank"),
    ),
    refusals=(
        Hint(r"\$", "A header's value must not contain a dollar sign: variables are not supported"),
        Hint(r"\\[rn]", "A header's value must not contain the escape sequence of a line break"),
    ),
)
"""RFC 9110 field value, in ASCII."""

CIDR: Final = Grammar(
    name="network",
    pattern=r"^[0-9A-Fa-f:.]+/[0-9]{1,3}$",
    max_length=43,
    sentence="A network must be an address and a prefix length, as in 10.0.0.0/8 or 2001:db8::/32",
    example="10.0.0.0/8",
    hints=(
        Hint(r"^[0-9.]+$", "A network needs a prefix length: write a single IPv4 address with /32"),
        Hint(
            r"^[0-9A-Fa-f]*:[0-9A-Fa-f:.]*$", "A network needs a prefix length: write a single IPv6 address with /128"
        ),
    ),
    refusals=(Hint(r"(?i)^[0:]*:ffff:", "A network must not be an IPv4-mapped one: write its IPv4 form"),),
)

CIDR_CEL: Final = (
    (
        # Where the grammar's own rule has spoken, this one keeps silent.
        f"!({CIDR.cel_test('self')}) || (isCIDR(self) && cidr(self) == cidr(self).masked())",
        "A network must be a valid one, without bits set beyond its prefix, as in 10.0.0.0/8",
    ),
)
"""What the pattern can't tell, in the API server's own functions (Kubernetes 1.31)."""

_NAME_PART: Final = "[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?"

LABEL_KEY: Final = Grammar(
    name="label key",
    pattern=rf"^({_LABEL}(\.{_LABEL})*/)?{_NAME_PART}$",
    max_length=317,
    sentence="A label's key must be a Kubernetes label key, as in team or example.com/team",
    example="example.com/team",
)

LABEL_VALUE: Final = Grammar(
    name="label value",
    pattern=rf"^({_NAME_PART})?$",
    max_length=63,
    sentence="A label's value must be letters, digits and the characters - _ . with a letter or digit at both ends",
    example="yes",
)


def duration_fault(text: str) -> str | None:
    """What is wrong with a duration, its bounds included, or None."""
    fault = DURATION.fault(text)
    if fault is not None:
        return fault
    milliseconds = parse_duration(text)
    return None if 1 <= milliseconds <= MAX_DURATION else DURATION_BOUNDS_SENTENCE


def pause_fault(text: str) -> str | None:
    """What is wrong with a duration that may be none, or None."""
    fault = DURATION.fault(text)
    if fault is not None:
        return fault
    return None if parse_duration(text) <= MAX_DURATION else PAUSE_BOUNDS_SENTENCE


def parse_duration(text: str) -> int:
    """The milliseconds of a duration that ``DURATION`` accepts, as ``1h30m``; its parts add up."""
    units = {"h": 3_600_000, "m": 60_000, "s": 1000, "ms": 1}
    parts = re.findall(r"([0-9]+)(ms|h|m|s)", text, re.ASCII)
    return sum(int(number) * units[unit] for number, unit in parts)


def host_fault(text: str) -> str | None:
    """What is wrong with a route's host, or None."""
    return HOST.fault(text) or _punycode_fault(text)


def host_pattern_fault(text: str) -> str | None:
    """What is wrong with a pattern of hosts, or None."""
    return HOST_PATTERN.fault(text) or _punycode_fault(text)


def domain_fault(text: str) -> str | None:
    """What is wrong with a balancer's domain, or None."""
    return DOMAIN.fault(text) or _punycode_fault(text)


def _punycode_fault(host: str) -> str | None:
    """What no pattern can tell: whether the labels that claim to be punycode are."""
    for label in host.split("."):
        if label.startswith("xn--") and not _is_punycode(label.removeprefix("xn--")):
            return "A host must not contain a label that starts with xn-- without being valid punycode"
    return None


def _is_punycode(encoded: str) -> bool:
    """Whether RFC 3492 text stands for something that really needs it."""
    try:
        decoded = encoded.encode("ascii").decode("punycode")
        return not decoded.isascii() and decoded.isprintable() and decoded.encode("punycode").decode("ascii") == encoded
    except (UnicodeError, OverflowError, ValueError):
        return False


def network_fault(text: str) -> str | None:
    """What is wrong with a network in CIDR form, or None."""
    fault = CIDR.fault(text)
    if fault is not None:
        return fault
    try:
        network = ipaddress.ip_network(text, strict=False)
    except ValueError:
        return CIDR.sentence
    address, _, prefix = text.partition("/")
    if ipaddress.ip_address(address) != network.network_address or prefix != str(network.prefixlen):
        return f"A network must not have bits set beyond its prefix: write {network}"
    return None


def host_covers(pattern: str, host: str) -> bool:
    """Whether a host pattern covers a host (or a wildcard host): ``*`` covers all, ``*.`` exactly one label.

    Both must have passed their grammars. ``*.example.com`` covers ``a.example.com`` and itself, and neither
    ``example.com`` nor ``a.b.example.com``.
    """
    if pattern in ("*", host):
        return True
    if not pattern.startswith("*."):
        return False
    first, _, rest = host.partition(".")
    return first != "*" and rest == pattern.removeprefix("*.")


def derived_host(name: str, namespace: str, domain: str) -> str | None:
    """The host of a route that names none: ``<name>--<namespace>.<domain>``. One wildcard certificate covers them all.

    None where that is no host: the route's name holds a dot, or the first label gets longer than 63 characters.
    """
    label = f"{name}--{namespace}"
    host = f"{label}.{domain}"
    if DNS_LABEL.fault(label) is not None or host_fault(host) is not None:
        return None
    return host


WORKER_PROCESSES: Final = Grammar(
    name="workerProcesses",
    pattern="^auto$",
    max_length=4,
    sentence="workerProcesses must be a number from 1 to 64, or auto for one for each core",
    example="auto",
)
