"""What is running, as a file: written before anything starts, so that a crashed run can be cleaned up."""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from localcluster.processes import ProcessId


@dataclass(frozen=True, slots=True)
class Relay:
    """A background relay: from `listen` on the host to `to` in the namespace, both "ADDRESS:PORT"."""

    process: ProcessId
    listen: str
    to: str


@dataclass(frozen=True, slots=True)
class ClusterState:
    """One run of a cluster.

    `namespace` is the network namespace's name, `cgroup` the pods' cgroup, `init` the process whose end is the end of
    everything (PID 1 of the cluster's PID namespace), `complete` whether the start went through to its end.
    """

    namespace: str
    cgroup: str
    binaries: str
    api_port: int = 0
    init: ProcessId | None = None
    complete: bool = False
    relays: tuple[Relay, ...] = ()


def to_json(state: ClusterState) -> str:
    """The text of a state file."""
    return json.dumps(asdict(state), indent=1)


def from_json(text: str) -> ClusterState:
    """The state that a file's text holds; raises ValueError, KeyError or TypeError for anything else."""
    raw: dict[str, Any] = json.loads(text)
    init = raw.pop("init")
    relays = raw.pop("relays")
    return ClusterState(
        **raw,
        init=ProcessId(**init) if init else None,
        relays=tuple(
            Relay(process=ProcessId(**relay["process"]), listen=relay["listen"], to=relay["to"]) for relay in relays
        ),
    )


def write_atomically(path: Path, text: str) -> None:
    """Replaces a file as a whole; readers see the old text or the new one. Only the owner may read it."""
    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    scratch.touch(mode=0o600)
    scratch.write_text(text)
    scratch.rename(path)


def save(path: Path, state: ClusterState) -> None:
    """Writes a state file."""
    write_atomically(path, to_json(state))


def load(path: Path) -> ClusterState | None:
    """Reads a state file; None when there is none or when it is not one of ours."""
    try:
        return from_json(path.read_text())
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None


def update(path: Path, **changes: Any) -> ClusterState:
    """Changes some fields of the state file that is there and returns the new state."""
    state = load(path)
    if state is None:
        raise FileNotFoundError(path)
    changed = replace(state, **changes)
    save(path, changed)
    return changed


def load_mapping(path: Path) -> Mapping[str, Any]:
    """Reads a small JSON object; an empty one when there is no such file."""
    try:
        found = json.loads(path.read_text())
    except (FileNotFoundError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
