"""Which manifests of a changing folder are in force."""

import pytest

from wsroute.cli.folder import FolderState, take
from wsroute.cli.manifests import ManifestError, parse_file
from wsroute.cli.offline import evaluate

BALANCER = """
apiVersion: wsroute.dev/v1alpha1
kind: WebSocketBalancer
metadata: {name: local}
spec:
  dataPlane: Static
  listeners: [{name: ws, port: 8880, protocol: HTTP}]
  allowedRoutes: {hosts: ["*"], namespaces: {from: All}}
"""

ROUTE = """
apiVersion: wsroute.dev/v1alpha1
kind: WebSocketRoute
metadata: {name: NAME}
spec:
  hosts: [NAME.example.com]
  paths: [{path: /ws, backends: [{service: app, port: 80}]}]
"""

APP = """
apiVersion: v1
kind: Service
metadata: {name: app}
spec: {ports: [{port: 80}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: app, labels: {kubernetes.io/service-name: app}}
addressType: IPv4
endpoints: [{addresses: [127.0.0.1]}]
ports: [{port: 8080}]
"""


def route(name: str) -> str:
    return ROUTE.replace("NAME", name)


def served(state: FolderState) -> list[str]:
    assert state.outcome is not None
    assert state.outcome.balancer is not None
    return [node.key.name for node in state.outcome.balancer.accepted]


GOOD = {"balancer.yaml": BALANCER, "app.yaml": APP, "a.yaml": route("a")}


def test_a_good_folder_is_in_force() -> None:
    state = take(FolderState(), GOOD)
    assert state.messages == ()
    assert served(state) == ["a"]
    assert state.outcome is not None
    assert state.outcome.urls == ("ws://a.example.com:8880/ws",)
    assert state.outcome.findings == ()


def test_nothing_new_says_nothing() -> None:
    state = take(FolderState(), GOOD)
    assert take(state, dict(GOOD)) == state


@pytest.mark.parametrize(
    ("broken", "words"),
    [
        ("{", "a.yaml, line "),
        ("just text", "not a Kubernetes object"),
        ("{apiVersion: wsroute.dev/v1alpha1, kind: WebSocketRoute}", "metadata.name is missing"),
        (route("a").replace("/ws", "ws"), "spec.paths[0].path: "),
        (route("a").replace("[a.example.com]", "[A.example.com]"), "spec.hosts[0]: "),
        (route("a") + "---\n" + route("a"), "stands in a.yaml and again in a.yaml"),
    ],
)
def test_a_broken_change_is_told_and_not_taken(broken: str, words: str) -> None:
    before = take(FolderState(), GOOD)
    after = take(before, GOOD | {"a.yaml": broken})
    assert any(words in message for message in after.messages), after.messages
    assert after.files == before.files
    assert after.outcome == before.outcome
    mended = take(after, GOOD | {"a.yaml": route("a").replace("/ws", "/new")})
    assert mended.messages == ()
    assert mended.outcome is not None
    assert mended.outcome.urls == ("ws://a.example.com:8880/new",)


def test_a_broken_file_does_not_hold_up_a_good_one() -> None:
    before = take(FolderState(), GOOD)
    after = take(before, GOOD | {"a.yaml": "{", "b.yaml": route("b")})
    assert len(after.messages) == 1
    assert served(after) == ["a", "b"]


def test_a_folder_that_is_broken_from_the_start_serves_what_is_good() -> None:
    state = take(FolderState(), GOOD | {"b.yaml": route("b").replace("/ws", "ws")})
    assert served(state) == ["a"]
    assert len(state.messages) == 1


def test_a_deleted_file_takes_its_route_away() -> None:
    state = take(take(FolderState(), GOOD), {name: text for name, text in GOOD.items() if name != "a.yaml"})
    assert served(state) == []


def test_a_missing_service_is_told_and_taken() -> None:
    state = take(take(FolderState(), GOOD), {name: text for name, text in GOOD.items() if name != "app.yaml"})
    assert state.outcome is not None
    assert ["spec.paths[0].backends[0].service" in finding.text for finding in state.outcome.findings] == [True]
    assert served(state) == ["a"]


def test_routes_without_a_balancer_are_checked_for_themselves() -> None:
    assert evaluate(parse_file("a.yaml", route("a"))).findings == ()
    [finding] = evaluate(parse_file("a.yaml", route("a").replace("/ws", "ws"))).findings
    assert str(finding).startswith("a.yaml: WebSocketRoute default/a: spec.paths[0].path: ")


def test_two_balancers_are_one_too_many() -> None:
    both = BALANCER + "---\n" + BALANCER.replace("local", "other")
    with pytest.raises(ManifestError, match="default/local, default/other: keep one"):
        evaluate(parse_file("both.yaml", both))


def test_a_list_and_kinds_of_others_are_read_too() -> None:
    text = '{"apiVersion": "v1", "kind": "List", "items": [{"apiVersion": "v1", "kind": "Secret"}]}'
    assert parse_file("list.json", text) == ()


def told(app: str) -> list[str]:
    outcome = take(FolderState(), {**GOOD, "app.yaml": app}).outcome
    assert outcome is not None
    return [str(finding) for finding in outcome.findings]


def test_a_path_without_endpoints_is_told_where_slices_are_written_by_hand() -> None:
    """A typing error in a slice takes the endpoint away, which nobody else would say."""
    sentence = "a.yaml: WebSocketRoute default/a: No endpoint takes new sockets for the path /ws."
    assert told(APP.replace("addresses", "address")) == [sentence]
    idle = "{addresses: [127.0.0.1], conditions: {ready: false}}"
    assert told(APP.replace("{addresses: [127.0.0.1]}", idle)) == [f"{sentence} Service app: 1 endpoint is not ready."]
    assert told(APP) == []


def test_manifests_for_a_cluster_need_no_endpoints() -> None:
    assert told(APP.split("---", maxsplit=1)[0]) == []


def test_a_dynamic_balancer_is_checked_and_has_no_file_of_its_own() -> None:
    outcome = evaluate(parse_file("all.yaml", f"{BALANCER.replace('Static', 'Dynamic')}---{APP}---{route('a')}"))
    assert outcome.findings == ()
    with pytest.raises(ManifestError, match="say dataPlane: Static"):
        outcome.configuration(ipv6=True)


def test_a_listener_that_ends_tls_is_checked_and_needs_a_cluster() -> None:
    tls = BALANCER.replace("protocol: HTTP", "protocol: HTTPS, tls: {certificates: [{secretName: chat}]}")
    outcome = evaluate(parse_file("all.yaml", f"{tls}---{APP}---{route('a')}"))
    assert outcome.findings == ()
    with pytest.raises(ManifestError, match="need a cluster"):
        outcome.configuration(ipv6=True)
