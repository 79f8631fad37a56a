"""``CLUSTER=current``: the same tests on the cluster that KUBECONFIG names, here the local one as if a stranger's."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from localcluster import api, install

pytestmark = pytest.mark.local_cluster

ROOT = Path(__file__).parents[2]
CARD = "tests/cluster/test_card.py"


def run_tests(environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", CARD]
    return subprocess.run(command, cwd=ROOT, env=os.environ | environment, text=True, capture_output=True, timeout=900)


def test_the_tests_run_on_the_cluster_that_kubeconfig_names(local: api.Cluster) -> None:
    done = run_tests(
        {
            "CLUSTER": "current",
            "KUBECONFIG": str(local.kubeconfig),
            "PATH": f"{Path(local.program).parent}:{os.environ['PATH']}",
            "IMAGE": install.LOCAL_IMAGES[install.PROJECT_IMAGE],
            "CHAT_IMAGE": install.LOCAL_IMAGES[install.CHAT_IMAGE],
            "NGINX_IMAGE": install.LOCAL_IMAGES[install.NGINX_IMAGE],
        }
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout
    assert "skipped" not in done.stdout


def test_without_images_it_is_said_what_to_do(local: api.Cluster) -> None:
    path = f"{Path(local.program).parent}:{os.environ['PATH']}"
    done = run_tests({"CLUSTER": "current", "KUBECONFIG": str(local.kubeconfig), "PATH": path, "IMAGE": ""})
    assert done.returncode == 1
    assert "say IMAGE=… CHAT_IMAGE=…" in done.stdout
