"""Who is cut by a rolling restart of the balancer, when, and how soon they are back. On a real cluster.

Clients hold sockets, evenly on the balancer's pods, and connect again at once when they are cut, by its Service like
everybody; meanwhile new ones keep coming. Every pod of the balancer is replaced. Counted are the sockets that close in
any five seconds, beside the share that one worker has, refused handshakes, and sockets that landed on a pod that was
leaving.

    python -m bench.rollout                                         # 500 sockets, 4 workers a pod, grace 60 s
    python -m bench.rollout --picture docs/images/rollout.svg       # and draw it
"""

import argparse
import asyncio
import json
import math
import statistics
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from bench.svg import Panel, picture
from localcluster import api, install
from localcluster.install import BALANCER
from localcluster.install import NAMESPACE as SYSTEM
from tests.support.rejoining import Crowd, Rejoiner, crowd, most_at_once
from tests.support.stack import BalancerPod, Stack, eventually
from wsroute.kube.client import KubeClient
from wsroute.kube.port import BALANCERS, PODS

NAMESPACE: Final = "rollout"

WINDOW: Final = 5.0
"""Seconds: sockets that close within so many close at once."""

BATCH: Final = 16
"""Connections that a worker of nginx accepts before it lets the next one have them: by so many a worker may have more
than its share."""

DELAY: Final = 5
"""Seconds for which a pod goes on serving after it was told to end, as start.sh has it."""

FAREWELL: Final = 5
"""Seconds that are left of its grace period when the last worker is ended."""

COLORS: Final = ("#b35900", "#8250df", "#0969da", "#cf222e", "#1a7f37", "#57606a")


def main() -> None:
    """Make a cluster ready, restart its balancer, and print what that did."""
    parser = argparse.ArgumentParser(prog="python -m bench.rollout", description=__doc__.partition("\n")[0])
    parser.add_argument("--cluster", default="bench", help="the local cluster's name")
    parser.add_argument("--sockets", type=int, default=500)
    parser.add_argument("--workers", type=int, default=4, help="of a pod's nginx")
    parser.add_argument("--grace", type=int, default=60, help="the pods' grace period, in seconds")
    parser.add_argument("--every", type=float, default=0.25, help="seconds between two clients that are new")
    parser.add_argument("--picture", type=Path, help="an SVG file to write")
    arguments = parser.parse_args()
    cluster = api.up(arguments.cluster)
    install.install_locally(cluster)
    patch = json.dumps({"spec": {"dataPlane": "Dynamic", "nginx": {"workerProcesses": arguments.workers}}})
    cluster.kubectl("-n", SYSTEM, "patch", "wsb", BALANCER, "--type=merge", "-p", patch)
    install.set_grace_period(cluster, arguments.grace)
    result = asyncio.run(run(cluster, arguments))
    print_result(result)
    if arguments.picture is not None:
        arguments.picture.write_text(draw(result), encoding="utf-8")


@dataclass(frozen=True, slots=True)
class OldPod:
    """A pod that was replaced: ``told`` to end so many seconds after the rollout's begin, and when each socket that it
    had at first was closed, in order."""

    name: str
    told: float
    cuts: tuple[float, ...]

    def most(self) -> int:
        """The most sockets that it closed at once."""
        return most_at_once(self.cuts, within=WINDOW)


@dataclass(frozen=True, slots=True)
class Result:
    """All times are seconds since the rollout's begin. ``newcomers`` came meanwhile, ``strays`` are when those of them
    opened their sockets that were cut."""

    workers: int
    grace: int
    pods: tuple[OldPod, ...]
    returns: tuple[float, ...]
    absences: tuple[float, ...]
    codes: Counter[int]
    cut_again: int
    failures: tuple[str, ...]
    newcomers: int
    strays: tuple[float, ...]

    @property
    def cuts(self) -> list[float]:
        """When all the sockets from before were closed."""
        return sorted(cut for pod in self.pods for cut in pod.cuts)

    @property
    def last_told(self) -> float:
        """When the last pod was told to end."""
        return max(pod.told for pod in self.pods)


async def run(cluster: api.Cluster, arguments: argparse.Namespace) -> Result:
    """The restart, with everybody around it."""
    client = await KubeClient.from_kubeconfig(cluster.kubeconfig)
    image = install.LOCAL_IMAGES[install.CHAT_IMAGE]
    stack = Stack(cluster=cluster, client=client, namespace=NAMESPACE, chat_image=image)
    try:
        return await _run(stack, arguments)
    finally:
        await client.close()
        cluster.kubectl("delete", "namespace", NAMESPACE, "--ignore-not-found", timeout=180)


