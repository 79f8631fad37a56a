"""The options of ``wsroute operator``."""

import pytest
from click.testing import CliRunner

from wsroute.__main__ import main
from wsroute.cluster.objects import Key
from wsroute.controller import runtime
from wsroute.observability import logs

REQUIRED = ["--namespace", "wsroute-system", "--identity", "pod-1"]


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[runtime.OperatorConfig]:
    """The configurations with which the operator is started."""
    configs: list[runtime.OperatorConfig] = []

    async def run(config: runtime.OperatorConfig) -> None:
        configs.append(config)

    monkeypatch.setattr(runtime, "run", run)
    monkeypatch.setattr(logs, "set_up", lambda **_: None)
    return configs


def test_namespaces_to_watch_may_be_several(started: list[runtime.OperatorConfig]) -> None:
    options = ["--watch-namespace", "team-a", "--watch-namespace", "team-b", "--default-balancer", "ws/shared"]
    told = CliRunner().invoke(main, ["operator", *REQUIRED, *options])
    assert told.exit_code == 0, told.output
    [config] = started
    assert config.watched == ("team-a", "team-b")
    assert config.namespaces == ("wsroute-system",)
    assert config.default_balancer == Key("ws", "shared")


def test_without_one_all_namespaces_are_watched(started: list[runtime.OperatorConfig]) -> None:
    assert CliRunner().invoke(main, ["operator", *REQUIRED]).exit_code == 0
    assert started[0].watched == ()


@pytest.mark.parametrize("name", ["", "Team", "team-a,team-b", "*", "-"])
def test_what_is_no_name_is_refused(name: str, started: list[runtime.OperatorConfig]) -> None:
    told = CliRunner().invoke(main, ["operator", *REQUIRED, "--watch-namespace", name])
    assert told.exit_code == 2
    assert "is not the name of a namespace" in told.output
    assert started == []
