"""The switch that writes the expected files anew: ``pytest tests/golden --regen``."""

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--regen", action="store_true", help="write the expected nginx.conf files instead of comparing")


@pytest.fixture
def regenerate(request: pytest.FixtureRequest) -> bool:
    """Shall the expected file be written instead of compared?"""
    return bool(request.config.getoption("--regen", default=False))
