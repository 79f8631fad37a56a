"""A loop whose clock jumps: tests of what comes after seconds or hours need neither wait for them nor count on how fast
the machine is.

It knows of nothing outside the loop: with a thread or a process that has yet to answer, the clock must not jump.
"""

import asyncio
import functools
import selectors
from collections.abc import Callable, Coroutine
from typing import Any


class _Selector(selectors.DefaultSelector):
    """Has seen the time go by for which it should have waited."""

    def __init__(self) -> None:
        super().__init__()
        self.elapsed = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        found = super().select(None if timeout is None else 0)
        if timeout is not None and not found:
            self.elapsed += max(0.0, timeout)
        return found


class JumpingLoop(asyncio.SelectorEventLoop):
    """When nothing is left to do now, it is the time of what is to be done next. It begins at 0."""

    def __init__(self) -> None:
        self._jumping = _Selector()
        super().__init__(self._jumping)

    def time(self) -> float:
        return self._jumping.elapsed


def jumping(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Run a test on a loop of its own whose clock jumps. Its fixtures must do without a loop."""

    @functools.wraps(test)
    def run(**fixtures: Any) -> None:
        with asyncio.Runner(loop_factory=JumpingLoop) as runner:
            runner.run(test(**fixtures))

    return run
