"""Which addresses behind a Service's port take new sockets: the union of its slices, checked, each pod once.

Addresses are hostile. A tenant who may write EndpointSlices or Endpoints can put any address into one, that of the
cloud's metadata service or of another tenant's pod included (CVE-2021-25740), and a proxy that believes it becomes a
deputy. So an endpoint counts only when its slice says that the EndpointSlice controller wrote it, for a pod of the
Service's own namespace, unless the balancer's administrator lets hand-written ones in; and some addresses never count.
What the mirroring controller copies from an Endpoints object is as hand-written as that object.

What a slice says of its writer is a label, which whoever may write slices can forge. So this keeps out mistakes, and
those who may write Endpoints only; the right to write EndpointSlices has to be kept from tenants (docs/how-to/install).
"""

import ipaddress
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from typing import Final, NamedTuple

from wsroute.cluster.objects import EndpointSlice, Key, Service, ServicePort, SliceEndpoint

SLICE_CONTROLLER: Final = "endpointslice-controller.k8s.io"
"""The only writer of slices whose endpoints count as the Service's own pods."""

_OCTETS: Final = {str(number): number for number in range(256)}


def _ranges(version: int, *networks: str) -> tuple[tuple[int, int], ...]:
    """First and last address of each network of that IP version, as numbers: a pass compares thousands of addresses."""
    parsed = (ipaddress.ip_network(network) for network in networks)
    return tuple(
        (int(network.network_address), int(network.broadcast_address))
        for network in parsed
        if network.version == version
    )


_LOOPBACK_NETWORKS: Final = ("127.0.0.0/8", "::1/128")

_FORBIDDEN_NETWORKS: Final = (
    "0.0.0.0/8",  # "this host"
    "100.100.100.200/32",  # the metadata service of Alibaba Cloud
    "169.254.0.0/16",  # link-local, with the metadata services of most clouds
    "224.0.0.0/3",  # multicast, class E, broadcast
    "::/96",  # unspecified, IPv4-compatible (deprecated)
    "::ffff:0:0/96",  # IPv4-mapped: an IPv4 address in disguise
    "64:ff9b::/96",  # the same through NAT64
    "fd00:ec2::254/128",  # the metadata service of AWS
    "fe80::/10",  # link-local
    "ff00::/8",  # multicast
)

_LOOPBACK: Final = frozenset(_ranges(4, *_LOOPBACK_NETWORKS) + _ranges(6, *_LOOPBACK_NETWORKS))
_RANGES: Final = {version: _ranges(version, *_LOOPBACK_NETWORKS, *_FORBIDDEN_NETWORKS) for version in (4, 6)}


class Address(NamedTuple):
    """An address in its canonical text and a port."""

    address: str
    port: int


class LeftOut(StrEnum):
    """Why an endpoint of a slice does not count. The values complete "1 endpoint …"."""

    NOT_READY = "is not ready"
    NOT_AN_ADDRESS = "has an address that is not an IP address of its slice's kind"
    FORBIDDEN_ADDRESS = "has an address that must not be proxied to (loopback, link-local, multicast or mapped)"
    FOREIGN_POD = "belongs to a pod of another namespace"
    MANUAL = "was written by hand, which needs allowedRoutes.manualEndpoints of the balancer"
    NO_PORT = "is in a slice that does not have the port"
    HOST_NAME = "is a host name, which is not supported"


@dataclass(frozen=True, slots=True)
class EndpointSet:
    """The endpoints behind a port of a Service.

    ``addresses`` take new sockets, sorted and unique: the ready ones, and where none is ready those that terminate but
    still serve. ``ready`` and ``draining`` are how many there are of these two. ``left_out`` are numbers of endpoints
    that do not count, by why.
    """

    addresses: tuple[Address, ...]
    ready: int
    draining: int
    left_out: tuple[tuple[LeftOut, int], ...]

    def explanation(self) -> str:
        """Why there are no more, as a sentence, or an empty text."""
        parts = []
        for why, count in self.left_out:
            verb = why if count == 1 else _plural(why)
            parts.append(f"{count} endpoint{'' if count == 1 else 's'} {verb}")
        return f"{', '.join(parts)}." if parts else ""


NO_ENDPOINTS: Final = EndpointSet(addresses=(), ready=0, draining=0, left_out=())


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


