"""Listeners with and without TLS: hosts with certificates of their own, by a wildcard, and without."""

from tests.support.configurations import HOST, configuration, server
from wsroute.dataplane.certificates import ListenerTls, ServedCertificate
from wsroute.dataplane.ir import Listener

WILDCARD = ServedCertificate("0" * 64, "ECDSA", ("*.example.com",))
CHAT = ServedCertificate("1" * 64, "ECDSA", (HOST,))
CHAT_RSA = ServedCertificate("2" * 64, "RSA", (HOST,))

CONFIGURATION = configuration(
    listeners=(
        Listener("inner", 8444, "wss", 8444, ListenerTls(default=(), certificates=(CHAT,))),
        Listener("ws", 8080, "ws", 80),
        Listener("wss", 8443, "wss", 443, ListenerTls((WILDCARD.file,), (WILDCARD, CHAT, CHAT_RSA))),
    ),
    ipv6=True,
    servers=[
        server(host="*.example.com", listeners=("ws", "wss")),
        server(listeners=("inner", "ws", "wss")),
        server(host="other.example.org", listeners=("inner", "wss")),
    ],
)
