"""The state file, and processes that are told apart by their start time."""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from localcluster import processes, state
from localcluster.errors import ClusterError
from localcluster.processes import ProcessId

STATE = state.ClusterState(
    namespace="wsr-dev-1",
    cgroup="/wsr-dev-1",
    binaries="/bin",
    api_port=1234,
    init=ProcessId(pid=5, start=6),
    complete=True,
    relays=(state.Relay(process=ProcessId(pid=7, start=8), listen="127.0.0.1:80", to="10.0.0.1:80"),),
)


def test_a_state_file_is_read_as_it_was_written(tmp_path: Path) -> None:
    file = tmp_path / "state.json"
    state.save(file, STATE)
    assert state.load(file) == STATE
    assert file.stat().st_mode & 0o777 == 0o600
    assert state.update(file, init=None, relays=()) == state.load(file)
    assert [path.name for path in tmp_path.iterdir()] == ["state.json"]


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"init": 1, "relays": [], "x": 2}'])
def test_a_broken_state_file_counts_as_none(tmp_path: Path, text: str) -> None:
    file = tmp_path / "state.json"
    file.write_text(text)
    assert state.load(file) is None
    assert state.load(tmp_path / "absent") is None


def test_a_mapping_that_is_not_there_is_empty(tmp_path: Path) -> None:
    assert state.load_mapping(tmp_path / "absent") == {}


def test_the_start_time_is_found_behind_any_command_name() -> None:
    rest = " ".join(str(number) for number in range(4, 53))
    assert processes.parse_start_time(f"12 (a) b (c)) S {rest}") == 22


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    """A child that sleeps until it is told not to."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        yield process
        process.kill()


def test_exactly_the_recorded_process_is_ended(sleeper: subprocess.Popen[bytes]) -> None:
    identity = processes.identify(sleeper.pid)
    assert identity is not None
    assert processes.alive(identity)
    processes.end(ProcessId(pid=identity.pid, start=identity.start + 1))
    assert sleeper.poll() is None
    processes.end(identity)
    assert not processes.alive(identity)
    assert sleeper.wait() == -9
    processes.end(identity)


def test_a_process_of_the_past_is_nobody() -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        pass
    assert processes.identify(process.pid) is None
    processes.end(ProcessId(pid=process.pid, start=1))


def test_a_failing_command_says_what_failed_and_why() -> None:
    command = [sys.executable, "-c", "import sys; sys.exit('no disk')"]
    with pytest.raises(ClusterError, match=r"Packing failed \(exit code 1\): no disk"):
        processes.run(command, what="Packing")
    with pytest.raises(ClusterError, match="there is no program 'no-such-program'"):
        processes.run(["no-such-program"], what="Packing")
    with pytest.raises(ClusterError, match="Packing took longer than"):
        processes.run([sys.executable, "-c", "import time; time.sleep(60)"], what="Packing", timeout=0.1)


def test_no_child_inherits_a_way_to_somebody_elses_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECONFIG", "/elsewhere")
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    seen = processes.run([sys.executable, "-c", "import os; print(*os.environ)"], what="Looking")
    assert "PATH" in seen.split()
    assert not {"KUBECONFIG", "KUBERNETES_SERVICE_HOST"} & set(seen.split())


def test_the_end_of_a_log_is_quoted(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("".join(f"line {number}\n" for number in range(5000)))
    assert processes.tail(log, lines=2) == "line 4998\nline 4999"
    assert processes.tail(tmp_path / "absent") == ""


def test_a_second_holder_of_a_lock_waits_and_says_so(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    script = (
        "import sys; from pathlib import Path; from localcluster.processes import lock\n"
        f"with lock(Path({str(tmp_path / 'lock')!r}), busy='Waiting for the first'): print('second', flush=True)\n"
    )
    root = str(Path(processes.__file__).parent.parent)
    with processes.lock(tmp_path / "lock", busy="never"):
        second = subprocess.Popen(
            [sys.executable, "-c", script],
            env={**os.environ, "PYTHONPATH": root},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert second.stderr is not None
        assert "Waiting for the first" in second.stderr.readline()
        assert second.poll() is None
    output, _ = second.communicate(timeout=10)
    assert output == "second\n"
    assert capfd.readouterr().err == ""


def test_an_id_that_is_a_thread_s_by_now_is_left_alone() -> None:
    done = threading.Event()
    thread = threading.Thread(target=done.wait)
    thread.start()
    try:
        assert thread.native_id is not None
        processes.end(ProcessId(pid=thread.native_id, start=1))
        assert thread.is_alive()
    finally:
        done.set()
        thread.join()
