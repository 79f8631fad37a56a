"""A table's records as JSON values for people to read, and back with everything checked.

What does not differ from the usual is left out: no rewriting, no headers, any Origin, no cookie.
"""

import ipaddress
import re
from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Any, Final, Literal, TypeVar

from wsroute.dataplane.ir import PathMatch, RefusalReason, Refuse, RouteRef
from wsroute.dataplane.table import (
    Address,
    CertificateRecord,
    EndpointGroup,
    Forward,
    HashKey,
    HashSource,
    HostRecord,
    OriginRules,
    PathRecord,
    Policy,
    StickyCookie,
    Target,
)

Json = dict[str, Any]
Item = TypeVar("Item")
Word = TypeVar("Word", bound=StrEnum)

MAX_TIME: Final = 2**31 - 1
"""Milliseconds of a timeout, and seconds of a cookie."""

MAX_WEIGHT: Final = 1_000_000

_LABEL: Final = "[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?"
_LISTENER: Final = re.compile(_LABEL)
_HOST: Final = re.compile(rf"(?=.{{1,253}}\Z)(\*\.)?{_LABEL}(\.{_LABEL})*")
_CERTIFIED: Final = re.compile(rf"\*|{_HOST.pattern}")
_FILE: Final = re.compile(r"[0-9a-f]{64}")
_ROUTE: Final = re.compile(rf"({_LABEL})/([a-z0-9][-a-z0-9.]{{0,252}})")
_GROUP: Final = re.compile(rf"{_LABEL}/{_LABEL}:({_LABEL})")
_PATH: Final = re.compile(r"/[-A-Za-z0-9._~!()*+,=:@&/]{0,1023}")
_HEADER_NAME: Final = re.compile(r"[A-Za-z0-9][-A-Za-z0-9_.]{0,255}")
_HEADER_VALUE: Final = re.compile(r"[ -~]{1,2000}")
_KEY_NAME: Final = re.compile(r"[A-Za-z0-9_][-A-Za-z0-9_.]{0,63}")
_ORIGIN: Final = re.compile(r"[!-~]{1,267}")
_SOCKET_ADDRESS: Final = re.compile(r"([0-9.]{7,15}|\[[0-9a-f:]{2,39}\]):([1-9][0-9]{0,4})")


class FieldError(ValueError):
    """A field is missing, unknown, or does not hold what it should. The text begins with the field's path."""


# --- to JSON ---


def host_to_json(host: HostRecord) -> Json:
    """A host with its paths."""
    return {
        "host": host.host,
        "listeners": list(host.listeners),
        "paths": [
            {"route": str(path.route), "path": path.path, "match": str(path.match), **_action_to_json(path.action)}
            for path in host.paths
        ],
    }


def group_to_json(group: EndpointGroup) -> Json:
    """A group with its endpoints."""
    return {
        "name": group.name,
        "ready": [str(address) for address in group.addresses],
        "returning": [str(address) for address in group.returning],
    }


def certificate_to_json(certificate: CertificateRecord) -> Json:
    """The files for a name."""
    return {
        "name": certificate.name,
        "listeners": list(certificate.listeners),
        "files": list(certificate.files),
    }


def _action_to_json(action: Forward | Refuse) -> Json:
    if isinstance(action, Refuse):
        return {"refuse": str(action.reason)}
    rules, key, sticky = action.origins, action.hash_key, action.sticky
    fields: Json = {
        "targets": [list(target) for target in action.targets],
        "websocketOnly": action.websocket_only,
        "connect": action.connect_timeout,
        "idle": action.idle_timeout,
        "policy": str(action.policy),
        "origins": {
            "policy": rules.policy,
            "ownHosts": list(rules.own_hosts),
            "allow": list(rules.allow),
            "requireHeader": rules.require_header,
        },
    }
    if action.rewrite_prefix is not None:
        fields["rewritePrefix"] = action.rewrite_prefix
    if action.set_headers:
        fields["setHeaders"] = [list(header) for header in action.set_headers]
    if action.remove_headers:
        fields["removeHeaders"] = list(action.remove_headers)
    if key is not None:
        fields["hash"] = {"on": str(key.on), "name": key.name}
    if sticky is not None:
        fields["sticky"] = {"name": sticky.name, "maxAge": sticky.max_age}
    return fields


# --- and back ---


def host_from_json(raw: Any) -> HostRecord:
    """Raises FieldError."""
    fields = _Fields(raw, "host")
    host = fields.text("host", _HOST)
    listeners = fields.items("listeners", _text(_LISTENER), least=1, most=16)
    paths = fields.items("paths", _path_from_json, least=1, most=None)
    fields.end()
    if list(listeners) != sorted(set(listeners)):
        raise FieldError("listeners: They must be in order, each once.")
    order = [(path.path, path.match, path.route) for path in paths]
    if order != sorted(order) or len({key[:2] for key in order}) != len(order):
        raise FieldError("paths: They must be in order, each once.")
    return HostRecord(host, listeners, paths)


