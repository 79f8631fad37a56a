"""Do open sockets survive whatever changes around them? On a real cluster, once for each data plane.

Sockets over 10 routes, half of them over TLS, each sending numbered messages that come back; nobody connects again.
Meanwhile: changes of those routes' endpoints, routes that are added, edited and removed, new certificates, a rollout of
a backend that holds none of them, the death of the operator's leader, and at last one more listener, which every data
plane needs a reload for. Counted are lost sockets, missing and doubled messages, generations of nginx's workers and its
processes, and memory, of which the most counts that was seen at any time.

The timers of the balancer are short, so that all of them pass before that last change. What is asked of Dynamic is
judged: where it does not hold, the exit code is 1.

    python -m bench.survival                  # a short trial of both data planes
    python -m bench.survival --full           # 500 sockets, 200 endpoint changes, 100 routes, 20 edits, 20 certificates
"""

import argparse
import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any, Final

from bench.rotation import reloads
from bench.talkers import Talker, Tally, tally
from bench.watching import Look, Watch, growth, more_processes
from localcluster import api, install
from localcluster.install import BALANCER
from localcluster.install import NAMESPACE as SYSTEM
from tests.support.handshake import held_socket
from tests.support.stack import PORT, BalancerPod, NotYetError, Stack, eventually, is_ready
from tests.support.wss import PORT as TLS_PORT
from tests.support.wss import Wss, wss
from wsroute.kube.client import KubeClient
from wsroute.kube.port import ENDPOINT_SLICES, LEASES, ROUTES, SERVICES

NAMESPACE: Final = "survival"
HOLDING: Final = 10
"""Routes with sockets."""

ENDPOINTS: Final = 3
"""Of each route, of twice as many pods: a change takes others."""

EXTRA_LISTENER: Final[dict[str, Any]] = {
    "name": "extra", "port": 8090, "protocol": "HTTP", "public": {"scheme": "ws", "port": 8090},
}  # fmt: skip
IDLE: Final = "1m"
"""How long a socket may be silent: the only timer of a route that an open socket knows."""

TERMS: Final = {"minInterval": "5s", "maxDrainingGenerations": 3, "drainTimeout": "1m"}
"""The budget that is shipped, but for its hour."""

TIMERS: Final = f"idle {IDLE}, drain {TERMS['drainTimeout']}, reload {TERMS['minInterval']}"
LONGEST: Final = 60.0
"""Seconds of the longest of these timers."""

SERVED_WITHIN: Final = 30.0
"""Seconds for the change after all others to be served on all pods. It is well below the time for which the generation
that the listener leaves may live."""

TOLD_WITHIN: Final = 15.0
"""Seconds for the agents to count the sockets of old workers, and to tell of them."""

GROWTH: Final = 0.1
"""By what part of itself the memory of a pod's nginx may grow until the listener comes."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What happens. ``routes`` are added and then removed; ``every`` is seconds between two messages of a socket,
    ``pause`` between two changes, and ``seconds`` the least time for which sockets are held before the last change."""

    sockets: int = 100
    endpoint_changes: int = 20
    routes: int = 10
    edits: int = 4
    rotations: int = 4
    every: float = 2.0
    pause: float = 0.2
    seconds: float = 1.5 * LONGEST


SHORT: Final = Plan()
FULL: Final = Plan(sockets=500, endpoint_changes=200, routes=100, edits=20, rotations=20)


def main() -> None:
    """Run the programme for each data plane, and print both results."""
    parser = argparse.ArgumentParser(prog="python -m bench.survival", description=__doc__.partition("\n")[0])
    parser.add_argument("--cluster", default="bench", help="the local cluster's name")
    parser.add_argument("--data-planes", nargs="+", choices=["Dynamic", "Static"], default=["Dynamic", "Static"])
    parser.add_argument("--full", action="store_true", help=f"not {SHORT} but {FULL}")
    parser.add_argument("--tls", action=argparse.BooleanOptionalAction, default=True, help="half of the sockets on wss")
    arguments = parser.parse_args()
    cluster = api.up(arguments.cluster)
    install.install_locally(cluster)
    install.wait_until_ready(cluster)
    plan = FULL if arguments.full else SHORT
    results = [
        asyncio.run(run(cluster, data_plane, plan, with_tls=arguments.tls)) for data_plane in arguments.data_planes
    ]
    print_results(results)
    broken = [what for result in results if result.data_plane == "Dynamic" for what in result.broken()]
    if broken:
        sys.exit("Dynamic does not hold what is asked of it: " + "; ".join(broken) + ".")


