"""The lines of the catalogue that are more than a value: routes, what they refer to, what they compete for."""

from typing import Any

import pytest

from tests.hostile.attacks import attack, attack_whole, base, judge
from tests.hostile.table import tried
from tests.hostile.world import (
    ATTACKED,
    INNOCENTS,
    LABELS,
    MALLORY,
    ROUTE_SPEC,
    Json,
    Outcome,
    World,
    attacker,
    blocks_of,
    changed,
    find,
    team,
)
from tests.support import objects as made
from wsroute.api.conditions import Reason
from wsroute.cluster.objects import Key
from wsroute.graph.left_out import MAX_ENDPOINTS
from wsroute.graph.model import PathNode

VICTIM = f"{INNOCENTS[0]}.example.org"


def problems(outcome: Outcome) -> list[tuple[Reason, str]]:
    """Reason and field of each problem of the attacked route."""
    assert outcome.node is not None
    found = (*outcome.node.acceptance_problems, *outcome.node.reference_problems)
    return [(problem.reason, problem.path) for problem in found]


def attacked_paths(outcome: Outcome) -> tuple[PathNode, ...]:
    """The paths of the attacked route."""
    assert outcome.node is not None
    return outcome.node.paths


def attack_with(*raws: Json) -> Outcome:
    """The attacker's objects with some replaced, or more of them."""
    mine = {(raw["kind"], raw["metadata"]["name"]): raw for raw in (*attacker(), *raws)}
    outcome = World().attack(mine.values())
    judge("WebSocketRoute", outcome)
    return outcome


def spec(**changes: Any) -> Json:
    """The attacker's route with some fields of its spec replaced."""
    return changed(find(attacker(), "WebSocketRoute"), ("spec",), {**ROUTE_SPEC, **changes})


@tried("H11")
@pytest.mark.parametrize("host", [VICTIM, "*.example.org"])
def test_the_older_owner_keeps_its_host(host: str) -> None:
    outcome = attack_whole(spec(hosts=["m.example.com", host]))
    judge("WebSocketRoute", outcome)
    assert problems(outcome) == [(Reason.HOST_CONFLICT, "spec.hosts[1]")]
    assert INNOCENTS[0] not in str([message for _, message in outcome.complaints if "belongs" in message]).replace(
        VICTIM, ""
    ), "whose it is stays untold"


@tried("H11")
@pytest.mark.parametrize("host", [VICTIM.upper(), f"{VICTIM}.", VICTIM.title()])
def test_another_spelling_takes_no_host(host: str) -> None:
    """Refused, or found to be the same host: never a host of its own."""
    outcome = attack_whole(spec(hosts=[host]))
    judge("WebSocketRoute", outcome)
    assert {reason for reason, _ in problems(outcome)} <= {Reason.INVALID, Reason.HOST_CONFLICT}
    assert outcome.complaints


@tried("H11")
def test_a_name_below_a_neighbours_wildcard() -> None:
    neighbour = made.route("wild", "team-w", hosts=["*.wild.example.org"], created="2025-01-01T00:00:00Z")
    outcome = attack_with(made.namespace("team-w", LABELS), neighbour, spec(hosts=["a.wild.example.org"]))
    assert problems(outcome) == [(Reason.HOST_CONFLICT, "spec.hosts[0]")]


@tried("H12")
def test_too_many_hosts_and_the_longest_ones() -> None:
    outcome = attack_whole(spec(hosts=[f"m{number}.example.com" for number in range(5_000)]))
    judge("WebSocketRoute", outcome)
    assert problems(outcome) == [(Reason.INVALID, "spec.hosts")]
    labels = ".".join(["h" * 63] * 3)
    longest = [f"{number:02}{'h' * 51}.{labels}.example" for number in range(16)]
    outcome = attack_whole(spec(hosts=longest))
    judge("WebSocketRoute", outcome)
    assert len(longest[0]) == 253
    assert outcome.complaints == ()
    sizes = {found.words[0]: int(found.words[1]) for found in outcome.tree.walk() if "hash_bucket" in found.words[0]}
    assert sizes["server_names_hash_bucket_size"] > 253


@tried("P10")
def test_a_path_twice_in_a_namespace() -> None:
    younger = made.route("younger", MALLORY, hosts=["m.example.com"], created="2026-05-01T00:00:00Z")
    outcome = World().attack([*attacker(), younger], attacked=Key(MALLORY, "younger"))
    judge("WebSocketRoute", outcome)
    assert problems(outcome)[0] == (Reason.PATH_CONFLICT, "spec.paths[0].path")
    same = [{**ROUTE_SPEC["paths"][0], "path": path} for path in ("/ws", "/ws/")]
    assert problems(attack_whole(spec(paths=same))) == [(Reason.INVALID, "spec.paths[1].path")]


