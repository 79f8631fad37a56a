"""The njs module of the Dynamic data plane: one file beside nginx.conf, named by its content."""

import hashlib
from dataclasses import dataclass
from importlib.resources import files
from typing import Final

_PARTS: Final = ("table", "sockets", "choice", "handshake", "certificate")
_ADMIN: Final = ("ready", "describe", "change", "entries", "flip", "clear", "sockets")
_IMPORTS: Final = "import crypto from 'crypto';\nimport fs from 'fs';\n"
_DIGEST_LENGTH: Final = 12


@dataclass(frozen=True, slots=True)
class Script:
    """A file's name and text. Another text has another name, so that old workers and new ones find their own."""

    name: str
    text: str


def _joined() -> Script:
    folder = files("wsroute.nginx") / "njs"
    parts = [(folder / f"{part}.js").read_text(encoding="utf-8") for part in (*_PARTS, "admin", "module")]
    # Functions within a function are made when that is called. All others are made for each request, and kept for as
    # long as its socket lives.
    parts[-2] = f"function admin() {{\n{parts[-2]}\nreturn {{{', '.join(_ADMIN)}}};\n}}\n"
    text = _IMPORTS + "".join(f"\n{part}" for part in parts)
    return Script(f"wsroute-{hashlib.sha256(text.encode()).hexdigest()[:_DIGEST_LENGTH]}.js", text)


SCRIPT: Final = _joined()
"""What nginx loads with a Dynamic balancer's configuration."""
