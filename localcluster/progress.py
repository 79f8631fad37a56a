"""Readable progress on standard error."""

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

_HEARTBEAT_SECONDS = 20.0
_COLUMN = 58


def say(text: str) -> None:
    """Prints one line at once."""
    print(text, file=sys.stderr, flush=True)


@contextmanager
def step(title: str, *, hint: str = "") -> Iterator[None]:
    """Announces a step, says every 20 seconds that it is still under way, and ends with its duration.

    A step without `hint` is announced when it ends only, so that short steps take one line; `hint` says how long a
    step may take.
    """
    started = time.monotonic()
    done = threading.Event()

    def heartbeat() -> None:
        while not done.wait(_HEARTBEAT_SECONDS):
            say(f"  … {title}: {time.monotonic() - started:.0f} s so far")

    if hint:
        say(f"  … {title} ({hint})")
    threading.Thread(target=heartbeat, daemon=True).start()
    try:
        yield
    except BaseException:
        done.set()
        say(f"  ✗ {title:<{_COLUMN}} {time.monotonic() - started:6.1f} s")
        raise
    done.set()
    say(f"  ✓ {title:<{_COLUMN}} {time.monotonic() - started:6.1f} s")
