"""What a bound is held against: the time that the machine gave."""

from pathlib import Path

import pytest

from tests.support import waiting
from tests.support.stack import NotYetError, eventually
from tests.support.waiting import PATIENCE, Stopwatch, until, until_async, wait_until


class Machine:
    """Time that goes by at a word."""

    def __init__(self, pressure: Path) -> None:
        self.pressure = pressure
        self.now, self.waited = 1000.0, 50.0

    def go_by(self, seconds: float, *, starved: float) -> None:
        """Let seconds go by, in some of which somebody waits for a processor."""
        self.now += seconds
        self.waited += starved
        total = round(self.waited * 1e6)
        self.pressure.write_text(f"some avg10=0.19 avg60=1.00 avg300=0.00 total={total}\nfull avg10=0.00 total=7\n")


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Machine:
    found = Machine(tmp_path / "cpu")
    monkeypatch.setattr(waiting, "PRESSURE", found.pressure)
    monkeypatch.setattr("tests.support.waiting.time.monotonic", lambda: found.now)
    found.go_by(0, starved=0)
    return found


def test_only_the_seconds_in_which_nobody_waited_for_a_processor_count(machine: Machine) -> None:
    watch = Stopwatch()
    machine.go_by(4.0, starved=1.0)
    assert (watch.elapsed, watch.starved) == (4.0, 1.0)
    assert not watch.is_over(3.5)
    assert watch.is_over(2.5)


def test_on_a_machine_that_is_busy_all_the_time_a_bound_ends_as_well(machine: Machine) -> None:
    watch = Stopwatch()
    machine.go_by(PATIENCE * 2.0, starved=PATIENCE * 2.0)
    assert not watch.is_over(2.0)
    machine.go_by(0.1, starved=0.1)
    assert watch.is_over(2.0)


@pytest.mark.parametrize("content", [None, "", "some avg10=0.00\n", "full avg10=0.00 total=9\n"])
def test_where_the_kernel_does_not_tell_all_seconds_count(machine: Machine, content: str | None) -> None:
    if content is None:
        machine.pressure.unlink()
    else:
        machine.pressure.write_text(content)
    watch = Stopwatch()
    machine.now += 2.0
    assert (watch.elapsed, watch.starved) == (2.0, 0.0)


async def test_what_does_not_come_is_named() -> None:
    with pytest.raises(AssertionError, match="in vain for a thing"):
        await until(lambda: False, seconds=0.001, what="for a thing")

    async def never() -> bool:
        return False

    with pytest.raises(AssertionError, match="in vain for a thing"):
        await until_async(never, seconds=0.001, what="for a thing")
    with pytest.raises(AssertionError, match="in vain: a thing"):
        wait_until(lambda: False, "a thing", seconds=0.001)


async def test_what_comes_too_late_does_not_count(machine: Machine) -> None:
    async def late() -> bool:
        machine.go_by(9.0, starved=1.0)
        return True

    assert await until_async(late, seconds=8.0) == 9.0
    with pytest.raises(AssertionError, match=r"waited 9\.0 s in vain for a thing"):
        await until_async(late, seconds=7.5, what="for a thing")
    with pytest.raises(NotYetError, match=r"only after 9\.0 s"):
        await eventually(late, within=7.5)
    assert await eventually(late, within=8.0)
