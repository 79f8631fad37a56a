"""`kubectl wsroute` as a user runs it."""

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

from localcluster import api

Plugin = Callable[..., Awaitable[tuple[int, str, str]]]
"""Runs it with some arguments; gives its exit code, its output and its messages."""


def install_plugin(cluster: api.CurrentCluster, folder: Path) -> Plugin:
    """Make it one of kubectl's commands, from a folder that nobody else uses."""
    script = folder / "kubectl-wsroute"
    script.write_text(f'#!/bin/sh\nexec {sys.executable} -m wsroute "$@"\n')
    script.chmod(0o755)
    path = f"{folder}:{Path(cluster.program).parent}:{os.environ['PATH']}"
    environment = {**cluster.environment(), "PATH": path, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}

    async def run(*arguments: str) -> tuple[int, str, str]:
        process = await asyncio.create_subprocess_exec(
            *("kubectl", "wsroute", *arguments),
            env=environment,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        output, errors = await process.communicate()
        assert process.returncode is not None
        return process.returncode, output.decode(), errors.decode()

    return run
