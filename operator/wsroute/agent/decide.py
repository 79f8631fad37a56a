"""What a pod should do next, as a function of what is published, what nginx runs and what nginx has refused. Pure.

A pod's aim is a function of the two ConfigMaps alone, so that a missed event or a restart changes nothing:

1. the version under canary, when the ConfigMap names this pod and nginx has not just refused that version;
2. else the version in force, when it is this pod's turn, or when nothing is loaded yet;
3. else what runs already.

Nothing is tested before it is loaded. nginx reads a file whole when it loads it, and goes on with the one before when
it finds a fault, as it does at a test; and where one machine runs several pods, the tests of those that wait would take
the processor from the canary, which all of them wait for.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, Protocol

from wsroute.agent.drain import Terms, parse_terms
from wsroute.balancer.admin import is_version
from wsroute.dataplane import names
from wsroute.dataplane.acknowledgement import Failure

EVERY_POD: Final = "*"

RETRY_LOAD: Final = 30.0
"""Seconds after which a refused version that is still this pod's aim is tried again: the reason may have been the
machine's (an address in use, no memory). Where it was not, another version soon takes its place."""

DOUBT: Final = 20.0
"""Seconds for which a lower epoch must stand before it is believed. That is longer than a Lease lasts: a leader of the
higher epoch, if there were one, would have written over it long ago."""


class PublicationError(ValueError):
    """A ConfigMap says nothing that can be followed. The text says what is wrong with it."""


@dataclass(frozen=True, slots=True)
class Published:
    """What a ConfigMap says of its version. ``version`` is empty when it holds none.

    ``canary`` is the pod that tries it (of the version under canary), ``pods`` are those whose turn it is (of the
    version in force); ``ports`` are its listeners'; ``terms`` say how long old workers live (of the version in force);
    ``certificates`` are the files that it names.
    """

    uid: str
    version: str
    digest: str
    epoch: int
    canary: str
    pods: frozenset[str]
    ports: frozenset[int]
    terms: Terms | None = None
    certificates: frozenset[str] = frozenset()


class Stamped(Protocol):
    """What is known of a ConfigMap's origin."""

    @property
    def uid(self) -> str:
        """Another one has been made anew."""

    @property
    def epoch(self) -> int:
        """That of the leader that wrote it."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """A version that nginx refused, and when (seconds of a monotonic clock)."""

    failure: Failure
    at: float


@dataclass(frozen=True, slots=True)
class View:
    """All that a pod knows. ``running`` is what nginx answers with, empty while nothing is loaded, None while unknown.

    ``failure`` is the last refusal, until another version is loaded. ``last_epoch`` is what ``epoch`` was until the
    last publication.
    """

    pod: str
    running: str | None = None
    main: Published | None = None
    next: Published | None = None
    refusals: Mapping[str, Refusal] | None = None
    failure: Failure | None = None
    last_epoch: int = 0

    @property
    def ports(self) -> frozenset[int]:
        """The ports on which clients may be."""
        return frozenset().union(*(published.ports for published in (self.main, self.next) if published))

    @property
    def epoch(self) -> int:
        """The epoch in which the running version was written, as far as is known; 0 while nothing is loaded.

        It stays when another version takes the running one's place, so that this alone is nothing to tell.
        """
        if not self.running:
            return 0
        return max((each.epoch for each in self.publications(self.running)), default=self.last_epoch)

    def publications(self, version: str) -> list[Published]:
        """What is published of a version: the one in force first."""
        return [each for each in (self.main, self.next) if each and each.version == version]

    def publish(self, *, main: Published | None, next: Published | None) -> "View":  # noqa: A002
        """These are published now. What is known of other versions is dropped: one that comes back is tried again."""
        kept = {published.version for published in (main, next) if published}
        known = self.refusals or {}
        stale = self.failure is not None and self.failure.version in kept and self.failure.version not in known
        return replace(
            self,
            main=main,
            next=next,
            refusals={version: refusal for version, refusal in known.items() if version in kept},
            failure=None if stale else self.failure,
            last_epoch=self.epoch,
        )

    def refuse(self, failure: Failure, *, now: float) -> "View":
        """nginx has refused a version."""
        return replace(
            self, refusals={**(self.refusals or {}), failure.version: Refusal(failure, now)}, failure=failure
        )

    def load(self, version: str) -> "View":
        """nginx runs a version."""
        refusals = {other: refusal for other, refusal in (self.refusals or {}).items() if other != version}
        return replace(self, running=version, refusals=refusals, failure=None)


@dataclass(frozen=True, slots=True)
class Apply:
    """Bring this version in."""

    version: str


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing to do; look again after so many seconds (None: when something changes)."""

    seconds: float | None = None


