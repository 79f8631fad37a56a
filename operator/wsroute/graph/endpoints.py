"""Which addresses behind a Service's port take new sockets: the union of its slices, checked, each pod once.

Addresses are hostile. A tenant who may write EndpointSlices or Endpoints can put any address into one, that of the
cloud's metadata service or of another tenant's pod included (CVE-2021-25740), and a proxy that believes it becomes a
deputy. So an endpoint counts only when its slice says that the EndpointSlice controller wrote it, for a pod of the
Service's own namespace, unless the balancer's administrator lets hand-written ones in; and some addresses never count.
What the mirroring controller copies from an Endpoints object is as hand-written as that object.

What a slice says of its writer is a label, which whoever may write slices can forge. Where the Service has a selector
the EndpointSlice controller takes such a slice for its own and corrects it; where it has none that controller writes
nothing, so that the label is a lie and the slice counts as hand-written. What is left are forgers who write again and
again: the right to write EndpointSlices has to be kept from tenants (docs/topics/security-model).
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Final, NamedTuple

from wsroute.cluster.addresses import ipv4_number, ipv6_address
from wsroute.cluster.objects import EndpointSlice, Key, Service, ServicePort, SliceEndpoint
from wsroute.graph.addresses import Reserved, may_be_a_pods
from wsroute.graph.left_out import MAX_ENDPOINTS, Excluded, LeftOut, explain

SLICE_CONTROLLER: Final = "endpointslice-controller.k8s.io"
"""The only writer of slices whose endpoints count as the Service's own pods."""

MAX_LOOKED_AT: Final = 20_000
"""Endpoints of a Service that are looked at: all of them at each change of one, and everybody's changes wait meanwhile.
There may be more than count, since each pod has one in each family, and not all are ready."""


class Address(NamedTuple):
    """An address in its canonical text and a port."""

    address: str
    port: int


@dataclass(frozen=True, slots=True)
class EndpointRules:
    """What is let in. ``manual`` are endpoints that the EndpointSlice controller has not written for a pod,
    ``host_network`` pods on the addresses of their nodes, ``loopback`` addresses of this host."""

    manual: bool = False
    host_network: bool = False
    loopback: bool = False


@dataclass(frozen=True, slots=True)
class EndpointSet:
    """The endpoints behind a port of a Service.

    ``addresses`` take new sockets, sorted and unique: the ready ones, and where none is ready those that terminate but
    still serve. ``returning`` are the latter where others take the new sockets: they can take a client back. ``ready``
    and ``draining`` are how many there are of these two. ``left_out`` are those that do not count, by why.
    """

    addresses: tuple[Address, ...]
    ready: int
    draining: int
    left_out: tuple[Excluded, ...]
    returning: tuple[Address, ...] = ()

    def explanation(self) -> str:
        """Why there are no more, as a sentence, or an empty text."""
        return explain(self.left_out)


NO_ENDPOINTS: Final = EndpointSet(addresses=(), ready=0, draining=0, left_out=())


class _LeftOut:
    """Counts what does not count, and keeps the first example of each reason in the order of texts."""

    def __init__(self) -> None:
        self._found: dict[LeftOut, tuple[int, str]] = {}

    def add(self, why: LeftOut, endpoint: SliceEndpoint) -> None:
        count, example = self._found.get(why, (0, endpoint.address))
        self._found[why] = (count + 1, min(example, endpoint.address))

    def add_all(self, why: LeftOut, source: EndpointSlice) -> None:
        """All of a slice, without looking at each."""
        if source.endpoints:
            self.add(why, source.endpoints[0])
            count, example = self._found[why]
            self._found[why] = (count + len(source.endpoints) - 1, example)

    def all(self) -> tuple[Excluded, ...]:
        return tuple(Excluded(why, *entry) for why, entry in sorted(self._found.items()))


class _State(IntEnum):
    """What an endpoint can do; of two that are the same pod the better one counts."""

    IDLE = 0
    DRAINING = 1
    READY = 2


class _Candidate(NamedTuple):
    state: _State
    version: int
    """4 or 6."""
    address: Address
    endpoint: SliceEndpoint


