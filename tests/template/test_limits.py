"""Templates that would hang the app or fill its memory: all end within two seconds and 256 MB, whatever they say."""

from __future__ import annotations

import random
import re
import sys
from collections.abc import Mapping

import pytest

if sys.platform != "linux":
    pytest.skip("limits on processes are set as Linux has them", allow_module_level=True)

from tests.support.hostile.templates import Outcome, rendered

BIG = "{% set t = 'a' * 400000 %}"
HEX = "{% set a = ('f'*900000)|int(0,16) %}{% set b = ('f'*300000)|int(0,16) %}"
DEEP = "{% set ns = namespace(x=1) %}{% for i in range(300) %}{% set ns.x = [ns.x] %}{% endfor %}"

BOMBS = {
    "a width after a name": "{{ '%(a)1500000000d' % {'a': 1} }}",
    "an indent that is text": DEEP + "{{ (ns.x|tojson(indent='x'*10000))|length }}",
    "large integers divided": HEX + "{% set x = a // b %}" * 4,
    "large integers compared, added and negated": HEX + "{% set x = a < b %}{% set x = a - b %}{% set x = -a %}" * 99,
    "a literal that is a large integer": "{% set a = 0x" + "f" * 150_000 + " %}" + "{% set x = a // 7 %}" * 400,
    "a text that is odd": "{{ '%1500000000d' is odd }}",
    "a text that is divisible": "{{ '%1500000000d' is divisibleby 3 }}",
    "a text that is even, among others": "{{ ['%1500000000d']|select('even')|list }}",
    "one name in many fields": BIG + "{{ ('%(a)s' * 100000) % {'a': t} }}",
    "one place in many braces": BIG + "{{ ('{0}' * 100000).format(t) }}",
    "a width behind a bracket": "{{ '{0[}]:1500000000}'.format({'}': 1}) }}",
    "a width in a formatting filter": "{{ '%(a)-1500000000s'|format(a=1) }}",
    "a precision": "{{ '%.1500000000f' % 1.5 }}",
    "a date of great width": "{{ strftime_now('%01000000000Y' * 1000) }}",
    "a date of many parts": "{{ strftime_now('%c' * 400000) }}",
    "separators that are long": "{{ messages|tojson(separators=('x' * 900000, 'y' * 900000)) }}",
    "an indent of many levels": DEEP + "{{ ([ns.x] * 2000)|tojson(indent=40) }}",
    "slices kept in many names": BIG + "".join(f"{{% set a{i} = t[1:] %}}" for i in range(3000)),
    "texts compared in a row": BIG + "{% set u = t ~ 'b' %}" + "{% set x = t < u %}" * 4000,
    "lists compared in a row": "{% set t = [[1] * 9] * 9999 %}{% set u = [[1] * 9] * 9999 %}"
    + "{% set x = t == u %}" * 3000,
    "a search from the right": "{% set t = 'a' * 900000 %}{{ t.rfind('b' ~ t[450000:]) }}",
    "a split from the right": "{% set t = 'a' * 900000 %}{{ t.rsplit('b' ~ t[450000:])|length }}",
    "a strip of many letters": "{% set t = 'a' * 400000 %}{% set s = 'b' * 400000 ~ 'a' %}{{ t.strip(s)|length }}",
    "a trim of many letters": "{% set t = 'a' * 400000 %}{% set s = 'b' * 400000 ~ 'a' %}{{ t|trim(s)|length }}",
    "searches in a row": BIG + "{% set x = 'b' in t %}" * 9000,
    "splits that are kept": "".join(f"{{% set a{i} = ('é,' * 200000).split(',') %}}" for i in range(200)),
    "lists of texts": "".join(f"{{% set a{i} = ('é' * 300000)|list %}}" for i in range(200)),
    "sorts in a row": "{% set t = range(99999)|list %}" + "{% set x = t|sort %}" * 500,
    "a lazy list without end": (
        "{% set n = namespace(s=range(99999)) %}{% for i in range(900) %}"
        "{% set n.s = n.s|map('string') %}{% endfor %}{{ n.s|list|length }}"
    ),
    "lengths of lazy lists": "{% for a in range(99999)|map('string') %}{{ loop.length }}{% endfor %}",
    "replacements in a row": BIG + "{% set x = t.replace('a', 'bb') %}" * 4000,
    "a macro in a macro": (
        "{% macro m(t) %}{{ t }}{{ t }}{% endmacro %}{% set t = 'x' * 1000 %}"
        + "{% set t = m(t) %}" * 40
        + "{{ t|length }}"
    ),
    "upper case that is longer": "{% set t = 'ΐ' * 300000 %}" + "{% set t = t|upper %}{% set t = t.lower() %}" * 99,
    "escapes of escapes": "{% set t = '&' * 9999 %}" + "{% set t = t|string|e|string %}" * 99,
    "a filter around it all": "{% filter indent(40) %}{{ '\n' * 90000 }}{% endfilter %}",
    "very many tokens": "{{ a }}" * 28_000,
    "very many sums": "{{ " + "+".join(["1"] * 60_000) + " }}",
    "a long reason": "{{ raise_exception('x' * 900000) }}",
    "tuples whose hashes are the same": (
        "{% set n = namespace(t=[()]) %}{% for i in range(15) %}{% set m = namespace(u=[]) %}{% for x in n.t %}"
        "{% set m.u = m.u + [x + (-1,), x + (-2,)] %}{% endfor %}{% set n.t = m.u %}{% endfor %}"
        "{{ n.t|unique|list|length }}"
    ),
    "other files": "{% include 'x' %}",
    "blocks": "{% block a %}x{% endblock %}{{ self.a() }}",
    "another way to escape": "{% autoescape true %}{{ '&' * 400000 }}{% endautoescape %}",
}
"""The first three came through once; each of the others would, where only the first three are mended."""

