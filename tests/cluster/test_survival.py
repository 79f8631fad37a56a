"""The programme of `bench/survival.py` in short: whatever changes around them, sockets stay, and nothing is left."""

from bench.survival import Plan, Programme
from bench.watching import more_processes
from tests.support.stack import Stack

BRIEF = Plan(sockets=40, endpoint_changes=20, routes=10, edits=4, rotations=0, every=0.5, pause=0.05, seconds=0.0)


async def test_forty_sockets_outlive_every_kind_of_change(stack: Stack) -> None:
    result = await Programme(stack, None, BRIEF).run()
    assert (result.tally.sockets, result.tally.lost) == (40, 0), result.tally.how
    assert (result.tally.missing, result.tally.doubled) == (0, 0)
    assert result.tally.messages > 40
    assert result.reloads == (0, len(result.after)), "nginx is reloaded for the listener alone, once"
    assert result.generations[1] <= result.generations[0] + 1
    assert more_processes(result.before) <= 0
    assert result.waited is not None, "the change after all others was not served"
