"""The CRDs: equal to the models, structural, bounded, and meaning what the operator's own checks mean."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from wsroute.api import values
from wsroute.api.grammar import Grammar
from wsroute.api.schema import BALANCER, FOLDERS, KINDS, ROUTE, Kind, crd, crd_yaml, main

ROOT = Path(__file__).parents[3]

COLUMNS = {
    "WebSocketRoute": "Hosts URL Endpoints Ready Reason Age",
    "WebSocketBalancer": "Listeners Routes Pods Sockets Programmed Reason Age",
}


def root(kind: Kind) -> dict[str, Any]:
    """The schema of a kind."""
    (version,) = crd(kind)["spec"]["versions"]
    schema: dict[str, Any] = version["schema"]["openAPIV3Schema"]
    return schema


def nodes(schema: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """All nodes of a schema, with their paths."""
    yield path, schema
    for name, inner in schema.get("properties", {}).items():
        yield from nodes(inner, f"{path}.{name}".removeprefix("."))
    for key, suffix in (("items", "[]"), ("additionalProperties", "{}")):
        if key in schema:
            yield from nodes(schema[key], path + suffix)


SPECS = [(f"{kind.kind}: {path}", node) for kind in KINDS for path, node in nodes(root(kind)) if path.startswith("s")]


def node(kind: Kind, path: str) -> dict[str, Any]:
    """One node of a kind's schema."""
    return dict(nodes(root(kind)))[path]


@pytest.mark.parametrize("folder", FOLDERS)
@pytest.mark.parametrize("name", crd_yaml())
def test_the_files_are_what_the_models_say(folder: str, name: str) -> None:
    assert (ROOT / folder / name).read_text(encoding="utf-8") == crd_yaml()[name], "run `make crds`"


def test_writing_the_files(tmp_path: Path) -> None:
    main(str(tmp_path))
    assert {path.name: path.read_text(encoding="utf-8") for path in tmp_path.iterdir()} == crd_yaml()


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.kind)
def test_the_yaml_reads_back_as_the_same(kind: Kind) -> None:
    assert yaml.safe_load(crd_yaml()[f"{kind.plural}.yaml"]) == crd(kind)


@pytest.mark.parametrize(("path", "schema"), SPECS, ids=[path for path, _ in SPECS])
def test_every_node_is_structural_bounded_and_explained(path: str, schema: dict[str, Any]) -> None:
    assert schema.keys().isdisjoint({"$ref", "$defs", "anyOf", "allOf", "oneOf", "title", "const", "nullable"})
    assert "default" not in schema, "defaults in a CRD make the stored object differ from what its author wrote"
    assert ("type" in schema) != ("x-kubernetes-int-or-string" in schema)
    if not path.endswith(("[]", "{}")):
        assert schema["description"].endswith("."), "kubectl explain shows it"
    if schema.get("type") == "string":
        assert "maxLength" in schema or "enum" in schema
    if schema.get("type") == "array":
        assert schema["maxItems"] > 0
        assert schema["x-kubernetes-list-type"] in ("atomic", "set", "map")
    if schema.get("type") == "integer":
        assert schema["minimum"] >= 0
    if "additionalProperties" in schema:
        assert schema["maxProperties"] > 0
    for rule in schema.get("x-kubernetes-validations", ()):
        assert rule["message"].endswith("."), "a sentence"
        assert len(rule["message"]) < 2048


def test_the_list_types_are_those_of_the_design() -> None:
    kinds = {
        (kind.short_name, path): schema["x-kubernetes-list-type"]
        for kind in KINDS
        for path, schema in nodes(root(kind))
        if path.startswith("spec") and schema.get("type") == "array"
    }
    assert kinds[("wsr", "spec.hosts")] == "set"
    assert kinds[("wsr", "spec.paths")] == "atomic"
    assert kinds[("wsr", "spec.paths[].backends")] == "atomic"
    assert kinds[("wsb", "spec.listeners")] == "map"
    assert node(BALANCER, "spec.listeners")["x-kubernetes-list-map-keys"] == ["name"]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.kind)
