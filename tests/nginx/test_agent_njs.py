"""The start script and njs, which is built into one nginx, a module's file beside another, and missing in a third."""

from pathlib import Path

import pytest

from tests.support.backend import running_backend
from tests.support.balancer_pod import BalancerPod, balancer_pod, load
from tests.support.nginx_runner import nginx_modules
from tests.support.ports import free_ports
from tests.support.waiting import wait_until
from wsroute.balancer.applier import Applied
from wsroute.dataplane.acknowledgement import Failure
from wsroute.dataplane.requirements import DYNAMIC

pytestmark = pytest.mark.nginx

VERSION = "0123456789ab"


def with_njs(pod: BalancerPod) -> str:
    """A configuration that needs njs and does not load it: its workers answer with their version by a script's word."""
    (pod.run / "version.js").write_text(f"export default {{tell: r => r.return(200, '{VERSION}')}};")
    first = (pod.conf / "bootstrap.conf").read_text()
    spoken = 'return 200 "bootstrap";'
    assert spoken in first
    return first.replace(spoken, "js_content version.tell;").replace(
        "http {", f"http {{\n    js_import version from {pod.run}/version.js;"
    )


async def test_a_configuration_with_njs_is_the_same_whether_njs_is_built_in_or_a_file(pod: BalancerPod) -> None:
    pod.applier.stage(VERSION, f"# It needs {DYNAMIC}.\n{with_njs(pod)}")
    wait_until(lambda: pod.applier.njs_version() != "", "the version of njs is there")
    result = await pod.applier.apply(VERSION)
    assert isinstance(result, Applied), f"{result} {pod.words()}"
    assert await pod.applier.running() == VERSION


def test_njs_tells_its_version_and_leaves_nothing_behind(pod: BalancerPod) -> None:
    wait_until(lambda: pod.applier.njs_version() != "", "the version of njs is there")
    assert pod.applier.njs_version().count(".") == 2
    wait_until(lambda: not (pod.run / "njs.pid").exists(), "the nginx that told it has ended")


async def test_without_the_module_s_file_all_else_works(tmp_path: Path) -> None:
    if nginx_modules() is None:
        pytest.skip("njs is built into this nginx")
    [port] = free_ports(1)
    with balancer_pod(modules=tmp_path) as pod:
        async with running_backend() as backend:
            await load(pod, port, backend)
        assert pod.applier.njs_version() == "0"
        pod.applier.stage(VERSION, with_njs(pod))
        failure = await pod.applier.apply(VERSION)
        assert isinstance(failure, Failure)
        assert 'unknown directive "js_import"' in failure.message
