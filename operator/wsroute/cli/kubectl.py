"""Runs kubectl: it knows the user's clusters, contexts and ways to log in, and what the user may do."""

import asyncio
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from wsroute.cli.terminal import printable

TIMEOUT: Final = 60.0
"""Seconds for one command."""


_UNANSWERED: Final = (
    "Unable to connect to the server",
    "The connection to the server ",
    "You must be logged in to the server",
    "(ServiceUnavailable)",
    "(Timeout)",
    "(ServerTimeout)",
    "(TooManyRequests)",
    "couldn't get current server API group list",
    "failed to download openapi",
    "net/http: ",
    "dial tcp",
    "i/o timeout",
    "no such host",
    ": EOF",
)
"""Words of kubectl when it got no answer from an API server."""


class KubectlError(Exception):
    """kubectl did not do it. The text is a sentence for the user; ``words`` is what kubectl said."""

    def __init__(self, message: str, words: str = "") -> None:
        super().__init__(message)
        self.words = words

    @property
    def sentence(self) -> str:
        """All that kubectl said, on one line, without its warnings."""
        lines = [line for line in self.words.splitlines() if not line.startswith("Warning:")]
        return " ".join(" ".join(lines).split()) or str(self)

    @property
    def forbidden(self) -> bool:
        """Whether the user lacks a right."""
        return "(Forbidden)" in self.words or " is forbidden: " in self.words

    @property
    def unanswered(self) -> bool:
        """Whether no API server said so: it is away, does not know the user, or kubectl itself can't be run."""
        if "failed calling webhook" in self.words:
            return False  # the API server is there, and somebody else's webhook is not
        return not self.words or any(sign in self.words for sign in _UNANSWERED)

    @property
    def not_found(self) -> bool:
        """Whether there is no such object."""
        return "(NotFound)" in self.words

    @property
    def no_such_kind(self) -> bool:
        """Whether the cluster does not know the kind."""
        return "the server doesn't have a resource type" in self.words


@dataclass(frozen=True, slots=True)
class Kubectl:
    """``options`` go before each command, such as ``--context``."""

    options: Sequence[str] = ()

    async def json(self, *arguments: str, text: str | None = None) -> Any:
        """A command's output as JSON; ``text`` is its standard input. Raises KubectlError."""
        output = await self.run(*arguments, "-o", "json", text=text)
        return read_json(arguments[0], output)

    async def run(self, *arguments: str, text: str | None = None) -> str:
        """A command's output; ``text`` is its standard input. Raises KubectlError."""
        program = os.environ.get("KUBECTL", "kubectl")
        try:
            process = await asyncio.create_subprocess_exec(
                program,
                *self.options,
                *arguments,
                stdin=asyncio.subprocess.DEVNULL if text is None else asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
            )
        except OSError as error:
            raise KubectlError(
                f"{program} can't be run ({error.strerror}): install kubectl, or name it in the variable KUBECTL."
            ) from None
        try:
            async with asyncio.timeout(TIMEOUT):
                output, errors = await process.communicate(None if text is None else text.encode())
        except TimeoutError:
            process.kill()
            await process.wait()
            raise KubectlError(f"kubectl {arguments[0]} gives no answer within {TIMEOUT:.0f} s.") from None
        if process.returncode:
            words = errors.decode(errors="replace").strip()
            last = words.splitlines()[-1] if words else f"exit code {process.returncode}"
            raise KubectlError(f"kubectl {arguments[0]} failed: {printable(last)}", words)
        return output.decode(errors="replace")


def read_json(command: str, output: str) -> Any:
    """What a command printed. Raises KubectlError."""
    try:
        return json.loads(output)
    except (ValueError, RecursionError):
        raise KubectlError(f"kubectl {command} gives no JSON.") from None
