"""Processes told apart by id and start time, and commands whose failure is a readable error."""

import contextlib
import fcntl
import os
import select
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from localcluster.errors import ClusterError
from localcluster.progress import say

_SCRUBBED = frozenset({"KUBECONFIG", "KUBERNETES_MASTER", "KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT"})


@dataclass(frozen=True, slots=True)
class ProcessId:
    """A process that can't be mistaken for a later one with the same id: `start` is field 22 of /proc/PID/stat."""

    pid: int
    start: int


def parse_start_time(stat: str) -> int:
    """Field 22 of a /proc/PID/stat line; the command in field 2 may hold blanks and brackets."""
    return int(stat.rpartition(")")[2].split()[19])


def identify(pid: int) -> ProcessId | None:
    """The identity of the process that has this id now; None when there is none, or only its zombie."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    if stat.rpartition(")")[2].split()[0] in ("Z", "X"):
        return None
    return ProcessId(pid=pid, start=parse_start_time(stat))


def alive(process: ProcessId) -> bool:
    """Whether exactly this process still runs."""
    return identify(process.pid) == process


def end(process: ProcessId, *, timeout: float = 10.0) -> None:
    """Kills exactly this process and waits until it is gone; does nothing when it has ended before."""
    if not alive(process):  # its id may be a thread's by now, for which there is no handle
        return
    try:
        handle = os.pidfd_open(process.pid)
    except ProcessLookupError:
        return
    try:
        # Looked at after the handle was opened: from here on the id can't pass to another process unnoticed.
        if not alive(process):
            return
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(handle, signal.SIGKILL)
        if not select.select([handle], [], [], timeout)[0]:
            raise ClusterError(f"Process {process.pid} does not end although it was killed.")
    finally:
        os.close(handle)


def scrubbed_environment() -> dict[str, str]:
    """The environment without anything that could point a Kubernetes client at somebody else's cluster."""
    return {key: value for key, value in os.environ.items() if key not in _SCRUBBED}


def run(
    command: Sequence[str | Path],
    *,
    what: str,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    timeout: float | None = None,
) -> str:
    """Runs a command and returns its standard output.

    `what` completes the sentence "... failed" when it ends with an error. The environment is scrubbed, `env` is added
    to it; `timeout` is in seconds.
    """
    environment = {**scrubbed_environment(), **(env or {})}
    arguments = [str(part) for part in command]
    try:
        done = subprocess.run(
            arguments, env=environment, cwd=cwd, timeout=timeout, capture_output=True, text=True,
            stdin=subprocess.DEVNULL, check=False,
        )  # fmt: skip
    except FileNotFoundError:
        raise ClusterError(f"{what} failed: there is no program {arguments[0]!r}.") from None
    except subprocess.TimeoutExpired:
        raise ClusterError(f"{what} took longer than {timeout:.0f} s.") from None
    if done.returncode:
        problems = (done.stderr or done.stdout).strip()[-3000:]
        raise ClusterError(f"{what} failed (exit code {done.returncode}): {problems}")
    return done.stdout


def tail(log: Path, *, lines: int = 15) -> str:
    """The last lines of a log, or nothing when there is no such file."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - 16_384))
            return b"\n".join(file.read().splitlines()[-lines:]).decode(errors="replace")
    except FileNotFoundError:
        return ""


@contextmanager
def lock(path: Path, *, busy: str) -> Iterator[None]:
    """Holds an advisory lock on a file; says `busy` on standard error once when it has to wait for another process."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"  … {busy}")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
