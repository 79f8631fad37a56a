"""A custom main template through the passes: used, unusable, refused by nginx, and the backup that serves meanwhile."""

from dataclasses import replace
from typing import Any

import pytest

from tests.support.world import SHARED, SYSTEM, TEAM, SmallWorld
from wsroute.api.conditions import Condition, ConditionType
from wsroute.cluster.kinds import Kind
from wsroute.cluster.objects import Key
from wsroute.controller import generated
from wsroute.controller.plan import BalancerPlan
from wsroute.controller.reconciler import PassMemo, PassResult, plan_pass, status_targets
from wsroute.controller.rollout import InForce
from wsroute.controller.statuses import StatusKey
from wsroute.dataplane import names
from wsroute.dataplane.acknowledgement import Failure
from wsroute.dataplane.bundle import FILE_KEY
from wsroute.dataplane.ir import RouteRef
from wsroute.graph.model import GraphSettings

LABELS = {names.BALANCER_LABEL: "shared", names.ROLE_LABEL: names.ROLE_TEMPLATE}
GOOD = '{% extends "nginx.conf.j2" %}{% block http %}add_header X-Mine yes;{% endblock %}'
REFUSED = '{% extends "nginx.conf.j2" %}{% block http %}no_such_thing on;{% endblock %}'
BROKEN = '{% extends "nginx.conf.j2" %}\n{% block http %}{% endblok %}'
WORDS = 'nginx: [emerg] unknown directive "no_such_thing" in /etc/wsroute/{}.conf:33'


class Cluster:
    """Two pods that load what they are told, but refuse a file with an unknown directive."""

    def __init__(self, template: str | None = None) -> None:
        self.world = SmallWorld()
        self.world.service("chat", "10.0.0.1")
        self.world.route("one")
        self.memo = PassMemo()
        if template is not None:
            self.settle()
            self.refer(template)

    def refer(self, template: str) -> None:
        self.world.balancer(nginx={"templateRef": {"configMap": "custom-main"}})
        self.put(template)

    def put(self, template: str, name: str = "custom-main") -> None:
        self.world.put(Kind.CONFIG_MAP, name, SYSTEM, labels=LABELS, data={"nginx.conf.j2": template})

    def result(self) -> PassResult:
        world = self.world
        return plan_pass(
            world.snapshot, GraphSettings(), self.memo, revision=world.revision, epoch=1, now=0.0, wall=1_767_225_600.0
        )

    def plan(self) -> BalancerPlan:
        return self.result().plans[SHARED]

    def settle(self) -> BalancerPlan:
        """Pass, write and have the pods answer, until nothing is left to do."""
        for _ in range(30):
            plan = self.plan()
            if plan.writes:
                self.world.commit(plan)
                continue
            answered = [self.answer(pod.name, plan) for pod in plan.pods]
            if not any(answered):
                return plan
        raise AssertionError("no end")

    def answer(self, pod: str, plan: BalancerPlan) -> bool:
        """Load what the ConfigMaps want of a pod; whether it had something to say."""
        force, trial = plan.before
        said = self.world.said.get(pod)
        version = force.version if force is not None else ""
        name = "shared-nginx"
        if (
            trial is not None
            and trial.canary == pod
            and not (said is not None and said.failure is not None and said.failure.version == trial.version)
        ):
            version, name = trial.version, "shared-nginx-next"
        if not version or (said is not None and version in (said.version, said.failure and said.failure.version)):
            return False
        before = said.version if said is not None else ""
        if "no_such_thing" in self.world.snapshot.config_maps[Key(SYSTEM, name)].data[FILE_KEY]:
            self.world.say(pod, version=before, failure=Failure(version, "test", WORDS.format(version)))
        else:
            self.world.say(pod, version=version)
        return True

    def file(self) -> str:
        return self.world.snapshot.config_maps[Key(SYSTEM, "shared-nginx")].data[FILE_KEY]

    def conditions(self, kind: Kind = Kind.BALANCER, key: Key = SHARED) -> dict[ConditionType, Condition]:
        target = status_targets(self.result(), self.memo)[StatusKey(kind, key)]
        return {condition.type: condition for condition in target.conditions}

    def programmed(self) -> tuple[bool, str, str]:
        condition = self.conditions()[ConditionType.PROGRAMMED]
        return condition.status, str(condition.reason), condition.message

    def is_served(self, route: str) -> bool:
        condition = self.conditions(Kind.ROUTE, Key("team-a", route))[ConditionType.PROGRAMMED]
        return condition.status and f"{route}.example.com" in self.file()


