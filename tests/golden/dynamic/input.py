"""The shell of a Dynamic balancer: no route is in it, but the timeouts and headers that routes may choose from."""

from tests.support.configurations import configuration
from wsroute.dataplane.ir import Listener, Shell

CONFIGURATION = configuration(
    listeners=(Listener("ws", 8080, "ws", 80), Listener("intern", 8090, "wss", 443)),
    servers=(),
    upstreams=(),
    shell=Shell(connect_timeouts=(5_000,), idle_timeouts=(60_000, 3_600_000), headers=("X-Team", "X-Tenant")),
)