@dataclass(slots=True)
class Result:
    """What came of one data plane. ``seconds`` are those until the listener came, and until the end. ``waited`` is how
    long the change after all others took, None when it was not served. ``before`` are the looks at all pods until the
    listener came, ``after`` is the last one of all. ``generations`` counts those of old workers, and ``reloads`` what
    all pods loaded: until the listener and in all."""

    data_plane: str
    tally: Tally
    seconds: tuple[float, float]
    waited: float | None
    generations: tuple[int, int]
    reloads: tuple[int, int]
    before: list[list[Look]]
    after: list[Look]

    def broken(self) -> list[str]:
        """Which of the targets of Dynamic do not hold."""
        pods = len(self.after)
        asked = {
            "sockets were lost": self.tally.lost == 0,
            "messages are missing or doubled": (self.tally.missing, self.tally.doubled) == (0, 0),
            "a timer did not pass": self.seconds[0] > LONGEST,
            "nginx was reloaded for something else than the listener": self.reloads == (0, pods),
            "there was another generation than the listener's": self.generations == (0, 1),
            "there were more processes before the listener": more_processes(self.before) == 0,
            "memory grew": growth(self.before) <= GROWTH,
            "the last change was not served": self.waited is not None,
        }
        return [what for what, holds in asked.items() if not holds]


def print_results(results: Sequence[Result]) -> None:
    """Side by side."""
    rows: list[tuple[str, Callable[[Result], str]]] = [
        ("timers, all of them shorter than what follows", lambda _: TIMERS),
        ("seconds until the listener came, and in all", lambda each: "{:.0f}, {:.0f}".format(*each.seconds)),
        ("sockets held", lambda each: str(each.tally.sockets)),
        ("lost (target 0)", lambda each: f"{each.tally.lost} {dict(each.tally.how) or ''}".strip()),
        ("messages sent", lambda each: str(each.tally.messages)),
        ("missing, doubled (target 0, 0)", lambda each: f"{each.tally.missing}, {each.tally.doubled}"),
        ("until the listener came, the most of any pod:", lambda _: ""),
        ("  reloads of all pods (target 0)", lambda each: str(each.reloads[0])),
        ("  generations of old workers (target 0)", lambda each: str(each.generations[0])),
        ("  nginx processes more (target 0)", lambda each: str(more_processes(each.before))),
        ("  MiB (PSS) of its nginx at first", lambda each: " ".join(f"{look.memory:.1f}" for look in each.before[0])),
        ("  and right before the listener", lambda each: " ".join(f"{look.memory:.1f}" for look in each.before[-1])),
        (f"  most growth at any time (target {GROWTH:.0%})", lambda each: f"{growth(each.before):+.1%}"),
        ("with the listener:", lambda _: ""),
        ("  reloads of all pods (target 1 each)", lambda each: str(each.reloads[1] - each.reloads[0])),
        ("  generations of old workers (target 1)", lambda each: str(each.generations[1])),
        (
            "  nginx processes, and MiB of them",
            lambda each: " ".join(f"{x.processes}: {x.memory:.1f}" for x in each.after),
        ),
        (
            "the change after all others, served after",
            lambda each: f"{each.waited:.1f} s" if each.waited is not None else f"not within {SERVED_WITHIN:g} s",
        ),
    ]
    print(f"\n{'':48}" + "".join(f"{each.data_plane:>36}" for each in results))
    for title, show in rows:
        print(f"{title:48}" + "".join(f"{show(each):>36}" for each in results))


async def run(cluster: api.Cluster, data_plane: str, plan: Plan, *, with_tls: bool) -> Result:
    """The programme on one data plane, with new balancer pods."""
    client = await KubeClient.from_kubeconfig(cluster.kubeconfig)
    stack = Stack(
        cluster=cluster, client=client, namespace=NAMESPACE, chat_image=install.LOCAL_IMAGES[install.CHAT_IMAGE]
    )
    labels = {"wsroute.dev/balancer": BALANCER}
    body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE, "labels": labels}}
    try:
        await stack.kubectl("apply", "-f", "-", stdin=json.dumps(body))
        if not with_tls:
            return await renewed(Programme(stack, None, plan), data_plane)
        async with wss(stack, f"*.{NAMESPACE}.example.com") as secured:
            return await renewed(Programme(stack, secured, plan), data_plane)
    finally:
        await client.close()
        cluster.kubectl("delete", "namespace", NAMESPACE, "--ignore-not-found", timeout=180)


