"""What is remembered of a balancer survives being written, and nothing that a hand wrote there does harm."""

import json
import string
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsroute.api.values import host_fault
from wsroute.cluster import balancer_state
from wsroute.cluster.balancer_state import (
    HOSTS_KEY,
    QUARANTINE_KEY,
    TEMPLATE_KEY,
    BalancerState,
    HostClaim,
    Reading,
    RefusedTemplate,
    claim_size,
    format_time,
    parse_time,
    read_state,
    write_state,
)
from wsroute.cluster.objects import Key
from wsroute.cluster.quarantine import (
    MAX_NAMESPACES,
    MAX_QUARANTINED,
    MAX_WORDS,
    Crowded,
    Quarantined,
    Refusals,
    Search,
    clean_words,
)

CONFIG_MAP_LIMIT = 1024 * 1024
TIME = "2026-11-26T21:00:00Z"

labels = st.from_regex(r"[a-z][a-z0-9]{0,8}", fullmatch=True)
walls = st.integers(0, 4_000_000_000).map(float)
hosts = st.builds(lambda wild, *parts: ".".join([*wild, *parts]), st.sampled_from(([], ["*"])), labels, labels, labels)
claims = st.builds(HostClaim, labels, st.one_of(st.just(""), walls.map(format_time)))
quarantined = st.builds(
    Quarantined,
    uid=st.uuids().map(str),
    generation=st.integers(0, 2**62),
    identity=st.text(string.hexdigits, min_size=16, max_size=16),
    version=st.text(string.hexdigits, min_size=12, max_size=12),
    message=st.text(max_size=600).map(clean_words),
    left_out=st.booleans(),
)
digests = st.text("0123456789abcdef", min_size=16, max_size=16)
bounds = st.from_regex(r"[0-9a-f]{0,17}~?", fullmatch=True)
refusals = st.builds(
    Refusals,
    st.dictionaries(st.builds(Key, labels, labels), quarantined, max_size=5),
    st.one_of(st.none(), st.builds(Search, bounds, bounds, bounds, bounds)),
    st.dictionaries(labels, digests, max_size=3),
    st.one_of(
        st.none(),
        st.builds(Crowded, digests, st.dictionaries(labels, st.integers(1, 10_000), min_size=1, max_size=3)),
    ),
)
refused = st.builds(
    RefusedTemplate,
    digest=st.text("0123456789abcdef", min_size=64, max_size=64),
    message=st.text(max_size=600).map(clean_words),
)
states = st.builds(
    BalancerState,
    st.dictionaries(hosts, claims, max_size=20),
    refusals,
    st.none() | refused,
)


@given(states)
def test_what_is_written_is_read_again(state: BalancerState) -> None:
    data = write_state(state)
    assert read_state(data) == Reading(state, whole=True)
    jailed = dict(reversed(list(state.refusals.quarantined.items())))
    turned = replace(
        state,
        hosts=dict(reversed(list(state.hosts.items()))),
        refusals=replace(state.refusals, quarantined=jailed),
    )
    assert write_state(turned) == data


@pytest.mark.parametrize(
    "entry", ["", "x", "[]", "{}", '{"digest": "ab", "message": ""}', '{"digest": 1, "message": ""}', "[" * 4_000]
)
def test_a_template_that_a_hand_wrote_down_wrongly_is_not_refused(entry: str) -> None:
    assert read_state({HOSTS_KEY: "", TEMPLATE_KEY: entry}) == Reading(BalancerState(), whole=True)


def test_the_words_of_a_refused_template_are_cleaned() -> None:
    entry = json.dumps({"digest": "a" * 64, "message": "\x1b[31m" + "x" * 1_000})
    refused_template = read_state({HOSTS_KEY: "", TEMPLATE_KEY: entry}).state.refused_template
    assert refused_template is not None
    assert refused_template.message.isprintable()
    assert len(refused_template.message) == MAX_WORDS


def test_it_reads_well() -> None:
    state = BalancerState(
        {"b.example.com": HostClaim("team-b", TIME), "*.a.example.com": HostClaim("team-a")},
        Refusals(
            {Key("team-a", "chat"): Quarantined("uid-1", 3, "cafe", "0123456789ab", 'invalid "x"')},
            Search("0123456789ab", "a0", "~", "ba9876543210"),
        ),
    )
    assert write_state(state) == {
        "hosts": (
            "# host, the namespace that it belongs to, and since when it has no route there\n"
            "*.a.example.com team-a\n"
            f"b.example.com team-b {TIME}\n"
        ),
        "quarantine": (
            '{"search": {"base": "0123456789ab", "low": "a0", "high": "~", "probe": "ba9876543210"}}\n'
            '{"route": "team-a/chat", "uid": "uid-1", "generation": 3, "identity": "cafe", '
            '"version": "0123456789ab", "message": "invalid \\"x\\"", "leftOut": false}\n'
        ),
    }
    assert QUARANTINE_KEY not in write_state(BalancerState())


@given(st.dictionaries(st.sampled_from([HOSTS_KEY, QUARANTINE_KEY, "other"]), st.text()))
def test_any_text_is_read(data: dict[str, str]) -> None:
    state, _ = read_state(data)
    assert read_state(write_state(state)).state == state
    assert all(host_fault(host) is None for host in state.hosts)


