"""Every emitter takes what it is for and refuses everything that could mean something else to nginx."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jinja2 import UndefinedError

from wsroute.dataplane.ir import RouteRef
from wsroute.nginx import quoting
from wsroute.nginx.quoting import EmitError, Emitted
from wsroute.nginx.templating import ENVIRONMENT, Block

CONTROL = ["a\nb", "a\rb", "a\x00b", "a\tb", "a\x7fb", "a\x85b", "a\u2028b", "a\u200bb", "a\ud800b"]
"""Line ends in every dress, invisible characters, and what JSON can hold but UTF-8 can't."""

TEXT_SINKS: list[Callable[[str], Emitted]] = [
    quoting.Quoted,
    quoting.HeaderName,
    quoting.ServerName,
    lambda text: quoting.LocationPath("/" + text),
    lambda text: quoting.PathPattern("/" + text),
    lambda text: quoting.RegexLiteral("/" + text),
    lambda text: quoting.RewriteTarget("/" + text),
    lambda text: quoting.SocketAddress(text, 80),
    quoting.Network,
    quoting.Identifier,
    quoting.Comment,
    lambda text: quoting.FilePath("/" + text),
    lambda text: quoting.UnixSocket("/" + text),
    lambda text: quoting.RouteName(RouteRef(text, "chat")),
    lambda text: quoting.RouteName(RouteRef("team-a", text)),
]


@pytest.mark.parametrize("sink", TEXT_SINKS)
@pytest.mark.parametrize("text", CONTROL)
def test_no_emitter_takes_control_characters(sink: Callable[[str], Emitted], text: str) -> None:
    for hostile in (text, text.replace("b", ""), text.replace("a", "")):
        with pytest.raises(EmitError) as caught:
            sink(hostile)
        assert str(caught.value).isprintable()
        assert str(caught.value).isascii()


@pytest.mark.parametrize("sink", TEXT_SINKS)
@pytest.mark.parametrize("value", [None, 5, True, 1.5, b"bytes", ["list"], {"a": 1}])
def test_no_text_emitter_takes_another_type(sink: Callable[[str], Emitted], value: object) -> None:
    with pytest.raises((EmitError, TypeError)):
        sink(value)  # type: ignore[arg-type]


@given(st.text(max_size=300))
def test_no_emitter_lets_syntax_out_of_its_token(text: str) -> None:
    for sink in TEXT_SINKS:
        try:
            emitted = sink(text)
        except EmitError:
            continue
        assert emitted.isprintable()
        assert len(emitted.encode()) <= quoting.TOKEN_LIMIT
        if emitted.startswith('"'):
            assert _closes_at_its_end(emitted)


def _closes_at_its_end(token: str) -> bool:
    """Does the quote close with the last character and not before?"""
    position = 1
    while token[position] != '"':
        position += 2 if token[position] == "\\" else 1
    return position == len(token) - 1


