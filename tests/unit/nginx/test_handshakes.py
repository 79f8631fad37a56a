"""Emitters of origins and hash keys."""

from typing import Any

import pytest

from tests.support.configurations import configuration, upstream
from wsroute.api.policies import HashKey, HashSource, OriginRules, Policy
from wsroute.nginx.handshakes import HashVariable, OriginWords, origin_words
from wsroute.nginx.paths import POD_PATHS
from wsroute.nginx.quoting import EmitError
from wsroute.nginx.render import render

HOST = "chat.example.com"


@pytest.mark.parametrize(
    ("rules", "host", "words"),
    [
        (OriginRules("Enforce", (HOST,)), HOST, []),
        (OriginRules("Report", (HOST,)), HOST, []),
        (OriginRules("Off", (HOST, "b.example.com"), ("null",), require_header=True), HOST, []),
        (OriginRules("Enforce", (HOST, "b.example.com")), HOST, ["b.example.com"]),
        (OriginRules("Enforce", (HOST, "b.example.com")), "b.example.com", [HOST]),
        (OriginRules("Enforce", ("*.example.com",)), "*.example.com", ["*.example.com"]),
        (OriginRules("Enforce", (HOST,), ("https://*.b.example", "null")), HOST, ["https://*.b.example", ":null"]),
        (OriginRules("Enforce", (HOST,), require_header=True), HOST, [":header"]),
    ],
)
def test_what_a_location_adds_to_its_host(rules: OriginRules, host: str, words: list[str]) -> None:
    assert " ".join(origin_words(rules, host)).split() == words


def test_many_words_are_written_in_lines_that_nginx_can_read() -> None:
    hosts = tuple(f"{'a' * 63}.{'b' * 63}.{'c' * 63}.{'d' * 50}{number:02}.com" for number in range(16))
    allow = tuple(f"https://{host}:65535" for host in hosts * 2)
    lines = origin_words(OriginRules("Enforce", hosts, allow), HOST)
    assert " ".join(lines).split() == [*hosts, *allow]
    assert len(lines) > 3
    assert max(map(len, lines)) < 2_500


@pytest.mark.parametrize(
    "word",
    [
        "", "*", "a b", "a.example.com\n", 'a"', "$host", "https://a.example.com/", "https://$host",
        "https://a.example.com ", "ws://a.example.com", "https://*", "https://*.*.a.example", "https://a:0", "https://a:x",
        "https://a.example.com:080", "https://a;b.example", "https://é.example", "https://", ":null ", 1, None, b"a",
    ],
)  # fmt: skip
def test_what_is_no_word(word: Any) -> None:
    with pytest.raises(EmitError):
        OriginWords([HOST, word])


@pytest.mark.parametrize(
    ("key", "variable"),
    [
        (HashKey(HashSource.CLIENT_IP), "$remote_addr"),
        (HashKey(HashSource.HEADER, "X-Room-1"), "$http_x_room_1"),
        (HashKey(HashSource.QUERY, "Room_1"), "$arg_Room_1"),
        (HashKey(HashSource.COOKIE, "_sid"), "$cookie__sid"),
    ],
)
def test_variables(key: HashKey, variable: str) -> None:
    assert HashVariable(key) == variable


@pytest.mark.parametrize("source", [HashSource.HEADER, HashSource.QUERY, HashSource.COOKIE])
@pytest.mark.parametrize("name", ["", "a b", "a;b", "$a", "a$b", "a\n", "é", "a.b", "{a}", "a\0", 1, None])
def test_names_that_are_none_of_nginx(source: HashSource, name: Any) -> None:
    with pytest.raises(EmitError):
        HashVariable(HashKey(source, name))


@pytest.mark.parametrize(
    ("policy", "key"), [(Policy.HASH, None), (Policy.ROUND_ROBIN, HashKey(HashSource.CLIENT_IP)), ("Hash", None)]
)
def test_a_policy_without_its_key(policy: Any, key: HashKey | None) -> None:
    with pytest.raises(EmitError):
        render(configuration(upstreams=[upstream(balancing=policy, hash_key=key)]), POD_PATHS)
