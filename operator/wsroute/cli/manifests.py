"""Manifests in files: found, read, checked for shape, and made into the objects that an API server would have made.

Only the functions that take a Path, or read the standard input, touch the disk; the rest is pure.
"""

import sys
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import yaml

SUFFIXES: Final = (".yaml", ".yml", ".json")
SIZE_LIMIT: Final = 16 * 1024 * 1024

ApiKind = tuple[str, str]
"""An apiVersion, and a kind."""

KINDS: Final[frozenset[ApiKind]] = frozenset(
    {
        ("wsroute.dev/v1alpha1", "WebSocketRoute"),
        ("wsroute.dev/v1alpha1", "WebSocketBalancer"),
        ("v1", "Service"),
        ("v1", "Namespace"),
        ("v1", "ConfigMap"),
        ("discovery.k8s.io/v1", "EndpointSlice"),
    }
)
"""What the offline commands understand; other kinds in the same files are somebody else's business."""

STANDARD_INPUT: Final = Path("-")
"""Stands for a file."""

# The loader in C is ten times as fast; the other one is there where PyYAML was built without it.
_SafeLoader: Final[Any] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Loader(_SafeLoader):  # type: ignore[misc]
    """Reads YAML as kubectl does, to which a time without quotes is a text."""

    yaml_implicit_resolvers = {  # noqa: RUF012 - PyYAML's own form
        first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


_LISTS_IN_LISTS: Final = 8


class ManifestError(ValueError):
    """A file can't be used. The text names the file, the place, what is wrong and what to do."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """One object and the file that it stands in: as an API server would have it, and as it was ``written``."""

    source: str
    body: dict[str, Any]
    written: dict[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """``Kind namespace/name``, for messages."""
        meta = self.body["metadata"]
        return f"{self.body['kind']} {meta.get('namespace', '')}/{meta['name']}".replace(" /", " ")


def parse_file(source: str, text: str, *, kinds: Collection[ApiKind] = KINDS) -> tuple[Manifest, ...]:
    """Read the documents of one file. Raises ManifestError; documents of other kinds are left out."""
    try:
        documents = list(yaml.load_all(text, Loader=_Loader))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise ManifestError(f"{source}{place}: this is not YAML: {error.problem or error}.") from error
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise ManifestError(f"{source}: this is not YAML: {_first_line(error)}.") from error
    manifests = []
    for number, document in enumerate(documents, start=1):
        for body in _objects(document):
            manifest = _manifest(source, number, body, kinds)
            if manifest is not None:
                manifests.append(manifest)
    return tuple(manifests)


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0] or type(error).__name__


def _objects(document: Any, depth: int = 0) -> Iterator[Any]:
    """The objects of a document, those of lists each by itself: kubectl takes a WebSocketRouteList for one, too."""
    match document:
        case None:
            return
        case {"kind": str(kind), **rest} if kind.endswith("List") and depth < _LISTS_IN_LISTS:
            items = rest.get("items")
            for item in items if isinstance(items, list) else ():
                yield from _objects(item, depth + 1)
        case _:
            yield document


def _manifest(source: str, number: int, body: Any, kinds: Collection[ApiKind]) -> Manifest | None:
    where = f"{source}, document {number}"
    if not isinstance(body, dict) or not isinstance(body.get("kind"), str):
        raise ManifestError(f"{where}: this is not a Kubernetes object; it needs apiVersion, kind and metadata.")
    if (body.get("apiVersion"), body["kind"]) not in kinds:
        return None
    meta = body.get("metadata")
    name = meta.get("name") if isinstance(meta, dict) else None
    if not isinstance(meta, dict) or not isinstance(name, str) or not name:
        raise ManifestError(f"{where}: metadata.name is missing; give the {body['kind']} a name.")
    if not isinstance(meta.get("namespace"), str | None):
        raise ManifestError(f"{where}: metadata.namespace is no text; put it in quotes.")
    return Manifest(source=source, body=_as_stored(body), written=body)


def _as_stored(body: dict[str, Any]) -> dict[str, Any]:
    """Add the metadata that an API server would have added, as far as a pass reads it.

    All objects count as equally old, so that names alone decide who owns a host.
    """
    meta = {field: value for field, value in body["metadata"].items() if value is not None}
    if body["kind"] != "Namespace":
        meta.setdefault("namespace", "default")
    meta["uid"] = f"{body['kind']}/{meta.get('namespace', '')}/{meta['name']}"
    meta.setdefault("resourceVersion", "1")
    meta.setdefault("generation", 1)
    meta.setdefault("creationTimestamp", "1970-01-01T00:00:00Z")
    return {**body, "metadata": meta}


def with_namespaces(manifests: Sequence[Manifest]) -> tuple[Manifest, ...]:
    """Add a Namespace for each namespace that is used and not written down, as a cluster would have it."""
    written = {m.body["metadata"]["name"] for m in manifests if m.body["kind"] == "Namespace"}
    used = {m.body["metadata"].get("namespace") for m in manifests if m.body["kind"] != "Namespace"}
    missing = sorted(name for name in used if isinstance(name, str) and name not in written)
    added = (
        Manifest(
            source="",
            body=_as_stored(
                {
                    "apiVersion": "v1",
                    "kind": "Namespace",
                    "metadata": {"name": name, "labels": {"kubernetes.io/metadata.name": name}},
                }
            ),
        )
        for name in missing
    )
    return (*manifests, *added)


def folder_of_manifests(folder: Path) -> Path:
    """The folder itself, or its subfolder ``standalone`` where it has no manifests of its own."""
    if not folder.is_dir():
        raise ManifestError(f"{folder} is not a folder; name one that holds manifests (*.yaml).")
    inner = folder / "standalone"
    if not manifest_files(folder) and inner.is_dir():
        return inner
    return folder


def manifest_files(folder: Path) -> list[Path]:
    """The manifests directly in a folder, sorted; hidden files (an editor's) are not read."""
    return sorted(
        path
        for path in folder.iterdir()
        if path.suffix in SUFFIXES and not path.name.startswith(".") and path.is_file()
    )


def read_file(path: Path) -> str:
    """The text of a manifest. Raises ManifestError when it can't be read or is too large."""
    try:
        if path.stat().st_size > SIZE_LIMIT:
            raise ManifestError(f"{path}: this file has more than {SIZE_LIMIT:,} bytes; split it.")
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ManifestError(f"{path}: this file is not UTF-8 text.") from error
    except OSError as error:
        raise ManifestError(f"{path}: can't be read: {error.strerror}.") from error


def read_paths(paths: Sequence[Path], *, kinds: Collection[ApiKind] = KINDS) -> tuple[Manifest, ...]:
    """The manifests of files and folders, in the order given; ``-`` stands for the standard input."""
    manifests: list[Manifest] = []
    for path in paths:
        if path == STANDARD_INPUT:
            manifests.extend(parse_file("the standard input", read_input(), kinds=kinds))
            continue
        files = manifest_files(folder_of_manifests(path)) if path.is_dir() else [path]
        for file in files:
            manifests.extend(parse_file(str(file), read_file(file), kinds=kinds))
    return tuple(manifests)


def read_input() -> str:
    """The text of the standard input. Raises ManifestError."""
    read = sys.stdin.buffer.read(SIZE_LIMIT + 1)
    if len(read) > SIZE_LIMIT:
        raise ManifestError(f"The standard input has more than {SIZE_LIMIT:,} bytes; split it.")
    try:
        return read.decode()
    except UnicodeDecodeError as error:
        raise ManifestError("The standard input is not UTF-8 text.") from error
