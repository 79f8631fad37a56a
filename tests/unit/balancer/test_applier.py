"""What the applier does with files; what it does with nginx is tested with a real one."""

import hashlib
import os
from pathlib import Path

import pytest

from wsroute.balancer.admin import running_version
from wsroute.balancer.applier import KEPT, Applier, start_script

VERSION = "0123456789ab"


def applier(tmp_path: Path) -> Applier:
    for name in ("conf", "run"):
        (tmp_path / name).mkdir()
    return Applier(conf=tmp_path / "conf", run=tmp_path / "run")


def test_a_version_is_written_as_it_is_and_for_the_group(tmp_path: Path) -> None:
    applier(tmp_path).stage(VERSION, "a\r\nü\n")
    file = tmp_path / "conf" / f"{VERSION}.conf"
    assert file.read_bytes() == "a\r\nü\n".encode()
    assert file.stat().st_mode & 0o777 == 0o640
    assert [path.name for path in (tmp_path / "conf").iterdir()] == [file.name]


@pytest.mark.parametrize("version", ["", "../etc", "0123456789AB", "0123456789ab\n", "bootstrap"])
def test_only_versions_are_written(tmp_path: Path, version: str) -> None:
    with pytest.raises(ValueError, match="is not a version"):
        applier(tmp_path).stage(version, "")
    assert not list((tmp_path / "conf").iterdir())


def test_old_versions_go_but_what_is_in_use_stays(tmp_path: Path) -> None:
    under_test = applier(tmp_path)
    conf = tmp_path / "conf"
    (conf / "bootstrap.conf").touch()
    (conf / "start.sh").touch()
    versions = [f"{number:012x}" for number in range(KEPT + 6)]
    (tmp_path / "run" / "nginx.conf").symlink_to(conf / f"{versions[0]}.conf")
    for number, version in enumerate(versions):
        under_test.stage(version, "", keep=[versions[1]])
        os.utime(conf / f"{version}.conf", (number, number))
    kept = {versions[0], versions[1], *versions[-KEPT - 1 :]}
    assert {path.name for path in conf.iterdir()} == {f"{version}.conf" for version in kept} | {
        "bootstrap.conf",
        "start.sh",
    }


def script(text: str) -> tuple[str, str]:
    return f"wsroute-{hashlib.sha256(text.encode()).hexdigest()[:12]}.js", text


def test_scripts_are_written_beside_the_versions_that_name_them(tmp_path: Path) -> None:
    under_test = applier(tmp_path)
    name, text = script("export default {};\n")
    under_test.stage(VERSION, "", scripts={name: text})
    file = tmp_path / "conf" / name
    assert file.read_text() == text
    assert file.stat().st_mode & 0o777 == 0o640
    under_test.stage("ba9876543210", "")
    assert file.exists(), "the version before names it"


def test_old_scripts_go_but_those_of_the_version_stay(tmp_path: Path) -> None:
    under_test = applier(tmp_path)
    conf = tmp_path / "conf"
    (conf / "admin.js").touch()
    names = [script(str(number))[0] for number in range(KEPT + 3)]
    for number, name in enumerate(names):
        under_test.stage(VERSION, "", scripts={name: "", names[0]: ""})
        os.utime(conf / name, (number, number))
    kept = {names[0], *names[-KEPT - 1 :]}
    assert {path.name for path in conf.glob("*.js")} == {*kept, "admin.js"}


@pytest.mark.parametrize("name", ["", "../x.js", "wsroute.js", "wsroute-0123456789AB.js", "wsroute-0123456789ab.js\n"])
def test_only_scripts_are_written(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="is not the name of a script"):
        applier(tmp_path).stage(VERSION, "", scripts={name: ""})
    assert not list((tmp_path / "conf").iterdir())


def test_a_start_of_nginx_has_a_name_of_its_own(tmp_path: Path) -> None:
    under_test = applier(tmp_path)
    assert under_test.instance() == ""
    file = tmp_path / "run" / "master"
    file.write_text("7")
    os.utime(file, ns=(1, 1))
    first = under_test.instance()
    assert first == under_test.instance() != ""
    file.unlink()
    file.write_text("7")
    os.utime(file, ns=(2, 2))
    assert under_test.instance() not in ("", first)


def test_nginx_s_version_is_data(tmp_path: Path) -> None:
    under_test = applier(tmp_path)
    assert under_test.nginx_version() == ""
    file = tmp_path / "run" / "nginx-version"
    file.write_text("1.31.3\n")
    assert under_test.nginx_version() == "1.31.3"
    for nonsense in ("x" * 1000, "1.2\nforged", "", "1..2", "١.٢"):
        file.write_text(nonsense)
        assert under_test.nginx_version() == ""
    file.unlink()
    file.symlink_to("/etc/hostname")
    assert under_test.nginx_version() == ""


async def test_nobody_answers_without_an_admin_socket(tmp_path: Path) -> None:
    assert await running_version(tmp_path) is None


def test_the_start_script_is_in_the_package() -> None:
    assert start_script().startswith("#!/bin/sh\n")