def group_from_json(raw: Any) -> EndpointGroup:
    """Raises FieldError."""
    fields = _Fields(raw, "endpoints")
    name = fields.text("name", _GROUP)
    ready = fields.items("ready", _address, least=0, most=None)
    returning = fields.items("returning", _address, least=0, most=None)
    fields.end()
    for field, found in (("ready", ready), ("returning", returning)):
        if list(found) != sorted(set(found)):
            raise FieldError(f"{field}: They must be in order, each once.")
    if not set(ready).isdisjoint(returning):
        raise FieldError("returning: None of them may be ready as well.")
    return EndpointGroup(name, ready, returning)


def certificate_from_json(raw: Any) -> CertificateRecord:
    """Raises FieldError."""
    fields = _Fields(raw, "certificate")
    name = fields.text("name", _CERTIFIED)
    listeners = fields.items("listeners", _text(_LISTENER), least=1, most=16)
    files = fields.items("files", _text(_FILE), least=1, most=2)
    fields.end()
    if list(listeners) != sorted(set(listeners)):
        raise FieldError("listeners: They must be in order, each once.")
    if len(set(files)) != len(files):
        raise FieldError("files: Each must stand there once.")
    return CertificateRecord(name, listeners, files)


def _path_from_json(raw: Any, place: str) -> PathRecord:
    fields = _Fields(raw, place)
    route = fields.text("route", _ROUTE)
    path = fields.text("path", _PATH)
    match = fields.word("match", PathMatch)
    if match is PathMatch.PREFIX and path != "/" and path.endswith("/"):
        raise FieldError(f"{place}.path: A Prefix must not end with a slash.")
    action: Forward | Refuse
    action = Refuse(fields.word("refuse", RefusalReason)) if fields.has("refuse") else _forward(fields)
    fields.end()
    namespace, _, name = route.partition("/")
    return PathRecord(RouteRef(namespace, name), path, match, action)


def _forward(fields: "_Fields") -> Forward:
    targets = fields.items("targets", _target, least=1, most=64)
    set_headers = fields.items("setHeaders", _header, least=1, most=64) if fields.has("setHeaders") else ()
    remove_headers: tuple[str, ...] = ()
    if fields.has("removeHeaders"):
        remove_headers = fields.items("removeHeaders", _text(_HEADER_NAME), least=1, most=64)
    names = [name.lower() for name in (*(name for name, _ in set_headers), *remove_headers)]
    if len(set(names)) != len(names):
        raise FieldError(f"{fields.place}: A header is set or removed twice.")
    if len({target.group for target in targets}) != len(targets):
        raise FieldError(f"{fields.place}.targets: A group stands there twice.")
    policy = fields.word("policy", Policy)
    hash_key = _hash(fields.nested("hash")) if fields.has("hash") else None
    if (policy is Policy.HASH) is (hash_key is None):
        raise FieldError(f"{fields.place}.hash: It goes with the policy Hash, and only with that.")
    return Forward(
        targets=targets,
        websocket_only=fields.flag("websocketOnly"),
        rewrite_prefix=fields.text("rewritePrefix", _PATH) if fields.has("rewritePrefix") else None,
        connect_timeout=fields.number("connect", least=1, most=MAX_TIME),
        idle_timeout=fields.number("idle", least=1, most=MAX_TIME),
        set_headers=set_headers,
        remove_headers=remove_headers,
        policy=policy,
        origins=_origins(fields.nested("origins")),
        hash_key=hash_key,
        sticky=_sticky(fields.nested("sticky")) if fields.has("sticky") else None,
    )


def _origins(fields: "_Fields") -> OriginRules:
    policies: Mapping[str, Literal["Enforce", "Report", "Off"]]
    policies = {"Enforce": "Enforce", "Report": "Report", "Off": "Off"}
    rules = OriginRules(
        policy=fields.one_of("policy", policies),
        own_hosts=fields.items("ownHosts", _text(_HOST), least=1, most=64),
        allow=fields.items("allow", _text(_ORIGIN), least=0, most=256),
        require_header=fields.flag("requireHeader"),
    )
    fields.end()
    return rules


def _hash(fields: "_Fields") -> HashKey:
    source = fields.word("on", HashSource)
    if source is HashSource.CLIENT_IP:
        key = HashKey(source, fields.one_of("name", {"": ""}))
    else:
        key = HashKey(source, fields.text("name", _KEY_NAME))
    fields.end()
    return key


