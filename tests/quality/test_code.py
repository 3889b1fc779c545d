"""Code is whole as code is: with semicolons, with fences in a line, with headings that are comments."""

from __future__ import annotations

import pytest

from chatlab.quality import check
from chatlab.quality.personal import personal
from chatlab.records import Demonstration, Message

WHOLE = (
    "console.log(2 + 5);",
    "SELECT name\nFROM boats\nWHERE sails > 2;",
    "class Boat {\n  int sails;\n  int sails() { return sails; }\n};",
    "Use this:\n\n```python\n# Count\nprint(1)\n```\n\nIt prints 1.",
    "Type ```exit``` and press the key. In a script write ```exit``` on its\nown line, or ```quit\n``` is not known.",
    "x = [a for a in b if a]\nprint(x),",
    "version: 3\nservices:\n  db:\n    image: postgres\nuser: root\nsystem: linux",
    "````markdown\n```\ncode\n```\n````",
    "import java.util.List;\nimport java.util.Map;",
    "<ul>\n  <li>Wren</li>\n</ul>",
)
CUT = (
    "First find the wire,",
    "You can do this in two ways; the first is to take the old road over the hill;",
    "Here it is:\n\n```python\nfor n in range(3):\n    print(",
    "Here it is:\n\n```python\nfor n in range(3):\n    print(n)",
    "It is then that all of them went to the",
    "int main() {",
)


def row(number: int, answer: str, asked: str = "") -> tuple[int, Demonstration]:
    question = asked or f"How is task {number} done in language {number * 7}?"
    messages = (Message(role="user", content=question), Message(role="assistant", content=answer))
    return number, Demonstration(messages=messages)


@pytest.mark.parametrize("answer", WHOLE)
def test_code_that_is_whole_has_no_finding(answer: str) -> None:
    assert not check([row(1, answer)])


@pytest.mark.parametrize("answer", CUT)
def test_an_answer_that_is_cut_off_is_found_with_code_and_without(answer: str) -> None:
    assert [finding.kind for finding in check([row(1, answer)])] == ["truncated"]


def test_a_comment_in_code_is_no_heading_and_a_tag_in_code_no_markup() -> None:
    plain = [row(n, f"Boat {n} sails to harbour {n * 3}, where it is mended by {n} men.") for n in range(1, 20)]
    for answer in ("```python\n# Count\nprint(1)\n```", "# Count\nprint(1)\nx = 2", "<div>\n<p>Wren</p>\n</div>"):
        assert not [f for f in check([*plain, row(20, answer)]) if f.kind == "markup" and "fences" not in f.why]


@pytest.mark.parametrize(
    ("short", "long"),
    [
        (
            "I’m not really sure how I can help.",
            "I’d feel better if we looked at the soil first. To tell you the truth, I’m not quite sure how to"
            " help with your garden, but it would be really good to know how much sun it gets in the morning.",
        ),
        (
            "That depends on what you mean by quick.",
            "That depends on what you mean by “quick”. The clipper crossed in March in twelve days, and in May a"
            " steamer took nine, with a storm behind it for most of the way; neither carried more than some mail.",
        ),
        (
            "Plant beans early.",
            "Plant beans early, but wait for the frost to end, dig in old straw, and water the rows each evening until"
            " the first leaves open; later the roots find enough by themselves.",
        ),
    ],
)
def test_a_short_answer_is_no_twin_of_a_long_one_that_says_far_more(short: str, long: str) -> None:
    assert not check([row(1, short, "So what should I plant?"), row(2, long, "So what should I plant?")])


@pytest.mark.parametrize(
    "code",
    [
        "def prime():\n    return 2147483647 % 4155550132\n",
        "```python\nseconds = 2125551234\nprint(seconds)\n```",
        "rows = table[1::2]\nodd = rows[3::4]\nprint(odd)\n",
    ],
)
def test_numbers_and_slices_of_code_are_nobodys(code: str) -> None:
    assert personal(code) == []


def test_numbers_that_are_written_as_people_write_them_are_found_in_code_too() -> None:
    found = personal("def call():\n    dial('+1 415 555 0132')\n    connect('2a00:1450:4001:81b::200e')\n")
    assert [one.what for one in found] == ["phone number", "IP address"]


CONTROL = ("<|user|>", "<|assistant|>", "<|end|>")
TEMPLATE = "{%- for m in messages %}\n<|user|>\n{{ m.content }}<|end|>\n{%- endfor %}\n{{ '<|assistant|>' }}"
SETTINGS_FILE = '[tool.lint."a/*"]\n# relative imports are fine here\n"a/*" = ["TID"]\n# and here\n"b/*" = ["B"]'
LICENCE = (
    "/*****\n * Copyright 2024 Some Company\n *\n * Licensed under a licence (the *Licence*);\n"
    " *****/\n#if __GNUC__\n#include <a.h>\n#endif"
)


@pytest.mark.parametrize(
    "code",
    [
        TEMPLATE,
        SETTINGS_FILE,
        LICENCE,
        "# A licence\n# of several lines\n# in all.\n",
        "# example 3\ndef f(x):\n    return x",
    ],
)
def test_templates_settings_and_comments_are_code(code: str) -> None:
    plain = [row(n, f"This is answer {n}, in a few words.", f"Question {n}?") for n in range(2, 32)]
    kinds = {one.kind for one in check([row(1, code, "Show it."), *plain], CONTROL) if 1 in one.demonstrations}
    assert kinds <= {"length", "language"}


def test_a_control_token_in_code_is_found_where_no_string_holds_it() -> None:
    code = "def ask():\n    return '<|user|>'\n"
    assert not [f for f in check([row(1, code)], CONTROL) if f.kind == "role marker"]
    assert [f.kind for f in check([row(1, f"{code}<|end|>\n<|user|> And now?")], CONTROL)] == ["role marker"]


def test_two_programs_for_two_things_are_no_twins_and_contradict_nothing() -> None:
    code = "```c\ntemplate <>\ninline double {0}<double>(double x) {{\n  check(x);\n  return ::{0}(x);\n}}\n```"
    asked = "Show me {0} of util/{0}_kernel.h in C?"
    rows = [row(n, code.format(name), asked.format(name)) for n, name in enumerate(("tan", "exp"), 1)]
    assert not check(rows)
    assert not check([row(1, code.format("tan"), "Which one?"), row(2, "```py\nprint(1)\n```", "Which one?")])
    twins = [row(1, code.format("tan"), "Which one?"), row(2, f"{code.format('tan')}\n\nThat is it.", "Which one?")]
    assert [one.kind for one in check(twins)] == ["near-duplicate"]


@pytest.mark.parametrize(
    "text",
    [
        "git clone git@github.com:a/b.git",
        "Write to YOUREMAIL@domain.com.",
        "x = parse('2016-01-02 12')\n",
        "h = 2 - 273830224\n",
        "n = 269116466014453760\nprint(n)\n",
        "pip install foo==1.0.0.0",
    ],
)
def test_what_only_looks_like_somebodys_is_nobodys(text: str) -> None:
    assert personal(text) == []
