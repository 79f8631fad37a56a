"""The page: three source files joined into one HTML document.

One document, because a page that asks for no further files works at any path, with or without a trailing slash and
whether or not the route rewrites the prefix.
"""

import base64
import hashlib
from dataclasses import dataclass
from pathlib import Path

WEB = Path(__file__).parent / "web"


@dataclass(frozen=True, slots=True)
class Page:
    """The document's bytes and the Content-Security-Policy that allows exactly its own style and script."""

    body: bytes
    policy: str


def load_page() -> Page:
    """Join index.html, chat.css and chat.js. Read once, at start."""
    style = (WEB / "chat.css").read_text(encoding="utf-8")
    script = (WEB / "chat.js").read_text(encoding="utf-8")
    html = (WEB / "index.html").read_text(encoding="utf-8")
    policy = "; ".join(
        [
            "default-src 'none'",
            f"style-src {_digest(style)}",
            f"script-src {_digest(script)}",
            "img-src data:",
            "connect-src 'self'",  # the socket: same host, same port
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
        ]
    )
    joined = html.replace("/* chat.css */", style).replace("/* chat.js */", script)
    return Page(body=joined.encode(), policy=policy)


def _digest(source: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(source.encode()).digest()).decode()}'"
