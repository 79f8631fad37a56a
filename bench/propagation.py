"""How fast a change reaches the *last* balancer pod, on a real cluster.

Setting: 2 balancer pods of either data plane, 10 and then 1,000 routes of 3 endpoints, 100 sockets held. Measured is
the time from the API server's answer to the write until a handshake on the last pod is answered in the new way:

- a new route, isolated (the next one only when the one before is served everywhere),
- a changed endpoint, isolated,
- the same back to back, up to 100 at a time: what each of them takes, until all are served, and how many reloads,
- at the end, routes that are added one after the other: what their hosts answer meanwhile.

A sample is taken once the one before it has settled everywhere and nothing was at work for a moment: what a change
leaves to be done afterwards (acknowledgements, statuses) shall not fall into the next one. The endpoints are small
programs (``bench.endpoint``), as each handshake of a prober takes from the two cores what is being measured there.

The Services are headless, and their slices say so as Kubernetes' own do: the balancer needs no address of theirs, and
for one kube-proxy (iptables) would write its rules anew at each change of an endpoint, which takes 65 ms of processor
time just when the change is on its way.

Then: CPU of one pass, `nginx -t`, memory of operator, agent and nginx.

    make bench                       # or: python -m bench.propagation --routes 10 1000 --samples 30
"""

import argparse
import asyncio
import json
import re
import statistics
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from prometheus_client.parser import text_string_to_metric_families

from bench import endpoint
from bench.additions import Additions
from bench.bursts import EVERY, Burst
from bench.probes import handshake
from localcluster import api, install
from tests.support.handshake import Answer, ask, echo
from tests.support.stack import BalancerPod, Stack, eventually, is_ready
from wsroute.dataplane.names import ROLE_LABEL, ROLE_TABLE
from wsroute.kube.client import KubeClient
from wsroute.kube.port import ENDPOINT_SLICES, PODS, ROUTES, SERVICES

NAMESPACE = "bench"
ENDPOINTS = 3
PROGRAM: Final = Path(endpoint.__file__).read_text(encoding="utf-8")
REST: Final = 0.2
"""Seconds of rest before an isolated change."""


@dataclass(frozen=True)
class Terms:
    """What a data plane is measured by. ``pause`` is the seconds between two handshakes of a prober: the resolution of
    all figures. A handshake takes some 2 ms of the processor all in all; probers that ask more often take it from what
    they measure. So for ``quiet`` seconds after a write none is opened: what was served sooner would be measured as
    slower than it was. ``workers`` are nginx's: as many as there are cores where each reload ends them all. What is
    aimed at stands first: for an isolated ``route`` and ``endpoint``, and for each of a ``burst`` of either."""

    route: str
    endpoint: str
    burst: str
    pause: float
    quiet: float
    workers: int | Literal["auto"]


Written = tuple[str, list[bytes]]
"""The host that a change is about, and the texts of which an answer holds one once it is served."""

Making = Callable[[int], Awaitable[Written]]
"""Makes a change for the route of this number; returns when it is written."""

TERMS = {
    "Static": Terms("p50 ≤ 500 ms", "p50 ≤ 300 ms", "all are served", 0.010, 0.200, "auto"),
    "Dynamic": Terms(*("p50 ≤ 15 ms, p99 ≤ 40 ms",) * 3, 0.002, 0.010, 4),
}


def main() -> None:
    """Set the scene on the cluster `bench`, measure, print, and take the routes away again."""
    parser = argparse.ArgumentParser(prog="python -m bench.propagation", description=__doc__.partition("\n")[0])
    parser.add_argument("--data-plane", choices=TERMS, default="Dynamic")
    parser.add_argument("--routes", type=int, nargs="+", default=[10, 1_000], help="each in its turn")
    parser.add_argument("--samples", type=int, default=30)
    parser.add_argument("--sockets", type=int, default=100)
    parser.add_argument("--additions", type=int, default=1_000, help="routes that are added one after the other")
    parser.add_argument("--down", action="store_true", help="stop the cluster afterwards")
    arguments = parser.parse_args()
    # Made anew: hosts of routes that are gone are held for minutes, and cost those that come after them.
    api.down("bench")
    cluster = api.up("bench")
    install.install_locally(cluster)
    install.unburden(cluster, arguments.data_plane)
    try:
        asyncio.run(measure(cluster, arguments))
    finally:
        cluster.kubectl("delete", "namespace", NAMESPACE, "--ignore-not-found", "--wait=false")
        if arguments.down:
            cluster.down()


