"""The catalogue at a real API server: what the schema can tell, it refuses, and ``kubectl apply`` says it at once."""

from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
import yaml

from tests.hostile.attacks import OBJECTS, object_with
from tests.hostile.catalogue import ROWS, Row, Verdict
from tests.hostile.table import Column, parameters
from tests.hostile.world import changed, place_of
from tests.support import apiserver
from tests.support.controlled import until_served
from wsroute.kube.client import KubeClient
from wsroute.kube.port import BALANCERS, NAMESPACES, ROUTES, RejectedError, Resource

Tell = Callable[[str, object], None]

CRDS = Resource("apiextensions.k8s.io", "v1", "customresourcedefinitions", "CustomResourceDefinition", namespaced=False)
FOLDER = Path(__file__).parents[2] / "crds"
RESOURCES = {"WebSocketRoute": ROUTES, "WebSocketBalancer": BALANCERS}
TOLD = [row for row in ROWS if row.kind in RESOURCES and row.inputs and row.verdict in (Verdict.REJECT, Verdict.ESCAPE)]


@pytest.fixture(scope="module")
def server() -> Iterator[apiserver.ApiServer]:
    """An API server of the module's own."""
    with apiserver.running() as found:
        yield found


@pytest.fixture
async def client(server: apiserver.ApiServer) -> AsyncIterator[KubeClient]:
    """The administrator's client; the server knows our kinds and the attacker's namespaces."""
    client = await KubeClient.from_kubeconfig(server.kubeconfig())
    for name in ("websocketroutes", "websocketbalancers"):
        await client.apply(CRDS, yaml.safe_load((FOLDER / f"{name}.yaml").read_text()), manager="test")
    for raw in (OBJECTS["WebSocketRoute"], OBJECTS["WebSocketBalancer"]):
        namespace = raw["metadata"]["namespace"]
        await client.apply(NAMESPACES, {"metadata": {"name": namespace}}, manager="test")
        await until_served(client, RESOURCES[raw["kind"]])
    yield client
    await client.close()


@pytest.mark.parametrize("row", parameters(TOLD, Column.SERVER))
async def test_what_the_schema_tells(row: Row, client: KubeClient, record_property: Tell) -> None:
    resource = RESOURCES[row.kind]
    good = object_with(row.kind, place_of(row.field))
    metadata = {"name": "tried", "namespace": good["metadata"]["namespace"]}
    for value in row.values:
        body = {**changed(good, place_of(row.field), value), "metadata": metadata}
        if row.verdict is Verdict.ESCAPE:
            await client.create(resource, body)
            await client.delete(resource, namespace=metadata["namespace"], name=metadata["name"])
            continue
        with pytest.raises(RejectedError) as refusal:
            await client.create(resource, body)
        field = row.field.replace("[]", "[0]").rpartition("[0]")[0] if row.field.endswith("[]") else row.field
        assert field.replace("[]", "[0]").split("[0]")[0] in str(refusal.value), value
    word = "taken" if row.verdict is Verdict.ESCAPE else "refused"
    record_property(word, len(row.values))
