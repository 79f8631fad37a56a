"""The njs module: one file, named by its content."""

import hashlib
import re

from wsroute.nginx.script import SCRIPT


def test_its_name_tells_its_content() -> None:
    assert f"wsroute-{hashlib.sha256(SCRIPT.text.encode()).hexdigest()[:12]}.js" == SCRIPT.name


def test_all_that_nginx_calls_is_exported() -> None:
    exported = SCRIPT.text.partition("export default {")[2]
    for name in ("decide", "undo", "release", "repairCounts", "ready", "change", "sockets"):
        assert re.search(rf"\b{name}\b", exported), name


def test_nothing_is_declared_twice() -> None:
    names = re.findall(r"^(?:function|const|let) (\w+)", SCRIPT.text, re.MULTILINE)
    assert sorted(names) == sorted(set(names))


def test_a_constant_stands_before_what_uses_it() -> None:
    for match in re.finditer(r"^const (\w+)", SCRIPT.text, re.MULTILINE):
        first = re.search(rf"(?<![\w.'@-])(?<!// ){match[1]}\b", SCRIPT.text)
        assert first is not None
        assert first.start() == match.start(1), match[1]