async def measure(cluster: api.Cluster, arguments: argparse.Namespace) -> None:
    """All of it, in the order of the module's docstring."""
    client = await KubeClient.from_kubeconfig(cluster.kubeconfig)
    stack = Stack(
        cluster=cluster, client=client, namespace=NAMESPACE, chat_image=install.LOCAL_IMAGES[install.CHAT_IMAGE]
    )
    try:
        terms = TERMS[arguments.data_plane]
        pause, quiet = terms.pause * 1_000, terms.quiet * 1_000
        print(f"data plane {arguments.data_plane}, probed every {pause:.0f} ms, from {quiet:.0f} ms after a write on")
        bench = Bench(stack, terms)
        async with AsyncExitStack() as exits:
            held: list[Any] = []
            for routes in arguments.routes:
                await bench.set_scene(routes)
                held = held or await bench.hold(arguments.sockets, exits)
                await bench.costs(f"{routes} routes, before the changes")
                changes = (
                    ("a new route", terms.route, bench.new_route),
                    ("a changed endpoint", terms.endpoint, bench.changed_endpoint),
                )
                # Isolated ones first: what a burst leaves behind is at work for seconds.
                for title, target, change in changes:
                    await bench.report(title, target, change, arguments.samples)
                for title, _, change in changes:
                    await bench.back_to_back(title, terms.burst, change, arguments.samples)
            await bench.additions(arguments.additions)
            await bench.costs("after the changes")
            for number, connection in enumerate(held):
                await echo(connection, f"socket {number} is still there")
            print(f"sockets held from before all that, which still echo: {len(held)} of {len(held)}")
    finally:
        await client.close()