def _sticky(fields: "_Fields") -> StickyCookie:
    cookie = StickyCookie(fields.text("name", _KEY_NAME), fields.number("maxAge", least=0, most=MAX_TIME))
    fields.end()
    return cookie


def _target(raw: Any, place: str) -> Target:
    group, weight = _pair(raw, place)
    return Target(_checked(group, _GROUP, f"{place}[0]"), _number(weight, f"{place}[1]", least=1, most=MAX_WEIGHT))


def _header(raw: Any, place: str) -> tuple[str, str]:
    name, value = _pair(raw, place)
    return _checked(name, _HEADER_NAME, f"{place}[0]"), _checked(value, _HEADER_VALUE, f"{place}[1]")


def _address(raw: Any, place: str) -> Address:
    """An address with a port, in the one form that it has, which is one that an endpoint can have."""
    text = _checked(raw, _SOCKET_ADDRESS, place)
    host, _, port = text.rpartition(":")
    try:
        address = ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        raise FieldError(f"{place}: {text!r} is no address with a port.") from None
    found = Address(str(address), int(port))
    if str(found) != text or found.port > 65_535:
        raise FieldError(f"{place}: {text!r} is no address with a port in its only good form.")
    mapped = isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None
    if mapped or address.is_unspecified or address.is_multicast:
        raise FieldError(f"{place}: {text!r} is no endpoint's address.")
    return found


# --- fields ---


class _Fields:
    """The fields of a JSON object, each of which must be asked for. ``place`` is the object's path."""

    def __init__(self, raw: Any, place: str) -> None:
        if not isinstance(raw, dict):
            raise FieldError(f"{place}: It must be an object.")
        self.place = place
        self._raw = raw
        self._asked: set[str] = set()

    def has(self, name: str) -> bool:
        """Whether an optional field is there."""
        return name in self._raw

    def end(self) -> None:
        """There are no other fields."""
        for name in self._raw:
            if name not in self._asked:
                raise FieldError(f"{self.place}: There is an unknown field {name[:40]!r}.")

    def text(self, name: str, form: re.Pattern[str]) -> str:
        return _checked(self._get(name), form, f"{self.place}.{name}")

    def number(self, name: str, *, least: int, most: int) -> int:
        return _number(self._get(name), f"{self.place}.{name}", least=least, most=most)

    def flag(self, name: str) -> bool:
        raw = self._get(name)
        if not isinstance(raw, bool):
            raise FieldError(f"{self.place}.{name}: It must be true or false.")
        return raw

    def word(self, name: str, words: type[Word]) -> Word:
        return self.one_of(name, {word.value: word for word in words})

    def one_of(self, name: str, words: Mapping[str, Item]) -> Item:
        raw = self._get(name)
        if not isinstance(raw, str) or raw not in words:
            raise FieldError(f"{self.place}.{name}: It must be one of {', '.join(map(repr, words))}.")
        return words[raw]

    def nested(self, name: str) -> "_Fields":
        return _Fields(self._get(name), f"{self.place}.{name}")

    def items(self, name: str, read: Callable[[Any, str], Item], *, least: int, most: int | None) -> tuple[Item, ...]:
        """A list. Without ``most`` the size of a shard bounds it."""
        raw = self._get(name)
        if not isinstance(raw, list) or len(raw) < least or (most is not None and len(raw) > most):
            bounds = f"at least {least}" if most is None else f"{least} to {most}"
            raise FieldError(f"{self.place}.{name}: It must be a list of {bounds}.")
        return tuple(read(item, f"{self.place}.{name}[{index}]") for index, item in enumerate(raw))

    def _get(self, name: str) -> Any:
        if name not in self._raw:
            raise FieldError(f"{self.place}: The field {name} is missing.")
        self._asked.add(name)
        return self._raw[name]


def _text(form: re.Pattern[str]) -> Callable[[Any, str], str]:
    return lambda raw, place: _checked(raw, form, place)


def _checked(raw: Any, form: re.Pattern[str], place: str) -> str:
    if not isinstance(raw, str):
        raise FieldError(f"{place}: It must be a text.")
    if form.fullmatch(raw) is None:
        raise FieldError(f"{place}: {raw[:40]!r} does not have the form that it should.")
    return raw


def _number(raw: Any, place: str, *, least: int, most: int) -> int:
    if type(raw) is not int or not least <= raw <= most:
        raise FieldError(f"{place}: It must be a whole number from {least} to {most}.")
    return raw


def _pair(raw: Any, place: str) -> tuple[Any, Any]:
    if not isinstance(raw, list) or len(raw) != 2:
        raise FieldError(f"{place}: It must be a list of two.")
    return raw[0], raw[1]
