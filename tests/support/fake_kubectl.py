"""kubectl against a balancer in memory."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from wsroute.balancer.table_reader import OpenSocket
from wsroute.cli.dump import PROTOCOL
from wsroute.cli.kubectl import Kubectl, KubectlError
from wsroute.dataplane.dictionary import Entries, mark
from wsroute.dataplane.shards import endpoints_line, host_line
from wsroute.dataplane.table import Table

NOW = 1_800_000_000.0


@dataclass(frozen=True, slots=True)
class FakeKubectl(Kubectl):
    """``answers`` are the outputs of commands, by the words that they begin with; an error is raised."""

    answers: dict[tuple[str, ...], str | KubectlError] = field(default_factory=dict)
    asked: list[tuple[str, ...]] = field(default_factory=list)

    async def run(self, *arguments: str, text: str | None = None) -> str:
        """The answer to the longest beginning that is known."""
        self.asked.append(arguments)
        known = [words for words in self.answers if arguments[: len(words)] == words]
        assert known, f"nobody expects kubectl {arguments}"
        answer = self.answers[max(known, key=len)]
        if isinstance(answer, KubectlError):
            raise answer
        return answer


def balancer(name: str = "shared", *, data_plane: str = "Dynamic", namespace: str = "ws") -> dict[str, Any]:
    """A WebSocketBalancer."""
    return {"metadata": {"namespace": namespace, "name": name}, "spec": {"dataPlane": data_plane}}


def pod(
    name: str, *, ready: bool = True, phase: str = "Running", containers: Sequence[str] = ("nginx", "agent")
) -> Any:
    """A pod of it."""
    return {
        "metadata": {"name": name},
        "spec": {"containers": [{"name": each} for each in containers]},
        "status": {"phase": phase, "conditions": [{"type": "Ready", "status": "True" if ready else "False"}]},
    }


def listed(*items: Any) -> str:
    """A list, as kubectl prints it."""
    return json.dumps({"items": items})


def shards(table: Table) -> str:
    """The table as the operator publishes it."""

    def part(name: str, place: str, lines: Sequence[str]) -> Any:
        text = "".join(f"{line}\n" for line in lines)
        return {"metadata": {"name": name, "annotations": {"wsroute.dev/shard": place}}, "data": {"table": text}}

    return listed(
        part("shared-table-r0", "r 0/1", [host_line(host) for host in table.hosts]),
        part("shared-table-e0", "e 0/1", [endpoints_line(group) for group in table.groups]),
    )


def dumped(
    entries: Entries,
    *,
    endpoints: dict[str, int] | None = None,
    routes: dict[str, int] | None = None,
    sockets: Sequence[OpenSocket] = (),
    **changes: Any,
) -> str:
    """What ``wsroute table`` prints in a pod."""
    head = {"wsroute": PROTOCOL, "version": "0123456789ab", "format": 1, "time": NOW, "mark": mark(entries)}
    lines: list[Any] = [{**head, "moving": False, **changes}]
    lines += [["entry", key, value] for key, value in entries.items()]
    lines += [["endpoint", *each] for each in (endpoints or {}).items()]
    lines += [["route", *each] for each in (routes or {}).items()]
    lines += [["socket", *socket] for socket in sockets]
    return "".join(json.dumps(line) + "\n" for line in [*lines, "end"])
