"""The main template's text, with a place for what must be in it.

A main template writes ``required.main`` and ``required.http``: words in nginx's language that stand for what is ours.
Where they stand is found in the *structure* of the text, so that one in a comment, a string or another block does not
count, and only then do they give way to our text. So the pid, the error log, the servers that say which version
answers, the refusals, and every upstream and server of the routes are never the template's to leave out or to change.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from wsroute.api.balancer import RESERVED_PORTS
from wsroute.nginx.quoting import Comment, Emitted, Identifier, Integer, Network
from wsroute.nginx.sandbox import MAIN, TemplateRefusedError, render_custom
from wsroute.nginx.structure import Directive, StructureError, directives
from wsroute.nginx.templating import ENVIRONMENT, Block

_MAIN: Final = "wsroute_required_main"
_HTTP: Final = "wsroute_required_http"

_KEPT: Final = {
    "daemon": "nginx is started by the pod's start script",
    "master_process": "a reload needs nginx's master",
    "pid": "it is a part of required.main",
    "worker_shutdown_timeout": "it would close open sockets at a reload",
}
"""Directives that a custom template can't use, and why."""


@dataclass(frozen=True, slots=True)
class Required:
    """What a main template must write, once each: ``main`` in the main context, ``http`` in http."""

    main: Block
    http: Block


_REQUIRED: Final = Required(main=Block(f"{_MAIN};"), http=Block(f"{_HTTP};"))


@dataclass(frozen=True, slots=True)
class ListenerView:
    """A listener. ``port_column`` is the port, padded; ``tls`` says that TLS is ended there."""

    name: Comment
    port: Integer
    port_column: Block
    scheme: Identifier
    public_port: Integer
    tls: bool


@dataclass(frozen=True, slots=True)
class MainContext:
    """The names that a main template gets, beside ``required``. ``tls`` says that some listener ends TLS."""

    balancer: Comment
    worker_processes: Emitted
    worker_connections: Integer
    listeners: tuple[ListenerView, ...]
    ipv6: bool
    tls: bool
    trusted_proxies: tuple[Network, ...]

    def names(self) -> dict[str, Any]:
        """As a template takes them."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


@dataclass(frozen=True, slots=True)
class Skeleton:
    """The main template's text around what is ours: before required.main, between the two, after required.http.

    ``main_first`` says that required.main stands before http, as in the shipped template.
    """

    parts: tuple[str, str, str]
    main_first: bool

    def around(self, main: str, http: str) -> tuple[str, str]:
        """The text before and behind the routes, which follow ``http`` inside of it."""
        first, second, third = self.parts
        if self.main_first:
            return f"{first}{main}{second.rstrip()}\n\n{http}", third.lstrip("\n")
        return f"{first.rstrip()}\n\n{http}", f"{second.lstrip()}{main}{third}"


@lru_cache(maxsize=16)
def make_skeleton(
    custom: str | None, context: MainContext, sockets: frozenset[str], *, counts_in_log: bool = False
) -> Skeleton:
    """Render the shipped main template, or a custom one. ``sockets`` are our own, as ``unix:/path``.

    With ``counts_in_log`` a log of ours follows in required.http, which writes nothing but counts the sockets that end:
    then ``access_log off`` in http is left out, which would end that one, too, and has no other to end.

    Raises TemplateRefusedError for a custom one that can't be used.
    """
    names = {**context.names(), "required": _REQUIRED}
    text = ENVIRONMENT.get_template(MAIN).render(names) if custom is None else render_custom(custom, names)
    try:
        found = directives(text)
        if counts_in_log:
            text = _without(text, [directive for directive in found if _ends_logs(directive)])
            found = directives(text)
    except StructureError as error:
        shown = _shown_line(text, error.line)
        raise TemplateRefusedError(f"It does not give a configuration: {error}, in line {error.line}{shown}.") from None
    for directive in found:
        _refuse_ours(directive, sockets)
    main = _only(found, _MAIN, "required.main", blocks=(), where="the main context, outside of every block")
    http = _only(found, _HTTP, "required.http", blocks=("http",), where="http, and in no block inside of it")
    first, second = sorted((main, http), key=lambda directive: directive.start)
    parts = (text[: first.start], text[first.end : second.start], text[second.end :].rstrip("\n") + "\n")
    return Skeleton(parts, main_first=first is main)


def _ends_logs(directive: Directive) -> bool:
    return directive.blocks == ("http",) and directive.words == ("access_log", "off")


def _without(text: str, unwanted: list[Directive]) -> str:
    for directive in reversed(unwanted):
        text = text[: directive.start] + text[directive.end :]
    return text


def _only(found: tuple[Directive, ...], name: str, called: str, *, blocks: tuple[str, ...], where: str) -> Directive:
    places = [directive for directive in found if directive.name == name]
    if not places:
        raise TemplateRefusedError(f"{{{{ {called} }}}} is missing: write it in {where}.")
    if len(places) > 1:
        raise TemplateRefusedError(f"{{{{ {called} }}}} stands {len(places)} times: write it once.")
    if places[0].blocks != blocks or places[0].words != (name,):
        raise TemplateRefusedError(f"{{{{ {called} }}}} stands in the wrong place: write it in {where}.")
    return places[0]


def _refuse_ours(directive: Directive, sockets: frozenset[str]) -> None:
    """Refuse what would break the loading or the verification of versions."""
    name, *arguments = directive.words
    if name in _KEPT:
        raise TemplateRefusedError(f"The directive {name} can't be used in a custom template: {_KEPT[name]}.")
    if name == "listen" and arguments:
        address = arguments[0]
        if address in sockets or address.rpartition(":")[2] in {str(port) for port in RESERVED_PORTS}:
            text = f"A server can't listen on {address[:80]}, where versions are verified: choose another port."
            raise TemplateRefusedError(text)
    if name in ("map", "geo", "split_clients", "set") and any(
        word.startswith("$wsroute_") for word in _defined(name, arguments)
    ):
        raise TemplateRefusedError(f"{name} can't define a variable that begins with $wsroute_: those are ours.")


def _defined(name: str, arguments: list[str]) -> list[str]:
    """The variable that a directive defines: set names it first, the others last."""
    return arguments[:1] if name == "set" else arguments[-1:]


def _shown_line(text: str, number: int) -> str:
    line = text.split("\n")[number - 1].strip()
    return f" of what it writes ({line[:80]})" if line else " of what it writes"
