"""Metrics of what nginx has counted: which labels there are, however many routes and endpoints."""

from pathlib import Path

from tests.support.nginx_runner import short_folder
from tests.support.table_parts import BALANCER, config_maps
from tests.support.tables import address, group, table
from wsroute.agent.metrics import AgentMetrics
from wsroute.agent.parts import parse_part
from wsroute.agent.tables import Content
from wsroute.agent.traffic import (
    BREATH,
    MOST_ENDPOINTS,
    MOST_OF_A_NAMESPACE,
    OTHER,
    Traffic,
    groups_of_endpoints,
    labelled,
    nameless,
)
from wsroute.balancer.table_reader import Counts
from wsroute.dataplane.table import Address, Table


def content(whole: Table) -> Content:
    """What the agent knows of a table."""
    parts = [parse_part(item, BALANCER, before=None) for item in config_maps(whole)]
    return Content({part.place: part for part in parts})


async def test_each_endpoint_has_its_group() -> None:
    many = [
        group(Address(f"10.1.{number // 250}.{number % 250 + 1}", 80), name=f"team-b/s{number}:80")
        for number in range(BREATH + 10)
    ]
    whole = table(groups=[group(address(1), returning=(address(2),)), *many])
    found = await groups_of_endpoints(content(whole))
    assert len(found) == len(many) + 2
    assert found["10.0.0.1:8080"] == found["10.0.0.2:8080"] == "team-a/chat:8080"
    assert found["10.1.0.8:80"] == "team-b/s7:80"


def test_one_namespace_does_not_take_the_labels_of_others() -> None:
    groups = {f"10.0.{number // 250}.{number % 250}:80": "greedy/s:80" for number in range(500)} | {
        "x:80": "small/s:80"
    }
    held = dict.fromkeys(groups, 50) | {"x:80": 1}
    found = labelled(held, groups, total=500 * 50 + 1 + 7)
    assert sum(service == "greedy/s:80" for service, _ in found) == MOST_OF_A_NAMESPACE
    assert found["small/s:80", "x:80"] == 1
    assert found[OTHER, OTHER] == (500 - MOST_OF_A_NAMESPACE) * 50 + 7, "what is in no group any more counts there too"


def test_there_are_no_more_labels_than_may_be_and_those_with_most_sockets_have_them() -> None:
    groups = {f"e{number}:80": f"team-{number}/s:80" for number in range(MOST_ENDPOINTS + 500)}
    held = {endpoint: number for number, endpoint in enumerate(groups)}
    found = labelled(held, groups, total=sum(held.values()))
    assert len(found) == MOST_ENDPOINTS + 1
    assert min(number for key, number in found.items() if key != (OTHER, OTHER)) == 500
    assert sum(found.values()) == sum(held.values())


def test_an_endpoint_without_sockets_has_no_label() -> None:
    assert labelled({"e:80": 0}, {"e:80": "a/b:80"}, total=0) == {}


def test_without_names_sums_are_the_same() -> None:
    counts = Counts({("forwarded", "a/b"): 3, ("forwarded", "c/d"): 4, ("no-route", ""): 2}, {"a/b": 1, "c/d": 2}, 1)
    assert nameless(counts) == Counts({("forwarded", OTHER): 7, ("no-route", ""): 2}, {OTHER: 3}, 1)


async def test_without_an_answer_nothing_is_told() -> None:
    metrics = AgentMetrics()
    with short_folder() as folder:
        traffic = Traffic(Path(folder), lambda: None, names=True)
        metrics.include(traffic)
        await traffic.refresh()
    assert "wsroute_agent_requests" not in metrics.render().decode()
