"""What to do about nginx's table next, as a function of what is published and of what nginx says that it has. Pure.

1. What is published is a set of parts. They are a table when all parts of one count are there, for hosts, for
   endpoints, and for certificates where there are any. While one is missing or can't be read, what was known of it last
   stays. Nothing is ever taken back because ConfigMaps vanish: a part that is not needed any more is emptied by the
   operator, never deleted.
2. Where nginx has the table that it was told last, it is told what has changed.
3. Where it has another one or none, or was started anew, it is told everything, in the generation that does not serve.
4. What it did not take is tried again after a rest, or once something else is published. Meanwhile endpoints change
   all the same where there are any: nobody's sockets go to addresses that are somebody else's by now because another
   team's routes have no room.
5. A name gets no certificate whose file is not there: it keeps the one that it had. Only a nginx that was told nothing
   yet waits, for a short while, until all files are there.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from wsroute.agent.parts import CERTIFICATES, GROUPS, HOSTS, MODULUS, Line, Part, Place, line_of, merged
from wsroute.balancer.table_client import Generation, Stand
from wsroute.dataplane.dictionary import Operation, diff
from wsroute.dataplane.shards import FORMAT

FORMATS: Final = (FORMAT,)
"""The formats of tables that we can read, and that nginx's side may look up."""

ASK: Final = 1.0
"""Seconds between two questions what nginx has: it may have been started anew."""

ASK_SOON: Final = 0.05
"""The same while it gives no answer."""

REST: Final = 10.0
"""Seconds after which what nginx did not take is tried again: there may be room by then."""


PATIENCE: Final = 3.0
"""Seconds for which files of certificates may be missing before that is a trouble: they come by another way."""


@dataclass(frozen=True, slots=True)
class Known:
    """A ConfigMap. ``part`` is what could be read of it last, None for nothing yet.

    ``version`` is the resourceVersion of what it holds now, None once it is gone. ``trouble`` says why that is not
    followed, empty where it is. ``epoch`` is that of the leader that wrote it.
    """

    part: Part | None
    version: int | None
    trouble: str = ""
    epoch: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Content:
    """A whole table. ``mark`` names what it says; it is the same on any machine, however the table is parted."""

    parts: Mapping[Place, Part]
    mark: str = field(init=False)

    def __post_init__(self) -> None:
        number = sum(part.number for part in self.parts.values()) % MODULUS
        object.__setattr__(self, "mark", f"{number:064x}")

    def entries(self) -> dict[str, str]:
        """All entries of the dictionary."""
        return merged(line for part in self.parts.values() for line in part.lines.values())

    def changes_from(self, old: "Content") -> list[Operation]:
        """What makes this table of another one."""
        gone: list[Line] = []
        come: list[Line] = []
        for place in old.parts.keys() | self.parts.keys():
            before, after = old.parts.get(place), self.parts.get(place)
            if before is after:
                continue
            known = before.lines if before is not None else {}
            wanted = after.lines if after is not None else {}
            gone += [line for text, line in known.items() if text not in wanted]
            come += [line for text, line in wanted.items() if text not in known]
        return diff(merged(gone), merged(come))

    def with_endpoints_of(self, new: "Content") -> "Content":
        """This table with the endpoints that another one has for the same groups."""
        fresh = {key: (text, line) for text, line in _groups(new) for key in line.entries}
        lines = dict(fresh.get(key, (text, line)) for text, line in _groups(self) for key in line.entries)
        number = sum(line.number for line in lines.values()) % MODULUS
        groups = Part(uid="", epoch=0, version=0, place=(GROUPS, 0), count=1, lines=lines, number=number)
        others = {place: part for place, part in self.parts.items() if place[0] != GROUPS}
        return Content({**others, groups.place: groups})

    @property
    def certificates(self) -> Mapping[str, Line]:
        """The lines with certificates, by each key of the dictionary that they set."""
        parts = [part for (family, _), part in self.parts.items() if family == CERTIFICATES]
        return {key: line for part in parts for line in part.lines.values() for key in line.entries}

    @property
    def files(self) -> frozenset[str]:
        """The files of certificates that it names."""
        return _files(self.parts.values())

    def includes(self, part: Part) -> bool:
        """Whether this table says what a part says."""
        own = self.parts.get(part.place)
        return own is not None and (own is part or own.lines.keys() == part.lines.keys())


def files_of(known: Mapping[str, Known]) -> frozenset[str]:
    """The files of certificates that ConfigMaps name."""
    return _files(each.part for each in known.values() if each.part is not None)


def _files(parts: Iterable[Part]) -> frozenset[str]:
    return frozenset(
        file for part in parts if part.place[0] == CERTIFICATES for line in part.lines.values() for file in line.files
    )


def _groups(content: Content) -> Iterator[tuple[str, Line]]:
    """The lines of all groups, each of which gives one entry."""
    for (family, _), part in content.parts.items():
        if family == GROUPS:
            yield from part.lines.items()


