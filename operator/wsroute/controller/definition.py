"""Whether a route that is not there was deleted: what the routes' CustomResourceDefinition says about it. Pure.

Whoever deletes the definition deletes every route with it, and nobody who does so by accident means that. So routes
that went with their definition go on being served, until one with another uid is there and an admin agrees to begin
anew with it, by an annotation of the definition that names that uid. Routes that are made anew are followed at once.

The uid of the definition whose routes are served stands on the ConfigMap with the version in force, so that a fresh
operator, which finds no routes, knows that these are not all.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

NAME: Final = "websocketroutes.wsroute.dev"

ACCEPT_ANNOTATION: Final = "wsroute.dev/accept-uid"
"""On the definition: its own uid, to say that the routes of an older one may go."""


@dataclass(frozen=True, slots=True)
class Definition:
    """The definition as it was at one resourceVersion. ``uid`` is empty when there was none."""

    version: int
    uid: str = ""
    terminating: bool = False
    accepted: str = ""


def parse_definition(raw: Mapping[str, Any], *, version: int) -> Definition:
    """Read a CustomResourceDefinition; whatever it holds, it reads as something."""
    metadata = raw.get("metadata")
    fields: Mapping[str, Any] = metadata if isinstance(metadata, Mapping) else {}
    annotations = fields.get("annotations")
    accepted = annotations.get(ACCEPT_ANNOTATION) if isinstance(annotations, Mapping) else ""
    uid = fields.get("uid")
    return Definition(
        version,
        uid=uid if isinstance(uid, str) else "",
        terminating="deletionTimestamp" in fields,
        accepted=accepted if isinstance(accepted, str) else "",
    )


@dataclass(frozen=True, slots=True)
class Trust:
    """What is known of the definition, and the uid of the one whose routes we know, empty before the first look.

    Where definitions may not be read there is no such uid, and routes are taken as they come.
    """

    seen: Definition | None = None
    trusted: str = ""
    readable: bool = True

    def look(self, seen: Definition) -> "Trust":
        """The definition is like this; an older look than the last one changes nothing."""
        if self.seen is not None and seen.version < self.seen.version:
            return self
        stands = seen.uid != "" and not seen.terminating
        ours = stands and (self.trusted == "" or seen.accepted == seen.uid)
        return Trust(seen, seen.uid if ours else self.trusted)

    @property
    def known(self) -> bool:
        """Whether there was a first look, or there can be none."""
        return self.seen is not None or not self.readable

    def means(self, other: "Trust") -> bool:
        """Whether it says the same, at whatever resourceVersion."""
        if self.seen is None or other.seen is None:
            return self == other
        return self == replace(other, seen=replace(other.seen, version=self.seen.version))

    def refused(self) -> "Trust":
        """Definitions may not be read. Those that were read before still count."""
        return replace(self, readable=False)

    @property
    def _unguarded(self) -> bool:
        return not self.readable and not self.trusted

    @property
    def vouches(self) -> bool:
        """Whether a route that is not there was deleted by itself."""
        if self.seen is None:
            return self._unguarded
        return self.trusted != "" and self.seen.uid == self.trusted and not self.seen.terminating

    def knows(self, recorded: str) -> bool:
        """Whether the routes that we know replace those of a version in force with this uid on it."""
        if recorded in ("", self.trusted) or self._unguarded:
            return True
        return self.seen is not None and self.trusted == self.seen.uid == self.seen.accepted

    def explain(self) -> str:
        """What to say while routes are held, empty when none are."""
        if self.seen is None or self.vouches:
            return ""
        found = self.seen
        if not found.uid or found.terminating:
            return (
                f"The CustomResourceDefinition {NAME} is gone, and all routes with it. They go on being served. "
                "Install it again and apply the routes."
            )
        return f"{_made_anew(found)} {_what_to_do(found)}"

    def explain_freeze(self) -> str:
        """What to say of a balancer whose version in force holds routes that we never knew."""
        found = self.seen
        if found is None or not found.uid or found.terminating:
            return (
                f"The CustomResourceDefinition {NAME} is gone, and all routes with it. The pods go on serving what "
                "they serve, and nothing changes. Install it again and apply the routes."
            )
        return (
            f"{_made_anew(found)} The operator has started since and does not know them, so that the pods serve the "
            f"last version and nothing changes. {_what_to_do(found)}"
        )


NO_DEFINITION: Final = Trust(readable=False)
"""Where there are no definitions to look at, as in a folder: routes are taken as they come."""


def _made_anew(found: Definition) -> str:
    return (
        f"The CustomResourceDefinition {NAME} was deleted and made anew (uid {found.uid}), and its routes went with "
        "it. Those that are missing go on being served."
    )


def _what_to_do(found: Definition) -> str:
    return (
        "Apply the routes again. When all that you want are there, say so: "
        f"kubectl annotate --overwrite crd {NAME} {ACCEPT_ANNOTATION}={found.uid}"
    )
