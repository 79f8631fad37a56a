"""Both data planes for the tests of what a client gets."""

from collections.abc import Iterator

import pytest

from tests.support.nginx_runner import CHOSEN


@pytest.fixture(params=["Static", "Dynamic"])
def data_plane(request: pytest.FixtureRequest) -> Iterator[str]:
    """The name of the data plane by which ``running_nginx`` serves a configuration."""
    CHOSEN.dynamic = request.param == "Dynamic"
    yield request.param
    CHOSEN.dynamic = False
