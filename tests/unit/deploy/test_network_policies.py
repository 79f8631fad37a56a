"""The NetworkPolicies of `deploy/` against the pods that they are for.

The local cluster's network plugin does not enforce NetworkPolicies: what is checked here is that they select our pods,
let in what these listen on, and let out what they need and nothing beyond.
"""

import ipaddress
from pathlib import Path
from typing import Any

import pytest
import yaml

DEPLOY = Path(__file__).parents[3] / "deploy"
PARTS = ("operator", "balancer", "balancer-restart")

ANYWHERE: Any = None
"""The peers of a rule that names none."""

IN_CLUSTER: Any = [{"namespaceSelector": {}}]

NEVER = ("169.254.169.254", "fe80::1", "fd00:ec2::254", "100.100.100.200")
"""Metadata services of clouds, and addresses that no API server has."""


def one(part: str, file: str, kind: str) -> dict[str, Any]:
    """The only object of a kind in a file."""
    [found] = [
        each for each in yaml.safe_load_all((DEPLOY / part / f"{file}.yaml").read_text()) if each["kind"] == kind
    ]
    assert isinstance(found, dict)
    return found


def policy(part: str) -> dict[str, Any]:
    """The spec of a part's policy."""
    spec = one(part, "networkpolicy", "NetworkPolicy")["spec"]
    assert isinstance(spec, dict)
    return spec


def template(part: str) -> dict[str, Any]:
    """The template of a part's pods."""
    found = one(part, "deployment", "Deployment")["spec"]["template"]
    assert isinstance(found, dict)
    return found


@pytest.mark.parametrize("part", PARTS)
def test_a_policy_selects_exactly_its_pods(part: str) -> None:
    for other in PARTS:
        labels = template(other)["metadata"]["labels"]
        selected = policy(part)["podSelector"]["matchLabels"].items() <= labels.items()
        assert selected == (part == other)
    assert policy(part)["policyTypes"] == ["Ingress", "Egress"]


@pytest.mark.parametrize("part", PARTS)
def test_every_port_that_a_pod_listens_on_is_let_in_and_no_other(part: str) -> None:
    listened = {port["name"] for container in template(part)["spec"]["containers"] for port in container["ports"]}
    let_in = [port["port"] for rule in policy(part)["ingress"] for port in rule["ports"]]
    assert sorted(let_in) == sorted(listened), "named once each"


def test_clients_come_from_anywhere_and_metrics_are_the_clusters_own() -> None:
    peers = {port["port"]: rule.get("from") for rule in policy("balancer")["ingress"] for port in rule["ports"]}
    assert peers == {"ws": ANYWHERE, "ready": ANYWHERE, "agent": IN_CLUSTER}
    [rule] = policy("operator")["ingress"]
    assert rule["from"] == IN_CLUSTER


@pytest.mark.parametrize("part", PARTS)
def test_outside_of_pods_only_the_api_server_and_dns_are_reached(part: str) -> None:
    """A rule without ports is for pods alone; addresses are let out for the ports of the API server or of DNS."""
    for rule in policy(part)["egress"]:
        ports = {(port["port"], port["protocol"]) for port in rule.get("ports", ())}
        blocks = [peer["ipBlock"] for peer in rule["to"] if "ipBlock" in peer]
        if not ports:
            assert rule["to"] == IN_CLUSTER
        elif blocks and {block["cidr"] for block in blocks} != {"169.254.20.10/32"}:
            assert ports == {(443, "TCP"), (6443, "TCP")}
            assert [address for address in NEVER if any(covers(block, address) for block in blocks)] == []
            assert any(covers(block, "192.0.2.1") for block in blocks)
            assert any(covers(block, "2001:db8::1") for block in blocks)
        else:
            assert ports == {(53, "UDP"), (53, "TCP")}


def covers(block: dict[str, Any], address: str) -> bool:
    """Whether an ipBlock covers an address."""
    at = ipaddress.ip_address(address)
    return at in ipaddress.ip_network(block["cidr"]) and not any(
        at in ipaddress.ip_network(exception) for exception in block.get("except", ())
    )


def test_the_balancer_reaches_every_port_of_every_pod_and_the_operator_none_but_dns() -> None:
    assert {"to": IN_CLUSTER} in policy("balancer")["egress"]
    assert all("ports" in rule for rule in policy("operator")["egress"])
