"""What the file of a Dynamic balancer gets to see of its shell."""

from dataclasses import replace

import pytest

from tests.support.configurations import configuration
from wsroute.dataplane.ir import Shell
from wsroute.nginx.paths import POD_PATHS
from wsroute.nginx.quoting import EmitError
from wsroute.nginx.script import SCRIPT
from wsroute.nginx.shell import shell_names, shell_view

SHELL = Shell(connect_timeouts=(1_000, 5_000), idle_timeouts=(60_000,), headers=("X-Team", "x.dotted"))
EMPTY = configuration(servers=(), upstreams=())


def test_timeouts_are_classes_and_lists_that_njs_reads() -> None:
    view = shell_view(SHELL)
    assert (view.connect, view.idle) == ("1000,5000", "60000")
    assert [(each.name, each.connect, each.idle) for each in view.classes] == [
        ("1000_60000", "1s", "1m"),
        ("5000_60000", "5s", "1m"),
    ]


def test_a_header_has_the_client_s_own_value_where_nginx_can_say_it() -> None:
    view = shell_view(SHELL)
    assert view.names == "x-team,x.dotted"
    assert [(each.number, each.name, each.own) for each in view.headers] == [
        ("0", "X-Team", "$http_x_team"),
        ("1", "x.dotted", '""'),
    ]
    assert shell_view(replace(SHELL, headers=())).names is None


@pytest.mark.parametrize(
    "wrong",
    [
        replace(SHELL, headers=("X-Team", "x-team")),
        replace(SHELL, headers=("Host",)),
        replace(SHELL, headers=("X Team",)),
        replace(SHELL, headers=("X-Team,X-Other",)),
        replace(SHELL, connect_timeouts=()),
        replace(SHELL, idle_timeouts=(2, 1)),
        replace(SHELL, idle_timeouts=(1, 1)),
        replace(SHELL, connect_timeouts=(0,)),
    ],
)
def test_what_no_file_can_hold_is_refused(wrong: Shell) -> None:
    with pytest.raises(EmitError):
        shell_view(wrong)


def test_a_file_of_dynamic_has_no_routes() -> None:
    assert shell_names(EMPTY, POD_PATHS) == {}
    names = shell_names(replace(EMPTY, shell=SHELL), POD_PATHS)
    assert names["script"] == f"/etc/wsroute/{SCRIPT.name}"
    assert names["decide_socket"] == "unix:/run/wsroute/decide.sock"
    with pytest.raises(EmitError):
        shell_names(replace(configuration(), shell=SHELL), POD_PATHS)
