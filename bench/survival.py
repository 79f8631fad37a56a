"""Do open sockets survive whatever changes around them? On a real cluster, once for each data plane.

Sockets over 10 routes, half of them over TLS, each sending numbered messages that come back; nobody connects again.
Meanwhile: changes of those routes' endpoints, routes that are added, edited and removed, new certificates, a rollout of
a backend that holds none of them, the death of the operator's leader, and at last one more listener, which every data
plane needs a reload for. Counted are lost sockets, missing and doubled messages, generations of nginx's workers, and
memory.

    python -m bench.survival                  # a short trial of both data planes
    python -m bench.survival --full           # 500 sockets, 200 endpoint changes, 100 routes, 20 edits, 20 certificates
"""

import argparse
import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any, Final

from bench.talkers import Talker, Tally, tally
from localcluster import api, install
from localcluster.errors import ClusterError
from localcluster.install import BALANCER
from localcluster.install import NAMESPACE as SYSTEM
from tests.support.handshake import held_socket
from tests.support.stack import PORT, BalancerPod, NotYetError, Stack, eventually, is_ready
from tests.support.wss import PORT as TLS_PORT
from tests.support.wss import Wss, wss
from wsroute.dataplane.acknowledgement import parse_acknowledgement
from wsroute.kube.client import KubeClient
from wsroute.kube.port import CONFIG_MAPS, ENDPOINT_SLICES, LEASES, ROUTES, SERVICES

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

SERVED_WITHIN: Final = 60.0
"""Seconds for the change after all others to be served on all pods."""

_PROCESSES = (
    "for p in /proc/[0-9]*; do case \"$(tr '\\0' ' ' <$p/cmdline 2>/dev/null)\" in 'nginx: '*) "
    "echo $(sed -n 's/^Pss: *\\([0-9]*\\).*/\\1/p' $p/smaps_rollup);; esac; done"
)


def main() -> None:
    """Run the programme for each data plane, and print both results."""
    parser = argparse.ArgumentParser(prog="python -m bench.survival", description=__doc__.partition("\n")[0])
    parser.add_argument("--cluster", default="bench", help="the local cluster's name")
    parser.add_argument("--data-planes", nargs="+", default=["Dynamic", "Static"])
    parser.add_argument("--sockets", type=int, default=100)
    parser.add_argument("--endpoint-changes", type=int, default=20)
    parser.add_argument("--routes", type=int, default=10, help="added, and then removed")
    parser.add_argument("--edits", type=int, default=4)
    parser.add_argument("--rotations", type=int, default=4, help="of the certificate")
    parser.add_argument("--every", type=float, default=2.0, help="seconds between two messages of a socket")
    parser.add_argument("--pause", type=float, default=0.2, help="seconds between two changes")
    parser.add_argument("--seconds", type=float, default=90.0, help="the least time for which sockets are held")
    parser.add_argument("--full", action="store_true", help="the numbers of issue 5 in place of the above")
    arguments = parser.parse_args()
    if arguments.full:
        vars(arguments).update(sockets=500, endpoint_changes=200, routes=100, edits=20, rotations=20)
    cluster = api.up(arguments.cluster)
    install.install_locally(cluster)
    install.wait_until_ready(cluster)
    results = [asyncio.run(run(cluster, data_plane, arguments)) for data_plane in arguments.data_planes]
    print_results(results)


@dataclass(slots=True)
class Result:
    """What came of one data plane. ``waited`` is how long the change after all others took, None when it was not
    served. ``memory`` is MiB of all nginx processes of a pod, the largest, and ``processes`` is their number: before
    the changes, before the last of them, which is the listener, and at the end. ``generations`` counts those of old
    workers, the most before the listener and the most of all."""

    data_plane: str
    terms: str
    tally: Tally
    seconds: float
    waited: float | None
    generations: tuple[int, int]
    memory: tuple[float, ...]
    processes: tuple[int, ...]


def print_results(results: list[Result]) -> None:
    """Side by side."""
    rows: list[tuple[str, Callable[[Result], str]]] = [
        ("timers", lambda each: each.terms),
        ("sockets held, for seconds", lambda each: f"{each.tally.sockets}, {each.seconds:.0f}"),
        ("lost (target 0)", lambda each: f"{each.tally.lost} {dict(each.tally.how) or ''}".strip()),
        ("messages sent", lambda each: str(each.tally.messages)),
        ("missing, doubled (target 0, 0)", lambda each: f"{each.tally.missing}, {each.tally.doubled}"),
        ("generations of old workers (target 0, 1)", lambda each: "{}, {}".format(*each.generations)),
        ("  most before and after the listener", lambda _: ""),
        ("nginx processes of a pod", lambda each: "{}, {}, {}".format(*each.processes)),
        ("MiB of a pod's nginx (target ± 10 %, 2 ×)", lambda each: "{:.0f}, {:.0f}, {:.0f}".format(*each.memory)),
        ("  at first, before the listener, at the end", lambda _: ""),
        (
            "the change after all others, served after",
            lambda each: f"{each.waited:.1f} s" if each.waited is not None else f"not within {SERVED_WITHIN:g} s",
        ),
    ]
    print(f"\n{'':46}" + "".join(f"{each.data_plane:>34}" for each in results))
    for title, show in rows:
        print(f"{title:46}" + "".join(f"{show(each):>34}" for each in results))


