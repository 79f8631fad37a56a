"""The structure of nginx's language, held against an independent parser."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import crossplane
import pytest

from wsroute.nginx.structure import DEPTH_LIMIT, StructureError, directives

GOLDEN = sorted((Path(__file__).parents[2] / "golden").glob("*/nginx.conf"))


def seen(text: str) -> list[tuple[tuple[str, ...], tuple[str, ...]]]:
    return [(directive.blocks, directive.words) for directive in directives(text)]


def flat(parsed: list[dict[str, Any]], blocks: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], str]]:
    found = []
    for directive in parsed:
        name = directive["directive"].replace("\\n", "\n")  # escapes are left as they are
        found.append((blocks, name))
        found += flat(directive.get("block", []), (*blocks, directive["directive"]))
    return found


@pytest.mark.parametrize("file", GOLDEN, ids=lambda file: file.parent.name)
def test_it_sees_what_another_parser_sees(file: Path) -> None:
    payload = crossplane.parse(str(file), single=True, check_ctx=False, check_args=False)
    assert payload["status"] == "ok", json.dumps(payload["errors"])
    ours = [(directive.blocks, directive.name) for directive in directives(file.read_text(encoding="utf-8"))]
    assert ours == flat(payload["config"][0]["parsed"])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        ("# only { a; comment", []),
        ("a;", [((), ("a",))]),
        ("a b{c;}d;", [((), ("a", "b")), (("a",), ("c",)), ((), ("d",))]),
        ("a 'b;{}\"#';", [((), ("a", 'b;{}"#'))]),
        (r'a "\"\\\n";', [((), ("a", '"\\\n'))]),
        ("a ${b}c;", [((), ("a", "${b}c"))]),
        ("a b#c;", [((), ("a", "b#c"))]),
        ("a b}c;", [((), ("a", "b}c"))]),
        (r"a b\;c\ d;", [((), ("a", r"b\;c\ d"))]),
        ("a\n#;\nb;", [((), ("a", "b"))]),
        ("a {} b {c {}}", [((), ("a",)), ((), ("b",)), (("b",), ("c",))]),
    ],
)
def test_words_and_blocks(text: str, expected: list[Any]) -> None:
    assert seen(text) == expected


def test_a_directive_knows_its_place() -> None:
    text = "a;\nb  c ; d { e; }"
    assert [text[found.start : found.end] for found in directives(text)] == ["a;", "b  c ;", "d {", "e;"]


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("a;\n}", 2, 'unexpected "}"'),
        ("a;\n;", 2, 'unexpected ";"'),
        ("{", 1, 'unexpected "{"'),
        ("a { b }", 1, 'unexpected "}"'),
        ("a\nb", 1, 'the directive "a" has no end'),
        ("a {\nb;\n", 3, 'the block "a" is not closed'),
        ('a;\na "b;\n', 2, 'a " is not closed'),
        ("a 'b'c;", 1, "behind a closing '"),
        ("a b\\", 1, "a backslash stands at the end"),
    ],
)
def test_what_is_no_configuration(text: str, line: int, words: str) -> None:
    with pytest.raises(StructureError) as refusal:
        directives(text)
    assert words in str(refusal.value)
    assert refusal.value.line == line


def test_nesting_has_an_end() -> None:
    most = "a {\n" * DEPTH_LIMIT + "b;" + "}" * DEPTH_LIMIT
    assert seen(most)[-1] == (("a",) * DEPTH_LIMIT, ("b",))
    with pytest.raises(StructureError, match="nested more than 100 deep") as refusal:
        directives("a {\n" + most + "}")
    assert refusal.value.line == DEPTH_LIMIT + 1


@pytest.mark.parametrize(
    "long",
    [
        lambda size: "a;" * size,
        lambda size: "a{b{c;}}" * size,
        lambda size: "#" * 4 * size,
        lambda size: "a " * size + ";",
        lambda size: " " * 4 * size,
    ],
    ids=["directives", "blocks", "a comment", "words", "blanks"],
)
def test_what_is_long_takes_time_by_its_length(long: Callable[[int], str]) -> None:
    """And not by the square of it, with which this would be 64 times as much."""

    def seconds(text: str) -> float:
        began = time.process_time()
        directives(text)
        return time.process_time() - began

    def least(size: int) -> float:
        """Without what else falls into one of them, such as a collection of garbage."""
        return min(seconds(long(size)) for _ in range(3))

    assert least(16_000) < 24 * least(2_000) + 0.01
