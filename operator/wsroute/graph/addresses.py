"""Addresses that endpoints may not have: networks out of which no pod has one, and what is said of single addresses.

Which single addresses these are follows from the cluster's objects: ``reserved``.
"""

import ipaddress
from collections.abc import Mapping
from typing import Final, NamedTuple

from wsroute.graph.left_out import LeftOut


def _ranges(*networks: str) -> Mapping[int, tuple[tuple[int, int], ...]]:
    """First and last address of each network by IP version, as numbers: a pass compares thousands of addresses."""
    parsed = [ipaddress.ip_network(network) for network in networks]
    return {
        version: tuple(
            (int(network.network_address), int(network.broadcast_address))
            for network in parsed
            if network.version == version
        )
        for version in (4, 6)
    }


_LOOPBACK: Final = _ranges("127.0.0.0/8", "::1/128")

_FORBIDDEN: Final = _ranges(
    "0.0.0.0/8",  # "this host"
    "100.100.100.200/32",  # the metadata service of Alibaba Cloud
    "127.0.0.0/8",  # loopback
    "168.63.129.16/32",  # the platform's address on Azure
    "169.254.0.0/16",  # link-local, with the metadata services of most clouds
    "192.0.0.192/32",  # a metadata service of Oracle
    "224.0.0.0/4",  # multicast
    "255.255.255.255/32",  # broadcast
    # The IETF's own eighth: unspecified, loopback, and IPv4 addresses in disguise: compatible (::a.b.c.d), mapped
    # (::ffff:a.b.c.d), translated (::ffff:0:a.b.c.d), and through NAT64 (64:ff9b::a.b.c.d, 64:ff9b:1::/48)
    "::/8",
    "100::/64",  # discarded
    "2001::/23",  # protocols' own, with Teredo
    "2001:db8::/32",  # documentation
    "2002::/16",  # 6to4: IPv4 addresses in disguise
    "3fff::/20",  # documentation
    "fd00:42::42/128",  # the metadata service of Scaleway
    "fd00:c1::a9fe:a9fe/128",  # the metadata service of Oracle
    "fd00:ec2::/32",  # the metadata service of AWS and its neighbours
    "fd20:ce::254/128",  # the metadata service of Google Cloud
    "fe80::/10",  # link-local
    "ff00::/8",  # multicast
)

_RESERVED: Final = _ranges(
    "192.0.0.0/24",  # protocols' own
    "192.0.2.0/24",  # documentation
    "192.88.99.0/24",  # relays for 6to4
    "198.51.100.0/24",  # documentation
    "203.0.113.0/24",  # documentation
    "240.0.0.0/4",  # class E
)
"""Networks that should not be in use. Some clouds give them to pods all the same, where others have run out (class E on
Google's), so that Kubernetes' word for it that a pod has such an address is taken."""


def may_be_a_pods(number: int, version: int, *, pod: bool, loopback: bool) -> bool:
    """Whether an address, as a number, is one that a pod can have. ``pod``: Kubernetes says that one has it.
    ``loopback`` lets addresses of this host pass."""
    for low, high in _FORBIDDEN[version]:
        if low <= number <= high:
            return loopback and any(low <= number <= high for low, high in _LOOPBACK[version])
    return pod or not any(low <= number <= high for low, high in _RESERVED[version])


class Reserved(NamedTuple):
    """An address that is not for endpoints.

    Pods with hostNetwork have the addresses of their nodes: on a ``node``'s address they may be let in, except for
    ``ports`` that somebody else has there.
    """

    why: LeftOut
    node: bool = False
    ports: frozenset[int] = frozenset()
