"""How fast a new certificate is served by the *last* balancer pod, and whether open sockets notice. On a real cluster.

Sockets over TLS on 2 balancer pods, each sending numbered messages that come back; nobody connects again. Meanwhile the
Secret with the certificate is written again and again. Measured from the moment when the API server's answer to the
write is in, until a new TLS handshake on the last pod is shown the new certificate. Counted are lost sockets, missing
and doubled messages, reloads of nginx, and handshakes that got neither the certificate before nor the new one.

    make bench-rotation              # or: python -m bench.rotation --rotations 50 --sockets 200
"""

import argparse
import asyncio
import json
import statistics
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

from bench.propagation import sample
from bench.talkers import Talker, tally
from localcluster import api, install
from tests.support.handshake import ask, held_socket
from tests.support.stack import BalancerPod, Stack, eventually
from tests.support.wss import PORT, Wss, wss
from wsroute.kube.client import KubeClient

NAMESPACE: Final = "rotation"
PAUSE: Final = 0.005
"""Seconds between two handshakes of a prober, of which there is one for each pod: the resolution of the figures, with
what a handshake takes, which is printed."""

SERVED_WITHIN: Final = 60.0
"""Seconds for a new certificate, at most."""

TARGETS: Final = {"Dynamic": "p99 ≤ 200 ms, 0 reloads", "Static": "none, each is a reload"}


def main() -> None:
    """Set the scene on a local cluster, measure, print, and take it away again."""
    parser = argparse.ArgumentParser(prog="python -m bench.rotation", description=__doc__.partition("\n")[0])
    parser.add_argument("--cluster", default="bench", help="the local cluster's name")
    parser.add_argument("--data-plane", choices=TARGETS, default="Dynamic")
    parser.add_argument("--rotations", type=int, default=50)
    parser.add_argument("--sockets", type=int, default=200)
    parser.add_argument("--every", type=float, default=2.0, help="seconds between two messages of a socket")
    parser.add_argument(
        "--pause", type=float, default=1.0, help="seconds between a rotation that is served and the next"
    )
    arguments = parser.parse_args()
    cluster = api.up(arguments.cluster)
    install.install_locally(cluster)
    install.unburden(cluster, arguments.data_plane)
    try:
        asyncio.run(measure(cluster, arguments))
    finally:
        cluster.kubectl("delete", "namespace", NAMESPACE, "--ignore-not-found", timeout=180)


async def measure(cluster: api.Cluster, arguments: argparse.Namespace) -> None:
    """All of it."""
    client = await KubeClient.from_kubeconfig(cluster.kubeconfig)
    stack = Stack(
        cluster=cluster, client=client, namespace=NAMESPACE, chat_image=install.LOCAL_IMAGES[install.CHAT_IMAGE]
    )
    try:
        async with wss(stack, stack.host()) as secured:
            await set_scene(stack, secured)
            pods = await stack.balancer_pods()
            print(f"data plane {arguments.data_plane}, {len(pods)} balancer pods")
            async with talking(secured, pods, arguments) as talkers:
                before = await reloads(stack, pods)
                rotations = [await rotate(secured, pods, arguments.pause) for _ in range(arguments.rotations)]
                loaded = await reloads(stack, pods) - before
    finally:
        await client.close()
    print_served(rotations, TARGETS[arguments.data_plane])
    seen = tally(talkers)
    print(f"reloads of nginx meanwhile: {loaded}, over all pods")
    print(f"sockets over TLS: {seen.sockets}, lost {seen.lost} {dict(seen.how) or ''} (target 0)")
    print(f"messages: {seen.messages}, missing {seen.missing}, doubled {seen.doubled} (target 0, 0)")


@dataclass(frozen=True, slots=True)
class Probe:
    """What a pod presented after a write: when it was the new certificate (on the clock ``time.monotonic``), how long
    each handshake took until then, and how many of them failed or got neither certificate."""

    served: float
    took: list[float]
    wrong: int


