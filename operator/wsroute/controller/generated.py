"""The generated ConfigMaps of a balancer: what they say, what they should say, and whether that is the same. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from wsroute import __version__
from wsroute.cluster.balancer_state import STATE_KEYS
from wsroute.cluster.objects import ConfigMap, Key
from wsroute.controller.budget import Cause, Reload, Terms, from_text, to_text
from wsroute.controller.judging import Published
from wsroute.controller.rollout import InForce, Trial
from wsroute.dataplane import names
from wsroute.dataplane.acknowledgement import Acknowledgement, parse_acknowledgement
from wsroute.dataplane.bundle import Bundle, BundleError, pack, unpack
from wsroute.dataplane.ir import Configuration
from wsroute.dataplane.reload_changes import (
    Settings,
    changes_from_text,
    changes_to_text,
    settings_from_text,
    settings_of,
    settings_to_text,
)
from wsroute.dataplane.shards import FORMAT
from wsroute.nginx.render import Rendered, words_of
from wsroute.nginx.script import SCRIPT

MANAGED_BY: Final = {"app.kubernetes.io/managed-by": "wsroute"}
"""The label by which people find out whose an object is."""


@dataclass(frozen=True, slots=True)
class File:
    """A configuration's file as it stands in a ConfigMap, with what annotations say of it: the ports of its listeners,
    the name of its structure (``dataplane.names.STRUCTURE_ANNOTATION``), what it was made for
    (``MADE_FOR_ANNOTATION``), the format of the tables that it needs (``TABLE_FORMAT_ANNOTATION``), the files of
    certificates that it names (``CERTIFICATES_ANNOTATION``), and what it says of the balancer itself
    (``SETTINGS_ANNOTATION``)."""

    bundle: Bundle
    ports: str
    structure: str
    made_for: str
    table_format: str = ""
    certificates: str = ""
    settings: str = ""


NO_FILE: Final = File(Bundle(data={}, binary_data={}, digest=""), "", "", "")
"""What stands where there is none."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A ConfigMap as it should stand."""

    key: Key
    balancer: str
    role: str
    annotations: Mapping[str, str]
    data: Mapping[str, str] = field(default_factory=dict)
    binary_data: Mapping[str, str] = field(default_factory=dict)

    @property
    def labels(self) -> Mapping[str, str]:
        """The labels by which agents and operators find it."""
        return {**MANAGED_BY, names.BALANCER_LABEL: self.balancer, names.ROLE_LABEL: self.role}


def make_file(rendered: Rendered, configuration: Configuration, *, made_for: str) -> File:
    """Pack a file. Raises BundleError when it can't fit."""
    ports = " ".join(str(port) for port in sorted({listener.port for listener in configuration.listeners}))
    files = {file for listener in configuration.listeners if listener.tls is not None for file in listener.tls.files}
    file = File(
        pack(rendered.text),
        ports,
        rendered.structure,
        made_for,
        certificates=" ".join(sorted(files)),
        settings=settings_to_text(settings_of(configuration, release=f"{__version__} {words_of(configuration)}")),
    )
    if configuration.shell is None:
        return file
    beside = replace(file.bundle, data={**file.bundle.data, SCRIPT.name: SCRIPT.text})
    return replace(file, bundle=beside, table_format=str(FORMAT))


def wanted_in_force(
    balancer: Key,
    in_force: InForce,
    file: File,
    *,
    epoch: int,
    since: Reload | None,
    terms: Terms,
    definition: str = "",
) -> Wanted:
    """``<balancer>-nginx``. ``since`` is when and why the version came in force, as far as is known; ``definition`` is
    the uid of the one whose routes it serves."""
    return Wanted(
        key=Key(balancer.namespace, names.nginx_name(balancer.name)),
        balancer=balancer.name,
        role=names.ROLE_NGINX,
        annotations={
            **_identity(in_force.version, file, epoch),
            names.PODS_ANNOTATION: " ".join(in_force.turn),
            names.MAX_DRAINING_ANNOTATION: str(terms.max_generations),
            names.DRAIN_TIMEOUT_ANNOTATION: str(round(terms.drain_timeout * 1000)),
            **_since(since),
            **({names.DEFINITION_ANNOTATION: definition} if definition else {}),
        },
        data=file.bundle.data,
        binary_data=file.bundle.binary_data,
    )


def wanted_trial(balancer: Key, trial: Trial, file: File, *, epoch: int, since: Reload | None) -> Wanted:
    """``<balancer>-nginx-next`` while a version is tried."""
    annotations = {**_identity(trial.version, file, epoch), names.CANARY_ANNOTATION: trial.canary, **_since(since)}
    return _next(balancer, annotations, file.bundle)


def wanted_good(balancer: Key, version: str, file: File, *, epoch: int) -> Wanted:
    """``<balancer>-nginx-next`` with strategy Restart: the last good version. No canary is named, not even nobody."""
    return _next(balancer, _identity(version, file, epoch), file.bundle)