def parse_publication(config_map: Mapping[str, Any]) -> Published:
    """Read a ConfigMap's annotations. Raises PublicationError."""
    meta = config_map["metadata"]
    annotations = meta.get("annotations") or {}
    version = annotations.get(names.VERSION_ANNOTATION, "")
    if version and not is_version(version):
        raise PublicationError(f"{names.VERSION_ANNOTATION} is {version!r}; 12 hex digits are expected.")
    ports = tuple(map(parse_number, annotations.get(names.LISTENER_PORTS_ANNOTATION, "").split()))
    return Published(
        uid=meta.get("uid", ""),
        version=version,
        digest=annotations.get(names.DIGEST_ANNOTATION, ""),
        epoch=parse_number(annotations.get(names.EPOCH_ANNOTATION, "0")),
        canary=annotations.get(names.CANARY_ANNOTATION, ""),
        pods=frozenset(annotations.get(names.PODS_ANNOTATION, "").split()),
        ports=frozenset(port for port in ports if port < 65536),
        terms=parse_terms(annotations),
        certificates=_parse_files(annotations.get(names.CERTIFICATES_ANNOTATION, "")),
    )


def _parse_files(text: str) -> frozenset[str]:
    files = frozenset(text.split())
    if not all(re.fullmatch("[0-9a-f]{64}", file, re.ASCII) for file in files):
        raise PublicationError(f"{names.CERTIFICATES_ANNOTATION} names something else than files of certificates.")
    return files


def parse_number(text: str) -> int:
    """Read a number of an annotation. Raises PublicationError."""
    if not (text.isascii() and text.isdigit() and len(text) <= 18):
        raise PublicationError(f"{text!r} in an annotation is not a number.")
    return int(text)


def supersedes(new: Stamped, old: Stamped | None, *, stood: float = 0.0) -> bool:
    """Whether to believe a ConfigMap: a lower epoch is the late word of a leader that has been followed by another.

    Unless lower ones have ``stood`` there for long (seconds): then epochs count anew, because the Lease was deleted, a
    backup was restored, or a hand had raised the annotation. A ConfigMap that was deleted and made anew counts from the
    start.
    """
    return old is None or new.uid != old.uid or new.epoch >= old.epoch or stood >= DOUBT


def decide(view: View, *, now: float) -> Apply | Wait:
    """What to do next. ``now`` is seconds of the clock of the refusals."""
    if view.running is None:
        return Wait()
    aim = _aim(view, now=now)
    if aim is not None and aim != view.running:
        return Apply(aim)
    again = _retry_at(view)
    return Wait(None if again is None else max(0.0, again - now))


def _aim(view: View, *, now: float) -> str | None:
    trial, main = view.next, view.main
    if trial is not None and trial.version and trial.canary == view.pod and not _rests(view, trial.version, now=now):
        return trial.version
    if main is None or not main.version or not _turn(view, main):
        return None
    if main.version != view.running and _rests(view, main.version, now=now):
        return None
    return main.version


def _rests(view: View, version: str, *, now: float) -> bool:
    """Whether a version was refused a short while ago."""
    refusal = (view.refusals or {}).get(version)
    return refusal is not None and now < refusal.at + RETRY_LOAD


def _turn(view: View, main: Published) -> bool:
    return view.running == "" or view.pod in main.pods or EVERY_POD in main.pods


def _retry_at(view: View) -> float | None:
    """When a refused version that is this pod's aim is due for another try, None when there is none."""
    refusals = view.refusals or {}
    aims = []
    if view.next is not None and view.next.canary == view.pod:
        aims.append(view.next.version)
    if view.main is not None and _turn(view, view.main):
        aims.append(view.main.version)
    return min(
        (refusals[version].at + RETRY_LOAD for version in aims if version in refusals and version != view.running),
        default=None,
    )
