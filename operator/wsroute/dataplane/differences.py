"""In which ways one pod's table differs from another's, in words. Pure."""

from typing import Final

from wsroute.dataplane.certificate_table import EVERYTHING
from wsroute.dataplane.dictionary import CERTIFICATE, EXACT, GROUP, HOST, Entries
from wsroute.dataplane.served import read_group
from wsroute.dataplane.table import EndpointGroup

MOST: Final = 10
"""Sentences about one pod; the others are counted."""


def differences(usual: Entries, own: Entries) -> list[str]:
    """What somebody who has ``own`` serves in another way than those who have ``usual``."""
    changed = sorted(key for key in usual.keys() | own.keys() if usual.get(key) != own.get(key))
    told = [_describe(key, usual.get(key), own.get(key)) for key in changed[:MOST]]
    return told + ([f"and {len(changed) - MOST} differences more"] if len(changed) > MOST else [])


def _describe(key: str, usual: str | None, own: str | None) -> str:
    what = name_of(key)
    if own is None:
        return f"does not have {what}"
    if usual is None:
        return f"has {what}, which others do not have"
    if key[0] == GROUP:
        try:
            return f"has other {what}: {_endpoints(read_group(key[1:], usual), read_group(key[1:], own))}"
        except ValueError:
            pass
    return f"has {what} with other settings"


def _endpoints(usual: EndpointGroup, own: EndpointGroup) -> str:
    parts = []
    for word, before, after in (
        ("", usual.addresses, own.addresses),
        ("returning ", usual.returning, own.returning),
    ):
        parts += [f"not {word}{address}" for address in sorted(set(before) - set(after))]
        parts += [f"{word}{address}" for address in sorted(set(after) - set(before))]
    return ", ".join(parts)


def name_of(key: str) -> str:
    """What an entry is about."""
    kind, rest = key[:1], key[1:]
    if kind == GROUP:
        return f"endpoints of {rest}"
    if kind == HOST:
        listener, _, host = rest.partition(" ")
        return f"the host {host} on the listener {listener}"
    if kind == CERTIFICATE:
        listener, _, name = rest.partition(" ")
        return f"the certificate for {'everything else' if name == EVERYTHING else name} on the listener {listener}"
    server, slash, path = rest.partition("/")
    host, _, listeners = server.partition("|")
    match = "exact path" if kind == EXACT else "path"
    return f"the {match} {slash}{path} of {host} on {listeners.replace(',', ', ')}"