def test_a_good_template_goes_through_a_canary_and_is_live() -> None:
    cluster = Cluster()
    before = cluster.settle()
    cluster.refer(GOOD)
    plan = cluster.plan()
    assert plan.decision is not None
    assert plan.decision.trial is not None, "another template is another structure, whatever the routes are"
    assert plan.decision.in_force == InForce(before.desired, ("*",))
    cluster.settle()
    assert "add_header X-Mine yes;" in cluster.file()
    assert cluster.programmed()[:2] == (True, "Programmed")


def test_endpoints_that_change_below_a_custom_template_need_no_canary() -> None:
    cluster = Cluster(GOOD)
    cluster.settle()
    cluster.world.service("chat", "10.0.0.9")
    plan = cluster.plan()
    assert plan.decision is not None
    assert plan.decision.trial is None
    assert plan.decision.in_force == InForce(plan.desired, ("*",))


def test_a_change_of_its_text_is_seen_by_the_next_pass() -> None:
    cluster = Cluster(GOOD)
    cluster.settle()
    cluster.put(GOOD.replace("yes", "no"))
    cluster.settle()
    assert "add_header X-Mine no;" in cluster.file()


@pytest.mark.parametrize(
    ("template", "reason", "words"),
    [
        (BROKEN, "TemplateInvalid", "The template can't be used. Line 2: Encountered unknown tag 'endblok'"),
        ("http {}", "TemplateInvalid", "required.main }} is missing"),
        ("{{ '" + "a" * 10 + "' * 1000000000 }}", "TemplateInvalid", "can't be used here"),
    ],
)
def test_an_unusable_template_is_told_and_the_shipped_one_serves(template: str, reason: str, words: str) -> None:
    cluster = Cluster(template)
    cluster.settle()
    status, told, message = cluster.programmed()
    assert (status, told) == (False, reason)
    assert message.startswith("spec.nginx.templateRef: ")
    assert words in message
    assert message.endswith("The shipped template is used instead. All 2 ready pods serve the version in force.")
    conditions = cluster.conditions()
    assert conditions[ConditionType.ACCEPTED].status
    assert conditions[ConditionType.STALLED].status
    assert "log_format wsroute" in cluster.file()
    assert cluster.is_served("one")


def test_a_template_that_is_not_there_stalls_nothing() -> None:
    cluster = Cluster()
    cluster.world.balancer(nginx={"templateRef": {"configMap": "custom-main"}})
    cluster.settle()
    status, reason, message = cluster.programmed()
    assert (status, reason) == (False, "TemplateNotFound")
    assert "label configmap custom-main" in message
    assert not cluster.conditions()[ConditionType.STALLED].status
    assert cluster.is_served("one")
    cluster.put(GOOD)
    cluster.settle()
    assert cluster.programmed()[0]


def test_what_nginx_refuses_is_told_in_its_words_and_the_shipped_template_serves() -> None:
    cluster = Cluster(REFUSED)
    cluster.settle()
    status, reason, message = cluster.programmed()
    assert (status, reason) == (False, "ConfigRejected")
    assert 'unknown directive "no_such_thing"' in message
    assert "The shipped template is used instead." in message
    assert cluster.conditions()[ConditionType.STALLED].status
    assert "no_such_thing" not in cluster.file()
    assert cluster.is_served("one")
    assert cluster.plan().writes == ()