async def run(cluster: api.Cluster, data_plane: str, arguments: argparse.Namespace) -> Result:
    """The programme on one data plane, with new balancer pods."""
    client = await KubeClient.from_kubeconfig(cluster.kubeconfig)
    stack = Stack(
        cluster=cluster, client=client, namespace=NAMESPACE, chat_image=install.LOCAL_IMAGES[install.CHAT_IMAGE]
    )
    try:
        async with wss(stack, f"*.{NAMESPACE}.example.com") as secured:
            return await Programme(stack, secured, data_plane, arguments).run()
    finally:
        await client.close()
        cluster.kubectl("delete", "namespace", NAMESPACE, "--ignore-not-found", timeout=180)


class Programme:
    """The scene, the changes, and what is measured meanwhile."""

    def __init__(self, stack: Stack, secured: Wss, data_plane: str, arguments: argparse.Namespace) -> None:
        self.stack = stack
        self.secured = secured
        self.data_plane = data_plane
        self.arguments = arguments
        self.backends: list[str] = []
        self.pods: list[BalancerPod] = []
        self.generations: list[int] = [0]
        self.looks: list[list[list[float]]] = []
        self.before_listener = 0

    async def run(self) -> Result:
        """All of it."""
        spec = await self.set_scene()
        async with self.talking() as talkers:
            await self.look()
            started = time.monotonic()
            watching = asyncio.create_task(self.watch())
            try:
                await self.change_everything(spec)
                waited = await self.one_more_change()
                await asyncio.sleep(max(0.0, started + self.arguments.seconds - time.monotonic()))
                await self.look()
            finally:
                watching.cancel()
                await self.patch({"listeners": spec["listeners"]})
            seconds = time.monotonic() - started
        return Result(
            data_plane=self.data_plane,
            terms=f"idle {IDLE}, drain {spec['reload']['drainTimeout']}, reload {spec['reload']['minInterval']}",
            tally=tally(talkers),
            seconds=seconds,
            waited=waited,
            generations=(max(self.generations[: self.before_listener]), max(self.generations)),
            memory=tuple(max(map(sum, look)) for look in self.looks),
            processes=tuple(max(map(len, look)) for look in self.looks),
        )

    # ── The scene ────────────────────────────────────────────────────────────────────────────────────────────────────

    async def set_scene(self) -> dict[str, Any]:
        """New balancer pods, backends and routes; returns the balancer's spec."""
        manifest = {
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {"name": NAMESPACE, "labels": {"wsroute.dev/balancer": BALANCER}},
        }
        await self.stack.kubectl("apply", "-f", "-", stdin=json.dumps(manifest))
        await self.patch({"dataPlane": self.data_plane, "allowedRoutes": {"manualEndpoints": True}})
        await self.stack.kubectl("-n", SYSTEM, "rollout", "restart", f"deployment/{BALANCER}-balancer")
        await asyncio.to_thread(install.wait_until_ready, self.stack.cluster)
        await self.stack.backend("chat", replicas=2 * ENDPOINTS)
        await self.stack.backend("other", replicas=2)
        await eventually(self.backends_run)
        for number in range(HOLDING):
            await self.service(number)
            await self.slice(number, first=number)
            await self.stack.route(f"r{number}", paths=[path(f"s{number}")], timeouts={"idle": IDLE})
        await self.stack.route("other", paths=[path("other")])
        for number in range(HOLDING):
            await self.stack.condition(f"r{number}", "Programmed", within=120)
        await self.stack.condition("other", "Ready", within=120)
        await eventually(lambda: self.secured.is_served(self.stack.host("other")))
        self.pods = await self.stack.balancer_pods()
        found = json.loads(await self.stack.kubectl("-n", SYSTEM, "get", "wsb", BALANCER, "-o", "json"))
        return dict(found["spec"])

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
    async def talking(self) -> AsyncIterator[list[Talker]]:
        """The sockets, evenly over routes, pods, and with and without TLS, which talk until the end of the block."""
        talkers: list[Talker] = []
        try:
            for number in range(self.arguments.sockets):
                turn, route = divmod(number // len(self.pods), HOLDING)
                tls = self.secured.context if (turn + route) % 2 else None
                connection = self.stack.connect(self.pods[number % len(self.pods)], TLS_PORT if tls else PORT)
                host = self.stack.host(f"r{route}")
                talker = Talker(await held_socket(connection, host=host, path="/echo", tls=tls))
                every = self.arguments.every
                talker.start(every=every, first=number * every / self.arguments.sockets)
                talkers.append(talker)
            yield talkers
        finally:
            await asyncio.gather(*(talker.stop() for talker in talkers))

    # ── The changes ──────────────────────────────────────────────────────────────────────────────────────────────────

    async def change_everything(self, spec: dict[str, Any]) -> None:
        """One change after the other, whether the one before is served or not."""
        asked = self.arguments
        for number in range(asked.routes):
            await self.paced(self.stack.route(f"added-{number}", paths=[path("s0")]))
        for number in range(asked.endpoint_changes):
            turn, route = divmod(number, HOLDING)
            await self.paced(self.slice(route, first=route + ENDPOINTS * (turn + 1)))
        for number in range(asked.edits):
            await self.paced(self.stack.route("other", paths=[path("other"), path("s0", f"/edited-{number}")]))
        for _ in range(asked.rotations):
            await self.paced(self.secured.rotate())
        await self.stack.kubectl("-n", NAMESPACE, "rollout", "restart", "deployment/other")
        await self.fail_over()
        for number in range(asked.routes):
            await self.paced(self.stack.client.delete(ROUTES, namespace=NAMESPACE, name=f"added-{number}"))
        rollout = ("-n", NAMESPACE, "rollout", "status", "deployment/other", "--timeout=50s")
        await self.stack.kubectl(*rollout)
        await self.look()
        self.before_listener = len(self.generations)
        await self.patch({"listeners": [*spec["listeners"], EXTRA_LISTENER]})

    async def paced(self, change: Awaitable[object]) -> None:
        """A change, and the pause after it."""
        await change
        await asyncio.sleep(self.arguments.pause)

    async def fail_over(self) -> None:
        """Kill the operator's leader, and wait until there is another one."""
        before = await self.leader()
        await self.stack.kubectl("-n", SYSTEM, "delete", "pod", before, "--grace-period=0", "--force", "--wait=false")

        async def another_leads() -> None:
            assert await self.leader() != before

        await eventually(another_leads)

    async def leader(self) -> str:
        """The pod that writes."""
        lease = await self.stack.client.get(LEASES, namespace=SYSTEM, name="wsroute-operator")
        return str(lease["spec"]["holderIdentity"]).partition("_")[0]

    async def one_more_change(self) -> float | None:
        """Seconds until a new route, and the last certificate, are served on all pods, after all that; None when they
        are not."""
        await self.stack.route("last", paths=[path("s0")])
        applied = time.monotonic()
        host = self.stack.host("last")
        try:
            await eventually(lambda: self.stack.answers(host=host, status=101), within=SERVED_WITHIN, every=0.02)
            await eventually(lambda: self.secured.is_served(host), within=SERVED_WITHIN, every=0.02)
        except NotYetError:
            return None
        return time.monotonic() - applied

    async def patch(self, spec: dict[str, Any]) -> None:
        """Change the balancer."""
        patch = json.dumps({"spec": spec})
        await self.stack.kubectl("-n", SYSTEM, "patch", "wsb", BALANCER, "--type=merge", "-p", patch)

    # ── What is measured meanwhile ───────────────────────────────────────────────────────────────────────────────────

    async def watch(self) -> None:
        """Look at the pods every few seconds."""
        while True:
            with suppress(ClusterError):
                self.generations.append(await self.draining())
            await asyncio.sleep(2)

    async def draining(self) -> int:
        """Generations of old workers, of the pod that has the most."""
        found = await self.stack.client.get(CONFIG_MAPS, namespace=SYSTEM, name=f"{BALANCER}-agents")
        said = [
            parse_acknowledgement(found["data"][pod.name]) for pod in self.pods if pod.name in found.get("data", {})
        ]
        return max((each.draining.generations for each in said if each is not None), default=0)

    async def look(self) -> None:
        """Note the memory of all nginx processes."""
        self.looks.append(await self.processes())

    async def processes(self) -> list[list[float]]:
        """For each pod the memory of each of its nginx processes, in MiB."""
        return [await self.processes_of(pod) for pod in self.pods]

    async def processes_of(self, pod: BalancerPod) -> list[float]:
        """The memory of a pod's nginx processes: each one's own, and its share of what they have in common."""
        command = ("-n", SYSTEM, "exec", pod.name, "-c", "nginx", "--", "sh", "-c", _PROCESSES)
        return [int(line) / 1024 for line in (await self.stack.kubectl(*command)).split()]


def path(service: str, prefix: str = "/echo") -> dict[str, Any]:
    """A path of a route to a Service."""
    return {"path": prefix, "backends": [{"service": service, "port": "http"}]}


if __name__ == "__main__":
    main()
