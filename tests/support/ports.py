"""Ports for servers that tests start."""

import random
import socket
from pathlib import Path
from typing import Final

EPHEMERAL: Final = Path("/proc/sys/net/ipv4/ip_local_port_range")
LOWEST: Final = 10_000

_given: set[int] = set()


def free_ports(count: int) -> list[int]:
    """Ports to listen on, on IPv4 and IPv6; all different, and none that this run gave before.

    They lie outside the range that the kernel takes for outgoing connections: a port of that range is free now, and by
    the time that a server binds it, it may be the near end of somebody's connection.
    """
    first, last = (int(bound) for bound in EPHEMERAL.read_text().split())
    candidates = [*range(LOWEST, first), *range(last + 1, 65_536)]
    ports: list[int] = []
    while len(ports) < count:
        port = random.choice(candidates)  # noqa: S311 (no secret)
        if port not in _given and _is_free(port):
            _given.add(port)
            ports.append(port)
    return ports


def _is_free(port: int) -> bool:
    addresses = [(socket.AF_INET, "0.0.0.0")]
    if socket.has_dualstack_ipv6():
        addresses.append((socket.AF_INET6, "::"))
    try:
        for family, address in addresses:
            socket.create_server((address, port), family=family).close()
    except OSError:
        return False
    return True
