"""The page ``docs/reference/api.md``, made from the models, so that it says what the API server and the operator do.

``python -m wsroute.api.reference`` writes it.
"""

import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Final, Literal, get_args, get_origin

from annotated_types import Ge, Le, MaxLen, MinLen

from wsroute.api import values
from wsroute.api.balancing import COOKIE_NAME, KEY_NAME
from wsroute.api.conditions import ConditionType, Reason
from wsroute.api.fields import Duration, IntOrText, LabelMap, Model, Pause, Text
from wsroute.api.grammar import Grammar
from wsroute.api.origins import ORIGIN
from wsroute.api.schema import BALANCER, ROUTE, Kind, models_in
from wsroute.api.v1alpha1 import GROUP, VERSION

ROUTE_EXAMPLE: Final = """\
apiVersion: wsroute.dev/v1alpha1
kind: WebSocketRoute
metadata:
  name: chat
  namespace: team-a
spec:
  balancerRef: {name: shared, namespace: wsroute-system}
  hosts: [chat.example.com]
  paths:
    - path: /ws
      backends:
        - {service: chat, port: 8080, weight: 90}
        - {service: chat-next, port: web, weight: 10}
    - path: /
      upgrade: Optional
      backends:
        - {service: chat-pages, port: 80}
  timeouts: {connect: 5s, idle: 1h}
  pingInterval: 30s
  origins: {policy: Enforce, allow: ["https://*.example.com"]}
  loadBalancing: {policy: Hash, hash: {by: Query, name: room}}
  headers:
    set: [{name: X-Team, value: a}]
    remove: [X-Debug]
"""

BALANCER_EXAMPLE: Final = """\
apiVersion: wsroute.dev/v1alpha1
kind: WebSocketBalancer
metadata:
  name: shared
  namespace: wsroute-system
spec:
  dataPlane: Static
  deploymentRef: {name: shared-balancer}
  serviceRef: {name: shared-balancer}
  domain: ws.example.com
  listeners:
    - name: ws
      port: 8080
      protocol: HTTP
      public: {scheme: wss, port: 443}
  allowedRoutes:
    namespaces: {from: Selector, selector: {matchLabels: {websockets: "yes"}}}
    hosts: ["*.example.com"]
    maxPerNamespace: 200
  reload: {strategy: InPlace, minInterval: 5s, maxDrainingGenerations: 3, drainTimeout: 1h}
  trustedProxies: [10.0.0.0/8]
  requestHeaders: [X-Team, X-Debug]
  defaults:
    timeouts: {connect: 5s, idle: 1h}
    origins: {policy: Enforce}
    loadBalancing: {policy: LeastConnections}
  maximums: {idle: 24h}
  nginx: {workerProcesses: auto, workerConnections: 16384, templateRef: {configMap: custom-main}}
"""

CONDITIONS: Final[dict[ConditionType, tuple[str, str]]] = {
    ConditionType.ACCEPTED: (
        "both",
        "The spec is valid. Of a route: its balancer exists and admits its namespace, its hosts and its paths.",
    ),
    ConditionType.RESOLVED_REFS: (
        "both",
        (
            "Every Service and every port that the route names exists and may be used. Of a balancer, where a listener "
            "ends TLS: every Secret exists and holds a certificate that can be served."
        ),
    ),
    ConditionType.PROGRAMMED: (
        "both",
        "At least one balancer pod is ready, and every ready one has acknowledged what holds this generation.",
    ),
    ConditionType.READY: ("route", "All of the above hold, and an endpoint can take sockets."),
    ConditionType.DEPLOYMENT_READY: (
        "balancer",
        "The Deployment exists and has ready pods, and the Service has a port for each listener.",
    ),
    ConditionType.DRAIN_BACKLOG: (
        "balancer",
        "The other way round: when true, a pod has as many draining generations as maxDrainingGenerations allows.",
    ),
    ConditionType.STALLED: (
        "both",
        "The other way round: when true, nothing will change until somebody edits something; the reason says what.",
    ),
}
"""Each condition, the kind that has it, and when it is true."""

