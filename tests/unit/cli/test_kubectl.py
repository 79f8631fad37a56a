"""Running kubectl, played by a script."""

import sys
from pathlib import Path

import pytest

from wsroute.cli import kubectl as module
from wsroute.cli.kubectl import Kubectl, KubectlError
from wsroute.cli.terminal import printable


@pytest.fixture
def script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The program that is run; a test writes it."""
    path = tmp_path / "kubectl"
    monkeypatch.setenv("KUBECTL", str(path))
    return path


def write(script: Path, text: str) -> None:
    script.write_text(f"#!/bin/sh\n{text}\n")
    script.chmod(0o755)


async def test_options_go_first(script: Path) -> None:
    write(script, 'printf "%s\\n" "$@"')
    assert (await Kubectl(("--context=c",)).run("get", "pods")).splitlines() == ["--context=c", "get", "pods"]


async def test_json(script: Path) -> None:
    write(script, """[ "$4" = json ] && echo '{"items": []}' """)
    assert await Kubectl().json("get", "pods") == {"items": []}
    write(script, "echo text")
    with pytest.raises(KubectlError, match="kubectl get gives no JSON"):
        await Kubectl().json("get", "pods")


async def test_a_failure_is_told_in_kubectl_s_words(script: Path) -> None:
    write(script, 'echo a warning >&2; echo "Error from server (Forbidden): pods is forbidden" >&2; exit 1')
    with pytest.raises(KubectlError, match=r"^kubectl get failed: Error from server \(Forbidden\)") as caught:
        await Kubectl().run("get", "pods")
    assert caught.value.forbidden
    assert not caught.value.not_found
    write(script, "exit 7")
    with pytest.raises(KubectlError, match=r"^kubectl get failed: exit code 7$"):
        await Kubectl().run("get", "pods")


async def test_without_kubectl(script: Path) -> None:
    with pytest.raises(KubectlError, match=f"^{script} can't be run .*: install kubectl, or name it"):
        await Kubectl().run("get", "pods")


async def test_one_that_hangs(script: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TIMEOUT", 0.05)
    write(script, f'exec "{sys.executable}" -c "import signal; signal.pause()"')
    with pytest.raises(KubectlError, match="gives no answer within"):
        await Kubectl().run("get", "pods")


def test_what_a_terminal_would_obey_is_blanked() -> None:
    assert printable("a\x1b[2Jb\nc\u202e") == "a [2Jb c "
