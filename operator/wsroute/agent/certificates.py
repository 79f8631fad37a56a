"""The files of certificates beside nginx: brought in from the balancer's Secrets, checked, and taken away late.

The Secrets are followed by their names, one by one, so that a role can name them, and only once a version or a table
names a file: most balancers end no TLS. Files are named by their content, so a new one never changes what nginx reads
already. A version is not followed before all of its files are there, and nginx is not told of a file before that.
"""

import asyncio
import base64
import binascii
import contextlib
import hashlib
import logging
import os
import re
import time
from collections.abc import Awaitable, Callable, Collection, Iterator
from pathlib import Path
from typing import Final

from wsroute.dataplane.names import TLS_SECRETS, TLS_SUFFIX, tls_name
from wsroute.kube.port import SECRETS, ClusterClient, Json
from wsroute.kube.reflector import Deleted, Replaced, reflect

logger = logging.getLogger(__name__)

GRACE: Final = 600.0
"""Seconds for which a file stays that nobody names any more."""

PRUNE: Final = 60.0
"""Seconds between two looks for such files."""

AGAIN: Final = 5.0
"""Seconds until a file is tried again that could not be written."""

LIMIT: Final = 1024 * 1024
"""Bytes of base64 of one file; the operator's largest has a tenth."""

_NAME: Final = re.compile(rf"[0-9a-f]{{64}}{re.escape(TLS_SUFFIX)}", re.ASCII)


class Certificates:
    """The files in ``folder``. ``changed`` is awaited whenever there are new ones. What versions in the folder ``conf``
    name stays, and what nginx's ``state`` does, the table with which it may be started."""

    def __init__(
        self,
        client: ClusterClient,
        *,
        namespace: str,
        balancer: str,
        folder: Path,
        conf: Path,
        state: Path,
        changed: Callable[[], Awaitable[None]],
    ) -> None:
        self._client = client
        self._namespace = namespace
        self._names = [tls_name(balancer, number) for number in range(TLS_SECRETS)]
        self._folder = folder
        self._conf = conf
        self._state = state
        self._changed = changed
        self._offered: dict[str, frozenset[str]] = {}
        """The files that each Secret holds, by its name."""
        self._named: dict[str, frozenset[str]] = {}
        """The files that each published version names, by the name of its ConfigMap."""
        self._tabled: frozenset[str] = frozenset()
        """Those that tables name."""
        self._waiting: dict[str, Json] = {}
        self._unnamed: dict[str, float] = {}
        """Since when nobody names a file."""
        self._needed = asyncio.Event()

    @property
    def waiting(self) -> tuple[Json, ...]:
        """The ConfigMaps of versions that wait for a file."""
        return tuple(self._waiting.values())

    def complete(self, item: Json, files: frozenset[str]) -> bool:
        """Whether all files are there that a version names, whose ConfigMap this is."""
        name = item["metadata"]["name"]
        self._named[name] = frozenset(f"{file}{TLS_SUFFIX}" for file in files)
        if files:
            self._needed.set()
        missing = [file for file in self._named[name] if not (self._folder / file).is_file()]
        if not missing:
            self._waiting.pop(name, None)
            return True
        if name not in self._waiting:
            logger.info("The version in %s waits for %d files of certificates.", name, len(missing))
        self._waiting[name] = item
        return False

    def present(self, files: frozenset[str]) -> frozenset[str]:
        """Which files are there of those that tables name, by their names without a suffix: all that they do."""
        self._tabled = frozenset(f"{file}{TLS_SUFFIX}" for file in files)
        if files:
            self._needed.set()
        return frozenset(file for file in files if (self._folder / f"{file}{TLS_SUFFIX}").is_file())

    def forget(self, name: str) -> None:
        """A ConfigMap is gone."""
        self._waiting.pop(name, None)
        self._named.pop(name, None)

    async def run(self) -> None:
        """Follow the Secrets until cancelled."""
        await self._needed.wait()
        async with asyncio.TaskGroup() as tasks:
            for name in self._names:
                tasks.create_task(self._follow(name), name=f"follow Secret {name}")
            tasks.create_task(self._keep_pruning(), name="prune certificates")

    async def _follow(self, name: str) -> None:
        async for event in reflect(
            self._client, SECRETS, namespace=self._namespace, field_selector=f"metadata.name={name}"
        ):
            match event:
                case Replaced(items):
                    found = [item for item in items if item["metadata"]["name"] == name]
                    await self._take(name, found[0] if found else {})
                case Deleted():
                    self._offered.pop(name, None)
                case _:
                    await self._take(name, event.object)

    async def _take(self, name: str, secret: Json) -> None:
        """Write what a Secret holds and we have not, whole or not at all."""
        files = dict(_files(secret))
        self._offered[name] = frozenset(files)
        fresh = [file for file in files if not (self._folder / file).exists()]
        for file in fresh:
            while not self._is_written(file, files[file]):  # noqa: ASYNC110 (a disk tells nobody)
                await asyncio.sleep(AGAIN)
        if fresh:
            await self._changed()

    def _is_written(self, file: str, content: bytes) -> bool:
        """Whether a file could be written: a full disk has room again some day, and what is served goes on."""
        try:
            self._write(file, content)
        except OSError as error:
            logger.error("A certificate's file can't be written; tried again until it can: %s", error)
            return False
        return True

    def _write(self, file: str, content: bytes) -> None:
        path = self._folder / file
        temporary = path.with_suffix(".new")
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o640)
        with os.fdopen(fd, "wb") as opened:
            opened.write(content)
        temporary.replace(path)

    async def _keep_pruning(self) -> None:
        while True:
            await asyncio.sleep(PRUNE)
            self.prune(now=time.monotonic())

    def prune(self, *, now: float) -> None:
        """Take away the files that nobody has named for long; what nginx may be started with again names some."""
        there = {path.name for path in self._folder.glob(f"*{TLS_SUFFIX}")}
        named = self._tabled.union(*self._named.values(), *self._offered.values())
        self._unnamed = {file: self._unnamed.get(file, now) for file in there - named}
        old = {file for file, since in self._unnamed.items() if now - since >= GRACE}
        for file in old - self._to_start_with(old):
            (self._folder / file).unlink(missing_ok=True)
            del self._unnamed[file]

    def _to_start_with(self, files: Collection[str]) -> set[str]:
        """Those that a version names whose file is still there, or the table in nginx's state."""
        if not files:
            return set()
        texts = [path.read_text(encoding="utf-8", errors="replace") for path in self._conf.glob("*.conf")]
        with contextlib.suppress(FileNotFoundError):
            texts.append(self._state.read_text(encoding="utf-8", errors="replace"))
        return {file for file in files if any(file.removesuffix(TLS_SUFFIX) in text for text in texts)}


def _files(secret: Json) -> Iterator[tuple[str, bytes]]:
    """The whole files of a Secret: those whose content is what their name says."""
    data = secret.get("data")
    for file, text in data.items() if isinstance(data, dict) else ():
        if not (_NAME.fullmatch(file) and isinstance(text, str) and len(text) <= LIMIT):
            continue
        try:
            content = base64.b64decode(text, validate=True)
        except (binascii.Error, ValueError):
            continue
        if hashlib.sha256(content).hexdigest() == file.removesuffix(TLS_SUFFIX):
            yield file, content
        else:
            logger.error("The file %s is not what its name says; it is not used.", file)
