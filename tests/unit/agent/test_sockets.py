"""Counting clients."""

import socket

from wsroute.agent.sockets import blocks, count, established, ipv6_available

TCP = b"""  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000   101        0 1 1 0 100 0 0 10 0
   1: 0100007F:1F90 0100007F:D431 01 00000000:00000000 00:00000000 00000000   101        0 2 1 0 20 4 30 10 -1
   2: 0100007F:D431 0100007F:1F90 01 00000000:00000000 00:00000000 00000000   101        0 3 1 0 20 4 30 10 -1
   3: 0100007F:1F90 0100007F:D432 06 00000000:00000000 00:00000000 00000000     0        0 0 3 0
10004: 0100007F:20FB 0100007F:1F90 01 00000000:00000000 00:00000000 00000000   101        0 2 1 0 20 4 30 10 -1
"""
TCP6 = b"""  sl  local_address                         remote_address                        st tx_queue
   0: 00000000000000000000000001000000:1F90 00000000000000000000000001000000:D433 01 00000000:00000000 00:00000000
"""


def test_only_established_connections_of_the_listeners_count() -> None:
    assert count([TCP, TCP6], {8080}) == 2
    assert count([TCP, TCP6], {8080, 8443}) == 3
    assert count([TCP, TCP6], {0xD431}) == 1
    assert count([TCP], {80}) == 0
    assert count([TCP], set()) == 0


def test_a_table_in_blocks_is_the_same_table() -> None:
    for table in (b"", TCP, TCP.rstrip(b"\n"), TCP6):
        for size in (1, 100, 150, 10_000):
            found = list(blocks(table, size))
            assert b"".join(found) == table
            assert all(block.endswith(b"\n") for block in found[:-1])
            assert sum(count([block], {8080}) for block in found) == count([table], {8080})


async def test_the_kernel_s_table_is_read() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = server.getsockname()
        assert await established({address[1]}) == 0
        with socket.create_connection(address):
            taken, _ = server.accept()
            with taken:
                assert await established({address[1]}) == 1


def test_ipv6_is_found_out_without_an_error() -> None:
    assert isinstance(ipv6_available(), bool)
