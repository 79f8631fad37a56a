"""The catalogue of hostile input: what is tried in which field, and what has to become of it.

Ids are those of the published attacks on other controllers that they come from: H host, P path, X regular expression, W
rewrite, N and V header names and values, S Service, E endpoint, T certificate, A annotations, names and enumerations, K
cookie, C network, D duration, O Origin, L size and load; B balancer and G generated ConfigMaps are our own.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from tests.hostile.fields import SPECS, leaves
from wsroute.api.values import DURATION


class Verdict(StrEnum):
    """What has to become of an input."""

    REJECT = "R"
    """A problem of the object that names the field; where the checks are bypassed, the emitters refuse it or write it
    as one argument."""
    ESCAPE = "E"
    """It is served as it is: one argument, equal to the input."""
    IGNORE = "I"
    """As if it were not there."""
    CONFLICT = "C"
    """The older owner keeps what the younger one asks for."""
    DROP = "D"
    """The endpoint does not count, and the route's status says why."""


@dataclass(frozen=True, slots=True)
class Row:
    """A line of the catalogue.

    ``values`` are the inputs that stand in ``field``, which is a field of ``kind``; a row without values is a story of
    its own in one of the test modules. ``operator_only`` are inputs that no schema can tell.
    """

    id: str
    field: str
    verdict: Verdict
    what: str
    values: tuple[Any, ...] = ()
    kind: str = "WebSocketRoute"
    operator_only: tuple[Any, ...] = ()

    @property
    def inputs(self) -> tuple[Any, ...]:
        """All inputs."""
        return self.values + self.operator_only


@dataclass(frozen=True, slots=True)
class Due:
    """A line that comes due with a field: ``appears`` says of a field's path, or of a word of its enumeration, that it
    is the one. The field must not appear without this line getting its inputs."""

    id: str
    field: str
    what: str
    appears: Callable[[str], bool]


R, E, IGN, C, D = Verdict.REJECT, Verdict.ESCAPE, Verdict.IGNORE, Verdict.CONFLICT, Verdict.DROP

HOST, PATH, REWRITE = "spec.hosts[]", "spec.paths[].path", "spec.paths[].rewritePrefix"
NAME, VALUE, REMOVE = "spec.headers.set[].name", "spec.headers.set[].value", "spec.headers.remove[]"
SERVICE, PORT = "spec.paths[].backends[].service", "spec.paths[].backends[].port"
ALLOW, COOKIE = "spec.origins.allow[]", "spec.loadBalancing.stickyCookie.name"
HASHED = "spec.loadBalancing.hash.name"
WEIGHT, ADDRESS = "spec.paths[].backends[].weight", "endpoints[].addresses[]"

_LABELS_253: Final = ".".join(["h" * 63] * 3 + ["h" * 57, "org"])
_FRAMING: Final = (
    "Host", "host", "Connection", "UPGRADE", "Sec-WebSocket-Key", "sec_websocket_version", "Sec-WebSocket-Anything",
    "Content-Length", "Transfer-Encoding", "transfer_encoding", "TE", "Trailer", "Keep-Alive", "HTTP2-Settings", "Proxy",
    "Proxy-Authorization", "Proxy-Connection",
)  # fmt: skip
_FORWARDING: Final = (
    "X-Forwarded-For", "x-forwarded-proto", "X_Forwarded_Host", "X-Forwarded", "Forwarded", "X-Real-IP", "x_real_ip",
    "X-WSRoute-Reason",
)  # fmt: skip
_NO_TOKEN: Final = (
    "X Team",
    "X:Team",
    'X"',
    "X'",
    "é",
    "",
    "X" * 257,
    "X-Team\n",
    "X;",
    "{X}",
    " X",
    "$x",
    "#x",
    "X\0",
)
_NO_COOKIE: Final = (
    "", "a=b", "a;b", "a,b", "a b", "$a", 'a"', "a'", "a\n", "a\0", "-a", ".a", "é", "a/b", "a:b", "{a}", "a" * 65, 1, True, ["a"],
)  # fmt: skip
_NO_DURATION: Final = (
    "", "30", "s", "-1s", "0s", "1.5h", "1e3s", " 30s", "30s ", "1h 30m", "1d", "1mo", "1y", "30S", "30s\n", "30s;", "$x",
)  # fmt: skip
_NO_LABEL: Final = (
    "a/b",
    "a.b",
    "A",
    "a" * 64,
    "a\n",
    "a\0",
    "-a",
    "a-",
    "a_b",
    "é",
    "a;b",
    "a{",
    "$a",
    1,
    True,
    ["a"],
)

