"""Binaries, packages and images: the parts that need no tool."""

import hashlib
import io
import json
import tarfile
from pathlib import Path

import pytest

from localcluster import archive, binaries, debian, debiannginx, imagebuild, images, pythonpackages
from localcluster.errors import ClusterError

GO_MOD = (binaries.MODULE / "go.mod").read_text()
HELM_GO_MOD = (binaries.HELM_MODULE / "go.mod").read_text()


def test_every_staging_module_is_of_the_same_release() -> None:
    version = binaries.kubernetes_version(GO_MOD)
    staging = f"v0.{version.partition('.')[2]}"
    replaced = [line.split() for line in GO_MOD.splitlines() if line.startswith("replace k8s.io/")]
    assert len(replaced) == 33
    assert {(fields[1] == fields[3], fields[4]) for fields in replaced} == {(True, staging)}


def test_every_program_is_a_tool_of_the_module() -> None:
    tools = {line.rpartition("/")[2] for line in GO_MOD.splitlines() if line.startswith("tool k8s.io/kubernetes/cmd/")}
    assert tools == set(binaries.PROGRAMS)


def test_helm_is_a_tool_of_its_module() -> None:
    assert f"tool {binaries.HELM}/cmd/helm" in HELM_GO_MOD.splitlines()
    assert binaries.required_version(HELM_GO_MOD, binaries.HELM).startswith("v4.")


def test_the_version_goes_into_the_programs() -> None:
    flags = binaries.link_flags("v1.36.3")
    for setting in ("gitVersion=v1.36.3", "gitMajor=1", "gitMinor=36"):
        assert f"-X k8s.io/component-base/version.{setting}" in flags


@pytest.mark.parametrize("text", ["", "require k8s.io/kubernetes\n", "require k8s.io/kubernetes latest\n"])
def test_a_module_without_a_version_is_refused(text: str) -> None:
    with pytest.raises(ClusterError, match="names no version"):
        binaries.kubernetes_version(text)


def test_only_what_is_fully_installed_counts() -> None:
    listing = "ii  runc\nrc  buildah\niU  gcc\nii  libc6-dev\n\n"
    assert debian.parse_installed(listing) == {"runc", "libc6-dev"}


def test_the_main_mirror_is_found_among_the_others() -> None:
    targets = (
        "Debian bookworm-security http://mirror.example/debian-security/\n"
        "Other stable http://other.example/\n"
        "Debian bookworm-updates http://mirror.example/debian/\n"
        "Debian bookworm http://mirror.example/debian/\n"
    )
    assert debian.parse_mirror(targets) == "http://mirror.example/debian/"
    assert debian.parse_mirror("Ubuntu noble http://mirror.example/ubuntu/\n\n") == ""


def test_each_week_has_an_nginx_of_its_own() -> None:
    monday = 1_796_000_400 - 1_796_000_400 % 604_800 + 4 * 86_400
    assert debiannginx.folder_name(monday) == debiannginx.folder_name(monday + 604_799)
    assert debiannginx.folder_name(monday) != debiannginx.folder_name(monday - 1)


def test_wheels_for_older_c_libraries_are_taken_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    names = pythonpackages.platforms()
    assert names.index("manylinux_2_28_x86_64") < names.index("manylinux_2_17_x86_64")
    assert "manylinux2014_x86_64" in names


def _files(data: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(data)) as opened:
        return {entry.name: content.read() for entry in opened if (content := opened.extractfile(entry))}


def test_the_pause_image_is_what_docker_would_save() -> None:
    data = archive.docker_archive(b"\x7fELF", reference="localhost/x:dev", machine="x86_64")
    assert data == archive.docker_archive(b"\x7fELF", reference="localhost/x:dev", machine="x86_64")
    files = _files(data)
    (entry,) = json.loads(files["manifest.json"])
    assert entry["RepoTags"] == ["localhost/x:dev"]
    config = json.loads(files[entry["Config"]])
    (layer,) = entry["Layers"]
    assert config["architecture"] == "amd64"
    assert config["rootfs"]["diff_ids"] == [f"sha256:{hashlib.sha256(files[layer]).hexdigest()}"]
    assert _files(files[layer]) == {"pause": b"\x7fELF"}


def test_a_layer_that_images_share_is_written_once(tmp_path: Path) -> None:
    sources = []
    for name in ("one", "two"):
        sources.append(tmp_path / f"{name}.tar")
        sources[-1].write_bytes(archive.docker_archive(b"same", reference=f"localhost/{name}:dev", machine="x86_64"))
    archive.merge(sources, tmp_path / "merged.tar")
    with tarfile.open(tmp_path / "merged.tar") as merged:
        names = merged.getnames()
    assert len(names) == len(set(names)) == 3
    manifest = json.loads(_files((tmp_path / "merged.tar").read_bytes())["manifest.json"])
    assert [entry["RepoTags"] for entry in manifest] == [["localhost/one:dev"], ["localhost/two:dev"]]


def test_a_context_is_told_apart_by_paths_modes_and_content(tmp_path: Path) -> None:
    file = tmp_path / "folder" / "file"
    file.parent.mkdir()
    file.write_text("a")
    file.chmod(0o644)
    digests = [imagebuild.digest_of_tree(tmp_path)]
    file.touch()
    assert imagebuild.digest_of_tree(tmp_path) == digests[0]
    for change in (lambda: file.write_text("b"), lambda: file.chmod(0o755), lambda: file.rename(tmp_path / "other")):
        change()
        digests.append(imagebuild.digest_of_tree(tmp_path))
    assert len(set(digests)) == 4


def test_every_image_has_its_dockerfile() -> None:
    for image in images.IMAGES:
        assert "ARG BASE" in image.dockerfile.read_text()
        assert images.by_name(image.name).reference == f"localhost/wsroute/{image.name}:dev"
    with pytest.raises(ClusterError, match="there are nginx, operator, chat"):
        images.by_name("other")
