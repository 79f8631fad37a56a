"""What a grammar is: regular expressions with sentences, for the operator and for the API server alike.

The operator evaluates a grammar with ``Grammar.fault``; the CRD holds the very same expressions as CEL rules. So that
both mean the same, all patterns keep to what Python's ``re`` and Go's RE2 share: no look-around, no back-references, no
``\\d`` or ``\\w``, counted repetitions below 1,000, and ``^`` and ``$`` only for the ends of the text (``re.fullmatch``
on our side, so that a trailing newline never slips through).
"""

import re
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Hint:
    """``sentence`` says what to write instead of a text in which ``pattern`` is found."""

    pattern: str
    sentence: str


@dataclass(frozen=True, slots=True)
class Grammar:
    """The rules of one kind of string.

    A text is good when it has at most ``max_length`` characters, ``pattern`` matches it as a whole and none of the
    ``refusals`` is found in it. Of a text that is not good, the first hint or refusal found in it says why, or
    ``sentence`` where none of them knows better. Sentences come without their full stop. ``name`` and ``example`` are
    for the reference.
    """

    name: str
    pattern: str
    max_length: int
    sentence: str
    example: str
    hints: tuple[Hint, ...] = ()
    refusals: tuple[Hint, ...] = ()

    def fault(self, text: str) -> str | None:
        """What is wrong with ``text``, or None."""
        if len(text) > self.max_length:
            return f"At most {self.max_length} characters are allowed, and these are {len(text)}"
        refused = any(_found(refusal, text) for refusal in self.refusals)
        if not refused and re.fullmatch(self.pattern, text, re.ASCII):
            return None
        known = (hint.sentence for hint in (*self.hints, *self.refusals) if _found(hint, text))
        return next(known, self.sentence)

    def cel_rule(self) -> dict[str, str]:
        """The same rules for ``x-kubernetes-validations``; ``maxLength`` in the schema does the length."""
        rule = {"rule": self.cel_test("self"), "message": f"{self.sentence}."}
        if self.hints or self.refusals:
            rule["messageExpression"] = self.cel_sentence("self")
        return rule

    def cel_test(self, text: str) -> str:
        """The CEL expression of whether ``text``, which is one of type string, is good (but for its length)."""
        tests = [f"{text}.matches({cel_string(self.pattern)})"]
        tests += [f"!{text}.matches({cel_string(refusal.pattern)})" for refusal in self.refusals]
        return " && ".join(tests)

    def cel_sentence(self, text: str) -> str:
        """The CEL expression of what is wrong with ``text``, which is one of type string."""
        choices = [
            f"{text}.matches({cel_string(hint.pattern)}) ? {cel_string(hint.sentence + '.')} : "
            for hint in (*self.hints, *self.refusals)
        ]
        return "".join(choices) + cel_string(f"{self.sentence}.")


def _found(hint: Hint, text: str) -> bool:
    return re.search(hint.pattern, text, re.ASCII) is not None


def cel_string(text: str) -> str:
    """``text`` as a CEL string literal. Ours are printable, so only quote and backslash need escaping."""
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"
