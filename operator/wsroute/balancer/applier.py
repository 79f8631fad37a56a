"""Apply and verify: writes a version's file, has nginx load it, and asks the workers whether they run it.

The agent and `wsroute standalone` both use this; nobody else knows how the start script is spoken to.
"""

import asyncio
import contextlib
import os
import re
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from types import MappingProxyType
from typing import Final

from wsroute.balancer.admin import is_version, running_version
from wsroute.balancer.control import POLL, Control, ControlUnavailableError, OldWorker, read_untrusted
from wsroute.dataplane.acknowledgement import Failure
from wsroute.dataplane.bundle import SCRIPT_KEY
from wsroute.dataplane.requirements import HEAD, read_requirements, shortfall

KEPT: Final = 5
"""Old versions whose files stay beside those in use."""

NO_SCRIPTS: Final[Mapping[str, str]] = MappingProxyType({})

VERIFY: Final = 5.0
"""Seconds in which the workers must answer with the version once nginx has loaded it, also where they are short of
processor time. The operator waits for longer before it takes a pod for silent."""

_TWO_NUMBERS: Final = re.compile(r"([0-9]{1,15}) ([0-9]{1,9})\n", re.ASCII)

_SPEECHLESS: Final = "nginx gave no reason."


@dataclass(frozen=True, slots=True)
class Applied:
    """Every accepting worker runs this version. ``seconds`` is the time that took."""

    version: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Toll:
    """Ends of workers, and the sockets that these have closed."""

    sockets: int
    workers: int


def start_script() -> str:
    """The text of the script that runs nginx: ``sh start.sh CONF RUN BOOTSTRAP``."""
    return files("wsroute.balancer").joinpath("start.sh").read_text()