def resolve_endpoints(
    service: Service,
    slices: tuple[EndpointSlice, ...],
    port: ServicePort,
    *,
    manual: bool,
    loopback: bool,
) -> EndpointSet:
    """The endpoints behind ``port`` of a Service.

    ``manual`` lets endpoints count that the EndpointSlice controller has not written for a pod, and ``loopback``
    addresses of this host.
    """
    left_out: Counter[LeftOut] = Counter()
    best: dict[Key | Address, _Candidate] = {}
    for source in slices:
        for identity, candidate in _candidates(source, service, port, manual, loopback, left_out):
            known = best.get(identity)
            # One pod has an address in each family and may for a moment stand in two slices: its best state counts,
            # IPv4 before IPv6.
            if known is None or _rank(candidate) < _rank(known):
                best[identity] = candidate
    ready = sorted({found.address for found in best.values() if found.state is _State.READY})
    draining = sorted({found.address for found in best.values() if found.state is _State.DRAINING})
    idle = sum(found.state is _State.IDLE for found in best.values())
    if idle:
        left_out[LeftOut.NOT_READY] = idle
    return EndpointSet(
        addresses=tuple(ready or draining),
        ready=len(ready),
        draining=len(draining),
        left_out=tuple(sorted((why, count) for why, count in left_out.items() if count)),
    )


def _rank(candidate: _Candidate) -> tuple[int, int, Address]:
    return -candidate.state, candidate.version, candidate.address


def _candidates(
    source: EndpointSlice,
    service: Service,
    port: ServicePort,
    manual: bool,
    loopback: bool,
    left_out: Counter[LeftOut],
) -> Iterator[tuple[Key | Address, _Candidate]]:
    if source.address_type not in ("IPv4", "IPv6"):
        left_out[LeftOut.HOST_NAME] += len(source.endpoints)
        return
    version = 4 if source.address_type == "IPv4" else 6
    number = _slice_port(source, port)
    if number is None:
        left_out[LeftOut.NO_PORT] += len(source.endpoints)
        return
    trusted = source.managed_by == SLICE_CONTROLLER
    for endpoint in source.endpoints:
        if endpoint.pod is not None and endpoint.pod.namespace != service.meta.key.namespace:
            why = LeftOut.FOREIGN_POD
        elif not manual and (not trusted or endpoint.pod is None):
            why = LeftOut.MANUAL
        else:
            text = _checked(endpoint.address, version, loopback=loopback)
            if not isinstance(text, LeftOut):
                address = Address(text, number)
                yield endpoint.pod or address, _Candidate(_state(endpoint), version, address)
                continue
            why = text
        left_out[why] += 1


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


def _checked(text: str, version: int, *, loopback: bool) -> str | LeftOut:
    """The canonical form of an address of that IP version, or why it does not count."""
    number = None
    if version == 4:
        number = _ipv4_number(text)
    elif "%" not in text:  # a zone id
        try:
            address = ipaddress.IPv6Address(text)
        except ValueError:
            return LeftOut.NOT_AN_ADDRESS
        number, text = int(address), str(address)
    if number is None:
        return LeftOut.NOT_AN_ADDRESS
    for low, high in _RANGES[version]:
        if low <= number <= high:
            return text if loopback and (low, high) in _LOOPBACK else LeftOut.FORBIDDEN_ADDRESS
    return text


def _ipv4_number(text: str) -> int | None:
    """An IPv4 address in its only good form, four plain numbers. Nine times as fast as ``ipaddress``."""
    octets = text.split(".")
    if len(octets) != 4:
        return None
    number = 0
    for octet in octets:
        value = _OCTETS.get(octet)
        if value is None:
            return None
        number = number << 8 | value
    return number


def _plural(why: LeftOut) -> str:
    """The reason for several endpoints."""
    first, _, rest = why.partition(" ")
    return f"{ {'is': 'are', 'has': 'have', 'was': 'were', 'belongs': 'belong'}[first] } {rest}"


def find_port(service: Service, wanted: int | str) -> ServicePort | None:
    """The Service's port of that number or name; of several, as for TCP and UDP alike, the one for TCP."""
    found = [port for port in service.ports if wanted in (port.port, port.name) and wanted != ""]
    return next((port for port in found if port.protocol == "TCP"), found[0] if found else None)


def describe_ports(ports: Iterable[ServicePort]) -> str:
    """The ports of a Service, for a sentence."""
    return ", ".join(f"{port.port} ({port.name})" if port.name else str(port.port) for port in ports) or "none"
