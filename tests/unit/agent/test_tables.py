"""What an agent does about nginx's table, for every state that it can be in."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given

from tests.support import tables as make
from tests.support.table_parts import config_map, config_maps, split
from wsroute.agent.parts import parse_part
from wsroute.agent.tables import (
    ASK,
    ASK_SOON,
    PATIENCE,
    REST,
    Ask,
    Change,
    Clear,
    Content,
    Known,
    Push,
    Tables,
    Wait,
    decide,
)
from wsroute.balancer.table_client import NO_TABLE, Generation, Stand
from wsroute.dataplane.dictionary import entries, mark
from wsroute.dataplane.shards import shard_index
from wsroute.dataplane.table import CertificateRecord, Table

NOW = 1000.0
EMPTY = Stand(1)
FIRST = make.table()
SECOND = make.table(make.host(), make.host(name="other.example.com"))


def known(*items: Any, before: dict[str, Known] | None = None) -> dict[str, Known]:
    """What an agent knows after it has read these ConfigMaps."""
    found = dict(before or {})
    for item in items:
        name = item["metadata"]["name"]
        old = found.get(name)
        part = parse_part(item, "shared", before=old.part if old else None)
        found[name] = Known(part, part.version)
    return found


def published(table: Table, tables: Tables | None = None, **how: Any) -> Tables:
    """This is published."""
    tables = tables or Tables()
    return tables.publish(known(*config_maps(table, **how), before=dict(tables.known)))


def settled(table: Table = FIRST, **how: Any) -> Tables:
    """nginx has what is published, and was asked a moment ago."""
    tables = published(table, **how).hear(EMPTY, "i", now=NOW)
    assert tables.wanted is not None
    return tables.take(tables.wanted, "a").tidy(now=NOW).hear(Stand(1, "a", tables.wanted.mark), "i", now=NOW)


def content(tables: Tables) -> Content:
    assert tables.wanted is not None
    return tables.wanted


# --- what is a table ---


def test_a_table_is_what_all_parts_of_one_count_say() -> None:
    items = list(config_maps(SECOND, hosts=4, groups=2))
    tables = Tables().publish(known(*items))
    assert content(tables).entries() == entries(SECOND)
    assert content(tables).mark == mark(entries(SECOND))
    for missing in items:
        assert Tables().publish(known(*(item for item in items if item is not missing))).wanted is None


def test_while_a_family_is_parted_anew_the_last_table_stays() -> None:
    tables = settled()
    [first, *others] = [item for item in config_maps(SECOND, hosts=4, version=10) if "-r" in item["metadata"]["name"]]
    parted = known(*others, before=dict(tables.known))
    assert tables.publish(parted).wanted is not None
    assert content(tables.publish(parted)).entries() == entries(FIRST)
    parted = known(first, before=parted)
    assert content(tables.publish(parted)).entries() == entries(SECOND)
    # Fewer again: those that are left over say nothing any more.
    fewer = known(*config_maps(FIRST, version=20), before=parted)
    assert content(tables.publish(fewer)).entries() == entries(FIRST)


def test_nothing_is_believed_to_be_gone_because_config_maps_are() -> None:
    tables = settled()
    lost = {name: Known(each.part, None) for name, each in tables.known.items()}
    assert content(tables.publish(lost)).mark == content(tables).mark
    assert tables.publish({}).wanted is tables.wanted
    assert isinstance(decide(tables.publish({}), now=NOW), Wait)


@given(make.tables(), make.tables())
def test_changes_lead_from_any_table_to_any_other(old: Table, new: Table) -> None:
    before, after = content(published(old, hosts=2)), content(published(new, groups=4))
    found = before.entries()
    for verb, key, *value in after.changes_from(before):
        if verb == "s":
            assert found.get(key) != value[0]
            found[key] = value[0]
        else:
            del found[key]
    assert found == entries(new)


# --- what is done ---


def test_without_an_answer_of_nginx_it_is_asked_again_soon() -> None:
    assert decide(published(FIRST), now=NOW) == Ask()
    silent = published(FIRST).silence(now=NOW)
    assert decide(silent, now=0.0) == Wait(NOW + ASK_SOON)
    assert decide(silent, now=NOW + 2 * ASK_SOON) == Ask()


@pytest.mark.parametrize(
    ("stand", "spare"), [(EMPTY, "a"), (Stand(1, "b", "1" * 64), "a"), (Stand(1, "a", "1" * 64), "b")]
)
def test_a_nginx_that_has_another_table_or_none_is_told_everything(stand: Stand, spare: Generation) -> None:
    tables = published(FIRST).hear(stand, "i", now=NOW)
    assert decide(tables, now=NOW) == Push(spare, content(tables))


def test_afterwards_the_other_generation_is_emptied_and_nginx_is_asked() -> None:
    tables = published(FIRST).hear(Stand(1, "b", "1" * 64), "i", now=NOW)
    tables = tables.take(content(tables), "a")
    assert decide(tables, now=NOW) == Clear("b")
    tables = tables.tidy(now=NOW)
    assert decide(tables, now=NOW) == Ask()
    tables = tables.hear(Stand(1, "a", content(tables).mark), "i", now=NOW)
    assert decide(tables, now=NOW) == Wait(ASK)
    assert decide(tables, now=NOW + ASK) == Ask()


def test_an_agent_that_starts_adopts_what_nginx_has() -> None:
    for stand in (Stand(1, "a", mark(entries(FIRST))), Stand(1, "b", mark(entries(FIRST)))):
        heard = Tables().hear(stand, "i", now=NOW)
        assert isinstance(decide(heard, now=NOW), Wait), "nothing is touched while nothing is known"
        tables = published(FIRST, heard)
        assert isinstance(decide(tables, now=NOW), Clear)
        assert isinstance(decide(tables.tidy(now=NOW), now=NOW), Ask)
        assert tables.version == 2


def test_a_change_is_told_as_a_change_before_anything_else() -> None:
    tables = settled()
    changed = published(SECOND, replace(tables, untidy=True, ask_at=0.0))
    assert decide(changed, now=NOW) == Change("a", content(tables), content(changed))
    taken = changed.take(content(changed), "a")
    assert isinstance(decide(taken.tidy(now=NOW).hear(taken.stand or EMPTY, "i", now=NOW), now=NOW), Wait)


def test_the_same_told_again_is_no_change() -> None:
    tables = published(FIRST, settled(), version=50)
    assert isinstance(decide(tables, now=NOW), Wait)
    assert tables.version == 51
    # Parted otherwise, it says the same.
    tables = published(FIRST, settled(), hosts=2, groups=2, version=50)
    assert isinstance(decide(tables, now=NOW), Wait)
    assert tables.version == 53


def test_a_nginx_that_was_started_anew_is_told_everything_even_if_it_seems_to_have_it() -> None:
    tables = settled()
    anew = tables.hear(Stand(1, "a", content(tables).mark), "another", now=NOW)
    assert decide(anew, now=NOW) == Push("b", content(tables))
    assert anew.version == tables.version, "it serves that meanwhile"
    told = anew.take(content(tables), "b")
    assert decide(told, now=NOW) == Clear("a")
    lost = tables.hear(EMPTY, "another", now=NOW)
    assert decide(lost, now=NOW) == Push("a", content(tables))
    assert lost.version == 0


def test_a_push_that_did_not_end_makes_it_ask_and_tell_everything() -> None:
    tables = settled()
    changed = published(SECOND, tables).doubt(now=NOW)
    assert decide(changed, now=NOW) == Ask()
    partly = changed.hear(Stand(1, "a", content(tables).mark), "i", now=NOW)
    assert decide(partly, now=NOW) == Push("b", content(changed)), "it may have a part of the change"
    wholly = changed.hear(Stand(1, "a", content(changed).mark), "i", now=NOW)
    assert isinstance(decide(wholly, now=NOW), Clear)
    assert wholly.version == 2


def test_a_change_that_is_refused_rests_until_another_is_published() -> None:
    tables = settled()
    changed = published(SECOND, tables, version=10)
    refused = changed.refuse(content(changed), "No room.", now=NOW).tidy(now=NOW)
    assert decide(refused, now=NOW) == Ask()
    refused = refused.hear(tables.stand or EMPTY, "i", now=NOW)
    assert decide(refused, now=NOW) == Wait(ASK)
    assert refused.trouble == "No room."
    assert refused.version == 10, "the endpoints are the same"
    assert isinstance(decide(refused, now=NOW + REST), Change)
    third = make.table(make.host(), groups=[make.group(make.address(9))])
    assert isinstance(decide(published(third, refused), now=NOW), Change)
    back = published(FIRST, refused)
    assert isinstance(decide(back, now=NOW), Wait)
    assert back.trouble == ""


def test_while_a_change_is_refused_endpoints_change_all_the_same() -> None:
    tables = settled()
    moved = make.group(make.address(9))
    more = make.table(make.host(), make.host(name="other.example.com"), groups=[moved, make.group(name="team-b/x:1")])
    changed = published(more, tables, version=10)
    refused = changed.refuse(content(changed), "No room.", now=NOW)
    change = decide(refused, now=NOW)
    assert isinstance(change, Change)
    assert change.new.entries() == entries(make.table(groups=[moved]))
    assert change.new.mark == mark(change.new.entries())
    taken = refused.take(change.new, "a")
    assert taken.trouble == "No room."
    assert taken.version == 9, "no part is there as it is published"
    rested = taken.tidy(now=NOW).hear(Stand(1, "a", change.new.mark), "i", now=NOW)
    assert decide(rested, now=NOW) == Wait(ASK)
    assert decide(rested, now=NOW + REST) == Change("a", change.new, content(changed))
    # Should there be no room for that either, both rest.
    neither = refused.refuse(change.new, "No room.", now=NOW).tidy(now=NOW).hear(tables.stand or EMPTY, "i", now=NOW)
    assert decide(neither, now=NOW) == Wait(ASK)


def test_a_whole_table_that_is_refused_rests_whatever_is_published_and_leaves_nothing_behind() -> None:
    tables = published(FIRST).hear(Stand(1, "b", "1" * 64), "i", now=NOW)
    refused = tables.refuse(content(tables), "No room.", now=NOW)
    assert decide(refused, now=NOW) == Clear("a")
    refused = published(SECOND, refused.tidy(now=NOW)).hear(Stand(1, "b", "1" * 64), "i", now=NOW)
    assert decide(refused, now=NOW) == Wait(ASK)
    assert isinstance(decide(refused, now=NOW + REST), Push)


def test_changes_go_on_while_a_whole_table_has_no_room_beside_the_one_that_serves() -> None:
    tables = settled()
    anew = tables.hear(Stand(1, "a", content(tables).mark), "another", now=NOW)
    anew = anew.refuse(content(anew), "No room.", now=NOW).tidy(now=NOW)
    changed = published(SECOND, anew)
    assert decide(changed, now=NOW) == Change("a", content(tables), content(changed))
    taken = changed.take(content(changed), "a")
    taken = taken.tidy(now=NOW).hear(Stand(1, "a", content(changed).mark), "another", now=NOW)
    assert decide(taken, now=NOW) == Wait(ASK)
    assert decide(taken, now=NOW + REST) == Push("b", content(changed))


@pytest.mark.parametrize("stand", [NO_TABLE, Stand(2, "a", "1" * 64)])
def test_a_nginx_that_looks_up_no_table_or_another_format_is_told_nothing(stand: Stand) -> None:
    assert decide(published(FIRST).hear(stand, "i", now=NOW), now=NOW) == Wait(ASK)


# --- certificates ---

OLD, NEW, OTHER = "a" * 64, "b" * 64, "c" * 64


def certified(**files: str) -> Table:
    """A table with certificates for these names below example.com, each one file; ``everything`` is for all others."""
    records = [
        CertificateRecord("*" if name == "everything" else f"{name}.example.com", ("wss",), (file,))
        for name, file in files.items()
    ]
    return replace(FIRST, certificates=tuple(sorted(records, key=lambda record: record.name)))


def with_files(table: Table, tables: Tables, *files: str, now: float = NOW, version: int = 1) -> Tables:
    """This is published while these files are there."""
    items = known(*config_maps(table, version=version), before=dict(tables.known))
    return tables.publish(items, files=frozenset(files), now=now)


def test_a_name_keeps_its_certificate_until_the_file_of_the_next_one_is_there() -> None:
    tables = with_files(certified(a=OLD, b=OLD), Tables(), OLD).hear(EMPTY, "i", now=NOW)
    tables = tables.take(content(tables), "a").tidy(now=NOW)
    assert (tables.version, content(tables).entries()) == (3, entries(certified(a=OLD, b=OLD)))
    wanted = certified(a=NEW, b=OTHER, d=NEW)
    waiting = with_files(wanted, tables, OLD, OTHER, version=10)
    change = decide(waiting, now=NOW)
    assert isinstance(change, Change)
    assert change.new.entries() == entries(certified(a=OLD, b=OTHER)), "one that is missing harms its own name only"
    assert waiting.files == {OLD, NEW, OTHER}
    taken = waiting.take(content(waiting), "a")
    assert taken.version == 11, "not all that is published is served"
    assert taken.trouble == "", "files come by another way: that takes a moment"
    late = with_files(wanted, taken, OLD, OTHER, now=NOW + PATIENCE, version=10)
    assert "1 files of certificates are missing" in late.trouble
    come = with_files(wanted, late, OLD, OTHER, NEW, version=10)
    assert content(come).entries() == entries(wanted)
    come = come.take(content(come), "a")
    assert (come.version, come.trouble) == (12, "")
    assert come.files == {NEW, OTHER}


def test_a_nginx_that_was_told_nothing_waits_for_files_but_not_for_long() -> None:
    table = certified(a=NEW, everything=OLD)
    tables = with_files(table, Tables(), OLD).hear(EMPTY, "i", now=NOW)
    assert isinstance(decide(tables, now=NOW), Wait)
    come = with_files(table, tables, OLD, NEW)
    assert decide(come, now=NOW) == Push("a", content(come))
    still = with_files(table, tables, OLD, now=NOW + PATIENCE / 2)
    assert isinstance(decide(still, now=NOW + PATIENCE / 2), Wait)
    late = with_files(table, still, OLD, now=NOW + PATIENCE)
    push = decide(late, now=NOW + PATIENCE)
    assert isinstance(push, Push)
    assert push.content.entries() == entries(certified(everything=OLD))


def test_endpoints_that_change_alone_leave_the_certificates() -> None:
    tables = with_files(certified(a=OLD), Tables(), OLD).hear(EMPTY, "i", now=NOW)
    tables = tables.take(content(tables), "a").tidy(now=NOW)
    moved = replace(certified(a=OLD), groups=(make.group(make.address(9)),))
    refused = with_files(replace(moved, hosts=SECOND.hosts), tables, OLD, version=10)
    refused = refused.refuse(content(refused), "No room.", now=NOW).tidy(now=NOW)
    change = decide(refused, now=NOW)
    assert isinstance(change, Change)
    assert change.new.entries() == entries(moved)


def test_without_certificates_no_part_of_them_is_awaited_but_a_family_that_is_there_is_whole_or_not() -> None:
    [*others, last] = config_maps(certified(a=OLD, b=OLD))
    assert last["metadata"]["name"] == "shared-table-c0"
    assert Tables().publish(known(*others)).wanted is not None
    text = split(certified(a=OLD))["c", 0]
    index = shard_index("a.example.com", 2)
    half = config_map("c", index, 2, text)
    assert Tables().publish(known(*others, half), files={OLD}).wanted is None


# --- what is said ---


def test_what_nginx_has_is_told_up_to_the_first_part_that_it_has_not() -> None:
    assert published(FIRST).version == 0
    tables = settled(SECOND, hosts=4, groups=2, version=10)
    assert tables.version == 15
    texts = split(SECOND, hosts=4, groups=2)
    index = next(index for (family, index), text in texts.items() if family == "r" and text)
    one = tables.publish(known(config_map("r", index, 4, "", version=20), before=dict(tables.known)))
    assert one.version == 19
    assert one.take(content(one), "a").version == 20
    other = f"shared-table-r{(index + 1) % 4}"
    two = one.publish({**one.known, other: Known(one.known[other].part, 18, "It is damaged.")})
    assert two.take(content(two), "a").version == 17
    assert two.trouble == f"The ConfigMap {other} is not followed: It is damaged."


def test_parts_that_are_left_over_hide_nothing() -> None:
    tables = settled(FIRST, version=10)
    left = known(config_map("r", 1, 2, "", version=15), before=dict(tables.known))
    assert tables.publish(left).version == 11
    text = split(make.table(*(make.host(name=f"{letter}.example.com") for letter in "abcdef")), hosts=2)["r", 1]
    coming = known(config_map("r", 1, 2, text, version=15), before=dict(tables.known))
    assert tables.publish(coming).version == 14, "it says what it says once the others are parted like it"
    coming = known(config_map("r", 1, 2, text, version=11), before=dict(tables.known))
    assert tables.publish(coming).version == 10
    gone = {**tables.known, "shared-table-r0": Known(tables.known["shared-table-r0"].part, None)}
    assert tables.publish(gone).version == 10


def test_trouble_is_said_in_a_sentence() -> None:
    assert Tables().trouble == ""
    assert Tables().hear(EMPTY, "i", now=NOW).trouble == "", "nothing was listed yet"
    assert Tables().publish({}).hear(EMPTY, "i", now=NOW).trouble == "No table is published."
    assert Tables().publish({}).hear(NO_TABLE, "i", now=NOW).trouble == ""
    half = known(*list(config_maps(FIRST))[:1])
    assert "not all there" in Tables().publish(half).hear(EMPTY, "i", now=NOW).trouble
    assert "format 7" in published(FIRST).hear(Stand(7), "i", now=NOW).trouble
    assert settled().trouble == ""
