"""What the renderer promises about whole files: the same bytes, small differences, no half-truths."""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import replace

import pytest

from tests.support.configurations import ROUTE, configuration, location, many_routes, proxy, server, upstream
from wsroute.api.policies import HashKey, HashSource, Policy
from wsroute.dataplane.ir import (
    Configuration,
    Endpoint,
    Listener,
    Location,
    PathMatch,
    RefusalReason,
    Refuse,
    RouteRef,
    Upstream,
)
from wsroute.nginx.memo import RenderMemo
from wsroute.nginx.paths import POD_OPTIONS, POD_PATHS
from wsroute.nginx.quoting import EmitError
from wsroute.nginx.render import VERSION_LENGTH, bootstrap, render
from wsroute.nginx.sizes import hash_size, zone_kibibytes
from wsroute.nginx.views import MANY_PREFIXES


def text(given: Configuration, memo: RenderMemo | None = None) -> str:
    """The file in a pod."""
    return render(given, POD_PATHS, options=POD_OPTIONS, memo=memo).text


def blocks(rendered: str) -> set[str]:
    """The upstreams and servers of a file, each with its comment."""
    body = rendered.partition("No route claims this host")[2]
    return set(body.split("\n    }\n"))


def test_the_version_is_made_from_the_file_without_it() -> None:
    rendered = render(configuration(), POD_PATHS, options=POD_OPTIONS)
    assert len(rendered.version) == VERSION_LENGTH
    assert rendered.text.count(rendered.version) == 4
    anonymous = rendered.text.replace(rendered.version, "")
    assert hashlib.sha256(anonymous.encode()).hexdigest().startswith(rendered.version)


def test_equal_meaning_gives_equal_bytes() -> None:
    assert text(configuration()) == text(configuration())
    assert text(many_routes(20, port=8080)) == text(many_routes(20, port=8080), RenderMemo())


def test_one_route_changes_its_own_blocks_only() -> None:
    before = many_routes(50, port=8080)
    first = before.servers[0]
    action = first.locations[0].action
    assert not isinstance(action, Refuse)
    for other in (
        Refuse(RefusalReason.ROUTE_INVALID),
        replace(action, idle_timeout=1, connect_timeout=2, set_headers=(("X-Very-Long-" + "a" * 240, "b"),)),
    ):
        changed = replace(first, locations=(replace(first.locations[0], action=other),))
        after = replace(before, servers=(changed, *before.servers[1:]))
        difference = blocks(text(before)) ^ blocks(text(after))
        assert 0 < len(difference) <= 4
        assert all("chat-0" in block for block in difference)


class TestMemo:
    """What is remembered is never wrong and never too much."""

    def test_it_gives_the_same_bytes_after_any_change(self) -> None:
        memo = RenderMemo()
        base = many_routes(10, port=8080)
        grown = replace(
            base, upstreams=(replace(base.upstreams[0], endpoints=(Endpoint("10.9.9.9", 1, 3),)), *base.upstreams[1:])
        )
        owner = replace(base.servers[0].locations[0], route=RouteRef("team-b", "thief"))
        renamed = replace(base, servers=(replace(base.servers[0], locations=(owner,)), *base.servers[1:]))
        other_port = replace(base, listeners=(replace(base.listeners[0], port=9090),))
        for given in (
            base,
            base,
            grown,
            base,
            renamed,
            other_port,
            replace(base, ipv6=True),
            replace(base, trusted_proxies=("10.0.0.0/8",)),
            base,
        ):
            assert text(given, memo) == text(given)

    def test_it_is_as_large_as_one_configuration(self) -> None:
        memo = RenderMemo()
        for count in (10, 50, 5):
            text(many_routes(count, port=8080), memo)
            assert len(memo) == 2 * count

    def test_a_pass_that_fails_spoils_nothing(self) -> None:
        memo = RenderMemo()
        good = many_routes(5, port=8080)
        expected = text(good, memo)
        with pytest.raises(EmitError):
            text(replace(good, servers=(*good.servers, server(host="Wrong Host"))), memo)
        assert text(good, memo) == expected
        assert len(memo) == 10


LISTENER = Listener(name="ws", port=8080, public_scheme="ws", public_port=80)


