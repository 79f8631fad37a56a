"""Whole files, to be read: each folder holds a model in input.py and the nginx.conf that it becomes in a pod.

``pytest tests/golden --regen`` writes the files anew; read the difference before you commit it.
"""

import re
import runpy
from pathlib import Path

import pytest

from tests.support.certificates import Authority, rsa_key
from tests.support.nginx_runner import check, local_options, make_paths, short_folder
from tests.support.ports import free_ports
from wsroute.dataplane.ir import Configuration
from wsroute.nginx.paths import POD_OPTIONS, POD_PATHS, Options, Paths
from wsroute.nginx.render import bootstrap, render

CASES = sorted(file.parent for file in Path(__file__).parent.glob("*/input.py"))


def model(case: Path) -> Configuration | None:
    """The model of a case."""
    found: Configuration | None = runpy.run_path(str(case / "input.py"))["CONFIGURATION"]
    return found


def text(case: Path, paths: Paths, options: Options) -> str:
    """The file of a case, somewhere. A case without a model is the configuration before the first version."""
    configuration = model(case)
    return (
        bootstrap(paths, options=options)
        if configuration is None
        else render(configuration, paths, options=options).text
    )


def name(case: Path) -> str:
    """How the test report calls a case."""
    return case.name


@pytest.mark.parametrize("case", CASES, ids=name)
def test_the_file_is_the_expected_one(case: Path, *, regenerate: bool) -> None:
    expected = case / "nginx.conf"
    rendered = text(case, POD_PATHS, POD_OPTIONS)
    if regenerate:
        expected.write_text(rendered, encoding="utf-8")
    assert rendered == expected.read_text(encoding="utf-8")


@pytest.mark.nginx
@pytest.mark.parametrize("case", CASES, ids=name)
def test_nginx_takes_it_without_a_word(case: Path) -> None:
    [readiness] = free_ports(1)
    with short_folder() as folder:
        paths = make_paths(folder)
        put_certificates(model(case), Path(paths.certificates))
        assert check(text(case, paths, local_options(readiness)), folder) == ""


def put_certificates(configuration: Configuration | None, folder: Path) -> None:
    """Write a certificate for each file that a model names; there the names are no digests."""
    folder.mkdir()
    for listener in configuration.listeners if configuration is not None else ():
        for served in listener.tls.certificates if listener.tls is not None else ():
            pair = Authority().issue(*served.names, key=rsa_key() if served.key_type == "RSA" else None)
            (folder / f"{served.file}.pem").write_bytes(pair.certificate().pem)


@pytest.mark.parametrize("case", CASES, ids=name)
def test_no_map_copies_the_first_line_of_every_request(case: Path) -> None:
    """The copy lives as long as the socket, and clients put tokens of thousands of characters there."""
    maps = re.findall(r"(?m)^ *map +(.*) +\$\w+ \{", (case / "nginx.conf").read_text(encoding="utf-8"))
    assert maps or case.name == "bootstrap"
    assert [looks_at for looks_at in maps if re.search(r"\$(request|request_uri|args|query_string)\b", looks_at)] == []


@pytest.mark.parametrize("case", CASES, ids=name)
def test_it_is_neat(case: Path) -> None:
    lines = (case / "nginx.conf").read_text(encoding="utf-8").split("\n")
    assert lines[-1] == ""
    assert max(len(line) for line in lines) <= 120
    assert [line for line in lines if line != line.rstrip() or "\t" in line] == []
    assert not [number for number, line in enumerate(lines[:-2]) if not line and not lines[number + 1]]
    depth = 0
    for line in lines:
        code = line.split("#")[0].strip()
        depth -= code == "}"
        continued = code.startswith("'") or code == ""
        assert continued or len(line) - len(line.lstrip()) in (4 * depth, 4 * depth + 4 * (code[:1] == "'")), line
        depth += code.endswith("{")
    assert depth == 0
