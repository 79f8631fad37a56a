"""How a rendered file travels in a ConfigMap, and what an agent refuses to unpack."""

import base64
import gzip
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsroute.dataplane import bundle


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_a_file_survives_the_journey(text: str) -> None:
    packed = bundle.pack(text)
    assert bundle.unpack(packed.data, packed.binary_data, expected_digest=packed.digest) == text


def test_small_files_stay_readable_and_large_ones_are_compressed() -> None:
    assert bundle.pack("events {}\n").data == {"nginx.conf": "events {}\n"}
    large = bundle.pack("# a line of a large file\n" * 40_000)
    assert not large.data
    assert list(large.binary_data) == ["nginx.conf.gz"]


def test_equal_files_give_equal_bytes() -> None:
    text = "x" * (bundle.READABLE_LIMIT + 1)
    assert bundle.pack(text) == bundle.pack(text)


def test_a_file_that_cannot_fit_is_refused_with_a_way_out() -> None:
    text = base64.b64encode(os.urandom(2_000_000)).decode()
    with pytest.raises(bundle.BundleError, match="Move some routes to another balancer"):
        bundle.pack(text)


@pytest.mark.parametrize(
    ("data", "binary_data", "words"),
    [
        ({}, {}, "neither"),
        ({"nginx.conf": "changed"}, {}, "digest"),
        ({"nginx.conf": "\ud800"}, {}, "digest"),
        ({}, {"nginx.conf.gz": "%%%"}, "damaged"),
        ({}, {"nginx.conf.gz": base64.b64encode(b"no gzip").decode()}, "damaged"),
        ({}, {"nginx.conf.gz": base64.b64encode(gzip.compress(b"cut short")[:-9]).decode()}, "damaged"),
        ({}, {"nginx.conf.gz": base64.b64encode(gzip.compress(b"\xff\xfe")).decode()}, "damaged"),
    ],
)
def test_damage_is_named(data: dict[str, str], binary_data: dict[str, str], words: str) -> None:
    with pytest.raises(bundle.BundleError, match=words):
        bundle.unpack(data, binary_data, expected_digest=bundle.digest(b"events {}\n"))


def test_a_decompression_bomb_is_not_unpacked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundle, "UNPACKED_LIMIT", 1_000)
    bomb = base64.b64encode(gzip.compress(b"0" * 100_000)).decode()
    with pytest.raises(bundle.BundleError, match="more than 1,000 bytes"):
        bundle.unpack({}, {"nginx.conf.gz": bomb}, expected_digest="")


def test_scripts_travel_under_names_that_tell_their_digests() -> None:
    text = "export default {};\n"
    name = f"wsroute-{bundle.digest(text.encode())[:12]}.js"
    data = {"nginx.conf": "", name: text, "notes.js": "x", f"{name}\n": "x"}
    assert bundle.unpack_scripts(data) == {name: text}
    for damaged in (text + " ", "\ud800"):
        with pytest.raises(bundle.BundleError, match="does not match its digest"):
            bundle.unpack_scripts({name: damaged})
