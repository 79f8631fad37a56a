"""``wsroute plan``: what a change of manifests would do to a cluster's routes, balancers and open sockets."""

import asyncio
import json
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from wsroute.cli.balancer import ViewError, read_view
from wsroute.cli.cluster import Outcome, applied, deleted, read_cluster
from wsroute.cli.foresight import Given, Status, notes
from wsroute.cli.kubectl import Kubectl, KubectlError
from wsroute.cli.manifests import KINDS, ManifestError, read_paths
from wsroute.cli.operators import find_operators, guessed
from wsroute.cli.preview import BalancerChange, Difference, Effect, Preview, RouteChange, Terms, preview
from wsroute.cli.routes import duration, policies, route_sockets
from wsroute.cli.terminal import complain, printable
from wsroute.cluster.kinds import Kind
from wsroute.cluster.objects import Key
from wsroute.dataplane.ir import PathMatch, Refuse
from wsroute.dataplane.reload_changes import shortened
from wsroute.dataplane.table import Forward

GOOD, HARM, UNUSABLE = 0, 1, 2

LOOKED_AT: Final = KINDS | {("apps/v1", "Deployment")}

MOST: Final = 8
"""Lines about the paths of one route."""

MOST_OTHERS: Final = 20
"""Routes of which the text tells, beside those that the change names."""

_SIGNS: Final = {Effect.ADDED: "+", Effect.REMOVED: "-", Effect.CHANGED: "~", Effect.UNCHANGED: "="}


@dataclass(frozen=True, slots=True)
class Plan:
    """What would change. ``of_routes`` are the open sockets of each balancer by its routes, where its pods could be
    read, and ``statuses`` what the operator says of them. The pods of ``emptied`` namespaces end with everything
    there."""

    preview: Preview
    refused: Mapping[str, str]
    of_routes: Mapping[Key, Mapping[str, int]]
    statuses: Mapping[Key, Status]
    notes: tuple[str, ...]
    emptied: frozenset[str] = frozenset()

    def sockets(self, balancer: Key) -> int:
        """The open sockets of a balancer, as far as they are known."""
        return self.statuses.get(balancer, Status()).sockets

    def held(self, change: RouteChange) -> int | None:
        """The open sockets of a route, None where nobody tells."""
        balancer = None if change.before is None else change.before.balancer
        found = None if balancer is None else self.of_routes.get(balancer)
        return None if found is None else found.get(str(change.route), 0)

    def ends(self, change: RouteChange) -> bool:
        """Whether the pods that a route's sockets go to end."""
        return change.route.namespace in self.emptied

    @property
    def harms(self) -> bool:
        """Whether somebody should look before it is done."""
        balancers, routes = self.preview.balancers, self.preview.routes
        closes = any(each.closes and self.sockets(each.key) for each in balancers)
        closes |= any(self.ends(each) and self.held(each) for each in routes)
        invalid = any(each.after is not None and each.after.spec is None for each in balancers)
        beside = any(each.problems for each in balancers)
        return bool(self.refused or closes or invalid or beside or any(each.is_harmed for each in routes))


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
    was, will = find_operators(cluster.objects), find_operators(outcome.objects)
    leaving = tuple(each for each in was if each.namespace not in {other.namespace for other in will})
    terms = Terms(
        was or will or (guessed(cluster.objects),), (*will, *leaving) or (guessed(outcome.objects),), time.time()
    )
    found = preview(cluster.objects, outcome.objects, outcome.asked, terms)
    given = Given(cluster.objects, outcome.objects, outcome.asked, terms.after, leaving, guessed=not (was or will))
    return Plan(
        preview=found,
        refused=outcome.refused,
        of_routes=await _sockets(kubectl, found),
        statuses={key: Status.of(raw) for (kind, key), raw in cluster.objects.items() if kind is Kind.BALANCER},
        notes=(*cluster.notes, *notes(given)),
        emptied=frozenset(key.name for kind, key in outcome.asked if delete and kind is Kind.NAMESPACE),
    )


async def _sockets(kubectl: Kubectl, found: Preview) -> Mapping[Key, Mapping[str, int]]:
    """The open sockets of each balancer by its routes. Who may not look into pods is told nothing of these."""
    sockets = {}
    for each in found.balancers:
        if each.before is not None and each.before.spec is not None and each.before.spec.is_dynamic:
            try:
                view = await read_view(
                    kubectl, namespace=each.key.namespace, name=each.key.name, pod=None, sockets=False
                )
            except (ViewError, KubectlError):
                continue  # its number of sockets is told all the same
            if len(view.dumps) == len(view.pods):
                sockets[each.key] = route_sockets(view)
    return sockets


# --- text ---