@pytest.mark.parametrize(
    ("emitted", "expected"),
    [
        (quoting.Quoted("a"), '"a"'),
        (quoting.Quoted(""), '""'),
        (quoting.Quoted('say "hi" \\'), '"say \\"hi\\" \\\\"'),
        (quoting.Quoted("größe"), '"größe"'),
        (quoting.HeaderName("X-Team"), "X-Team"),
        (quoting.HeaderName("#x"), '"#x"'),
        (quoting.ServerName("chat.example.com"), "chat.example.com"),
        (quoting.ServerName("*.example.com"), r"~^[^.]+\.example\.com$"),
        (quoting.LocationPath("/ws/"), "/ws/"),
        (quoting.LocationPath("/a;b{c}"), '"/a;b{c}"'),
        (quoting.LocationPath("/~a"), "/~a"),
        (quoting.PathPattern("/ws"), r"^/ws(/|\z)"),
        (quoting.PathPattern("/v1.0/(a)*+"), r"^/v1\.0/\(a\)\*\+(/|\z)"),
        (quoting.PathPattern("/a b;{2}\\t"), r'"^/a b;\{2\}\\\\t(/|\z)"'),
        (quoting.PathPattern("/ws/", below=False), r"^/ws/\z"),
        (quoting.RegexLiteral('/v1.0/(a)"\\$'), r"/v1\.0/\(a\)\"\\\\\$"),
        (quoting.RewriteTarget(""), ""),
        (quoting.RewriteTarget('/a"b'), '/a\\"b'),
        (quoting.SocketAddress("10.1.2.3", 80), "10.1.2.3:80"),
        (quoting.SocketAddress("2001:DB8:0::1", 65535), "[2001:db8::1]:65535"),
        (quoting.Network("10.0.0.0/8"), "10.0.0.0/8"),
        (quoting.Network("2001:DB8::/32"), "2001:db8::/32"),
        (quoting.Duration(500), "500ms"),
        (quoting.Duration(1_500), "1500ms"),
        (quoting.Duration(90_000), "90s"),
        (quoting.Duration(120_000), "2m"),
        (quoting.Duration(3_600_000), "1h"),
        (quoting.Integer(0), "0"),
        (quoting.Size(512), "512k"),
        (quoting.Size(8192), "8m"),
        (quoting.Identifier("team-a_chat_0"), "team-a_chat_0"),
        (quoting.RouteName(RouteRef("team-a", "chat.v2")), "team-a/chat.v2"),
        (quoting.FilePath("/run/wsroute/nginx.pid"), "/run/wsroute/nginx.pid"),
        (quoting.FilePath("/home/Jo Smith/run"), '"/home/Jo Smith/run"'),
        (quoting.UnixSocket("/run/wsroute/admin.sock"), "unix:/run/wsroute/admin.sock"),
        (quoting.UnixSocket("/home/Jo Smith/s"), '"unix:/home/Jo Smith/s"'),
    ],
)
def test_what_is_emitted(emitted: Emitted, expected: str) -> None:
    assert str(emitted) == expected


