"""The adapter between our port and the API server, over the HTTP layer of ``kubernetes.aio``.

Requests are made by path and objects stay raw JSON. Neither messages nor exceptions hold a header, so no token either.
"""

import asyncio
import contextlib
import io
import json
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, urlencode

import aiohttp
from kubernetes.aio.client.configuration import Configuration

from wsroute import __version__
from wsroute.kube import answers, connection
from wsroute.kube.backoff import jitter
from wsroute.kube.port import (
    LEASES,
    GoneError,
    Json,
    Listing,
    NotFoundError,
    RejectedError,
    Resource,
    UnavailableError,
    WatchEvent,
)

PAGE: Final = 500
"""Objects per page of a list."""

WATCH_SECONDS: Final = 300
"""How long we ask the server to keep a watch, on average: streams move between API servers, none lives for ever."""

SILENCE: Final = 70.0
"""Seconds without a byte after which a watch counts as dead.

Bookmarks come every 60, but none of a kind of which nothing is new: there this just makes the stream anew.
"""

PARALLEL: Final = 16
"""Requests under way at once, watches and Leases aside."""

_JSON = "application/json"
_APPLY = "application/apply-patch+yaml"  # JSON is YAML
# The server parses a body a second time to warn of unknown fields, in headers that nobody reads. That is half of the
# time of a large ConfigMap.
_UNCHECKED: Final = {"fieldValidation": "Ignore"}


