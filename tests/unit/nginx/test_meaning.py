"""Which files say the same to nginx."""

import pytest

from wsroute.nginx.meaning import same_meaning

ONE = """# nginx.conf, version 0123456789ab.
events { worker_connections 64; }     # two for each socket
http {
    # -- A title ------
    log_format a '{"a":"b # no comment"}'
                 'c';
    server { listen 80; location = /version { return 200 "0123456789ab"; } }
}
"""
OTHER = """# Another banner, version ba9876543210.

events { worker_connections 64; }
http {
    log_format a '{"a":"b # no comment"}'
                 'c';     # nor here
    # A title
    server {   listen  80; location = /version { return 200 "ba9876543210"; } }
}
"""
VERSIONS = ("0123456789ab", "ba9876543210")


def test_comments_and_blanks_mean_nothing() -> None:
    assert same_meaning(ONE, OTHER, versions=VERSIONS)


@pytest.mark.parametrize(
    ("was", "now"),
    [
        ("listen  80", "listen  81"),
        ("listen  80;", "listen  80; listen 81;"),
        ("b # no comment", "b # none"),
        ("'c';", "'d';"),
        ("events {", "events2 {"),
        ("worker_connections 64; }", "worker_connections 64; use epoll; }"),
        ("listen  80; location = /version {", "listen  80; } server { location = /version {"),
        ("listen  80", "'listen  80'"),
        ("    server {", "    # server {"),
    ],
)
def test_everything_else_does(was: str, now: str) -> None:
    assert was in OTHER
    assert not same_meaning(ONE, OTHER.replace(was, now), versions=VERSIONS)


def test_a_block_is_no_directive() -> None:
    assert not same_meaning("a b;", "a b {}", versions=VERSIONS)
    assert not same_meaning("a b\n;", "a b\n{}", versions=VERSIONS)


def test_a_line_of_a_string_is_no_comment() -> None:
    one, other = ('set $a "x\n# y\nz";', 'set $a "x\n# other\nz";')
    assert not same_meaning(one, other, versions=VERSIONS)
    assert same_meaning(one, one, versions=VERSIONS)


def test_what_can_not_be_read_means_nothing_known() -> None:
    assert not same_meaning("http {", "http {", versions=VERSIONS)