HARMLESS = {
    "comparisons": ("{{ 1 < 2 < 3 }} {{ 3 > 2 >= 2 != 1 }} {{ 'a' in 'abc' }} {{ 'x' not in ['y'] }}", "True " * 4),
    "a chain that is broken": ("{{ 1 < 2 > 3 }}", "False"),
    "arithmetic": ("{{ 7 // 2 }} {{ 7 / 2 }} {{ 7 - 9 }} {{ -3 }} {{ 2 ** 8 }} {{ 7 % 4 }}", "3 3.5 -2 -3 256 3"),
    "tests": ("{{ 3 is odd }} {{ 4 is even }} {{ 9 is divisibleby 3 }} {{ 1 is lt 2 }} {{ 2 is in [2] }}", "True " * 5),
    "formats": ("{{ '%(a)s' % {'a': 1} }} {{ '%s-%d%%' % ('x', 2) }} {{ '{0}{{}}'.format(1) }}", "1 x-2% 1{}"),
    "slices": ("{{ 'abcdef'[1:3] }}{{ messages[1:]|length }}{{ [1, 2, 3][::-1]|join }}", "bc1321"),
    "json": ("{{ {'b': 1, 'a': [1]}|tojson(sort_keys=true, separators=(',', ':')) }}", '{"a":[1],"b":1}'),
    "json of several lines": ("{{ {'a': [1]}|tojson(indent=2) }}", '{\n  "a": [\n    1\n  ]\n}'),
    "texts": ("{{ ' x '|trim }}{{ 'xxaxx'.strip('x') }}{{ 'a-b-c'.rsplit('-', 1)[1] }}{{ 'ab'|reverse }}", "xacba"),
    "order": (
        "{{ [3, 1, 2]|sort|join }}{{ [1, 1, 2]|unique|join }}{{ [1, 9]|max }}{{ {'b': 1}|dictsort }}",
        "123129[('b', 1)]",
    ),
    "numbers": ("{{ '12'|int + 1 }} {{ 'x'|int(7) }} {{ '1.5'|float }} {{ -3|abs }}", "13 7 1.5 3"),
    "a date": ("{{ strftime_now('%d %b %Y') }}{{ strftime_now('%-d') }}", "26 Jul 202426"),
    "calls": ("{{ dict(a=1).items()|list }}{{ dict([('a', 2)]).get('a') }}", "[('a', 1)]2"),
}