@pytest.mark.parametrize(
    "line",
    [
        "a.example.com",
        "a.example.com team-a 2026-11-26T21:00:00Z more",
        "A.example.com team-a",
        "a.example.com. team-a",
        "xn--zzzzzzzz99.example.com team-a",
        "a.example.com Team-A",
        "a.example.com team-a yesterday",
        "a.example.com team-a 2026-11-31T21:00:00Z",
        "a.example.com team-a 2026-11-26t21:00:00z",
        "a.example.com; team-a",
        "chat.example.com team-b",
        "a.example.com " + "a" * 5000,
    ],
)
def test_a_line_of_hosts_that_is_not_good_is_left_out_and_told(line: str) -> None:
    before = "chat.example.com team-a\n"
    assert read_state({"hosts": f"{before}{line}\n"}) == Reading(
        BalancerState({"chat.example.com": HostClaim("team-a")}), whole=False
    )


def test_a_hand_may_leave_blanks_empty_lines_and_comments() -> None:
    text = f"# mine\n\n  chat.example.com\tteam-a  \r\nb.example.com team-b {TIME}"
    assert read_state({"hosts": text, "other": "x"}) == Reading(
        BalancerState({"chat.example.com": HostClaim("team-a"), "b.example.com": HostClaim("team-b", TIME)}), whole=True
    )


def test_without_a_list_of_hosts_it_is_not_whole() -> None:
    assert read_state({}) == Reading(BalancerState(), whole=False)
    assert read_state({"hosts": ""}) == Reading(BalancerState(), whole=True)


GOOD = '"route":"team-a/chat","uid":"u","identity":"i","version":"v","message":"m","leftOut":false'


@pytest.mark.parametrize(
    "line",
    [
        "[" * 4000,
        '{"search": {"base": "b", "low": "not hex", "high": "", "probe": ""}}',
        '{"search": {"base": "b", "low": ""}}',
        "[]",
        "null",
        "{" + GOOD + "}",
        "{" + GOOD + ',"generation":true}',
        "{" + GOOD + ',"generation":"1"}',
        "{" + GOOD.replace("team-a/chat", "team-a") + ',"generation":1}',
        "{" + GOOD.replace("team-a/chat", "Team-a/chat") + ',"generation":1}',
        "{" + GOOD.replace('"u"', '"u u"') + ',"generation":1}',
        "{" + GOOD.replace('"v"', '""') + ',"generation":1}',
        "{" + GOOD.replace('"m"', "1") + ',"generation":1}',
    ],
)
def test_a_line_of_the_quarantine_that_is_not_good_is_left_out(line: str) -> None:
    good = "{" + GOOD + ',"generation":1}'
    other = good.replace("chat", "other")
    expected = {Key("team-a", name): Quarantined("u", 1, "i", "v", "m") for name in ("chat", "other")}
    assert read_state({"hosts": "", "quarantine": f"{good}\n{line}\n{other}\n"}).state.refusals == Refusals(expected)


def test_the_fullest_state_fits_into_a_config_map() -> None:
    namespace = "n" * 63
    count = balancer_state.HOSTS_LIMIT // claim_size(f"{0:060d}.example.com", namespace)
    full = {f"{n:060d}.example.com": HostClaim(namespace, TIME) for n in range(count)}
    words = clean_words('"' * 10_000)
    jailed = {
        Key(namespace, f"{n:063d}" + f".{'a' * 62}" * 3): Quarantined("u" * 36, 2**31, "c" * 16, "0" * 12, words)
        for n in range(MAX_QUARANTINED + 5)
    }
    crowds = [f"{n:063d}" for n in range(MAX_NAMESPACES + 5)]
    refusals = Refusals(
        jailed,
        Search("0" * 12, "1" * 17, "2" * 17, "3" * 12),
        dict.fromkeys(crowds, "c" * 16),
        Crowded("c" * 16, dict.fromkeys(crowds, 10_000)),
    )
    state = BalancerState(full, refusals)
    data = write_state(state)
    assert sum(len(text.encode()) for text in data.values()) < CONFIG_MAP_LIMIT - 16 * 1024
    read = read_state(data)
    assert read.whole
    assert read.state.hosts == full
    assert sorted(read.state.refusals.quarantined) == sorted(jailed)[:MAX_QUARANTINED]
    assert sorted(read.state.refusals.whole) == crowds[:MAX_NAMESPACES]
    assert read.state.refusals.crowded is not None
    assert sorted(read.state.refusals.crowded.counts) == crowds[:MAX_NAMESPACES]


def test_ten_thousand_hosts_fit() -> None:
    assert 10_000 * claim_size("h" * 45, "n" * 20) <= balancer_state.HOSTS_LIMIT


def test_hosts_beyond_the_limit_are_left_out_and_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(balancer_state, "HOSTS_LIMIT", claim_size("a.example.com", "a") + 1)
    read = read_state({"hosts": "a.example.com a\nb.example.com a\n"})
    assert (list(read.state.hosts), read.whole) == (["a.example.com"], False)


@given(st.text())
def test_words_are_plain_and_short(message: str) -> None:
    words = clean_words(message)
    assert len(words) <= MAX_WORDS
    assert words.isascii()
    assert words.isprintable()
    assert clean_words(words) == words


@given(walls)
def test_times_are_read_as_they_were_written(wall: float) -> None:
    text = format_time(wall)
    assert parse_time(text) == wall
    assert datetime.fromisoformat(text) == datetime.fromtimestamp(wall, UTC)


@pytest.mark.parametrize(
    "text", ["", "2026-11-26 21:00:00Z", "2026-1-26T21:00:00ZZ", "٢٠٢٦-11-26T21:00:00Z", "0000-00-00T00:00:00Z"]
)
def test_other_times_are_none(text: str) -> None:
    assert parse_time(text) is None
