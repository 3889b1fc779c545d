"""What is said about the form of replies, and the prompts that nobody has learned."""

from __future__ import annotations

from pathlib import Path

import pytest

from chatlab.engines.base import Sampling, Variant
from chatlab.engines.fake import FakeEngine
from chatlab.evaluation.replies import form, share
from chatlab.evaluation.unseen import ask, unseen
from chatlab.models.base import Base

MARKERS = ("<|user|>", "<|end|>")


@pytest.mark.parametrize(
    "reply, stop, wrong",
    [
        ("The moon is a pale lamp.", "end", None),
        ("The moon is a pale lamp", "length", "stops"),
        ("The moon is a pale lamp", "person", "stops"),
        (" \n", "end", "non_empty"),
        ("A lamp.<|user|>And the sun?", "end", "no_role_leak"),
        ("A lamp.\nUser: and the sun?", "end", "no_role_leak"),
        ("Describe the moon. Describe the moon.", "end", "no_prompt_echo"),
        ("describe the MOON: it is a lamp", "end", "no_prompt_echo"),
        ("To describe the moon is hard.", "end", None),
        ("One of my users: a poet.", "end", None),
    ],
)
def test_each_fault_of_form_is_named(reply, stop, wrong):
    found = form("Describe the moon", reply, stop, MARKERS)
    assert [name for name in ("stops", "non_empty", "no_role_leak", "no_prompt_echo") if not getattr(found, name)] == (
        [wrong] if wrong else []
    )
    assert found.well_formed is (wrong is None)


def test_a_greeting_may_be_answered_with_the_same_greeting():
    assert form("Good day!", "Good day! What brings you here?", "end").well_formed


def test_the_share_is_of_all_replies_and_nothing_is_no_share():
    good, bad = form("a", "b", "end"), form("a", "b", "length")
    assert share([good, bad, good, good]) == 0.75
    assert share([]) == 0.0


def test_the_default_evaluation_asks_at_least_twenty_prompts():
    prompts = unseen()
    assert len(prompts) >= 20 and len(set(prompts)) == len(prompts)
    assert len(unseen("triage")) >= 20 and not set(unseen("triage")) & set(prompts)


@pytest.fixture(scope="module")
def base(base_folder: Path) -> Base:
    return Base.open(base_folder)


def test_a_variant_is_asked_with_the_template_that_chat_uses(base):
    heard = []

    def script(prompt, variant, sampling):
        heard.append(list(prompt))
        return "Well met."

    replies = list(ask(FakeEngine(script), base, Variant(), ["Describe the moon", "Tell a joke"], system="Be brief."))
    assert [reply.text for reply in replies] == ["Well met."] * 2
    assert share([reply.form for reply in replies]) == 1.0
    text = base.tokenizer.decode(heard[0])
    assert "Be brief." in text and "Describe the moon" in text and "Tell a joke" not in text


def test_the_bare_base_runs_on_and_is_seen_to(base):
    from chatlab.engines.transformers.engine import TransformersEngine

    engine = TransformersEngine.open(base, threads=1)
    replies = list(ask(engine, base, Variant(), unseen(count=3), Sampling(temperature=0.0, max_tokens=24)))
    engine.close()
    assert len(replies) == 3 and {reply.sha256 for reply in replies} == {""}
    assert share([reply.form for reply in replies]) < 1.0
