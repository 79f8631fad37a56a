"""The chart's values: each is explained where it stands, and the schema knows them all and no other."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from wsroute import __version__
from wsroute.api.v1alpha1 import parse_balancer_spec

CHART = Path(__file__).parents[3] / "deploy" / "helm" / "wsroute"
TEXT = (CHART / "values.yaml").read_text()
VALUES = yaml.safe_load(TEXT)
SCHEMA = json.loads((CHART / "values.schema.json").read_text())

OPEN = ("balancer.spec", "operator.resources", "balancer.resources", "balancer.agent.resources")
"""Values that are taken over as they are: Kubernetes knows what may stand in them."""


def leaves(node: Any, path: str = "") -> Iterator[str]:
    """The dotted names of all values that hold no further ones."""
    if isinstance(node, dict) and node and path not in OPEN:
        for key, value in node.items():
            yield from leaves(value, f"{path}.{key}".removeprefix("."))
    else:
        yield path


def described(node: Any, path: str = "") -> Iterator[str]:
    """The dotted names of all values that the schema describes, as far down as it closes them."""
    node = SCHEMA["definitions"][node["$ref"].rpartition("/")[2]] if "$ref" in node else node
    if "properties" in node and path not in OPEN:
        assert node["additionalProperties"] is False, f"a misspelt name in {path or 'the values'} would be taken"
        for key, value in node["properties"].items():
            yield from described(value, f"{path}.{key}".removeprefix("."))
    else:
        yield path


def test_the_schema_describes_each_value_and_no_other() -> None:
    # `global` is for charts that have this one as a part.
    assert set(described(SCHEMA)) - {"global"} == set(leaves(VALUES))


@pytest.mark.parametrize("path", list(leaves(VALUES)))
def test_each_value_is_explained(path: str) -> None:
    """By a comment right above it."""
    lines = TEXT.splitlines()
    at = -1
    for depth, key in enumerate(path.split(".")):
        at = next(i for i in range(at + 1, len(lines)) if lines[i].startswith(f"{'  ' * depth}{key}:"))
    assert lines[at - 1].lstrip().startswith("# ")


def test_the_default_balancer_is_a_good_one() -> None:
    spec = VALUES["balancer"]["spec"] | {"deploymentRef": {"name": "shared-balancer"}}
    assert not isinstance(parse_balancer_spec(spec), tuple)


def test_the_charts_versions_are_the_programs() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert chart["version"] == chart["appVersion"] == __version__


def test_the_readme_names_each_group_of_values() -> None:
    text = (CHART / "README.md").read_text()
    assert [group for group in VALUES if f"`{group}" not in text] == []
