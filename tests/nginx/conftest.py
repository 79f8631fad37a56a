"""Which data plane the tests of what a client gets are about: both, or Dynamic."""

from collections.abc import Iterator

import pytest

from tests.support.nginx_runner import CHOSEN


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
