"""``python -m app``: run the chat until a signal ends it.

SIGTERM, which Kubernetes sends, goes on serving for ``--drain`` seconds: clients that open a socket in the moments
before every balancer has heard of the pod's end still get one. SIGINT (Ctrl-C), or a second SIGTERM, ends at once.
"""

import argparse
import asyncio
import os
import signal
import socket
import sys
from contextlib import suppress

from .server import chat_server


def parse_arguments() -> argparse.Namespace:
    """The flags; PORT and POD_NAME come from the environment where a flag is left out."""
    parser = argparse.ArgumentParser(prog="python -m app", description="A small chat over WebSocket.")
    parser.add_argument(
        "--host", default="127.0.0.1", help="address to listen on; '*' is every address (default: %(default)s)"
    )
    parser.add_argument(
        "--port",
        type=int,
        default=os.environ.get("PORT", "8080"),
        help="0 takes any free port (default: the variable PORT, else 8080)",
    )
    parser.add_argument(
        "--pod",
        default=os.environ.get("POD_NAME") or socket.gethostname(),
        help="the name to sign answers with (default: the variable POD_NAME, else the host's name)",
    )
    parser.add_argument(
        "--drain",
        type=float,
        default=2.0,
        metavar="SECONDS",
        help="how long to go on serving after SIGTERM (default: %(default)s)",
    )
    return parser.parse_args()


async def run(*, host: str | None, port: int, pod: str, drain: float) -> None:
    """Serve until a signal ends it."""
    terminate, interrupt = asyncio.Event(), asyncio.Event()

    def on_sigterm() -> None:
        if terminate.is_set():
            interrupt.set()
        terminate.set()

    def on_sigint() -> None:
        terminate.set()
        interrupt.set()

    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, on_sigterm)
    loop.add_signal_handler(signal.SIGINT, on_sigint)
    async with chat_server(host=host, port=port, pod=pod) as server:
        bound = server.sockets[0].getsockname()[1]
        print(f"pod {pod} listens on http://{host or 'localhost'}:{bound}/", flush=True)
        await terminate.wait()
        if not interrupt.is_set():
            print(f"goes on serving for {drain:g} s, then closes", flush=True)
            with suppress(TimeoutError):
                await asyncio.wait_for(interrupt.wait(), drain)
    print("closed", flush=True)


def main() -> None:
    """Read the flags and run."""
    arguments = parse_arguments()
    host = None if arguments.host == "*" else arguments.host
    try:
        asyncio.run(run(host=host, port=arguments.port, pod=arguments.pod, drain=arguments.drain))
    except OSError as problem:
        sys.exit(f"Can't listen on port {arguments.port}: {problem.strerror}. Choose another one with --port.")


if __name__ == "__main__":
    main()
