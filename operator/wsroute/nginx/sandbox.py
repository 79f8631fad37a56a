"""Custom main templates: what an administrator wrote, rendered so that it can neither hang nor exhaust the operator,
nor reach anything but the values that it is given.

Jinja2's sandbox alone leaves a lot open: ``'a' * 10**9`` and ``"%1000000000d" % 1`` fill the memory, a few nested loops
or a ``namespace`` that doubles a text keep it busy for ever. So a template is held to a small part of the language that
can do none of that, checked on its syntax tree: blocks, ``super()``, conditions, and loops over the lists that it is
given, which count their turns. There are no other calls, no filters, no arithmetic, no assignments and no imports. The
sandbox (``ImmutableSandboxedEnvironment``, with nothing in it) stands behind that check.
"""

import re
import traceback
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from typing import Any, Final, final

from jinja2 import PackageLoader, StrictUndefined, Template, TemplateError, TemplateSyntaxError, Undefined, nodes
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment

from wsroute.nginx.quoting import EmitError, Emitted
from wsroute.nginx.templating import Block

MAIN: Final = "nginx.conf.j2"
"""The shipped main template, which a custom one may extend."""

TEMPLATE_LIMIT: Final = 32 * 1024
"""Characters of a custom template."""

OUTPUT_LIMIT: Final = 256 * 1024
"""Characters of what it writes."""

TURN_LIMIT: Final = 10_000
"""Turns of all its loops together."""

DEPTH_LIMIT: Final = 40
"""How deep its syntax tree may be."""

MESSAGE_LIMIT: Final = 500

_STRANGE: Final = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")
"""Control characters, and halves of pairs, which are no text."""

_CONTROL: Final = (nodes.Template, nodes.Extends, nodes.Block, nodes.Output, nodes.TemplateData, nodes.If, nodes.For)
_EXPRESSIONS: Final = (nodes.Name, nodes.Getattr, nodes.Const, nodes.Not, nodes.And, nodes.Or)
_ALLOWED: Final = (*_CONTROL, *_EXPRESSIONS, nodes.Compare, nodes.Operand, nodes.Call)
_WORDS: Final = {
    nodes.Assign: "{% set %}",
    nodes.AssignBlock: "{% set %}",
    nodes.Macro: "{% macro %}",
    nodes.Include: "{% include %}",
    nodes.Import: "{% import %}",
    nodes.FromImport: "{% from %}",
    nodes.Filter: "A filter",
    nodes.Test: "A test with is",
}
_LANGUAGE: Final = (
    "a main template may use extends, block, super(), if, and for over its lists, and write the values it is given"
)


class TemplateRefusedError(EmitError):
    """A custom template can't be used. The text is a sentence for its author, without control characters; ``line`` is
    the template's, counted from 1, or 0 where no single one is to blame."""

    def __init__(self, message: str, *, line: int = 0) -> None:
        readable = "".join(letter if letter.isprintable() else " " for letter in message)
        short = readable if len(readable) <= MESSAGE_LIMIT else f"{readable[: MESSAGE_LIMIT - 4]} ..."
        super().__init__(f"Line {line}: {short}" if line else short)
        self.line = line


class _Turns:
    """How many turns loops have left."""

    def __init__(self) -> None:
        self._left = TURN_LIMIT

    def take(self) -> None:
        self._left -= 1
        if self._left < 0:
            raise TemplateRefusedError(f"The loops have more than {TURN_LIMIT:,} turns in all.")


class _Counted:
    """A list that a template may loop over; each turn counts."""

    def __init__(self, items: tuple[Any, ...], turns: _Turns) -> None:
        self._items = items
        self._turns = turns

    def __len__(self) -> int:
        return len(self._items)

    def __iter__(self) -> Iterator[Any]:
        for item in self._items:
            self._turns.take()
            yield item


@final
class _Context(Context):
    """A context in which the text of a shipped block is trusted, so that ``super()`` may be written."""

    def super(self, name: str, current: Any) -> Any:
        """The shipped block, to be called; or what tells that there is none."""
        block: Any = super().super(name, current)
        return block if isinstance(block, Undefined) else lambda: Block(block())


class _Sandbox(ImmutableSandboxedEnvironment):
    context_class = _Context


def _finalize(value: object) -> str:
    """As for our own templates: nothing but emitters. An undefined value says its own name when it is made a text."""
    if isinstance(value, Undefined):
        return str(value)
    if isinstance(value, Emitted):
        return value
    raise TemplateRefusedError("Only a value that the template is given can be written, and this is none.")


