"""The shell of a Dynamic balancer that ends TLS: no certificate is in it, njs looks each one up in the table."""

from tests.support.configurations import configuration
from wsroute.dataplane.certificates import NO_CERTIFICATES
from wsroute.dataplane.ir import Listener, Shell

CONFIGURATION = configuration(
    listeners=(
        Listener("inner", 8444, "wss", 8444, NO_CERTIFICATES),
        Listener("ws", 8080, "ws", 80),
        Listener("wss", 8443, "wss", 443, NO_CERTIFICATES),
    ),
    ipv6=True,
    servers=(),
    upstreams=(),
    shell=Shell(connect_timeouts=(5_000,), idle_timeouts=(3_600_000,), headers=()),
)
