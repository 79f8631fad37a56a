"""What somebody wrote who may write statuses, metadata, or generated ConfigMaps: it is recomputed, not believed."""

import json
import logging
from io import StringIO
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.hostile.attacks import attack, attack_whole, base, judge
from tests.hostile.table import tried
from tests.hostile.texts import EXAMPLES, NASTY
from tests.hostile.world import (
    BALANCER,
    BALANCER_SPEC,
    INNOCENTS,
    MALLORY,
    ROUTE_SPEC,
    WALL,
    Json,
    World,
    attacker,
    changed,
    find,
    neighbours,
)
from tests.support import objects as made
from tests.support.world import SmallWorld
from wsroute.agent.decide import PublicationError, parse_publication
from wsroute.api.conditions import Reason
from wsroute.api.status import WebSocketBalancerStatus, WebSocketRouteStatus
from wsroute.cluster.kinds import Kind
from wsroute.cluster.objects import Key
from wsroute.controller.feed import read_change
from wsroute.controller.plan import BalancerPlan
from wsroute.controller.reconciler import PassMemo, plan_pass, status_targets
from wsroute.controller.rollout import SILENCE
from wsroute.controller.statuses import status_body
from wsroute.dataplane import bundle, names
from wsroute.dataplane.acknowledgement import parse_acknowledgement
from wsroute.graph.conditions import MAX_MESSAGE
from wsroute.graph.model import GraphSettings
from wsroute.observability.logs import JsonFormatter, PlainFormatter
from wsroute.observability.metrics import Metrics

ROUTE = find(attacker(), "WebSocketRoute")


def with_metadata(**fields: Any) -> Json:
    """The attacker's route with other metadata."""
    return changed(ROUTE, ("metadata",), {**ROUTE["metadata"], **fields})


# --- metadata ---


@tried("A1")
@pytest.mark.parametrize(
    "annotations",
    [
        {"nginx.ingress.kubernetes.io/configuration-snippet": "return 200;", "NGINX.org/server-snippets": "x;"},
        {"wsroute.dev/version": "0" * 12, "wsroute.dev/canary": "shared-balancer-1", "WSROUTE.dev/pods": "*"},
        {"wsroute.dev/unknown": "a" * 100_000},
        {"haproxy.org/backend-config-snippet": "\n", "traefik.ingress.kubernetes.io/router.middlewares": "team-a-auth"},
    ],
)
def test_annotations_mean_nothing(annotations: dict[str, str]) -> None:
    outcome = attack_whole(with_metadata(annotations=annotations))
    assert outcome.complaints == ()
    assert outcome.text == base().text


@tried("A2")
@pytest.mark.parametrize("text", [text for text in NASTY if text])
def test_texts_in_annotations_and_labels_go_nowhere(text: str) -> None:
    outcome = attack_whole(with_metadata(annotations={text: text, "note": text}, labels={text: text, "app": text}))
    assert outcome.text == base().text


@tried("A4")
@pytest.mark.parametrize(
    "metadata",
    [
        {"annotations": {"kopf.zalando.org/last-handled-configuration": "{", "kopf.dev/progress": "[]"}},
        {"finalizers": ["kopf.zalando.org/KopfFinalizerMarker", "a;b\n"]},
        {"managedFields": [{"fieldsV1": {"f:spec": {}}}], "ownerReferences": [None, {"uid": 1}]},
    ],
)
def test_what_frameworks_leave_on_objects_is_not_read(metadata: Json) -> None:
    outcome = attack_whole(with_metadata(**metadata))
    assert outcome.text == base().text
    assert outcome.complaints == ()


FORGED = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(), max_size=8)
    | st.sampled_from(NASTY),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["type", "status", "reason", "message", "observedGeneration", "lastTransitionTime", "x"]),
            inner,
            max_size=6,
        )
    ),
    max_leaves=20,
)


@tried("A4")
@settings(max_examples=20 * EXAMPLES, suppress_health_check=list(HealthCheck))
@given(conditions=FORGED, more=FORGED, balancer=st.booleans())
def test_a_forged_status_is_recomputed(conditions: Any, more: Any, balancer: bool) -> None:
    status = {"conditions": conditions, "urls": more, "observedGeneration": more, "summary": more}
    victim = neighbours()[0] if balancer else ROUTE
    for forged in (status, more):
        outcome = attack_whole({**victim, "status": forged})
        assert outcome.text == base().text
        assert outcome.complaints == ()