ROUTE_ROWS: Final = (
    Row("H1", HOST, R, "nginx's syntax", (*(f"a{sign}b.example.com" for sign in ";{}\"' \t#\\()|"), "a.example.com; return 200")),
    Row("H2", HOST, R, "control and invisible characters", (*(f"a.example.com{sign}" for sign in "\n\r\0\x1b\x7f\u200b\u2028\u202e"), "a\n.example.com")),
    Row("H3", HOST, R, "nginx's special names", ("~^.*$", "~*x", ".example.com", "_", "", "default_server")),
    Row("H4", HOST, R, "wildcards where none may be", ("*", "*.", "*.com", "a.*.example.com", "**.example.com", "*a.example.com", "*.*.example.com")),
    Row("H5", HOST, R, "other spellings of a name", ("A.example.com", "a.example.com.", "bücher.example.com", "аpple.example.com", "ａ.example.com"), operator_only=("xn--a.example.com", "xn--.example.com", "xn--zz99zz.example.com")),
    Row("H6", HOST, R, "too long, badly formed", ("a" * 64 + ".example.com", f"h.{_LABELS_253}", "-a.example.com", "a-.example.com", "a..example.com")),
    Row("H7", HOST, R, "addresses", ("192.0.2.1", "192.0.2.1:80", "::1", "[::1]", "[::1]:80", "127.1", "0x7f.1", "1.2.3.4.5")),
    Row("H8", HOST, R, "more than a host", ("a.example.com:80", "wss://a.example.com", "a.example.com/x", "me@a.example.com", "a%2eexample.com")),
    Row("H9", HOST, R, "variables", ("$host", "$host.example.com", "${host}.example.com", "a.example.com$")),
    Row("H10", HOST, R, "reserved names", ("localhost", "chat.svc", "chat.team-b.svc.cluster.local", "kubernetes.default.svc")),
    Row("H11", HOST, C, "a host of another namespace, in each spelling, under and over a wildcard"),
    Row("H12", HOST, R, "too many hosts; the longest ones fit nginx's tables"),
    Row("P1", PATH, R, "no slash, or a location's modifier in front", ("", "ws", "~ ^/", "~* /", "= /ws", "^~/ws", "@ws", "*", " /ws")),
    Row("P2", PATH, R, "quotes and backslashes", ('/a"b', "/a'b", "/a\\b", "/a\\", '/a\\"', "/`a`")),
    Row("P3", PATH, R, "braces, semicolon, hash", ("/a{b}", "/a;b", "/a#b", "/a}", "/;", "/a b", "/{{ 7*7 }}")),
    Row("P4", PATH, R, "control characters and beyond ASCII", ("/a\n", "/a\r", "/a\tb", "/a\0b", "/a\u2028", "/a\u2029b", "/é", "/a\x7f")),
    Row("P5", PATH, R, "variables", ("/$uri", "/${host}", "/a$", "/$1")),
    Row("P6", PATH, R, "what nginx's normalisation would never match", ("/a/../b", "/a/./b", "/a//b", "//a", "/a/..", "/a/.", "/a%2fb", "/%2e%2e", "/a%00", "/a?b")),
    Row("P7", PATH, R, "the balancer's own paths", ("/.wsroute", "/.wsroute/version")),
    Row("P8", PATH, E, "names of system files are inert text", ("/etc/passwd", "/var/run/secrets/kubernetes.io/serviceaccount/token", "/.well-known/acme-challenge", "/stub_status")),
    Row("P9", PATH, R, "too long", ("/" + "a" * 1024, "/" + "a" * 5000)),
    Row("P10", PATH, C, "the same path twice in a namespace"),
    Row("P11", PATH, E, "every place that a path flows to", ("/" + "a" * 1023, "/-A.z0_9~!()*+,=:@&", "/a.b+c(d)*")),
    Row("P12", PATH, R, "half of a surrogate pair", ("/\ud800",)),
    Row("W1", REWRITE, R, "another server", ("https://evil.test/", "//evil.test/", "http:/evil.test", "javascript:x", "evil.test/")),
    Row("W2", REWRITE, R, "captures and variables", ("/$1", "/$9", "/$uri", "/${host}", "/{id}")),
    Row("W3", REWRITE, R, "a query", ("/a?b", "/$1?x=1", "/?")),
    Row("W4", REWRITE, R, "quoting", ('/a"b', "/a;b", "/a\n", "/a\r\nX: y", "/a\\", "/a break", "/a\0")),
    Row("W5", REWRITE, R, "dot segments", ("/a/../b", "/..", "/a/.", "/a%2e")),
    Row("W6", REWRITE, IGN, "line breaks of a decoded path reach no header"),
    Row("N1", NAME, R, "no token", _NO_TOKEN),
    Row("N2", NAME, R, "headers of the handshake and of framing", _FRAMING),
    Row("N3", NAME, R, "forwarding headers", _FORWARDING),
    Row("N4", "spec.headers", R, "one header twice, by case or underscore"),
    Row("N5", REMOVE, R, "the same of removed ones", _NO_TOKEN + _FRAMING + _FORWARDING),
    Row("V1", VALUE, R, "line breaks, raw and as escapes", ("a\nb", "a\rb", "a\r\nX-B: c", "a\\nb", "a\\rb", "a\\r\\nX-B: c", "a\0b")),
    Row("V2", VALUE, E, "quotes and backslashes", ('a"b', "a'b", "a\\b", "a\\", '\\"', '"; # }', "a\\tb", '"' * 2000, "\\" * 2000)),
    Row("V3", VALUE, R, "variables", ("$host", "${host}", "a$", "$1", "$$")),
    Row("V4", VALUE, R, "variables that hold secrets", ("$http_authorization", "$http_cookie", "$cookie_sid", "$ssl_client_raw_cert", "$args")),
    Row("V5", VALUE, R, "too long", ("a" * 2001, "a" * 100_000)),
    Row("V7", VALUE, R, "blanks around it, beyond ASCII, nothing", (" a", "a ", "\ta", "é", "ａ", "\u2028", "\ud800", "")),
    Row("S1", SERVICE, R, "no name of a Service", _NO_LABEL),
    Row("S2", "spec.paths[].backends[]", R, "a Service of another namespace"),
    Row("S3", SERVICE, R, "ExternalName"),
    Row("S5", PORT, R, "no port", (0, -1, 65_536, 2**31, True, 1.5, "80", "Web", "a b", "", "web\n", "a" * 64, ["web"], {})),
    Row("S6", SERVICE, E, "Services whose joined names are alike"),
    Row("S7", PORT, R, "a port that is unknown, or not for TCP"),
    Row("E11", WEIGHT, R, "weights out of bounds", (-1, 1001, 2**31, 2**63, True, 1.5, "1", [1])),
    Row("A5", "spec.balancerRef.name", R, "a balancer's name", ("A", "a.b", "a/b", "a" * 41, "a\n", "a;", "", 1)),
    Row("A5b", "spec.balancerRef.namespace", R, "a balancer's namespace", _NO_LABEL),
    Row("A5c", "spec.balancerRef", R, "a balancer that there is not, or that does not let the namespace in"),
    Row("A9", "spec.listeners[]", R, "a listener's name", ("A", "a b", "ws\n", "ws;", "", "a" * 64)),
    Row("D2", "spec.timeouts.idle", R, "beyond 2^31 ms", ("597h", "2147483648ms", "99999h", "99999h99999h")),
    Row("D2b", "spec.timeouts.idle", R, "above the administrator's maximum"),
    Row("D3", "spec.timeouts.connect", R, "other digits, other types", ("３０s", "٣s", "+30s", "1_0s", "0x1s", True, 30, 1.5)),
    Row("O1", ALLOW, R, "more or less than an origin", ("", "*", "https://*", "https://", "chat.example.com", "//chat.example.com", "https:chat.example.com", "https://chat.example.com/", "https://chat.example.com/x", "https://chat.example.com?x", "https://chat.example.com#x", "HTTPS://chat.example.com", "https://Chat.example.com", "Null", "undefined", "null ", "wss://chat.example.com", "javascript:alert(1)", "file:///x", "data:text/html,x")),
    Row("O2", ALLOW, R, "user, port, address", ("https://me@chat.example.com", "https://me:pw@chat.example.com", "https://a.example.com:0", "https://a.example.com:65536", "https://a.example.com:", "https://a.example.com:+1", "https://a.example.com:0443", "https://[::1]", "https://a.example.com.", "https://-a.example.com", "https://a..example.com", "https://" + "a" * 64 + ".example.com", "https://" + "a." * 130 + "com")),
    Row("O3", ALLOW, R, "patterns, variables, nginx's syntax", ("https://.*", "~^https://", "https://*.com", "https://a.*.example.com", "https://**.example.com", "https://*a.example.com", "https://*.*.example.com", "https://(a|b).example.com", "$http_origin", "https://$host", "https://${host}", 'https://a"b.example.com', "https://a;b.example.com", "https://a b.example.com", "https://a.example.com header", "https://a.example.com null", "header", "https://a.example.com\n", "https://a\\.example.com", "https://é.example.com", "https://a.example.com\0", 1, True, None, ["https://a.example.com"])),
    Row("K1", COOKIE, R, "no token", _NO_COOKIE),
    Row("K2", COOKIE, R, "prefixes that need attributes", ("__Host-wsr", "__Secure-wsr", "__host-x", "__SECURE-")),
    Row("K4", HASHED, R, "variables, and what is no name", (*_NO_COOKIE, "$remote_addr", "${cookie_x}", "x consistent", "$http_x$args")),
    Row("D6", "spec.timeouts.idle", R, "shorter than two pings"),
)  # fmt: skip