class Applier:
    """``conf`` is the folder of the versions, which only we write; ``run`` is the one of nginx's side."""

    def __init__(self, *, conf: Path, run: Path) -> None:
        self._conf = conf
        self._run = run
        self._control = Control(run)
        self._lock = asyncio.Lock()

    async def running(self) -> str | None:
        """The version that nginx answers with: empty before the first was loaded, None when nobody answers."""
        return await running_version(self._run)

    def stage(
        self, version: str, text: str, *, scripts: Mapping[str, str] = NO_SCRIPTS, keep: Collection[str] = ()
    ) -> None:
        """Write a version's file for nginx to read, with the scripts that it names, and drop the oldest ones but those
        to keep.

        Raises OSError, and ValueError for what is no version or no name of a script.
        """
        for name, script in scripts.items():
            if not SCRIPT_KEY.fullmatch(name):
                raise ValueError(f"{name!r} is not the name of a script.")
            self._write(self._conf / name, script)
        self._write(self._file(version), text)
        self._prune({version, *keep}, scripts)

    @staticmethod
    def _write(path: Path, text: str) -> None:
        temporary = path.with_suffix(".new")
        try:
            fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o640)
            with os.fdopen(fd, "w", encoding="utf-8", newline="") as file:
                file.write(text)
            temporary.replace(path)
        except OSError:
            # Half of it would keep a full disk full.
            with contextlib.suppress(OSError):
                temporary.unlink()
            raise

    def nginx_version(self) -> str:
        """The server's version as ``1.30.7``; empty while it is not known."""
        return self._version_in("nginx-version")

    def njs_version(self) -> str:
        """The version of nginx's njs as ``1.0.2``; ``0`` where there is none, empty while it is not known."""
        return self._version_in("njs-version")

    def _version_in(self, name: str) -> str:
        try:
            text = read_untrusted(self._run, name, limit=64).strip()
        except OSError:
            return ""
        return text if all(part.isascii() and part.isdigit() for part in text.split(".")) else ""

    def instance(self) -> str:
        """What tells one start of nginx from another; empty while there is none."""
        try:
            found = (self._run / "master").lstat()
        except OSError:
            return ""
        return f"{found.st_ino}-{found.st_mtime_ns}"

    def leaving(self) -> bool:
        """Whether the start script was told to end, as by the end of the pod."""
        return os.path.lexists(self._run / "leaving")

    def finished(self) -> bool:
        """Whether nginx has ended because of that."""
        return os.path.lexists(self._run / "finished")

    def leaving_until(self) -> float | None:
        """When the last sockets are closed, because of that: seconds since the epoch. None while it was not told to
        end, and where the script does not know."""
        numbers = self._numbers_in("leaving")
        if numbers is None or not numbers[1]:
            return None
        try:
            return (self._run / "leaving").lstat().st_mtime + numbers[1]
        except OSError:
            return None

    def closed(self) -> Toll:
        """What the end of the pod has closed so far."""
        return Toll(*(self._numbers_in("closed") or (0, 0)))

    def _numbers_in(self, name: str) -> tuple[int, int] | None:
        """The two numbers that the start script wrote, None when it did not."""
        try:
            found = _TWO_NUMBERS.fullmatch(read_untrusted(self._run, name, limit=64))
        except OSError:
            return None
        return None if found is None else (int(found[1]), int(found[2]))

    async def apply(self, version: str) -> Applied | Failure:
        """Load and verify a staged version. After a failure nginx goes on with what it had.

        nginx checks the file when it loads it, so a test comes only after a failure: to tell whether the file itself is
        at fault. Raises ControlUnavailableError when nobody obeys; that says nothing about the version.
        """
        async with self._lock:
            started = time.monotonic()
            lacking = self._lacking(version)
            if lacking:
                return Failure(version=version, phase="test", message=lacking)
            outcome = await self._control.load(version)
            if not outcome.ok:
                return await self._why_not(version, outcome.message)
            if not await self._answers_with(version):
                return Failure(
                    version=version,
                    phase="load",
                    message="nginx loaded this version, but its workers do not answer with it on the admin socket.",
                )
            return Applied(version=version, seconds=time.monotonic() - started)

    async def survey(self) -> tuple[OldWorker, ...]:
        """The workers that finish their sockets, the oldest first. Raises ControlUnavailableError."""
        async with self._lock:
            return await self._control.survey()

    async def retire(self, pid: int) -> int | None:
        """End one of them; the number of sockets that it held, or None when there is no such worker.

        Raises ControlUnavailableError.
        """
        async with self._lock:
            return await self._control.retire(pid)

    async def _why_not(self, version: str, words: str) -> Failure:
        tested = await self._control.test(version)
        if not tested.ok:
            return Failure(version=version, phase="test", message=tested.message or words or _SPEECHLESS)
        return Failure(version=version, phase="load", message=words or _SPEECHLESS)

    def _lacking(self, version: str) -> str:
        """Why a staged version can't be loaded by this nginx, whatever nginx itself says of the file: its versions."""
        try:
            with self._file(version).open(encoding="utf-8") as file:
                needed = read_requirements(file.read(HEAD))
        except OSError:
            return ""  # The start script says that there is no such file.
        njs = self.njs_version()
        if needed is None:
            return ""
        if needed.njs and not njs:
            raise ControlUnavailableError("njs has not told its version yet.")
        return shortfall(needed, nginx=self.nginx_version(), njs=njs)

    async def _answers_with(self, version: str) -> bool:
        deadline = time.monotonic() + VERIFY
        while await self.running() != version:
            if time.monotonic() > deadline:
                return False
            await asyncio.sleep(POLL)
        return True

    def _file(self, version: str) -> Path:
        if not is_version(version):
            raise ValueError(f"{version!r} is not a version: 12 hex digits are expected.")
        return self._conf / f"{version}.conf"

    def _prune(self, keep: set[str], scripts: Collection[str]) -> None:
        # What the link names is what nginx starts with after a crash.
        with contextlib.suppress(OSError):
            keep.add((self._run / "nginx.conf").readlink().stem)
        old = [file for file in self._conf.glob("*.conf") if is_version(file.stem) and file.stem not in keep]
        for file in sorted(old, key=lambda file: file.stat().st_mtime, reverse=True)[KEPT:]:
            file.unlink(missing_ok=True)
        # There are far fewer scripts than versions: a release has one.
        old = [file for file in self._conf.glob("*.js") if SCRIPT_KEY.fullmatch(file.name) and file.name not in scripts]
        for file in sorted(old, key=lambda file: file.stat().st_mtime, reverse=True)[KEPT:]:
            file.unlink(missing_ok=True)
