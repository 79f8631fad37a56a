"""The CustomResourceDefinitions, made from the models.

pydantic's JSON Schema is turned into a structural schema (Kubernetes, "Specifying a structural schema"): references in
line, no titles, no unions with null, no ``additionalProperties: false`` and no defaults. What the grammars and rules of
the models demand becomes CEL, so that ``kubectl apply`` answers with the operator's own sentences.

``python -m wsroute.api.schema`` writes the files in ``crds/``, and the chart's copies of them.
"""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, get_args

import yaml

from wsroute.api import values
from wsroute.api.fields import Model, Rule
from wsroute.api.grammar import cel_string
from wsroute.api.status import WebSocketBalancerStatus, WebSocketRouteStatus
from wsroute.api.v1alpha1 import GROUP, VERSION, WebSocketBalancerSpec, WebSocketRouteSpec

Schema = dict[str, Any]

_HEAD: Final = "# Generated from the models in wsroute/api by `make crds`. Edit those.\n"

FOLDERS: Final = ("crds", "deploy/helm/wsroute/files/crds")
"""Where the files are; a chart can't name files outside of itself."""

_DROPPED: Final = ("title", "default", "const")
"""Keywords of pydantic that a CRD does not need or does not allow."""


@dataclass(frozen=True, slots=True)
class Column:
    """One column of ``kubectl get``; ``wide`` ones show with ``-o wide`` only."""

    name: str
    path: str
    description: str
    wide: bool = False
    type: str = "string"

    def as_json(self) -> Schema:
        """The entry in ``additionalPrinterColumns``."""
        column: Schema = {"name": self.name, "type": self.type, "jsonPath": self.path, "description": self.description}
        return {**column, "priority": 1} if self.wide else column


@dataclass(frozen=True, slots=True)
class Kind:
    """One custom resource. ``required`` are fields of the spec that only a cluster needs."""

    kind: str
    short_name: str
    description: str
    spec: type[Model]
    status: type[Model]
    columns: tuple[Column, ...]
    required: tuple[str, ...] = ()
    rules: tuple[Schema, ...] = ()

    @property
    def plural(self) -> str:
        """As in URLs."""
        return f"{self.kind.lower()}s"


def _condition(name: str) -> str:
    return f'.status.conditions[?(@.type=="{name}")].status'


_REASON: Final = Column("Reason", ".status.summary.reason", "Why the first condition that does not hold does not.")
_AGE: Final = Column("Age", ".metadata.creationTimestamp", "Time since the object was created.", type="date")

ROUTE: Final = Kind(
    kind="WebSocketRoute",
    short_name="wsr",
    description="WebSocketRoute brings WebSockets from hosts and paths to the pods of Services.",
    spec=WebSocketRouteSpec,
    status=WebSocketRouteStatus,
    columns=(
        Column("Hosts", ".status.summary.hosts", "Hosts in force."),
        Column("URL", ".status.urls[0]", "The first address that clients connect to."),
        Column("Endpoints", ".status.summary.endpoints", "Endpoints that take new sockets."),
        Column("Ready", _condition("Ready"), "Whether the route is served and an endpoint can take sockets."),
        _REASON,
        Column("Balancer", ".status.balancer", "The balancer that serves the route.", wide=True),
        Column("Programmed", _condition("Programmed"), "Whether every ready balancer pod has it.", wide=True),
        _AGE,
    ),
)

BALANCER: Final = Kind(
    kind="WebSocketBalancer",
    short_name="wsb",
    description="WebSocketBalancer is an nginx Deployment that serves WebSocketRoutes, and what it lets them do.",
    spec=WebSocketBalancerSpec,
    status=WebSocketBalancerStatus,
    columns=(
        Column("Listeners", ".status.summary.listeners", "Listeners and their ports on the balancer's pods."),
        Column("Routes", ".status.summary.routes", "Routes that are served."),
        Column("Pods", ".status.summary.pods", "Pods that serve the version in force, of those that are ready."),
        Column("Sockets", ".status.sockets", "Open connections of clients.", type="integer"),
        Column("Programmed", _condition("Programmed"), "Whether every ready pod serves the version in force."),
        _REASON,
        Column("Version", ".status.version", "Version of the nginx.conf in force.", wide=True),
        Column("Address", ".status.addresses[0]", "Address of the Service in front of the balancer.", wide=True),
        _AGE,
    ),
    required=("deploymentRef",),
    rules=(
        {
            "rule": (
                f"self.metadata.name.size() <= {values.BALANCER_NAME.max_length} && "
                f"self.metadata.name.matches({cel_string(values.BALANCER_NAME.pattern)})"
            ),
            "message": f"{values.BALANCER_NAME.sentence}.",
        },
    ),
)