def wanted_no_trial(balancer: Key, *, epoch: int) -> Wanted:
    """``<balancer>-nginx-next`` while nothing is tried: it holds no file and an empty version."""
    annotations = {**_identity("", NO_FILE, epoch), names.CANARY_ANNOTATION: ""}
    return _next(balancer, annotations, NO_FILE.bundle)


def _next(balancer: Key, annotations: Mapping[str, str], bundle: Bundle) -> Wanted:
    return Wanted(
        key=Key(balancer.namespace, names.next_name(balancer.name)),
        balancer=balancer.name,
        role=names.ROLE_NEXT,
        annotations=annotations,
        data=bundle.data,
        binary_data=bundle.binary_data,
    )


def wanted_agents(balancer: Key) -> Wanted:
    """``<balancer>-agents``, as it is made: empty. What is in it belongs to the agents."""
    return Wanted(
        key=Key(balancer.namespace, names.agents_name(balancer.name)),
        balancer=balancer.name,
        role=names.ROLE_AGENTS,
        annotations={},
    )


def wanted_state(balancer: Key, data: Mapping[str, str], known: ConfigMap | None, *, epoch: int) -> Wanted:
    """``<balancer>-state``. Keys that we do not know stay as they are: a newer version may have written them."""
    return Wanted(
        key=Key(balancer.namespace, names.state_name(balancer.name)),
        balancer=balancer.name,
        role=names.ROLE_STATE,
        annotations={names.EPOCH_ANNOTATION: str(epoch)},
        data={**_unknown_data(known), **data},
        binary_data=known.binary_data if known is not None else {},
    )


def _unknown_data(known: ConfigMap | None) -> dict[str, str]:
    return {} if known is None else {key: text for key, text in known.data.items() if key not in STATE_KEYS}


def restamped(known: ConfigMap, balancer: Key, *, role: str, epoch: int) -> Wanted:
    """A ConfigMap of ours as it stands, but with another epoch."""
    own = {name: text for name, text in known.annotations.items() if name.startswith(names.ANNOTATIONS)}
    return Wanted(
        key=known.meta.key,
        balancer=balancer.name,
        role=role,
        annotations={**own, names.EPOCH_ANNOTATION: str(epoch)},
        data=known.data,
        binary_data=known.binary_data,
    )


def _identity(version: str, file: File, epoch: int) -> dict[str, str]:
    return {
        names.VERSION_ANNOTATION: version,
        names.DIGEST_ANNOTATION: file.bundle.digest,
        names.LISTENER_PORTS_ANNOTATION: file.ports,
        names.STRUCTURE_ANNOTATION: file.structure,
        names.MADE_FOR_ANNOTATION: file.made_for,
        names.CERTIFICATES_ANNOTATION: file.certificates,
        names.SETTINGS_ANNOTATION: file.settings,
        names.EPOCH_ANNOTATION: str(epoch),
        **({names.TABLE_FORMAT_ANNOTATION: file.table_format} if file.table_format else {}),
    }


def _since(reload: Reload | None) -> dict[str, str]:
    if reload is None:
        return {}
    return {
        names.RELOADED_ANNOTATION: to_text(reload.time),
        names.RELOAD_REASON_ANNOTATION: reload.cause,
        names.CHANGES_ANNOTATION: changes_to_text(reload.changes),
        names.INTERVAL_ANNOTATION: to_text(reload.interval_from),
    }


def stands(wanted: Wanted, known: ConfigMap) -> bool:
    """Whether a ConfigMap says what it should; labels and annotations of others don't count."""
    return (
        known.data == wanted.data
        and known.binary_data == wanted.binary_data
        and all(known.annotations.get(key) == value for key, value in wanted.annotations.items())
        and all(known.labels.get(key) == value for key, value in wanted.labels.items())
    )


def apply_body(wanted: Wanted, *, uid: str, version: int) -> dict[str, Any]:
    """The server-side apply that brings it about, only on the object and the version of it that we last saw."""
    metadata: dict[str, Any] = {
        "namespace": wanted.key.namespace,
        "name": wanted.key.name,
        "uid": uid,
        "labels": dict(wanted.labels),
        "annotations": dict(wanted.annotations),
    }
    if version >= 0:
        metadata["resourceVersion"] = str(version)
    body: dict[str, Any] = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata}
    if wanted.data:
        body["data"] = dict(wanted.data)
    if wanted.binary_data:
        body["binaryData"] = dict(wanted.binary_data)
    return body


def create_body(wanted: Wanted) -> dict[str, Any]:
    """An empty object with our labels. Its content is applied afterwards, so that it has one field manager."""
    metadata = {"namespace": wanted.key.namespace, "name": wanted.key.name, "labels": dict(wanted.labels)}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata}


def whole_body(wanted: Wanted, known: ConfigMap | None) -> dict[str, Any]:
    """The object with all its content, to be made, or to take the place of the version of it that we last saw; labels
    and annotations of others stay."""
    metadata: dict[str, Any] = {"namespace": wanted.key.namespace, "name": wanted.key.name}
    labels, annotations = dict(wanted.labels), dict(wanted.annotations)
    if known is not None:
        labels, annotations = {**known.labels, **labels}, {**known.annotations, **annotations}
        metadata["uid"] = known.meta.uid
        if known.meta.version >= 0:
            metadata["resourceVersion"] = str(known.meta.version)
    metadata |= {"labels": labels, "annotations": annotations}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": dict(wanted.data)}