@tried("P11")
def test_where_a_path_flows_to() -> None:
    """The location, the rewrite, the URL of the status; never a comment, a log, a label of a metric."""
    path = "/-A.z0_9~!()*+,=:@&"
    outcome = attack("WebSocketRoute", ("spec", "paths", 0, "path"), path)
    assert outcome.node is not None
    assert outcome.node.urls[0].endswith(path)
    comments = [line for line in outcome.text.splitlines() if "#" in line and path in line.partition("#")[2]]
    assert comments == []


@tried("W6")
def test_no_decoded_path_stands_in_a_header() -> None:
    decoded = ("$uri", "$document_uri", "$request_filename", "$wsroute_path", "$wsroute_rest", "$arg_", "$args")
    for directive in base().tree.walk():
        if directive.words[0] in ("proxy_set_header", "add_header"):
            assert not any(name in word for word in directive.words for name in decoded)


@tried("N4")
@pytest.mark.parametrize(("one", "other"), [("X-Team", "x-team"), ("X-Team", "X_Team"), ("x_debug", "X-Debug")])
def test_a_header_twice(one: str, other: str) -> None:
    for headers in (
        {"set": [{"name": one, "value": "a"}, {"name": other, "value": "b"}]},
        {"set": [{"name": one, "value": "a"}], "remove": [other]},
        {"remove": [one, other]},
    ):
        outcome = attack_whole(spec(headers=headers))
        judge("WebSocketRoute", outcome)
        assert problems(outcome)[0][1].startswith("spec.headers")


@tried("S2")
@pytest.mark.parametrize("namespace", [INNOCENTS[0], "kube-system", "default", MALLORY])
def test_a_service_of_another_namespace_cannot_be_named(namespace: str) -> None:
    outcome = attack("WebSocketRoute", ("spec", "paths", 0, "backends", 0, "namespace"), namespace)
    judge("WebSocketRoute", outcome)
    assert problems(outcome) == [(Reason.INVALID, "spec.paths[0].backends[0].namespace")]


@tried("S3")
@pytest.mark.parametrize("name", ["localhost", "169.254.169.254", "chat.team-a.svc.cluster.local.", "a;b\n"])
def test_an_external_name(name: str) -> None:
    outside = made.service("chat", MALLORY, spec={"type": "ExternalName", "externalName": name})
    outcome = attack_with(outside)
    assert problems(outcome) == [(Reason.UNSUPPORTED_SERVICE, "spec.paths[0].backends[0].service")]
    assert name not in str(outcome.said)


@tried("S6")
def test_services_whose_joined_names_are_alike() -> None:
    """``a-b/c`` and ``a/b-c``, with dots and hyphens: each has an upstream of its own."""
    raws: list[Json] = []
    keys = [("a-b", "c"), ("a", "b-c"), ("a", "b.c"), ("a-b-c", "c"), ("a", "b-c-0"), ("a-0", "c")]
    for number, (namespace, name) in enumerate(keys):
        raws += team(
            namespace, 20 + number, hosts=[f"s{number}.example.com"], paths=[made.path("/", [made.backend(port="web")])]
        )
        route = find(raws[-4:], "WebSocketRoute")
        route["metadata"]["name"] = name
    outcome = World().attack(raws)
    names = [found.words[1] for found in outcome.tree.walk() if found.words[0] == "upstream"]
    mine = [name for name in names if not name.startswith(("wsroute", *INNOCENTS))]
    assert len(mine) == len(set(mine)) == len(keys)


@tried("S7")
def test_a_port_that_is_unknown_or_not_for_tcp() -> None:
    for port in ("nothing", 9_999):
        outcome = attack("WebSocketRoute", ("spec", "paths", 0, "backends", 0, "port"), port)
        judge("WebSocketRoute", outcome)
        assert problems(outcome) == [(Reason.PORT_NOT_FOUND, "spec.paths[0].backends[0].port")]
    for protocol in ("UDP", "SCTP", "a;b\n", "tcp"):
        outcome = attack("Service", ("spec", "ports", 0, "protocol"), protocol)
        judge("Service", outcome)
        assert problems(outcome) == [(Reason.UNSUPPORTED_SERVICE, "spec.paths[0].backends[0].port")]


@tried("A5c")
def test_a_balancer_that_is_not_theirs() -> None:
    unknown = attack_whole(spec(balancerRef={"name": "nobody"}))
    assert problems(unknown) == [(Reason.NO_BALANCER, "spec.balancerRef")]
    outside = attack_with(made.namespace(MALLORY, {"websockets": "no"}))
    assert problems(outside) == [(Reason.NOT_ALLOWED, "spec.balancerRef")]
    assert f"{MALLORY}/" not in outside.text, "who is not admitted has not even a refusal there"


