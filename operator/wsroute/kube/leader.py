"""Which replica leads: an election by Lease as a pure state machine, by the rules of client-go's leaderelection.

A follower trusts no other machine's clock: a leader is gone when its record in the Lease has not changed for the
Lease's duration, measured on the follower's own clock from the moment it saw the last change. A leader believes in
itself only for ``renew_deadline`` from the moment at which it *sent* its last successful renewal, so that it stops well
before anybody else may start, as long as each clock runs at a rate within a sixth of the true one.

Deviations from client-go, each on the safe side: while a record that was seen is still valid nobody takes a Lease that
was deleted; a leader that finds its Lease deleted or held by another stops at once; epochs never go back within one
process, even if the Lease was deleted.

All times are seconds of one clock that also runs while the machine is suspended (CLOCK_BOOTTIME). The driver is
:mod:`wsroute.kube.elector`.
"""

import math
from dataclasses import dataclass, field, replace
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class Timing:
    """How long things may take, in seconds. The differences are what fencing lives on."""

    lease: float = 15.0
    renew_deadline: float = 10.0
    retry: float = 2.0

    def __post_init__(self) -> None:
        if not 0 < self.retry * 2 <= self.renew_deadline < self.lease:
            raise ValueError("An election needs 0 < 2 x retry <= renew_deadline < lease.")

    @property
    def slack(self) -> float:
        """Seconds between the moment a leader stops and the earliest moment another starts."""
        return self.lease - self.renew_deadline

    @property
    def request(self) -> float:
        """How long one request about the Lease may take: two must fit before the deadline, and one into the slack."""
        return min(self.slack, self.renew_deadline / 3)


@dataclass(frozen=True, slots=True)
class LeaseRecord:
    """What a Lease says. An empty holder means that it was released. ``acquired`` and ``renewed`` are never computed
    with, only compared."""

    holder: str
    duration: float
    transitions: int
    acquired: str
    renewed: str


# What happens.
@dataclass(frozen=True, slots=True)
class Wake:
    """The time to wait is over, or we begin."""


@dataclass(frozen=True, slots=True)
class Seen:
    """The Lease was read; None when there is none."""

    record: LeaseRecord | None


@dataclass(frozen=True, slots=True)
class Written:
    """Our write was accepted; this is what the Lease says now."""

    record: LeaseRecord


@dataclass(frozen=True, slots=True)
class Refused:
    """Our write was refused because the Lease has changed, come or gone in the meantime."""


@dataclass(frozen=True, slots=True)
class Failed:
    """A request failed or was given up; a write may have happened all the same."""


@dataclass(frozen=True, slots=True)
class Stop:
    """We want to end."""


# What to do.
@dataclass(frozen=True, slots=True)
class Read:
    """Read the Lease; answer with Seen or Failed."""


@dataclass(frozen=True, slots=True)
class Write:
    """Write the Lease as it was last seen, with these changes; answer with Written, Refused or Failed.

    ``create`` when there was none. ``acquire`` says that acquireTime is now. An empty holder releases.
    """

    holder: str
    transitions: int
    duration: float
    create: bool = False
    acquire: bool = False


