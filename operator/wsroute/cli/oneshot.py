"""``wsroute check`` and ``wsroute render``: manifests in, problems or nginx.conf out."""

from collections.abc import Sequence
from pathlib import Path

from wsroute.cli.manifests import ManifestError, read_paths
from wsroute.cli.offline import Outcome, evaluate
from wsroute.cli.terminal import complain, printable
from wsroute.nginx.paths import POD_OPTIONS, POD_PATHS
from wsroute.nginx.render import render as render_configuration

GOOD, PROBLEMS, UNUSABLE = 0, 1, 2


def check(paths: Sequence[Path]) -> int:
    """Print the problems, one in a line, and return the exit code."""
    try:
        outcome = evaluate(read_paths(paths))
    except ManifestError as error:
        complain(error)
        return UNUSABLE
    for finding in outcome.findings:
        print(printable(str(finding)))
    return _code(outcome)


def render(paths: Sequence[Path]) -> int:
    """Print the nginx.conf as a balancer pod would get it, and return the exit code."""
    try:
        outcome = evaluate(read_paths(paths))
        configuration = outcome.configuration(ipv6=True)
    except ManifestError as error:
        complain(error)
        return UNUSABLE
    for finding in outcome.findings:
        complain(finding)
    print(render_configuration(configuration, POD_PATHS, options=POD_OPTIONS).text, end="")
    return _code(outcome)


def _code(outcome: Outcome) -> int:
    return PROBLEMS if outcome.findings else GOOD