KINDS: Final = (ROUTE, BALANCER)


def structural(model: type[Model]) -> Schema:
    """The structural schema of a model, with the CEL rules of all models in it."""
    schema = model.model_json_schema(by_alias=True)
    models = schema.pop("$defs", {}) | {model.__name__: schema}
    return _structural({"$ref": model.__name__}, models, _rules_by_name(model))


def models_in(annotation: Any) -> list[type[Model]]:
    """The models in an annotation such as ``tuple[Backend, ...]`` or ``Timeouts | None``."""
    if isinstance(annotation, type) and issubclass(annotation, Model):
        return [annotation]
    return [model for argument in get_args(annotation) for model in models_in(argument)]


def _rules_by_name(model: type[Model]) -> dict[str, list[Schema]]:
    """The CEL rules of a model and of all models in it, by the names that pydantic gives them in ``$defs``."""
    rules = {model.__name__: [_cel(rule) for rule in model.RULES]}
    for field in model.model_fields.values():
        for inner in models_in(field.annotation):
            rules |= _rules_by_name(inner)
    return rules


def _cel(rule: Rule) -> Schema:
    entry = {"rule": rule.cel, "message": f"{rule.sentence}."}
    return {**entry, "fieldPath": rule.field} if rule.field else entry


def _structural(schema: Schema, models: dict[str, Schema], rules: dict[str, list[Schema]]) -> Schema:
    """One node: references replaced by what they refer to, unions with null by the other member."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        own = {key: value for key, value in schema.items() if key != "$ref"}
        node = _structural(models[name] | own, models, rules)
        return {**node, "x-kubernetes-validations": rules[name]} if rules[name] else node
    if "anyOf" in schema:
        (member,) = [member for member in schema["anyOf"] if member.get("type") != "null"]
        own = {key: value for key, value in schema.items() if key != "anyOf"}
        return _structural(member | own, models, rules)
    node = {key: value for key, value in schema.items() if key not in _DROPPED}
    if "const" in schema:
        node["enum"] = [schema["const"]]
    if "properties" in node:
        node["properties"] = {key: _structural(value, models, rules) for key, value in node["properties"].items()}
    if "items" in node:
        node["items"] = _structural(node["items"], models, rules)
    if node.get("additionalProperties") is False:
        del node["additionalProperties"]
    # What it is comes before what it holds: the files are read, too.
    first = {key: node.pop(key) for key in ("description", "type") if key in node}
    return first | node


def crd(kind: Kind) -> Schema:
    """The CustomResourceDefinition of a kind."""
    spec = structural(kind.spec)
    spec["required"] = [*spec.get("required", ()), *kind.required]
    root: Schema = {
        "type": "object",
        "description": kind.description,
        "required": ["spec"],
        "properties": {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": {"type": "object"},
            "spec": spec,
            "status": structural(kind.status),
        },
    }
    if kind.rules:
        root["x-kubernetes-validations"] = list(kind.rules)
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{kind.plural}.{GROUP}", "labels": {"app.kubernetes.io/name": "wsroute"}},
        "spec": {
            "group": GROUP,
            "scope": "Namespaced",
            "names": {
                "kind": kind.kind,
                "listKind": f"{kind.kind}List",
                "plural": kind.plural,
                "singular": kind.kind.lower(),
                "shortNames": [kind.short_name],
                "categories": ["wsroute"],
            },
            "versions": [
                {
                    "name": VERSION,
                    "served": True,
                    "storage": True,
                    "subresources": {"status": {}},
                    "additionalPrinterColumns": [column.as_json() for column in kind.columns],
                    "schema": {"openAPIV3Schema": root},
                }
            ],
        },
    }


def crd_yaml() -> dict[str, str]:
    """The files of ``crds/``, by name."""
    return {
        f"{kind.plural}.yaml": _HEAD + yaml.dump(crd(kind), Dumper=_Dumper, sort_keys=False, width=118)
        for kind in KINDS
    }


class _Dumper(yaml.SafeDumper):
    """Writes what stands at two places twice, instead of an anchor and an alias."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def main(*folders: str) -> None:
    """Write the files into folders."""
    for folder in folders or FOLDERS:
        for name, text in crd_yaml().items():
            Path(folder, name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