@pytest.mark.parametrize(
    ("given", "sentence", "blamed"),
    [
        (configuration(upstreams=[]), "names an upstream that there is not", ROUTE),
        (configuration(upstreams=[upstream(), upstream()]), "Two upstreams have the same name", None),
        (configuration(servers=[server(), server()]), "Two servers have the same host", None),
        (configuration(servers=[server(listeners=("other",))]), "a listener that the balancer does not have", None),
        (configuration(servers=[server(listeners=())]), "must have a listener", None),
        (configuration(listeners=(LISTENER, replace(LISTENER, name="two"))), "same name or the same port", None),
        (configuration(servers=[server(location(), location())]), "Two locations of a host have the same path", None),
        (configuration(servers=[server(location("/ws/"))]), "must not end with a slash", ROUTE),
        (configuration(servers=[server(location("ws"))]), "A path must start with a slash", ROUTE),
        (
            configuration(servers=[server(location(action=proxy(rewrite_prefix="new")))]),
            "A new prefix must start with a slash",
            ROUTE,
        ),
        (
            configuration(servers=[server(location(action=proxy(set_headers=(("Host", "x"),))))]),
            "that the balancer itself sets",
            ROUTE,
        ),
        (
            configuration(servers=[server(location(action=proxy(remove_headers=("UPGRADE",))))]),
            "that the balancer itself sets",
            ROUTE,
        ),
        (
            configuration(
                servers=[server(location(action=proxy(set_headers=(("X-A", "1"),), remove_headers=("x-a",))))]
            ),
            "set or removed twice",
            ROUTE,
        ),
        (
            configuration(servers=[server(location(action=proxy(set_headers=(("X-A", "$host"),))))]),
            "dollar sign",
            ROUTE,
        ),
        (configuration(upstreams=[upstream(Endpoint("unix:/x", 80, 1))]), "must be an IPv4 or IPv6 address", ROUTE),
        (configuration(upstreams=[upstream(Endpoint("10.1.2.3", 80, 0))]), "must be a whole one from 1", ROUTE),
        (
            configuration(upstreams=[replace(upstream(), endpoints=())]),
            "An upstream must have an endpoint",
            ROUTE,
        ),
    ],
)
def test_what_contradicts_itself_is_refused(given: Configuration, sentence: str, blamed: RouteRef | None) -> None:
    with pytest.raises(EmitError, match=sentence) as caught:
        text(given)
    assert caught.value.route == blamed


PLACES = (location("/"), location("/ws"), location("/ws", match=PathMatch.EXACT), location("/ws/a"), location("/w.+"))


def places(locations: Sequence[Location]) -> list[str]:
    rendered = text(configuration(servers=[server(*locations)]))
    return re.findall(r"^        location (.*) \{$", rendered.partition("server_name ")[2], re.MULTILINE)


def test_each_path_is_one_location_and_longer_ones_go_first() -> None:
    assert places(PLACES) == [r"~ ^/ws/a(/|\z)", r"~ ^/w\.\+(/|\z)", "= /ws", r"~ ^/ws(/|\z)", "/"]


def test_many_paths_of_a_host_are_no_expressions() -> None:
    others = [location(f"/{number}") for number in range(MANY_PREFIXES - len(PLACES) + 1)]
    assert not any(place.startswith("^~") for place in places([*PLACES, *others]))
    found = places([*PLACES, *others, location("/x")])
    assert not any(place.startswith("~") for place in found)
    assert found[:6] == ["= /ws/a", "^~ /ws/a/", "= /w.+", "^~ /w.+/", "= /ws", "^~ /ws/"]
    assert found[-1] == "/"


def test_what_nginx_would_count_differently_is_never_written() -> None:
    rendered = text(many_routes(20, port=8080))
    directives = [
        line.split()[0] for line in rendered.splitlines() if line.strip() and not line.strip().startswith("#")
    ]
    assert directives.count("if") == 1, "the readiness server's, which returns: an if in a location makes a copy of it"
    assert not {"alias", "worker_shutdown_timeout", "worker_rlimit_nofile", "resolver"} & set(directives)
    assert "reuseport" not in rendered
    assert "http2" not in rendered.lower().replace("http2-settings", "")


def test_the_bootstrap_serves_nothing() -> None:
    rendered = bootstrap(POD_PATHS, options=POD_OPTIONS)
    assert "proxy_pass" not in rendered
    assert rendered.count("listen") == 2


def test_sizes_grow_in_steps() -> None:
    assert zone_kibibytes(upstreams=0, endpoints=0) == 512
    assert zone_kibibytes(upstreams=1_000, endpoints=3_000) == 8192
    assert hash_size([]) == hash_size(["a"])
    assert hash_size(["a" * 253]).bucket_size == 2048
    assert hash_size([f"h{number}" for number in range(1_000)]).max_size == 2048


def hashed(upstream: Upstream, name: str) -> Upstream:
    """An upstream that hashes a query parameter."""
    return replace(upstream, balancing=Policy.HASH, hash_key=HashKey(HashSource.QUERY, name))


def test_a_structure_is_everything_but_the_endpoints() -> None:
    one = many_routes(3, port=8080)
    moved = replace(
        one,
        upstreams=tuple(replace(each, endpoints=(Endpoint("10.9.9.9", 80, 1),)) for each in one.upstreams),
    )
    before, after = render(one, POD_PATHS), render(moved, POD_PATHS)
    assert before.version != after.version
    assert before.structure == after.structure
    others = [
        replace(one, ipv6=not one.ipv6),
        replace(one, worker_connections=one.worker_connections + 1),
        replace(one, servers=one.servers[:-1], upstreams=one.upstreams[:-1]),
        replace(one, upstreams=(replace(one.upstreams[0], balancing=Policy.ROUND_ROBIN), *one.upstreams[1:])),
        replace(one, upstreams=(hashed(one.upstreams[0], "room"), *one.upstreams[1:])),
        replace(one, upstreams=(hashed(one.upstreams[0], "user"), *one.upstreams[1:])),
        many_routes(3, port=8090),
    ]
    assert len({before.structure, *(render(other, POD_PATHS).structure for other in others)}) == 1 + len(others)