class Bench:
    """The scene and the measurements."""

    def __init__(self, stack: Stack, terms: Terms) -> None:
        self.stack = stack
        self.terms = terms
        self.routes = 0
        self.backends: list[tuple[str, str]] = []
        self.pods: list[BalancerPod] = []
        self.first: dict[int, int] = {}
        """From which backend on each slice counts."""
        self.added = 0

    async def set_scene(self, routes: int) -> None:
        """Six backends, and routes whose hand-written slices name three of them each."""
        self.routes = routes
        label = f"wsroute.dev/balancer={install.BALANCER}"
        manifest = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}
        await self.stack.kubectl("apply", "-f", "-", stdin=json.dumps(manifest))
        await self.stack.kubectl("label", "--overwrite", "namespace", NAMESPACE, label)
        terms: dict[str, Any] = {"allowedRoutes": {"maxPerNamespace": 10_000, "manualEndpoints": True}}
        terms["nginx"] = {"workerProcesses": self.terms.workers}
        await self.stack.kubectl(
            *("-n", install.NAMESPACE, "patch", "wsb", install.BALANCER, "--type=merge"),
            *("-p", json.dumps({"spec": terms})),
        )
        await self.stack.backend(replicas=2 * ENDPOINTS, program=PROGRAM)

        async def backends_run() -> None:
            listing = await self.stack.client.list(PODS, namespace=NAMESPACE, label_selector="app=chat")
            assert len(listing.items) == 2 * ENDPOINTS
            assert all(is_ready(pod) for pod in listing.items)
            self.backends = [(pod["metadata"]["name"], pod["status"]["podIP"]) for pod in listing.items]

        await eventually(backends_run)
        self.pods = await self.stack.balancer_pods()
        started = time.monotonic()
        gate = asyncio.Semaphore(16)

        async def one(number: int) -> None:
            async with gate:
                await self.service(number)
                await self.slice(number, first=number)
                await self.route(number)

        await asyncio.gather(*(one(number) for number in range(routes)))
        applied = time.monotonic()
        await eventually(lambda: self.answered(routes - 1), within=300)
        await eventually(lambda: self.all_programmed(routes), within=300, every=0.5)
        print(f"{routes} routes of {ENDPOINTS} endpoints, {len(self.pods)} balancer pods")
        print(f"applied in {applied - started:.1f} s, all Programmed {time.monotonic() - applied:.1f} s later")

    async def all_programmed(self, routes: int) -> None:
        """Until every route's status says so."""
        listing = await self.stack.client.list(ROUTES, namespace=NAMESPACE)
        done = 0
        for route in listing.items:
            conditions = (route.get("status") or {}).get("conditions", [])
            done += any(c["type"] == "Programmed" and c["status"] == "True" for c in conditions)
        assert done >= routes, f"{done} of {routes} are Programmed"

    async def service(self, number: int) -> None:
        """A Service without selector, so that its slices are ours to write, and without an address."""
        spec = {"clusterIP": "None", "ports": [{"name": "http", "port": 80}]}
        body = {"metadata": {"name": f"s{number}"}, "spec": spec}
        await self.stack.apply(SERVICES, body)

    async def slice(self, number: int, *, first: int) -> list[str]:
        """A slice of three backends, from the one that ``first`` counts to; returns their pods."""
        self.first[number] = first
        chosen = [self.backends[(first + offset) % len(self.backends)] for offset in range(ENDPOINTS)]
        labels = {"kubernetes.io/service-name": f"s{number}", "service.kubernetes.io/headless": ""}
        body = {
            "metadata": {"name": f"s{number}", "labels": labels},
            "addressType": "IPv4",
            "endpoints": [{"addresses": [address], "conditions": {"ready": True}} for _, address in chosen],
            "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
        }
        await self.stack.apply(ENDPOINT_SLICES, body)
        return [name for name, _ in chosen]

    async def route(self, number: int) -> None:
        """A route to that Service."""
        backends = [{"service": f"s{number}", "port": "http"}]
        await self.stack.route(f"r{number}", paths=[{"path": "/echo", "backends": backends}])

    def host(self, number: int) -> str:
        """The host of a route."""
        return self.stack.host(f"r{number}")

    async def answered(self, number: int) -> None:
        """A route is served on every pod."""
        await self.stack.answers(host=self.host(number), status=101)

    async def hold(self, count: int, exits: AsyncExitStack) -> list[Any]:
        """Open sockets, evenly over the pods."""
        return [
            await exits.enter_async_context(
                self.stack.socket(self.pods[n % len(self.pods)], host=self.host(n % self.routes))
            )
            for n in range(count)
        ]

    async def until_all(self, host: str, *, says: list[bytes]) -> float:
        """When the last pod's answer to a handshake held one of these texts, on the clock ``time.monotonic``."""
        asked = (asyncio.to_thread(self.probe, self.stack.cluster, pod.ip, host, says) for pod in self.pods)
        return max(await asyncio.gather(*asked))

    def probe(self, cluster: api.CurrentCluster, address: str, host: str, says: list[bytes]) -> float:
        """Open handshakes on a pod until an answer holds one of ``says``; when that was."""
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            answer = handshake(cluster, address, host)
            if any(text in answer for text in says):
                return time.monotonic()
            time.sleep(self.terms.pause)
        raise TimeoutError(f"{address} does not answer for {host} with {says!r}; its last answer was {answer!r}")

    async def new_route(self, number: int) -> Written:
        """A new route, on a Service that is there already."""
        self.added += 1
        name = f"new-{self.added}"
        backends = [{"service": f"s{number}", "port": "http"}]
        await self.stack.route(name, paths=[{"path": "/echo", "backends": backends}])
        return self.stack.host(name), [b"HTTP/1.1 101 "]

    async def changed_endpoint(self, number: int) -> Written:
        """Endpoints that a slice did not have before. All three are others, so that the first handshake after the
        change is one on a new endpoint."""
        wanted = await self.slice(number, first=self.first[number] + ENDPOINTS)
        return self.host(number), upgraded_by(wanted)

    async def report(self, title: str, target: str, change: Making, samples: int) -> None:
        """Take samples, each after the one before has settled everywhere, and print them."""
        taken = []
        for sample in range(samples):
            await asyncio.sleep(REST)
            host, says = await change(sample % self.routes)
            written = time.monotonic()
            await asyncio.sleep(self.terms.quiet)
            taken.append(await self.until_all(host, says=says) - written)
            await eventually(self.settled)
        print(f"{self.routes} routes, {title}, isolated: {summary(taken)} (target {target})")

    async def back_to_back(self, title: str, target: str, change: Making, samples: int) -> None:
        """Changes without a pause, in bursts, and what each of them takes."""
        before = await self.reloads()
        taken: list[float] = []
        writing = serving = 0.0
        changes = min(100, self.routes)
        while len(taken) < samples:
            started = time.monotonic()
            addresses = [pod.ip for pod in self.pods]
            with Burst(self.stack.cluster, addresses, self.probe, self.terms.quiet) as burst:
                for number in range(changes):
                    burst.wrote(*await change(number))
                written = time.monotonic()
            for each in burst.changes:
                await self.until_all(each.host, says=each.says)
            writing, serving = max(writing, written - started), max(serving, time.monotonic() - written)
            taken += burst.seconds
            await eventually(self.settled)
        print(f"{self.routes} routes, {title}, {changes} back to back: {summary(taken)} (target {target})")
        print(
            f"  one of {EVERY} was asked for; {changes} were written in {writing:.2f} s, and all were served "
            f"{serving:.2f} s later at most; {await self.reloads() - before} reloads over all pods"
        )

    async def settled(self) -> None:
        """All pods run the version that is in force, with all that stands in tables."""
        found = await self.stack.kubectl("-n", install.NAMESPACE, "get", "configmaps", "-o", "json")
        maps = {item["metadata"]["name"]: item for item in json.loads(found)["items"]}
        wanted = maps[f"{install.BALANCER}-nginx"]["metadata"]["annotations"]["wsroute.dev/version"]
        agents = maps[f"{install.BALANCER}-agents"].get("data", {})
        labels = {ROLE_LABEL: ROLE_TABLE}.items()
        tables = [
            item["metadata"]
            for item in maps.values()
            if labels <= item["metadata"].get("labels", {}).items() and any(item.get("data", {}).values())
        ]
        newest = max((int(table["resourceVersion"]) for table in tables), default=0)
        for pod in self.pods:
            said = json.loads(agents[pod.name])
            assert said["version"] == wanted
            assert said["table"] >= newest

    async def additions(self, routes: int) -> None:
        """Routes without a pause; every pod is asked for each of them from before it is written until it is served."""
        started = time.monotonic()
        with Additions(self.stack.cluster, [pod.ip for pod in self.pods]) as additions:
            for number in range(routes):
                name = f"added-{number}"
                additions.expect(self.stack.host(name))
                backends = [{"service": f"s{number % self.routes}", "port": "http"}]
                await self.stack.route(name, paths=[{"path": "/echo", "backends": backends}])
            written = time.monotonic()
            await asyncio.to_thread(additions.finish)
        print(
            f"{routes} routes added one after the other: written in {written - started:.1f} s; {additions.asked} "
            f"handshakes on their hosts, the last {time.monotonic() - written:.1f} s later, of which neither 404 "
            f"no-route before nor 101 since: {len(additions.wrong)} (target 0)"
        )
        for line in additions.wrong[:10]:
            print(f"  {line}")

    async def reloads(self) -> int:
        """How often the agents have had nginx load a version, over all pods."""
        total = 0.0
        for pod in self.pods:
            answer = await ask(self.stack.connect(pod, 8082), host="agent", path="/metrics")
            total += sample(answer, "wsroute_agent_applied_total", outcome="applied")
        return int(total)

    async def costs(self, title: str) -> None:
        """CPU of a pass, `nginx -t`, processes and memory."""
        print(f"── {title}")
        operators = (
            await self.stack.kubectl(
                *("-n", install.NAMESPACE, "get", "pods", "-l", "app.kubernetes.io/name=wsroute-operator"),
                *("-o", "jsonpath={range .items[*]}{.metadata.name} {.status.podIP}{'\\n'}{end}"),
            )
        ).split("\n")
        for line in filter(None, operators):
            name, address = line.split()
            answer = await ask(self.stack.cluster.open_connection(address, 8080), host="operator", path="/metrics")
            computing = [
                sample(answer, "wsroute_pass_seconds_sum", part=part)
                / max(1.0, sample(answer, "wsroute_pass_seconds_count", part=part))
                for part in ("plan", "statuses")
            ]
            passes = sample(answer, "wsroute_pass_seconds_count", part="plan")
            memory = await self.resident(name, "operator")
            print(f"  {name}: a pass {sum(computing) * 1_000:.1f} ms (mean of {passes:.0f}), {memory} MiB")
        for pod in self.pods:
            script = (
                "s=$(date +%s%N); nginx -t -q -c /run/wsroute/nginx.conf 2>/dev/null; e=$(date +%s%N); "
                "echo test $(( (e - s) / 1000000 )); "
                "for p in /proc/[0-9]*; do case \"$(tr -d '\\0' <$p/cmdline 2>/dev/null)\" in "
                "'nginx: worker'*) echo worker $(sed -n 's/^Pss: *\\([0-9]*\\).*/\\1/p' $p/smaps_rollup);; esac; done"
            )
            lines = (await self.execute(pod.name, "nginx", "sh", "-c", script)).split("\n")
            workers = [int(line.split()[1]) for line in lines if line.startswith("worker ")]
            test = next(line.split()[1] for line in lines if line.startswith("test "))
            print(
                f"  {pod.name}: nginx -t {test} ms, {len(workers)} worker processes with {sum(workers) // 1024} MiB, "
                f"agent {await self.resident(pod.name, 'agent')} MiB"
            )

    async def resident(self, pod: str, container: str) -> int:
        """Resident memory of a container's first process, in MiB."""
        status = await self.execute(pod, container, "cat", "/proc/1/status")
        found = re.search(r"VmRSS:\s+(\d+) kB", status)
        assert found
        return int(found[1]) // 1024

    async def execute(self, pod: str, container: str, *command: str) -> str:
        """Run a command in a container."""
        return await self.stack.kubectl("-n", install.NAMESPACE, "exec", pod, "-c", container, "--", *command)


def summary(seconds: list[float]) -> str:
    """Samples in words, in milliseconds."""
    taken = sorted(each * 1_000 for each in seconds)
    p99 = taken[min(len(taken) - 1, int(len(taken) * 0.99))]
    return f"p50 {statistics.median(taken):.1f} ms, p99 {p99:.0f} ms, max {taken[-1]:.0f} ms, n={len(taken)}"


def upgraded_by(pods: list[str]) -> list[bytes]:
    """What stands in an answer when one of these backends' pods upgraded the connection."""
    return [f"X-Chat-Pod: {pod}\r\n".encode() for pod in pods]


def sample(answer: Answer, name: str, **labels: str) -> float:
    """A sample of a metrics page; 0 when there is none yet."""
    for family in text_string_to_metric_families(answer.body.decode()):
        for found in family.samples:
            if found.name == name and labels.items() <= found.labels.items():
                return found.value
    return 0.0


if __name__ == "__main__":
    main()
