"""Which endpoints take new sockets, rule by rule."""

from typing import Any

import pytest

from tests.support import objects as made
from wsroute.cluster.kinds import Kind, parse_record
from wsroute.cluster.objects import EndpointSlice, Service
from wsroute.graph import endpoints
from wsroute.graph.endpoints import (
    Address,
    EndpointRules,
    EndpointSet,
    describe_ports,
    find_port,
    resolve_endpoints,
)
from wsroute.graph.left_out import MAX_ENDPOINTS, LeftOut, explain_not_allowed


def resolve(
    *slices: made.Json,
    service: made.Json | None = None,
    port: int | str = 8080,
    manual: bool = False,
    loopback: bool = False,
) -> EndpointSet:
    """The endpoints behind a Service's port, of raw objects."""
    owner = parse_record(Kind.SERVICE, made.service() if service is None else service)
    assert isinstance(owner, Service)
    parsed = tuple(parse_record(Kind.ENDPOINT_SLICE, raw) for raw in slices)
    wanted = find_port(owner, port)
    assert wanted is not None
    return resolve_endpoints(
        owner,
        tuple(entry for entry in parsed if isinstance(entry, EndpointSlice)),
        wanted,
        rules=EndpointRules(manual=manual, loopback=loopback),
        reserved={},
    )


def addresses(found: EndpointSet) -> list[str]:
    return [address for address, _ in found.addresses]


def left_out(found: EndpointSet) -> tuple[tuple[LeftOut, int], ...]:
    return tuple((entry.why, entry.number) for entry in found.left_out)


def test_no_slices() -> None:
    assert resolve() == EndpointSet(addresses=(), ready=0, draining=0, left_out=())


def test_union_of_slices_is_sorted_and_unique() -> None:
    found = resolve(
        made.endpoint_slice(endpoints=["10.0.0.3", "10.0.0.1"], name="a"),
        made.endpoint_slice(endpoints=["10.0.0.2", "10.0.0.1"], name="b"),
    )
    assert found.addresses == (Address("10.0.0.1", 8080), Address("10.0.0.2", 8080), Address("10.0.0.3", 8080))
    assert (found.ready, found.draining, left_out(found)) == (3, 0, ())


def test_a_thousand_endpoints_over_ten_slices() -> None:
    wanted = {f"10.1.{number // 100}.{number % 100}" for number in range(1000)}
    slices = [
        made.endpoint_slice(endpoints=[f"10.1.{number}.{host}" for host in range(100)], name=f"s{number}")
        for number in range(10)
    ]
    found = resolve(*slices)
    assert found.ready == 1000
    assert set(addresses(found)) == wanted


def test_beyond_a_thousand_endpoints_the_others_are_left_out() -> None:
    many = [made.endpoint(f"10.1.{number // 250}.{number % 250}") for number in range(MAX_ENDPOINTS + 3)]
    ending = [made.terminating(f"10.0.0.{number}") for number in range(5)]
    found = resolve(made.endpoint_slice(endpoints=[*reversed(many), *ending]))
    assert found.ready == len(found.addresses) == MAX_ENDPOINTS
    assert (found.draining, found.returning) == (0, ())
    assert addresses(found) == sorted(endpoint["addresses"][0] for endpoint in many)[:MAX_ENDPOINTS]
    assert left_out(found) == ((LeftOut.TOO_MANY, 8),)
    assert explain_not_allowed("chat", found.left_out) == (
        "Not all endpoints of the Service chat may be used, and these get no socket: 8 endpoints (as 10.0.0.0) are "
        "beyond the 1,000 that a Service may have here. Spread the pods over several Services, and name them all as "
        "backends of the path."
    )
    found = resolve(made.endpoint_slice(endpoints=[*many[: MAX_ENDPOINTS - 2], *ending]))
    assert (found.ready, found.draining, len(found.returning)) == (MAX_ENDPOINTS - 2, 2, 2)


def test_of_far_too_many_endpoints_not_all_are_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """Anybody can write slices by the thousand, and each change of one costs a look at all: pods come first."""
    monkeypatch.setattr(endpoints, "MAX_LOOKED_AT", 250)
    found = resolve(
        *(
            made.endpoint_slice(
                endpoints=[f"10.0.{number}.{last}" for last in range(1, 101)], name=f"a-{number}", managed_by="me"
            )
            for number in range(5)
        ),
        made.endpoint_slice(endpoints=["10.1.0.1", "10.1.0.2"], name="z"),
        manual=True,
    )
    assert {"10.1.0.1", "10.1.0.2"} < set(addresses(found))
    assert found.ready == 202
    assert left_out(found) == ((LeftOut.TOO_MANY, 300),)


def test_null_lists() -> None:
    raw = made.endpoint_slice()
    raw["endpoints"] = None
    bare = made.endpoint_slice(name="b")
    bare["ports"] = None
    assert left_out(resolve(raw, bare)) == ((LeftOut.NO_PORT, 1),)


