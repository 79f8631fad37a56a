"""The model of how nginx finds the certificate for a name in its table (nginx/njs/certificate.js)."""

import re
from typing import Final

from wsroute.dataplane.certificate_table import EVERYTHING
from wsroute.dataplane.certificates import Files, wildcard_of
from wsroute.dataplane.dictionary import CERTIFICATE, Entries

_NAME: Final = re.compile(rb"[A-Za-z0-9.-]{1,253}")


def looked_up(entries: Entries, listener: str, asked: bytes | None) -> Files:
    """The files for what a client asks for (SNI), if it does: the name's own, else those of the wildcard that covers
    it, else those for everything. Empty where the handshake is refused."""
    names = []
    if asked is not None and _NAME.fullmatch(asked):
        name = asked.decode().lower()
        names = [name, wildcard_of(name)] if name.find(".") > 0 else [name]
    found = (entries.get(f"{CERTIFICATE}{listener} {name}") for name in (*names, EVERYTHING))
    return tuple(next((files.split(" ") for files in found if files is not None), ()))