@dataclass(frozen=True, slots=True)
class Refusal:
    """nginx did not take these tables, named by their marks: the newest, and what could be had of it. ``at`` is seconds
    of a monotonic clock."""

    marks: frozenset[str]
    words: str
    at: float


@dataclass(frozen=True, slots=True)
class Tables:
    """All that is known. ``known`` are ConfigMaps by their names; ``heard`` is true once they were listed.

    ``wanted`` is the newest whole table. ``pushed`` is the one that nginx has, as far as its answers confirm it.
    ``anew`` is true when nginx may have lost a part of that without knowing, and ``untidy`` while the generation that
    does not serve may hold something. ``stand`` is nginx's last answer, of the start ``instance``; None where that is
    not known. The next question is due at ``ask_at``. ``missing`` are the files of certificates that are published and
    not there, some of them since ``missing_since``; ``overdue`` says that this is long ago.
    """

    known: Mapping[str, Known] = field(default_factory=dict)
    heard: bool = False
    wanted: Content | None = None
    pushed: Content | None = None
    anew: bool = False
    untidy: bool = True
    stand: Stand | None = None
    instance: str | None = None
    refusal: Refusal | None = None
    ask_at: float = float("-inf")
    missing: frozenset[str] = frozenset()
    missing_since: float = 0.0
    overdue: bool = False

    # ── What happens ─────────────────────────────────────────────────────────────────────────────────────────────────

    def publish(
        self, known: Mapping[str, Known], *, files: Collection[str] = frozenset(), now: float = 0.0
    ) -> "Tables":
        """This is what is published now, of all ConfigMaps. ``files`` are those of certificates that are there."""
        parts = _whole([each.part for each in known.values() if each.part is not None])
        if parts is None:
            return replace(self, known=known, heard=True)
        missing = _files(parts.values()).difference(files)
        since = self.missing_since if self.missing and missing else now
        return replace(
            self,
            known=known,
            heard=True,
            wanted=Content(self._with_files(parts, files) if missing else parts),
            missing=missing,
            missing_since=since,
            overdue=bool(missing) and now - since >= PATIENCE,
        ).confirm()

    def _with_files(self, parts: Mapping[Place, Part], files: Collection[str]) -> Mapping[Place, Part]:
        """The parts without the lines whose files are not there: their names keep what they had."""
        held = {} if self.wanted is None else self.wanted.certificates
        return {
            place: _with_files(part, held, frozenset(files)) if place[0] == CERTIFICATES else part
            for place, part in parts.items()
        }

    def hear(self, stand: Stand, instance: str, *, now: float) -> "Tables":
        """nginx has answered."""
        restarted = self.instance is not None and instance != self.instance
        lost = self.pushed is not None and stand.mark != self.pushed.mark
        return replace(
            self,
            stand=stand,
            instance=instance,
            pushed=None if lost else self.pushed,
            anew=self.anew or restarted,
            untidy=self.untidy or restarted,
            ask_at=now + ASK,
        ).confirm()

    def silence(self, *, now: float) -> "Tables":
        """nginx gives no answer, or none that says how far it came: ask it."""
        return replace(self, stand=None, ask_at=now + ASK_SOON)

    def doubt(self, *, now: float) -> "Tables":
        """A push did not come to its end: what nginx has is not known any more."""
        return replace(self, stand=None, pushed=None, untidy=True, ask_at=now)

    def refuse(self, content: Content, words: str, *, now: float) -> "Tables":
        """nginx does not take a table and goes on with the one that it has."""
        before = self.refusal.marks if self.refusal is not None and content is not self.wanted else frozenset()
        return replace(self, refusal=Refusal(before | {content.mark}, words, now), untidy=True, ask_at=now)

    def take(self, content: Content, generation: Generation) -> "Tables":
        """nginx has a table now, in this generation."""
        assert self.stand is not None
        flipped = generation != self.stand.live
        return replace(
            self,
            stand=replace(self.stand, live=generation, mark=content.mark),
            pushed=content,
            anew=self.anew and not flipped,
            untidy=self.untidy or flipped,
            # A whole table that has no room is not tried again with each change, nor is one that was taken in part.
            refusal=self.refusal if (self.anew and not flipped) or content is not self.wanted else None,
        ).confirm()

    def tidy(self, *, now: float) -> "Tables":
        """The generation that does not serve is empty."""
        return replace(self, untidy=False, ask_at=now)

    def confirm(self) -> "Tables":
        """What nginx has is what is wanted, perhaps told by an agent before us."""
        if self.wanted is not None and self.stand is not None and self.stand.mark == self.wanted.mark:
            # Where it may have lost a part of that, the whole one still waits for room.
            return replace(self, pushed=self.wanted, refusal=self.refusal if self.anew else None)
        return self

    # ── What to say ──────────────────────────────────────────────────────────────────────────────────────────────────

    @property
    def files(self) -> frozenset[str]:
        """All files of certificates that are named: by what is published, and by what nginx has."""
        return files_of(self.known).union(*(each.files for each in (self.wanted, self.pushed) if each is not None))

    @property
    def version(self) -> int:
        """The resourceVersion up to which nginx has all that is published; 0 when it has nothing."""
        if self.pushed is None:
            return 0
        told, ahead = [0], []
        for each in self.known.values():
            if (
                each.version is None
                or self._is_left_over(each)
                or (each.part is not None and not each.trouble and self._is_past(each.part))
            ):
                continue
            if each.part is None or each.trouble or not self.pushed.includes(each.part):
                ahead.append(each.version)
            else:
                told.append(each.version)
        return max(0, min(ahead) - 1) if ahead else max(told)

    @property
    def trouble(self) -> str:
        """Why nginx has not what is published, empty when nothing hinders."""
        for name, each in sorted(self.known.items()):
            if each.trouble and not self._is_left_over(each):
                return f"The ConfigMap {name} is not followed: {each.trouble}"
        if self.stand is None or not self.stand.format:
            return ""
        if self.stand.format not in FORMATS:
            return f"nginx looks up tables of format {self.stand.format}; this agent knows {FORMAT}."
        if self.refusal is not None:
            return self.refusal.words
        if self.wanted is None and self.heard:
            return "The ConfigMaps with the tables are not all there." if self.known else "No table is published."
        if self.overdue:
            return (
                f"{len(self.missing)} files of certificates are missing, and the names that they are for get what they "
                "had before: the Secrets that bring them to the pods don't hold them, or the agent may not read these."
            )
        return ""

    def _is_left_over(self, known: Known) -> bool:
        """Whether a ConfigMap is none of what the present leader writes: it has put its epoch on all of that. A later
        release may have left it, whose tables have parts of kinds that we and the leader don't know."""
        if known.part is not None:
            return False
        return known.epoch < max((each.part.epoch for each in self.known.values() if each.part is not None), default=0)

    def _is_past(self, part: Part) -> bool:
        """Whether a part says nothing, and is none of the table: it is left from when there were more of them."""
        assert self.pushed is not None
        return not part.lines and part.place not in self.pushed.parts


