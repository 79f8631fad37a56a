"""The cgroup below which a cluster's pods run, on either cgroup version.

Each cluster has its own: a kubelet removes pod cgroups that it does not know, those of a neighbour too.
"""

import contextlib
import os
from pathlib import Path

_ROOT = Path("/sys/fs/cgroup")
_CONTROLLERS = frozenset({"cpu", "cpuset", "hugetlb", "io", "memory", "pids"})


def _unified() -> bool:
    return (_ROOT / "cgroup.controllers").exists()


def _hierarchies() -> list[Path]:
    if _unified():
        return [_ROOT]
    # Names such as `cpu` may be links to a joint hierarchy (`cpu,cpuacct`).
    return [path for path in sorted(_ROOT.iterdir()) if path.is_dir() and not path.is_symlink()]


def create(cgroup: str) -> None:
    """Makes the cgroup `cgroup` ("/NAME") in every hierarchy, ready for a kubelet to make others in it."""
    for hierarchy in _hierarchies():
        folder = hierarchy / cgroup.lstrip("/")
        folder.mkdir(exist_ok=True)
        if _unified():
            there = (hierarchy / "cgroup.controllers").read_text().split()
            enable = " ".join(f"+{controller}" for controller in there if controller in _CONTROLLERS)
            for parent in (hierarchy, folder):
                (parent / "cgroup.subtree_control").write_text(enable)
        elif (folder / "cpuset.cpus").exists():
            # In version 1 a new cpuset is empty, and no process fits into an empty set.
            for name in ("cpuset.cpus", "cpuset.mems"):
                (folder / name).write_text((hierarchy / name).read_text())


def remove(cgroup: str) -> None:
    """Removes the cgroup and all below it; what still holds a process stays."""
    for hierarchy in _hierarchies():
        folder = hierarchy / cgroup.lstrip("/")
        for inner, _, _ in os.walk(folder, topdown=False):
            with contextlib.suppress(OSError):
                Path(inner).rmdir()


def leftovers(prefix: str) -> list[str]:
    """The cgroups whose path begins with `prefix`."""
    return sorted(
        {f"/{path.name}" for hierarchy in _hierarchies() for path in hierarchy.glob(f"{prefix.lstrip('/')}*")}
    )