class KubeClient:
    """A :class:`wsroute.kube.port.ClusterClient` for a real API server.

    Every request but a watch ends within ``timeout`` seconds, waiting for its turn included.
    """

    def __init__(self, configuration: Configuration, *, timeout: float = 10.0) -> None:
        self._configuration = configuration
        self._connections = connection.Connections(configuration)
        self._timeout = timeout
        self._turns = asyncio.Semaphore(PARALLEL)

    @classmethod
    def in_cluster(cls, *, timeout: float = 10.0) -> "KubeClient":
        """The client of a pod, by its service account. Raises KubeError outside of a pod."""
        return cls(connection.in_cluster(), timeout=timeout)

    @classmethod
    async def from_kubeconfig(cls, path: Path, *, context: str | None = None, timeout: float = 10.0) -> "KubeClient":  # noqa: ASYNC109 (of later requests)
        """The client that a kubeconfig gives. Raises KubeError when the file is not usable."""
        return cls(await connection.from_kubeconfig(path, context=context), timeout=timeout)

    async def list(
        self,
        resource: Resource,
        *,
        namespace: str | None = None,
        label_selector: str = "",
        field_selector: str = "",
        keep: Callable[[Json], Json] | None = None,
    ) -> Listing:
        """All objects, in pages; apiVersion and kind, which items of a list lack, are put in."""
        selectors = _selectors(label_selector, field_selector)
        try:
            return await self._pages(resource, namespace, {**selectors, "limit": str(PAGE)}, keep)
        except GoneError:
            # The list grew too old between two pages. In one piece it can't.
            return await self._pages(resource, namespace, selectors, keep)

    async def _pages(
        self,
        resource: Resource,
        namespace: str | None,
        query: dict[str, str],
        keep: Callable[[Json], Json] | None,
    ) -> Listing:
        what = f"Listing {_scope(resource, namespace)}"
        items: list[Json] = []
        proceed = ""
        while True:
            position = {"continue": proceed} if proceed else {}
            page = await self._send("GET", _collection(resource, namespace), what, query={**query, **position})
            for item in page.get("items") or ():
                item.setdefault("apiVersion", resource.api_version)
                item.setdefault("kind", resource.kind)
                items.append(item if keep is None else keep(item))
            proceed = (page.get("metadata") or {}).get("continue") or ""
            if not proceed:
                return Listing(items, answers.resource_version(page))

    async def watch(
        self,
        resource: Resource,
        *,
        resource_version: str,
        namespace: str | None = None,
        label_selector: str = "",
        field_selector: str = "",
    ) -> AsyncIterator[WatchEvent]:
        """Changes since a resourceVersion, until the server ends the stream.

        The first event is always a BOOKMARK with the resourceVersion asked for: the stream stands. Raises GoneError
        when the resourceVersion is too old, UnavailableError also for a stream that fell silent.
        """
        what = f"Watching {_scope(resource, namespace)}"
        query = {
            "watch": "1",
            "allowWatchBookmarks": "true",
            "resourceVersion": resource_version,
            "timeoutSeconds": str(round(WATCH_SECONDS * (0.9 + 0.2 * jitter()))),
            **_selectors(label_selector, field_selector),
        }
        lines = answers.LineSplitter()
        async with contextlib.AsyncExitStack() as stack:
            with _translated(what, self._timeout):
                async with asyncio.timeout(self._timeout):
                    response = await self._open("GET", _collection(resource, namespace), query, silence=SILENCE)
                    stack.callback(response.close)
                    await _check(what, response)
            yield WatchEvent("BOOKMARK", {"metadata": {"resourceVersion": resource_version}})
            chunks = response.content.iter_any()
            while True:
                with _translated(what, SILENCE):
                    chunk = await anext(chunks, None)
                if chunk is None:
                    return
                for line in lines.feed(chunk):
                    yield answers.watch_event(what, line)

    async def get(self, resource: Resource, *, namespace: str, name: str) -> Json:
        """One object; ``namespace`` is empty for resources that have none."""
        what = f"Reading {_title(resource, namespace, name)}"
        return await self._send("GET", _path(resource, namespace, name), what, lease=resource == LEASES)

    async def apply(
        self,
        resource: Resource,
        body: Mapping[str, Any],
        *,
        manager: str,
        subresource: str = "",
        force: bool = True,
    ) -> Json:
        """Server-side apply of the object that ``body`` names; a resourceVersion in it makes that a precondition.

        Raises ConflictError for a resourceVersion that is no longer the object's, and, without ``force``, for fields
        that another manager owns. An object that was deleted is made anew whatever resourceVersion ``body`` holds,
        unless its uid stands there too.
        """
        namespace, name = _identity(body)
        path = _path(resource, namespace, name) + (f"/{subresource}" if subresource else "")
        return await self._send(
            "PATCH",
            path,
            f"Applying {_title(resource, namespace, name)}{' ' + subresource if subresource else ''}",
            query={"fieldManager": manager, "force": "true" if force else "false", **_UNCHECKED},
            body={"apiVersion": resource.api_version, "kind": resource.kind, **body},
            content_type=_APPLY,
        )

    async def create(self, resource: Resource, body: Mapping[str, Any]) -> Json:
        """Make a new object. Raises ConflictError when it exists."""
        namespace, name = _identity(body)
        return await self._send(
            "POST",
            _collection(resource, namespace),
            f"Creating {_title(resource, namespace, name)}",
            body={"apiVersion": resource.api_version, "kind": resource.kind, **body},
            lease=resource == LEASES,
        )

    async def update(self, resource: Resource, body: Mapping[str, Any]) -> Json:
        """Replace an object whose resourceVersion stands in ``body``. Raises ConflictError when it is older."""
        namespace, name = _identity(body)
        return await self._send(
            "PUT",
            _path(resource, namespace, name),
            f"Updating {_title(resource, namespace, name)}",
            query=_UNCHECKED,
            body={"apiVersion": resource.api_version, "kind": resource.kind, **body},
            lease=resource == LEASES,
        )

    async def delete(self, resource: Resource, *, namespace: str, name: str) -> None:
        """Delete an object; one that is gone already is no error."""
        with contextlib.suppress(NotFoundError):
            await self._send(
                "DELETE", _path(resource, namespace, name), f"Deleting {_title(resource, namespace, name)}"
            )

    async def close(self) -> None:
        """Release the connections."""
        await self._connections.close()

    async def _send(
        self,
        method: str,
        path: str,
        what: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
        content_type: str = _JSON,
        lease: bool = False,
    ) -> Json:
        """One request and its answer. A Lease never waits behind other writes: leadership hangs on it."""
        with _translated(what, self._timeout):
            async with asyncio.timeout(self._timeout), contextlib.nullcontext() if lease else self._turns:
                response = await self._open(method, path, query or {}, body=body, content_type=content_type)
                with contextlib.closing(response):
                    await _check(what, response)
                    content = await response.read()
        try:
            answer: Any = json.loads(content)
        except (ValueError, RecursionError):
            answer = None
        if not isinstance(answer, dict):
            raise UnavailableError(f"{what}: the answer is no JSON object; is this really an API server?")
        return answer

    async def _open(
        self,
        method: str,
        path: str,
        query: Mapping[str, str],
        *,
        body: Mapping[str, Any] | None = None,
        content_type: str = _JSON,
        silence: float | None = None,
    ) -> aiohttp.ClientResponse:
        headers = {"Accept": _JSON, "User-Agent": f"wsroute/{__version__}"}
        headers.update(await connection.authorization(self._configuration))
        if body is not None:
            headers["Content-Type"] = content_type
        return await self._connections.session().request(
            method,
            f"{self._configuration.host}{path}" + (f"?{urlencode(query)}" if query else ""),
            headers=headers,
            # A stream, since aiohttp warns of large bodies in one piece.
            data=None if body is None else io.BytesIO(json.dumps(body, separators=(",", ":")).encode()),
            allow_redirects=False,
            # The whole is timed by the caller.
            timeout=aiohttp.ClientTimeout(total=None, sock_read=silence),
            proxy=self._configuration.proxy,
            server_hostname=self._configuration.tls_server_name,
        )


