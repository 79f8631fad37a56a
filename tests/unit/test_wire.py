"""Operator and agent of now, and what earlier ones say: `tests/wire` holds it, and is never made anew."""

import json
from pathlib import Path
from typing import Any

import pytest

from wsroute.agent.decide import parse_publication
from wsroute.agent.parts import merged, parse_part
from wsroute.agent.tables import FORMATS
from wsroute.cluster.objects import Key
from wsroute.cluster.parse import parse_config_map
from wsroute.controller import generated
from wsroute.controller.budget import Cause, Reload, Terms
from wsroute.controller.rollout import InForce, Trial
from wsroute.dataplane import shards
from wsroute.dataplane.acknowledgement import Acknowledgement, Draining, Failure, parse_acknowledgement
from wsroute.dataplane.bundle import pack
from wsroute.dataplane.dictionary import mark

WIRE = Path(__file__).parents[1] / "wire"
BALANCER = Key("wsroute-system", "shared")
TERMS = Terms(0.0, 3, 3600.0, "0s", "1h")
SINCE = Reload(1_800_000_000.25, Cause.CONFIGURATION, 1_800_000_000.25)


def frozen(name: str) -> Any:
    return json.loads((WIRE / name).read_text(encoding="utf-8"))


def later(config_map: dict[str, Any]) -> dict[str, Any]:
    """What a later operator may have added to it."""
    metadata = config_map["metadata"]
    annotations = {**metadata["annotations"], "wsroute.dev/of-a-later-release": "x", "wsroute.dev/settings": "{"}
    labels = {**metadata.get("labels", {}), "of-a-later-release": "x"}
    data = {**config_map.get("data", {}), "of-a-later-release": "x"}
    return {**config_map, "metadata": {**metadata, "annotations": annotations, "labels": labels}, "data": data}


def test_what_this_agent_reads_is_what_this_operator_writes() -> None:
    assert FORMATS == (shards.FORMAT,)


# --- tables ---


@pytest.mark.parametrize("change", [lambda item: item, later], ids=["as it was", "of a later operator"])
def test_an_earlier_operator_s_tables_are_read_and_mean_the_same(change: Any) -> None:
    parts = [parse_part(change(item), "shared", before=None) for item in frozen("format_1/parts.json")]
    expected = frozen("format_1/entries.json")
    entries = merged(line for part in parts for line in part.lines.values())
    assert entries == expected["entries"]
    assert mark(entries) == expected["mark"]


def test_an_earlier_agent_is_told_of_the_same_routes_in_the_same_words() -> None:
    for item in frozen("format_1/parts.json"):
        text = item["data"]["table"]
        if item["metadata"]["annotations"]["wsroute.dev/shard"].startswith("r"):
            lines = [shards.host_line(host) for host in shards.parse_hosts(text)]
        else:
            lines = [shards.endpoints_line(group) for group in shards.parse_groups(text)]
        assert "".join(f"{line}\n" for line in lines) == text


# --- versions ---


@pytest.mark.parametrize("change", [lambda item: item, later], ids=["as it was", "of a later operator"])
def test_an_earlier_operator_s_versions_are_followed(change: Any) -> None:
    found = frozen("format_1/published.json")
    main, trial = (
        parse_publication(change({"metadata": {"name": "n", "uid": "u", "annotations": found[which]}}))
        for which in ("in force", "under canary")
    )
    for each in (main, trial):
        assert (each.version, each.digest, each.epoch) == ("9ea1b74e5fc2", "0" * 64, 3)
        assert each.ports == {8080, 8443}
    assert main.pods == {"a", "b"}
    assert main.terms is not None
    assert (main.terms.generations, main.terms.timeout) == (3, 3600.0)
    assert (main.canary, trial.canary, trial.pods) == ("", "a", frozenset())


def test_an_earlier_agent_finds_all_that_it_looks_for() -> None:
    bundle = pack("events {}\n")
    file = generated.File(bundle, "8080 8443", "0123456789ab", "uid/1/0.1.0", "1", settings="{}")
    version = "9ea1b74e5fc2"
    wanted = {
        "in force": generated.wanted_in_force(
            BALANCER, InForce(version, ("a", "b")), file, epoch=3, since=SINCE, terms=TERMS
        ),
        "under canary": generated.wanted_trial(BALANCER, Trial(version, "a"), file, epoch=3, since=SINCE),
    }
    for which, annotations in frozen("format_1/published.json").items():
        expected = {**annotations, "wsroute.dev/digest": bundle.digest}
        assert expected.items() <= dict(wanted[which].annotations).items()


def test_this_operator_reads_what_an_earlier_one_published() -> None:
    for which, annotations in frozen("format_1/published.json").items():
        raw = {"metadata": {"name": "n", "namespace": "s", "uid": "u", "annotations": annotations}}
        known = parse_config_map(later(raw))
        assert generated.read_published(known).version == "9ea1b74e5fc2", which
        assert generated.read_since(known) == SINCE
        assert generated.read_settings(known) is None


# --- acknowledgements ---


def test_earlier_agents_are_understood() -> None:
    first, refused, draining, dynamic = frozen("acknowledgements.json")
    plain = Acknowledgement("0123456789ab", 3, 12, "1.31.3", ipv6=True)
    failure = Failure("ba9876543210", "test", "[emerg] no")
    expected = [
        (first, plain),
        (refused, Acknowledgement("0123456789ab", 3, 12, "1.31.3", ipv6=True, failure=failure)),
        (
            draining,
            Acknowledgement(
                "0123456789ab", 3, 12, "1.31.3", ipv6=True, draining=Draining(2, 7, 1_800_000_000), closed=3
            ),
        ),
        (
            dynamic,
            Acknowledgement(
                *("0123456789ab", 3, 12, "1.31.3"), ipv6=True, table=4711, formats=(1,), trouble="The table is full."
            ),
        ),
    ]
    for entry, means in expected:
        for text in (entry["says"], {**entry["says"], "ofALaterRelease": {"x": [1]}}):
            assert parse_acknowledgement(json.dumps(text)) == means, entry["by"]


def test_an_earlier_operator_understands_this_agent() -> None:
    """It looks for these fields, of these types, and passes over all others."""
    failure = Failure("ba9876543210", "load", "[emerg] no")
    said = json.loads(Acknowledgement("v", 3, 12, "1.31.3", ipv6=True, failure=failure, formats=FORMATS).to_json())
    assert 1 in said["formats"]
    for entry in frozen("acknowledgements.json"):
        for field, value in entry["says"].items():
            assert type(said[field]) is (dict if field == "failure" else type(value)), (entry["by"], field)
    assert said["failure"].keys() == {"version", "phase", "message"}