OBJECT_ROWS: Final = (
    Row("E1", ADDRESS, D, "loopback, unspecified", ("127.0.0.1", "127.9.9.9", "0.0.0.0", "0.1.2.3"), kind="EndpointSlice"),
    Row("E2", ADDRESS, D, "link-local, metadata", ("169.254.169.254", "169.254.0.1"), kind="EndpointSlice"),
    Row("E3", ADDRESS, D, "IPv6: loopback, link-local, mapped, NAT64, metadata, zones", ("::1", "::", "fe80::1", "fe80::1%eth0", "2001:db8::1%eth0", "::ffff:127.0.0.1", "::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe", "fd00:ec2::254", "::127.0.0.1", "ff02::1"), kind="EndpointSlice"),
    # Reserved (class E) and documentation addresses are refused in hand-written slices only: tests/unit/graph/test_addresses.py.
    Row("E4", ADDRESS, D, "multicast, broadcast, metadata", ("224.0.0.1", "255.255.255.255", "100.100.100.200", "fd00:ec2::254"), kind="EndpointSlice"),
    Row("E6", "endpoints[].targetRef.namespace", D, "a pod of another namespace"),
    Row("E7", "addressType", D, "FQDN, other families", ("FQDN", "fqdn", "IPv6", "", "unix", None, 4), kind="EndpointSlice"),
    Row("E8", ADDRESS, D, "no address", ("10.0.0.1;", "10.0.0.1:80", "unix:/tmp/x", "010.0.0.1", "10.0.0.1\n", "localhost", "", "10.0.0.1 weight=9", "10.0.0", "0x7f000001", "１0.0.0.1", "$host", "a" * 5000), kind="EndpointSlice"),
    Row("E9", "endpoints", D, "100 slices of 1,000 endpoints; doubles; null lists"),
    Row("E10", "metadata.labels", D, "a slice that a tenant wrote"),
    Row("E12", "ports[]", D, "ports of a slice: null, out of range, other names, UDP"),
    Row("A1", "metadata.annotations", IGN, "annotations as other controllers have them, unknown ones, 100 KB"),
    Row("A2", "metadata.annotations", IGN, "nginx's, a shell's and a template's text in annotations and labels"),
    Row("A3", VALUE, E, "template syntax is text", ("{{ 7*7 }}", "{% include 'x' %}", "{# x #}", "{{ self.__init__.__globals__ }}", "%(x)s {0} {x!r}", "<%= 1 %>")),
    Row("A4", "status", IGN, "a forged status, kopf's annotations, finalizers"),
    Row("A7", "metadata.name", E, "names of 253 characters, names that joined look alike"),
    Row("A8", "metadata.uid", IGN, "uid, resourceVersion, creationTimestamp made up"),
    Row("A10", "metadata.labels", R, "labels of the namespace that are nearly those of the selector"),
    Row("C5", "spec.trustedProxies", R, "an administrator's field in a route"),
    Row("L1", "spec", R, "10,000 paths, 10,000 fields, a megabyte in a field"),
    Row("L2", "spec", R, "more routes than the quota"),
    Row("L4", "(all)", R, "any JSON in any place"),
    Row("L5", "spec", R, "what no ConfigMap can hold"),
    Row("L6", "metadata", IGN, "a route that is being deleted and has finalizers"),
    Row("L7", "status", IGN, "messages are bounded"),
    Row("L8", "metadata", IGN, "hostile words in logs and Events"),
    Row("L9", "(metrics)", IGN, "no label of a metric comes from an object's text"),
    Row("L11", "(all)", R, "any string in any place"),
    Row("G1", "metadata.annotations", IGN, "annotations of generated ConfigMaps, written by hand", kind="ConfigMap"),
    Row("G2", "data", IGN, "another file in a generated ConfigMap", kind="ConfigMap"),
    Row("G3", "data", IGN, "forged acknowledgements", kind="ConfigMap"),
    Row("G4", "metadata.labels", IGN, "a generated ConfigMap that loses its label", kind="ConfigMap"),
)  # fmt: skip