def test_names_and_columns(kind: Kind) -> None:
    spec = crd(kind)["spec"]
    (version,) = spec["versions"]
    assert spec["names"]["categories"] == ["wsroute"]
    assert spec["names"]["shortNames"] == [kind.short_name]
    assert version["subresources"] == {"status": {}}
    shown = [column["name"] for column in version["additionalPrinterColumns"] if "priority" not in column]
    assert " ".join(shown) == COLUMNS[kind.kind]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.kind)
def test_every_column_points_at_a_field_of_the_status(kind: Kind) -> None:
    known = {path for path, _ in nodes(root(kind))}
    for column in kind.columns:
        path = re.sub(r"\[[^]]*\]", "[]", column.path).removeprefix(".")
        assert path in known or path == "metadata.creationTimestamp", column.name


def test_a_cluster_needs_the_deployment() -> None:
    assert "deploymentRef" in node(BALANCER, "spec")["required"]


PLACES: dict[tuple[str, str], Grammar] = {
    ("wsr", "spec.hosts[]"): values.HOST,
    ("wsr", "spec.listeners[]"): values.DNS_LABEL,
    ("wsr", "spec.balancerRef.name"): values.BALANCER_NAME,
    ("wsr", "spec.paths[].path"): values.PATH,
    ("wsr", "spec.paths[].rewritePrefix"): values.PATH,
    ("wsr", "spec.paths[].backends[].service"): values.DNS_LABEL,
    ("wsr", "spec.timeouts.idle"): values.DURATION,
    ("wsr", "spec.headers.set[].name"): values.HEADER_NAME,
    ("wsr", "spec.headers.set[].value"): values.HEADER_VALUE,
    ("wsr", "spec.headers.remove[]"): values.HEADER_NAME,
    ("wsb", "spec.domain"): values.DOMAIN,
    ("wsb", "spec.deploymentRef.name"): values.DNS_SUBDOMAIN,
    ("wsb", "spec.allowedRoutes.hosts[]"): values.HOST_PATTERN,
    ("wsb", "spec.trustedProxies[]"): values.CIDR,
    ("wsb", "spec.requestHeaders[]"): values.HEADER_NAME,
    ("wsb", "spec.allowedRoutes.namespaces.selector.matchLabels{}"): values.LABEL_VALUE,
    ("wsb", "spec.allowedRoutes.namespaces.selector.matchExpressions[].key"): values.LABEL_KEY,
}


def cel_matches(rule: str, text: str) -> bool:
    """Evaluate ``self.matches('…') && !self.matches('…')`` as CEL does: RE2 searches, and ``$`` is the very end."""
    for negated, literal in re.findall(r"(!?)self\.matches\('((?:[^'\\]|\\.)*)'\)", rule):
        pattern = re.sub(r"\\(.)", r"\1", literal)
        found = re.search(re.sub(r"(?<!\\)\$(?=$|[|)])", r"\\Z", pattern), text, re.ASCII) is not None
        if found == bool(negated):
            return False
    return True


@pytest.mark.parametrize(("place", "grammar"), PLACES.items(), ids=["-".join(place) for place in PLACES])
@given(data=st.data())
def test_the_schema_accepts_what_the_operator_accepts(
    place: tuple[str, str], grammar: Grammar, data: st.DataObject
) -> None:
    """Both ways, on texts that nearly fit."""
    schema = SCHEMAS[place]
    text = data.draw(
        st.one_of(
            st.from_regex(grammar.pattern),
            st.text(alphabet="aA0-._/*:$%\\ \n~", max_size=12),
            st.sampled_from(HOSTILE),
        )
    )
    by_schema = len(text) <= schema["maxLength"] and cel_matches(schema["x-kubernetes-validations"][0]["rule"], text)
    assert by_schema == (grammar.fault(text) is None)


SCHEMAS = {(kind.short_name, path): schema for kind in (ROUTE, BALANCER) for path, schema in nodes(root(kind)) if path}

HOSTILE = [
    "a.example.com\n",
    "$host",
    "/a/../b",
    "/.wsroute",
    "X-Forwarded-For",
    "sec_websocket_key",
    "a\\nb",
    "*.com",
    "chat.svc",
    "10.0.0.0/8\n",
    "::ffff:10.0.0.0/104",
    "30s\n",
    "",
]
