"""Custom main templates: what they may do, what each attack on the operator comes to, and what authors read."""

import contextlib
import tracemalloc
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsroute.nginx.quoting import Comment, Integer
from wsroute.nginx.sandbox import OUTPUT_LIMIT, TEMPLATE_LIMIT, TURN_LIMIT, TemplateRefusedError, render_custom
from wsroute.nginx.templating import Block


@dataclass(frozen=True)
class Thing:
    name: Comment
    secret: str = "a plain text of ours"


@dataclass(frozen=True)
class Required:
    main: Block
    http: Block


CONTEXT: dict[str, Any] = {
    "balancer": Comment("shared"),
    "worker_processes": Integer(2),
    "worker_connections": Integer(64),
    "listeners": tuple(Thing(Comment(f"l{number}")) for number in range(3)),
    "many": tuple(Thing(Comment(f"m{number}")) for number in range(64)),
    "ipv6": False,
    "tls": False,
    "required": Required(Block("main;"), Block("http;")),
}
EXTENDING = '{% extends "nginx.conf.j2" %}\n'


def rendered(source: str) -> str:
    return render_custom(source, CONTEXT)


def refusal(source: str) -> TemplateRefusedError:
    with pytest.raises(TemplateRefusedError) as refused:
        rendered(source)
    return refused.value


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("a {{ balancer }};\n", "a shared;\n"),
        ("{% for one in listeners %}{{ one.name }}{% if not loop.last %},{% endif %}{% endfor %}", "l0,l1,l2"),
        ("{% for one in listeners if one.name == 'l1' %}{{ one.name }}{% else %}none{% endfor %}", "l1"),
        ("{% if ipv6 %}six{% elif balancer == 'shared' and not ipv6 %}four{% endif %}", "four"),
        ("{% raw %}{{ not ours }}{% endraw %}{# said to nobody #}", "{{ not ours }}"),
        ("{% block own %}x{% endblock %}", "x"),
    ],
)
def test_what_a_template_may_do(source: str, expected: str) -> None:
    assert rendered(source) == expected


def test_a_template_may_extend_the_shipped_one_and_keep_what_a_block_has() -> None:
    shipped = rendered(EXTENDING)
    assert "worker_connections  64;" in shipped
    longer = rendered(EXTENDING + "{% block events %}\n{{ super() }}# more\n{% endblock %}")
    assert longer.replace("# more\n", "").replace("\n\n\n", "\n\n") == shipped


