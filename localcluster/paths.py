"""Where things are kept, outside the work tree: a cache (binaries, images) and a state folder for each cluster."""

import hashlib
import os
import re
from dataclasses import dataclass
from pathlib import Path

from localcluster.errors import ClusterError

REPOSITORY = Path(__file__).resolve().parent.parent
"""The root of the work tree."""

_NAME = re.compile(r"[a-z]([a-z0-9-]{0,18}[a-z0-9])?", re.ASCII)
_UNIX_SOCKET_LIMIT = 107


def cache_dir() -> Path:
    """The folder for what can be made again: ``$WSROUTE_CACHE``, else ``~/.cache/wsroute``."""
    named = os.environ.get("WSROUTE_CACHE")
    return Path(named).absolute() if named else Path.home() / ".cache" / "wsroute"


def state_root() -> Path:
    """The folder of all clusters: ``$WSROUTE_STATE``, else ``/var/lib/wsroute`` for root, else below the home."""
    named = os.environ.get("WSROUTE_STATE")
    if named:
        return Path(named).absolute()
    return Path("/var/lib/wsroute") if os.geteuid() == 0 else Path.home() / ".local" / "state" / "wsroute"


@dataclass(frozen=True, slots=True)
class ClusterPaths:
    """Every path of one cluster; nothing is created by asking for it."""

    root: Path

    @property
    def name(self) -> str:
        """The cluster's name."""
        return self.root.name

    @property
    def state_file(self) -> Path:
        """What is running, as JSON (:class:`localcluster.state.ClusterState`)."""
        return self.root / "state.json"

    @property
    def components_file(self) -> Path:
        """What the supervisor says about each component, as JSON."""
        return self.root / "components.json"

    @property
    def images_file(self) -> Path:
        """Which digest of each image containerd holds, as JSON."""
        return self.root / "images.json"

    @property
    def spec_file(self) -> Path:
        """What the supervisor has to run, as JSON."""
        return self.root / "supervisor.json"

    @property
    def pki(self) -> Path:
        """Keys and certificates."""
        return self.root / "pki"

    @property
    def conf(self) -> Path:
        """The components' configuration files."""
        return self.root / "conf"

    @property
    def logs(self) -> Path:
        """One log per component."""
        return self.root / "logs"

    @property
    def containerd_socket(self) -> Path:
        """containerd's address."""
        return self.root / "ctd.sock"

    @property
    def kubeconfig(self) -> Path:
        """The administrator's kubeconfig for processes on the host (through the relay on its loopback)."""
        return self.root / "kubeconfig"

    @property
    def inside_kubeconfig(self) -> Path:
        """The administrator's kubeconfig for processes inside the namespace."""
        return self.root / "kubeconfig.inside"

    @property
    def namespace_prefix(self) -> str:
        """How the network namespaces of all runs of this cluster begin; the hash tells state folders apart."""
        digest = hashlib.sha256(str(self.root.parent).encode()).hexdigest()[:4]
        return f"wsr-{self.name}-{digest}-"


def cluster_paths(name: str) -> ClusterPaths:
    """The paths of the cluster called `name`; raises ClusterError for a name that could leave the state folder."""
    if not _NAME.fullmatch(name):
        raise ClusterError(
            f"The cluster name {name!r} is not usable: take up to 20 of a-z, 0-9 and '-', beginning with a letter "
            f"and not ending with '-'."
        )
    paths = ClusterPaths(root=state_root() / name)
    if len(str(paths.containerd_socket)) > _UNIX_SOCKET_LIMIT:
        raise ClusterError(f"{paths.root} is too long for Unix sockets; set WSROUTE_STATE to a shorter folder.")
    return paths


def cluster_names() -> list[str]:
    """The names of all clusters that have a state file, sorted."""
    return sorted(file.parent.name for file in state_root().glob("*/state.json"))
