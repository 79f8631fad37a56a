"""What is known of the versions that stand in a balancer's ConfigMaps: remembered where they were made here, else read
from their files. Pure but for its memo."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from wsroute.cluster.objects import ConfigMap
from wsroute.controller import generated
from wsroute.controller.budget import Endpoints
from wsroute.controller.generated import File
from wsroute.controller.release import Means, Released
from wsroute.controller.versions import Versions
from wsroute.dataplane import names
from wsroute.dataplane.bundle import BundleError, unpack
from wsroute.dataplane.ir import Configuration, RouteRef
from wsroute.nginx.memo import RenderMemo
from wsroute.nginx.paths import POD_OPTIONS, POD_PATHS
from wsroute.nginx.quoting import EmitError
from wsroute.nginx.reading import changed_routes, read_endpoints
from wsroute.nginx.render import render

Maps = Sequence[ConfigMap | None]


@dataclass(slots=True)
class StandingMemo:
    """What is kept of one balancer between passes."""

    files: dict[str, File] = field(default_factory=dict)
    """The files of the versions that stand, as far as they were made here: what a hand does to them is undone."""
    read: tuple[str, Endpoints | None] = ("", None)
    """A version that was made elsewhere, and what was read of it."""
    compared: tuple[tuple[str, str], frozenset[RouteRef] | None] = (("", ""), None)
    """Such a version and the desired one, and the routes that differ between them."""
    alike: tuple[tuple[str, str], str | None] = (("", ""), None)
    """A version that stands and the desired one, and the text of the first where both say the same to nginx."""


def means(memo: StandingMemo, versions: Versions, rendered: RenderMemo, maps: Maps) -> Means:
    """How a release makes a file, and reads one that stands."""
    # What is made here has the structure of what stands, and so is no newer than that.
    made_for = next((generated.read_published(known).made_for for known in maps if known is not None), "")

    def make(configuration: Configuration) -> str | None:
        try:
            found = render(configuration, POD_PATHS, options=POD_OPTIONS, memo=rendered)
            memo.files[found.version] = generated.make_file(found, configuration, made_for=made_for)
        except (EmitError, BundleError):
            return None
        versions.add(found.version, configuration)
        return found.version

    def read(version: str) -> Endpoints | None:
        if memo.read[0] != version:
            text = _text(version, maps)
            memo.read = (version, None if text is None else read_endpoints(text))
        return memo.read[1]

    return Means(versions, make, read)


def compare(
    memo: StandingMemo, versions: Versions, released: Released, desired: str, file: File, maps: Maps
) -> frozenset[RouteRef] | None:
    """The routes that wait for the desired version while one stands that was made elsewhere; None when no such one
    does, or when it can't be told."""
    if released.version == desired or versions.get(released.version) is not None:
        return None
    pair = (released.version, desired)
    if memo.compared[0] != pair:
        before, after = _text(released.version, maps), unpacked(file)
        memo.compared = (pair, None if before is None or after is None else changed_routes(before, after))
    return memo.compared[1]


def unpacked(file: File) -> str | None:
    """The text of a file; None when it is not whole."""
    try:
        return unpack(file.bundle.data, file.bundle.binary_data, expected_digest=file.bundle.digest)
    except BundleError:
        return None


def _text(version: str, maps: Maps) -> str | None:
    for known in maps:
        if known is not None and known.annotations.get(names.VERSION_ANNOTATION) == version:
            text = unpacked(generated.read_file(known))
            return text if text is not None and version in text else None
    return None