ATTACKS = {
    "many turns": "{% for a in range(1000000000) %}{% endfor %}",
    "a long text": "{{ 'a' * 1000000000 }}",
    "a long number": "{{ 10 ** 1000000000 }}",
    "a wide format": "{{ '%1000000000d' % 1 }}",
    "a wide format by a filter": "{{ 'a'|format(1) }}",
    "a wide column": "{{ balancer.ljust(1000000000) }}",
    "a wide column by a filter": "{{ balancer|center(1000000000) }}",
    "the format method": "{{ '{0.__class__}'.format(balancer) }}",
    "doubling": "{% set n = namespace(x='a') %}{% for a in many %}{% set n.x = n.x ~ n.x %}{% endfor %}",
    "a captured text": "{% set x %}{% for a in many %}aaa{% endfor %}{% endset %}",
    "lorem ipsum": "{{ lipsum(n=1000000) }}",
    "a way through lipsum": "{{ lipsum.__globals__['os'].popen('id').read() }}",
    "a way through a cycler": "{{ cycler.__init__.__globals__.os }}",
    "a way through a joiner": "{{ joiner.__init__.__globals__ }}",
    "a way through the class": "{{ balancer.__class__.__mro__ }}",
    "a way by an index": "{{ balancer['__class__'] }}",
    "a way by a filter": "{{ balancer|attr('__class__') }}",
    "a way by map": "{{ many|map(attribute='__class__')|list }}",
    "a way through self": "{{ self.__init__.__globals__ }}",
    "a way through self's block": "{% block a %}{{ self._TemplateReference__context }}{% endblock %}",
    "a way through super": "{% extends 'nginx.conf.j2' %}{% block log %}{{ super.__init__ }}{% endblock %}",
    "a way through loop": "{% for a in many %}{{ loop._iterator }}{% endfor %}",
    "a block that calls itself": "{% block a %}{{ self.a() }}{% endblock %}",
    "a macro that calls itself": "{% macro a() %}{{ a() }}{% endmacro %}{{ a() }}",
    "a loop that calls itself": "{% for a in many recursive %}{{ loop(many) }}{% endfor %}",
    "a loop over a text": "{% for a in balancer %}{% endfor %}",
    "a loop over a loop's variable": "{% for a in many %}{% for b in a %}{% endfor %}{% endfor %}",
    "a list under another name": "{% for many in many %}{% for listeners in listeners %}{% endfor %}{% endfor %}",
    "nested loops": "{% for a in many %}" * 10 + "{% endfor %}" * 10,
    "a template inside": "{% include 'http.conf.j2' %}",
    "a template's names": "{% import 'blocks.conf.j2' as blocks %}",
    "one name of a template": "{% from 'blocks.conf.j2' import server %}",
    "another parent": "{% extends 'http.conf.j2' %}",
    "a parent from a value": "{% extends balancer %}",
    "a parent by chance": "{% if ipv6 %}{% extends 'nginx.conf.j2' %}{% endif %}",
    "a parent above": "{% extends '../nginx.conf.j2' %}",
    "a text of the model": "{% for a in many %}{{ a.secret }}{% endfor %}",
    "a text of its own": "{{ 'server {' }}",
    "the whole list": "{{ many }}",
    "a method": "{{ balancer.upper }}",
    "a number": "{% for a in many %}{{ loop.index }}{% endfor %}",
    "parentheses": "{{ " + "(" * 3000 + "ipv6" + ")" * 3000 + " }}",
    "denials": "{% if " + "not " * 3000 + "ipv6 %}{% endif %}",
    "alternatives": "{% if " + "ipv6 or " * 3000 + "ipv6 %}{% endif %}",
    "attributes": "{{ balancer" + ".a" * 3000 + " }}",
    "conditions in conditions": "{% if 1 %}" * 300 + "{% endif %}" * 300,
    "blocks in blocks": "".join(f"{{% block b{n} %}}" for n in range(300)) + "{% endblock %}" * 300,
    "a long digit": "{% if " + "9" * 5_000 + " %}{% endif %}",
    "a null character": "a\x00b",
    "half a pair": "a\ud800b",
    "a debugger": "{% debug %}",
    "a translation": "{% trans %}a{% endtrans %}",
    "an autoescape": "{% autoescape true %}{{ balancer }}{% endautoescape %}",
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_an_attack_is_a_refusal(attack: str) -> None:
    tracemalloc.start()
    try:
        refused = refusal(ATTACKS[attack])
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 64 * 1024 * 1024
    assert str(refused).isprintable()
    assert len(str(refused)) < 600


def test_loops_have_so_many_turns_in_all() -> None:
    nested = "{% for a in many %}{% for b in many %}{% endfor %}{% endfor %}"
    assert rendered(nested) == ""
    several = TURN_LIMIT // (64 + 64 * 64) + 1
    assert f"{TURN_LIMIT:,} turns" in str(refusal(nested * several))


def test_what_it_writes_has_a_bound() -> None:
    loops = "{% for a in many %}{% for b in many %}" + "x" * 64 + "{% endfor %}{% endfor %}"
    assert len(rendered(loops)) == OUTPUT_LIMIT
    assert f"more than {OUTPUT_LIMIT:,} characters" in str(refusal(f"{loops}x"))


def test_a_template_has_a_bound() -> None:
    assert rendered("x" * TEMPLATE_LIMIT) == "x" * TEMPLATE_LIMIT
    assert f"a template may have {TEMPLATE_LIMIT:,}" in str(refusal("x" * (TEMPLATE_LIMIT + 1)))


@pytest.mark.parametrize(
    ("source", "line", "words"),
    [
        ("a\n{{ nobody }}", 2, "'nobody' is undefined"),
        ("a\n\n{{ balancer.nothing }}", 3, "nothing"),
        ("\n\n{% if ipv6 %}", 3, "nexpected end of template"),
        ("\n{% wrong %}", 2, "unknown tag 'wrong'"),
        ("\n\n{{ 'x' }}", 3, "Text stands in a template as it is"),
        ("\n{{ balancer|upper }}", 2, "A filter can't be used here"),
        ("\n{% set a = 1 %}", 2, "{% set %} can't be used here"),
        ("\n{% for a in range(3) %}{% endfor %}", 2, "the lists are listeners, many"),
        ("\n{% for balancer in many %}{% endfor %}", 2, "can't be called balancer"),
        (f"{EXTENDING}\n\nuser root;", 4, "outside of a block has no effect"),
        (f"{EXTENDING}{{% block logs %}}{{% endblock %}}", 2, "has no block logs"),
        (f"{EXTENDING}{{% block log %}}\n\n{{{{ nobody }}}}{{% endblock %}}", 4, "'nobody' is undefined"),
        ("\n\x1b", 2, "U+001B"),
    ],
)
def test_what_authors_read(source: str, line: int, words: str) -> None:
    refused = refusal(source)
    assert words in str(refused)
    assert refused.line == line
    assert str(refused).startswith(f"Line {line}: ")


def test_a_refusal_does_not_stay() -> None:
    refusal("{% for a in many %}" * 3 + "{% endfor %}" * 3)
    assert rendered("{% for a in many %}{% endfor %}") == ""


@given(st.text(alphabet=st.sampled_from("{}%#-ab'\"()[]|.,~*+= \n\\0_;"), max_size=60))
def test_whatever_it_holds_it_is_rendered_or_refused(source: str) -> None:
    with contextlib.suppress(TemplateRefusedError):
        assert isinstance(rendered(source), str)
