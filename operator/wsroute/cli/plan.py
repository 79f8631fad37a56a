"""``wsroute plan``: what a change of manifests would do to a cluster's routes, balancers and open sockets."""

import asyncio
import json
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from wsroute.cli.balancer import View, ViewError, read_view
from wsroute.cli.cluster import Outcome, applied, deleted, read_cluster
from wsroute.cli.kubectl import Kubectl, KubectlError
from wsroute.cli.manifests import KINDS, ManifestError, read_paths
from wsroute.cli.preview import BalancerChange, Effect, Place, Preview, RouteChange, Terms, preview
from wsroute.cli.routes import duration, policies, route_sockets
from wsroute.cli.terminal import complain, printable
from wsroute.cluster.kinds import Kind
from wsroute.cluster.objects import Key
from wsroute.dataplane.ir import PathMatch, Refuse
from wsroute.dataplane.table import Forward
from wsroute.graph.model import GraphSettings

GOOD, HARM, UNUSABLE = 0, 1, 2

LOOKED_AT: Final = KINDS | {("apps/v1", "Deployment")}

MOST: Final = 8
"""Lines about the paths of one route."""

_SIGNS: Final = {Effect.ADDED: "+", Effect.REMOVED: "-", Effect.CHANGED: "~", Effect.UNCHANGED: "="}


@dataclass(frozen=True, slots=True)
class Plan:
    """What would change. ``views`` are the balancers as their pods serve them, where these could be read, and
    ``statuses`` what the operator says of them."""

    preview: Preview
    refused: Mapping[str, str]
    views: Mapping[Key, View]
    statuses: Mapping[Key, Mapping[str, Any]]
    notes: tuple[str, ...]

    def sockets(self, balancer: Key) -> int:
        """The open sockets of a balancer, as far as they are known."""
        held = self.statuses.get(balancer, {}).get("sockets")
        return held if isinstance(held, int) else 0

    def held(self, change: RouteChange) -> int | None:
        """The open sockets of a route, None where nobody tells."""
        balancer = None if change.before is None else change.before.balancer
        view = None if balancer is None else self.views.get(balancer)
        return None if view is None else route_sockets(view)[str(change.route)]

    @property
    def harms(self) -> bool:
        """Whether somebody should look before it is done."""
        closes = any(each.closes and self.sockets(each.key) for each in self.preview.balancers)
        invalid = any(each.after is not None and each.after.spec is None for each in self.preview.balancers)
        return bool(self.refused or closes or invalid or any(each.is_harmed for each in self.preview.routes))


def plan(kubectl: Kubectl, paths: Sequence[Path], *, delete: bool, server_side: bool, as_json: bool) -> int:
    """Print what applying manifests, or deleting what they name, would do; and return the exit code."""
    try:
        found = asyncio.run(_plan(kubectl, paths, delete=delete, server_side=server_side))
    except (ManifestError, KubectlError) as error:
        complain(error)
        return UNUSABLE
    if as_json:
        print(json.dumps(to_json(found), indent=2))
    else:
        print("\n".join(map(printable, to_text(found))))
    for note in found.notes:
        complain(note)
    return HARM if found.harms else GOOD


async def _plan(kubectl: Kubectl, paths: Sequence[Path], *, delete: bool, server_side: bool) -> Plan:
    manifests = read_paths(paths, kinds=LOOKED_AT)
    if not manifests:
        kinds = ", ".join(sorted(kind for _, kind in LOOKED_AT))
        raise ManifestError(f"These files hold nothing that wsroute looks at, which is: {kinds}.")
    cluster = await read_cluster(kubectl)
    outcome: Outcome = (
        await deleted(kubectl, cluster, manifests)
        if delete
        else await applied(kubectl, cluster, manifests, server_side=server_side)
    )
    terms = Terms(GraphSettings(default_balancer=cluster.default), cluster.watched, time.time())
    found = preview(cluster.objects, outcome.objects, outcome.asked, terms)
    statuses = {key: raw.get("status", {}) for (kind, key), raw in cluster.objects.items() if kind is Kind.BALANCER}
    notes = cluster.notes
    if cluster.watched:
        notes += tuple(
            f"The operator does not watch the namespace {key.namespace}: it would not serve {key}."
            for kind, key in sorted(outcome.asked)
            if kind is Kind.ROUTE and key.namespace not in cluster.watched
        )
    return Plan(found, outcome.refused, await _views(kubectl, found), statuses, notes)


async def _views(kubectl: Kubectl, found: Preview) -> Mapping[Key, View]:
    """The balancers as their pods serve them. Who may not look into pods is told nothing of sockets by route."""
    views = {}
    for each in found.balancers:
        if each.before is not None and each.before.spec is not None and each.before.spec.is_dynamic:
            try:
                view = await read_view(
                    kubectl, namespace=each.key.namespace, name=each.key.name, pod=None, sockets=False
                )
            except (ViewError, KubectlError):
                continue
            if len(view.dumps) == len(view.pods):
                views[each.key] = view
    return views


# --- text ---


def to_text(found: Plan) -> list[str]:
    """What would change, for people."""
    lines: list[str] = []
    for balancer in found.preview.balancers:
        lines += [_title(found, balancer), *_indented(_of_balancer(found, balancer)), ""]
    asked = [each for each in found.preview.routes if each.asked]
    others = [each for each in found.preview.routes if not each.asked]
    for title, routes in (("Routes that you name:", asked), ("Other routes that change with it:", others)):
        if routes:
            lines += [title, *_indented(line for each in routes for line in _of_route(found, each)), ""]
    if found.refused:
        refused = (f"! {name}: {words}" for name, words in sorted(found.refused.items()))
        lines += ["What the API server refuses:", *_indented(refused), ""]
    return lines[:-1] if lines else ["Nothing changes for any route or balancer."]


