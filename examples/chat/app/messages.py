"""What goes over the chat's socket: JSON texts, read with suspicion and written in one place.

From a client::

    {"from": "Calm Otter", "text": "hello"}

To a client, told apart by ``type``::

    {"type": "hello", "pod": …, "balancer": …, "you": …, "people": 2, "history": [message, …]}      first, and once
    {"type": "message", "id": …, "sender": …, "from": …, "text": …, "at": …, "pod": …}
    {"type": "people", "people": 3}
    {"type": "error", "error": "a sentence"}                                        only to the client that it is about
"""

import json
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass

MESSAGE_BYTES = 4096
"""The longest text that a client may send, in bytes of UTF-8."""

NAME_LENGTH = 40
"""The longest name, in characters."""


class BadMessageError(ValueError):
    """A client sent what the chat can't use. The text is a sentence for that client."""


@dataclass(frozen=True, slots=True)
class Said:
    """What a client said, validated: both fields hold something to show and no control characters."""

    author: str
    text: str


@dataclass(frozen=True, slots=True)
class Message:
    """One message as everybody gets it.

    ``id`` is unique, so that a page that reconnects can drop what it shows already; ``sender`` stands for one
    socket, so that a page knows its own messages; ``at`` is ISO 8601 in UTC; ``pod`` served the author.
    """

    id: str
    sender: str
    said: Said
    at: str
    pod: str


def parse_said(raw: str | bytes) -> Said:
    """Read one frame from a client. Raises BadMessageError with a sentence that says what is wrong."""
    if isinstance(raw, bytes):
        raise BadMessageError("Send JSON as text, not as a binary frame.")
    if len(raw.encode()) > MESSAGE_BYTES:
        raise BadMessageError(f"The message is longer than {MESSAGE_BYTES} bytes.")
    try:
        content = json.loads(raw)
    except (ValueError, RecursionError):  # RecursionError: thousands of opening brackets
        raise BadMessageError("The message is not JSON.") from None
    if not isinstance(content, dict):
        raise BadMessageError('The message must be a JSON object with "from" and "text".')
    author = _field(content, name="from", allowed="")
    if len(author) > NAME_LENGTH:
        raise BadMessageError(f'"from" is longer than {NAME_LENGTH} characters.')
    return Said(author=author, text=_field(content, name="text", allowed="\n\t"))


def _field(content: dict[str, object], *, name: str, allowed: str) -> str:
    value = content.get(name)
    if not isinstance(value, str) or not value.strip():
        raise BadMessageError(f'"{name}" must be a text that is not empty.')
    # Cc: control characters; Cs: halves of surrogate pairs, which JSON can smuggle in and UTF-8 can't carry.
    if any(unicodedata.category(char) in {"Cc", "Cs"} and char not in allowed for char in value):
        raise BadMessageError(f'"{name}" holds control characters.')
    return value.strip()


def hello(*, pod: str, balancer: str, you: str, people: int, history: Iterable[Message]) -> str:
    """The first message on every socket: who serves it, through which pod of the balancer (empty without one), who you
    are, how many are here, what was said last."""
    return json.dumps(
        {
            "type": "hello",
            "pod": pod,
            "balancer": balancer,
            "you": you,
            "people": people,
            "history": [_shape(item) for item in history],
        }
    )


def message(item: Message) -> str:
    """One message, to everybody."""
    return json.dumps(_shape(item))


def people(count: int) -> str:
    """How many are here, to everybody, whenever somebody comes or goes."""
    return json.dumps({"type": "people", "people": count})


def error(sentence: str) -> str:
    """What was wrong with a client's message, to that client."""
    return json.dumps({"type": "error", "error": sentence})


def _shape(item: Message) -> dict[str, str]:
    return {
        "type": "message",
        "id": item.id,
        "sender": item.sender,
        "from": item.said.author,
        "text": item.said.text,
        "at": item.at,
        "pod": item.pod,
    }