def test_ready_unknown_counts_as_ready() -> None:
    assert resolve(made.endpoint_slice(endpoints=[made.endpoint(ready=None)])).ready == 1


def test_not_ready_takes_nothing() -> None:
    found = resolve(made.endpoint_slice(endpoints=[made.endpoint(ready=False), made.endpoint("10.0.0.2")]))
    assert addresses(found) == ["10.0.0.2"]
    assert left_out(found) == ((LeftOut.NOT_READY, 1),)


def test_terminating_takes_nothing_beside_a_ready_one() -> None:
    found = resolve(made.endpoint_slice(endpoints=["10.0.0.1", made.terminating("10.0.0.9")]))
    assert addresses(found) == ["10.0.0.1"]
    assert (found.ready, found.draining) == (1, 1)
    assert [address.address for address in found.returning] == ["10.0.0.9"]


def test_an_address_of_two_pods_is_ready_when_one_of_them_is() -> None:
    found = resolve(made.endpoint_slice(endpoints=[made.endpoint(pod="a"), made.terminating("10.0.0.1", pod="b")]))
    assert (len(found.addresses), found.ready, found.draining, found.returning) == (1, 1, 1, ())


def test_terminating_that_still_serves_takes_all_when_none_is_ready() -> None:
    gone = made.endpoint("10.0.0.8", ready=False, serving=False, terminating=True)
    starting = made.endpoint("10.0.0.7", ready=False)
    found = resolve(made.endpoint_slice(endpoints=[made.terminating("10.0.0.9"), gone, starting]))
    assert addresses(found) == ["10.0.0.9"]
    assert (found.ready, found.draining, found.returning) == (0, 1, ())
    assert left_out(found) == ((LeftOut.NOT_READY, 2),)


def test_publish_not_ready_addresses_does_not_prefer_pods_that_end() -> None:
    published = made.endpoint("10.0.0.9", ready=True, serving=False, terminating=True)
    assert addresses(resolve(made.endpoint_slice(endpoints=[published, "10.0.0.1"]))) == ["10.0.0.1"]
    assert addresses(resolve(made.endpoint_slice(endpoints=[published]))) == ["10.0.0.9"]


def test_one_pod_in_both_families_counts_once_as_ipv4() -> None:
    pods = ("a", "b")
    four = [made.endpoint(f"10.0.0.{number}", pod=pod) for number, pod in enumerate(pods)]
    six = [made.endpoint(f"fd00::{number + 1}", pod=pod) for number, pod in enumerate(pods)]
    found = resolve(
        made.endpoint_slice(endpoints=six, address_type="IPv6", name="chat-6"),
        made.endpoint_slice(endpoints=four, name="chat-4"),
    )
    assert addresses(found) == ["10.0.0.0", "10.0.0.1"]
    assert found.ready == 2


def test_a_pod_that_is_ready_in_one_family_only_counts_there() -> None:
    found = resolve(
        made.endpoint_slice(endpoints=[made.endpoint("10.0.0.1", pod="a", ready=False)], name="chat-4"),
        made.endpoint_slice(endpoints=[made.endpoint("fd00::1", pod="a")], address_type="IPv6", name="chat-6"),
    )
    assert addresses(found) == ["fd00::1"]
    assert left_out(found) == ()


def test_ipv6_alone_is_canonical() -> None:
    found = resolve(made.endpoint_slice(endpoints=["FD00:0::0001"], address_type="IPv6"))
    assert addresses(found) == ["fd00::1"]


def test_a_pod_in_two_slices_counts_once_in_its_best_state() -> None:
    """While the controller moves an endpoint, both slices may have it (discovery.k8s.io/v1)."""
    found = resolve(
        made.endpoint_slice(endpoints=[made.terminating("10.0.0.1", pod="a")], name="a"),
        made.endpoint_slice(endpoints=[made.endpoint("10.0.0.1", pod="a")], name="b"),
    )
    assert (addresses(found), found.ready, found.draining) == (["10.0.0.1"], 1, 0)


@pytest.mark.parametrize("wanted", [80, "web"])
def test_port_by_number_and_by_name_is_found_by_the_name_in_slices(wanted: int | str) -> None:
    service = made.service(
        ports=[made.service_port(80, "web", target="http"), made.service_port(90, "admin", target=9090)]
    )
    ports = [{"name": "admin", "port": 9090, "protocol": "TCP"}, {"name": "web", "port": 8000, "protocol": "TCP"}]
    found = resolve(made.endpoint_slice(ports=ports), service=service, port=wanted)
    assert found.addresses == (Address("10.0.0.1", 8000),)


def test_named_target_port_may_differ_from_pod_to_pod() -> None:
    service = made.service(ports=[made.service_port(80, "web", target="http")])
    found = resolve(
        made.endpoint_slice(endpoints=["10.0.0.1"], ports=[{"name": "web", "port": 8000}], name="a"),
        made.endpoint_slice(endpoints=["10.0.0.2"], ports=[{"name": "web", "port": 8001}], name="b"),
        service=service,
        port="web",
    )
    assert found.addresses == (Address("10.0.0.1", 8000), Address("10.0.0.2", 8001))