@tried("A7")
@pytest.mark.parametrize("name", ["n" * 253, ".".join(["n" * 63] * 3 + ["n" * 61]), "a.b--c.d", "1.2.3.4", "a--team-a"])
def test_long_and_odd_names(name: str) -> None:
    raws = [raw for raw in attacker() if raw["kind"] != "WebSocketRoute"]
    outcome = World().attack([*raws, with_metadata(name=name)], attacked=Key(MALLORY, name))
    judge("WebSocketRoute", outcome)
    assert outcome.complaints == ()
    assert f"{MALLORY}/{name}" in outcome.text
    assert outcome.tree.shape == base().tree.shape


@tried("A7")
@pytest.mark.parametrize("name", ["", "A", "a b", "a\n", "a;", "../x", "a/b", "a" * 254, "$host", None, 1, ["a"]])
def test_names_that_no_object_can_have(name: Any) -> None:
    raws = [raw for raw in attacker() if raw["kind"] != "WebSocketRoute"]
    outcome = World().attack([*raws, with_metadata(name=name)])
    judge("WebSocketRoute", outcome)
    assert outcome.node is None
    assert f"{MALLORY}/" not in outcome.text


@tried("A8")
@pytest.mark.parametrize("text", [*NASTY, None])
def test_what_the_server_sets_is_not_used_in_the_file(text: Any) -> None:
    for field in ("uid", "resourceVersion", "generation", "selfLink"):
        outcome = attack_whole(with_metadata(**{field: text}))
        assert outcome.text == base().text
    judge("WebSocketRoute", attack_whole(with_metadata(creationTimestamp=text)))


@tried("L6")
def test_a_route_that_is_being_deleted_blocks_nobody() -> None:
    outcome = attack_whole(with_metadata(deletionTimestamp="2026-01-01T00:00:00Z", finalizers=["a/b"]))
    assert outcome.text == base().text, "it is served until it is gone"
    namespace = changed(find(attacker(), "Namespace"), ("status",), {"phase": "Terminating"})
    assert attack_whole(namespace).text == base().text


@tried("B13")
@pytest.mark.parametrize("name", ["a" * 41, "a.b", "a" * 63])
def test_names_of_balancers(name: str) -> None:
    world = World()
    world.attack([made.balancer(name, spec=BALANCER_SPEC)])
    graph = world.memo.graph
    assert graph is not None
    [problem] = graph.balancers[Key(BALANCER.namespace, name)].acceptance_problems
    assert (problem.reason, problem.path) == (Reason.INVALID, "metadata.name")


# --- sizes ---


@tried("L1")
def test_large_specs() -> None:
    paths = [{**ROUTE_SPEC["paths"][0], "path": f"/{number}"} for number in range(10_000)]
    for value in (
        {**ROUTE_SPEC, "paths": paths},
        {**ROUTE_SPEC, **{f"field-{number}": number for number in range(10_000)}},
        {**ROUTE_SPEC, "a" * 2**20: "a" * 2**20},
        {**ROUTE_SPEC, "hosts": ["a" * 2**20]},
        {**ROUTE_SPEC, "headers": {"set": [{"name": "X-Team", "value": "a" * 2**20}]}},
    ):
        outcome = attack("WebSocketRoute", ("spec",), value)
        judge("WebSocketRoute", outcome)
        assert outcome.node is not None
        assert not outcome.node.accepted
        assert all(len(message) < 1_000 for _, message in outcome.complaints)


@tried("C4")
def test_too_many_networks() -> None:
    outcome = attack(
        "WebSocketBalancer", ("spec", "trustedProxies"), [f"10.0.{n // 256}.{n % 256}/32" for n in range(10_000)]
    )
    assert outcome.complaints[0][0] == "spec.trustedProxies"
    assert outcome.text == ""


@tried("L2")
def test_more_routes_than_the_quota() -> None:
    balancer = made.balancer(spec=changed(BALANCER_SPEC, ("allowedRoutes", "maxPerNamespace"), 2))
    many = [
        made.route(f"r{n}", MALLORY, hosts=[f"r{n}.example.com"], created="2026-06-01T00:00:00Z") for n in range(500)
    ]
    outcome = World().attack([balancer, *attacker(), *many], attacked=Key(MALLORY, "r400"))
    assert outcome.node is not None
    assert [problem.reason for problem in outcome.node.acceptance_problems] == [Reason.QUOTA]
    assert outcome.innocent == base().innocent
    assert len({found.words[1] for found in outcome.tree.walk() if found.words[0] == "server_name"}) == 2 + 1 + len(
        INNOCENTS
    )