def _environment() -> _Sandbox:
    made = _Sandbox(
        loader=PackageLoader("wsroute.nginx"),
        undefined=StrictUndefined,
        autoescape=False,  # there is no HTML here; _finalize stands in its place
        finalize=_finalize,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    for names in (made.globals, made.filters, made.tests):
        names.clear()
    return made


_ENVIRONMENT: Final = _environment()
_BLOCKS: Final = frozenset(_ENVIRONMENT.get_template(MAIN).blocks)


def render_custom(source: str, context: Mapping[str, Any]) -> str:
    """What a custom template writes. Tuples in ``context`` are the lists that it may loop over.

    Raises TemplateRefusedError, whatever the template holds.
    """
    lists = frozenset(name for name, value in context.items() if isinstance(value, tuple))
    turns = _Turns()
    given = {name: _Counted(value, turns) if name in lists else value for name, value in context.items()}
    return _refusing(lambda: _generate(_compiled(source, lists, frozenset(context)), given))


def _generate(template: Template, context: Mapping[str, Any]) -> str:
    parts: list[str] = []
    left = OUTPUT_LIMIT
    for part in template.generate(context):
        left -= len(part)
        if left < 0:
            raise TemplateRefusedError(f"It writes more than {OUTPUT_LIMIT:,} characters.")
        parts.append(part)
    return "".join(parts)


@lru_cache(maxsize=8)
def _compiled(source: str, lists: frozenset[str], names: frozenset[str]) -> Template:
    """The template, checked and compiled: a pass renders it again only when its context has changed."""
    if len(source) > TEMPLATE_LIMIT:
        raise TemplateRefusedError(f"It has {len(source):,} characters; a template may have {TEMPLATE_LIMIT:,}.")
    strange = _STRANGE.search(source)
    if strange:
        text = f"The character U+{ord(strange.group()):04X} can't stand in a template."
        raise TemplateRefusedError(text, line=source.count("\n", 0, strange.start()) + 1)
    tree = _ENVIRONMENT.parse(source)
    _check_tree(tree, lists, names)
    _check_extends(tree)
    return _ENVIRONMENT.from_string(tree)


def _refusing(work: Callable[[], str]) -> str:
    """Have every error that a template can cause be a refusal, with the template's line where there is one."""
    try:
        return work()
    except TemplateRefusedError as error:
        if error.line:
            raise
        raise TemplateRefusedError(str(error), line=_line_of(error)) from error
    except TemplateSyntaxError as error:
        raise TemplateRefusedError(_sentence(error.message or "it is no template"), line=error.lineno) from error
    except TemplateError as error:
        raise TemplateRefusedError(_sentence(error.message or "it is no template"), line=_line_of(error)) from error
    except RecursionError as error:
        raise TemplateRefusedError("It is nested too deeply.") from error
    except (ArithmeticError, AttributeError, LookupError, MemoryError, SyntaxError, TypeError, ValueError) as error:
        raise TemplateRefusedError(_sentence(str(error)), line=_line_of(error)) from error


def _line_of(error: BaseException) -> int:
    """The line of the template in which an error arose; Jinja2 gives its tracebacks the template's lines."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == "<template>"]
    return (lines[-1] or 0) if lines else 0


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:].rstrip('.')}."


def _check_tree(tree: nodes.Template, lists: frozenset[str], names: frozenset[str]) -> None:
    """Refuse what isn't of the small language."""
    pending: list[tuple[nodes.Node, int]] = [(tree, 0)]
    while pending:
        node, depth = pending.pop()
        if depth > DEPTH_LIMIT:
            raise TemplateRefusedError(f"It is nested more than {DEPTH_LIMIT} deep.", line=node.lineno)
        fault = _fault(node, lists, names)
        if fault:
            raise TemplateRefusedError(fault, line=node.lineno)
        children = tuple(node.iter_child_nodes())
        if isinstance(node, nodes.Output):
            _check_output(children)
        pending += [(child, depth + 1) for child in children]


def _check_output(children: tuple[nodes.Node, ...]) -> None:
    for child in children:
        if isinstance(child, nodes.Const):
            text = "Text stands in a template as it is, without braces and quotes."
            raise TemplateRefusedError(text, line=child.lineno)


def _fault(node: nodes.Node, lists: frozenset[str], names: frozenset[str]) -> str:
    """What is wrong with a node by itself, or nothing."""
    match node:
        case nodes.Call(node=nodes.Name(name="super"), args=[], kwargs=[], dyn_args=None, dyn_kwargs=None):
            return ""
        case nodes.Call():
            return f"Nothing but super() can be called here: {_LANGUAGE}."
        case nodes.For(iter=nodes.Name(name=name), target=nodes.Name(name=target), recursive=False) if name in lists:
            if target in names or target in ("loop", "super", "self"):
                return f"A loop's variable can't be called {target}, which means something already."
            return ""
        case nodes.For():
            return f"A loop must be one as {{% for one in {min(lists)} %}}; the lists are {', '.join(sorted(lists))}."
        case nodes.Getattr(attr=attribute) if attribute.startswith("_"):
            return f"There is nothing called {attribute}."
        case _ if not isinstance(node, _ALLOWED):
            return f"{_WORDS.get(type(node), 'This')} can't be used here: {_LANGUAGE}."
    return ""


def _check_extends(tree: nodes.Template) -> None:
    """A template that extends consists of blocks that there are: everything else would silently have no effect."""
    parents = list(tree.find_all(nodes.Extends))
    if not parents:
        return
    for parent in parents:
        if not isinstance(parent.template, nodes.Const) or parent.template.value != MAIN or parent not in tree.body:
            raise TemplateRefusedError(f'A template can extend "{MAIN}", and nothing else.', line=parent.lineno)
    for node in tree.body:
        if not isinstance(node, nodes.Extends | nodes.Block) and not _is_blank(node):
            text = f"Whatever stands outside of a block has no effect once {MAIN} is extended: put it into a block."
            raise TemplateRefusedError(text, line=_first_line(node))
    for block in tree.find_all(nodes.Block):
        if block.name not in _BLOCKS:
            there = ", ".join(sorted(_BLOCKS))
            text = f"{MAIN} has no block {block.name}, so that it would have no effect; its blocks are {there}."
            raise TemplateRefusedError(text, line=block.lineno)


def _is_blank(node: nodes.Node) -> bool:
    return isinstance(node, nodes.Output) and all(
        isinstance(child, nodes.TemplateData) and not child.data.strip() for child in node.nodes
    )


def _first_line(node: nodes.Node) -> int:
    """Where the text of a node begins: the blank lines before it count to it."""
    first = node.nodes[0] if isinstance(node, nodes.Output) else node
    if isinstance(first, nodes.TemplateData):
        return first.lineno + first.data[: len(first.data) - len(first.data.lstrip())].count("\n")
    return node.lineno