async def renewed(programme: "Programme", data_plane: str) -> Result:
    """The programme with pods that have nothing of the past."""
    await programme.patch({"dataPlane": data_plane})
    await programme.stack.kubectl("-n", SYSTEM, "rollout", "restart", f"deployment/{BALANCER}-balancer")
    await asyncio.to_thread(install.wait_until_ready, programme.stack.cluster)
    return await programme.run()


class Programme:
    """The scene, the changes, and what is measured meanwhile, in a namespace that may use the balancer. With
    ``secured`` half of the sockets are on wss."""

    def __init__(self, stack: Stack, secured: Wss | None, plan: Plan) -> None:
        self.stack = stack
        self.secured = secured
        self.plan = plan
        self.backends: list[str] = []

    async def run(self) -> Result:
        """All of it. The balancer is afterwards as it was."""
        spec = await self.spec()
        await self.patch({"reload": TERMS, "allowedRoutes": {"manualEndpoints": True}})
        try:
            await self.set_scene()
            pods = await self.stack.balancer_pods()
            async with self.talking(pods) as talkers:
                measured = await self.measure(spec, Watch(self.stack, pods))
            return Result(data_plane=spec["dataPlane"], tally=tally(talkers), **measured)
        finally:
            allowed = {"manualEndpoints": spec["allowedRoutes"].get("manualEndpoints")}
            await self.patch({"listeners": spec["listeners"], "reload": spec["reload"], "allowedRoutes": allowed})

    async def measure(self, spec: dict[str, Any], watch: Watch) -> dict[str, Any]:
        """All changes, with what is measured; what of it stands in a Result."""
        pods = list(watch.pods)
        started, loaded = time.monotonic(), await reloads(self.stack, pods)
        await watch.look()
        async with watch.going_on():
            await self.change_everything()
            await asyncio.sleep(max(0.0, started + self.plan.seconds - time.monotonic()))
            await watch.look()
            changed, before = time.monotonic(), list(watch.looks)
            seen, loads = len(watch.generations), await reloads(self.stack, pods)
            await self.patch({"listeners": [*spec["listeners"], EXTRA_LISTENER]})
            waited = await self.one_more_change()
            with suppress(NotYetError):
                await eventually(lambda: watch.has_seen_more_than(seen), within=TOLD_WITHIN)
        await watch.look()
        return {
            "seconds": (changed - started, time.monotonic() - started),
            "waited": waited,
            "generations": (max(watch.generations[:seen], default=0), max(watch.generations, default=0)),
            "reloads": (loads - loaded, await reloads(self.stack, pods) - loaded),
            "before": before,
            "after": watch.looks[-1],
        }

    # ── The scene ────────────────────────────────────────────────────────────────────────────────────────────────────

    async def set_scene(self) -> None:
        """Backends and routes, all of them served."""
        await self.stack.backend("chat", replicas=2 * ENDPOINTS)
        await self.stack.backend("other", replicas=2)
        await eventually(self.backends_run, within=120)
        for number in range(HOLDING):
            await self.service(number)
            await self.slice(number, first=number)
            await self.stack.route(f"r{number}", paths=[path(f"s{number}")], timeouts={"idle": IDLE})
        await self.stack.route("other", paths=[path("other")])
        for number in range(HOLDING):
            await self.stack.condition(f"r{number}", "Programmed", within=120)
        await self.stack.condition("other", "Ready", within=120)
        if self.secured is not None:
            host, secured = self.stack.host("other"), self.secured
            await eventually(lambda: secured.is_served(host))

    async def backends_run(self) -> None:
        """All pods of the Deployment ``chat`` are ready."""
        pods = await self.stack.pods_of("chat")
        assert len(pods) == 2 * ENDPOINTS
        assert all(is_ready(pod) for pod in pods)
        self.backends = sorted(pod["status"]["podIP"] for pod in pods)

    async def service(self, number: int) -> None:
        """A Service without selector, so that its slices are ours to write."""
        body = {"metadata": {"name": f"s{number}"}, "spec": {"ports": [{"name": "http", "port": 80}]}}
        await self.stack.apply(SERVICES, body)

    async def slice(self, number: int, *, first: int) -> None:
        """Endpoints of a Service, from the backend that ``first`` counts to."""
        chosen = [self.backends[(first + offset) % len(self.backends)] for offset in range(ENDPOINTS)]
        body = {
            "metadata": {"name": f"s{number}", "labels": {"kubernetes.io/service-name": f"s{number}"}},
            "addressType": "IPv4",
            "endpoints": [{"addresses": [address], "conditions": {"ready": True}} for address in chosen],
            "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
        }
        await self.stack.apply(ENDPOINT_SLICES, body)

    @asynccontextmanager
    async def talking(self, pods: Sequence[BalancerPod]) -> AsyncIterator[list[Talker]]:
        """The sockets, evenly over routes, pods, and with and without TLS, which talk until the end of the block. It
        begins when each has had an answer."""
        talkers: list[Talker] = []
        count, every = self.plan.sockets, self.plan.every

        async def all_talk() -> None:
            assert all(talker.next > 1 for talker in talkers)

        try:
            for number in range(count):
                turn, route = divmod(number // len(pods), HOLDING)
                tls = self.secured.context if self.secured is not None and (turn + route) % 2 else None
                connection = self.stack.connect(pods[number % len(pods)], TLS_PORT if tls else PORT)
                host = self.stack.host(f"r{route}")
                talker = Talker(await held_socket(connection, host=host, path="/echo", tls=tls))
                talker.start(every=every, first=number * every / count)
                talkers.append(talker)
            await eventually(all_talk)
            yield talkers
        finally:
            await asyncio.gather(*(talker.stop() for talker in talkers))

    # ── The changes ──────────────────────────────────────────────────────────────────────────────────────────────────

    async def change_everything(self) -> None:
        """One change after the other, whether the one before is served or not."""
        plan = self.plan
        for number in range(plan.routes):
            await self.paced(self.stack.route(f"added-{number}", paths=[path("s0")]))
        for number in range(plan.endpoint_changes):
            turn, route = divmod(number, HOLDING)
            await self.paced(self.slice(route, first=route + ENDPOINTS * (turn + 1)))
        for number in range(plan.edits):
            await self.paced(self.stack.route("other", paths=[path("other"), path("s0", f"/edited-{number}")]))
        if self.secured is not None:
            for _ in range(plan.rotations):
                await self.paced(self.secured.rotate())
        await self.stack.kubectl("-n", self.stack.namespace, "rollout", "restart", "deployment/other")
        await self.fail_over()
        for number in range(plan.routes):
            await self.paced(self.stack.client.delete(ROUTES, namespace=self.stack.namespace, name=f"added-{number}"))
        rollout = ("-n", self.stack.namespace, "rollout", "status", "deployment/other", "--timeout=50s")
        await self.stack.kubectl(*rollout)

    async def paced(self, change: Awaitable[object]) -> None:
        """A change, and the pause after it."""
        await change
        await asyncio.sleep(self.plan.pause)

    async def fail_over(self) -> None:
        """Kill the operator's leader, and wait until there is another one."""
        before = await self.leader()
        await self.stack.kubectl("-n", SYSTEM, "delete", "pod", before, "--grace-period=0", "--force", "--wait=false")

        async def another_leads() -> None:
            assert await self.leader() not in ("", before)

        await eventually(another_leads)

    async def leader(self) -> str:
        """The pod that writes."""
        lease = await self.stack.client.get(LEASES, namespace=SYSTEM, name="wsroute-operator")
        return str(lease["spec"].get("holderIdentity") or "").partition("_")[0]

    async def one_more_change(self) -> float | None:
        """Seconds until a new route, and the last certificate, are served on all pods and all listeners, after all
        that; None when they are not."""
        await self.stack.route("last", paths=[path("s0")])
        applied = time.monotonic()
        host, secured = self.stack.host("last"), self.secured
        try:
            for port in (PORT, EXTRA_LISTENER["port"]):
                await eventually(lambda port=port: self.answers(host, port), within=SERVED_WITHIN, every=0.02)  # type: ignore[misc]
            if secured is not None:
                await eventually(lambda: secured.is_served(host), within=SERVED_WITHIN, every=0.02)
        except NotYetError:
            return None
        return time.monotonic() - applied

    async def answers(self, host: str, port: int) -> None:
        """All pods take sockets for a host on a port, now."""
        try:
            await self.stack.answers(host=host, status=101, port=port)
        except OSError as error:
            raise AssertionError(f"port {port}: {error}") from error

    async def spec(self) -> dict[str, Any]:
        """The balancer's."""
        return dict(json.loads(await self.stack.kubectl("-n", SYSTEM, "get", "wsb", BALANCER, "-o", "json"))["spec"])

    async def patch(self, spec: dict[str, Any]) -> None:
        """Change the balancer."""
        patch = json.dumps({"spec": spec})
        await self.stack.kubectl("-n", SYSTEM, "patch", "wsb", BALANCER, "--type=merge", "-p", patch)


def path(service: str, prefix: str = "/echo") -> dict[str, Any]:
    """A path of a route to a Service."""
    return {"path": prefix, "backends": [{"service": service, "port": "http"}]}


if __name__ == "__main__":
    main()
