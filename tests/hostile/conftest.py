"""Gathers what the tests show of the catalogue, and prints it as a table at the end of the run."""

from collections.abc import Generator
from typing import Final

import pytest

from tests.hostile.table import Results, key

_RESULTS: Final = pytest.StashKey[Results]()


def pytest_configure(config: pytest.Config) -> None:
    """Know the mark."""
    config.addinivalue_line("markers", "catalogue(row, column): tries a line of the catalogue of hostile input")
    config.stash[_RESULTS] = Results()


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Note which cells have tests, before any of them are deselected."""
    for item in items:
        for mark in item.iter_markers("catalogue"):
            row, column = mark.args
            config.stash[_RESULTS].expected.add((key(row), column))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Note what became of a line."""
    report = yield
    for mark in item.iter_markers("catalogue"):
        if report.when == "call" or report.failed:
            row, column = mark.args
            words = [(name, value) for name, value in report.user_properties if isinstance(value, int)]
            item.config.stash[_RESULTS].record(row, column, passed=report.passed, words=words)
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print the table."""
    results = config.stash[_RESULTS]
    if results.expected:
        terminalreporter.section("the catalogue of hostile input")
        for line in results.lines():
            terminalreporter.write_line(line)
