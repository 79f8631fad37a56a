"""Commands to the start script beside nginx, over the FIFO and the result files that ``start.sh`` describes.

The other side parses what app teams wrote, so all that it answers is data: bounded, without links, without control
characters.
"""

import asyncio
import errno
import os
import re
import secrets
import stat
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

POLL: Final = 0.005
"""Seconds between two looks for an answer. A load takes some 20 to 1,000 ms."""

FIRST_LOOK: Final = 0.75
"""The share of the time that the last command of the same kind took, after which to look for the first time: whoever
looks earlier only takes processor time from nginx."""

FIRST_LOOK_MOST: Final = 0.5
"""Seconds that this may be at most."""

DEADLINE: Final = 20.0
"""Seconds to wait for an answer: the script itself gives up on nginx after about ten."""

_ANSWER_LIMIT: Final = 64 * 1024
_MESSAGE_LIMIT: Final = 2000

_OLD_WORKER: Final = re.compile(r"([0-9]{1,9}) ([0-9]{1,9}) ([1-9][0-9]{0,9}) ([0-9]{1,9})", re.ASCII)


class ControlUnavailableError(Exception):
    """Nobody obeys: the container of nginx is not up, is being restarted, or gave no answer in time. Try again."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a command. ``message`` is in nginx's words, for ``ok`` its warnings."""

    ok: bool
    message: str


@dataclass(frozen=True, slots=True)
class OldWorker:
    """A worker of nginx that accepts nothing any more and finishes its sockets.

    ``generation`` counts reloads: the workers that one reload left have the same. ``age`` is seconds since then.
    """

    generation: int
    age: int
    pid: int
    sockets: int


class Control:
    """The commands. ``run`` is the folder of nginx's side."""

    def __init__(self, run: Path, *, deadline: float = DEADLINE) -> None:
        self._run = run
        self._deadline = deadline
        self._took: dict[str, float] = {}
        """Seconds that the last command of each kind took."""

    async def test(self, version: str) -> Outcome:
        """Have nginx check a version's file; what is being served is not touched."""
        return _outcome(await self._command("test", version))

    async def load(self, version: str) -> Outcome:
        """Have nginx serve a version. When the outcome is not ok, nginx goes on with what it had."""
        return _outcome(await self._command("load", version))

    async def survey(self) -> tuple[OldWorker, ...]:
        """The old workers, the oldest generation first."""
        _, _, lines = (await self._command("survey")).partition("\n")
        found = [_OLD_WORKER.fullmatch(line) for line in lines.splitlines()]
        return tuple(
            sorted((OldWorker(*map(int, match.groups())) for match in found if match), key=lambda old: old.generation)
        )

    async def retire(self, pid: int) -> int | None:
        """End one old worker; the number of sockets that it still held, or None when no old worker has that pid."""
        outcome, _, words = (await self._command("retire", str(pid))).partition("\n")
        number = words.strip()
        if outcome != "ok":
            return None
        return int(number) if number.isascii() and number.isdigit() and len(number) < 10 else 0

    async def _command(self, verb: Literal["test", "load", "survey", "retire"], argument: str = "") -> str:
        """The answer to a command, its outcome in the first line."""
        identity = secrets.token_hex(8)
        self._send(f"{verb} {identity} {argument}".rstrip() + "\n")
        started = time.monotonic()
        try:
            async with asyncio.timeout(self._deadline):
                await asyncio.sleep(min(FIRST_LOOK * self._took.get(verb, 0.0), FIRST_LOOK_MOST))
                while (answer := self._answer(identity)) is None:  # noqa: ASYNC110 (a file tells nobody of its birth)
                    await asyncio.sleep(POLL)
        except TimeoutError:
            raise ControlUnavailableError(f"nginx's start script did not answer within {self._deadline:g} s.") from None
        self._took[verb] = time.monotonic() - started
        return answer

    def _send(self, line: str) -> None:
        # Shorter than PIPE_BUF, so that it arrives whole or not at all; never waiting for a reader.
        path = self._run / "control"
        try:
            fd = os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                if not stat.S_ISFIFO(os.fstat(fd).st_mode):
                    raise ControlUnavailableError(f"{path} is not a FIFO.")
                os.write(fd, line.encode("ascii"))
            finally:
                os.close(fd)
        except OSError as error:
            what = "has no reader" if error.errno == errno.ENXIO else f"can't be written: {error.strerror}"
            raise ControlUnavailableError(f"{path} {what}; nginx's start script is not running.") from error

    def _answer(self, identity: str) -> str | None:
        try:
            return read_untrusted(self._run / "results", identity, limit=_ANSWER_LIMIT)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise ControlUnavailableError(f"The answer can't be read: {error.strerror}.") from error


def _outcome(answer: str) -> Outcome:
    first, _, words = answer.partition("\n")
    return Outcome(ok=first == "ok", message=_plain(words))


def read_untrusted(folder: Path, name: str, *, limit: int) -> str:
    """Read the beginning of a file that nginx's side made, neither following links nor waiting. Raises OSError."""
    place = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=place)
        try:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                raise OSError(errno.EINVAL, "it is not a regular file")
            return os.read(fd, limit).decode(errors="replace")
        finally:
            os.close(fd)
    finally:
        os.close(place)


def _plain(words: str) -> str:
    lines = ("".join(char if char.isprintable() else " " for char in line).strip() for line in words.splitlines())
    return "\n".join(line for line in lines if line)[:_MESSAGE_LIMIT]
