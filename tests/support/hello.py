"""What a TLS server shows a client of any name: Python refuses some, and so the name is patched into its hello."""

import socket
import ssl

import pytest

_HANDSHAKE, _CERTIFICATE, _ALERT = 22, 11, 21
"""Types of records and of a message in them (RFC 5246)."""


def raw_shown(port: int, name: bytes | None, context: ssl.SSLContext) -> bytes | None:
    """The certificate (DER) that is shown to who asks for a name of 1 to 255 bytes, or for none; None when the server
    answers with an alert."""
    # TLS 1.2 hashes the hello as it was sent, so the handshake can't end; the certificate comes before that.
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
        connection.sendall(_hello(name, context))
        received = b""
        while True:
            more = connection.recv(65536)
            assert more, received
            received += more
            if received[0] == _ALERT:
                return None
            found = _certificate_in(received)
            if found is not None:
                return found


def _hello(name: bytes | None, context: ssl.SSLContext) -> bytes:
    placeholder = None if name is None else "".join("." if n % 60 == 59 else "z" for n in range(len(name)))
    outgoing = ssl.MemoryBIO()
    client = context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname=placeholder)
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    hello = outgoing.read()
    if name is None or placeholder is None:
        return hello
    before, after = (b"\0" + len(text).to_bytes(2) + text for text in (placeholder.encode(), name))  # RFC 6066, 3
    # The list that holds it says how long it is, so that a short name is not found in what is random.
    before, after = ((len(text).to_bytes(2) + text) for text in (before, after))
    assert hello.count(before) == 1
    return hello.replace(before, after)


def _certificate_in(records: bytes) -> bytes | None:
    """The first certificate of a TLS 1.2 server's answer, None while it is not whole."""
    stream = b""
    while len(records) >= 5 and records[0] == _HANDSHAKE:
        length = int.from_bytes(records[3:5])
        stream, records = stream + records[5 : 5 + length], records[5 + length :]
    while len(stream) >= 4:
        length = int.from_bytes(stream[1:4])
        if len(stream) < 4 + length:
            return None
        if stream[0] == _CERTIFICATE:
            body = stream[4 : 4 + length]
            return body[6 : 6 + int.from_bytes(body[3:6])]
        stream = stream[4 + length :]
    return None
