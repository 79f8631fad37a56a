"""Jinja2, set up so that only emitters can be written into a template's text."""

from typing import Any, Final, Protocol, final

from jinja2 import Environment, PackageLoader, StrictUndefined

from wsroute.nginx.quoting import EmitError, Emitted


@final
class Block(Emitted):
    """Whole lines that one of our own templates has produced."""

    __slots__ = ()

    def __new__(cls, template_output: str) -> "Block":
        return str.__new__(cls, template_output)


class Macro(Protocol):
    """A macro of a template, called as a function."""

    def __call__(self, **arguments: Any) -> str: ...


def finalize(value: object) -> str:
    """Let an emitter's text into a template and refuse everything else."""
    if isinstance(value, Emitted):
        return value
    raise EmitError(f"A template may only write emitters, not {type(value).__name__}.")


def environment() -> Environment:
    """The environment of our own templates. There is no HTML here; what stands for escaping is ``finalize``."""
    return Environment(
        loader=PackageLoader("wsroute.nginx"),
        undefined=StrictUndefined,
        autoescape=False,  # noqa: S701
        finalize=finalize,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )


ENVIRONMENT: Final = environment()


def macro(template: str, name: str) -> Macro:
    """A macro by name, to be called with emitters (or records and lists of them) as arguments."""
    found: Macro = getattr(ENVIRONMENT.get_template(template).module, name)
    return found


def source(template: str) -> str:
    """The text of a template."""
    loader = ENVIRONMENT.loader
    assert loader is not None
    return loader.get_source(ENVIRONMENT, template)[0]
