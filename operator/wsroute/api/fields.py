"""How the grammars of ``values`` become types of pydantic models, and the rules that look at more than one field.

A model's field carries its grammar in its annotation; its models carry ``Rule`` objects. Both know their CEL form, from
which ``schema`` makes the CRD, and their Python form, which ``parse`` evaluates.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Self

from annotated_types import MaxLen
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic.alias_generators import to_camel
from pydantic_core import CoreSchema, PydanticCustomError, PydanticUndefined, core_schema

from wsroute.api import values
from wsroute.api.grammar import Grammar, cel_string

SENTENCE: str = "sentence"
"""The pydantic error type of our own findings; the context's ``sentence`` is what users read."""


def refuse(sentence: str) -> PydanticCustomError:
    """An error whose text is already one for users."""
    return PydanticCustomError(SENTENCE, "{sentence}", {"sentence": sentence})


@dataclass(frozen=True, slots=True)
class Text:
    """Annotates a ``str`` with its grammar.

    ``fault`` replaces the grammar's own check where a pattern alone can't tell; ``cel`` are the further rules that say
    the same to the API server, as pairs of expression and sentence.
    """

    grammar: Grammar
    fault: Callable[[str], str | None] | None = None
    cel: tuple[tuple[str, str], ...] = ()

    def check(self, text: str) -> str:
        """``text`` itself, when nothing is wrong with it."""
        fault = (self.fault or self.grammar.fault)(text)
        if fault is not None:
            raise refuse(fault)
        return text

    def json_schema(self) -> dict[str, Any]:
        """The schema of the string in a CRD."""
        rules = [self.grammar.cel_rule()]
        rules += [{"rule": expression, "message": f"{sentence}."} for expression, sentence in self.cel]
        return {"type": "string", "maxLength": self.grammar.max_length, "x-kubernetes-validations": rules}

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self.check, core_schema.str_schema(strict=True))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return self.json_schema()


class Duration(int):
    """A duration as a number of milliseconds, which remembers how it was written. ``Duration("1h30m") == 5_400_000``.

    Two ways of writing the same duration are equal, so that rewriting one changes nothing.
    """

    text: str

    _bounds: ClassVar[tuple[int, str]] = (1, values.DURATION_BOUNDS_SENTENCE)
    """The least number of milliseconds, and the sentence that says so."""

    def __new__(cls, text: str) -> Self:
        fault = cls._fault(text)
        if fault is not None:
            raise ValueError(fault)
        duration = super().__new__(cls, values.parse_duration(text))
        duration.text = text
        return duration

    @classmethod
    def _fault(cls, text: str) -> str | None:
        return values.duration_fault(text)

    def __getnewargs__(self) -> tuple[str]:  # type: ignore[override]  # int's own is the number
        return (self.text,)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.text!r})"

    def __str__(self) -> str:
        return self.text

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        def read(text: str) -> Duration:
            try:
                return cls(text)
            except ValueError as error:
                raise refuse(str(error)) from None

        return core_schema.no_info_after_validator_function(read, core_schema.str_schema(strict=True))

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        least, sentence = cls._bounds
        bounds = f"duration(self) >= duration('{least}ms') && duration(self) <= duration('{values.MAX_DURATION}ms')"
        return {
            "type": "string",
            "maxLength": values.DURATION.max_length,
            "x-kubernetes-validations": [
                values.DURATION.cel_rule(),
                # Where the text is no duration at all, the rule above has said so.
                {
                    "rule": f"!({values.DURATION.cel_test('self')}) || ({bounds})",
                    "message": f"{sentence}.",
                },
            ],
        }


class Pause(Duration):
    """A duration that may be none: ``0s``."""

    _bounds = (0, values.PAUSE_BOUNDS_SENTENCE)

    @classmethod
    def _fault(cls, text: str) -> str | None:
        return values.pause_fault(text)


@dataclass(frozen=True, slots=True)
class IntOrText:
    """Annotates ``int | str``: a number within bounds, or a text of a grammar. A numeric text is not a number."""

    minimum: int
    maximum: int
    grammar: Grammar

    def check(self, value: Any) -> int | str:
        """``value`` itself, when it is a number within the bounds (and no boolean) or a good text."""
        if type(value) is int:
            if self.minimum <= value <= self.maximum:
                return value
        elif isinstance(value, str):
            fault = self.grammar.fault(value)
            if fault is None:
                return value
            raise refuse(fault)
        raise refuse(self.grammar.sentence)

    def json_schema(self) -> dict[str, Any]:
        """The schema in a CRD: int-or-string has no bounds of its own, so CEL has them."""
        number = f"int(self) >= {self.minimum} && int(self) <= {self.maximum}"
        sentence = f"{self.grammar.sentence}."
        rule = {
            "rule": f"type(self) == int ? ({number}) : ({self.grammar.cel_test('string(self)')})",
            "message": sentence,
        }
        if self.grammar.hints or self.grammar.refusals:
            told = self.grammar.cel_sentence("string(self)")
            rule["messageExpression"] = f"type(self) == int ? {cel_string(sentence)} : {told}"
        return {
            "x-kubernetes-int-or-string": True,
            "maxLength": self.grammar.max_length,
            "x-kubernetes-validations": [rule],
        }

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(self.check)

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return self.json_schema()


