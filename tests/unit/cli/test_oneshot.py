"""``wsroute check`` on files that somebody else wrote."""

from pathlib import Path

import pytest

from wsroute.cli.oneshot import UNUSABLE, check, render
from wsroute.cli.standalone import say

EVIL = """\
apiVersion: wsroute.dev/v1alpha1
kind: WebSocketRoute
metadata: {name: "evil\\e[2J", namespace: "a\\e]0;owned\\a"}
spec: {hosts: ["a.example.com"], paths: [{path: /, backends: [{service: chat, port: 80}]}]}
"""


@pytest.mark.parametrize("command", [check, render])
def test_what_a_manifest_holds_is_not_obeyed_by_a_terminal(
    command: object, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "route.yaml").write_text(EVIL, encoding="utf-8")
    assert callable(command)
    command([tmp_path])
    told = "".join(capsys.readouterr())
    assert told
    assert not {char for char in told if not char.isprintable()} - {"\n"}


def test_nor_is_what_a_file_is_called(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a\x1b[2J.yaml").write_text("[", encoding="utf-8")
    assert check([tmp_path]) == UNUSABLE
    assert "a [2J.yaml" in capsys.readouterr().err


def test_nor_what_standalone_says(capsys: pytest.CaptureFixture[str]) -> None:
    say("nginx refuses this: \x1b[2J")
    assert capsys.readouterr().err == "wsroute: nginx refuses this:  [2J\n"
