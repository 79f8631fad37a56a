"""Which manifests of a changing folder are in force: a change that breaks something is not taken. Pure.

A folder is a mapping from a file's name to its text. A file that can't be read as manifests, or whose change would make
an object invalid that the ones in force do not complain of, leaves what that file said before in force.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from wsroute.cli.manifests import ManifestError, parse_file
from wsroute.cli.offline import Outcome, evaluate

Files = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class FolderState:
    """``files`` are the texts in force, ``outcome`` what they come to, ``messages`` what was not taken, and why."""

    files: Files = field(default_factory=dict)
    outcome: Outcome | None = None
    messages: tuple[str, ...] = ()


def take(state: FolderState, found: Files) -> FolderState:
    """The state after a look at the folder: with all changes if they are good together, else with each good one."""
    if state.outcome is not None and found == state.files:
        return FolderState(files=state.files, outcome=state.outcome)
    accepted, _ = _try(state, found)
    if accepted is not None:
        return accepted
    messages: list[str] = []
    for name in sorted({*found, *state.files}):
        if found.get(name) == state.files.get(name):
            continue
        candidate = {key: text for key, text in {**state.files, name: found.get(name)}.items() if text is not None}
        accepted, refusal = _try(state, candidate)
        if accepted is None:
            messages += refusal
        else:
            state = accepted
    return FolderState(files=state.files, outcome=state.outcome, messages=tuple(messages))


def _try(state: FolderState, files: Files) -> tuple[FolderState | None, list[str]]:
    """The state with these files in force, or None and why not."""
    try:
        outcome = evaluate([manifest for name, text in files.items() for manifest in parse_file(name, text)])
    except ManifestError as error:
        return None, [str(error)]
    known = {finding.text for finding in state.outcome.fatal} if state.outcome else set()
    broken = [finding for finding in sorted(outcome.fatal) if finding.text not in known]
    if broken:
        return None, [str(finding) for finding in broken]
    return FolderState(files=files, outcome=outcome), []
