"""The njs module: one file, named by its content."""

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from wsroute.nginx import script
from wsroute.nginx.script import PARTS, SCRIPT, Later

FOLDER = Path(script.__file__).parent / "njs"


def scopes(parts: tuple[str | Later, ...], name: str = "module", around: str = "") -> Iterator[tuple[str, str]]:
    """What is in sight where: the files of the module, or of a later part with what is around it."""
    later = [part for part in parts if isinstance(part, Later)]
    heads = "".join(f"function {part.head} {{}}\n" for part in later)
    own = around + "".join(text_of(part) for part in parts if isinstance(part, str)) + heads
    yield name, own
    for part in later:
        yield from scopes(part.parts, part.head.partition("(")[0], own)


def text_of(part: str) -> str:
    return (FOLDER / f"{part}.js").read_text(encoding="utf-8")


SCOPES = dict(scopes(PARTS))
each_scope = pytest.mark.parametrize("scope", SCOPES.values(), ids=SCOPES)


def test_its_name_tells_its_content() -> None:
    assert f"wsroute-{hashlib.sha256(SCRIPT.text.encode()).hexdigest()[:12]}.js" == SCRIPT.name


def test_all_that_nginx_calls_is_exported() -> None:
    exported = SCRIPT.text.partition("export default {")[2]
    for name in ("decide", "undo", "release", "repairCounts", "certificate", "admin"):
        assert re.search(rf"\b{name}\b", exported), name


def test_no_file_is_left_out() -> None:
    assert all(file.read_text(encoding="utf-8") in SCRIPT.text for file in FOLDER.glob("*.js"))


@each_scope
def test_nothing_is_declared_twice(scope: str) -> None:
    names = re.findall(r"^(?:function|const|let) (\w+)", scope, re.MULTILINE)
    assert sorted(names) == sorted(set(names))


@each_scope
def test_a_constant_stands_before_what_uses_it(scope: str) -> None:
    for match in re.finditer(r"^const (\w+)", scope, re.MULTILINE):
        first = re.search(rf"(?<![\w.'@-])(?<!// ){match[1]}\b", scope)
        assert first is not None
        assert first.start() == match.start(1), match[1]


@each_scope
def test_what_is_used_is_in_sight(scope: str) -> None:
    declared = {*re.findall(r"^(?:const|function) (\w+)", SCRIPT.text, re.MULTILINE)}
    code = re.sub(r"//.*|'[^'\n]*'", "", scope)
    for name in declared & {*re.findall(r"(?<![\w.])[A-Z][A-Z_]+\b|(?<![\w.])[a-z]\w+(?=\()", code)}:
        assert re.search(rf"^(?:const|function) {name}\b", scope, re.MULTILINE), name
