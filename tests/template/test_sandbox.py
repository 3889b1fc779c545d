"""Chat templates that mean harm: they neither hang, nor fill the memory, nor get at anything."""

from __future__ import annotations

from datetime import date

import pytest

from chatlab.errors import TemplateRefused
from chatlab.template.sandbox import Sandbox

BOMBS = {
    "nested loops": "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
    "loops over text": "{% for a in range(99999) %}" + "x" * 1000 + "{% endfor %}",
    "a giant string": "{{ 'a' * 1000000000 }}",
    "a giant list": "{% set x = [1] * 1000000000 %}",
    "sums that double": "{% set n = namespace(s='a') %}{% for i in range(99) %}{% set n.s = n.s + n.s %}{% endfor %}",
    "joins that double": "{% set n = namespace(s='a') %}{% for i in range(99) %}{% set n.s = n.s ~ n.s %}{% endfor %}",
    "blocks that double": (
        "{% set n = namespace(s='a') %}{% for i in range(99) %}"
        "{% set x %}{{ n.s }}{{ n.s }}{% endset %}{% set n.s = x %}{% endfor %}"
    ),
    "lists in lists": (
        "{% set n = namespace(s=[1]) %}{% for i in range(99) %}{% set n.s = [n.s, n.s] %}{% endfor %}{{ n.s }}"
    ),
    "dicts in dicts": (
        "{% set n = namespace(s={}) %}{% for i in range(99) %}{% set n.s = dict(a=n.s, b=n.s) %}{% endfor %}"
        "{{ n.s | tojson }}"
    ),
    "a macro that calls itself twice": (
        "{% macro m(n) %}{% if n %}{{ m(n-1) }}{{ m(n-1) }}{% endif %}{% endmacro %}{{ m(60) }}"
    ),
    "a macro without end": "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
    "a power": "{{ 10 ** 10 ** 10 }}",
    "numbers that square": "{% set n = namespace(s=99) %}{% for i in range(99) %}{% set n.s = n.s * n.s %}{% endfor %}",
    "a replacement": "{% set x = 'a' * 100000 %}{{ x.replace('a', x) }}",
    "a replacing filter": "{% set x = 'a' * 100000 %}{{ x | replace('', x) }}",
    "a join": "{% set x = 'a' * 100000 %}{{ x.join(x) }}",
    "a joining filter": "{% set x = 'a' * 100000 %}{{ x | join(x) }}",
    "a width": "{{ '%1000000000d' % 1 }}",
    "a width in a format": "{{ '{:1000000000}'.format(1) }}",
    "padding": "{{ 'a'.ljust(1000000000) }}",
    "a centring filter": "{{ 'a' | center(1000000000) }}",
    "an indent": "{{ [1] | tojson(indent=1000000000) }}",
    "an indenting filter": "{{ 'a' | indent(1000000000) }}",
    "an indent of text": "{% set x = '\n' * 100000 %}{{ x | indent(x) }}",
    "a formatting filter": "{{ '%1000000000d' | format(1) }}",
    "a format in a format": "{{ '{:{}}'.format(1, 1000000000) }}",
    "a star in a format": "{{ '%*d' % (1000000000, 1) }}",
    "a filter nobody needs": "{{ [1] | batch(1000000000, 0) | list }}",
    "bytes": "{{ (1).to_bytes(1000000000) }}",
    "deep brackets": "{{ " + "(" * 9000 + "1" + ")" * 9000 + " }}",
    "deep conditions": "{% if 1 %}" * 5000 + "{% endif %}" * 5000,
    "a caller called often": (
        "{% macro m() %}{% for i in range(99999) %}{{ caller() }}{% endfor %}{% endmacro %}"
        "{% call m() %}" + "y" * 1000 + "{% endcall %}"
    ),
    "a loop that recurs": "{% for a in [1, 1] recursive %}{{ loop([1, 1]) }}{% endfor %}",
}
"""Each would take minutes or gigabytes."""

