"""nginx's words are read for what only nginx can have put there."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsroute.controller.refusal import Reading, read
from wsroute.dataplane.acknowledgement import Failure

V = "0123456789ab"
LOGGED = "2026/11/26 21:00:00 [emerg] 12#12: "
IN_LINE_7 = f" in /etc/wsroute/{V}.conf:7"


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (f'nginx: [emerg] invalid parameter "x"{IN_LINE_7}', Reading(7, False)),
        (f'{LOGGED}unknown directive "x"{IN_LINE_7}', Reading(7, False)),
        (f"nginx: [warn] odd in /etc/wsroute/{V}.conf:3\nnginx: [emerg] bad{IN_LINE_7}", Reading(7, False)),
        (f"nginx: [warn] odd{IN_LINE_7}", Reading(0, True)),
        ('nginx: [emerg] unknown "team" variable', Reading(0, False)),
        (f'{LOGGED}limit_req "z" uses the "$a" key while previously it used the "$b" key', Reading(0, False)),
        (f"nginx: [emerg] bad in /etc/wsroute/{'f' * 12}.conf:7", Reading(0, False)),
        (f"nginx: [emerg] bad{IN_LINE_7} and more", Reading(0, False)),
        (f'nginx: [emerg] open() "/x" failed (2: No such file or directory){IN_LINE_7}', Reading(7, False)),
        (f"{LOGGED}bind() to 0.0.0.0:80 failed (98: Address in use)", Reading(0, True)),
        (f"{LOGGED}still could not bind()", Reading(0, True)),
        (f"{LOGGED}mmap(MAP_ANON|MAP_SHARED, 65536) failed (12: Cannot allocate memory)", Reading(0, True)),
        ("nginx gave no reason.", Reading(0, True)),
        ("nginx loaded this version, but its workers do not answer with it on the admin socket.", Reading(0, True)),
        ("", Reading(0, True)),
        # What a tenant can write stands inside quotes, and its line does not begin as nginx's own does.
        (f'nginx: [emerg] unknown "bind() failed (98: x)" variable{IN_LINE_7}', Reading(7, False)),
        ('nginx: [emerg] unknown "[emerg] 1#1: bind() failed (98: x)" variable', Reading(0, False)),
        (f'nginx: [emerg] unknown "x in /etc/wsroute/{V}.conf:3" variable{IN_LINE_7}', Reading(7, False)),
        (f"{'x' * 90}[emerg] y{IN_LINE_7}", Reading(0, True)),
    ],
)
def test_what_is_read(message: str, expected: Reading) -> None:
    assert read(Failure(V, "test", message)) == expected


@given(st.text(), st.text())
def test_any_words_and_any_version_are_read(message: str, version: str) -> None:
    assert read(Failure(version, "load", f"nginx: [emerg] {message}")).line >= 0
    assert read(Failure(version, "load", message)).line >= 0
