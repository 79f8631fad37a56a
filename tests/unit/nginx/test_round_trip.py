"""A rendered file, parsed back: whatever the values are, the tree has the same shape."""

import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import crossplane
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.configurations import configuration, location, proxy, server, upstream
from tests.support.written import takes_path
from wsroute.api.policies import OriginRules
from wsroute.dataplane.ir import Configuration, Endpoint, RouteRef
from wsroute.nginx.paths import POD_PATHS
from wsroute.nginx.quoting import EmitError
from wsroute.nginx.render import render

Tree = list[dict[str, Any]]

HARMLESS = "harmless"


def parse(text: str) -> Tree:
    """The directives of a file; fails on what nginx's grammar does not allow."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "nginx.conf"
        file.write_text(text, encoding="utf-8")
        payload = crossplane.parse(str(file), single=True, catch_errors=True)
    assert payload["errors"] == []
    tree: Tree = payload["config"][0]["parsed"]
    return tree


def shape(tree: Tree) -> list[Any]:
    """Names of directives, how many arguments each has, and what is below."""
    return [(node["directive"], len(node["args"]), shape(node.get("block", []))) for node in tree]


def arguments(tree: Tree, directive: str) -> Iterator[list[str]]:
    """The arguments of all directives of a name. crossplane leaves doubled backslashes doubled."""
    for node in tree:
        if node["directive"] == directive:
            yield [argument.replace("\\\\", "\\") for argument in node["args"]]
        yield from arguments(node.get("block", []), directive)


def built(
    *,
    host: str = "chat.example.com",
    path: str = f"/{HARMLESS}",
    rewrite: str = f"/{HARMLESS}",
    header: str = HARMLESS,
    value: str = HARMLESS,
    address: str = "10.1.2.3",
    upstream_name: str = HARMLESS,
    namespace: str = HARMLESS,
    name: str = HARMLESS,
    balancer: str = HARMLESS,
) -> Configuration:
    """One route with all that a route can say."""
    origins = OriginRules("Enforce", (host, "other.example.com"))
    action = proxy(upstream_name, rewrite_prefix=rewrite, set_headers=((header, value),), origins=origins)
    return replace(
        configuration(
            upstreams=[upstream(Endpoint(address, 8080, 2), name=upstream_name)],
            servers=[server(location(path, action, route=RouteRef(namespace, name)), host=host)],
        ),
        balancer=balancer,
    )


SHAPE = shape(parse(render(built(), POD_PATHS).text))

TEXTS = st.one_of(
    st.text(max_size=60),
    st.text(alphabet=st.sampled_from("\"'\\${};#~^=@*?%()[]| \t\r\n/ab.-"), max_size=30),
    st.sampled_from(['";', "\\", '"', "\\\\", "a b", "{", "}", "';", "${host}", "# x", "a\nb", "\\n", "\\\\n", "~ ^/"]),
)

FIELDS = ["host", "path", "rewrite", "header", "value", "address", "upstream_name", "namespace", "name", "balancer"]


@pytest.mark.parametrize("field", FIELDS)
@settings(max_examples=60)
@given(text=TEXTS)
def test_a_value_is_refused_or_stays_one_argument(field: str, text: str) -> None:
    for hostile in (text, f"/{text}", f"{HARMLESS}{text}") if field in ("path", "rewrite") else (text,):
        try:
            rendered = render(built(**{field: hostile}), POD_PATHS)
        except EmitError:
            continue
        tree = parse(rendered.text)
        *_, place = arguments(tree, "location")
        if field == "path" and hostile == "/":  # takes everything, without an expression
            assert place == ["/"]
            continue
        assert shape(tree) == SHAPE
        if field == "path":
            assert place[0] == "~"
            assert takes_path(place[1], hostile)
        elif field == "rewrite":
            *_, (_, target, _) = arguments(tree, "rewrite")
            assert target == f"{hostile.rstrip('/') or '/'}$wsroute_rest"
        elif field == "header":
            assert [hostile, HARMLESS] in arguments(tree, "proxy_set_header")
        elif field == "value":
            assert [HARMLESS, hostile] in arguments(tree, "proxy_set_header")


def test_the_words_of_a_route_arrive() -> None:
    tree = parse(render(built(value='"quoted" \\ value; # }'), POD_PATHS).text)
    assert [HARMLESS, '"quoted" \\ value; # }'] in arguments(tree, "proxy_set_header")
    assert ["chat.example.com"] in arguments(tree, "server_name")
    assert ["10.1.2.3:8080", "weight=2", "fail_timeout=2s"] in arguments(tree, "server")


@pytest.mark.parametrize("field", FIELDS)
@pytest.mark.parametrize("value", [7, True, b"x", ["x"]])
def test_other_types_are_refused(field: str, value: object) -> None:
    with pytest.raises((EmitError, TypeError, AttributeError)):
        render(built(**{field: value}), POD_PATHS)  # type: ignore[arg-type]
