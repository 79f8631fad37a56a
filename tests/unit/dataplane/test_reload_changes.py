"""What differs between two versions of a balancer, in words, and how that travels."""

import json
from dataclasses import fields, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsroute.api.policies import Policy
from wsroute.dataplane.certificates import ListenerTls
from wsroute.dataplane.ir import (
    Configuration,
    Endpoint,
    Listener,
    Location,
    PathMatch,
    RefusalReason,
    Refuse,
    RouteRef,
    Shell,
    Upstream,
    VirtualServer,
)
from wsroute.dataplane.reload_changes import (
    MAX_CHANGES,
    Change,
    Reason,
    changed_routes,
    changed_settings,
    changes_from_text,
    changes_to_text,
    serves_alike,
    settings_from_text,
    settings_of,
    settings_to_text,
    shortened,
)

WS = Listener("ws", 8080, "ws", 80)
WSS = Listener("wss", 8443, "wss", 443, ListenerTls((), ()))
SHELL = Shell((1_000,), (60_000, 3_600_000), ("X-Team",))
DYNAMIC = Configuration("shared", (WS, WSS), True, (), None, 1_024, (), (), None, SHELL)


def changes(before: Configuration, after: Configuration, *, releases: tuple[str, str] = ("1", "1")) -> list[str]:
    """As they are told."""
    old, new = settings_of(before, release=releases[0]), settings_of(after, release=releases[1])
    travelled = settings_from_text(settings_to_text(old))
    return [str(change) for change in changed_settings(travelled, new)]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"listeners": (WS, WSS, Listener("extra", 9, "ws", 9))}, "ListenerAdded (spec.listeners[extra])"),
        ({"listeners": (WS,)}, "ListenerRemoved (spec.listeners[wss])"),
        ({"listeners": (replace(WS, port=8081), WSS)}, "ListenerChanged (spec.listeners[ws])"),
        ({"listeners": (replace(WS, public_scheme="wss"), WSS)}, "ListenerChanged (spec.listeners[ws])"),
        ({"listeners": (replace(WS, tls=ListenerTls((), ())), WSS)}, "ListenerChanged (spec.listeners[ws])"),
        ({"listeners": (WS, replace(WSS, tls=ListenerTls(("f",), ())))}, "Certificates (spec.listeners[wss].tls)"),
        ({"ipv6": False}, "IPv6 (IPv6 of the pods)"),
        ({"trusted_proxies": ("10.0.0.0/8",)}, "TrustedProxies (spec.trustedProxies)"),
        ({"worker_processes": 4}, "WorkerSettings (spec.nginx.workerProcesses)"),
        ({"worker_connections": 2_048}, "WorkerSettings (spec.nginx.workerConnections)"),
        ({"main_template": "events {}"}, "Template (spec.nginx.templateRef)"),
        ({"shell": replace(SHELL, headers=("X-Other",))}, "RequestHeaders (spec.requestHeaders)"),
        ({"shell": replace(SHELL, idle_timeouts=(60_000,))}, "TimeoutClasses (spec.maximums.idle)"),
        ({"shell": replace(SHELL, connect_timeouts=(2_000,))}, "TimeoutClasses (connect timeouts)"),
    ],
)
def test_each_setting_has_its_reason(change: dict[str, Any], told: str) -> None:
    after = replace(DYNAMIC, **change)
    assert changes(DYNAMIC, after) == [told]
    assert changes(after, after) == []


def test_no_setting_is_forgotten() -> None:
    """Whatever a file follows from is either a setting, or a route's, or says nothing to nginx."""
    settings = {"listeners", "ipv6", "trusted_proxies", "worker_processes", "worker_connections", "main_template"}
    assert {field.name for field in fields(Configuration)} == settings | {"shell", "balancer", "upstreams", "servers"}
    assert {field.name for field in fields(Shell)} == {"connect_timeouts", "idle_timeouts", "headers"}
    assert {field.name for field in fields(Listener)} == {"name", "port", "public_scheme", "public_port", "tls"}


def test_another_release_and_another_data_plane() -> None:
    assert changes(DYNAMIC, DYNAMIC, releases=("1", "2")) == ["Release (the operator's release)"]
    static = replace(DYNAMIC, shell=None)
    for pair in ((static, DYNAMIC), (DYNAMIC, static)):
        assert changes(*pair, releases=("1", "2")) == ["DataPlane (spec.dataPlane)"], "what goes with that is no news"
    some = replace(DYNAMIC, ipv6=False, worker_connections=2_048)
    worker, plane, ipv6 = changes(static, some)
    assert (worker, ipv6) == ("WorkerSettings (spec.nginx.workerConnections)", "IPv6 (IPv6 of the pods)")
    assert plane == "DataPlane (spec.dataPlane)"
    new = settings_of(DYNAMIC, release="2")
    assert changed_settings(None, new) == (Change(Reason.RELEASE, "the operator's release"),), "an earlier release"
    later = {**new, "spec.something": "of a later release"}
    assert changed_settings(later, new) == (Change(Reason.RELEASE, "spec.something"),)


