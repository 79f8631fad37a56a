"""Tables as the ConfigMaps that an agent follows."""

from collections import defaultdict
from collections.abc import Iterable
from typing import Any, Final

from tests.support.fake_cluster import FakeCluster
from wsroute.dataplane import names, shards
from wsroute.dataplane.bundle import digest
from wsroute.dataplane.table import Table
from wsroute.kube.port import CONFIG_MAPS, Json

BALANCER: Final = "shared"


def split(table: Table, *, hosts: int = 1, groups: int = 1) -> dict[tuple[str, int], str]:
    """The text of each part, by family and number. There are so many parts with hosts and with groups."""
    lines: defaultdict[tuple[str, int], list[str]] = defaultdict(list)
    for host in table.hosts:
        lines["r", shards.shard_index(host.host, hosts)].append(shards.host_line(host))
    for group in table.groups:
        lines["e", shards.shard_index(group.name, groups)].append(shards.endpoints_line(group))
    places = [("e", number) for number in range(groups)] + [("r", number) for number in range(hosts)]
    return {place: "".join(f"{line}\n" for line in lines[place]) for place in places}


def part(family: str, index: int, count: int, text: str, *, epoch: int = 1, **annotations: str) -> dict[str, Any]:
    """Metadata and data of one part; other ``annotations`` have an underscore for each hyphen."""
    return {
        "labels": {names.BALANCER_LABEL: BALANCER, names.ROLE_LABEL: names.ROLE_TABLE},
        "annotations": {
            names.TABLE_FORMAT_ANNOTATION: str(shards.FORMAT),
            names.SHARD_ANNOTATION: f"{family} {index}/{count}",
            names.DIGEST_ANNOTATION: digest(text.encode(errors="replace")),
            names.EPOCH_ANNOTATION: str(epoch),
            **{names.ANNOTATIONS + name.replace("_", "-"): value for name, value in annotations.items()},
        },
        "data": {shards.TABLE_KEY: text},
    }


def config_map(family: str, index: int, count: int, text: str, *, version: int = 1, **how: Any) -> Json:
    """A part as the API server holds it."""
    content = part(family, index, count, text, **how)
    labels, annotations = content.pop("labels"), content.pop("annotations")
    name = names.table_name(BALANCER, family, index)
    metadata = {"name": name, "uid": f"uid-{name}", "resourceVersion": str(version)}
    return {"metadata": {**metadata, "labels": labels, "annotations": annotations}, **content}


def config_maps(table: Table, *, hosts: int = 1, groups: int = 1, version: int = 1) -> Iterable[Json]:
    """All parts of a table, one resourceVersion after the other from ``version`` on."""
    for place, text in split(table, hosts=hosts, groups=groups).items():
        yield config_map(*place, hosts if place[0] == "r" else groups, text, version=version)
        version += 1


def publish(
    cluster: FakeCluster, namespace: str, table: Table, *, hosts: int = 1, groups: int = 1, epoch: int = 1
) -> int:
    """Write the parts that differ, as the operator does; gives the last resourceVersion."""
    for (family, index), text in split(table, hosts=hosts, groups=groups).items():
        content = part(family, index, hosts if family == "r" else groups, text, epoch=epoch)
        name = names.table_name(BALANCER, family, index)
        known = cluster.objects.get((CONFIG_MAPS, namespace, name))
        if known is None or known["metadata"]["annotations"] != content["annotations"]:
            cluster.put(CONFIG_MAPS, name, namespace=namespace, **content)
    return cluster.version
