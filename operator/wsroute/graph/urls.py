"""The addresses that clients connect to."""

from collections.abc import Iterable, Sequence
from typing import Final

from wsroute.api.balancer import Listener
from wsroute.graph.model import PathNode

MAX_URLS: Final = 64
"""What a status holds (``api.status``)."""

_DEFAULT_PORTS: Final = {"ws": 80, "wss": 443}


def route_urls(hosts: Iterable[str], paths: Sequence[PathNode], listeners: Iterable[Listener]) -> tuple[str, ...]:
    """One URL for each host and path, at the listener that serves clients best: wss before ws, the usual port before
    others. A wildcard host stands as it is, for there is no telling which names are in use."""
    ranked = sorted(
        listeners,
        key=lambda one: (
            one.public_scheme != "wss",
            one.public_port != _DEFAULT_PORTS[one.public_scheme],
            one.public_port,
        ),
    )
    if not ranked:
        return ()
    best = ranked[0]
    usual = best.public_port == _DEFAULT_PORTS[best.public_scheme]
    port = "" if usual else f":{best.public_port}"
    urls = [f"{best.public_scheme}://{host}{port}{path.path}" for host in hosts for path in paths]
    return tuple(urls[:MAX_URLS])