def test_a_long_setting_is_told_by_its_digest() -> None:
    many = replace(DYNAMIC, trusted_proxies=tuple(f"10.{number}.0.0/16" for number in range(64)))
    others = replace(many, trusted_proxies=many.trusted_proxies[:-1])
    assert max(map(len, settings_of(many, release="1").values())) <= 200
    assert changes(many, others) == ["TrustedProxies (spec.trustedProxies)"]


def test_what_a_dynamic_route_needs_of_a_file() -> None:
    old = settings_of(DYNAMIC, release="1")
    moved = settings_of(replace(DYNAMIC, listeners=(WS, replace(WSS, port=9443))), release="2")
    assert serves_alike(old, moved, ["ws"])
    assert not serves_alike(old, moved, ["ws", "wss"])
    assert not serves_alike(old, settings_of(replace(DYNAMIC, shell=replace(SHELL, headers=())), release="1"), ["ws"])
    assert not serves_alike({}, old, [])


# --- routes ---

A, B = RouteRef("team-a", "chat"), RouteRef("team-b", "game")
UPSTREAM = Upstream("team-a_chat_0", Policy.LEAST_CONNECTIONS, (Endpoint("10.0.0.1", 80, 1),), ("team-a/chat:80",))
OTHER = replace(UPSTREAM, name="team-b_game_0", sources=("team-b/game:80",))


def location(route: RouteRef, path: str = "/ws") -> Location:
    return Location(route, path, PathMatch.PREFIX, Refuse(RefusalReason.NO_ENDPOINTS))


def server(*locations: Location, host: str = "a.example.com", listeners: tuple[str, ...] = ("ws",)) -> VirtualServer:
    return VirtualServer(host, listeners, locations)


STATIC = replace(DYNAMIC, shell=None, upstreams=(UPSTREAM, OTHER), servers=(server(location(A), location(B, "/game")),))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({}, []),
        (
            {"upstreams": (replace(UPSTREAM, endpoints=(*UPSTREAM.endpoints, Endpoint("10.0.0.2", 80, 1))), OTHER)},
            ["Endpoints (WebSocketRoute team-a/chat)"],
        ),
        (
            {"upstreams": (replace(UPSTREAM, endpoints=(Endpoint("10.0.0.2", 80, 1),)), OTHER)},
            ["EndpointRemoval (WebSocketRoute team-a/chat)"],
        ),
        ({"upstreams": (UPSTREAM,)}, ["Routes (WebSocketRoute team-b/game)"]),
        (
            {"upstreams": (replace(UPSTREAM, balancing=Policy.ROUND_ROBIN), OTHER)},
            ["Routes (WebSocketRoute team-a/chat)"],
        ),
        ({"servers": (server(location(A), location(B, "/g")),)}, ["Routes (WebSocketRoute team-b/game)"]),
        ({"servers": (server(location(B, "/game"), location(A)),)}, []),
        (
            {"servers": (server(location(A), location(B, "/game"), host="b.example.com"),)},
            ["Routes (WebSocketRoute team-a/chat)", "Routes (WebSocketRoute team-b/game)"],
        ),
        (
            {"servers": (server(location(A), location(B, "/game"), listeners=("wss",)),)},
            ["Routes (WebSocketRoute team-a/chat)", "Routes (WebSocketRoute team-b/game)"],
        ),
    ],
)
def test_it_is_told_whose_change_it_was(change: dict[str, Any], told: list[str]) -> None:
    assert list(map(str, changed_routes(STATIC, replace(STATIC, **change)))) == told


def test_a_route_is_told_once_with_what_weighs_most() -> None:
    after = replace(
        STATIC,
        upstreams=(replace(UPSTREAM, endpoints=(Endpoint("10.0.0.9", 80, 1),)), OTHER),
        servers=(server(location(A, "/edited"), location(B, "/game")),),
    )
    assert list(map(str, changed_routes(STATIC, after))) == ["Routes (WebSocketRoute team-a/chat)"]


# --- how they travel ---


def test_no_more_are_told_than_people_read() -> None:
    many = tuple(Change(Reason.ROUTES, f"WebSocketRoute team-a/r{number}") for number in range(100))
    told = shortened(many)
    assert len(told) == MAX_CHANGES
    assert told[-1] == Change(Reason.ROUTES, "and 93 more")
    assert shortened(many[:MAX_CHANGES]) == many[:MAX_CHANGES]


def test_they_are_read_as_they_were_written() -> None:
    some = (Change(Reason.LISTENER_ADDED, "spec.listeners[extra]"), Change("OfALaterRelease", "something"))
    assert changes_from_text(changes_to_text(some)) == some
    assert [change.known_reason for change in some] == [Reason.LISTENER_ADDED, Reason.UNKNOWN]


@given(st.text() | st.recursive(st.none() | st.text() | st.integers(), st.lists).map(json.dumps))
def test_what_a_hand_wrote_does_no_harm(text: str) -> None:
    found = changes_from_text(text)
    assert len(found) <= MAX_CHANGES
    assert all(change.reason.isalpha() and change.subject.isprintable() for change in found)
    settings = settings_from_text(text)
    assert settings is None or isinstance(changed_settings(settings, settings_of(DYNAMIC, release="1")), tuple)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "{}", '{"a": 1}', "null", "[" * 60_000, '{"a": "' + "x" * 70_000 + '"}']
)
def test_what_are_no_settings_are_none(text: str) -> None:
    assert settings_from_text(text) is None
