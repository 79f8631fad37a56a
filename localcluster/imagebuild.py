"""Building images into archives in the cache, and bringing them into a cluster's containerd.

An archive is named by the digest of everything that it was made from, so that nothing is built or imported twice.
"""

import hashlib
import json
import os
import platform
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from localcluster import debian, state
from localcluster.archive import docker_archive, merge
from localcluster.config import PAUSE_IMAGE
from localcluster.errors import ClusterError
from localcluster.images import BASE_PACKAGES, SUITE, Image
from localcluster.paths import REPOSITORY, ClusterPaths, cache_dir
from localcluster.processes import lock, run
from localcluster.progress import step

_PAUSE_SOURCE = REPOSITORY / "localcluster" / "images" / "pause.c"
_KEPT_ARCHIVES = 3
_SCRATCH = "building-"


def digest_of_tree(folder: Path) -> str:
    """A digest of every path, mode and content below a folder; times and owners do not count."""
    whole = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            content = hashlib.sha256(path.read_bytes()).hexdigest()
            whole.update(f"{path.relative_to(folder)}\0{path.stat().st_mode & 0o777:o}\0{content}\n".encode())
    return whole.hexdigest()


def supports_overlay(folder: Path) -> bool:
    """Whether an overlay file system can be mounted on top of `folder` (not, say, inside another container)."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        for name in ("lower", "upper", "work", "merged"):
            (Path(scratch) / name).mkdir()
        options = f"lowerdir={scratch}/lower,upperdir={scratch}/upper,workdir={scratch}/work"
        command = f"mount -t overlay overlay -o {options} {scratch}/merged"
        try:
            # In a mount namespace of its own: there is nothing to unmount afterwards.
            run(["unshare", "--mount", "sh", "-c", command], what="Trying an overlay mount")
        except ClusterError:
            return False
    return True


def _archives() -> Path:
    folder = cache_dir() / "images"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _prune(name: str) -> None:
    archives = sorted(_archives().glob(f"{name}-*.tar"), key=lambda path: path.stat().st_mtime, reverse=True)
    for archive in archives[_KEPT_ARCHIVES:]:
        archive.unlink()


@contextmanager
def _new_archive(archive: Path) -> Iterator[Path]:
    """A scratch path that becomes `archive` when the block ends well."""
    scratch = archive.with_name(f".{archive.name}.{os.getpid()}")
    try:
        yield scratch
        scratch.rename(archive)
    finally:
        scratch.unlink(missing_ok=True)


def _buildah(*arguments: str | Path, what: str) -> str:
    cache = cache_dir()
    # Overlay is three times as fast as vfs, which works everywhere. What was built with one the other can't see.
    driver = "overlay" if supports_overlay(cache) else "vfs"
    storage: list[str | Path] = ["--root", cache / f"buildah-{driver}", "--runroot", f"/run/wsroute-buildah-{driver}"]
    # In a mount namespace of its own: buildah leaves mounts behind.
    return run(
        ["unshare", "--mount", "buildah", *storage, "--storage-driver", driver, *arguments],
        what=what,
        env={"BUILDAH_ISOLATION": "chroot"},
    )


def _has_image(reference: str) -> bool:
    try:
        _buildah("inspect", "--type", "image", "--format", "{{.FromImageID}}", reference, what="Looking for an image")
    except ClusterError:
        return False
    return True


def build_pause() -> Path:
    """The archive of the pause image."""
    source = _PAUSE_SOURCE.read_bytes()
    digest = hashlib.sha256(source + platform.machine().encode()).hexdigest()[:12]
    archive = _archives() / f"pause-{digest}.tar"
    if not archive.exists():
        with step("Building the image pause"), tempfile.TemporaryDirectory() as folder:
            program = Path(folder) / "pause"
            run(["gcc", "-Os", "-static", "-s", "-o", program, _PAUSE_SOURCE], what="Compiling pause.c")
            with _new_archive(archive) as scratch:
                scratch.write_bytes(
                    docker_archive(program.read_bytes(), reference=PAUSE_IMAGE, machine=platform.machine())
                )
    return archive


def _base() -> str:
    """The reference of the Debian base image in buildah's storage; makes it when it is not there."""
    excluded = [f"path-exclude=/usr/share/{folder}/*" for folder in ("doc", "locale", "man")]
    recipe = [f"--dpkgopt={line}" for line in excluded]
    recipe += ["--variant=essential", f"--include={','.join(BASE_PACKAGES)}", SUITE]
    digest = hashlib.sha256(json.dumps([recipe, platform.machine()]).encode()).hexdigest()[:12]
    reference = f"localhost/wsroute/base:{digest}"
    if _has_image(reference):
        return reference
    with (
        step(f"Making the base image (Debian {SUITE}, Python)", hint="half a minute"),
        tempfile.TemporaryDirectory(dir=cache_dir(), prefix=_SCRATCH) as folder,
    ):
        root = Path(folder) / "base.tar"
        run(["mmdebstrap", "--quiet", *recipe, root, debian.mirror()], what="Making a Debian root with mmdebstrap")
        container = _buildah("from", "scratch", what="Starting the base image").strip()
        try:
            _buildah("add", "--quiet", container, root, "/", what="Filling the base image")
            _buildah("commit", "--quiet", container, reference, what="Writing the base image")
        finally:
            _buildah("rm", container, what="Removing the working container")
    return reference