def test_pods_that_start_with_a_refused_template_get_the_shipped_one() -> None:
    cluster = Cluster()
    for pod in ("p0", "p1"):
        cluster.world.pod(pod, ready=False)
    cluster.refer(REFUSED)
    cluster.settle()
    assert "no_such_thing" not in cluster.file()
    assert all(said.version for said in cluster.world.said.values())
    assert cluster.programmed()[1] == "ConfigRejected"


def test_routes_go_live_through_the_backup_and_the_refused_template_is_not_tried_again() -> None:
    cluster = Cluster(GOOD)
    cluster.settle()
    cluster.put(REFUSED)
    cluster.settle()
    cluster.world.route("two", path="/other")
    plan = cluster.plan()
    assert all("no_such_thing" not in write.wanted.data.get(FILE_KEY, "") for write in plan.writes)
    cluster.settle()
    assert cluster.is_served("two")
    assert cluster.programmed()[1] == "ConfigRejected"


@pytest.mark.parametrize("change", ["mended", "no reference"])
def test_it_ends_with_another_text_or_reference(change: str) -> None:
    cluster = Cluster(REFUSED)
    cluster.settle()
    if change == "mended":
        cluster.put(GOOD)
    else:
        cluster.world.balancer()
    plan = cluster.settle()
    assert cluster.programmed()[:2] == (True, "Programmed")
    assert plan.refused_template is None
    assert ("X-Mine" in cluster.file()) == (change == "mended")


def test_whoever_leads_next_goes_on_with_what_is_remembered() -> None:
    cluster = Cluster(REFUSED)
    plan = cluster.settle()
    cluster.memo = PassMemo()
    again = cluster.plan()
    assert again.desired == plan.desired
    assert again.writes == ()
    assert cluster.programmed()[1] == "ConfigRejected"


def test_without_memory_it_is_tried_once_more_and_the_backup_serves_meanwhile() -> None:
    cluster = Cluster(REFUSED)
    plan = cluster.settle()
    cluster.world.put(Kind.CONFIG_MAP, "shared-state", SYSTEM, labels={names.BALANCER_LABEL: "shared"}, data={})
    cluster.memo = PassMemo()
    assert cluster.settle().desired == plan.desired
    assert cluster.is_served("one")
    assert cluster.programmed()[1] == "ConfigRejected"


def test_a_route_that_nginx_refuses_is_not_the_templates_fault() -> None:
    cluster = Cluster(GOOD)
    cluster.settle()
    cluster.world.route("two")
    plan = cluster.plan()
    cluster.world.commit(plan)
    made = cluster.memo.balancers[SHARED].made[plan.desired]
    line = next(line for line in made.lines.routes if made.lines.routes_at(line) == (RouteRef(TEAM, "two"),))
    words = f"nginx: [emerg] no such thing in /etc/wsroute/{plan.desired}.conf:{line}"
    force = plan.before[0]
    assert force is not None
    cluster.world.say("p0", version=force.version, failure=Failure(plan.desired, "test", words))
    after = cluster.plan()
    assert set(after.refusals.quarantined) == {Key(TEAM, "two")}
    assert after.template is None


def test_a_template_with_the_name_of_a_generated_config_map_is_neither_read_nor_written_as_one() -> None:
    cluster = Cluster()
    cluster.put(GOOD, name="shared-nginx")
    plan = cluster.plan()
    assert plan.before == (None, None)
    [write] = [write for write in plan.writes if write.wanted.role == names.ROLE_NGINX]
    assert write.known is None, "so that it is made, which fails, and is never applied over"
    there = cluster.world.snapshot.config_maps[Key(SYSTEM, "shared-nginx")]
    assert not generated.is_ours(there, write.wanted)
    assert generated.is_ours(replace(there, labels={names.BALANCER_LABEL: "shared"}), write.wanted)


def test_nothing_else_than_the_template_changes_when_it_is_taken_away() -> None:
    def routes(text: str) -> str:
        return text[text.index("    # team-a/one") :]

    cluster: Any = Cluster(GOOD)
    cluster.settle()
    with_it = cluster.file()
    cluster.world.balancer()
    cluster.settle()
    assert routes(cluster.file()) == routes(with_it)
