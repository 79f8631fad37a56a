"""Every field of the two specs, found by walking their pydantic models, and a spec in which each of them has a value.

So a field that is added later is attacked from its first day on.
"""

import types
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from wsroute.api.fields import Duration, IntOrText, LabelMap, Model, Pause, Text
from wsroute.api.grammar import Grammar
from wsroute.api.v1alpha1 import WebSocketBalancerSpec, WebSocketRouteSpec
from wsroute.api.values import DURATION

SPECS: Mapping[str, type[Model]] = {
    "WebSocketRoute": WebSocketRouteSpec,
    "WebSocketBalancer": WebSocketBalancerSpec,
}


@dataclass(frozen=True, slots=True)
class Leaf:
    """A field that holds no other field: its path as ``spec.paths[].backends[].port``, its grammar where it has one,
    and the words of an enumeration."""

    path: str
    example: Any
    grammar: Grammar | None = None
    words: tuple[str, ...] = ()
    may_be_none: bool = False
    """Of a duration: whether ``0s`` is one."""

    @property
    def is_text(self) -> bool:
        """Whether a string may stand there."""
        return self.grammar is not None or bool(self.words) or isinstance(self.example, str | dict)


def leaves(kind: str) -> tuple[Leaf, ...]:
    """All leaves of a kind's spec."""
    return tuple(_leaves(SPECS[kind], "spec"))


def specimen(kind: str, chosen: Mapping[str, Any]) -> dict[str, Any]:
    """A spec in which every field has a value: the chosen one, by the field's path, else an example of its type. With
    None it is left out."""
    made: dict[str, Any] = _model(SPECS[kind], "spec", chosen)
    return made


def _leaves(annotation: Any, path: str, notes: tuple[Any, ...] = ()) -> Iterator[Leaf]:
    annotation, notes = _bare(annotation, notes)
    if isinstance(annotation, type) and issubclass(annotation, Model):
        for name, field in annotation.model_fields.items():
            yield from _leaves(field.annotation, f"{path}.{field.alias or name}", tuple(field.metadata))
        return
    inner = get_args(annotation)
    if get_origin(annotation) is tuple and not any(isinstance(note, LabelMap) for note in notes):
        yield from _leaves(inner[0], f"{path}[]")
        return
    yield _leaf(annotation, path, notes)


def _leaf(annotation: Any, path: str, notes: tuple[Any, ...]) -> Leaf:
    for note in notes:
        match note:
            case Text(grammar=grammar) | IntOrText(grammar=grammar):
                return Leaf(path, grammar.example, grammar)
            case LabelMap():
                return Leaf(path, {"example.com/team": "yes"})
    if isinstance(annotation, type) and issubclass(annotation, Duration):
        return Leaf(path, DURATION.example, DURATION, may_be_none=issubclass(annotation, Pause))
    if get_origin(annotation) is Literal:
        return Leaf(path, get_args(annotation)[0], words=get_args(annotation))
    minimum = next((note.ge for note in notes if hasattr(note, "ge")), 1)
    return Leaf(path, {int: minimum, bool: True, str: "harmless"}[annotation])


def _bare(annotation: Any, notes: tuple[Any, ...]) -> tuple[Any, tuple[Any, ...]]:
    """An annotation without ``| None`` and ``Annotated``, with all that was noted on the way."""
    origin = get_origin(annotation)
    if origin is Annotated:
        inner, *more = get_args(annotation)
        return _bare(inner, (*notes, *more))
    if origin in (Union, types.UnionType):
        members = [member for member in get_args(annotation) if member is not type(None)]
        if len(members) == 1:
            return _bare(members[0], notes)
    return annotation, notes


def _model(model: type[Model], path: str, chosen: Mapping[str, Any]) -> dict[str, Any]:
    made = {}
    for name, field in model.model_fields.items():
        key = field.alias or name
        below = f"{path}.{key}"
        if below in chosen and chosen[below] is None:
            continue
        made[key] = chosen[below] if below in chosen else _value(field.annotation, below, tuple(field.metadata), chosen)
    return made


def _value(annotation: Any, path: str, notes: tuple[Any, ...], chosen: Mapping[str, Any]) -> Any:
    annotation, notes = _bare(annotation, notes)
    if isinstance(annotation, type) and issubclass(annotation, Model):
        return _model(annotation, path, chosen)
    if get_origin(annotation) is tuple and not any(isinstance(note, LabelMap) for note in notes):
        below = f"{path}[]"
        return [chosen[below] if below in chosen else _value(get_args(annotation)[0], below, (), chosen)]
    return _leaf(annotation, path, notes).example
