"""The words for how two pods' tables differ."""

from tests.support.tables import address, group, host, record, table
from wsroute.dataplane.dictionary import entries
from wsroute.dataplane.differences import MOST, differences
from wsroute.dataplane.ir import PathMatch, RefusalReason, Refuse

USUAL = entries(table())


def test_equal_tables_have_none() -> None:
    assert differences(USUAL, dict(USUAL)) == []


def test_a_host_that_is_missing_and_one_too_many() -> None:
    own = entries(table(host(name="*.example.org", listeners=("ws", "wss"))))
    assert differences(USUAL, own) == [
        "has the path /ws of *.example.org on ws, wss, which others do not have",
        "does not have the path /ws of chat.example.com on ws",
        "has the host *.example.org on the listener ws, which others do not have",
        "does not have the host chat.example.com on the listener ws",
        "has the host *.example.org on the listener wss, which others do not have",
    ]


def test_endpoints_are_named() -> None:
    own = entries(table(groups=[group(address(2), returning=(address(1),))]))
    assert differences(USUAL, own) == [
        "has other endpoints of team-a/chat:8080: not 10.0.0.1:8080, 10.0.0.2:8080, returning 10.0.0.1:8080"
    ]


def test_a_path_with_other_settings() -> None:
    refused = record(action=Refuse(RefusalReason.NO_ENDPOINTS), match=PathMatch.EXACT)
    usual = entries(table(host(record(match=PathMatch.EXACT))))
    assert differences(usual, entries(table(host(refused)))) == [
        "has the exact path /ws of chat.example.com on ws with other settings"
    ]


def test_damage_is_a_difference_too() -> None:
    assert differences(USUAL, {**USUAL, "eteam-a/chat:8080": "damaged"}) == [
        "has endpoints of team-a/chat:8080 with other settings"
    ]


def test_many_are_counted() -> None:
    own = entries(table(*(host(name=f"h{number}.example.com") for number in range(40))))
    found = differences(USUAL, own)
    assert len(found) == MOST + 1
    assert found[-1] == f"and {40 * 2 + 2 - MOST} differences more"


def test_certificates_are_named() -> None:
    usual = {"cwss *": "a" * 64, "cwss chat.example.com": "b" * 64}
    assert differences(usual, {"cwss chat.example.com": "c" * 64}) == [
        "does not have the certificate for everything else on the listener wss",
        "has the certificate for chat.example.com on the listener wss with other settings",
    ]