@pytest.fixture(scope="module")
def outcomes() -> Mapping[str, Outcome]:
    return dict(zip(BOMBS, rendered(list(BOMBS.values())), strict=True))


@pytest.mark.parametrize("bomb", BOMBS)
def test_a_template_that_asks_too_much_ends_soon_and_small(outcomes, bomb):
    outcome = outcomes[bomb]
    assert outcome.ended in ("refused", "rendered"), outcome
    assert outcome.seconds < 2 and outcome.megabytes < 256, outcome
    assert len(outcome.said) < 500


def test_what_builds_much_is_refused_before_it_is_built(outcomes):
    for bomb in list(BOMBS)[:17]:
        assert "is stopped" in outcomes[bomb].said and outcomes[bomb].megabytes < 64, (bomb, outcomes[bomb])


def test_what_templates_may_compute_is_what_jinja_computes():
    found = rendered([source for source, _ in HARMLESS.values()])
    for name, outcome, (_, wanted) in zip(HARMLESS, found, HARMLESS.values(), strict=True):
        assert (outcome.ended, outcome.said.strip()) == ("rendered", wanted.strip()), name


# Templates drawn from a grammar.

ATOMS = {
    "text": ("''", "'a'", "'é🙂'", "'a,b,c'", "'\\n'", "t", "t", "messages[0].content", "'%s'", "'{0}{1}'"),
    "number": ("0", "1", "-1", "7", "64", "99999", "9999999999999", "18446744073709551616", "1e308", "0.5", "n", "n"),
    "list": ("[]", "[1, 2]", "['a', 'b']", "(1, 2)", "messages", "v", "v", "range(99)|list", "range(99999)|list"),
}
GROWN = {
    "text": (
        "({text} ~ {any})",
        "({text} + {text})",
        "({text} * {times})",
        "{text}.replace('a', {text})",
        "{text}|replace('', 'aa')",
        "{text}.join({list}|map('string'))",
        "({list}|map('string')|join({text}))",
        "({any}|string)",
        "({any}|tojson)",
        "({any}|tojson(indent=4))",
        "({text}|indent({times}, true))",
        "({text}|indent({text}))",
        "('%s-%s' % ({any}, {text}))",
        "('%(a)s' * {times} % {{'a': {text}}})",
        "({text}|upper)",
        "({text}|title)",
        "({text}|e|string)",
        "({text}|reverse)",
        "{text}.strip({text})",
        "({text}|trim({text}))",
        "{text}[1:]",
        "{text}[::-1]",
        "'{{0}} {{0}}'.format({any})",
        "('{{0}}' * {times}).format({text})",
        "({text}|default({text}))",
        "({text}|format({any}))",
        "{text}.rpartition({text})[0]",
        "({text}|center({number}))",
    ),
    "number": (
        "({number} + {number})",
        "({number} - {number})",
        "({number} * {number})",
        "({number} // ({number} or 1))",
        "({number} / ({number} or 1))",
        "({number} ** {times})",
        "({number} % ({number} or 1))",
        "({text}|int)",
        "({text}|int(0, 16))",
        "({text}|length)",
        "({list}|length)",
        "{text}.count({text})",
        "{text}.rfind({text})",
        "({number}|abs)",
        "(-{number})",
        "({text}|float)",
        "({number}|round)",
    ),
    "list": (
        "({list}|list + {list}|list)",
        "({list}|list * {times})",
        "{text}.split({text} or ',')",
        "({text}|list)",
        "[{any}, {any}]",
        "[v, v]",
        "{list}[1:]",
        "({list}|map('string')|sort)",
        "({list}|map('string')|unique|list)",
        "({list}|map('string')|map('upper')|list)",
        "({list}|select('eq', {any})|list)",
        "({list}|reverse|list)",
        "{text}.rsplit({text} or ',')",
        "{text}.splitlines()",
        "(dict(a={any}, b={any}).items()|list)",
        "({list}|reject('in', {list})|list)",
        "({list}|batch(9)|list)",
    ),
    "truth": (
        "({any} == {any})",
        "({number} < {number})",
        "({text} <= {text})",
        "({text} in {text})",
        "({any} not in {list})",
        "({number} is odd)",
        "({text} is odd)",
        "({number} is divisibleby 3)",
        "({any} is in {list})",
        "({text} is upper)",
        "({text} is divisibleby 7)",
    ),
}
TIMES = ("2", "3", "9", "30", "99", "999", "99999", "400000")


