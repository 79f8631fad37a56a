"""What the repository's shape must keep true."""

import operator
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]


def test_the_standard_librarys_operator_wins() -> None:
    assert not (ROOT / "operator" / "__init__.py").exists()
    assert not list((ROOT / "operator").glob("*.py"))
    assert operator.__file__ is not None
    assert ROOT not in Path(operator.__file__).parents


def test_python_starts_from_the_repositorys_root() -> None:
    answer = subprocess.run(
        [sys.executable, "-c", "import operator; print(operator.add(1, 2))"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    assert answer.stdout == "3\n"
