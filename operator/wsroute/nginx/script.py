"""The njs module of the Dynamic data plane: one file beside nginx.conf, named by its content."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.resources import files
from typing import Final, NamedTuple


class Later(NamedTuple):
    """A function that makes those of its parts when it is called, and gives ``result``."""

    head: str
    result: str
    parts: "tuple[str | Later, ...]"


PARTS: Final[tuple[str | Later, ...]] = (
    "table",
    "sockets",
    "report",
    "release",
    Later(
        "decide(r)",
        "decideNow(r)",
        (
            "asked",
            "lookup",
            "record",
            "taking",
            "choice",
            "handshake",
            "hop",
            Later("origins()", "{covers}", ("origins",)),
            Later("policies()", "{choose}", ("groups", "policies")),
            Later("other()", "{goOn, timeoutClass}", ("other",)),
            Later("retry()", "{goOn: decideAgain}", ("failure", "retry")),
        ),
    ),
    Later(
        "judge(r)",
        "judgeNow(r)",
        ("asked", "lookup", "record", "handshake", Later("origins()", "{covers}", ("origins",)), "judge"),
    ),
    Later("undo(r)", "takeBack(r)", ("asked", "taking", "failure", "undo")),
    Later("registerWorker(pid)", "register(pid)", ("process", "register")),
    Later("repairCounts()", "repair()", ("process", "repair")),
    Later("certificate(r)", "nameFiles(r)", ("files", "certificate")),
    Later("admin(r)", "answer(r)", ("record", "groups", "files", "admin")),
    "module",
)
"""The files of the folder njs, without their suffix.

nginx runs the module anew for each request, which takes 60 ns and 256 bytes for each function: what all requests need
is made at once, and the rest where it is needed."""

_IMPORTS: Final = "import crypto from 'crypto';\nimport fs from 'fs';\n"
_DIGEST_LENGTH: Final = 12


@dataclass(frozen=True, slots=True)
class Script:
    """A file's name and text. Another text has another name, so that old workers and new ones find their own."""

    name: str
    text: str


def _joined() -> Script:
    text = f"{_IMPORTS}\n{_text(PARTS)}"
    return Script(f"wsroute-{hashlib.sha256(text.encode()).hexdigest()[:_DIGEST_LENGTH]}.js", text)


def _text(parts: Iterable[str | Later]) -> str:
    return "\n".join(_part(part) for part in parts)


def _part(part: str | Later) -> str:
    if isinstance(part, Later):
        return f"function {part.head} {{\n{_text(part.parts)}\nreturn {part.result};\n}}\n"
    return (files("wsroute.nginx") / "njs" / f"{part}.js").read_text(encoding="utf-8")


SCRIPT: Final = _joined()
"""What nginx loads with a Dynamic balancer's configuration."""