def _indented(lines: Iterable[str]) -> Iterator[str]:
    return (f"  {line}" for line in lines)


def _title(found: Plan, change: BalancerChange) -> str:
    node = change.before or change.after
    assert node is not None
    pods = sum(pod.ready for pod in node.pods)
    plane = "" if node.spec is None else f" ({node.spec.data_plane})"
    return f"Balancer {change.key}{plane}: {pods} pods ready, {found.sockets(change.key)} open sockets"


def _of_balancer(found: Plan, change: BalancerChange) -> Iterator[str]:
    after = change.after
    if after is None:
        yield "! It would be gone: its pods go on with what they serve, and nothing of that changes any more."
        return
    if after.spec is None:
        yield "! It would not be valid, and its pods would keep what they serve:"
        yield from (f"    {problem}" for problem in after.acceptance_problems)
        return
    if change.before is None:
        yield "+ It is new."
    elif change.reload:
        yield from _of_reload(found, change)
    else:
        yield "No reload: what changes is live within milliseconds, and no open socket is closed."
    if change.rollout:
        yield (
            f"! Of its Deployment {change.rollout}: that closes the sockets there, those of one worker at a time, "
            "spread over terminationGracePeriodSeconds."
        )


def _of_reload(found: Plan, change: BalancerChange) -> Iterator[str]:
    assert change.after is not None
    assert change.after.spec is not None
    reload, told = change.after.spec.reload, ", ".join(map(str, change.reload or ()))
    if reload.restarts:
        yield f"! Its pods are replaced ({told}): that closes the sockets that outlive their grace period."
        return
    yield f"nginx is reloaded, in one pod after another: {told}."
    yield (
        f"Open sockets stay with the workers that have them. Those still open after {duration(reload.drains_for)}, the "
        "drainTimeout, are closed."
    )
    draining = found.statuses.get(change.key, {}).get("draining", {}).get("generations", 0)
    if draining >= reload.max_draining_generations:
        yield (
            f"It has to wait: {draining} generations of old workers hold sockets already, which is the "
            "maxDrainingGenerations."
        )


def _of_route(found: Plan, change: RouteChange) -> Iterator[str]:
    view = change.after or change.before
    assert view is not None
    sign = "!" if change.is_harmed else _SIGNS[change.effect]
    yield " ".join([sign, str(change.route), *(view.urls[:1] if change.after is not None else ()), _summary(change)])
    below = [*change.new_problems]
    places = list(change.changes)
    below += [_of_place(*each) for each in places[:MOST]]
    if len(places) > MOST:
        below.append(f"and {len(places) - MOST} more")
    held = found.held(change)
    if held and change.effect is not Effect.UNCHANGED:
        below.append(f"{held} open sockets stay as they are")
    yield from (f"    {line}" for line in below)


def _summary(change: RouteChange) -> str:
    before, after = change.before, change.after
    if after is None:
        return "is gone"
    if after.problems:
        return "is not accepted"
    if before is not None and before.problems:
        return "is accepted"
    if after.serves and not after.endpoints:
        return "has no endpoint"
    return {Effect.ADDED: "is new", Effect.CHANGED: "changes", Effect.UNCHANGED: "stays as it is"}[change.effect]


def _of_place(place: Place, before: Forward | Refuse | None, after: Forward | Refuse | None) -> str:
    where = f"{place.host} {place.path}" + (" (exact)" if place.match is PathMatch.EXACT else "")
    was, will = traits(before), traits(after)
    if before is None or after is None or isinstance(before, Refuse) or isinstance(after, Refuse):
        return f"{where}: {'; '.join(will)}"
    gone, come = [each for each in was if each not in will], [each for each in will if each not in was]
    return f"{where}: {'; '.join(gone) or 'nothing'} → {'; '.join(come) or 'nothing'}"


def traits(action: Forward | Refuse | None) -> list[str]:
    """What a path does, in words."""
    match action:
        case None:
            return ["404 no-route"]
        case Refuse(reason):
            return [f"refused, {reason}"]
        case Forward():
            several = len(action.targets) > 1
            to = ", ".join(f"{each.group} (weight {each.weight})" if several else each.group for each in action.targets)
            times = f"idle {duration(action.idle_timeout)}", f"connect {duration(action.connect_timeout)}"
            return [f"to {to}", *times, *policies(action)]


# --- JSON ---


def to_json(found: Plan) -> Any:
    """The same for programs."""
    return {
        "harms": found.harms,
        "balancers": [
            {
                "balancer": str(each.key),
                "sockets": found.sockets(each.key),
                "valid": each.after is not None and each.after.spec is not None,
                "problems": [] if each.after is None else [str(problem) for problem in each.after.acceptance_problems],
                "reload": [change._asdict() for change in each.reload or ()],
                "rollout": each.rollout,
                "closesSockets": each.closes,
            }
            for each in found.preview.balancers
        ],
        "routes": [
            {
                "route": str(each.route),
                "named": each.asked,
                "effect": str(each.effect),
                "harmed": each.is_harmed,
                "accepted": each.after is not None and not each.after.problems,
                "endpoints": each.after.endpoints if each.after is not None else 0,
                "problems": [] if each.after is None else [*each.after.problems, *each.after.unresolved],
                "sockets": found.held(each),
                "paths": [
                    {
                        "host": place.host,
                        "path": place.path,
                        "match": str(place.match),
                        "listeners": list(place.listeners),
                        "before": traits(before),
                        "after": traits(after),
                    }
                    for place, before, after in each.changes
                ],
            }
            for each in found.preview.routes
        ],
        "refused": dict(found.refused),
    }
