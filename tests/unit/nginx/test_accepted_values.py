"""Whatever the API accepts can be rendered: there is no value that passes validation and fails in the renderer."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support import objects as made
from wsroute.api import values
from wsroute.api.grammar import Grammar
from wsroute.dataplane.ir import RouteRef
from wsroute.nginx import quoting
from wsroute.nginx.paths import POD_PATHS
from wsroute.nginx.render import render


def accepted(grammar: Grammar) -> st.SearchStrategy[str]:
    return st.from_regex(grammar.pattern, fullmatch=True).filter(lambda text: grammar.fault(text) is None)


@given(accepted(values.HOST))
def test_hosts(host: str) -> None:
    quoting.ServerName(host)


@given(accepted(values.PATH))
def test_paths(path: str) -> None:
    quoting.LocationPath(path)
    quoting.PathPattern(path)
    quoting.RegexLiteral(path)
    quoting.RewriteTarget(path)


@given(accepted(values.HEADER_NAME), accepted(values.HEADER_VALUE) | st.just('"\\' * 1000))
def test_headers(name: str, value: str) -> None:
    quoting.HeaderName(name)
    quoting.Quoted(value)


@given(accepted(values.DNS_LABEL), accepted(values.DNS_SUBDOMAIN))
def test_names(namespace: str, name: str) -> None:
    quoting.RouteName(RouteRef(namespace, name))
    quoting.Identifier(f"{namespace}_{name}_0")
    quoting.Comment(f"{namespace}/{name}")


@given(st.ip_addresses(), st.integers(1, 65535))
def test_endpoints(address: object, port: int) -> None:
    quoting.SocketAddress(str(address), port)


@pytest.mark.parametrize("name", ["n" * 253, ".".join(["n" * 63] * 3 + ["n" * 61])])
def test_the_longest_names(name: str) -> None:
    """Any team can make such a route, and what can't be rendered would hold up everybody's changes."""
    namespace, host = "t" * 63, ".".join(["h" * 63] * 3 + ["h" * 61])
    objects = [made.balancer(), made.service(namespace=namespace), made.endpoint_slice(namespace=namespace)]
    for number in range(5):
        path = made.path(f"/{number}")
        objects.append(made.route(f"{number}{name[1:]}", namespace, hosts=[host], paths=[path]))
    configuration = made.configuration_of(objects)
    assert [len(server.locations) for server in configuration.servers] == [5]
    render(configuration, POD_PATHS)
