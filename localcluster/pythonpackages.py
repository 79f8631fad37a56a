"""Python packages for the images, installed outside them: nothing is downloaded while an image is built."""

import hashlib
import platform
import shutil
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path

from localcluster.binaries import tool_environment
from localcluster.paths import REPOSITORY, cache_dir
from localcluster.processes import lock, run
from localcluster.progress import step

_GLIBC_MINOR = 41  # the images' C library; pip does not derive the older ones that it serves too


def platforms() -> list[str]:
    """The platform tags of wheels that run in the images, best first (PEP 600)."""
    machine = platform.machine()
    return [*(f"manylinux_2_{minor}_{machine}" for minor in range(_GLIBC_MINOR, 4, -1)), f"manylinux2014_{machine}"]


def install_packages(requirements: Sequence[str], *, python: str) -> Path:
    """A cached folder with these PyPI packages and what they need, for Linux and this version of Python.

    The versions are those of the first time; another list of requirements is another folder.
    """
    key = "\n".join([python, *platforms(), *sorted(requirements)])
    folder = cache_dir() / "packages" / hashlib.sha256(key.encode()).hexdigest()[:12]
    if folder.exists():
        return folder
    pip = tool_environment("pip", []) / "pip"
    with lock(cache_dir() / "packages.lock", busy="Waiting for another process that installs packages"):
        if folder.exists():
            return folder
        scratch = folder.with_suffix(".new")
        shutil.rmtree(scratch, ignore_errors=True)
        with step(f"Fetching {', '.join(requirement.partition(';')[0] for requirement in requirements)}"):
            run(
                [
                    pip, "install", "--quiet", "--no-compile", "--target", scratch, "--python-version", python,
                    *(f"--platform={name}" for name in platforms()), "--only-binary=:all:", *requirements,
                ],
                what="Installing Python packages for the images",
            )  # fmt: skip
        shutil.rmtree(scratch / "bin", ignore_errors=True)
        scratch.rename(folder)
    return folder


def build_package(target: Path, *, backend: Sequence[str]) -> None:
    """Builds the project's wheel from the work tree and unpacks it into `target`.

    `backend` is what pyproject.toml requires of the build system. It is built each time: that takes less than a
    second, and whether anything changed is seen from the result.
    """
    hatchling = tool_environment("build", list(backend)) / "hatchling"
    with tempfile.TemporaryDirectory() as folder:
        run([hatchling, "build", "-t", "wheel", "-d", folder], what="Building the project's wheel", cwd=REPOSITORY)
        (wheel,) = Path(folder).glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(target)
