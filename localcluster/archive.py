"""Archives of images in the format of `docker save`, written without any container tool."""

import hashlib
import io
import json
import tarfile
from collections.abc import Iterable
from pathlib import Path


def _tar(files: dict[str, tuple[bytes, int]]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name, (content, mode) in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), mode
            archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


def docker_archive(program: bytes, *, reference: str, machine: str) -> bytes:
    """An image whose only file is `/pause`, in the format of `docker save`, the same bytes for the same input.

    `reference` is the image's name with its tag, `machine` what uname calls the processor.
    """
    layer = _tar({"pause": (program, 0o755)})
    config = json.dumps(
        {
            "architecture": {"x86_64": "amd64", "aarch64": "arm64"}.get(machine, machine),
            "os": "linux",
            "config": {"Entrypoint": ["/pause"], "User": "65535:65535"},
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}"]},
        }
    ).encode()
    layer_name = f"{hashlib.sha256(layer).hexdigest()}.tar"
    config_name = f"{hashlib.sha256(config).hexdigest()}.json"
    manifest = json.dumps([{"Config": config_name, "RepoTags": [reference], "Layers": [layer_name]}]).encode()
    return _tar(
        {layer_name: (layer, 0o644), config_name: (config, 0o644), "manifest.json": (manifest, 0o644)},
    )


def merge(sources: Iterable[Path], target: Path) -> None:
    """Writes one archive with the images of several; a layer that they share is in it once.

    The layers lie in the sources as files named by their digest. What was there for Docker before 1.10 (links to the
    layers, `repositories`) is left out.
    """
    manifest: list[object] = []
    written: set[str] = set()
    with tarfile.open(target, "w") as merged:
        for source in sources:
            with tarfile.open(source) as archive:
                for entry in archive:
                    content = archive.extractfile(entry) if entry.isfile() else None
                    if content is None or entry.name == "repositories" or entry.name in written:
                        continue
                    if entry.name == "manifest.json":
                        manifest += json.load(content)
                    else:
                        merged.addfile(entry, content)
                        written.add(entry.name)
        text = json.dumps(manifest).encode()
        last = tarfile.TarInfo("manifest.json")
        last.size = len(text)
        merged.addfile(last, io.BytesIO(text))