def expression(dice: random.Random, kind: str, depth: int) -> str:
    """Of a kind, so that most of them can be computed."""
    if kind == "any":
        kind = dice.choice(("text", "number", "list"))
    if kind == "times":
        return dice.choice(TIMES)
    if kind in ATOMS and (depth == 0 or dice.random() < 0.2):
        return dice.choice(ATOMS[kind])
    pattern = dice.choice(GROWN[kind])
    return re.sub(
        r"\{\{|\}\}|\{(\w+)\}",
        lambda found: expression(dice, found[1], max(0, depth - 1)) if found[1] else found[0][0],
        pattern,
    )


def template(seed: int) -> str:
    """Names for three values, then statements in a row, in loops, and such as grow what they had before."""
    dice = random.Random(seed)
    kinds = {"t": "text", "n": "number", "v": "list"}
    parts = ["{% set t = 'ab' %}{% set n = 3 %}{% set v = ['a', 'b'] %}"]
    for _ in range(dice.randint(1, 6)):
        name = dice.choice("tnv")
        body = f"{{% set {name} = {expression(dice, kinds[name], 2)} %}}"
        if dice.random() < 0.3:
            body = f"{{% if {expression(dice, 'truth', 1)} %}}{{{{ {expression(dice, 'any', 2)} }}}}{{% endif %}}"
        match dice.randrange(4):
            case 0:
                body *= dice.choice([3, 30, 300])
            case 1:
                body = f"{{% for i in range({dice.choice([3, 99, 99999])}) %}}{body}{{% endfor %}}"
            case 2:
                grown = re.sub(rf"\b{name}\b", "ns.x", expression(dice, kinds[name], 2))
                body = (
                    f"{{% set ns = namespace(x={name}) %}}{{% for i in range({dice.choice([9, 99])}) %}}"
                    f"{{% set ns.x = {grown} %}}{{% endfor %}}{{% set {name} = ns.x %}}{body}"
                )
        parts.append(body)
    return "".join(parts)


def try_all(seeds: range) -> dict[str, int]:
    counts: dict[str, int] = {}
    for seed, outcome in zip(seeds, rendered([template(seed) for seed in seeds]), strict=True):
        assert outcome.ended in ("refused", "rendered"), (seed, outcome)
        assert outcome.seconds < 2 and outcome.megabytes < 256, (seed, outcome)
        why = outcome.said.partition(":")[2][:30] if outcome.ended == "refused" else ""
        counts[f"{outcome.ended}{why}"] = counts.get(f"{outcome.ended}{why}", 0) + 1
    return counts


def test_templates_drawn_at_random_end_soon_and_small():
    counts = try_all(range(24))
    assert counts.get("rendered", 0) > 3, counts


@pytest.mark.slow
def test_many_templates_drawn_at_random():
    for start in range(1000, 5000, 200):
        print(try_all(range(start, start + 200)))