REASONS: Final[dict[Reason, str]] = {
    Reason.ACCEPTED: "All is well.",
    Reason.RESOLVED: "All is well.",
    Reason.PROGRAMMED: "All is well.",
    Reason.READY: "All is well.",
    Reason.PROGRESSING: "Not stalled: what is missing may come by itself.",
    Reason.INVALID: "A field breaks a rule of this page; the message names it.",
    Reason.NO_BALANCER: "There is no such balancer, or none was named and the operator has no default one.",
    Reason.NOT_ALLOWED: "The balancer's allowedRoutes or requestHeaders do not admit what the route asks for.",
    Reason.HOST_CONFLICT: "Another namespace owns the host, or one that overlaps with it, or did until minutes ago.",
    Reason.PATH_CONFLICT: "An older route of the same namespace has the same host and path.",
    Reason.QUOTA: "The namespace has more routes than the balancer's maxPerNamespace, or its list of hosts is full.",
    Reason.UNSUPPORTED: "The balancer's data plane can't do what a field asks for.",
    Reason.SERVICE_NOT_FOUND: "There is no such Service in the route's namespace.",
    Reason.PORT_NOT_FOUND: "The Service has no TCP port of that number or name.",
    Reason.REF_NOT_PERMITTED: "The route may not use what it refers to.",
    Reason.UNSUPPORTED_SERVICE: "The Service is of a type that has no endpoints, such as ExternalName.",
    Reason.ENDPOINT_NOT_ALLOWED: (
        "Some endpoints of the Service may not be used: written by hand, or with addresses that no pod can have or "
        "that somebody else has. The others serve."
    ),
    Reason.SECRET_NOT_FOUND: (
        "A Secret with a certificate does not exist. What came from it before is served on, if anything did."
    ),
    Reason.INVALID_CERTIFICATE: (
        "A Secret holds no certificate that can be served, or one that clients refuse for its dates; the message says "
        "why. What came from it before is served on; the other certificates are not touched."
    ),
    Reason.PENDING: "Some of the ready balancer pods do not serve this generation yet; the message counts them.",
    Reason.RELOAD_HELD: "The change waits for the reload budget; the message says why, and until when at the latest.",
    Reason.CONFIG_REJECTED: (
        "nginx refuses the route, which is withdrawn until its next edit, or the configuration as a whole, and then "
        "the last good one serves; the message has nginx's words."
    ),
    Reason.NO_BALANCER_PODS: "No pod of the balancer is ready.",
    Reason.NO_ENDPOINTS: "No endpoint of any backend can take sockets.",
    Reason.DEPLOYMENT_NOT_FOUND: "The Deployment that deploymentRef names does not exist.",
    Reason.DEPLOYMENT_TAKEN: "An older balancer names the same Deployment, which is left to that one.",
    Reason.TEMPLATE_NOT_FOUND: "No ConfigMap is labelled as the template of templateRef; the shipped one is used.",
    Reason.TEMPLATE_INVALID: "The template of templateRef can't be used, as the message says; the shipped one is.",
    Reason.SERVICE_PORT_MISSING: "No port of the Service that serviceRef names leads to a listener.",
    Reason.NO_BACKLOG: "No pod has as many draining generations as the balancer allows.",
    Reason.MAX_DRAINING_GENERATIONS: "A pod has; until one has ended, only the removal of endpoints is brought in.",
    Reason.ROUTES_HELD: "The CustomResourceDefinition of routes was deleted. What was served is served on; the message "
    "says what to do.",
}
"""What each reason means, and so what to do."""

_GRAMMARS: Final = (
    values.DNS_LABEL,
    values.DNS_SUBDOMAIN,
    values.BALANCER_NAME,
    values.CONFIG_KEY,
    values.PORT_NAME,
    values.HOST,
    values.HOST_PATTERN,
    values.DOMAIN,
    values.PATH,
    values.DURATION,
    values.HEADER_NAME,
    values.HEADER_VALUE,
    values.CIDR,
    ORIGIN,
    KEY_NAME,
    COOKIE_NAME,
    values.LABEL_KEY,
    values.LABEL_VALUE,
)


def reference() -> str:
    """The page, in Markdown."""
    lines = [
        "# API reference",
        "",
        "<!-- Generated from the models in wsroute/api by `make docs`. Edit those. -->",
        "",
        f"All kinds are of `{GROUP}/{VERSION}` and live in a namespace. `kubectl explain` tells the same.",
        "A field that breaks a rule is refused by `kubectl apply` with the sentence given here; what only the operator",
        "can see becomes a condition in the status.",
        "",
        *_kind(ROUTE, ROUTE_EXAMPLE),
        *_kind(BALANCER, BALANCER_EXAMPLE),
        *_conditions(),
        *_values(),
    ]
    return "\n".join(lines).rstrip() + "\n"


def _kind(kind: Kind, example: str) -> Iterator[str]:
    yield from (f"## {kind.kind}", "", f"{kind.description} Short name: `{kind.short_name}`.", "")
    yield from ("```yaml", *example.splitlines(), "```", "")
    if kind.rules:
        yield from (*(f"- {_prose(rule['message'])}" for rule in kind.rules), "")
    yield from _model(kind.spec, "spec", required=kind.required)
    yield from _model(kind.status, "status", required=())


def _model(model: type[Model], path: str, *, required: Sequence[str]) -> Iterator[str]:
    yield from (f"### `{path}`" if "." not in path else f"#### `{path}`", "", _one_line(model.__doc__), "")
    yield from _table(("field", "type", "meaning"), _fields(model, path, required=required))
    if model.RULES:
        yield from (*(f"- {_prose(rule.sentence)}." for rule in model.RULES), "")
    for name, field in model.model_fields.items():
        for inner in models_in(field.annotation):
            many = "[]" if _is_list(field.annotation) else ""
            yield from _model(inner, f"{path}.{field.alias or name}{many}", required=())