def to_text(found: Plan) -> list[str]:
    """What would change, for people."""
    lines: list[str] = []
    for balancer in found.preview.balancers:
        lines += [_title(found, balancer), *_indented(_of_balancer(found, balancer)), ""]
    asked = [each for each in found.preview.routes if each.asked]
    others = [each for each in found.preview.routes if not each.asked]
    # Whoever is harmed first: an administrator's edit may change a little for thousands.
    others.sort(key=lambda each: not each.is_harmed)
    for title, routes in (("Routes that you name:", asked), ("Other routes that change with it:", others)):
        if routes:
            shown = routes if routes is asked else routes[:MOST_OTHERS]
            lines += [title, *_indented(line for each in shown for line in _of_route(found, each))]
            if left := routes[len(shown) :]:
                harmed = sum(each.is_harmed for each in left)
                lines.append(f"  and {len(left)} more, of which {harmed} are harmed; -o json has them all")
            lines.append("")
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
    held = found.statuses.get(change.key, Status()).held
    if held:
        yield f"! Now: {held}"
    if after is None:
        yield "! It would be gone: its pods go on with what they serve, and nothing of that changes any more."
        return
    if after.spec is None:
        yield "! It would not be valid, and its pods would keep what they serve:"
        yield from (f"    {problem}" for problem in after.acceptance_problems)
        return
    yield from _of_its_file(found, change)
    if change.moves:
        yield "! It would have the pods of another Deployment: the former ones go on with what they serve."
    yield from (f"! {problem}" for problem in change.problems)
    if change.rollout:
        yield (
            f"! Of its Deployment {change.rollout}: that closes the sockets there, those of one worker at a time, "
            "spread over terminationGracePeriodSeconds."
        )


def _of_its_file(found: Plan, change: BalancerChange) -> Iterator[str]:
    """What becomes of the nginx.conf of a balancer that would be valid."""
    assert change.after is not None
    assert change.after.spec is not None
    if change.before is None:
        yield "+ It is new."
    elif change.before.spec is None:
        yield "It would be valid again: what its pods serve now is unknown here, so that nginx may have to be reloaded."
    elif change.reload:
        yield from _of_reload(found, change)
    elif change.rollout:
        yield "No reload: nothing changes in its nginx.conf."
    elif change.after.spec.is_dynamic:
        yield "No reload: what changes is live within milliseconds, and nginx closes no open socket."
    else:
        yield "No reload: nothing changes in its nginx.conf, and nginx closes no open socket."


def _of_reload(found: Plan, change: BalancerChange) -> Iterator[str]:
    assert change.after is not None
    assert change.after.spec is not None
    reload, told = change.after.spec.reload, ", ".join(map(str, shortened(change.reload or ())))
    if reload.restarts:
        yield f"! Its pods are replaced ({told}): that closes the sockets that outlive their grace period."
        return
    yield f"nginx is reloaded, in one pod after another: {told}."
    yield (
        f"Open sockets stay with the workers that have them. Those still open after {duration(reload.drains_for)}, the "
        "drainTimeout, are closed."
    )
    draining = found.statuses.get(change.key, Status()).generations
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
    below += [_of_place(each, change.listeners) for each in places[:MOST]]
    if len(places) > MOST:
        below.append(f"and {len(places) - MOST} more")
    was, will = (None if each is None else each.balancer for each in (change.before, change.after))
    if change.frozen and change.effect is not Effect.UNCHANGED:
        below.append("the pods go on with it as it is now")
    elif was is not None and will is not None and was != will:
        below.append(f"the balancer {will} takes it, and no longer {was}")
    held = found.held(change)
    if held and found.ends(change):
        below.append(f"! {held} open sockets end with the pods of the namespace")
    elif held and change.effect is not Effect.UNCHANGED:
        below.append(f"{held} open sockets: nginx leaves them as they are")
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
        return "is new, and has no endpoint" if before is None else "has no endpoint"
    return {Effect.ADDED: "is new", Effect.CHANGED: "changes", Effect.UNCHANGED: "stays as it is"}[change.effect]


def _of_place(found: Difference, listeners: frozenset[str]) -> str:
    """``listeners`` are all of the route."""
    where = f"{found.host} {found.path}" + (" (exact)" if found.match is PathMatch.EXACT else "")
    if listeners.difference(found.listeners):
        where += f" on {', '.join(found.listeners)}"
    was, will = traits(found.before), traits(found.after)
    if not (isinstance(found.before, Forward) and isinstance(found.after, Forward)):
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
                "beside": list(each.problems),
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
                        "before": traits(place.before),
                        "after": traits(place.after),
                    }
                    for place in each.changes
                ],
            }
            for each in found.preview.routes
        ],
        "refused": dict(found.refused),
    }