@dataclass(frozen=True, slots=True)
class Ask:
    """Ask nginx what it has."""


@dataclass(frozen=True, slots=True)
class Change:
    """Make one table of another, in the generation that serves."""

    generation: Generation
    old: Content
    new: Content


@dataclass(frozen=True, slots=True)
class Push:
    """Tell a whole table, in the generation that does not serve, and let that one serve."""

    generation: Generation
    content: Content


@dataclass(frozen=True, slots=True)
class Clear:
    """Empty the generation that does not serve."""

    generation: Generation


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing to do for so many seconds, unless something changes."""

    seconds: float


def decide(tables: Tables, *, now: float) -> Ask | Change | Push | Clear | Wait:
    """What to do next. What is new goes first."""
    stand = tables.stand
    if stand is not None and stand.format in FORMATS and tables.wanted is not None:
        other: Generation = "b" if stand.live == "a" else "a"
        wanted = tables.wanted
        refusal = tables.refusal if tables.refusal is not None and now < tables.refusal.at + REST else None
        if tables.pushed is None and tables.missing and not tables.overdue:
            return Wait(PATIENCE)
        if (tables.anew or tables.pushed is None) and refusal is None:
            return Push(other, wanted)
        pushed = tables.pushed
        if pushed is not None and pushed is not wanted and stand.live:
            refused = refusal.marks if refusal is not None else frozenset()
            if wanted.mark not in refused:
                return Change(stand.live, pushed, wanted)
            possible = pushed.with_endpoints_of(wanted)
            if possible.mark not in {pushed.mark, *refused}:
                return Change(stand.live, pushed, possible)
        if tables.untidy and (tables.pushed is not None or refusal is not None):
            return Clear(other)
    pause = tables.ask_at - now
    return Wait(pause) if pause > 0 else Ask()


def _with_files(part: Part, held: Mapping[str, Line], files: frozenset[str]) -> Part:
    """A part with certificates, where names whose files are not there have what ``held`` has for them."""
    lines: dict[str, Line] = {}
    for text, line in part.lines.items():
        if files.issuperset(line.files):
            lines[text] = line
            continue
        for key in line.entries:
            known = held.get(key)
            if known is not None and files.issuperset(known.files):
                lines[f"{key} {known.entries[key]}"] = line_of({key: known.entries[key]}, known.files)
    return replace(part, lines=lines, number=sum(line.number for line in lines.values()) % MODULUS)


def _whole(parts: list[Part]) -> Mapping[Place, Part] | None:
    """The parts of a table; None while one is missing. Of how many there are says the first of each family; of
    certificates there may be none."""
    places = {part.place: part for part in parts}
    found: dict[Place, Part] = {}
    families = {HOSTS, GROUPS, *(family for family, _ in places)}
    for family in sorted(families):
        first = places.get((family, 0))
        if first is None:
            return None
        for index in range(first.count):
            part = places.get((family, index))
            if part is None or part.count != first.count:
                return None
            found[part.place] = part
    return found
