"""The script of the init container in `deploy/balancer-restart`: which file a pod takes, and that it is tested."""

import gzip
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

DEPLOYMENT = Path(__file__).parents[3] / "deploy" / "balancer-restart" / "deployment.yaml"
OLD, NEW = "0123456789ab", "ba9876543210"


def text_of(version: str) -> str:
    """As much of a file as the script looks at."""
    return f'location = /version {{ return 200 "{version}"; }}\n'


class Pod:
    """The volumes of a pod as folders, with programs of a test's own before those of the machine."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.in_force, self.last_good = folder / "published/in-force", folder / "published/last-good"
        self.conf, self.run, self.programs = folder / "etc/nginx-generated", folder / "run/wsroute", folder / "bin"
        for each in (self.in_force, self.last_good, self.conf, self.run, self.programs):
            each.mkdir(parents=True)
        # nginx takes a file of the version in force, and leaves a note of what it was asked.
        self.program("nginx", f'echo "$@" >> {folder}/asked; grep -q broken "$5" && echo "no" >&2 && exit 1; exit 0')
        self.program("sleep", "exit 9")  # nothing has to be waited for, unless a test says so

    def program(self, name: str, script: str) -> None:
        path = self.programs / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    def start(self, version: str) -> subprocess.CompletedProcess[str]:
        container: dict[str, Any] = yaml.safe_load(DEPLOYMENT.read_text())["spec"]["template"]["spec"]
        [init] = container["initContainers"]
        script = init["args"][0]
        for path in ("/published", "/etc/nginx-generated", "/run/wsroute"):
            script = script.replace(path, f"{self.folder}{path}")
        environment = {"VERSION": version, "PATH": f"{self.programs}:/usr/bin:/bin"}
        return subprocess.run(
            [*init["command"], script], env=environment, capture_output=True, text=True, timeout=30, check=False
        )

    @property
    def taken(self) -> str | None:
        """The file that nginx will start with."""
        path = self.conf / "nginx.conf"
        return path.read_text() if path.exists() else None


@pytest.fixture
def pod(tmp_path: Path) -> Pod:
    return Pod(tmp_path)


def test_a_pod_takes_its_own_version_from_either_volume(pod: Pod) -> None:
    (pod.in_force / "nginx.conf").write_text(text_of(NEW))
    (pod.last_good / "nginx.conf").write_text(text_of(OLD))
    for version in (NEW, OLD):
        assert pod.start(version).returncode == 0
        assert pod.taken == text_of(version)
        assert f"-t -c {pod.conf}/{version}.conf" in (pod.folder / "asked").read_text()
    assert (pod.run / "tmp").is_dir()


def test_a_compressed_file_is_unpacked(pod: Pod) -> None:
    (pod.in_force / "nginx.conf.gz").write_bytes(gzip.compress(text_of(NEW).encode()))
    assert pod.start(NEW).returncode == 0
    assert pod.taken == text_of(NEW)


def test_a_pod_waits_until_its_version_is_there(pod: Pod) -> None:
    (pod.in_force / "nginx.conf").write_text(text_of(OLD))
    pod.program("sleep", f"printf '%s' '{text_of(NEW)}' > {pod.in_force}/nginx.conf")
    assert pod.start(NEW).returncode == 0
    assert (pod.taken or "").strip() == text_of(NEW).strip()


@pytest.mark.parametrize("version", [NEW, ""])
def test_a_pod_without_a_file_of_its_version_never_starts(pod: Pod, version: str) -> None:
    (pod.in_force / "nginx.conf").write_text(text_of(OLD))
    pod.program("sleep", "exit 0")
    ended = pod.start(version)
    assert ended.returncode == 1
    assert f"No ConfigMap holds version '{version}'" in ended.stderr
    assert pod.taken is None


def test_a_file_that_nginx_refuses_is_not_left_to_start_with(pod: Pod) -> None:
    (pod.in_force / "nginx.conf").write_text(text_of(NEW) + "broken;\n")
    ended = pod.start(NEW)
    assert (ended.returncode, ended.stderr) == (1, "no\n")
    assert pod.taken is None


def test_the_operator_may_patch_this_deployment_and_no_other() -> None:
    role, binding = yaml.safe_load_all(DEPLOYMENT.with_name("rbac.yaml").read_text())
    name = yaml.safe_load(DEPLOYMENT.read_text())["metadata"]["name"]
    assert role["rules"] == [
        {"apiGroups": ["apps"], "resources": ["deployments"], "resourceNames": [name], "verbs": ["patch"]}
    ]
    assert binding["roleRef"]["name"] == role["metadata"]["name"]
