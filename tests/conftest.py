"""What holds for all tests."""

from collections.abc import AsyncIterator

import pytest
from hypothesis import HealthCheck, settings

from tests.support.backend import Backend, running_backend

# How long an example takes, or to think of one, depends on what else the machine does, and is for benchmarks to tell.
settings.register_profile("wsroute", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("wsroute")


@pytest.fixture
async def backend() -> AsyncIterator[Backend]:
    """A WebSocket backend."""
    async with running_backend() as started:
        yield started


@pytest.fixture
async def other() -> AsyncIterator[Backend]:
    """A second one."""
    async with running_backend() as started:
        yield started
