"""How much of nginx's dictionary a table takes: never less than nginx's allocator gives."""

from hypothesis import given

from tests.support import tables
from wsroute.balancer.table_client import MAX_KEY, MAX_VALUE
from wsroute.dataplane.dictionary import GROUP, entries, group_value, host_entries
from wsroute.dataplane.room import group_room, host_room
from wsroute.dataplane.shards import host_line
from wsroute.dataplane.table import Table

NODE = 128
"""What was measured: beside its key, an entry takes no more."""


def block(size: int) -> int:
    """As nginx's slab allocator does."""
    if size > 2048:
        return (size + 4095) // 4096 * 4096
    found = 8
    while found < size:
        found *= 2
    return found


def taken(found: dict[str, str]) -> int:
    return sum(block(NODE + len(key) + 1) + block(len(value)) for key, value in found.items())


@given(tables.tables())
def test_any_table(table: Table) -> None:
    for host in table.hosts:
        assert taken(host_entries(host)) <= host_room(host, host_line(host))
    for group in table.groups:
        assert taken({GROUP + group.name: group_value(group)}) <= group_room(group, "")


def test_the_largest_that_a_route_can_have_is_not_too_much_for_nginx() -> None:
    """Or else it would keep its neighbours in the same ConfigMap from being followed."""
    found = entries(tables.largest())
    assert MAX_KEY - 512 < max(map(len, found)) <= MAX_KEY
    assert max(map(len, found.values())) <= MAX_VALUE