async def _run(stack: Stack, arguments: argparse.Namespace) -> Result:
    labels = {"wsroute.dev/balancer": BALANCER}
    manifest = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE, "labels": labels}}
    await stack.kubectl("apply", "-f", "-", stdin=json.dumps(manifest))
    await stack.backend(replicas=2)
    await stack.route()
    await stack.condition("chat", "Ready", within=120)
    pods = await eventually(lambda: settled(stack), within=arguments.grace + 60)
    service = await stack.kubectl(
        "-n", SYSTEM, "get", "service", f"{BALANCER}-balancer", "-o", "jsonpath={.spec.clusterIP}"
    )
    async with crowd(stack.host(), lambda: stack.cluster.open_connection(service, 80)) as people:
        for number in range(arguments.sockets):
            pod = pods[number % len(pods)]
            await people.join(lambda pod=pod: stack.connect(pod), pod.name)  # type: ignore[misc]
        first = list(people.clients)
        newcomers = asyncio.create_task(people.keep_joining(every=arguments.every))
        began = time.monotonic()
        await stack.kubectl("-n", SYSTEM, "rollout", "restart", f"deployment/{BALANCER}-balancer")
        told = await departures(stack, pods)
        await eventually(lambda: all_are_back(first), within=2 * arguments.grace)
        await eventually(lambda: settled(stack), within=arguments.grace)
        newcomers.cancel()
        await asyncio.gather(newcomers, return_exceptions=True)
        return gather(people, first, told, began=began, workers=arguments.workers, grace=arguments.grace)


async def settled(stack: Stack) -> list[BalancerPod]:
    """The balancer's pods, once none leaves or drains any more."""
    found = await stack.client.get(BALANCERS, namespace=SYSTEM, name=BALANCER)
    status: dict[str, Any] = found["status"]
    assert status["leaving"]["pods"] == 0
    assert status["draining"]["generations"] == 0
    return await stack.balancer_pods()


async def departures(stack: Stack, pods: Sequence[BalancerPod]) -> dict[str, float]:
    """When each of these pods was told to end."""
    told: dict[str, float] = {}

    async def all_were() -> None:
        found = await stack.client.list(PODS, namespace=SYSTEM, label_selector=f"wsroute.dev/balancer={BALANCER}")
        for pod in found.items:
            if "deletionTimestamp" in pod["metadata"]:
                told.setdefault(pod["metadata"]["name"], time.monotonic())
        assert all(pod.name in told for pod in pods), f"told to end: {sorted(told)}"

    await eventually(all_were, within=120, every=0.1)
    return {pod.name: told[pod.name] for pod in pods}


async def all_are_back(clients: Sequence[Rejoiner]) -> None:
    """Everybody was cut, and has a new socket."""
    away = sum(not client.absences for client in clients)
    assert not away, f"{away} are not back"


def gather(
    people: Crowd, first: Sequence[Rejoiner], told: dict[str, float], *, began: float, workers: int, grace: int
) -> Result:
    """What came of it."""
    others = [client for client in people.clients if not client.pod]
    return Result(
        workers=workers,
        grace=grace,
        pods=tuple(
            OldPod(name, moment - began, tuple(sorted(each.cuts[0][0] - began for each in first if each.pod == name)))
            for name, moment in sorted(told.items(), key=lambda item: item[1])
        ),
        returns=tuple(sorted(each.cuts[0][0] + each.absences[0] - began for each in first)),
        absences=tuple(sorted(each.absences[0] for each in first)),
        codes=Counter(code for each in first for _, code in each.cuts),
        cut_again=sum(len(each.cuts) > 1 for each in first),
        failures=tuple(failure for each in people.clients for failure in each.failures),
        newcomers=len(others),
        strays=tuple(sorted(each.opened - began for each in others if each.cuts)),
    )


