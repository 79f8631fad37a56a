"""How large nginx's hash tables and its shared zone must be. Powers of two, so that they rarely change.

A table that is too small is an [emerg] or a [warn] at each start, or hours of searching for a good size; a zone that is
too small is a configuration that does not load.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

_POINTER: Final = 8
_SMALLEST_TABLE: Final = 512
_SMALLEST_BUCKET: Final = 128
_SMALLEST_ZONE: Final = 512

_KIBIBYTES_PER_ENDPOINT: Final = 2
"""nginx 1.31 takes 0.9 KiB (0.95 with IPv6); the rest is head-room for other versions."""

_KIBIBYTES_PER_UPSTREAM: Final = 1
"""nginx 1.31 takes 0.2 KiB."""


@dataclass(frozen=True, slots=True)
class HashSize:
    """``max_size`` buckets at most, of ``bucket_size`` bytes each."""

    max_size: int
    bucket_size: int


def hash_size(keys: Iterable[str]) -> HashSize:
    """A table for these keys, in which nginx's search for a size ends soon: buckets of four of the longest keys.

    ``ngx_hash_init`` takes a pointer, two bytes and the key for each entry, aligned, and a pointer at the end.
    """
    lengths = [len(key) for key in keys]
    longest = 2 * _POINTER + max(lengths, default=0) + 2 + (_POINTER - 1)
    return HashSize(
        max_size=_power_of_two(2 * len(lengths), at_least=_SMALLEST_TABLE),
        bucket_size=_power_of_two(4 * longest, at_least=_SMALLEST_BUCKET),
    )


def zone_kibibytes(*, upstreams: int, endpoints: int) -> int:
    """The zone in which all workers share their counts of connections, in KiB."""
    needed = endpoints * _KIBIBYTES_PER_ENDPOINT + upstreams * _KIBIBYTES_PER_UPSTREAM
    return _power_of_two(needed, at_least=_SMALLEST_ZONE)


def _power_of_two(value: int, *, at_least: int) -> int:
    return max(at_least, 1 << max(0, value - 1).bit_length())