@tried("L5")
def test_what_no_config_map_can_hold_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """The balancer says so, and what its pods serve stays."""
    monkeypatch.setattr(bundle, "READABLE_LIMIT", 100)
    monkeypatch.setattr(bundle, "STORED_LIMIT", 1_000)
    outcome = World().attack(attacker())
    assert outcome.text == ""
    assert "Move some routes to another balancer" in outcome.obstacle
    assert any(outcome.obstacle in message for message in outcome.said)


@tried("L7")
def test_messages_and_statuses_are_bounded() -> None:
    wrong = {
        **ROUTE_SPEC,
        "hosts": [f"{'a' * 200}\n{n}" for n in range(16)],
        "listeners": ["A" * 60] * 16,
        "paths": [{"path": "x" * 900}] * 32,
    }
    outcome = attack("WebSocketRoute", ("spec",), wrong)
    judge("WebSocketRoute", outcome)
    assert max(map(len, outcome.said)) <= MAX_MESSAGE + 100


@tried("L8")
@pytest.mark.parametrize("formatter", [PlainFormatter(), JsonFormatter()])
def test_hostile_words_in_logs(formatter: logging.Formatter) -> None:
    for text in NASTY:
        record = logging.LogRecord("wsroute", logging.WARNING, "", 0, "The route %s is wrong.", (text,), None)
        line = formatter.format(record)
        assert (
            line.isprintable() or line.replace("\ufeff", "").replace("\u200b", "").replace("\ud800", "").isprintable()
        )
        assert "\n" not in line
        StringIO().write(line)


@tried("L9")
def test_labels_of_metrics() -> None:
    """Kinds, verbs and outcomes: none is a name, a host or a path."""
    labels = {label for family in vars(Metrics()).values() for label in getattr(family, "_labelnames", ())}
    assert labels.isdisjoint({"route", "namespace", "name", "host", "path", "pod", "service"})


# --- generated ConfigMaps ---


class Generated(SmallWorld):
    """A balancer that serves a route, with a version in force on both pods."""

    def __init__(self) -> None:
        super().__init__()
        self.memo = PassMemo()
        self.clock = 0.0
        self.route("chat")
        self.service("chat", "10.0.0.1")
        self.settle()

    def plan(self) -> BalancerPlan:
        """A pass, with all that is said of it; what it says must fit the schemas."""
        self.clock += SILENCE / 2
        result = plan_pass(
            self.snapshot,
            GraphSettings(),
            self.memo,
            revision=self.revision,
            epoch=1,
            now=self.clock,
            wall=WALL + self.clock,
        )
        for key, target in status_targets(result, self.memo).items():
            body = status_body(target, {}, now="2026-01-01T00:00:00Z")
            schema = WebSocketRouteStatus if key.kind is Kind.ROUTE else WebSocketBalancerStatus
            schema.model_validate(body)
        return result.plans[Key("wsroute-system", "shared")]

    def settle(self) -> str:
        """Let passes and agents work until nothing is left to write or to wait for; gives the version in force."""
        for _ in range(20):
            plan = self.plan()
            self.commit(plan)
            self.say("p0", "p1", version=plan.desired)
            if not plan.writes and plan.decision is not None and not plan.decision.owing:
                break
        return plan.desired

    def forge(self, name: str, **content: Any) -> None:
        """Put something into a generated ConfigMap, as its editors can."""
        content.setdefault("labels", {names.BALANCER_LABEL: "shared"})
        self.put(Kind.CONFIG_MAP, name, "wsroute-system", **content)


ANNOTATIONS = [
    names.VERSION_ANNOTATION, names.DIGEST_ANNOTATION, names.STRUCTURE_ANNOTATION, names.EPOCH_ANNOTATION,
    names.CANARY_ANNOTATION, names.PODS_ANNOTATION, names.LISTENER_PORTS_ANNOTATION,
]  # fmt: skip
FORGED_TEXTS = st.sampled_from([*NASTY, "*", "p0", "p0 p1", "0" * 12, "f" * 12, "9" * 30, "-1", "8080 8081"]) | st.text(
    max_size=20
)
FILES = st.dictionaries(st.sampled_from(["nginx.conf", "nginx.conf.gz", "p0", "x"]), FORGED_TEXTS, max_size=3)


