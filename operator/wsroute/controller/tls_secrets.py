"""The Secrets that bring certificates to a balancer's pods: what they say, what they should say, whose they are."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from wsroute.cluster.objects import Key, Secret
from wsroute.controller.generated import MANAGED_BY
from wsroute.dataplane import names

_FILE: Final = re.compile("[0-9a-f]{64}", re.ASCII)


@dataclass(frozen=True, slots=True)
class WantedSecret:
    """A Secret with certificates as it should stand. ``data`` is base64."""

    key: Key
    balancer: str
    annotations: Mapping[str, str]
    data: Mapping[str, str] = field(repr=False)

    @property
    def labels(self) -> Mapping[str, str]:
        """The labels by which people find out whose it is."""
        return {
            **MANAGED_BY,
            names.BALANCER_LABEL: self.balancer,
            names.ROLE_LABEL: names.ROLE_TLS,
        }


@dataclass(frozen=True, slots=True)
class SecretWrite:
    """A Secret as it should stand, and as it was when the plan was made."""

    wanted: WantedSecret
    known: Secret | None


def store_keys(balancer: Key) -> list[Key]:
    """All of a balancer's."""
    return [Key(balancer.namespace, names.tls_name(balancer.name, number)) for number in range(names.TLS_SECRETS)]


def wanted_secrets(
    own: Key, files: Mapping[str, str], sources: Mapping[str, str], *, epoch: int
) -> Iterator[WantedSecret]:
    """The Secrets with these files (base64, by their names). ``sources`` tells which one came from which Secret."""
    for number, key in enumerate(store_keys(own)):
        here = {name: file for name, file in sorted(sources.items()) if names.tls_number(file) == number}
        yield WantedSecret(
            key=key,
            balancer=own.name,
            annotations={
                names.EPOCH_ANNOTATION: str(epoch),
                names.SOURCES_ANNOTATION: json.dumps(here, separators=(",", ":")),
            },
            data={
                f"{file}{names.TLS_SUFFIX}": text
                for file, text in sorted(files.items())
                if names.tls_number(file) == number
            },
        )


def stands(wanted: WantedSecret, known: Secret | None) -> bool:
    """Whether a Secret says what it should."""
    return (
        known is not None
        and known.data == wanted.data
        and all(known.annotations.get(name) == text for name, text in wanted.annotations.items())
        and all(known.labels.get(name) == text for name, text in wanted.labels.items())
    )


def apply_body(wanted: WantedSecret, known: Secret | None) -> dict[str, object]:
    """The server-side apply that brings it about: only on the Secret and the version of it that we last saw, or where
    there is none, or one of our own type."""
    metadata: dict[str, object] = {
        "namespace": wanted.key.namespace,
        "name": wanted.key.name,
        "labels": dict(wanted.labels),
        "annotations": dict(wanted.annotations),
    }
    if known is not None:
        metadata["uid"] = known.meta.uid
        if known.meta.version >= 0:
            metadata["resourceVersion"] = str(known.meta.version)
    return {"metadata": metadata, "type": names.TLS_TYPE, "data": dict(wanted.data)}


def is_ours(secret: Secret, balancer: str) -> bool:
    """Whether a Secret is one that the operator made for a balancer."""
    labels = (secret.labels.get(names.BALANCER_LABEL), secret.labels.get(names.ROLE_LABEL))
    return secret.type == names.TLS_TYPE and labels == (balancer, names.ROLE_TLS)


def read_sources(secret: Secret) -> dict[str, str]:
    """The last good file that came from each Secret of an administrator, as far as a hand has not spoilt that."""
    try:
        raw = json.loads(secret.annotations.get(names.SOURCES_ANNOTATION, "{}"))
    except (ValueError, RecursionError):
        return {}
    found = raw.items() if isinstance(raw, dict) else ()
    return {name: file for name, file in found if isinstance(file, str) and is_file(file)}


def is_file(name: str) -> bool:
    """Whether it can be the name of a file."""
    return _FILE.fullmatch(name) is not None
