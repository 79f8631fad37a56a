"""What the example's manifests say fits what its app does."""

from pathlib import Path
from typing import Any

import yaml

from examples.chat.app.server import PING_SECONDS

CHAT = Path(__file__).parents[3] / "examples" / "chat"


def manifests(folder: str) -> dict[str, dict[str, Any]]:
    """The objects of one folder by kind."""
    texts = [path.read_text() for path in sorted((CHAT / folder).glob("*.yaml"))]
    return {body["kind"]: body for text in texts for body in yaml.safe_load_all(text)}


def test_both_routes_are_the_same_but_for_the_host() -> None:
    cluster, standalone = (manifests(folder)["WebSocketRoute"]["spec"] for folder in ("manifests", "standalone"))
    assert cluster.pop("hosts") != standalone.pop("hosts")
    assert cluster == standalone
    assert cluster["pingInterval"] == f"{PING_SECONDS}s"


def test_the_names_and_ports_fit_together() -> None:
    found = manifests("manifests")
    pod = found["Deployment"]["spec"]["template"]
    (port,) = pod["spec"]["containers"][0]["ports"]
    (service_port,) = found["Service"]["spec"]["ports"]
    assert service_port["targetPort"] == port["name"]
    assert found["Service"]["spec"]["selector"].items() <= pod["metadata"]["labels"].items()
    (backend,) = found["WebSocketRoute"]["spec"]["paths"][0]["backends"]
    assert backend == {"service": found["Service"]["metadata"]["name"], "port": service_port["name"]}
    by_hand = manifests("standalone")
    assert by_hand["EndpointSlice"]["ports"][0]["port"] == port["containerPort"]
    assert by_hand["EndpointSlice"]["metadata"]["labels"] == {
        "kubernetes.io/service-name": by_hand["Service"]["metadata"]["name"]
    }


def test_the_drain_fits_into_the_grace_period() -> None:
    spec = manifests("manifests")["Deployment"]["spec"]["template"]["spec"]
    (container,) = spec["containers"]
    arguments = container["args"]
    drain = float(arguments[arguments.index("--drain") + 1])
    wait = container["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert wait + drain + 10 <= spec["terminationGracePeriodSeconds"]


def test_kustomize_knows_every_file() -> None:
    listed = set(manifests("manifests")["Kustomization"]["resources"])
    assert listed == {path.name for path in (CHAT / "manifests").glob("*.yaml")} - {"kustomization.yaml"}