Labels = tuple[tuple[str, str], ...]
"""Labels as sorted pairs: hashable, unlike a dictionary."""


@dataclass(frozen=True, slots=True)
class LabelMap:
    """Annotates ``Labels``: a map of label keys and values, written as a JSON object."""

    maximum: int

    def check(self, value: Any) -> Labels:
        """The pairs of a mapping in which every key and value keeps to its grammar."""
        if not isinstance(value, Mapping):
            raise refuse("Labels must be a map of keys and values")
        if len(value) > self.maximum:
            raise refuse(f"At most {self.maximum} labels can be given, and there are {len(value)}")
        for key, text in value.items():
            if not isinstance(key, str) or not isinstance(text, str):
                raise refuse("A label's key and value must be strings: put yes, no and numbers in quotes")
            fault = values.LABEL_KEY.fault(key) or values.LABEL_VALUE.fault(text)
            if fault is not None:
                raise refuse(fault)
        return tuple(sorted(value.items()))

    def json_schema(self) -> dict[str, Any]:
        """The schema of the map in a CRD."""
        key = values.LABEL_KEY
        matches = key.cel_test("key")
        return {
            "type": "object",
            "maxProperties": self.maximum,
            "additionalProperties": Text(values.LABEL_VALUE).json_schema(),
            "x-kubernetes-validations": [
                {
                    "rule": f"self.all(key, key.size() <= {key.max_length} && {matches})",
                    "message": f"{key.sentence}.",
                }
            ],
        }

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(self.check)

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return self.json_schema()


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule about a model as a whole.

    ``cel`` is its form in the CRD, on the model's object; ``field`` is the field that the API server then names
    (``.timeouts.idle``), or empty for the object. ``broken`` yields the path below the model of each place that breaks
    the rule (``.paths[3].path``).
    """

    cel: str
    sentence: str
    broken: Callable[[Any], Iterable[str]]
    field: str = ""


class Model(BaseModel):
    """The base of all models: frozen, strict about types, closed to unknown fields, camelCase in JSON.

    A field that is null counts as left out, as the API server treats it. ``RULES`` are evaluated by ``parse`` once all
    fields are good, not by the constructor.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, alias_generator=to_camel)

    RULES: ClassVar[tuple[Rule, ...]] = ()

    @model_validator(mode="before")
    @classmethod
    def _null_is_left_out(cls, data: Any) -> Any:
        if isinstance(data, Mapping):
            return {key: value for key, value in data.items() if value is not None}
        return data

    @field_validator("*", mode="before")
    @classmethod
    def _no_flood(cls, value: Any, info: ValidationInfo) -> Any:
        """Refuse a list by its length alone: pydantic would look at all items, and count the good ones only."""
        if isinstance(value, list) and info.field_name is not None:
            for note in cls.model_fields[info.field_name].metadata:
                if isinstance(note, MaxLen) and len(value) > note.max_length:
                    raise PydanticCustomError("too_long", "Too long", {"max_length": note.max_length})
        return value


def many(
    kind: str,
    description: str,
    *,
    minimum: int,
    maximum: int,
    key: str | None = None,
    default: Any = PydanticUndefined,
) -> Any:
    """A field for a tuple, written as a list. ``kind`` is the ``x-kubernetes-list-type``: atomic, set or map.

    Without a ``default`` the field is required.
    """
    extra: dict[str, Any] = {"x-kubernetes-list-type": kind}
    if key is not None:
        extra["x-kubernetes-list-map-keys"] = [key]
    return Field(
        default,
        strict=False,  # JSON has lists, and a tuple is what stays frozen
        min_length=minimum,
        max_length=maximum,
        description=description,
        json_schema_extra=extra,
    )


DnsLabel = Annotated[str, Text(values.DNS_LABEL)]
ObjectName = Annotated[str, Text(values.DNS_SUBDOMAIN)]
ConfigKey = Annotated[str, Text(values.CONFIG_KEY)]
BalancerName = Annotated[str, Text(values.BALANCER_NAME)]
PortRef = Annotated[int | str, IntOrText(1, 65535, values.PORT_NAME)]
Host = Annotated[str, Text(values.HOST, fault=values.host_fault)]
HostPattern = Annotated[str, Text(values.HOST_PATTERN, fault=values.host_pattern_fault)]
Domain = Annotated[str, Text(values.DOMAIN, fault=values.domain_fault)]
Path = Annotated[str, Text(values.PATH)]
HeaderName = Annotated[str, Text(values.HEADER_NAME)]
HeaderValue = Annotated[str, Text(values.HEADER_VALUE)]
LabelKey = Annotated[str, Text(values.LABEL_KEY)]
LabelValue = Annotated[str, Text(values.LABEL_VALUE)]
Network = Annotated[str, Text(values.CIDR, fault=values.network_fault, cel=values.CIDR_CEL)]
