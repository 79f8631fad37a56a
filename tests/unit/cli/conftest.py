"""What the tests of the commands share."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.kubectl_world import Json, KubectlWorld
from wsroute.cli.plan import plan


@pytest.fixture
def ask(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Any:
    """Plans objects, and gives the exit code, what is printed, and what is said beside it."""

    def run(world: KubectlWorld, *bodies: Json, delete: bool = False) -> tuple[int, list[str], str]:
        path = tmp_path / "change.json"
        path.write_text("\n---\n".join(map(json.dumps, bodies)))
        code = plan(world, [path], delete=delete, server_side=False, as_json=False)
        told = capsys.readouterr()
        assert not world.changed, "a plan changes nothing"
        return code, told.out.splitlines(), told.err

    return run
