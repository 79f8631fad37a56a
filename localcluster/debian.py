"""Debian packages that the cluster needs, and the machine's own package mirror."""

import os
from collections.abc import Iterable
from pathlib import Path

from localcluster.errors import ClusterError
from localcluster.processes import run
from localcluster.progress import step

PACKAGES = (
    "buildah",
    "ca-certificates",
    "conntrack",
    "containerd",
    "containernetworking-plugins",
    "debian-archive-keyring",
    "etcd-server",
    "gcc",
    "iproute2",
    "iptables",
    "libc6-dev",
    "mmdebstrap",
    "mount",
    "openssl",
    "python3-venv",
    "runc",
    "util-linux",
)
# Debian starts these at once; the cluster runs its own.
_SERVICES = {"containerd": "containerd.service", "etcd-server": "etcd.service"}


def parse_installed(listing: str) -> set[str]:
    """The packages that `dpkg-query -W -f '${db:Status-Abbrev} ${Package}\\n'` calls installed."""
    lines = (line.split() for line in listing.splitlines())
    return {fields[-1] for fields in lines if len(fields) >= 2 and fields[0].startswith("ii")}


def ensure_packages(wanted: Iterable[str] = PACKAGES) -> None:
    """Installs by apt what is missing, and nothing else."""
    try:
        listing = run(["dpkg-query", "-W", "-f", "${db:Status-Abbrev} ${Package}\n"], what="Listing Debian packages")
    except ClusterError as error:
        raise ClusterError(f"The local cluster needs a Debian machine. {error}") from None
    missing = sorted(set(wanted) - parse_installed(listing))
    if not missing:
        return
    if os.geteuid() != 0:
        raise ClusterError(f"These Debian packages are missing; install them as root: {' '.join(missing)}")
    environment = {"DEBIAN_FRONTEND": "noninteractive"}
    with step(f"Installing {len(missing)} Debian packages", hint="a minute or two: " + " ".join(missing)):
        run(["apt-get", "update", "-q"], what="apt-get update", env=environment)
        run(
            ["apt-get", "install", "-q", "-y", "--no-install-recommends", *missing],
            what="apt-get install",
            env=environment,
        )
        services = [_SERVICES[package] for package in missing if package in _SERVICES]
        if services and Path("/run/systemd/system").exists():
            run(["systemctl", "disable", "--now", *services], what="Stopping the services of the new packages")


def parse_mirror(targets: str) -> str:
    """The main Debian mirror in lines of "ORIGIN RELEASE URI", or "" when there is none.

    Security and update suites have their own addresses and are passed over.
    """
    for line in targets.splitlines():
        origin, _, rest = line.partition(" ")
        release, _, address = rest.partition(" ")
        if origin == "Debian" and "-" not in release and "/" not in release and address:
            return address
    return ""


def mirror() -> str:
    """The address of the Debian mirror that this machine's apt uses."""
    arguments = ["--format", "$(ORIGIN) $(RELEASE) $(REPO_URI)", "Created-By: Packages"]
    found = parse_mirror(run(["apt-get", "indextargets", *arguments], what="Reading apt's configuration"))
    if not found:
        # A fresh machine may have no package lists yet, and then apt doesn't know whose repository it is.
        run(["apt-get", "update", "-q"], what="apt-get update")
        found = parse_mirror(run(["apt-get", "indextargets", *arguments], what="Reading apt's configuration"))
    if not found:
        raise ClusterError("apt names no Debian mirror on this machine, so that no base image can be made.")
    return found
