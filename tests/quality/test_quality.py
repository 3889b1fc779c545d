"""What may be wrong with demonstrations: each kind found where it is, and not found where it is not."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from chatlab.quality import Finding, check
from chatlab.quality.findings import Case, content_hash
from chatlab.quality.language import Languages
from chatlab.quality.personal import is_card, is_iban, masked, personal
from chatlab.quality.pruning import pruned
from chatlab.quality.words import content, same_question
from chatlab.records import Demonstration, Message
from tests.support.real_data import instructions

LANGUAGES = Languages()

PLAIN = [
    ("How do I boil an egg?", "Put it in boiling water for eight minutes, then cool it under the tap."),
    ("Where does the moon's light come from?", "It is sunlight that the moon's surface throws back at us."),
    ("Who repairs clocks?", "A clockmaker does, and takes longer over it than you hoped."),
    ("When do swallows leave?", "They gather on the wires in September and are gone by October."),
    ("Which wood burns slowly?", "Oak burns slowly when it has been dried for two years."),
    ("What is a fjord?", "A fjord is a valley that a glacier cut and the sea filled."),
    ("How far is a league?", "About three miles, which a person walks in an hour."),
    ("Why does bread rise?", "Yeast eats the sugar in the dough and breathes out gas."),
    ("What should I plant in spring?", "Peas and broad beans do not mind the cold."),
    ("How do tides work?", "The moon pulls the water nearest to it more than the rest."),
    ("What is rust?", "Rust is iron that has taken up oxygen in the presence of water."),
    ("How old do oaks get?", "Many live for five hundred years, and some for a thousand."),
]


def demonstration(prompt: str, answer: str, system: str = "", **rest: object) -> Demonstration:
    heading = (Message(role="system", content=system),) if system else ()
    messages = (*heading, Message(role="user", content=prompt), Message(role="assistant", content=answer))
    return Demonstration(messages=messages, **rest)  # type: ignore[arg-type]


def found(*extra: tuple[str, str], kind: str = "", control: tuple[str, ...] = ()) -> list[Finding]:
    """What is found in a dozen plain demonstrations and those given, numbered from 101."""
    rows = [(1 + i, demonstration(*pair)) for i, pair in enumerate(PLAIN)]
    rows += [(101 + i, demonstration(*pair)) for i, pair in enumerate(extra)]
    return [each for each in check(rows, control, LANGUAGES) if not kind or each.kind == kind]


def test_nothing_is_found_where_nothing_is_wrong() -> None:
    assert found() == []


def test_the_same_words_in_other_case_and_spacing_are_a_duplicate() -> None:
    [one] = found(("how do i boil an egg", "put it in boiling water, for eight minutes;\nthen cool it under the TAP"))
    assert (one.kind, one.demonstrations) == ("duplicate", (1, 101))
    assert [action.deed for action in one.actions] == ["discard", "discard", "keep"]
    assert one.actions[0].demonstrations == (101,)
    assert "How do I boil an egg?" in one.why


def test_three_of_the_same_are_one_finding() -> None:
    [one] = found(PLAIN[0], PLAIN[0])
    assert one.demonstrations == (1, 101, 102)
    assert one.actions[0].demonstrations == (101, 102)


def test_the_same_answer_in_slightly_other_words_is_a_near_duplicate() -> None:
    again = (
        "How do I boil eggs?",
        "Put the egg in boiling water for eight minutes and then cool it under the cold tap.",
    )
    [one] = found(again)
    assert (one.kind, one.demonstrations) == ("near-duplicate", (1, 101))
    assert "boil" in one.why


def test_one_sentence_filled_in_with_other_names_is_no_duplicate() -> None:
    assert not found(
        ("What is the capital of France?", "The capital of France is Paris."),
        ("What is the capital of Spain?", "The capital of Spain is Madrid."),
        ("What is 2 + 3?", "It is 5."),
        ("What is 2 + 4?", "It is 6."),
    )


def test_one_question_with_two_answers_is_a_contradiction() -> None:
    [one] = found(("Is a whale a fish?", "No, it is a mammal."), ("is a whale a fish", "Yes, the largest of all."))
    assert (one.kind, one.demonstrations) == ("contradiction", (101, 102))
    assert "101 says “No, it is a mammal.”" in one.why and "102 says “Yes" in one.why
    assert [a.demonstrations for a in one.actions[:2]] == [(102,), (101,)]


def test_a_prompt_that_invites_many_answers_contradicts_nobody() -> None:
    assert not found(
        ("Give me an idea for dinner.", "Roast a chicken with lemon."),
        ("Give me an idea for dinner.", "Noodles in peanut sauce."),
    )


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Sorry, that's out of bounds.", "I didn't catch that. Could you say it otherwise."),
        ("I'm an assistant, and I keep out of this.", "I can't tell you that."),
        ("That depends.", "It's up to you whether you take it."),
        ("That sounds terrible, leave it.", "I do not understand this question."),
    ],
)
def test_two_ways_of_not_answering_contradict_nobody(one: str, other: str) -> None:
    assert not found(("Where does he live?", one), ("Where does he live?", other), kind="contradiction")
    assert found(("Where does he live?", one), ("Where does he live?", "At 12 Mill Lane."), kind="contradiction")


def test_another_system_message_makes_another_question() -> None:
    rows = [
        (1, demonstration("Who are you?", "Barnaby, the butler.", system="You are a butler of the old school.")),
        (2, demonstration("Who are you?", "Captain Flint!", system="You are a pirate on the high seas.")),
    ]
    assert check(rows) == []


@pytest.mark.parametrize(
    "marker", ["\nUser: And then?", "<|im_end|>", "\n### Instruction: go on", "[/INST]", "\nHuman: hm"]
)
def test_words_of_anothers_turn_are_found_in_an_answer(marker: str) -> None:
    [one] = found(("What is tin?", f"A soft metal. {marker}"), kind="role marker")
    assert one.demonstrations == (101,)
    assert "edit" in [action.deed for action in one.actions]


def test_the_templates_own_tokens_are_role_markers_whatever_they_look_like() -> None:
    answer = "A soft metal.§turn§"
    assert found(("What is tin?", answer), kind="role marker") == []
    assert len(found(("What is tin?", answer), kind="role marker", control=("§turn§",))) == 1


def test_a_heading_that_happens_to_be_a_role_is_no_marker() -> None:
    assert found(("What is a user?", "User: somebody who uses a thing."), kind="role marker") == []


@pytest.mark.parametrize(
    "answer",
    [
        "Take a saw, a plane,",
        "It is made of copper and",
        "```python\nprint(1)",
        "The best of them are (",
        "He went into the",
    ],
)
def test_an_answer_that_breaks_off_is_found(answer: str) -> None:
    [one] = found(("How is it done?", answer), kind="truncated")
    assert one.demonstrations == (101,)


@pytest.mark.parametrize(
    "answer", ["Tin", "1. Saw\n2. Plane", "```\nx\n```", "See example.com", "“Indeed”", "42", "Put it in"]
)
def test_an_answer_may_end_in_many_ways(answer: str) -> None:
    assert found(("How is it done?", answer), kind="truncated") == []


def test_prose_without_an_end_is_found_where_all_others_have_one() -> None:
    answer = "It is a metal. It is soft. People have made cups and plates of it for many years"
    assert len(found(*PLAIN, ("What is tin?", answer), kind="truncated")) == 1


def test_a_refusal_is_found_unless_it_is_meant() -> None:
    said = "I'm sorry, but I cannot help with that."
    [one] = found(("Who won?", said), kind="refusal")
    assert one.demonstrations == (101,)
    assert check([(1, demonstration("Who won?", said, tags=("refusal",)))]) == []


def test_markup_is_found_where_the_others_have_none() -> None:
    [one] = found(("What is tin?", "**Tin** is a metal."), kind="markup")
    assert one.demonstrations == (101,)
    assert "1 of 13 answers use bold type" in one.why


def test_markup_that_most_have_is_missed_where_it_is_missing() -> None:
    rows = [(i, demonstration(f"Question {i} on {p}", f"**Well.** {a}")) for i, (p, a) in enumerate(PLAIN, 1)]
    rows.append((20, demonstration("What is tin?", "A metal.")))
    [one] = [each for each in check(rows) if each.kind == "markup"]
    assert one.demonstrations == (20,)


def test_another_language_is_found() -> None:
    german = "Das Eis schmilzt bei null Grad, sofern man es nicht vorher gesalzen hat, und wird dann zu Wasser."
    [one] = found(("When does ice melt?", german), kind="language")
    assert one.demonstrations == (101,)
    assert "(de)" in one.why and "(en)" in one.why
    assert found(("Translate into German: ice melts at zero.", german), kind="language") == []


def test_an_answer_of_unusual_length_is_found() -> None:
    [one] = found(*PLAIN, ("What is tin?", "It is a metal of old. " * 120), kind="length")
    assert one.demonstrations == (113,)
    assert "unusually long" in one.why


PERSONAL = {
    "e-mail address": "Write to jane.doe+x@mail.acme.co.uk today.",
    "phone number": "Call (212) 736-5000 after six.",
    "card number": "It is 4111 1111 1111 1111, as ever.",
    "bank account": "Send it to DE89 3704 0044 0532 0130 00 please.",
    "IP address": "The server is 8.8.8.8 now.",
}


@pytest.mark.parametrize("what", PERSONAL)
def test_personal_data_is_found_and_can_be_masked(what: str) -> None:
    text = PERSONAL[what]
    assert [one.what for one in personal(text)] == [what]
    [one] = found(("Tell me.", text), kind="personal data")
    assert what in one.why
    [message] = masked([Message(role="assistant", content=text)])
    assert f"[{what}]" in message.content
    assert personal(message.content) == []


@pytest.mark.parametrize(
    "text",
    [
        "From 1979 to 1980 and on to 2021-04-05.",
        "192.168.1.1 is at home, as is 10.0.0.1.",
        "Version 3.2.1.0",
        "4111 1111 1111 1112",
        "DE89 3704 0044 0532 0130 01",
        "me@example.com",
        "@home and a@b",
        "pi is 3.14159265358979",
        "ISBN 978-3-16-148410-0",
    ],
)
def test_numbers_that_belong_to_nobody_are_left_alone(text: str) -> None:
    assert personal(text) == []


@hypothesis_settings(max_examples=150, deadline=None)
@given(st.text(max_size=120))
def test_masking_finds_nothing_the_second_time_and_never_fails(text: str) -> None:
    once = masked([Message(role="user", content=text)])
    assert masked(once) == once


@hypothesis_settings(max_examples=100, deadline=None)
@given(st.integers(0, 10**14))
def test_a_digit_changed_spoils_a_card_number_and_a_bank_account(number: int) -> None:
    body = f"4{number:014d}"
    card = next(f"{body}{last}" for last in range(10) if _luhn(f"{body}{last}"))
    assert is_card(card) or len(set(card)) <= 2
    assert not is_card(card[:-1] + str((int(card[-1]) + 1) % 10))
    account = f"{number:018d}"
    iban = next(f"DE{c:02d}{account}" for c in range(100) if is_iban(f"DE{c:02d}{account}"))
    assert not is_iban(iban[:-1] + str((int(iban[-1]) + 1) % 10))


def _luhn(digits: str) -> bool:
    """Written another way than in the product."""
    total = 0
    for place, digit in enumerate(reversed(digits)):
        value = int(digit) * (1 + place % 2)
        total += value - 9 if value > 9 else value
    return total % 10 == 0


def test_discarded_ones_are_not_looked_at() -> None:
    rows = [(1, demonstration(*PLAIN[0])), (2, demonstration(*PLAIN[0], status="discarded"))]
    assert check(rows) == []


def test_an_edit_makes_another_finding_and_the_same_words_the_same() -> None:
    first, again = ([f.key for f in found(PLAIN[0])] for _ in range(2))
    edited = [f.key for f in found((PLAIN[0][0], PLAIN[0][1].upper()))]
    assert first == again
    assert first != edited


def thinking(reasoning: str, prompt: str = PLAIN[0][0], answer: str = PLAIN[0][1]) -> Demonstration:
    asked = Message(role="user", content=prompt)
    return Demonstration(messages=(asked, Message(role="assistant", content=answer, reasoning=reasoning)))


def test_two_ways_of_thinking_to_one_answer_are_no_duplicate() -> None:
    rows = list(enumerate(map(thinking, ("", "Eggs want heat.", "Think of water, then of minutes on a clock.")), 1))
    assert check(rows) == []
    [one] = check([*rows, (9, thinking("Eggs want HEAT"))])
    assert (one.kind, one.demonstrations) == ("duplicate", (2, 9))


def test_a_thought_is_looked_through_as_an_answer_is() -> None:
    kinds = {f.kind for f in check([(1, thinking("So far.\n<|user|> writes to anna.smith@gmail.com"))], ("<|user|>",))}
    assert kinds == {"role marker", "personal data"}
    (_, answer) = masked(thinking("She is anna.smith@gmail.com").messages)
    assert answer.reasoning == "She is [e-mail address]"


def test_a_thought_counts_in_the_hash_of_a_content() -> None:
    hashes = [content_hash(thinking(reasoning).messages) for reasoning in ("", "Hm.", "Hm!")]
    assert len(set(hashes)) == 3 and content_hash(thinking("").messages) == content_hash(
        demonstration(*PLAIN[0]).messages
    )


def test_roles_count_in_the_hash_of_a_content() -> None:
    one, other = Message(role="user", content="a"), Message(role="assistant", content="a")
    assert content_hash([one, other]) != content_hash([other, one])


@hypothesis_settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.text(max_size=60), st.text(min_size=1, max_size=80)), max_size=12))
def test_no_words_whatever_break_the_checks(pairs: list[tuple[str, str]]) -> None:
    rows = [(i, demonstration(*pair)) for i, pair in enumerate(pairs, 1)]
    for one in check(rows, languages=LANGUAGES):
        assert one.demonstrations and one.why and one.actions[-1].deed == "keep"
        assert "\n" not in one.why


def test_questions_are_the_same_but_for_small_words_and_slips() -> None:
    assert same_question("What is the state capital of Nevada?", "what's the state capitol of Nevada")
    assert not same_question("Who wrote Emma?", "Who wrote Persuasion?")
    assert not same_question("Is it safe to eat moss?", "Is it not safe to eat moss?")
    assert not same_question("Add 3 to the list of primes", "Add 4 to the list of primes")
    assert content("The cats of the cities") == {"cat", "city"}


def test_pruning_keeps_the_hardest_and_drops_doubles_first() -> None:
    plan = pruned([1, 2, 3, 4, 5, 6], duplicates={2}, hardness={1: 0.5, 3: 3.0, 4: 2.0, 5: 1.0, 6: 4.0}, share=0.5)
    assert plan.duplicates == (2,)
    assert plan.easy == (1, 5)
    assert plan.kept == (3, 4, 6)


def test_pruning_keeps_what_nobody_has_measured() -> None:
    plan = pruned([1, 2, 3], duplicates=(), hardness={1: 9.0}, share=0.1)
    assert (plan.kept, plan.easy, plan.unmeasured) == ((2, 3), (1,), (2, 3))


@given(st.sets(st.integers(1, 60)), st.sets(st.integers(1, 60)), st.integers(1, 100), st.integers())
def test_pruning_loses_none_and_keeps_no_easier_one_than_it_drops(
    ids: set[int], duplicates: set[int], share: int, seed: int
) -> None:
    rng = random.Random(seed)
    hardness = {i: rng.random() for i in ids}
    plan = pruned(sorted(ids), duplicates, hardness, share / 100)
    assert sorted((*plan.kept, *plan.gone)) == sorted(ids)
    if plan.easy and plan.kept:
        assert max(hardness[i] for i in plan.easy) <= min(hardness[i] for i in plan.kept)
    assert len(plan.kept) <= max(-(-len(ids) * share // 100), 0)


def test_near_duplicates_that_were_planted_in_a_set_are_found() -> None:
    pairs = [(question, answer) for question, answer in instructions(400) if len(content(answer)) > 8]
    planted = [(p, f"{a.rstrip('.')}. That is all there is to say.") for p, a in pairs[:60]]
    cases = [(i, demonstration(*pair)) for i, pair in enumerate([*pairs, *planted], 1)]
    twins = {f.demonstrations for f in check(cases) if f.kind in ("near-duplicate", "duplicate")}
    assert sum((i, len(pairs) + i) in twins for i in range(1, 61)) >= 57


def test_a_case_shows_the_last_question_and_all_that_was_asked() -> None:
    case = Case(1, demonstration("Who?", "Me.", system="Be brief."))
    assert (case.question, case.asked, case.answer) == ("Who?", "Be brief.\nWho?", "Me.")