_WSB: Final = "WebSocketBalancer"
_NO_NETWORK: Final = (
    "10.0.0.0/33", "10.0.0.1/8", "10.0.0.0", "2001:db8::/129", "010.0.0.0/8", "fe80::%eth0/64", "all", "unix:", "localhost",
    "10.0.0.0/8\n", "10.0.0.0/8;", "0/0", "10.0.0.0/255.0.0.0", "10.0.0.0/08", "", 10, "$remote_addr", "default",
)  # fmt: skip
_NO_DOMAIN: Final = (
    "*.example.com",
    "com",
    "A.example.com",
    "a.example.com.",
    "a.example.com\n",
    "$host",
    "192.0.2.1",
    "a b.com",
    "",
)
_NO_KEY: Final = ("", "a b", "a\n", "/a", "a/b/c", "-a", "a;", "é", "a" * 64, "A.b/c")

BALANCER_ROWS: Final = (
    Row("B1", "spec.domain", R, "no domain", _NO_DOMAIN, kind=_WSB),
    Row("B2", "spec.allowedRoutes.hosts[]", R, "no pattern of hosts", ("*.com", "a.*.example.com", "*a.example.com", "A.example.com", "~x", ".example.com", "a.example.com\n", "$host", "", "**"), kind=_WSB),
    Row("B3", "spec.listeners[].name", R, "no name", _NO_LABEL, kind=_WSB),
    Row("B4", "spec.listeners[].port", R, "no port", (0, 80, 1023, 8081, 8082, 65_536, True, "8080", 1.5, -1), kind=_WSB),
    Row("B5", "spec.requestHeaders[]", R, "names that no route may have", _NO_TOKEN + _FRAMING + _FORWARDING, kind=_WSB),
    Row("C1", "spec.trustedProxies[]", R, "no network", _NO_NETWORK, kind=_WSB),
    Row("C3", "spec.trustedProxies[]", R, "IPv4 in disguise", ("::ffff:10.0.0.0/104", "::FFFF:a00:0/104", "0:0:0:0:0:ffff::/96"), kind=_WSB),
    Row("C4", "spec.trustedProxies", R, "10,000 networks", kind=_WSB),
    Row("B6", "spec.nginx.workerProcesses", R, "no number of workers", (0, 65, -1, "4", "auto\n", "auto;", True, 1.5, ""), kind=_WSB),
    Row("B7", "spec.nginx.workerConnections", R, "no number of connections", (0, 63, 2**20 + 1, True, "1024", -1, 1.5), kind=_WSB),
    Row("B8", "spec.deploymentRef.name", R, "no name of a Deployment", ("", "A", "a_b", "a/b", "a\n", "a" * 254, "-a", "a..b", 1), kind=_WSB),
    Row("B9", "spec.serviceRef.name", R, "no name of a Service", _NO_LABEL, kind=_WSB),
    Row("B10", "spec.allowedRoutes.namespaces.selector.matchExpressions[].key", R, "no key of a label", _NO_KEY, kind=_WSB),
    Row("B11", "spec.allowedRoutes.namespaces.selector.matchExpressions[].values[]", R, "no value of a label", ("a b", "a\n", "-a", "a/b", "é", "a" * 64, 1, True), kind=_WSB),
    Row("B12", "spec.allowedRoutes.namespaces.selector.matchLabels", R, "no labels", ({"a b": "c"}, {"a": "b\n"}, {"a": 1}, {"": "x"}, [], "a=b"), kind=_WSB),
    Row("T1", "spec.listeners[].tls.certificates[].secretName", R, "no name of a Secret", ("", "A", "a_b", "a/b", "../a", "a\n", "a" * 254, "-a", "a..b", 1), kind=_WSB),
    Row("M1", "spec.nginx.templateRef.configMap", R, "no name of a ConfigMap", ("", "A", "a_b", "a/b", "../a", "a\n", "a" * 254, "-a", "a..b", 1), kind=_WSB),
    Row("M2", "spec.nginx.templateRef.key", R, "no key of a ConfigMap", ("", "a b", "a/b", "../a", "a\n", "é", "a" * 254, "$a", 1), kind=_WSB),
    *(Row(row.id, row.field.replace("spec.", "spec.defaults.", 1), R, row.what, row.values, kind=_WSB) for row in ROUTE_ROWS if row.id[0] in "OK"),
    Row("B13", "metadata.name", R, "a balancer's name", kind=_WSB),
)  # fmt: skip


