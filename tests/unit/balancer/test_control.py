"""The FIFO's client against the other side's worst behaviour. (Its best is tested with the real script.)"""

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from wsroute.balancer.control import Control, ControlUnavailableError, OldWorker, Outcome, read_untrusted

VERSION = "aaaaaaaaaaaa"


class OtherSide:
    """Reads one command and does with it what a test says."""

    def __init__(self, run: Path) -> None:
        self.run = run
        (run / "results").mkdir()
        os.mkfifo(run / "control")
        self._fd = os.open(run / "control", os.O_RDWR)
        self.commands: list[list[str]] = []

    def obey(self, act: Callable[[Path], object]) -> threading.Thread:
        def work() -> None:
            words = os.read(self._fd, 4096).decode().split()
            self.commands.append(words)
            act(self.run / "results" / words[1])

        thread = threading.Thread(target=work)
        thread.start()
        return thread

    def close(self) -> None:
        os.close(self._fd)


@pytest.fixture
def other(tmp_path: Path) -> Iterator[OtherSide]:
    side = OtherSide(tmp_path)
    yield side
    side.close()


def put(path: Path, text: str) -> None:
    """Write an answer as the script does: whole or not at all."""
    put_bytes(path, text.encode())


def put_bytes(path: Path, content: bytes) -> None:
    path.with_name("new").write_bytes(content)
    path.with_name("new").replace(path)


def control(other: OtherSide) -> Control:
    return Control(other.run, deadline=5)


async def test_a_command_and_its_answer(other: OtherSide) -> None:
    thread = other.obey(lambda path: put(path, "failed\nnginx: no\n"))
    assert await control(other).test(VERSION) == Outcome(ok=False, message="nginx: no")
    thread.join()
    [[verb, identity, version]] = other.commands
    assert (verb, version) == ("test", VERSION)
    assert 8 <= len(identity) <= 40


async def test_words_are_bounded_and_plain(other: OtherSide) -> None:
    thread = other.obey(lambda path: put_bytes(path, b"ok\na\x1b[31mb\0\xff\r\n" + b"x" * 100_000))
    outcome = await control(other).load(VERSION)
    thread.join()
    assert outcome.ok
    assert outcome.message.startswith("a [31mb")
    assert len(outcome.message) <= 2000
    assert all(char.isprintable() or char == "\n" for char in outcome.message)


async def test_a_survey_is_sorted_and_lines_that_are_none_are_left_out(other: OtherSide) -> None:
    lines = "ok\n2 10 77 3\n1 20 66 0\n0 0 0 0\n1 2 3\n1 2 3 4 5\n-1 2 3 4\n1 2 3 99999999999\n\u0661 2 3 4\nx\n"
    thread = other.obey(lambda path: put(path, lines))
    assert await control(other).survey() == (OldWorker(1, 20, 66, 0), OldWorker(2, 10, 77, 3))
    thread.join()
    assert other.commands[0][0] == "survey"
    assert len(other.commands[0]) == 2


@pytest.mark.parametrize(
    ("answer", "closed"),
    [("ok\n12\n", 12), ("ok\n", 0), ("ok\n-3\n", 0), ("ok\n9999999999\n", 0), ("failed\n12\n", None), ("", None)],
)
async def test_the_number_of_sockets_that_ended_with_a_worker(
    other: OtherSide, answer: str, closed: int | None
) -> None:
    thread = other.obey(lambda path: put(path, answer))
    assert await control(other).retire(4711) == closed
    thread.join()
    [[verb, _, pid]] = other.commands
    assert (verb, pid) == ("retire", "4711")


async def test_a_link_is_not_followed(other: OtherSide, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("ok\nsecret")
    thread = other.obey(lambda path: path.symlink_to(tmp_path / "token"))
    with pytest.raises(ControlUnavailableError) as error:
        await control(other).load(VERSION)
    thread.join()
    assert "secret" not in str(error.value)


async def test_a_linked_folder_is_not_followed(other: OtherSide, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()

    def swap(path: Path) -> None:
        (elsewhere / path.name).write_text("ok\n")
        path.parent.rmdir()
        path.parent.symlink_to(elsewhere)

    thread = other.obey(swap)
    with pytest.raises(ControlUnavailableError):
        await control(other).load(VERSION)
    thread.join()


async def test_a_fifo_in_place_of_an_answer_does_not_hold_us_up(other: OtherSide) -> None:
    thread = other.obey(os.mkfifo)
    with pytest.raises(ControlUnavailableError):
        await control(other).load(VERSION)
    thread.join()


async def test_no_answer_in_time(other: OtherSide) -> None:
    with pytest.raises(ControlUnavailableError, match=r"did not answer within 0\.05 s"):
        await Control(other.run, deadline=0.05).load(VERSION)


async def test_nobody_reads(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "control")
    with pytest.raises(ControlUnavailableError, match="has no reader"):
        await Control(tmp_path).load(VERSION)


async def test_a_full_fifo_does_not_hold_us_up(other: OtherSide) -> None:
    fd = os.open(other.run / "control", os.O_WRONLY | os.O_NONBLOCK)
    try:
        with suppress(BlockingIOError):
            while True:
                os.write(fd, b"\n" * 4096)
    finally:
        os.close(fd)
    with pytest.raises(ControlUnavailableError):
        await control(other).load(VERSION)


@pytest.mark.parametrize(
    "make", [Path.mkdir, lambda path: path.write_text(""), lambda path: path.symlink_to("results")]
)
async def test_something_else_in_place_of_the_fifo(tmp_path: Path, make: Callable[[Path], object]) -> None:
    make(tmp_path / "control")
    with pytest.raises(ControlUnavailableError):
        await Control(tmp_path).load(VERSION)


def test_an_untrusted_file_is_read_up_to_a_limit(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"a\xff" * 100)
    assert len(read_untrusted(tmp_path, "file", limit=10)) == 10