def _fields(model: type[Model], path: str, *, required: Sequence[str]) -> Iterator[tuple[str, ...]]:
    for key, field in model.model_fields.items():
        name = field.alias or key
        needed = path.startswith("spec") and (field.is_required() or name in required)
        annotation = Annotated[field.annotation, *field.metadata] if field.metadata else field.annotation
        yield (
            f"`{name}`" + (" (required)" if needed else ""),
            _type(annotation),
            _prose(field.description or ""),
        )


def _is_list(annotation: Any) -> bool:
    return get_origin(annotation) is tuple


def _type(annotation: Any) -> str:
    """A type in words: ``list of host``, ``whole number from 0 to 1000``, ``Prefix or Exact``."""
    inner: Any = annotation
    metadata: tuple[Any, ...] = ()
    if get_origin(annotation) is Annotated:
        inner, *rest = get_args(annotation)
        metadata = tuple(rest)
    for note in metadata:
        match note:
            case Text(grammar=grammar):
                return _link(grammar)
            case IntOrText(minimum=minimum, maximum=maximum, grammar=grammar):
                text = _link(grammar) if grammar in _GRAMMARS else f"`{grammar.example}`"
                return f"whole number from {minimum} to {maximum}, or {text}"
            case LabelMap():
                return f"map of {_link(values.LABEL_KEY)} to {_link(values.LABEL_VALUE)}"
    if _is_list(inner):
        lowest, highest = _bound(metadata, MinLen), _bound(metadata, MaxLen)
        return f"list of {_type(get_args(inner)[0])}, {lowest.min_length} to {highest.max_length}"
    if inner is int:
        lowest, highest = _bound(metadata, Ge), _bound(metadata, Le)
        return (
            "whole number"
            if highest is None or highest.le == 2**31 - 1
            else f"whole number from {lowest.ge} to {highest.le}"
        )
    return _plain_type(inner)


def _plain_type(inner: Any) -> str:
    if inner in (Duration, Pause):
        return _link(values.DURATION)
    if inner in (str, bool):
        return {str: "text", bool: "true or false"}[inner]
    if isinstance(inner, type) and issubclass(inner, Model):
        return "object"
    if get_origin(inner) is Literal:
        return " or ".join(f"`{value}`" for value in get_args(inner))
    arguments = [argument for argument in get_args(inner) if argument not in (type(None), Ellipsis)]
    return _type(arguments[0])


def _bound(metadata: Sequence[Any], kind: type[Any]) -> Any:
    """The note of a kind among what pydantic keeps of a Field's bounds."""
    notes = [part for note in metadata for part in getattr(note, "metadata", (note,))]
    return next((note for note in notes if isinstance(note, kind)), None)


def _conditions() -> Iterator[str]:
    yield from ("## Conditions", "")
    yield "They follow the Kubernetes conventions: `observedGeneration` says which generation was judged, and"
    yield from ("`lastTransitionTime` changes only with the status.", "")
    kinds = {"both": "both kinds", "route": "WebSocketRoute", "balancer": "WebSocketBalancer"}
    rows = [(f"`{type_}`", kinds[kind], meaning) for type_, (kind, meaning) in CONDITIONS.items()]
    yield from _table(("condition", "of", "true when"), rows)
    yield from _table(("reason", "meaning"), [(f"`{reason}`", meaning) for reason, meaning in REASONS.items()])


def _values() -> Iterator[str]:
    yield from ("## Values", "")
    for grammar in _GRAMMARS:
        yield from (f"### {grammar.name}", "")
        yield f"{_prose(grammar.sentence)}. At most {grammar.max_length} characters. Example: `{grammar.example}`."
        yield ""
        further = [f"- {_prose(refusal.sentence)}." for refusal in grammar.refusals]
        if grammar is values.DURATION:
            further.append(f"- {values.DURATION_BOUNDS_SENTENCE}.")
        if grammar is values.CIDR:
            further.append(f"- {values.CIDR_CEL[0][1]}.")
        if further:
            yield from (*further, "")


def _link(grammar: Grammar) -> str:
    return f"[{grammar.name}](#{grammar.name.replace(' ', '-')})"


def _prose(text: str) -> str:
    """Text in which nothing is markup."""
    return re.sub(r"([*_`<|])", r"\\\1", text)


def _one_line(text: str | None) -> str:
    return " ".join((text or "").split())


def _table(head: Sequence[str], rows: Iterator[tuple[str, ...]] | Sequence[tuple[str, ...]]) -> Iterator[str]:
    yield f"| {' | '.join(head)} |"
    yield "|" + "---|" * len(head)
    for row in rows:
        yield "| " + " | ".join(row) + " |"
    yield ""


def main(file: str = "docs/reference/api.md") -> None:
    """Write the page into a file."""
    Path(file).write_text(reference(), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
