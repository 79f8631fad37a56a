"""Debian's newest nginx with njs as a dynamic module, as stock images have it: below the cache, run without a chroot.

`python -m localcluster.debiannginx` makes it, where it is not there yet, and prints where it is.
"""

import hashlib
import json
import platform
import shutil
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from localcluster import debian
from localcluster.errors import ClusterError
from localcluster.paths import cache_dir
from localcluster.processes import lock, run
from localcluster.progress import step

SUITE: Final = "sid"
"""The release: trixie's nginx 1.26 is older than what the Dynamic data plane needs."""

PACKAGES: Final = ("nginx", "libnginx-mod-http-js")
_TOOLS = ("debian-archive-keyring", "mmdebstrap", "patchelf")
_KEPT = 2


@dataclass(frozen=True, slots=True)
class DebianNginx:
    """`program` runs on this machine with its own C library; `modules` is the folder of its dynamic modules."""

    root: Path

    @property
    def program(self) -> Path:
        """nginx."""
        return self.root / "usr" / "sbin" / "nginx"

    @property
    def modules(self) -> Path:
        """What ``load_module`` needs by absolute path: nginx itself would look outside the root."""
        return self.root / "usr" / "lib" / "nginx" / "modules"


def folder_name(moment: float) -> str:
    """The name of the folder for a moment, in seconds since the epoch: sid moves on, so that each week has its own."""
    recipe = hashlib.sha256(json.dumps([SUITE, PACKAGES, platform.machine()]).encode()).hexdigest()[:8]
    return f"{recipe}-{time.strftime('%G-%V', time.gmtime(moment))}"


def debian_nginx() -> DebianNginx:
    """This week's nginx; makes it when it is not there. Raises ClusterError where that fails."""
    folder = cache_dir() / "debian-nginx"
    found = DebianNginx(folder / folder_name(time.time()))
    with lock(cache_dir() / "debian-nginx.lock", busy="Waiting for another process that unpacks Debian's nginx"):
        if not found.root.exists():
            debian.ensure_packages(_TOOLS)
            with step(f"Unpacking Debian {SUITE}'s nginx", hint="ten seconds"):
                _make(found)
            for old in sorted(folder.iterdir(), key=lambda path: path.stat().st_mtime)[:-_KEPT]:
                shutil.rmtree(old)
    return found


def _make(wanted: DebianNginx) -> None:
    scratch = wanted.root.with_name(f".{wanted.root.name}")
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.parent.mkdir(parents=True, exist_ok=True)
    # Unpacked, not installed: nothing of it is to be configured, and no script of the packages to be run. A mirror's
    # copy of a suite that moves daily may be late.
    run(
        [
            "mmdebstrap", "--quiet", "--mode=root", "--variant=extract", f"--include={','.join(PACKAGES)}",
            '--aptopt=Acquire::Check-Valid-Until "false"', SUITE, scratch, debian.mirror(),
        ],
        what=f"Unpacking Debian {SUITE}'s nginx with mmdebstrap",
    )  # fmt: skip
    made = DebianNginx(scratch)
    libraries = sorted((scratch / "usr" / "lib").glob("*-linux-gnu*/libc.so.6"))
    loaders = sorted((scratch / "usr" / "lib").glob("*-linux-gnu*/ld-linux*.so.*"))
    if len(libraries) != 1 or len(loaders) != 1:
        raise ClusterError(f"Debian {SUITE}'s nginx came without its C library.")
    # As a program of its own, not as an argument of the loader: a process is known by its command line.
    final = [wanted.root / file.relative_to(scratch) for file in (loaders[0], libraries[0].parent)]
    run(
        ["patchelf", "--set-interpreter", final[0], "--force-rpath", "--set-rpath", final[1], made.program],
        what="Pointing nginx to its own libraries",
    )
    scratch.rename(wanted.root)


if __name__ == "__main__":
    try:
        print(debian_nginx().root)
    except ClusterError as error:
        sys.exit(str(error))
