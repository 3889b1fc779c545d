"""The unseen prompts: a set of one's own, and nothing that is learned ever repeats one of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from chatlab.engines.fake import FakeEngine
from chatlab.errors import InputError, UnseenRepeated
from chatlab.evaluation.unseen import FIRST, unseen
from chatlab.lab import Lab
from chatlab.lab.data.prompts import BYTES, LONGEST, MOST, packaged, read
from chatlab.quality.overlap import PromptOverlap
from chatlab.records import Demonstration, Message, Status
from chatlab.settings import Settings


@pytest.fixture
def lab(settings: Settings) -> Iterator[Lab]:
    lab = Lab(settings, open_engine=lambda base: FakeEngine())
    yield lab
    lab.close()


@pytest.fixture
def small(lab: Lab) -> Lab:
    """With a set of two."""
    lab.unseen.rewrite(["Tell a joke", "Describe the moon"])
    return lab


# The set.


def test_the_set_begins_with_the_first_24_that_come_with_the_app(lab: Lab) -> None:
    assert lab.unseen.prompts() == unseen("", FIRST)
    assert not lab.unseen.undoable


def test_it_begins_without_what_is_taught_already(lab: Lab) -> None:
    lab.store.demonstrations.add(said("tell me a joke!", "No."))
    prompts = lab.unseen.prompts()
    assert "Tell a joke" not in prompts and len(prompts) == FIRST


def test_it_is_kept_over_a_restart(small: Lab, settings: Settings) -> None:
    small.close()
    again = Lab(settings, open_engine=lambda base: FakeEngine())
    assert again.unseen.prompts() == ["Tell a joke", "Describe the moon"]
    again.close()


def test_many_lines_are_pasted_at_once_and_what_is_there_is_passed_over(small: Lab) -> None:
    change = small.unseen.add(["Sing a song\n\n  tell a joke?!\nSing a song!", "What is tin?\r\n"])
    assert change.added == ("Sing a song", "What is tin?")
    assert change.known == ("tell a joke?!", "Sing a song!")
    assert small.unseen.prompts() == ["Tell a joke", "Describe the moon", "Sing a song", "What is tin?"]


@pytest.mark.parametrize("lines", [[], [""], ["  \n \n"], ["TELL a joke."]])
def test_empty_lines_and_doubles_alone_are_refused_in_words(small: Lab, lines: list[str]) -> None:
    with pytest.raises(InputError, match=r"nothing to add|already an unseen prompt") as refused:
        small.unseen.add(lines)
    assert refused.value.hint
    assert small.unseen.prompts() == ["Tell a joke", "Describe the moon"]


def test_the_whole_set_is_rewritten_in_another_order(small: Lab) -> None:
    change = small.unseen.rewrite(["Describe the moon", "", "Tell a joke", "Why?"], before=small.unseen.prompts())
    assert change.added == ("Why?",) and change.gone == ()
    assert small.unseen.prompts() == ["Describe the moon", "Tell a joke", "Why?"]


def test_a_line_that_is_there_twice_is_kept_once_and_named(small: Lab) -> None:
    assert small.unseen.rewrite(["Tell a joke", "Why?", "tell a JOKE"]).known == ("tell a JOKE",)
    assert small.unseen.prompts() == ["Tell a joke", "Why?"]


def test_who_edits_an_old_reading_of_the_set_does_not_undo_another_s_work(small: Lab) -> None:
    read = small.unseen.prompts()
    small.unseen.add(["Why?"])
    with pytest.raises(InputError, match="changed in another window"):
        small.unseen.rewrite(["Tell a joke"], before=read)
    assert "Why?" in small.unseen.prompts()


def test_too_many_and_too_long_are_refused(small: Lab) -> None:
    with pytest.raises(InputError, match="too many"):
        small.unseen.add([f"Question {n}" for n in range(MOST)])
    with pytest.raises(InputError, match="longer than"):
        small.unseen.add(["x" * (LONGEST + 1)])
    assert small.unseen.prompts() == ["Tell a joke", "Describe the moon"]


def test_every_change_is_undone_in_turn(small: Lab) -> None:
    small.unseen.take_out(["Tell a joke", "never there"])
    small.unseen.rewrite(packaged("triage"))
    assert small.unseen.prompts() == unseen("triage", FIRST)
    small.unseen.undo()
    assert small.unseen.prompts() == ["Describe the moon"]
    assert small.unseen.undo() == 2
    small.unseen.undo()
    assert small.unseen.prompts() == unseen("", FIRST)
    with pytest.raises(InputError, match="nothing to undo"):
        small.unseen.undo()


def test_a_set_that_is_none_is_not_taken_up() -> None:
    with pytest.raises(InputError, match="no set"):
        packaged("../../etc/passwd")


def test_a_text_file_is_read_line_by_line(tmp_path: Path) -> None:
    file = tmp_path / "prompts.txt"
    file.write_bytes("\ufeffWarum?\r\nÇa va?\n".encode())
    assert read(file) == ["Warum?", "Ça va?"]


@pytest.mark.parametrize("data", [b"\xff\xfe\x00", b"a\x00b", b"x" * (BYTES + 1)], ids=["letters", "zero", "large"])
def test_what_is_no_list_of_prompts_is_refused(tmp_path: Path, data: bytes) -> None:
    file = tmp_path / "prompts.txt"
    file.write_bytes(data)
    with pytest.raises(InputError, match=r"prompts.txt is"):
        read(file)
    with pytest.raises(InputError, match="cannot be read"):
        read(tmp_path / "gone.txt")


def test_the_set_may_be_empty(small: Lab) -> None:
    small.unseen.rewrite([])
    assert small.unseen.prompts() == []
    assert small.demonstrations.write("Tell a joke", "No.")


# What counts as the same.


@pytest.mark.parametrize("text", ["tell me a joke", "Tell a joke.", "TELL  A\nJOKE!!", "Could you please tell a joke?"])
def test_case_punctuation_white_space_and_small_words_make_no_other_prompt(text: str) -> None:
    assert PromptOverlap(["Describe the moon", "Tell a joke"]).of(text) == "Tell a joke"


@pytest.mark.parametrize(
    "text", ["Tell a story", "Describe the moon at night", "What is not time?", "", "?!", "x " * 9999]
)
def test_another_question_stays_another(text: str) -> None:
    assert PromptOverlap(["Tell a joke", "Describe the moon", "What is time?"]).of(text) is None


def test_a_slip_of_the_pen_in_a_long_prompt_is_seen_through() -> None:
    prompt = "Write a farewell speech to an old teacher of mathematics who loved gardens"
    assert (
        PromptOverlap([prompt]).of("write a farewel speech to an old teacher of mathematics who loved gardens")
        == prompt
    )


def test_prompts_without_words_are_told_apart_by_their_signs() -> None:
    assert PromptOverlap(["?!", "🌙"]).of(" 🌙 ") == "🌙"
    assert PromptOverlap(["?!"]).of("🌙") is None


# Never trained on.


def said(prompt: str, answer: str, status: Status = "approved") -> Demonstration:
    messages = (Message(role="user", content=prompt), Message(role="assistant", content=answer))
    return Demonstration(messages=messages, status=status)


def test_a_prompt_that_a_demonstration_teaches_is_refused_unless_that_may_wait(small: Lab) -> None:
    one = small.store.demonstrations.add(said("Sing me a song", "La."))
    with pytest.raises(UnseenRepeated, match=f"demonstration {one} contains it") as refused:
        small.unseen.add(["Sing a song"])
    assert refused.value.demonstrations == (one,) and refused.value.prompts == ("Sing a song",)
    assert small.unseen.add(["Sing a song"], anyway=True).aside == (one,)
    assert small.demonstrations.get(one).status == "waiting"
    small.unseen.undo()
    assert small.demonstrations.get(one).status == "approved"
    assert small.unseen.prompts() == ["Tell a joke", "Describe the moon"]