def _generated() -> Iterator[Row]:
    """The lines that every duration and every enumeration has."""
    for kind in SPECS:
        for leaf in leaves(kind):
            if leaf.grammar is DURATION:
                values = tuple(text for text in _NO_DURATION if text != "0s" or not leaf.may_be_none)
                yield Row("D1", leaf.path, R, "no duration", values, kind=kind)
            elif leaf.words:
                word = leaf.words[0]
                near = (word.swapcase(), f"{word}\n", f"{word} ", f"{word};", f"x{word}", word * 2, "", 1, True, [word])
                yield Row("A6", leaf.path, R, "nearly an enumeration's word", near, kind=kind)


ROWS: Final = (*ROUTE_ROWS, *OBJECT_ROWS, *BALANCER_ROWS, *_generated())


def _word(*words: str) -> Callable[[str], bool]:
    """Whether one of these words is in a path, in any case."""
    return lambda path: any(word.lower() in path.lower() for word in words)


DUE: Final = (
    Due("X1–X8", "spec.paths[].type: Regex", "regular expressions: grammar, backtracking, anchors, captures", _word("regex", "regularexpression")),
    Due("V6", "headers.set[].valueFrom", "values from Secrets and ConfigMaps", _word("valueFrom", "secretKeyRef", "configMapKeyRef")),
    Due("S2g", "spec.paths[].backends[].namespace", "Services of other namespaces, by grant", _word("backends[].namespace", "grant")),
    Due("T1r", "spec.tls", "certificates of routes, and of clients", _word("spec.tls", "clientCA")),
    Due("K3", "spec.loadBalancing.stickyCookie.path", "attributes of cookies", _word("cookie.path", "cookie.domain")),
    Due("C2", "spec.allow, spec.deny", "lists of clients", _word("spec.allow[]", "spec.deny[]", "allowlist", "denylist", "clients")),
    Due("D4, D5, L10", "spec.limits", "sizes, rates, counts", _word("limits", ".rate", "burst", "bufferSize", "perPod", "connectionsPer")),
    Due("R1", "spec.auth", "subrequests", _word("auth")),
)  # fmt: skip

ELSEWHERE: Final = {
    "E5": "addresses of nodes, of the API server and of the balancer itself: tests of the endpoint policy",
    "L3": "flapping: tests/unit/controller/test_coalescer.py",
    "K5": "cookies that a client makes up: tests of the Dynamic data plane, as Static has none",
    "O4, O5": "no Origin, two of them, very long ones: tests/support/handshakes.py",
    "T2–T8": "content of certificates, key material: tests/unit/cluster/test_certificates.py",
    "L12": "more of nginx's memory than there is, names that all belong into one part: tests/unit/controller/test_fitting.py, "
    "tests/unit/controller/test_file_room.py",
    "L13": "the largest records and groups that the API lets through: tests/unit/dataplane/test_room.py",
    "S4": "Services of the operator and of kube-system can't be named: S2",
}
"""Lines of the published list that other tests hold."""