async def _check(what: str, response: aiohttp.ClientResponse) -> None:
    """Raise what a failed answer means."""
    if response.status >= 300:
        raise answers.failure(
            what,
            status=response.status,
            body=await response.read(),
            retry_after=response.headers.get("Retry-After"),
        )


@contextlib.contextmanager
def _translated(what: str, seconds: float) -> Any:
    """Turn failures of the transport into UnavailableError. Their causes are cut off: they may hold our headers."""
    try:
        yield
    except TimeoutError:
        # aiohttp's own time-outs are of this class too.
        raise UnavailableError(f"{what}: no answer from the API server within {seconds:.0f} s.") from None
    except aiohttp.ClientResponseError as error:
        raise UnavailableError(f"{what}: the answer is no proper HTTP ({error.message}).") from None
    except (aiohttp.ClientError, OSError) as error:
        raise UnavailableError(
            f"{what}: the API server is out of reach: {str(error) or type(error).__name__}."
        ) from None


def _identity(body: Mapping[str, Any]) -> tuple[str, str]:
    metadata = body["metadata"]
    return metadata.get("namespace") or "", metadata["name"]


def _segment(value: str) -> str:
    """A name as one segment of a path. What could be more than one is no name (Kubernetes refuses it as well)."""
    if value in ("", ".", "..") or "/" in value or "%" in value:
        raise RejectedError(
            f"{value!r} can't be the name of an object: names hold no '/' and no '%', and are not dots."
        )
    return quote(value, safe="")


def _collection(resource: Resource, namespace: str | None) -> str:
    root = f"/apis/{resource.group}/{resource.version}" if resource.group else f"/api/{resource.version}"
    middle = f"/namespaces/{_segment(namespace)}" if namespace and resource.namespaced else ""
    return f"{root}{middle}/{resource.plural}"


def _path(resource: Resource, namespace: str, name: str) -> str:
    if resource.namespaced and not namespace:
        raise RejectedError(f"{resource.kind} {name} needs a namespace.")
    return f"{_collection(resource, namespace)}/{_segment(name)}"


def _selectors(labels: str, fields: str) -> dict[str, str]:
    return {key: value for key, value in (("labelSelector", labels), ("fieldSelector", fields)) if value}


def _scope(resource: Resource, namespace: str | None) -> str:
    return f"{resource.plural} in namespace {namespace}" if namespace else resource.plural


def _title(resource: Resource, namespace: str, name: str) -> str:
    return f"{resource.kind} {namespace + '/' if namespace else ''}{name}"