@pytest.mark.parametrize(
    "make",
    [
        lambda: quoting.Quoted("$http_authorization"),
        lambda: quoting.Quoted("x" * 4089),
        lambda: quoting.Quoted('"' * 2500),
        lambda: quoting.Quoted("ü" * 2500),
        lambda: quoting.HeaderName("X Team"),
        lambda: quoting.HeaderName("X:Team"),
        lambda: quoting.HeaderName("$x"),
        lambda: quoting.HeaderName("x" * 257),
        lambda: quoting.HeaderName(""),
        lambda: quoting.HeaderName("transfer_encoding"),
        lambda: quoting.HeaderName("Sec-WebSocket-Key"),
        lambda: quoting.ServerName(""),
        lambda: quoting.ServerName("_"),
        lambda: quoting.ServerName("~^.*$"),
        lambda: quoting.ServerName(".example.com"),
        lambda: quoting.ServerName("*"),
        lambda: quoting.ServerName("*."),
        lambda: quoting.ServerName("*.*.com"),
        lambda: quoting.ServerName("a.*.com"),
        lambda: quoting.ServerName("chat.example.com."),
        lambda: quoting.ServerName("Chat.example.com"),
        lambda: quoting.ServerName("-a.example.com"),
        lambda: quoting.ServerName("a-.example.com"),
        lambda: quoting.ServerName("a..example.com"),
        lambda: quoting.ServerName("a" * 64 + ".example.com"),
        lambda: quoting.ServerName(".".join(["a" * 50] * 6)),
        lambda: quoting.ServerName("chat.example.com:80"),
        lambda: quoting.ServerName("bücher.example.com"),
        lambda: quoting.ServerName("chat.example.com default_server"),
        lambda: quoting.LocationPath("ws"),
        lambda: quoting.LocationPath(""),
        lambda: quoting.LocationPath("~ ^/"),
        lambda: quoting.LocationPath("/" + "a" * 4090),
        lambda: quoting.PathPattern("ws"),
        lambda: quoting.PathPattern(""),
        lambda: quoting.PathPattern("~ ^/"),
        lambda: quoting.PathPattern("/" + "a" * 4090),
        lambda: quoting.RewriteTarget("https://evil.test/"),
        lambda: quoting.RewriteTarget("/a?b"),
        lambda: quoting.RewriteTarget("/$1"),
        lambda: quoting.SocketAddress("unix:/run/wsroute/admin.sock", 80),
        lambda: quoting.SocketAddress("localhost", 80),
        lambda: quoting.SocketAddress("010.1.2.3", 80),
        lambda: quoting.SocketAddress("10.1.2.3:80", 80),
        lambda: quoting.SocketAddress("10.1.2", 80),
        lambda: quoting.SocketAddress("256.1.2.3", 80),
        lambda: quoting.SocketAddress("1٢.1.2.3", 80),
        lambda: quoting.SocketAddress("fe80::1%eth0", 80),
        lambda: quoting.SocketAddress("[::1]", 80),
        lambda: quoting.SocketAddress("10.1.2.3", 0),
        lambda: quoting.SocketAddress("10.1.2.3", 65536),
        lambda: quoting.SocketAddress("10.1.2.3", True),
        lambda: quoting.SocketAddress("10.1.2.3", "80"),  # type: ignore[arg-type]
        lambda: quoting.Network("10.0.0.1/8"),
        lambda: quoting.Network("10.0.0.0"),
        lambda: quoting.Network("10.0.0.0/33"),
        lambda: quoting.Network("10.0.0.0/255.0.0.0"),
        lambda: quoting.Network("unix:"),
        lambda: quoting.Network("all"),
        lambda: quoting.Duration(0),
        lambda: quoting.Duration(-1),
        lambda: quoting.Duration(2**31),
        lambda: quoting.Duration(True),
        lambda: quoting.Duration(1.5),  # type: ignore[arg-type]
        lambda: quoting.Integer(-1),
        lambda: quoting.Integer(0, minimum=1),
        lambda: quoting.Integer(2**31),
        lambda: quoting.Integer(65_536, maximum=65_535),
        lambda: quoting.Size(8),
        lambda: quoting.Identifier("a b"),
        lambda: quoting.Identifier("a;b"),
        lambda: quoting.Identifier("$a"),
        lambda: quoting.Identifier("_a"),
        lambda: quoting.Identifier("a/b"),
        lambda: quoting.Identifier(""),
        lambda: quoting.Identifier("a" * 401),
        lambda: quoting.Comment("a; } server {"),
        lambda: quoting.Comment(""),
        lambda: quoting.Comment("a" * 1501),
        lambda: quoting.RouteName(RouteRef("a/b", "c")),
        lambda: quoting.RouteName(RouteRef("", "c")),
        lambda: quoting.RouteName(RouteRef("a", "")),
        lambda: quoting.FilePath("run/nginx.pid"),
        lambda: quoting.FilePath("/run/"),
        lambda: quoting.FilePath("/run/$pid"),
        lambda: quoting.UnixSocket("/" + "a" * 107),
        lambda: quoting.UnixSocket("/run/a:b"),
        lambda: quoting.Emitted("x"),
    ],
)
def test_what_is_refused(make: Callable[[], Emitted]) -> None:
    with pytest.raises((EmitError, TypeError)):
        make()


class TestTemplates:
    """Only emitters can be written."""

    @pytest.mark.parametrize(
        ("source", "values"),
        [
            ("{{ value }}", {"value": "text"}),
            ("{{ value }}", {"value": 5}),
            ("{{ value }}", {"value": None}),
            ("{{ value|upper }}", {"value": quoting.Quoted("text")}),
            ("{{ value ~ value }}", {"value": quoting.Quoted("text")}),
            ("{{ value[1:] }}", {"value": quoting.Quoted("text")}),
            ("{{ 'text' }}", {}),
            ("{% macro m() %}text{% endmacro %}{{ m() }}", {}),
        ],
    )
    def test_anything_else_raises(self, source: str, values: dict[str, object]) -> None:
        with pytest.raises(EmitError, match="may only write emitters"):
            ENVIRONMENT.from_string(source).render(**values)

    @pytest.mark.parametrize("source", ["{{ value }}", "{% if value %}{% endif %}", "{{ value.text }}"])
    def test_what_is_missing_raises(self, source: str) -> None:
        with pytest.raises((EmitError, UndefinedError)):
            ENVIRONMENT.from_string(source).render()

    def test_emitters_and_blocks_are_written(self) -> None:
        template = ENVIRONMENT.from_string("set {{ value }};\n{{ block }}")
        assert template.render(value=quoting.Quoted("{{ 7 * 7 }}"), block=Block("a\nb\n")) == (
            'set "{{ 7 * 7 }}";\na\nb\n'
        )