@tried("G1")
@settings(max_examples=10 * EXAMPLES, suppress_health_check=list(HealthCheck))
@given(
    name=st.sampled_from(["shared-nginx", "shared-nginx-next"]),
    annotations=st.dictionaries(st.sampled_from(ANNOTATIONS), FORGED_TEXTS, max_size=7),
    data=FILES,
    binary=FILES,
)
def test_forged_publications(name: str, annotations: dict[str, str], data: Any, binary: Any) -> None:
    """No pass fails, and it ends with the file that the routes give."""
    world = Generated()
    version = world.settle()
    world.forge(name, annotations=annotations, data=data, binaryData=binary)
    assert world.settle() == version
    plan = world.plan()
    assert plan.writes == ()
    in_force = world.snapshot.config_maps[Key("wsroute-system", "shared-nginx")]
    assert in_force.annotations[names.VERSION_ANNOTATION] == version


@tried("G1")
@settings(max_examples=20 * EXAMPLES, suppress_health_check=list(HealthCheck))
@given(annotations=st.none() | st.dictionaries(st.sampled_from(ANNOTATIONS), FORGED_TEXTS, max_size=7))
def test_what_an_agent_reads(annotations: dict[str, str] | None) -> None:
    try:
        published = parse_publication({"metadata": {"uid": "u", "annotations": annotations}})
    except PublicationError:
        return
    assert published.epoch >= 0
    assert all(0 <= port < 65_536 for port in published.ports)


@tried("G2")
@pytest.mark.parametrize("text", ["", "events {}", "\ud800", "a" * 2**20])
def test_another_file_under_the_same_version(text: str) -> None:
    world = Generated()
    before = world.snapshot.config_maps[Key("wsroute-system", "shared-nginx")]
    world.forge("shared-nginx", annotations=dict(before.annotations), data={"nginx.conf": text})
    world.settle()
    assert world.snapshot.config_maps[Key("wsroute-system", "shared-nginx")].data == before.data


ACKNOWLEDGEMENT = {"version": "", "epoch": 1, "sockets": 3, "nginx": "1.31.3", "ipv6": True, "failure": None}


@tried("G3")
@settings(max_examples=20 * EXAMPLES, suppress_health_check=list(HealthCheck))
@given(
    changes=st.dictionaries(st.sampled_from([*ACKNOWLEDGEMENT, "x"]), FORGED, max_size=4),
    text=st.none()
    | st.text(max_size=20)
    | st.sampled_from(["[" * 100_000, "{}", "null", "NaN", '{"version":' * 5_000]),
    pod=st.sampled_from(["p0", "p1", "nobody", "A\n", ""]),
)
def test_forged_acknowledgements(changes: Any, text: str | None, pod: str) -> None:
    world = Generated()
    said = json.dumps(ACKNOWLEDGEMENT | changes) if text is None else text
    parse_acknowledgement(said)
    world.forge("shared-agents", data={pod: said})
    world.plan()


@tried("G3")
@pytest.mark.parametrize("sockets", [2**31 - 1, 2**31, 10**30])
def test_more_sockets_than_there_can_be(sockets: int) -> None:
    world = Generated()
    said = json.dumps(
        ACKNOWLEDGEMENT
        | {"sockets": sockets, "failure": {"version": "x" * 10_000, "phase": "test", "message": "\x1b[31m" * 50_000}}
    )
    world.forge("shared-agents", data={"p0": said, "p1": said})
    world.plan()


@tried("G4")
def test_a_generated_config_map_that_loses_its_label_and_gets_it_back() -> None:
    world = Generated()
    key = Key("wsroute-system", "shared-nginx")
    known = world.snapshot.config_maps[key]
    raw = world.raw(
        Kind.CONFIG_MAP,
        key.name,
        key.namespace,
        labels=dict(known.labels),
        annotations=dict(known.annotations),
        data=dict(known.data),
    )
    raw["metadata"]["uid"] = known.meta.uid
    gone = read_change(Kind.CONFIG_MAP, raw, deleted=True)
    assert gone is not None
    world.state.delete(Kind.CONFIG_MAP, gone.key, gone.uid, gone.version)
    assert key not in world.snapshot.config_maps
    raw["metadata"]["resourceVersion"] = str(gone.version + 1)
    back = read_change(Kind.CONFIG_MAP, raw, deleted=False)
    assert back is not None
    assert back.record is not None
    world.state.upsert(back.record)
    assert key in world.snapshot.config_maps