def is_ours(known: ConfigMap, wanted: Wanted) -> bool:
    """Whether an object of that name is one that the operator made; else it is somebody else's."""
    return is_of(known, wanted.balancer)


def is_of(known: ConfigMap, balancer: str) -> bool:
    """Whether an object bears the labels of what the operator makes for a balancer; a template is its author's."""
    return (
        known.labels.get(names.BALANCER_LABEL) == balancer and known.labels.get(names.ROLE_LABEL) != names.ROLE_TEMPLATE
    )


def ours(known: ConfigMap | None, balancer: Key) -> ConfigMap | None:
    """A ConfigMap, if it is one that the operator made for this balancer."""
    return known if known is not None and is_of(known, balancer.name) else None


def read_in_force(config_map: ConfigMap | None) -> InForce | None:
    """The version in force and whose turn it is; None when none was written yet."""
    if config_map is None:
        return None
    version = config_map.annotations.get(names.VERSION_ANNOTATION, "")
    turn = tuple(config_map.annotations.get(names.PODS_ANNOTATION, "").split(" "))
    return InForce(version, turn) if version else None


def read_definition(config_map: ConfigMap | None) -> str:
    """The uid of the definition whose routes the version in force serves; empty when that is not known."""
    return "" if config_map is None else config_map.annotations.get(names.DEFINITION_ANNOTATION, "")


def read_trial(config_map: ConfigMap | None) -> Trial | None:
    """The version under canary; None when there is none."""
    if config_map is None or names.CANARY_ANNOTATION not in config_map.annotations:
        return None
    version = config_map.annotations.get(names.VERSION_ANNOTATION, "")
    return Trial(version, config_map.annotations.get(names.CANARY_ANNOTATION, "")) if version else None


def read_since(config_map: ConfigMap | None) -> Reload | None:
    """When and why the version that it holds was published; None when that is not known."""
    if config_map is None:
        return None
    annotations = config_map.annotations
    moment = from_text(annotations.get(names.RELOADED_ANNOTATION, ""))
    interval = from_text(annotations.get(names.INTERVAL_ANNOTATION, ""))
    try:
        cause = Cause(annotations.get(names.RELOAD_REASON_ANNOTATION, ""))
    except ValueError:
        return None
    changes = changes_from_text(annotations.get(names.CHANGES_ANNOTATION, ""))
    return None if moment is None or interval is None else Reload(moment, cause, interval, changes)


def read_settings(config_map: ConfigMap | None) -> Settings | None:
    """What the version that it holds says of the balancer itself; None when that is not told."""
    annotations = config_map.annotations if config_map is not None else {}
    return settings_from_text(annotations.get(names.SETTINGS_ANNOTATION, ""))


def read_published(config_map: ConfigMap | None) -> Published:
    """The version that a ConfigMap holds."""
    annotations = config_map.annotations if config_map is not None else {}
    return Published(
        annotations.get(names.VERSION_ANNOTATION, ""),
        annotations.get(names.STRUCTURE_ANNOTATION, ""),
        annotations.get(names.MADE_FOR_ANNOTATION, ""),
    )


def read_acknowledgements(config_map: ConfigMap | None) -> Mapping[str, Acknowledgement]:
    """What the agents said, by the name of their pod; what a hand has put there is left out."""
    if config_map is None:
        return {}
    said = {pod: parse_acknowledgement(text) for pod, text in config_map.data.items()}
    return {pod: acknowledgement for pod, acknowledgement in said.items() if acknowledgement is not None}


def read_text(config_map: ConfigMap | None) -> str:
    """The text of a ConfigMap's file, empty when there is none or it is damaged."""
    if config_map is None:
        return ""
    bundle = read_file(config_map).bundle
    try:
        return unpack(bundle.data, bundle.binary_data, expected_digest=bundle.digest)
    except BundleError:
        return ""


def read_file(config_map: ConfigMap) -> File:
    """The file of a ConfigMap, as it is, to be written again. The agents check it against the digest."""
    bundle = Bundle(
        data=config_map.data,
        binary_data=config_map.binary_data,
        digest=config_map.annotations.get(names.DIGEST_ANNOTATION, ""),
    )
    annotations = config_map.annotations
    return File(
        bundle,
        annotations.get(names.LISTENER_PORTS_ANNOTATION, ""),
        annotations.get(names.STRUCTURE_ANNOTATION, ""),
        annotations.get(names.MADE_FOR_ANNOTATION, ""),
        annotations.get(names.TABLE_FORMAT_ANNOTATION, ""),
        annotations.get(names.CERTIFICATES_ANNOTATION, ""),
        annotations.get(names.SETTINGS_ANNOTATION, ""),
    )
