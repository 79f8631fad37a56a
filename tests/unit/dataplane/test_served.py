"""Entries of a table, read for people."""

from dataclasses import replace

import pytest
from hypothesis import given

from tests.support.tables import GROUP, address, forward, group, host, record, table, tables
from wsroute.dataplane.dictionary import entries
from wsroute.dataplane.served import read_table
from wsroute.dataplane.table import CertificateRecord, Forward, OriginRules, PathRecord, Table


def as_entries_tell(path: PathRecord) -> PathRecord:
    """A path without what no entry tells."""
    action = path.action
    if not isinstance(action, Forward):
        return path
    rules = action.origins
    told = replace(
        action,
        origins=OriginRules("Off", ()) if rules.policy == "Off" else rules,
        set_headers=tuple(sorted((name.lower(), value) for name, value in action.set_headers)),
        remove_headers=tuple(sorted(name.lower() for name in action.remove_headers)),
    )
    return replace(path, action=told)


@given(tables())
def test_what_was_written_is_read(written: Table) -> None:
    found = read_table(entries(written))
    assert found.unreadable == ()
    assert found.table.groups == written.groups
    expected = [
        replace(each, paths=tuple(map(as_entries_tell, sorted(each.paths, key=lambda path: (path.path, path.match)))))
        for each in written.hosts
    ]
    assert list(found.table.hosts) == sorted(expected, key=lambda each: (each.host, each.listeners))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        (f"e{GROUP}", ""),
        (f"e{GROUP}", "1 0 9\n0123456"),
        ("=x.example.com|ws/", "no json"),
        ("^x.example.com|ws/", "[]"),
        ("^x.example.com|ws/", '{"r":"a/b","x":"a reason of a later version"}'),
        ("^x.example.com|ws/", '{"r":"a/b","t":[["g",1]],"b":{"p":"X"},"i":1,"c":1}'),
        ("^x.example.com|ws/", "[" * 100_000),
        ("?what", "is this"),
        ("", ""),
    ],
)
def test_what_can_t_be_read_hides_nothing_else(key: str, value: str) -> None:
    whole = table(host(record("/chat", forward())), groups=[group(address(1), name="team-a/other:80")])
    found = read_table({**entries(whole), key: value})
    assert found.unreadable == (key,)
    assert [each.host for each in found.table.hosts] == ["chat.example.com"]
    assert [each.name for each in found.table.groups] == ["team-a/other:80"]


def test_certificates_are_read() -> None:
    one, two = ("a" * 64,), ("b" * 64, "c" * 64)
    written = (
        CertificateRecord("*", ("wss",), one),
        CertificateRecord("*.example.com", ("other", "wss"), two),
        CertificateRecord("chat.example.com", ("wss",), two),
    )
    found = read_table(entries(replace(table(), certificates=written)))
    assert found.table.certificates == written
    assert found.unreadable == ()


def test_a_path_that_no_host_leads_to_is_left_out() -> None:
    left = {key: value for key, value in entries(table()).items() if not key.startswith("h")}
    assert read_table(left).table.hosts == ()
