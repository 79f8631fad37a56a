"""Load balancing: whose word counts, and what nginx alone can do."""

from typing import Any

import pytest

from tests.unit.api.test_models import balancer, route
from wsroute.api.balancing import beyond_static
from wsroute.api.policies import HashKey, HashSource, Policy, StickyCookie

ROOM = {"by": "Query", "name": "room"}


@pytest.mark.parametrize(
    ("defaults", "own", "expected"),
    [
        (None, None, (Policy.LEAST_CONNECTIONS, None)),
        (None, {}, (Policy.LEAST_CONNECTIONS, None)),
        ({"policy": "RoundRobin"}, {}, (Policy.ROUND_ROBIN, None)),
        (None, {"policy": "Hash", "hash": {"by": "ClientIP"}}, (Policy.HASH, HashKey(HashSource.CLIENT_IP))),
        ({"policy": "Hash", "hash": ROOM}, None, (Policy.HASH, HashKey(HashSource.QUERY, "room"))),
        ({"policy": "Hash", "hash": ROOM}, {"policy": "RoundRobin"}, (Policy.ROUND_ROBIN, None)),
        (
            {"policy": "Hash", "hash": ROOM},
            {"policy": "Hash", "hash": {"by": "Cookie", "name": "sid"}},
            (Policy.HASH, HashKey(HashSource.COOKIE, "sid")),
        ),
    ],
)
def test_the_policy_and_its_key_come_from_one_place(defaults: Any, own: Any, expected: Any) -> None:
    assert route(loadBalancing=own).policy(balancer(defaults={"loadBalancing": defaults})) == expected


@pytest.mark.parametrize(
    ("age", "seconds"), [(None, 0), ("1h", 3_600), ("1ms", 1), ("999ms", 1), ("1s", 1), ("1s1ms", 2)]
)
def test_a_cookie_lasts_whole_seconds(age: str | None, seconds: int) -> None:
    sticky = {"name": "wsr"} | ({} if age is None else {"maxAge": age})
    assert route(loadBalancing={"stickyCookie": sticky}).sticky_cookie(balancer()) == StickyCookie("wsr", seconds)
    assert route(loadBalancing={"policy": "RoundRobin"}).sticky_cookie(balancer()) is None


@pytest.mark.parametrize(
    ("chosen", "fields"),
    [
        (None, []),
        ({"policy": "RoundRobin"}, []),
        ({"policy": "Hash", "hash": {"by": "ClientIP"}}, []),
        ({"policy": "Hash", "hash": {"by": "Header", "name": "X-Room-1"}}, []),
        ({"policy": "Hash", "hash": {"by": "Query", "name": "room_1"}}, []),
        ({"policy": "Hash", "hash": {"by": "Cookie", "name": "_sid"}}, []),
        ({"policy": "Hash", "hash": {"by": "Header", "name": "X.Room"}}, [".hash.name"]),
        ({"policy": "Hash", "hash": {"by": "Query", "name": "room-1"}}, [".hash.name"]),
        ({"policy": "Hash", "hash": {"by": "Cookie", "name": "connect.sid"}}, [".hash.name"]),
        ({"stickyCookie": {"name": "wsr"}}, [".stickyCookie"]),
    ],
)
def test_what_nginx_alone_can_do(chosen: Any, fields: list[str]) -> None:
    assert [field for field, _ in beyond_static(route(loadBalancing=chosen).load_balancing)] == fields
