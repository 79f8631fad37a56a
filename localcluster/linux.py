"""Linux calls that Python 3.11 lacks."""

import ctypes
import os
from pathlib import Path

CLONE_NEWNS = 0x00020000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000
MS_NOSUID_NODEV_NOEXEC = 2 | 4 | 8
MS_REC = 0x4000
MS_SLAVE = 1 << 19

_libc = ctypes.CDLL(None, use_errno=True)


def _check(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def setns(namespace: Path, kind: int) -> None:
    """Moves the calling *thread* into a namespace, setns(2); `kind` is one of the CLONE_NEW… constants."""
    handle = os.open(namespace, os.O_RDONLY | os.O_CLOEXEC)
    try:
        _check(_libc.setns(handle, kind), f"setns to {namespace}")
    finally:
        os.close(handle)


def unshare(kinds: int) -> None:
    """Leaves the shared namespaces of these kinds, unshare(2)."""
    _check(_libc.unshare(kinds), "unshare")


def mount(source: str, target: Path, kind: str, flags: int = 0) -> None:
    """mount(2) without a data string."""
    _check(_libc.mount(source.encode(), str(target).encode(), kind.encode(), flags, None), f"mount {target}")
