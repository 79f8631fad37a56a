"""Whose the hosts of a file are is read back from it."""

from tests.support import objects as made
from wsroute.nginx.paths import POD_OPTIONS, POD_PATHS
from wsroute.nginx.render import render
from wsroute.nginx.served import served_hosts


def test_all_hosts_of_a_rendered_file_are_found_with_their_namespaces() -> None:
    found = made.configuration_of(
        [
            made.balancer(),
            made.service(),
            made.endpoint_slice(),
            made.route(hosts=["a.example.com", "*.example.org"]),
            made.route("more", hosts=["a.example.com"], paths=[made.path("/more")]),
            made.route("wrong", "team-b", hosts=["b.example.com"], spec={"nonsense": 1}),
            made.route("idle", "team-c", hosts=["c.example.com"]),
        ]
    )
    assert served_hosts(render(found, POD_PATHS, options=POD_OPTIONS).text) == {
        "a.example.com": "team-a",
        "*.example.org": "team-a",
        "b.example.com": "team-b",
        "c.example.com": "team-c",
    }
