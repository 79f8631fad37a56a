"""From decoded JSON to a model, or to sentences that the author of the object can act on."""

import difflib
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final, TypeVar, get_args

from pydantic import ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from wsroute.api.conditions import Problem, Reason
from wsroute.api.fields import SENTENCE, Model

MAX_PROBLEMS: Final = 10
"""How many problems of one object are told; the author fixes those first."""

_SHOWN: Final = 60
"""How many characters of a wrong value a sentence repeats."""

_WIDEST_SHOWN_NUMBER: Final = 10**20

_ModelT = TypeVar("_ModelT", bound=Model)


def parse(model: type[_ModelT], raw: object) -> _ModelT | tuple[Problem, ...]:
    """Decoded JSON as a model, or everything that is wrong with it (at most ``MAX_PROBLEMS``). Never raises."""
    if raw is None:
        return (invalid("spec", "The field is required"),)
    try:
        parsed = model.model_validate(raw)
    except ValidationError as error:
        errors = [found for found in error.errors(include_url=False) if not _is_echo(found)]
        return _told([_from_pydantic(model, found) for found in errors[:MAX_PROBLEMS]], of=len(errors))
    broken = list(_broken_rules(parsed, "spec"))
    return _told([invalid(path, sentence) for path, sentence in broken[:MAX_PROBLEMS]], of=len(broken)) or parsed


def shown(value: object) -> str:
    """A value as a sentence may repeat it: short, printable ASCII, one line; containers by their kind alone."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int) and abs(value) >= _WIDEST_SHOWN_NUMBER:
        return "a very large number"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, str):
        return ascii(value) if len(value) <= _SHOWN else f"{value[:_SHOWN]!a}... ({len(value)} characters)"
    if isinstance(value, Mapping):
        return "an object"
    return "a list" if isinstance(value, list | tuple) else "something else"


def invalid(path: str, sentence: str) -> Problem:
    """A problem of reason Invalid; the sentence comes without its full stop."""
    return Problem(reason=Reason.INVALID, path=path, message=f"{sentence}.")


def _is_echo(error: ErrorDetails) -> bool:
    """Whether a list counts as too short only because its items, each with an error of its own, were not counted."""
    return error["type"] == "too_short" and len(error["input"]) >= error["ctx"]["min_length"]


def _told(problems: list[Problem], *, of: int) -> tuple[Problem, ...]:
    """The problems, and that there are more where that is so."""
    if of <= len(problems):
        return tuple(problems)
    return (*problems, invalid("", f"Only {len(problems)} of {of} problems are listed; solve these to see the others"))


def _broken_rules(model: Model, path: str) -> Iterator[tuple[str, str]]:
    """What only a look at more than one value can tell, of a model and of all models in it, as path and sentence."""
    for rule in model.RULES:
        for place in rule.broken(model):
            yield path + place, rule.sentence
    for name, field in type(model).model_fields.items():
        value = getattr(model, name)
        below = f"{path}.{field.alias or name}"
        if isinstance(value, Model):
            yield from _broken_rules(value, below)
        elif isinstance(value, tuple):
            yield from _repeated(field, value, below)
            for index, item in enumerate(value):
                if isinstance(item, Model):
                    yield from _broken_rules(item, f"{below}[{index}]")


def _repeated(field: FieldInfo, items: tuple[Any, ...], path: str) -> Iterator[tuple[str, str]]:
    """Items that a list of type set, or keys that a list of type map, has already; the API server sees to that, too."""
    match field.json_schema_extra:
        case {"x-kubernetes-list-type": "set"}:
            keys, suffix = list(items), ""
        case {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": [str(name)]}:
            keys, suffix = [_by_alias(item, name) for item in items], f".{name}"
        case _:
            return
    for index, key in enumerate(keys):
        if key in keys[:index]:
            yield f"{path}[{index}]{suffix}", f"Each item must be given once, and {shown(key)} is in the list already"


def _by_alias(model: Model, name: str) -> Any:
    """The value of the field that JSON calls by this name."""
    return next(getattr(model, key) for key, field in type(model).model_fields.items() if (field.alias or key) == name)


def _from_pydantic(model: type[Model], error: ErrorDetails) -> Problem:
    path = _field_path(error["loc"])
    if error["type"] == "extra_forbidden":
        return invalid(path, _unknown_field(_model_at(model, error["loc"][:-1]), str(error["loc"][-1])))
    sentence = _sentence(error)
    # What a header is set to may be a token: it is told to nobody.
    secret = re.fullmatch(r"spec\.headers\.set\[[0-9]+\]\.value", path, re.ASCII)
    if secret or error["type"] in ("missing", "too_short", "too_long"):
        return invalid(path, sentence)
    return invalid(path, f"{sentence}; found {shown(error['input'])}")


def _field_path(location: tuple[int | str, ...]) -> str:
    """As Kubernetes writes it: ``spec.paths[0].backends[1].port``."""
    path = "spec"
    for part in location:
        if isinstance(part, int):
            path += f"[{part}]"
        elif re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]{0,62}", part, re.ASCII):
            path += f".{part}"
        else:
            path += f"[{shown(part)}]"
    return path


_SENTENCES: Final = {
    SENTENCE: "{sentence}",
    "missing": "The field is required",
    "string_type": "The value must be a string: put yes, no and numbers in quotes",
    "int_type": "The value must be a whole number, written without quotes",
    "int_from_float": "The value must be a whole number, written without quotes",
    "bool_type": "The value must be true or false, written without quotes",
    "tuple_type": "The value must be a list",
    "model_type": "The value must be an object with fields",
    "literal_error": "The value must be {expected}",
    "greater_than_equal": "The number must be at least {ge}",
    "less_than_equal": "The number must be at most {le}",
    "too_short": "The list must not be empty",
    "too_long": "The list must have at most {max_length} items",
}
"""What pydantic's error types mean, in our words and without the full stop; in braces, its context."""


def _sentence(error: ErrorDetails) -> str:
    return _SENTENCES.get(error["type"], "The value is not valid").format(**error.get("ctx", {}))


def _model_at(model: type[Model], location: tuple[int | str, ...]) -> type[Model]:
    """The model that an object at a location is checked by."""
    for part in location:
        for name, field in model.model_fields.items():
            if part == (field.alias or name):
                model = _inner_model(field.annotation) or model
    return model


def _inner_model(annotation: Any) -> type[Model] | None:
    """The model in an annotation such as ``tuple[Backend, ...]`` or ``Timeouts | None``."""
    if isinstance(annotation, type) and issubclass(annotation, Model):
        return annotation
    return next(filter(None, map(_inner_model, get_args(annotation))), None)


def _unknown_field(model: type[Model], name: str) -> str:
    known = [field.alias or key for key, field in model.model_fields.items()]
    near = difflib.get_close_matches(name[:_SHOWN], known, n=1)
    if near:
        return f"There is no such field; the nearest one is {near[0]}"
    return f"There is no such field; the fields here are {', '.join(known)}"