def _remove_crashed_builds(*, current: Path) -> None:
    """Removes what killed builds left; the caller holds the lock, so that nobody else is building."""
    crashed = [folder for folder in cache_dir().glob(f"{_SCRATCH}*") if folder != current]
    for folder in crashed:
        shutil.rmtree(folder)
    for scratch in _archives().glob(".*"):
        scratch.unlink()
    if crashed:
        _buildah("rm", "--all", what="Removing the working containers of a killed build")


def build(image: Image) -> Path:
    """The archive of one image; builds it from its Dockerfile when anything that it is made from has changed."""
    if not image.dockerfile.exists():
        raise ClusterError(f"The image {image.name} can't be built: {image.dockerfile} is missing.")
    cache_dir().mkdir(parents=True, exist_ok=True)
    with (
        lock(cache_dir() / "images.lock", busy="Waiting for another process that builds images"),
        tempfile.TemporaryDirectory(dir=cache_dir(), prefix=_SCRATCH) as folder,
    ):
        context = Path(folder)
        _remove_crashed_builds(current=context)
        image.prepare(context)
        base = _base()
        inputs = "\0".join([base, image.dockerfile.read_text(), digest_of_tree(context)])
        archive = _archives() / f"{image.name}-{hashlib.sha256(inputs.encode()).hexdigest()[:12]}.tar"
        if archive.exists():
            archive.touch()
            return archive
        with step(f"Building the image {image.name}"):
            _buildah(
                "build", "--quiet", "--layers", "--force-rm", "--pull-never", "--file", image.dockerfile, "--build-arg",
                f"BASE={base}", "--tag", image.reference, context,
                what=f"Building the image {image.name}",
            )  # fmt: skip
            with _new_archive(archive) as scratch:
                # Docker's format leaves the layers unpacked: faster to write and to read than gzip.
                _buildah(
                    "push", "--quiet", image.reference, f"docker-archive:{scratch}:{image.reference}",
                    what=f"Writing the image {image.name}",
                )  # fmt: skip
        _prune(image.name)
    return archive


def load(paths: ClusterPaths, archives: Iterable[tuple[str, Path]], *, snapshotter: str) -> list[str]:
    """Imports archives (by image name) into the cluster's containerd unless it has them; returns what was imported."""
    held = dict(state.load_mapping(paths.images_file))
    changed = {name: archive for name, archive in archives if held.get(name) != archive.name}
    if not changed:
        return []
    merged = paths.root / "import.tar"
    with step(f"Importing {'the image' if len(changed) == 1 else 'the images'} {', '.join(changed)}"):
        merge(changed.values(), merged)
        run(
            [
                "ctr", "--address", paths.containerd_socket, "--namespace", "k8s.io", "images", "import",
                "--snapshotter", snapshotter, merged,
            ],
            what="Importing images into containerd",
        )  # fmt: skip
        merged.unlink()
    held |= {name: archive.name for name, archive in changed.items()}
    state.write_atomically(paths.images_file, json.dumps(held))
    return list(changed)
