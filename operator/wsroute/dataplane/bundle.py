"""How a rendered file travels in a ConfigMap: readable text while it is small, gzip in ``binaryData`` beyond that.

A ConfigMap holds at most 1 MiB, keys and annotations included. The bytes are deterministic, so that nothing to do means
nothing written.
"""

import base64
import gzip
import hashlib
import io
import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

FILE_KEY: Final = "nginx.conf"
COMPRESSED_KEY: Final = "nginx.conf.gz"

SCRIPT_KEY: Final = re.compile(r"wsroute-([0-9a-f]{12})\.js", re.ASCII)
"""Under which key a script stands that the file names: what it is called tells the digest of its bytes."""

READABLE_LIMIT: Final = 128 * 1024
"""Bytes up to which the file stays readable, about 150 routes. The API server takes some 45 ms to apply 700 KiB of text
and 5 ms for the same compressed: beyond this size latency counts for more than ``kubectl get -o yaml``."""

STORED_LIMIT: Final = 1_000_000
"""Bytes of base64 that a ConfigMap can take beside its metadata."""

UNPACKED_LIMIT: Final = 64 * 1024 * 1024
"""Bytes that an agent is ready to unpack; a generated file for 10,000 routes has about 10 MB."""


class BundleError(ValueError):
    """A file does not fit into a ConfigMap, or a ConfigMap does not hold a whole file. The text says which and why.

    ``excess`` is how much of the file has to go, as a part of it, and ``compressed`` says that it is once compressed
    that it is too large."""

    def __init__(self, message: str, *, excess: float = 0.0, compressed: bool = True) -> None:
        super().__init__(message)
        self.excess = excess
        self.compressed = compressed


@dataclass(frozen=True, slots=True)
class Bundle:
    """The payload of a ConfigMap: the file is in exactly one of the two mappings. ``digest`` is its own; what stands in
    ``data`` beside it has its digest in its key."""

    data: Mapping[str, str]
    binary_data: Mapping[str, str]
    digest: str


def digest(raw: bytes) -> str:
    """SHA-256 of a file, in hex."""
    return hashlib.sha256(raw).hexdigest()


def pack(text: str) -> Bundle:
    """Pack a file. Raises BundleError when it can't fit even compressed."""
    raw = text.encode()
    if len(raw) <= READABLE_LIMIT:
        return Bundle(data={FILE_KEY: text}, binary_data={}, digest=digest(raw))
    if len(raw) > UNPACKED_LIMIT:
        raise BundleError(
            f"The configuration has {len(raw):,} bytes; a pod takes {UNPACKED_LIMIT:,}. Move some routes to another "
            "balancer.",
            excess=1 - UNPACKED_LIMIT / len(raw),
            compressed=False,
        )
    # A generated file repeats itself: the lowest level gives a tenth more in half the time, and time is latency.
    packed = base64.b64encode(gzip.compress(raw, compresslevel=1, mtime=0)).decode()
    if len(packed) > STORED_LIMIT:
        raise BundleError(
            f"The configuration has {len(raw):,} bytes, {len(packed):,} once compressed; a ConfigMap takes "
            f"{STORED_LIMIT:,}. Move some routes to another balancer.",
            excess=1 - STORED_LIMIT / len(packed),
        )
    return Bundle(data={}, binary_data={COMPRESSED_KEY: packed}, digest=digest(raw))


def unpack(data: Mapping[str, str], binary_data: Mapping[str, str], *, expected_digest: str) -> str:
    """Unpack a file and check its digest. Raises BundleError when it is missing, damaged or too large."""
    if FILE_KEY in data:
        text = data[FILE_KEY]
        # Half of a surrogate pair, which JSON can hold and no file of ours does, becomes something else.
        raw = text.encode(errors="replace")
    elif COMPRESSED_KEY in binary_data:
        try:
            packed = base64.b64decode(binary_data[COMPRESSED_KEY], validate=True)
            with gzip.open(io.BytesIO(packed)) as stream:
                raw = stream.read(UNPACKED_LIMIT + 1)
            text = raw.decode()
        except (OSError, EOFError, ValueError, zlib.error) as error:
            raise BundleError(f"The compressed configuration is damaged: {error}.") from error
        if len(raw) > UNPACKED_LIMIT:
            raise BundleError(f"The configuration unpacks to more than {UNPACKED_LIMIT:,} bytes.")
    else:
        raise BundleError(f"The ConfigMap holds neither {FILE_KEY} nor {COMPRESSED_KEY}.")
    if digest(raw) != expected_digest:
        raise BundleError("The configuration does not match its digest; somebody changed one of them.")
    return text


def unpack_scripts(data: Mapping[str, str]) -> dict[str, str]:
    """The scripts beside a file, by their names. Raises BundleError when one is damaged."""
    scripts = {key: text for key, text in data.items() if SCRIPT_KEY.fullmatch(key)}
    for name, text in scripts.items():
        if not name.startswith(f"wsroute-{digest(text.encode(errors='replace'))[:12]}."):
            raise BundleError(f"{name} does not match its digest; somebody changed one of them.")
    return scripts