def print_result(result: Result) -> None:
    """The figures, with what they are to be."""
    span = result.grace - DELAY - FAREWELL
    print(f"\n{len(result.cuts)} sockets, {result.workers} workers a pod, grace {result.grace} s: {DELAY} s for")
    print(f"everybody to hear of it, then {span} s in which workers are ended, {FAREWELL} s farewell\n")
    for pod in result.pods:
        size, most = len(pod.cuts), pod.most()
        print(f"{pod.name}: told to end after {pod.told:.1f} s")
        print("  ends, seconds after that: " + ", ".join(f"{cut - pod.told:.1f} ({n})" for cut, n in ends(pod.cuts)))
        print(
            f"  most in any {WINDOW:g} s: {most} of {size}, {most / size:.1%} (stated: 1/({result.workers} workers x 1 "
            f"generation) = {1 / result.workers:.0%}, and at most {BATCH} sockets: {share(size, result.workers):.0f})"
        )
    cuts = result.cuts
    most = most_at_once(cuts, within=WINDOW)
    part = f"{most} of {len(cuts)}, {most / len(cuts):.1%} (stated: {stated(result):.0f})"
    print(f"all pods together, most in any {WINDOW:g} s: {part}")
    print(f"\n{'seconds':>9}  closed")
    for second, count in windows(cuts):
        print(f"{second:>3g} -{second + WINDOW:>4g}  {count:>4} {'#' * round(count / 4)}".rstrip())
    away = result.absences
    print(
        f"\nback on another pod after: median {statistics.median(away) * 1000:.0f} ms, "
        f"99 % {away[math.ceil(0.99 * len(away)) - 1] * 1000:.0f} ms, at most {away[-1] * 1000:.0f} ms"
    )
    print(f"closed with code: {dict(result.codes)}; cut a second time (target 0): {result.cut_again}")
    print(f"tries in vain, of everybody (target 0): {len(result.failures)} {' '.join(result.failures[:3])}".rstrip())
    print(f"clients that came meanwhile: {result.newcomers}, of whom {len(result.strays)} were cut later on")
    if result.strays:
        print(f"  the last of these had come {result.strays[-1] - result.last_told:+.1f} s after the last pod was told")


def share(sockets: int, workers: int) -> float:
    """The most that may close at once of a pod's sockets."""
    return sockets / workers + BATCH


def stated(result: Result) -> float:
    """The same of all pods that leave, as each may close its own part at the same time."""
    return sum(share(len(pod.cuts), result.workers) for pod in result.pods)


def ends(cuts: Sequence[float]) -> list[tuple[float, int]]:
    """When workers were ended, and how many sockets each had: what closes within half a second."""
    found: list[tuple[float, int]] = []
    for cut in cuts:
        if found and cut - found[-1][0] < 0.5:
            found[-1] = (found[-1][0], found[-1][1] + 1)
        else:
            found.append((cut, 1))
    return found


def windows(cuts: Sequence[float]) -> list[tuple[float, int]]:
    """How many closed in each five seconds."""
    counts = Counter(int(cut // WINDOW) for cut in cuts)
    return [(number * WINDOW, counts[number]) for number in range(max(counts) + 1)]


def draw(result: Result) -> str:
    """Two diagrams: where the clients are, and how many sockets close."""
    total = len(result.cuts)
    seconds = math.ceil(result.cuts[-1] / 10) * 10
    where = Panel(f"Where the {total} clients are", seconds, total, tick=total / 5)
    for color, letter, pod in zip(COLORS, "ABCDEF", result.pods, strict=False):
        size = len(pod.cuts)
        points = [(0.0, float(size)), *((cut, size - number - 1.0) for number, cut in enumerate(pod.cuts))]
        where.steps(points, color=color, label=f"old pod {letter}")
    back = [(0.0, 0.0), *((moment, number + 1.0) for number, moment in enumerate(result.returns))]
    where.steps([*back, (seconds, float(total))], color=COLORS[4], label="the new pods")
    told = [(pod.told, letter) for letter, pod in zip("ABCDEF", result.pods, strict=False)]
    where.moments(told, label="told to end")
    closed = Panel(f"Sockets that close, in each {WINDOW:g} seconds", seconds, total / 2, height=150, tick=total / 10)
    closed.bars(windows(result.cuts), width=WINDOW, color=COLORS[5], label="closed")
    label = f"stated: one worker of {result.workers} of each pod that leaves, and {BATCH} sockets"
    closed.level(stated(result), color=COLORS[3], label=label)
    return picture(
        [where, closed],
        description=(
            f"A rolling restart of {len(result.pods)} pods with {total} sockets, {result.workers} workers a pod and a "
            f"grace period of {result.grace} s: sockets close one worker at a time, and their clients are on the new "
            "pods at once."
        ),
    )


if __name__ == "__main__":
    main()