@dataclass(frozen=True, slots=True)
class Wait:
    """Do nothing for so many seconds; answer with Wake."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Done:
    """The end."""


Happening: TypeAlias = Wake | Seen | Written | Refused | Failed | Stop
Action: TypeAlias = Read | Write | Wait | Done

_RELEASED_FOR = 1.0
_TRUSTED_DURATIONS = 4.0


@dataclass(frozen=True, slots=True)
class LeaderElection:
    """One candidate's view. ``identity`` must belong to one run of one process.

    ``observed`` and ``observed_at`` are the Lease's record and when it was last seen to change; ``present`` says
    whether there was a Lease at the last look. ``leading_until`` is when our belief in ourselves ends. ``epoch`` is the
    highest count of transitions seen.
    """

    identity: str
    timing: Timing = field(default_factory=Timing)
    observed: LeaseRecord | None = None
    observed_at: float = -math.inf
    present: bool = False
    sent_at: float = -math.inf
    leading_until: float = -math.inf
    epoch: int = -1
    stopping: bool = False

    def leading(self, now: float) -> bool:
        """May we act as the leader?"""
        return now < self.leading_until


def step(state: LeaderElection, now: float, happening: Happening, *, jitter: float) -> tuple[LeaderElection, Action]:
    """What a candidate thinks and does next. ``jitter`` in [0, 1) keeps candidates out of step."""
    match happening:
        case Stop():
            # We stop leading before we let go. Whether the Lease is ours is looked up: a lost write may have happened.
            return replace(state, stopping=True, leading_until=-math.inf), Read()
        case Wake():
            return _next(state, now)
        case Seen(record):
            return _after_seeing(_observe(state, now, record), now, jitter)
        case Written(record):
            return _after_writing(_observe(state, now, record), now)
        case Refused():
            return (state, Done()) if state.stopping else (state, Read())
        case Failed():
            return (state, Done()) if state.stopping else (state, _pause(state, now, jitter))


def _next(state: LeaderElection, now: float) -> tuple[LeaderElection, Action]:
    """A leader renews what it knows to be its own; everybody else looks first, however sure they were before."""
    if state.leading(now) and state.observed is not None:
        return _write(state, now, transitions=state.observed.transitions)
    return state, Read()


def _observe(state: LeaderElection, now: float, record: LeaseRecord | None) -> LeaderElection:
    """Note what the Lease says. A record that did not change keeps its age; one that is gone keeps it as well."""
    if record is None:
        return replace(state, present=False, leading_until=-math.inf)
    if record.holder != state.identity:
        state = replace(state, leading_until=-math.inf)
    if record != state.observed:
        state = replace(state, observed=record, observed_at=now)
    return replace(state, present=True, epoch=max(state.epoch, record.transitions))


def _after_seeing(state: LeaderElection, now: float, jitter: float) -> tuple[LeaderElection, Action]:
    record = state.observed
    mine = record is not None and record.holder == state.identity
    if state.stopping:
        return _release(state, now) if mine and state.present else (state, Done())
    if mine and state.present and record is not None:
        return _write(state, now, transitions=record.transitions)
    if mine or record is None or record.holder == "" or now >= _valid_until(state, record):
        return _write(state, now, transitions=state.epoch + 1, create=not state.present, acquire=True)
    return state, _pause(state, now, jitter)


def _after_writing(state: LeaderElection, now: float) -> tuple[LeaderElection, Action]:
    if state.stopping:
        return state, Done()
    state = replace(state, leading_until=state.sent_at + state.timing.renew_deadline)
    # The next renewal is due `retry` after this one was sent, not after it was answered.
    return state, Wait(max(0.0, state.sent_at + state.timing.retry - now))


def _write(
    state: LeaderElection, now: float, *, transitions: int, create: bool = False, acquire: bool = False
) -> tuple[LeaderElection, Action]:
    action = Write(state.identity, transitions, state.timing.lease, create=create, acquire=acquire)
    return replace(state, sent_at=now), action


def _release(state: LeaderElection, now: float) -> tuple[LeaderElection, Action]:
    return replace(state, sent_at=now), Write("", state.epoch, _RELEASED_FOR)


def _valid_until(state: LeaderElection, record: LeaseRecord) -> float:
    """When the holder counts as gone. Its own duration counts, within bounds: a typing error may lock nobody out."""
    longest = state.timing.lease * _TRUSTED_DURATIONS
    return state.observed_at + max(state.timing.lease, min(record.duration, longest))


def _pause(state: LeaderElection, now: float, jitter: float) -> Wait:
    """Half to whole of ``retry``; shorter when the holder's time is over or our own belief ends before."""
    seconds = state.timing.retry * (0.5 + 0.5 * jitter)
    ends = [state.leading_until]
    if state.observed is not None and state.observed.holder not in ("", state.identity):
        ends.append(_valid_until(state, state.observed))
    return Wait(min([seconds, *(end - now for end in ends if end > now)]))