def test_an_empty_slice_is_no_reason() -> None:
    """The EndpointSlice controller writes one for a Service that selects nothing: no endpoints, no ports."""
    found = resolve(made.endpoint_slice(endpoints=[], ports=[]))
    assert left_out(found) == ()
    assert found.explanation() == ""


def test_slice_without_the_port_is_left_out() -> None:
    ports: list[dict[str, Any]] = [{"name": "other", "port": 1}, {"name": "", "port": 8080, "protocol": "UDP"}]
    assert left_out(resolve(made.endpoint_slice(ports=ports))) == ((LeftOut.NO_PORT, 1),)


def test_all_ports_is_no_port() -> None:
    assert left_out(resolve(made.endpoint_slice(ports=[{"name": "", "port": None}]))) == ((LeftOut.NO_PORT, 1),)


def test_headless_service() -> None:
    assert resolve(made.endpoint_slice(), service=made.service(spec={"clusterIP": "None"})).ready == 1


def test_hand_written_slices_need_permission() -> None:
    service = made.service(spec={"selector": None})
    raw = made.endpoint_slice(endpoints=[made.endpoint(pod=None)], managed_by="me")
    refused = resolve(raw, service=service)
    assert (refused.addresses, left_out(refused)) == ((), ((LeftOut.MANUAL, 1),))
    assert addresses(resolve(raw, service=service, manual=True)) == ["10.0.0.1"]


@pytest.mark.parametrize("managed_by", ["", "me", "endpointslicemirroring-controller.k8s.io"])
def test_a_target_reference_by_hand_proves_nothing(managed_by: str) -> None:
    """Whoever writes an Endpoints object, which is mirrored, can name any pod beside any address."""
    raw = made.endpoint_slice(endpoints=[made.endpoint("10.9.9.9", pod="mine")], managed_by=managed_by)
    assert left_out(resolve(raw)) == ((LeftOut.MANUAL, 1),)


def test_no_pod_is_by_hand_whoever_signs() -> None:
    assert left_out(resolve(made.endpoint_slice(endpoints=[made.endpoint(pod=None)]))) == ((LeftOut.MANUAL, 1),)


@pytest.mark.parametrize("manual", [False, True])
def test_pods_of_other_namespaces_never_count(manual: bool) -> None:
    raw = made.endpoint_slice(endpoints=[made.endpoint(pod_namespace="team-b")])
    assert left_out(resolve(raw, manual=manual)) == ((LeftOut.FOREIGN_POD, 1),)


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("", "IPv4"),
        ("10.0.0.1;", "IPv4"),
        ("10.0.0.1 ", "IPv4"),
        ("10.0.0.1\n", "IPv4"),
        ("10.0.0.01", "IPv4"),
        ("10.0.0", "IPv4"),
        ("10.0.0.256", "IPv4"),
        ("10.0.0.1.2", "IPv4"),
        ("10.0.0.-1", "IPv4"),
        ("10.0.0.+1", "IPv4"),
        ("10.0.0.1:80", "IPv4"),
        ("10.0.0.٣", "IPv4"),
        ("167772161", "IPv4"),
        ("0x0a000001", "IPv4"),
        ("unix:/run/x.sock", "IPv4"),
        ("localhost", "IPv4"),
        ("fd00::1", "IPv4"),
        ("10.0.0.1", "IPv6"),
        ("fd00::1%eth0", "IPv6"),
        ("fd00::1%", "IPv6"),
        ("[fd00::1]", "IPv6"),
        ("fd00::1\n", "IPv6"),
        ("fd00::٣", "IPv6"),
        (":", "IPv6"),
    ],
)
@pytest.mark.parametrize("loopback", [False, True])
def test_what_is_no_address_never_counts(text: str, kind: str, loopback: bool) -> None:
    raw = made.endpoint_slice(endpoints=[made.endpoint(text, pod="a")], address_type=kind)
    found = resolve(raw, manual=True, loopback=loopback)
    assert (found.addresses, left_out(found)) == ((), ((LeftOut.NOT_AN_ADDRESS, 1),))


@pytest.mark.parametrize("kind", ["FQDN", "", "ipv4"])
def test_slices_of_names_are_left_out(kind: str) -> None:
    raw = made.endpoint_slice(endpoints=["backend.example.com"], address_type=kind)
    assert left_out(resolve(raw, manual=True)) == ((LeftOut.HOST_NAME, 1),)


def test_find_port_prefers_tcp() -> None:
    raw = made.service(ports=[made.service_port(53, "dns", protocol="UDP"), made.service_port(53, "dns-tcp")])
    service = parse_record(Kind.SERVICE, raw)
    assert isinstance(service, Service)
    found = find_port(service, 53)
    assert found is not None
    assert found.protocol == "TCP"
    assert find_port(service, "") is None
    assert find_port(service, "dns") == service.ports[0]
    assert describe_ports(service.ports) == "53 (dns), 53 (dns-tcp)"
    assert describe_ports(()) == "none"
