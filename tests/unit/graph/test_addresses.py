"""Which addresses an endpoint can have, network by network, in whatever form they are written."""

import ipaddress
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support import objects as made
from wsroute.cluster.kinds import Kind, parse_record
from wsroute.cluster.objects import EndpointSlice, Service
from wsroute.graph.endpoints import EndpointRules, EndpointSet, find_port, resolve_endpoints
from wsroute.graph.left_out import LeftOut

NEVER = [
    "0.0.0.0/8",
    "100.100.100.200/32",
    "127.0.0.0/8",
    "168.63.129.16/32",
    "169.254.0.0/16",
    "192.0.0.192/32",
    "224.0.0.0/4",
    "255.255.255.255/32",
    "::/128",
    "::1/128",
    "64:ff9b:1::/48",
    "100::/64",
    "2001::/32",
    "2001:db8::/32",
    "3fff::/20",
    "fd00:42::42/128",
    "fd00:c1::a9fe:a9fe/128",
    "fd00:ec2::254/128",
    "fd20:ce::254/128",
    "fe80::/10",
    "ff00::/8",
]
"""Networks out of which no pod has an address."""

BY_KUBERNETES_WORD = [
    "192.0.0.0/24",
    "192.0.2.0/24",
    "192.88.99.0/24",
    "198.51.100.0/24",
    "203.0.113.0/24",
    "240.0.0.0/4",
]
"""Reserved networks that some clouds give to pods."""

ORDINARY = [
    "10.0.0.0/8",
    "100.64.0.0/16",
    "172.16.0.0/12",
    "192.168.0.0/16",
    "198.18.0.0/15",
    "11.0.0.0/8",
    "fc00::/10",
    "2600::/12",
    "2a00::/12",
]
"""Networks out of which pods have addresses."""

IPV4_IN_IPV6 = {
    "compatible": "::",
    "mapped": "::ffff:0:0",
    "translated": "::ffff:0:0:0",
    "NAT64": "64:ff9b::",
}
"""Prefixes of 96 bits below which an IPv4 address stands."""


def resolve(text: str, *, by_hand: bool = False, loopback: bool = False) -> EndpointSet:
    """What becomes of one endpoint with this address."""
    service = parse_record(Kind.SERVICE, made.service())
    raw = made.endpoint_slice(
        endpoints=[made.endpoint(text, pod=None if by_hand else "pod")],
        address_type="IPv6" if ":" in text else "IPv4",
        managed_by="me" if by_hand else made.SLICE_CONTROLLER,
    )
    found = parse_record(Kind.ENDPOINT_SLICE, raw)
    assert isinstance(service, Service)
    assert isinstance(found, EndpointSlice)
    port = find_port(service, 8080)
    assert port is not None
    rules = EndpointRules(manual=True, loopback=loopback)
    return resolve_endpoints(service, (found,), port, rules=rules, reserved={})


def refused(text: str, *, by_hand: bool = False, loopback: bool = False) -> bool:
    """Whether it is left out as an address that no pod can have."""
    found = resolve(text, by_hand=by_hand, loopback=loopback)
    if found.addresses:
        return False
    assert [(entry.why, entry.number) for entry in found.left_out] == [(LeftOut.FORBIDDEN_ADDRESS, 1)]
    return True


def in_networks(networks: Iterable[str]) -> st.SearchStrategy[str]:
    """Addresses of these networks, in a text that the standard library reads: short, long, in capitals."""

    def of_network(text: str) -> st.SearchStrategy[str]:
        network = ipaddress.ip_network(text)
        numbers = st.integers(int(network.network_address), int(network.broadcast_address))
        if network.version == 4:
            return numbers.map(ipaddress.IPv4Address).map(str)
        forms = st.sampled_from((str, lambda a: a.exploded, lambda a: str(a).upper()))
        return st.tuples(numbers.map(ipaddress.IPv6Address), forms).map(lambda pair: pair[1](pair[0]))

    return st.sampled_from(list(networks)).flatmap(of_network)


@given(in_networks(NEVER), st.booleans())
def test_forbidden_networks_in_any_form(text: str, by_hand: bool) -> None:
    assert refused(text, by_hand=by_hand)


@given(
    in_networks(network for network in [*NEVER, *ORDINARY] if ":" not in network), st.sampled_from(sorted(IPV4_IN_IPV6))
)
def test_ipv4_in_disguise_is_refused_whatever_it_is(text: str, disguise: str) -> None:
    inner = int(ipaddress.IPv4Address(text))
    whole = ipaddress.IPv6Address(int(ipaddress.IPv6Address(IPV4_IN_IPV6[disguise])) | inner)
    bits = f"{int(whole):032x}"
    groups = ":".join(bits[start : start + 4] for start in range(0, 24, 4))
    for form in (str(whole), whole.exploded, f"{groups}:{text}"):
        assert refused(form)


@given(in_networks(network for network in NEVER if ":" not in network), st.integers(0, 2**80 - 1))
def test_ipv4_through_6to4_is_refused(text: str, rest: int) -> None:
    whole = 0x2002 << 112 | int(ipaddress.IPv4Address(text)) << 80 | rest
    assert refused(str(ipaddress.IPv6Address(whole)))


@given(in_networks(ORDINARY), st.booleans())
def test_ordinary_addresses_pass(text: str, by_hand: bool) -> None:
    found = resolve(text, by_hand=by_hand)
    assert [address for address, _ in found.addresses] == [str(ipaddress.ip_address(text))]


@given(in_networks(BY_KUBERNETES_WORD))
def test_reserved_networks_need_kubernetes_word(text: str) -> None:
    """Class E is given to pods on Google's cloud, so an address of it that the controller wrote for a pod is served."""
    assert refused(text, by_hand=True)
    assert refused(text) == (text in ("192.0.0.192", "255.255.255.255"))


@given(in_networks(["127.0.0.0/8", "::1/128"]))
def test_loopback_is_for_standalone(text: str) -> None:
    assert refused(text)
    assert not refused(text, by_hand=True, loopback=True)


@given(in_networks(network for network in NEVER if network not in ("127.0.0.0/8", "::1/128")))
def test_standalone_opens_nothing_else(text: str) -> None:
    assert refused(text, by_hand=True, loopback=True)


@pytest.mark.parametrize(
    "text",
    [
        "1.0.0.0",
        "100.100.100.199",
        "100.100.100.201",
        "126.255.255.255",
        "128.0.0.0",
        "168.63.129.15",
        "169.253.255.255",
        "169.255.0.0",
        "223.255.255.255",
        "200::",
        "fd00:ec1:ffff::",
        "fd00:ec3::",
        "fe7f:ffff::",
        "feff:ffff::",
        "2003::",
    ],
)
def test_neighbours_of_forbidden_networks_pass(text: str) -> None:
    assert not refused(text)
