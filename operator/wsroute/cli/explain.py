"""``wsroute explain``: which route takes a request on a balancer, what would refuse it, and where it may go.

The running pods' table is read, and the model of what nginx does with it (``dataplane.router``, ``dataplane.choice``)
is asked: no request is made.
"""

import asyncio
import json
import posixpath
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import SplitResult, unquote, urlsplit

from wsroute.api.balancer import WebSocketBalancerSpec
from wsroute.cli.balancer import View, ViewError, read_view
from wsroute.cli.kubectl import Kubectl, KubectlError
from wsroute.cli.routes import BAD, GOOD, duration, troubles
from wsroute.cli.terminal import complain, printable
from wsroute.dataplane.choice import Live, choose
from wsroute.dataplane.router import Buckets, Forwarded, Found, Refused, Request, decide, find, find_server
from wsroute.dataplane.shell import build_shell

REFUSED: Final = 1
"""The exit code where the request would not reach an endpoint."""

WORDS: Final = {
    "bad-handshake": "This is no handshake of RFC 6455.",
    "no-endpoints": "No endpoint of this route takes connections.",
    "origin": "Pages of this origin may not open sockets here.",
    "route-invalid": "This route is invalid at the moment.",
    "upgrade-required": "This address takes WebSockets only.",
}
"""What the answer of a refusal says, by its reason (nginx/templates/dynamic.conf.j2)."""

NO_HOST: Final = "No route claims this host."

_SCHEMES: Final = {"ws": "ws", "http": "ws", "wss": "wss", "https": "wss"}
_PORTS: Final = {"ws": 80, "wss": 443}
_HANDSHAKE: Final = {
    "upgrade": "websocket",
    "connection": "Upgrade",
    "sec-websocket-version": "13",
    "sec-websocket-key": "d3Nyb3V0ZWV4cGxhaW4hIQ==",
}


@dataclass(frozen=True, slots=True)
class Question:
    """A request. ``headers`` are added to those of a handshake, or are all of them for ``plain`` HTTP; their names are
    in lower case. Without a ``listener`` the URL says which one it is."""

    url: str
    listener: str | None = None
    plain: bool = False
    client: str = "127.0.0.1"
    headers: Mapping[str, str] = field(default_factory=dict)


def explain(
    kubectl: Kubectl, question: Question, *, namespace: str | None, balancer: str | None, pod: str | None, as_json: bool
) -> int:
    """Print what becomes of a request, and return the exit code."""
    try:
        view = asyncio.run(read_view(kubectl, namespace=namespace, name=balancer, pod=pod, sockets=False))
        told = answer(view, to_request(question, view))
    except (ViewError, KubectlError) as error:
        complain(error)
        return BAD
    if as_json:
        print(json.dumps(told, indent=2))
    else:
        print("\n".join(map(printable, to_text(told))))
    for line in troubles(view):
        print(printable(line), file=sys.stderr)
    return GOOD if told["status"] == "forwarded" else REFUSED


def to_request(question: Question, view: View) -> Request:
    """The request as nginx has it. Raises ViewError."""
    if not any(dump.mark for dump in view.dumps.values()):
        static = view.data_plane == "Static"
        reason = "is Static: its routes stand in nginx.conf" if static else "has no pod whose table can be read"
        why = "".join(f" Pod {pod.name}: {pod.trouble}" for pod in view.pods if pod.trouble)
        raise ViewError(f"The balancer {view.namespace}/{view.name} {reason}.{why}")
    try:
        url = urlsplit(question.url if "//" in question.url else f"//{question.url}")
        host, port = (url.hostname or "").rstrip("."), url.port
    except ValueError as error:
        raise ViewError(f"{question.url} is no URL: {error}.") from None
    if not host or (url.scheme and url.scheme not in _SCHEMES):
        raise ViewError(f"{question.url} is no URL of a WebSocket: write it as ws://chat.example.com/ws.")
    headers = dict(question.headers) if question.plain else {**_HANDSHAKE, **question.headers}
    return Request(
        listener=question.listener or _listener(view, url, port),
        host=host,
        path=normalised(url.path),
        query=url.query,
        headers=headers,
        client=question.client,
    )


def normalised(path: str) -> str:
    """A path as nginx looks it up: decoded, without dot segments and empty elements."""
    decoded = unquote(path) or "/"
    cleaned = posixpath.normpath("/" + decoded.lstrip("/"))
    slash = decoded.endswith(("/", "/.", "/..")) and cleaned != "/"
    return cleaned + "/" if slash else cleaned


def _listener(view: View, url: SplitResult, port: int | None) -> str:
    """The listener that clients of a URL reach. Raises ViewError."""
    listeners = view.spec.listeners if view.spec is not None else ()
    if len(listeners) == 1:
        return listeners[0].name
    scheme = _SCHEMES.get(url.scheme, "")
    wanted = port or _PORTS.get(scheme)
    found = [each.name for each in listeners if each.public_scheme == scheme and each.public_port == wanted]
    if len(found) == 1:
        return found[0]
    names = ", ".join(each.name for each in listeners) or "that its spec names"
    raise ViewError(f"The URL does not say which listener it is for: say --listener, with one of {names}.")


