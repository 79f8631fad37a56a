"""Generated ConfigMaps: deterministic, ours only, on the version that was seen."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.fake_cluster import FakeCluster
from wsroute.cluster.kinds import Kind
from wsroute.cluster.objects import ConfigMap, Key
from wsroute.cluster.parse import parse_config_map
from wsroute.cluster.state import ClusterState
from wsroute.controller import generated
from wsroute.controller.budget import Cause, Reload, Terms
from wsroute.controller.feed import Feed
from wsroute.controller.rollout import InForce, Trial
from wsroute.controller.writer import Outcome, Writer
from wsroute.dataplane import names
from wsroute.dataplane.bundle import READABLE_LIMIT, pack, unpack
from wsroute.dataplane.reload_changes import Change, Reason
from wsroute.kube.elector import NotLeadingError
from wsroute.kube.port import CONFIG_MAPS, RejectedError, UnavailableError
from wsroute.observability.metrics import Metrics

BALANCER = Key("wsroute-system", "shared")
BUNDLE = pack("events {}\n")
FILE = generated.File(BUNDLE, "8080 9090", "s", "made-for", settings='{"spec.dataPlane":"Static"}')


class World:
    """A writer on a cluster in memory."""

    def __init__(self) -> None:
        self.cluster = FakeCluster()
        self.state = ClusterState(kinds=[])
        self.feed = Feed(self.state, changed=lambda: None)
        self.leading = True
        self.writer = Writer(self.cluster, self.feed, Metrics(), assert_leading=self.check)

    def check(self) -> None:
        if not self.leading:
            raise NotLeadingError("not leading")

    def known(self, key: Key) -> ConfigMap | None:
        return self.state.snapshot().config_maps.get(key)

    async def write(self, wanted: generated.Wanted) -> Outcome:
        return await self.writer.write(wanted, self.known(wanted.key))


TERMS = Terms(5.0, 3, 3600.0, "5s", "1h")
SINCE = Reload(
    1_800_000_000.25, Cause.ENDPOINTS, 1_799_999_998.0, (Change(Reason.ENDPOINTS, "WebSocketRoute team-a/chat"),)
)


def nginx(turn: tuple[str, ...] = ("*",), *, epoch: int = 1) -> generated.Wanted:
    in_force = InForce("0123456789ab", turn)
    return generated.wanted_in_force(BALANCER, in_force, FILE, epoch=epoch, since=SINCE, terms=TERMS)


@pytest.fixture
def world() -> World:
    return World()


async def test_a_config_map_is_made_and_says_all_that_agents_need(world: World) -> None:
    assert await world.write(nginx(("a", "b"))) is Outcome.WRITTEN
    stored = world.cluster.find(CONFIG_MAPS, "shared-nginx", namespace="wsroute-system")
    assert stored["data"] == {"nginx.conf": "events {}\n"}
    assert stored["metadata"]["labels"] == {
        "app.kubernetes.io/managed-by": "wsroute",
        names.BALANCER_LABEL: "shared",
        names.ROLE_LABEL: "nginx",
    }
    assert stored["metadata"]["annotations"] == {
        names.VERSION_ANNOTATION: "0123456789ab",
        names.DIGEST_ANNOTATION: BUNDLE.digest,
        names.EPOCH_ANNOTATION: "1",
        names.LISTENER_PORTS_ANNOTATION: "8080 9090",
        names.STRUCTURE_ANNOTATION: "s",
        names.MADE_FOR_ANNOTATION: "made-for",
        names.CERTIFICATES_ANNOTATION: "",
        names.PODS_ANNOTATION: "a b",
        names.MAX_DRAINING_ANNOTATION: "3",
        names.DRAIN_TIMEOUT_ANNOTATION: "3600000",
        names.RELOADED_ANNOTATION: "2027-01-15T08:00:00.250Z",
        names.RELOAD_REASON_ANNOTATION: "Endpoints",
        names.INTERVAL_ANNOTATION: "2027-01-15T07:59:58.000Z",
        names.CHANGES_ANNOTATION: '[["Endpoints","WebSocketRoute team-a/chat"]]',
        names.SETTINGS_ANNOTATION: '{"spec.dataPlane":"Static"}',
    }
    known = world.known(Key("wsroute-system", "shared-nginx"))
    assert generated.read_in_force(known) == InForce("0123456789ab", ("a", "b"))


async def test_what_stands_is_not_written_again_and_the_watch_need_not_have_shown_it(world: World) -> None:
    await world.write(nginx())
    writes = list(world.cluster.writes)
    assert await world.write(nginx()) is Outcome.UNCHANGED
    assert world.cluster.writes == writes
    assert await world.write(nginx(epoch=2)) is Outcome.WRITTEN


async def test_a_change_by_hand_is_put_right(world: World) -> None:
    await world.write(nginx())
    stored = world.cluster.find(CONFIG_MAPS, "shared-nginx", namespace="wsroute-system")
    tampered = world.cluster.put(
        CONFIG_MAPS,
        "shared-nginx",
        namespace="wsroute-system",
        labels=stored["metadata"]["labels"],
        annotations=stored["metadata"]["annotations"],
        data={"nginx.conf": "daemon on;\n"},
    )
    world.feed.wrote(Kind.CONFIG_MAP, tampered)
    assert await world.write(nginx()) is Outcome.WRITTEN
    assert world.cluster.find(CONFIG_MAPS, "shared-nginx", namespace="wsroute-system")["data"] == BUNDLE.data


async def test_a_write_on_an_old_version_is_refused_and_the_state_learns_the_new_one(world: World) -> None:
    await world.write(nginx())
    stored = world.cluster.find(CONFIG_MAPS, "shared-nginx", namespace="wsroute-system")
    world.cluster.put(
        CONFIG_MAPS,
        "shared-nginx",
        namespace="wsroute-system",
        labels=stored["metadata"]["labels"],
        annotations={**stored["metadata"]["annotations"], names.EPOCH_ANNOTATION: "7"},
        data=dict(BUNDLE.data),
    )
    assert await world.write(nginx(("a",))) is Outcome.CONFLICT
    assert (
        world.cluster.find(CONFIG_MAPS, "shared-nginx", namespace="wsroute-system")["metadata"]["annotations"][
            names.EPOCH_ANNOTATION
        ]
        == "7"
    )
    assert await world.write(nginx(("a",))) is Outcome.WRITTEN


async def test_an_object_made_anew_is_not_written_as_if_it_were_the_old_one(world: World) -> None:
    await world.write(nginx())
    world.cluster.remove(CONFIG_MAPS, "shared-nginx", namespace="wsroute-system")
    world.cluster.put(CONFIG_MAPS, "shared-nginx", namespace="wsroute-system", data={"mine": "1"})
    assert await world.write(nginx(("a",))) is Outcome.CONFLICT
    assert world.cluster.find(CONFIG_MAPS, "shared-nginx", namespace="wsroute-system")["data"] == {"mine": "1"}


@pytest.mark.parametrize("labels", [{}, {names.BALANCER_LABEL: "other"}])
async def test_an_object_of_somebody_else_is_left_alone(world: World, labels: dict[str, str]) -> None:
    world.cluster.put(CONFIG_MAPS, "shared-nginx", namespace="wsroute-system", labels=labels, data={"mine": "1"})
    assert await world.write(nginx()) is Outcome.FOREIGN
    assert world.cluster.find(CONFIG_MAPS, "shared-nginx", namespace="wsroute-system")["data"] == {"mine": "1"}
    assert world.cluster.writes == []


async def test_an_emptied_trial_holds_no_file(world: World) -> None:
    trial = Trial("0123456789ab", "a")
    wanted = generated.wanted_trial(BALANCER, trial, FILE, epoch=1, since=SINCE)
    await world.write(wanted)
    assert generated.read_trial(world.known(wanted.key)) == trial
    assert generated.read_since(world.known(wanted.key)) == SINCE
    await world.write(generated.wanted_no_trial(BALANCER, epoch=1))
    known = world.known(wanted.key)
    assert known is not None
    assert generated.read_trial(known) is None
    assert known.data == {}


async def test_the_agents_config_map_is_made_once_and_its_content_left_alone(world: World) -> None:
    wanted = generated.wanted_agents(BALANCER)
    assert await world.writer.ensure(wanted, None) is Outcome.WRITTEN
    assert await world.writer.ensure(wanted, world.known(wanted.key)) is Outcome.UNCHANGED
    stored = world.cluster.find(CONFIG_MAPS, "shared-agents", namespace="wsroute-system")
    world.cluster.put(
        CONFIG_MAPS,
        "shared-agents",
        namespace="wsroute-system",
        labels=stored["metadata"]["labels"],
        data={"alive": "1", "dead": "2"},
    )
    await world.writer.remove_keys(wanted.key, frozenset({"dead", "never"}))
    assert world.cluster.find(CONFIG_MAPS, "shared-agents", namespace="wsroute-system")["data"] == {"alive": "1"}
    writes = len(world.cluster.writes)
    await world.writer.remove_keys(wanted.key, frozenset({"dead", "never"}))
    assert len(world.cluster.writes) == writes


@pytest.mark.parametrize(
    ("error", "outcome"),
    [(UnavailableError("no answer"), Outcome.UNAVAILABLE), (RejectedError("too long"), Outcome.REFUSED)],
)
async def test_a_failed_write_is_an_outcome_and_is_tried_again(
    world: World, error: Exception, outcome: Outcome
) -> None:
    world.cluster.fail = lambda *_: error  # type: ignore[assignment]
    assert await world.write(nginx()) is outcome
    assert outcome.again


async def test_who_does_not_lead_sends_nothing(world: World) -> None:
    world.leading = False
    with pytest.raises(NotLeadingError):
        await world.write(nginx())
    world.leading = True
    await world.write(nginx())
    world.leading = False
    writes = list(world.cluster.writes)
    with pytest.raises(NotLeadingError):
        await world.write(nginx(("a",)))
    assert world.cluster.writes == writes


@given(st.text(st.characters(codec="utf-8"), max_size=200), st.booleans())
def test_what_is_written_is_what_is_read(text: str, large: bool) -> None:
    whole = text + "# filler\n" * (READABLE_LIMIT // 9 + 1) if large else text
    file = generated.File(pack(whole), "8080", "", "")
    wanted = generated.wanted_in_force(BALANCER, InForce("v", ("*",)), file, epoch=3, since=None, terms=TERMS)
    raw = generated.apply_body(wanted, uid="u", version=4)
    known = parse_config_map(raw)
    assert known is not None
    assert generated.stands(wanted, known)
    again = generated.read_file(known)
    assert again == file
    assert generated.read_since(known) is None
    assert unpack(again.bundle.data, again.bundle.binary_data, expected_digest=again.bundle.digest) == whole
    assert generated.apply_body(wanted, uid="u", version=4) == raw


def test_what_a_hand_wrote_among_the_acknowledgements_is_left_out() -> None:
    raw = {"metadata": {"name": "shared-agents", "namespace": "s", "uid": "u"}, "data": {"a": "{", "b": "[]"}}
    assert generated.read_acknowledgements(parse_config_map(raw)) == {}


@given(st.floats(0, 4e9), st.floats(0, 4e9), st.sampled_from(Cause))
def test_times_are_read_as_they_were_written(moment: float, interval: float, cause: Cause) -> None:
    file = generated.File(pack(""), "", "", "")
    known, texts = None, []
    since: Reload | None = Reload(moment, cause, interval)
    for _ in range(2):
        wanted = generated.wanted_in_force(BALANCER, InForce("v", ("*",)), file, epoch=3, since=since, terms=TERMS)
        known = parse_config_map(generated.apply_body(wanted, uid="u", version=4))
        since = generated.read_since(known)
        assert since is not None
        assert since.cause is cause
        assert abs(since.time - moment) < 0.002
        assert abs(since.interval_from - interval) < 0.002
        texts.append(wanted.annotations)
    assert texts[0] == texts[1], "to read it and to write it again changes nothing"


@pytest.mark.parametrize("odd", ["", "now", "Z", "2027-01-15T08:00:00+01:00", "9999-99-99T00:00:00Z", "0" * 99 + "Z"])
@pytest.mark.parametrize("key", [names.RELOADED_ANNOTATION, names.INTERVAL_ANNOTATION, names.RELOAD_REASON_ANNOTATION])
def test_what_a_hand_wrote_of_reloads_is_as_if_nothing_was_known(key: str, odd: str) -> None:
    raw = generated.apply_body(nginx(), uid="u", version=4)
    raw["metadata"]["annotations"][key] = odd
    assert generated.read_since(parse_config_map(raw)) is None


# --- parts of tables ---


def part(text: str = "host {}\n", *, epoch: int = 1) -> generated.Wanted:
    return generated.Wanted(
        key=Key("wsroute-system", "shared-table-r0"),
        balancer="shared",
        role=names.ROLE_TABLE,
        annotations={names.EPOCH_ANNOTATION: str(epoch)},
        data={"table": text},
    )


async def test_a_part_of_a_table_is_made_at_once_and_replaced_on_the_version_that_was_seen(world: World) -> None:
    assert await world.write(part()) is Outcome.WRITTEN
    known = world.known(part().key)
    assert known is not None
    assert known.data == {"table": "host {}\n"}
    assert await world.write(part("")) is Outcome.WRITTEN
    assert await world.writer.write(part("late"), known) is Outcome.CONFLICT
    newest = world.known(part().key)
    assert newest is not None
    assert newest.data == {"table": ""}
    assert await world.write(part("late")) is Outcome.WRITTEN


async def test_a_part_says_when_it_was_written_and_is_not_written_again_for_that(world: World) -> None:
    before = time.time()
    assert await world.write(part()) is Outcome.WRITTEN
    known = world.known(part().key)
    assert known is not None
    assert before - 0.001 <= float(known.annotations[names.WRITTEN_ANNOTATION]) <= time.time() + 0.001  # it is rounded
    assert await world.write(part()) is Outcome.UNCHANGED
    assert await world.write(part("")) is Outcome.WRITTEN
    newest = world.known(part().key)
    assert newest is not None
    assert float(newest.annotations[names.WRITTEN_ANNOTATION]) >= float(known.annotations[names.WRITTEN_ANNOTATION])


async def test_labels_and_annotations_of_others_stay_on_a_part(world: World) -> None:
    await world.write(part())
    known = world.known(part().key)
    assert known is not None
    stored = world.cluster.find(CONFIG_MAPS, "shared-table-r0", namespace="wsroute-system")
    metadata = {**stored["metadata"], "labels": {**stored["metadata"]["labels"], "theirs": "x"}}
    answer = await world.cluster.update(CONFIG_MAPS, {**stored, "metadata": metadata})
    world.feed.wrote(Kind.CONFIG_MAP, answer)
    assert await world.write(part("new")) is Outcome.WRITTEN
    stored = world.cluster.find(CONFIG_MAPS, "shared-table-r0", namespace="wsroute-system")
    assert stored["metadata"]["labels"]["theirs"] == "x"


async def test_somebody_elses_object_with_the_name_of_a_part_is_left_alone(world: World) -> None:
    theirs = {"metadata": {"namespace": "wsroute-system", "name": "shared-table-r0"}, "data": {"a": "b"}}
    await world.cluster.create(CONFIG_MAPS, theirs)
    assert await world.write(part()) is Outcome.FOREIGN
    stored = world.cluster.find(CONFIG_MAPS, "shared-table-r0", namespace="wsroute-system")
    assert stored["data"] == {"a": "b"}


async def test_a_part_that_is_gone_is_made_anew_by_the_next_pass(world: World) -> None:
    await world.write(part())
    known = world.known(part().key)
    await world.cluster.delete(CONFIG_MAPS, namespace="wsroute-system", name="shared-table-r0")
    assert await world.writer.write(part("new"), known) is Outcome.CONFLICT
