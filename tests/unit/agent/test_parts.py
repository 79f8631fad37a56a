"""How a ConfigMap becomes a part of a table, and what is none."""

from typing import Any

import pytest
from hypothesis import given

from tests.support import tables as make
from tests.support.table_parts import config_map, config_maps, split
from wsroute.agent.parts import MODULUS, Part, PartError, merged, parse_part
from wsroute.dataplane import names
from wsroute.dataplane.dictionary import entries, mark
from wsroute.dataplane.table import Address, Table

TEXT = split(make.table())["r", 0]


def read(config_map: Any, before: Part | None = None) -> Part:
    return parse_part(config_map, "shared", before=before)


def test_a_part_says_where_it_comes_from() -> None:
    part = read(config_map("r", 0, 1, TEXT, version=7, epoch=3))
    assert (part.uid, part.epoch, part.version, part.place, part.count) == ("uid-shared-table-r0", 3, 7, ("r", 0), 1)


@given(make.tables())
def test_all_parts_together_are_the_table_however_many_there_are(table: Table) -> None:
    for hosts, groups in ((1, 1), (4, 2)):
        parts = [read(item) for item in config_maps(table, hosts=hosts, groups=groups)]
        assert merged(line for part in parts for line in part.lines.values()) == entries(table)
        assert f"{sum(part.number for part in parts) % MODULUS:064x}" == mark(entries(table))


def test_a_line_that_stood_there_is_not_read_again() -> None:
    first = read(config_map("r", 0, 1, TEXT))
    both = split(make.table(make.host(), make.host(name="other.example.com")))["r", 0]
    second = read(config_map("r", 0, 1, both), first)
    [kept] = first.lines
    assert second.lines[kept] is first.lines[kept]
    assert len(second.lines) == 2
    assert read(config_map("r", 0, 1, "")).lines == {}


@pytest.mark.parametrize(
    ("odd", "words"),
    [
        pytest.param(config_map("r", 0, 1, TEXT, table_format="2"), "format '2'.* can read 1", id="a later format"),
        pytest.param(config_map("r", 0, 1, TEXT, table_format=""), "format ''", id="no format"),
        pytest.param(config_map("r", 0, 1, TEXT, epoch=-1), "'-1' in an annotation", id="an odd epoch"),
        pytest.param(config_map("r", 0, 1, TEXT, digest="0" * 64), "does not match its digest", id="another digest"),
        pytest.param(config_map("r", 0, 1, TEXT, shard="r 1/2"), "that of another ConfigMap", id="another place"),
        pytest.param(config_map("r", 0, 1, TEXT, shard="x"), "'x'", id="no place"),
        pytest.param(config_map("r", 0, 1, TEXT + TEXT), "Line 2 stands there twice", id="twice"),
        pytest.param(config_map("r", 0, 1, TEXT + "x\n"), "Line 2: ", id="a line that says nothing"),
        pytest.param(config_map("r", 0, 1, "\n"), "Line 1: ", id="an empty line"),
        pytest.param(config_map("r", 0, 1, "\ud800\n"), "digest|Line 1", id="half of a surrogate pair"),
        pytest.param(config_map("e", 0, 1, TEXT), "Line 1: ", id="hosts among endpoints"),
    ],
)
def test_what_is_no_part_is_told(odd: Any, words: str) -> None:
    with pytest.raises(PartError, match=words):
        read(odd)


def test_what_belongs_elsewhere_is_not_taken() -> None:
    """Else two parts could say something about the same host."""
    texts = split(make.table(), hosts=2)
    [(family, index)] = [place for place, text in texts.items() if text == TEXT]
    assert read(config_map(family, index, 2, TEXT)).lines
    with pytest.raises(PartError, match=r"chat\.example\.com belongs into another part"):
        read(config_map(family, 1 - index, 2, TEXT))


def test_two_lines_about_the_same_are_none() -> None:
    other = split(make.table(make.host(make.record("/other"))))["r", 0]
    with pytest.raises(PartError, match="the same host"):
        read(config_map("r", 0, 1, TEXT + other))


def test_what_nginx_would_refuse_takes_nothing_from_other_parts() -> None:
    crowd = [Address(f"10.{number >> 8}.{number & 255}.1", 8080) for number in range(14_000)]
    text = split(make.table(groups=[make.group(*sorted(crowd))]))["e", 0]
    with pytest.raises(PartError, match="Line 1: team-a/chat:8080 is too much for nginx"):
        read(config_map("e", 0, 1, text))
    deep = make.host(make.record("/" + "a" * 2560))
    with pytest.raises(PartError, match=r"Line 1: .*(too much|path)"):
        read(config_map("r", 0, 1, split(make.table(deep))["r", 0]))


def test_a_config_map_without_data_or_annotations_is_no_part() -> None:
    with pytest.raises(PartError):
        read({"metadata": {"name": names.table_name("shared", "r", 0)}})