def resolve_endpoints(
    service: Service,
    slices: tuple[EndpointSlice, ...],
    port: ServicePort,
    *,
    rules: EndpointRules,
    reserved: Mapping[str, Reserved],
) -> EndpointSet:
    """The endpoints behind ``port`` of a Service. ``reserved`` holds at least those of the slices' addresses that are
    not for endpoints."""
    left_out = _LeftOut()
    best: dict[Key | Address, _Candidate] = {}
    left = MAX_LOOKED_AT
    # Whoever writes slices by hand can't keep pods from being seen.
    for source in sorted(slices, key=lambda each: each.managed_by != SLICE_CONTROLLER):
        left -= len(source.endpoints)
        if left < 0:
            left_out.add_all(LeftOut.TOO_MANY, source)
            continue
        for identity, candidate in _candidates(source, service, port, rules, reserved, left_out):
            known = best.get(identity)
            # One pod has an address in each family and may for a moment stand in two slices: its best state counts,
            # IPv4 before IPv6.
            if known is None or _rank(candidate) < _rank(known):
                best[identity] = candidate
    for found in best.values():
        if found.state is _State.IDLE:
            left_out.add(LeftOut.NOT_READY, found.endpoint)
    ready = sorted({found.address for found in best.values() if found.state is _State.READY})
    draining = sorted({found.address for found in best.values() if found.state is _State.DRAINING})
    if len(ready) + len(draining) > MAX_ENDPOINTS:
        ready, draining = _within_bounds(ready, draining, best.values(), left_out)
    return EndpointSet(
        addresses=tuple(ready or draining),
        ready=len(ready),
        draining=len(draining),
        left_out=left_out.all(),
        # Of two pods that share an address, as on a node's network, one may be ready.
        returning=tuple(sorted({*draining}.difference(ready))) if ready else (),
    )


def _within_bounds(
    ready: list[Address], draining: list[Address], candidates: Iterable[_Candidate], left_out: _LeftOut
) -> tuple[list[Address], list[Address]]:
    """The first ones, and those that are ready before those that end; what is beyond is left out."""
    kept = ready[:MAX_ENDPOINTS], draining[: max(0, MAX_ENDPOINTS - len(ready))]
    beyond = {*ready, *draining}.difference(*kept)
    of = {found.address: found.endpoint for found in candidates}
    for address in beyond:
        left_out.add(LeftOut.TOO_MANY, of[address])
    return kept


def _rank(candidate: _Candidate) -> tuple[int, int, Address]:
    return -candidate.state, candidate.version, candidate.address


def _candidates(
    source: EndpointSlice,
    service: Service,
    port: ServicePort,
    rules: EndpointRules,
    reserved: Mapping[str, Reserved],
    left_out: _LeftOut,
) -> Iterator[tuple[Key | Address, _Candidate]]:
    version = {"IPv4": 4, "IPv6": 6}.get(source.address_type)
    number = _slice_port(source, port)
    if version is None or number is None:
        for endpoint in source.endpoints:
            left_out.add(LeftOut.HOST_NAME if version is None else LeftOut.NO_PORT, endpoint)
        return
    # The EndpointSlice controller writes for Services with a selector only.
    trusted = source.managed_by == SLICE_CONTROLLER and service.has_selector
    for endpoint in source.endpoints:
        pod = trusted and endpoint.pod is not None
        if endpoint.pod is not None and endpoint.pod.namespace != service.meta.key.namespace:
            why: LeftOut | None = LeftOut.FOREIGN_POD
        elif not pod and not rules.manual:
            why = LeftOut.MANUAL
        else:
            why = _address_fault(endpoint.address, version, number, rules, reserved, pod=pod)
        if why is None:
            address = Address(endpoint.address, number)
            yield endpoint.pod or address, _Candidate(_state(endpoint), version, address, endpoint)
        else:
            left_out.add(why, endpoint)


def _slice_port(source: EndpointSlice, port: ServicePort) -> int | None:
    """The number that a slice gives to a Service's port: they share the name, which is empty for the only one."""
    numbers = (
        candidate.port for candidate in source.ports if candidate.name == port.name and candidate.protocol == "TCP"
    )
    return next(numbers, None)


def _state(endpoint: SliceEndpoint) -> _State:
    if not endpoint.terminating:
        return _State.READY if endpoint.ready else _State.IDLE
    # With publishNotReadyAddresses a terminating pod is called ready as well; it still ends soon.
    return _State.DRAINING if endpoint.serving or endpoint.ready else _State.IDLE


def _address_fault(
    text: str, version: int, port: int, rules: EndpointRules, reserved: Mapping[str, Reserved], *, pod: bool
) -> LeftOut | None:
    """Why an address, in its canonical text, does not count. ``pod``: Kubernetes says that a pod has it."""
    if version == 4:
        number = ipv4_number(text)
    else:
        address = ipv6_address(text)
        number = None if address is None else int(address)
    if number is None:
        return LeftOut.NOT_AN_ADDRESS
    if not may_be_a_pods(number, version, pod=pod, loopback=rules.loopback):
        return LeftOut.FORBIDDEN_ADDRESS
    taken = reserved.get(text)
    if taken is None:
        return None
    if pod and taken.node and port not in taken.ports:
        return None if rules.host_network else LeftOut.NODE
    return taken.why


def find_port(service: Service, wanted: int | str) -> ServicePort | None:
    """The Service's port of that number or name; of several, as for TCP and UDP alike, the one for TCP."""
    found = [port for port in service.ports if wanted in (port.port, port.name) and wanted != ""]
    return next((port for port in found if port.protocol == "TCP"), found[0] if found else None)


def describe_ports(ports: Iterable[ServicePort]) -> str:
    """The ports of a Service, for a sentence."""
    return ", ".join(f"{port.port} ({port.name})" if port.name else str(port.port) for port in ports) or "none"