@dataclass(frozen=True, slots=True)
class Rotation:
    """A write, and its probes, one of each pod. ``seconds`` is how long the last pod took."""

    seconds: float
    probes: list[Probe]


def print_served(rotations: list[Rotation], target: str) -> None:
    """How long they took."""
    taken = sorted(rotation.seconds * 1_000 for rotation in rotations)
    p50, p99 = statistics.median(taken), taken[min(len(taken) - 1, int(len(taken) * 0.99))]
    print(
        f"a new certificate on the last pod: p50 {p50:.0f} ms, p99 {p99:.0f} ms, max {taken[-1]:.0f} ms, "
        f"n={len(taken)} (target {target})"
    )
    probes = [probe for rotation in rotations for probe in rotation.probes]
    took = [seconds for probe in probes for seconds in probe.took]
    print(
        f"handshakes: {len(took)}, of {statistics.median(took) * 1_000:.1f} ms (p50) and {PAUSE * 1_000:.0f} ms apart; "
        f"failed, or with neither certificate: {sum(probe.wrong for probe in probes)} (target 0)"
    )


async def set_scene(stack: Stack, secured: Wss) -> None:
    """One route, which everybody can reach over TLS."""
    labels = {"wsroute.dev/balancer": install.BALANCER}
    manifest = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE, "labels": labels}}
    await stack.kubectl("apply", "-f", "-", stdin=json.dumps(manifest))
    await stack.backend()
    await stack.route()
    await stack.condition("chat", "Ready")
    await eventually(lambda: secured.is_served(stack.host()))


@asynccontextmanager
async def talking(secured: Wss, pods: list[BalancerPod], arguments: argparse.Namespace) -> AsyncIterator[list[Talker]]:
    """The sockets, evenly over the pods, which talk until the end of the block."""
    stack = secured.stack
    talkers: list[Talker] = []
    try:
        for number in range(arguments.sockets):
            connection = stack.connect(pods[number % len(pods)], PORT)
            talker = Talker(await held_socket(connection, host=stack.host(), path="/echo", tls=secured.context))
            talker.start(every=arguments.every, first=number * arguments.every / arguments.sockets)
            talkers.append(talker)
        yield talkers
    finally:
        await asyncio.gather(*(talker.stop() for talker in talkers))


async def rotate(secured: Wss, pods: list[BalancerPod], pause: float) -> Rotation:
    """Write a new certificate, wait until the last pod presents it, and pause."""
    old, pair = secured.current, secured.issue()
    await secured.write(pair)
    written = time.monotonic()
    probes = await asyncio.gather(*(asyncio.to_thread(probe, secured, pod, old) for pod in pods))
    await asyncio.sleep(pause)
    return Rotation(max(each.served for each in probes) - written, probes)


def probe(secured: Wss, pod: BalancerPod, old: bytes) -> Probe:
    """Open handshakes on a pod until it presents the certificate that was written last. ``old`` is the one before."""
    deadline = time.monotonic() + SERVED_WITHIN
    took: list[float] = []
    wrong = 0
    while True:
        began = time.monotonic()
        try:
            shown = secured.presented(pod, secured.hosts[0])
        except OSError:
            shown = b""
        now = time.monotonic()
        took.append(now - began)
        if shown == secured.current:
            return Probe(now, took, wrong)
        wrong += shown != old
        if now > deadline:
            raise TimeoutError(f"{pod.name} does not present the new certificate within {SERVED_WITHIN:g} s")
        time.sleep(PAUSE)


async def reloads(stack: Stack, pods: list[BalancerPod]) -> int:
    """How often the agents have had nginx load a version, over all pods."""
    answers = [await ask(stack.connect(pod, 8082), host="agent", path="/metrics") for pod in pods]
    return int(sum(sample(answer, "wsroute_agent_applied_total", outcome="applied") for answer in answers))


if __name__ == "__main__":
    main()
