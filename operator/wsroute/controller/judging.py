"""What the pods of a balancer say of its versions, and what they serve: the evidence for ``quarantine``. Pure."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Final

from wsroute.controller import refusal
from wsroute.controller.rollout import BalancerPod
from wsroute.controller.versions import Versions
from wsroute.controller.view import Refused, Standing, Verdict
from wsroute.dataplane.ir import Configuration, Proxy, RouteRef
from wsroute.nginx.linemap import LineMap
from wsroute.nginx.served import served_routes


@dataclass(frozen=True, slots=True)
class Published:
    """A version in one of the ConfigMaps, and what it was made for; all are empty where there is none."""

    version: str
    structure: str
    made_for: str


NOTHING_PUBLISHED: Final = Published("", "", "")


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is published, and the pods with what they said. ``silent`` are the names of those that are not waited for.
    ``proven`` is the last version that was in force and that a pod ran, as far as we have seen it. ``lines``
    are the line maps of the versions that we made and that are still of interest."""

    in_force: Published
    trial: Published
    pods: tuple[BalancerPod, ...]
    silent: Collection[str]
    proven: Published
    lines: Mapping[str, LineMap]

    @property
    def in_force_is_run(self) -> bool:
        """Whether some pod runs the version in force."""
        return bool(self.in_force.version) and any(pod.runs(self.in_force.version) for pod in self.pods)

    def takes(self, made_for: str) -> bool:
        """Whether nginx has taken what the balancer itself is: a version that was made for it is in force."""
        return self.in_force.made_for == made_for and not self._in_force_is_refused()

    def verdict(self, structure: str) -> Verdict:
        """What the pods say of a structure.

        What they ran before and refuse by now is the machine's or the image's fault, not that of what did not change.
        """
        if structure == self.in_force.structure and self.in_force_is_run:
            return "accepted"
        if structure == self.proven.structure:
            return "open"
        for published in (self.trial, self.in_force):
            if published.version and published.structure == structure:
                refused = self._refused(published.version)
                if refused is not None:
                    return refused
        return "open"

    def _refused(self, version: str) -> Refused | None:
        """A refusal that can be believed: no pod runs the version, and it is not one pod's own trouble.

        At the test of a file all pods do the same. What only failed at load is believed once no pod is left to try it.
        """
        if any(pod.runs(version) for pod in self.pods):
            return None
        pods = sorted(self.pods, key=lambda pod: (not pod.ready, pod.name))
        failures = [pod.said.failure for pod in pods if pod.refused(version) and pod.said and pod.said.failure]
        readings = [(failure, refusal.read(failure)) for failure in failures]
        for failure, reading in readings:
            if reading.line:
                return Refused(failure, self._routes_at(version, reading.line))
        left = any(self._answers(pod) and not pod.refused(version) for pod in self.pods)
        for failure, reading in readings:
            if not reading.is_the_machines and (failure.phase == "test" or not left):
                return Refused(failure, ())
        return None

    def _answers(self, pod: BalancerPod) -> bool:
        return pod.ready and pod.said is not None and pod.said.version != "" and pod.name not in self.silent

    def _routes_at(self, version: str, line: int) -> tuple[RouteRef, ...]:
        lines = self.lines.get(version)
        return () if lines is None else lines.routes_at(line)

    def standing(self, versions: Versions, in_force_text: Callable[[], str]) -> Standing:
        """What the pods serve. Nobody does what all that tried it have refused."""
        running = [self.in_force.version] if self.in_force.version and not self._in_force_is_refused() else []
        running += [pod.said.version for pod in self.pods if pod.ready and pod.said is not None and pod.said.version]
        for version in running:
            known = versions.configuration(version)
            if known is not None:
                return Standing(version, known, _served(known))
        if running and running[0] == self.in_force.version:
            text = in_force_text()
            return Standing(self.in_force.version, None, served_routes(text), text)
        if running:
            return Standing("", None, None)
        return Standing(self.proven.version, versions.configuration(self.proven.version), frozenset())

    def _in_force_is_refused(self) -> bool:
        version = self.in_force.version
        return not self.in_force_is_run and any(pod.refused(version) for pod in self.pods)


def _served(configuration: Configuration) -> frozenset[RouteRef]:
    """The routes with a location that proxies."""
    return frozenset(
        location.route
        for server in configuration.servers
        for location in server.locations
        if isinstance(location.action, Proxy)
    )
