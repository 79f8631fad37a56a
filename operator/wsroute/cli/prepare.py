"""``wsroute prepare``: what a balancer pod's init container puts beside nginx."""

from pathlib import Path

from wsroute.balancer.applier import start_script
from wsroute.nginx.paths import POD_OPTIONS, POD_PATHS
from wsroute.nginx.render import bootstrap


def prepare(folder: Path) -> int:
    """Write the start script and the configuration from before the first version; returns the exit code."""
    (folder / "start.sh").write_text(start_script(), encoding="utf-8")
    (folder / "bootstrap.conf").write_text(bootstrap(POD_PATHS, options=POD_OPTIONS), encoding="utf-8")
    return 0
