"""Certificates in a Dynamic balancer's table: as records, as lines, as entries, and lines that are none."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support import tables as make
from tests.support.certificate_model import looked_up
from wsroute.dataplane.certificate_table import certificate_records
from wsroute.dataplane.certificates import NO_CERTIFICATES, ListenerTls, ServedCertificate, files_for
from wsroute.dataplane.dictionary import canonical, diff, entries
from wsroute.dataplane.shards import ShardError, certificate_line, parse_certificate, parse_certificates
from wsroute.dataplane.table import CertificateRecord, Table

A, B = "a" * 64, "b" * 64
RECORD = CertificateRecord("*.example.com", ("ws", "wss"), (A, B))
NAMES = ("a.example.com", "b.example.com", "*.example.com", "*.b.example.com", "localhost.example")

certificates = st.builds(
    ServedCertificate,
    st.sampled_from([letter * 64 for letter in "abcd"]),
    st.sampled_from(["ECDSA", "RSA"]),
    st.lists(st.sampled_from(NAMES), unique=True, max_size=3).map(tuple),
)
listeners_tls = st.builds(
    ListenerTls,
    st.sampled_from([(), (A,), (A, B)]),
    st.lists(certificates, max_size=4, unique_by=lambda c: c.file).map(tuple),
)
listeners = st.dictionaries(st.sampled_from(["ws", "wss", "wss-2"]), listeners_tls)


def table_of(records: tuple[CertificateRecord, ...]) -> Table:
    whole = make.table()
    return Table(whole.hosts, whole.groups, records)


@given(listeners)
def test_each_name_gets_on_each_listener_what_the_static_data_plane_gives_it(tls: dict[str, ListenerTls]) -> None:
    found = entries(table_of(certificate_records(tls)))
    for listener, own in tls.items():
        for name in ("a.example.com", "b.example.com", "x.example.com", "x.b.example.com", "example.com", "x.test"):
            assert looked_up(found, listener, name.encode()) == files_for(own, name)
    assert all(looked_up(found, "other", name.encode()) == () for name in NAMES)


@given(listeners)
def test_lines_are_read_as_they_are_written(tls: dict[str, ListenerTls]) -> None:
    records = certificate_records(tls)
    assert parse_certificates("".join(f"{certificate_line(each)}\n" for each in records)) == records


@given(listeners, listeners)
def test_changes_lead_from_any_certificates_to_any_others(
    old: dict[str, ListenerTls], new: dict[str, ListenerTls]
) -> None:
    found, wanted = (entries(table_of(certificate_records(tls))) for tls in (old, new))
    for operation in diff(found, wanted):
        if operation[0] == "s":
            found[operation[1]] = operation[2]
        else:
            del found[operation[1]]
    assert found == wanted


def test_a_listener_that_has_none_gives_no_record() -> None:
    assert certificate_records({"wss": NO_CERTIFICATES}) == ()


def test_a_line_is_readable() -> None:
    assert (
        certificate_line(RECORD)
        == f'certificate {{"files":["{A}","{B}"],"listeners":["ws","wss"],"name":"*.example.com"}}'
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"files": ["../../etc/passwd"]}, "files"),
        ({"files": [f"data:{A}"]}, "files"),
        ({"files": [A.upper()]}, "files"),
        ({"files": [f"{A}\n"]}, "files"),
        ({"files": [f"{A}.pem"]}, "files"),
        ({"files": []}, "a list of 1 to 2"),
        ({"files": [A, B, "c" * 64]}, "a list of 1 to 2"),
        ({"files": [A, A]}, "Each must stand there once"),
        ({"files": A}, "a list"),
        ({"name": ""}, "name"),
        ({"name": "*."}, "name"),
        ({"name": "a.*.example.com"}, "name"),
        ({"name": "A.example.com"}, "name"),
        ({"name": "a b"}, "name"),
        ({"name": "a" * 254}, "name"),
        ({"listeners": []}, "listeners"),
        ({"listeners": ["wss", "ws"]}, "in order"),
        ({"listeners": ["ws", "ws"]}, "in order"),
        ({"listeners": ["a b"]}, "listeners"),
        ({"key": "x"}, "unknown field"),
    ],
)
def test_a_line_that_is_none_says_what_is_wrong(changes: dict[str, Any], message: str) -> None:
    raw = {"name": RECORD.name, "listeners": list(RECORD.listeners), "files": list(RECORD.files)} | changes
    with pytest.raises(ShardError, match=message):
        parse_certificate(f"certificate {canonical(raw)}")


def test_two_lines_about_a_name_on_a_listener_are_none() -> None:
    other = CertificateRecord("*.example.com", ("wss",), (A,))
    with pytest.raises(ShardError, match=r"Line 2: \*.example.com on wss stands in line 1 as well"):
        parse_certificates(f"{certificate_line(RECORD)}\n{certificate_line(other)}\n")
