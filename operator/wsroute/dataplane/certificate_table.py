"""From the certificates of a balancer's listeners to the records of its Dynamic data plane. Pure."""

from collections import defaultdict
from collections.abc import Mapping
from typing import Final

from wsroute.dataplane.certificates import Files, ListenerTls, names_of
from wsroute.dataplane.table import CertificateRecord

EVERYTHING: Final = "*"
"""The name of the record for what no other one covers."""


def certificate_records(listeners: Mapping[str, ListenerTls]) -> tuple[CertificateRecord, ...]:
    """What the listeners, by their names, serve for which name. Where a listener has no default there is no record, and
    the handshake is refused."""
    found: defaultdict[tuple[str, Files], list[str]] = defaultdict(list)
    for listener, tls in sorted(listeners.items()):
        for name, files in names_of(tls).items():
            found[name, files].append(listener)
        if tls.default:
            found[EVERYTHING, tls.default].append(listener)
    records = (CertificateRecord(name, tuple(names), files) for (name, files), names in found.items())
    return tuple(sorted(records, key=lambda record: (record.name, record.listeners)))
