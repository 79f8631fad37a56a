"""Two listeners, IPv4 and IPv6, one behind a load balancer that ends TLS and whose headers are believed."""

from tests.support.configurations import HOST, configuration, server
from wsroute.dataplane.ir import Listener

CONFIGURATION = configuration(
    listeners=(
        Listener(name="ws", port=8080, public_scheme="ws", public_port=80),
        Listener(name="wss", port=18443, public_scheme="wss", public_port=443),
    ),
    ipv6=True,
    trusted_proxies=("10.0.0.0/8", "2001:db8:1::/48"),
    worker_processes=4,
    worker_connections=16_384,
    servers=[server(listeners=("ws", "wss")), server(host=f"tls-only.{HOST}", listeners=("wss",))],
)