@tried("A10")
@pytest.mark.parametrize(
    "labels", [{}, {"websockets": "Yes"}, {"websockets": "yes\n"}, {"Websockets": "yes"}, {"websockets": ["yes"]}]
)
def test_labels_that_are_nearly_the_selectors(labels: dict[str, Any]) -> None:
    namespace = changed(made.namespace(MALLORY, LABELS), ("metadata", "labels"), labels)
    assert problems(attack_with(namespace)) == [(Reason.NOT_ALLOWED, "spec.balancerRef")]


@tried("C5")
def test_an_administrators_field_in_a_route() -> None:
    for field in ("trustedProxies", "requestHeaders", "allowedRoutes", "nginx", "maximums", "snippet"):
        outcome = attack_whole(spec(**{field: ["0.0.0.0/0"]}))
        judge("WebSocketRoute", outcome)
        assert problems(outcome) == [(Reason.INVALID, f"spec.{field}")]


@tried("D2b")
def test_longer_than_the_administrators_maximum() -> None:
    outcome = attack_whole(spec(timeouts={"idle": "25h"}))
    assert problems(outcome) == [(Reason.INVALID, "spec.timeouts.idle")]


@tried("D6")
def test_shorter_than_two_pings() -> None:
    for timeouts in ({"idle": "39s"}, {"idle": "1ms"}):
        outcome = attack_whole(spec(timeouts=timeouts, pingInterval="20s"))
        assert problems(outcome) == [(Reason.INVALID, "spec.timeouts.idle")]


# --- endpoints ---


def slice_with(**changes: Any) -> Json:
    """The attacker's slice with some fields replaced."""
    return {**find(attacker(), "EndpointSlice"), **changes}


def is_refused(outcome: Outcome) -> bool:
    """Whether the route, and no other, answers that it has no endpoint."""
    reasons = [found.words[2] for found in outcome.tree.walk() if found.words[:2] == ("set", "$wsroute_refusal")]
    return bool(reasons) and set(reasons) == {"no-endpoints"}


@tried("E6")
def test_a_pod_of_another_namespace() -> None:
    foreign = made.endpoint("10.0.9.1", pod_namespace=INNOCENTS[0])
    assert is_refused(attack_with(slice_with(endpoints=[foreign])))


@tried("E9")
def test_many_endpoints_doubles_and_null_lists() -> None:
    slices = [
        made.endpoint_slice(
            "chat",
            MALLORY,
            [f"10.{64 + number}.{host // 250}.{host % 250}" for host in range(1_000)],
            name=f"chat-{number}",
            ports=[{"name": "web", "port": 8080, "protocol": "TCP"}],
        )
        for number in range(100)
    ]
    outcome = World().attack([*attacker(), *slices])
    assert outcome.obstacle == ""
    assert outcome.innocent == base().innocent
    assert (Reason.ENDPOINT_NOT_ALLOWED, "spec.paths[0].backends[0].service") in problems(outcome)
    assert [len(backend.endpoints.addresses) for path in attacked_paths(outcome) for backend in path.backends] == [
        MAX_ENDPOINTS
    ]
    same = [
        made.endpoint("10.0.9.1"),
        made.endpoint("10.0.9.1"),
        made.endpoint("10.0.9.1", pod="other", pod_namespace=MALLORY),
    ]
    doubled = attack_with(slice_with(endpoints=[made.endpoint("10.0.9.1", pod_namespace=MALLORY)] * 3 + same[2:]))
    words = [found.words[1] for found in doubled.tree.walk() if found.words[0] == "server" and len(found.words) > 1]
    assert words.count("10.0.9.1:8080") == 1
    odd: list[Any] = [None, [], [None], [{}], [{"addresses": None}], [{"addresses": [None]}], [{"addresses": []}]]
    for nothing in odd:
        assert is_refused(attack_with(slice_with(endpoints=nothing)))


@tried("E10")
def test_a_slice_that_a_tenant_wrote() -> None:
    for writer in ("", "me", "endpointslicemirroring-controller.k8s.io", "ENDPOINTSLICE-controller.k8s.io"):
        raw = find(attacker(), "EndpointSlice")
        labels = {**raw["metadata"]["labels"], "endpointslice.kubernetes.io/managed-by": writer}
        assert is_refused(attack_with(changed(raw, ("metadata", "labels"), labels)))


@tried("E12")
@pytest.mark.parametrize(
    "ports",
    [
        None,
        [],
        [None],
        [{"name": "web", "port": None}],
        [{"name": "web", "port": 0}],
        [{"name": "web", "port": 65_536}],
        [{"name": "web", "port": "8080"}],
        [{"name": "web", "port": 8080, "protocol": "UDP"}],
        [{"name": "web\n", "port": 8080}],
        [{"name": "other", "port": 8080}],
    ],
)
def test_ports_of_a_slice(ports: Any) -> None:
    assert is_refused(attack_with(slice_with(ports=ports)))


def test_the_neighbours_are_there() -> None:
    assert len(blocks_of(base().text, INNOCENTS)) == 3 * len(INNOCENTS)
    node = base().node
    assert node is not None
    assert node.key == ATTACKED