def answer(view: View, request: Request) -> dict[str, Any]:
    """What becomes of a request, as JSON. Raises ViewError."""
    try:
        return _answer(view, request)
    except (ValueError, KeyError, TypeError, AttributeError):
        raise ViewError("This wsroute can't read what the pods have for that host: use their version.") from None


def _answer(view: View, request: Request) -> dict[str, Any]:
    entries = view.usual
    found = find(entries, request)
    told: dict[str, Any] = {
        "balancer": f"{view.namespace}/{view.name}",
        "listener": request.listener,
        "host": request.host,
        "path": request.path,
        "route": None if found is None else found.record["r"],
        "why": _why(view, request, found),
    }
    decision = decide(entries, request, _buckets(view.spec))
    if isinstance(decision, Refused):
        claimed = find_server(entries, request.listener, request.host) is not None
        words = WORDS.get(decision.reason, "" if claimed else NO_HOST)
        detail = _origins(found.record["o"], request) if found is not None and decision.reason == "origin" else ""
        return told | {"status": decision.status, "reason": decision.reason, "answer": words, "detail": detail}
    held = {address: 0 for part in decision.candidates for _, address in (*part.ready, *part.returning)}
    for dump in view.dumps.values():
        held |= {address: held[address] + dump.endpoint_sockets.get(address, 0) for address in held}
    return told | {
        "status": "forwarded",
        "pathAtTheEndpoint": decision.path,
        "idle": decision.idle_timeout,
        "connect": decision.connect_timeout,
        "originReported": _origins(found.record["o"], request) if found and decision.origin_refused else "",
        "endpoint": _certain(decision),
        "endpoints": [
            {"group": part.group, "weight": part.weight, "address": address, "sockets": held[address]}
            for part in decision.candidates
            for _, address in part.ready
        ],
        "policy": {"L": "LeastConnections", "R": "RoundRobin", "H": "Hash"}[decision.policy],
    }


def _why(view: View, request: Request, found: Found | None) -> str:
    if found is None:
        if find_server(view.usual, request.listener, request.host) is None:
            return f"no route has the host {request.host} on the listener {request.listener}"
        return f"no route of that host takes the path {request.path}"
    host = "the host itself" if found.host == request.host else f"the wildcard {found.host}"
    path = f"the exact path {request.path}" if found.prefix is None else f"the prefix {found.prefix}"
    return f"{host}, and {path}"


def _origins(rules: Mapping[str, Any], request: Request) -> str:
    allowed = ", ".join((*rules.get("h", ()), *rules.get("a", ())))
    sent = request.headers.get("origin", "")
    if not sent:
        return f"there is no header Origin, which this route requires; it allows {allowed}"
    return f"the Origin {sent} is none of {allowed}"


def _buckets(spec: WebSocketBalancerSpec | None) -> Buckets:
    shell = build_shell(spec or WebSocketBalancerSpec.model_construct())
    return Buckets(idle=shell.idle_timeouts, connect=shell.connect_timeouts)


def _certain(request: Forwarded) -> str | None:
    """The endpoint, where neither chance nor what others do has a say: by a hash, or by the client's cookie."""
    ids = {name for part in request.candidates for name, _ in (*part.ready, *part.returning)}
    if not request.hashed and request.returning_to not in ids:
        return None
    choice = choose(request, Live(draw=lambda: 0.0, sockets={}, turns={}))
    return None if choice is None else choice.endpoint


def to_text(told: Mapping[str, Any]) -> list[str]:
    """The same for people."""
    lines = [
        f"Request   {told['host']}{told['path']} on the listener {told['listener']} of {told['balancer']}",
        f"Route     {told['route'] or 'none'}: {told['why']}",
    ]
    if told["status"] != "forwarded":
        said = f": {told['answer']}" if told["answer"] else ""
        lines.append(f"Answer    {told['status']} {told['reason']}{said}")
        return lines + ([f"Because   {told['detail']}"] if told["detail"] else [])
    times = f"idle {duration(told['idle'])}, connect {duration(told['connect'])}"
    lines.append(f"Answer    that of an endpoint, {told['policy']}; {times}")
    if told["pathAtTheEndpoint"] is not None:
        lines.append(f"Path      becomes {told['pathAtTheEndpoint']}")
    if told["originReported"]:
        lines.append(f"Origin    {told['originReported']}; that is reported, not enforced")
    if told["endpoint"] is not None:
        lines.append(f"Endpoint  {told['endpoint']}, by what the request holds")
    lines += [
        f"May go to {each['address']}, which holds {each['sockets']} sockets ({each['group']})"
        for each in told["endpoints"]
    ]
    return lines
