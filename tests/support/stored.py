"""What nginx's njs keeps in its dictionaries: a test sees it, and writes there, over the admin socket."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from tests.support.nginx_runner import Nginx

SCRIPT: Final = """
function answer(r) {
    const asked = JSON.parse(r.requestText);
    const dictionary = ngx.shared[asked.name];
    Object.keys(asked.put).forEach((key) => dictionary.set(key, asked.put[key]));
    asked.forget.forEach((key) => dictionary.delete(key));
    r.return(200, JSON.stringify(asked.fill === null ? dictionary.items(1 << 24) : fill(dictionary, asked.fill)));
}

// Until no page is free beyond so many bytes; for -1 until there is no room at all.
function fill(dictionary, spare) {
    const keys = [];
    try {
        while (dictionary.freeSpace() > spare) {
            const key = 'filler ' + ('' + keys.length).padStart(20, '0');
            dictionary.set(key, 1);
            keys.push(key);
        }
    } catch (_) {
        // That was the last one.
    }
    return keys;
}

export default {answer};
"""


def with_stored(text: str, folder: Path) -> str:
    """A configuration with a place for :class:`Stored` on the admin socket."""
    script = folder / "stored.js"
    script.write_text(SCRIPT, encoding="utf-8")
    text = text.replace("location = /table ", "location = /stored { js_content stored.answer; }\nlocation = /table ")
    return re.sub(r"( *)js_import .*", rf"\g<0>\n\1js_import stored from {script};", text, count=1)


class Stored:
    """One dictionary of an nginx with such a configuration."""

    def __init__(self, nginx: Nginx, name: str) -> None:
        self._nginx = nginx
        self._name = name
        self._fillers: list[str] = []

    def items(self) -> dict[str, int | str]:
        """What it holds, but for what fills it."""
        found: list[tuple[str, int | str]] = self._ask()
        return {key: value for key, value in found if not key.startswith("filler ")}

    def put(self, items: Mapping[str, int | str]) -> None:
        """Set these keys."""
        self._ask(put=items)

    def fill(self, *, left: int) -> None:
        """Leave room for so many new keys, in a dictionary of numbers. nginx gives blocks of powers of two: it is room
        for keys of 17 to 144 characters, and shorter ones have none."""
        fillers = self._ask(fill=-1)
        # These have a page together, which stays in use.
        self._ask(forget=fillers[:left])
        self._fillers = fillers[left:]

    def fill_to(self, spare: int) -> None:
        """Leave so many bytes."""
        self._fillers = self._ask(fill=spare)

    def make_room(self) -> None:
        """Take out what fills it."""
        self._ask(forget=self._fillers)

    def _ask(self, *, put: object = None, forget: object = None, fill: int | None = None) -> list[Any]:
        body = {"name": self._name, "put": put or {}, "forget": forget or [], "fill": fill}
        status, answer = self._nginx.ask_admin("/stored", body=json.dumps(body))
        assert status == 200, self._nginx.error_log()
        found: list[Any] = json.loads(answer)
        return found
