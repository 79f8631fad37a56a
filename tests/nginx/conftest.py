"""Which data plane the tests of what a client gets are about: both, or Dynamic; and pods for those of the agent."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.balancer_pod import SHELLS, BalancerPod, balancer_pod
from tests.support.configurations import configuration
from tests.support.dynamic import shell_of
from tests.support.nginx_runner import CHOSEN, Nginx, running_file
from tests.support.ports import free_ports


@pytest.fixture(params=["Static", "Dynamic"])
def data_plane(request: pytest.FixtureRequest) -> Iterator[str]:
    """The name of the data plane by which ``running_nginx`` serves a configuration."""
    CHOSEN.dynamic = request.param == "Dynamic"
    yield request.param
    CHOSEN.dynamic = False


@pytest.fixture
def dynamic() -> Iterator[None]:
    """``running_nginx`` serves a configuration by the Dynamic data plane."""
    CHOSEN.dynamic = True
    yield
    CHOSEN.dynamic = False


@pytest.fixture(params=SHELLS, ids=lambda shell: Path(shell[0]).name)
def pod(request: pytest.FixtureRequest) -> Iterator[BalancerPod]:
    """A pod in which nothing was loaded yet, under each shell."""
    with balancer_pod(shell=request.param) as started:
        yield started


@pytest.fixture
def certified_pod() -> Iterator[BalancerPod]:
    """A pod with the folder in which the agent leaves certificates."""
    with balancer_pod() as started:
        Path(started.paths.certificates).mkdir()
        yield started


@pytest.fixture
def nginx() -> Iterator[Nginx]:
    """One of the Dynamic data plane that has no table yet."""
    [port] = free_ports(1)
    with running_file(shell_of(configuration(port=port))) as running:
        yield running