BURGLARS = {
    "the class of a string": "{{ ''.__class__.__mro__ }}",
    "an initializer": "{{ messages.__init__.__globals__ }}",
    "a list's append": "{% set x = [] %}{{ x.append(1) }}",
    "a file": "{% include '/etc/passwd' %}",
    "a module": "{% import 'os' as os %}{{ os.getcwd() }}",
    "a namespace's insides": "{{ namespace(a=1).__init__() }}",
    "a lipsum's globals": "{{ lipsum.__globals__['os'].getcwd() }}",
    "a cycler": "{{ cycler.__init__.__globals__ }}",
    "a string's format": "{{ '{0.__init__.__globals__}'.format(raise_exception) }}",
    "an attribute filter": "{{ '' | attr('__class__') }}",
}


@pytest.mark.parametrize("source", BOMBS.values(), ids=BOMBS)
def test_a_bomb_is_stopped(source):
    with pytest.raises(TemplateRefused):
        Sandbox(source, date(2024, 1, 1)).render(messages=[])


@pytest.mark.parametrize("source", BURGLARS.values(), ids=BURGLARS)
def test_a_burglar_is_stopped(source):
    with pytest.raises(TemplateRefused):
        Sandbox(source, date(2024, 1, 1)).render(messages=[{"role": "user", "content": "x"}])


@pytest.mark.parametrize("name", ["raise_exception", "strftime_now", "range", "namespace", "dict"])
def test_what_is_given_to_templates_leads_nowhere(name):
    assert Sandbox("{{ " + name + ".__globals__ }}{{ " + name + ".__self__ }}", date(2024, 1, 1)).render() == ""


def test_a_format_leads_nowhere_either():
    source = "{{ ('{0.' ~ '__class__}').format(messages) }}"
    assert Sandbox(source, date(2024, 1, 1)).render(messages=[]) == ""


def test_the_meter_cannot_be_shadowed():
    source = "{% set tick = 1 %}{% set environment = 1 %}" + BOMBS["nested loops"]
    with pytest.raises(TemplateRefused):
        Sandbox(source, date(2024, 1, 1)).render()


def test_one_bad_rendering_does_not_spend_the_room_of_the_next():
    sandbox = Sandbox("{% for i in range(n) %}" + "x" * 100 + "{% endfor %}", date(2024, 1, 1))
    with pytest.raises(TemplateRefused):
        sandbox.render(n=99_999)
    assert sandbox.render(n=10_000) == "x" * 1_000_000


def test_what_templates_need_works():
    source = (
        "{% set n = namespace(found=false) %}{% for m in messages if m.content %}{% set n.found = true %}{% endfor %}"
        "{% macro shout(t) %}{{ t | upper | trim }}!{% endmacro %}{{ shout(' hi ') }}"
        "{{ messages | map(attribute='role') | join(', ') }} {{ messages[0] | tojson }} {{ n.found }}"
        "{% for k, v in messages[0].items() %}{{ k }}{% if not loop.last %}-{% endif %}{% endfor %}"
        "{{ 'a-b'.split('-')[-1].replace('b', 'c') }}{{ '%s' % 1 }}{{ [1] + [2] }}{{ 2 * 3 }}{{ 'x' * 2 }}"
        "{{ '{} and {x}'.format('this', x='that') }}{{ '%s%d' | format('n', 5) }}{{ 'a\nb' | indent(1) }}"
        "{% if false %}{{ 'x' | center(9) }}{% endif %}{% generation %}said{% endgeneration %}"
        "{% for i in range(5) %}{% if i == 2 %}{% break %}{% endif %}{{ i }}{% endfor %}"
    )
    messages = [{"role": "user", "content": "<é>"}, {"role": "assistant", "content": "b"}]
    assert Sandbox(source, date(2024, 1, 1)).render(messages=messages) == (
        'HI!user, assistant {"role": "user", "content": "<é>"} Truerole-contentc1[1, 2]6xxthis and thatn5a\n bsaid01'
    )
