"""Unseen prompts on the page, without a server: the grid, the set, and the question wherever something repeats it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from html import unescape
from pathlib import Path
from typing import Any

import gradio as gr
import pytest

from chatlab.engines.base import Sampling, Variant
from chatlab.engines.fake import FakeEngine
from chatlab.errors import InputError
from chatlab.lab import Lab
from chatlab.lab.data.packs import Packs
from chatlab.records import BASE, Demonstration, Message
from chatlab.settings import Settings
from chatlab.ui.chat.handlers import ChatHandlers
from chatlab.ui.chat.replies import Replies
from chatlab.ui.chat.session import View
from chatlab.ui.demonstrations.drafts import NEW
from chatlab.ui.demonstrations.tab import DemonstrationsTab
from chatlab.ui.unseen.panel import UnseenPanel
from tests.support.page import at, built, publish_adapter, readable, told

HOSTILE = "<script>alert(1)</script> ![x](http://evil/?q) [c](javascript:alert(1)) $$e$$"
JOKE = "Tell a joke"


def names_itself(prompt: Any, variant: Variant, sampling: Sampling) -> str:
    return f"I am {variant.name} and the moon is bright tonight"


@pytest.fixture
def lab(settings: Settings) -> Iterator[Lab]:
    """With a cache of its own, so that nobody else's replies are known."""
    lab = Lab(
        replace(settings, cache_folder=settings.home / "cache"), open_engine=lambda base: FakeEngine(names_itself)
    )
    lab.unseen.rewrite([JOKE, "Describe the moon"])
    yield lab
    lab.close()


@pytest.fixture
def panel(lab: Lab) -> UnseenPanel:
    return built(UnseenPanel(lab), "compare")


def values(panel: UnseenPanel, *variants: str, page: int = 0, **changed: Any) -> dict[Any, Any]:
    """The values of the panel's components, as the page opens but for what is changed."""
    sampling = {panel.temperature: 0, panel.tokens: changed.get("tokens", 96)}
    rest = {panel.system: "", panel.strength: 1.0, panel.page: page, panel.asking: changed.get("asking", False)}
    return sampling | rest | {panel.variants: list(variants), panel.export.form: changed.get("form", "md")}


def heard(panel: UnseenPanel, *variants: str) -> dict[Any, Any]:
    shown: dict[Any, Any] = {}
    for update in panel.answered(values(panel, *variants)):
        shown |= update
    return shown


def text(update: Any) -> str:
    return unescape(str(told(update)["value"]))


# The grid.


def test_at_first_the_prompts_are_there_and_nobody_has_been_heard(panel: UnseenPanel, lab: Lab) -> None:
    publish_adapter(lab, "player")
    shown = panel.refresh(values(panel))
    assert told(shown[panel.variants])["value"] == [BASE, "player"]
    assert JOKE in text(shown[panel.parts[0]]) and text(shown[panel.parts[0]]).count("no reply yet") == 2
    assert "0 of 4 replies" in text(shown[panel.progress])
    assert shown[panel.editor.text] == f"{JOKE}\nDescribe the moon"


def test_who_spoke_how_well_and_how_unlike_the_base_stands_in_the_grid(panel: UnseenPanel, lab: Lab) -> None:
    card = publish_adapter(lab, "player")
    html = text(heard(panel, BASE, "player")[panel.parts[0]])
    assert f"sha256 {card.sha256[:12]}" in html and f"player {card.sha256[:7]} · 9 tokens" in html
    assert "<b>100%</b> on-format" in html and "<b>2</b> of 2 differ from the base" in html
    assert "I am <mark>player</mark> and the moon" in html, "the words that the base did not say"
    assert html.count('class="mark right"') == 4


def test_what_is_wrong_with_a_reply_is_said_in_words(panel: UnseenPanel, lab: Lab) -> None:
    said = {0: "word " * 200, 1: "ok\nUser: and now?"}
    lab.machine.engine._script = lambda prompt, variant, sampling: said[len(prompt) % 2]  # type: ignore[attr-defined]
    lab.unseen.rewrite(["Why?", "Why not?"])
    html = text(heard(panel, BASE)[panel.parts[0]])
    assert ("does not stop" in html) or ("writes the user's turn" in html)
    lab.machine.engine._script = lambda prompt, variant, sampling: ""  # type: ignore[attr-defined]
    shown: dict[Any, Any] = {}
    for update in panel.answered(values(panel, BASE, tokens=64)):
        shown |= update
    assert "✗ empty" in text(shown[panel.parts[0]]) and "<b>0%</b> on-format" in text(shown[panel.parts[0]])


def test_the_same_reply_as_the_base_s_is_called_so(panel: UnseenPanel, lab: Lab) -> None:
    publish_adapter(lab, "player")
    lab.machine.engine._script = lambda *_: "Good day."  # type: ignore[attr-defined]
    html = text(heard(panel, BASE, "player")[panel.parts[0]])
    assert html.count("same as base") == 2 and "<b>0</b> of 2 differ from the base" in html


def test_a_stopped_grid_shows_what_was_said_and_offers_to_go_on(panel: UnseenPanel, lab: Lab) -> None:
    asking = lab.grid.ask([BASE])
    for view in asking:
        if view.done == 1:
            break
    asking.close()  # type: ignore[attr-defined]
    shown = panel.draw_known(values(panel, BASE, page=0))
    assert "1 of 2 replies" in text(shown[panel.progress]) and told(shown[panel.ask])["value"] == "Continue"
    assert "2 of 2 replies" in text(heard(panel, BASE)[panel.progress])


def test_a_long_set_is_read_page_by_page(panel: UnseenPanel, lab: Lab) -> None:
    lab.unseen.rewrite([f"Question {n}" for n in range(1, 51)])
    first = panel.draw_known(values(panel, BASE, page=0))
    assert "Question 24" in text(first[panel.parts[0]]) and "Question 25" not in text(first[panel.parts[0]])
    last = panel.turned_on(values(panel, BASE, page=1))
    assert "Question 50" in text(last[panel.parts[0]]) and told(last[panel.later])["visible"] is False
    assert panel.draw_known(values(panel, BASE, page=9))[panel.page] == 2
    assert panel.turned_back(values(panel, BASE, page=0))[panel.page] == 0


def test_nobody_chosen_is_told_and_nothing_hurts(panel: UnseenPanel, lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    warned: list[str] = []
    monkeypatch.setattr(gr, "Warning", warned.append)
    shown = heard(panel)
    assert "1 to 4 adapters" in unescape(readable(warned[0])) and not told(shown[panel.stop])["visible"]
    assert JOKE in text(shown[panel.parts[0]])
    lab.unseen.rewrite([])
    assert "No unseen prompts" in text(panel.draw_known(values(panel, BASE, page=0))[panel.parts[0]])


def test_while_replies_come_only_the_rows_under_way_are_drawn_again(panel: UnseenPanel, lab: Lab) -> None:
    lab.unseen.rewrite([f"Question {n}" for n in range(1, 9)])
    first, *later = list(panel.answered(values(panel, BASE)))
    above, live, below = (text(first[part]) for part in panel.parts)
    assert "<thead>" in above and "Question 1" not in above
    assert "Question 3" in live and "Question 4" not in live and "Question 8" in below
    assert first[panel.asking] is True and told(first[panel.stop])["visible"]
    moved = [update for update in later if panel.parts[0] in update]
    assert len(moved) == 3 and moved[-1][panel.asking] is False
    assert "Question 8" in text(moved[-1][panel.parts[0]]) and moved[-1][panel.parts[2]] == ""


def test_coming_back_to_the_tab_disturbs_no_replies_under_way(panel: UnseenPanel) -> None:
    assert not set(panel.parts) & set(panel.refresh(values(panel, asking=True)))


def test_hostile_prompts_replies_and_names_stay_text(panel: UnseenPanel, lab: Lab) -> None:
    lab.unseen.rewrite([HOSTILE])
    lab.machine.engine._script = lambda *_: f"{HOSTILE} too"  # type: ignore[attr-defined]
    html = str(heard(panel, BASE)[panel.parts[0]])
    assert "<script" not in html and "](" not in html and "$$" not in html and HOSTILE in unescape(html)


def test_the_chosen_variants_are_remembered_but_for_those_that_are_gone(panel: UnseenPanel, lab: Lab) -> None:
    for name in ("one", "two"):
        publish_adapter(lab, name)
    panel.choose(values(panel, "one", "two"))
    lab.variants.remove("one")
    assert told(panel.refresh(values(panel))[panel.variants])["value"] == ["two"]


@pytest.mark.parametrize("form", ["md", "csv", "jsonl"])
def test_the_grid_is_exported(panel: UnseenPanel, form: str) -> None:
    heard(panel, BASE)
    shown = panel.exported(values(panel, BASE, form=form))
    made = Path(shown[panel.export.made])
    assert made.suffix == f".{form}" and "I am base" in made.read_text("utf-8-sig")
    panel.export.swept(str(made))
    assert not made.exists()


# The set.


def test_what_is_saved_is_the_set_and_can_be_undone(panel: UnseenPanel, lab: Lab) -> None:
    editor = panel.editor
    before = lab.unseen.prompts()
    shown = editor.saved("Why?\n\nDescribe the moon\nwhy", before, 0)
    assert lab.unseen.prompts() == ["Why?", "Describe the moon"] and shown[editor.changed] == 1
    assert "1 new, 1 removed, 1 duplicate skipped: “why”" in text(shown[editor.message])
    assert told(shown[editor.undo])["visible"]
    shown = editor.undone(1)
    assert lab.unseen.prompts() == before and shown[editor.text] == f"{JOKE}\nDescribe the moon"


def test_what_is_typed_outlives_a_reload_until_it_is_saved_or_thrown_away(panel: UnseenPanel, lab: Lab) -> None:
    editor, before = panel.editor, lab.unseen.prompts()
    assert told(editor.remember("Half a tho", before))["visible"]
    shown = UnseenPanel(lab)
    again = built(shown, "compare").editor
    assert again.draw()[again.text] == "Half a tho" and told(again.draw()[again.revert])["visible"]
    assert editor.reverted()[editor.text] == f"{JOKE}\nDescribe the moon"
    assert not told(editor.draw()[editor.revert])["visible"]


def test_a_text_that_is_refused_stays_as_it_was_typed(panel: UnseenPanel, lab: Lab) -> None:
    editor, before = panel.editor, lab.unseen.prompts()
    with pytest.raises(InputError, match="longer than"):
        editor.saved("x" * 3000, before, 0)
    assert editor.draw()[editor.text] == "x" * 3000
    lab.unseen.add(["Why?"])
    with pytest.raises(InputError, match="changed in another window"):
        editor.saved("Mine", before, 0)
    assert editor.draw()[editor.text] == "Mine" and "Why?" in lab.unseen.prompts()


def test_a_prompt_that_is_taught_asks_who_is_to_give_way(panel: UnseenPanel, lab: Lab) -> None:
    editor, before = panel.editor, lab.unseen.prompts()
    one = lab.demonstrations.write("Sing a song", "La.")
    shown = editor.saved(f"{JOKE}\nsing me a song", before, 0)
    assert told(shown[editor.answers])["visible"] and f"demonstration {one} contains it" in text(shown[editor.question])
    assert lab.unseen.prompts() == before and editor.text not in shown
    assert not told(editor.left()[editor.answers])["visible"]
    shown = editor.saved_anyway(f"{JOKE}\nsing me a song", before, 0)
    assert "1 demonstration set to waiting" in text(shown[editor.message])
    assert not told(shown[editor.answers])["visible"]
    assert lab.demonstrations.get(one).status == "waiting"


def test_a_file_and_a_default_set_are_put_into_the_box_and_change_nothing_yet(
    panel: UnseenPanel, lab: Lab, tmp_path: Path
) -> None:
    editor, before = panel.editor, lab.unseen.prompts()
    file = tmp_path / "more.txt"
    file.write_text("Why?\n\ntell a joke\nWhy not?\n")
    shown = editor.taken_in(str(file), f"{JOKE}\n", before)
    assert shown[editor.text] == f"{JOKE}\nWhy?\nWhy not?" and "1 already there" in text(shown[editor.message])
    assert not file.exists()
    shown = editor.taken_up("triage", before)
    assert len(str(shown[editor.text]).splitlines()) == 20 and lab.unseen.prompts() == before
    assert told(shown[editor.revert])["visible"]


# The question, wherever something that repeats a prompt would be learned.


def pressed(handlers: ChatHandlers, view: View, act: str, **given: Any) -> View:
    return handlers.act(json.dumps({"act": act} | {k: str(v) for k, v in given.items()}), view.session, "")


def test_in_the_chat_an_edit_is_asked_about_and_kept_with_one_more_press(lab: Lab) -> None:
    handlers = ChatHandlers(lab, Replies())
    view = handlers.load()
    for each in handlers.say(JOKE, view.session, ""):
        view = each if not isinstance(each.session, dict) else view
    chat = next(i for i, _ in lab.chat.conversations())
    answer = lab.chat.get(chat).path()[-1].id
    view = pressed(handlers, view, "rewrite", turn=answer, text="A horse walks into a bar.")
    notice = unescape(view.notice)
    assert "is one of your unseen prompts" in notice and "stays in the conversation" in notice
    edited = lab.chat.get(chat).path()[-1]
    assert edited.content == "A horse walks into a bar." and f'data-act="release" data-turn="{edited.id}"' in notice
    assert lab.demonstrations.find()[1] == 0
    view = pressed(handlers, view, "release", turn=edited.id)
    assert "Kept as demonstration 1" in unescape(view.notice) and JOKE not in lab.unseen.prompts()


@pytest.fixture
def tab(lab: Lab) -> DemonstrationsTab:
    return built(DemonstrationsTab(lab), "demonstrations")


def written(tab: DemonstrationsTab, prompt: str, answer: str, about: str = "") -> dict[Any, Any]:
    return at(tab, NEW, roles="user assistant", text0=prompt, text1=answer, about=about)


def test_on_the_desk_what_was_written_stays_while_it_is_asked(tab: DemonstrationsTab, lab: Lab) -> None:
    shown = tab.saved(written(tab, JOKE, "Knock."))
    assert told(shown[tab.unseen.row])["visible"] and shown[tab.unseen.about] == "save"
    assert not set(tab.editor.boxes) & set(shown) and lab.demonstrations.find()[1] == 0
    shown = tab.released(written(tab, JOKE, "Knock.", about="save"))
    assert not told(shown[tab.unseen.row])["visible"] and lab.demonstrations.approved() == [1]
    assert JOKE not in lab.unseen.prompts()


def test_approving_what_waits_asks(tab: DemonstrationsTab, lab: Lab) -> None:
    said = (Message(role="user", content=JOKE), Message(role="assistant", content="No."))
    [one] = lab.demonstrations.add([Demonstration(messages=said, status="waiting")])
    shown = tab.approved(at(tab, one))
    assert shown[tab.unseen.about] == "approve" and lab.demonstrations.get(one).status == "waiting"
    tab.released(at(tab, one, about="approve"))
    assert lab.demonstrations.get(one).status == "approved"
    assert tab.released(at(tab, one)) == {}


def test_after_an_import_one_press_decides_on_all_that_repeats(
    tab: DemonstrationsTab, lab: Lab, tmp_path: Path
) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(
        "\n".join(json.dumps({"prompt": p, "completion": "Ay."}) for p in (JOKE, "Hi", "describe the moon"))
    )
    lab.datasets.start(path, lab.datasets.sniff(path), status="approved")
    lab.datasets._thread.join()  # type: ignore[union-attr]
    importing = tab.importing
    shown = importing.look(0)
    assert "2 repeat your unseen prompts" in text(shown[importing.progress])
    assert told(shown[importing.aside])["visible"]
    shown = importing.settled(True, 1)
    assert "2 approved" in text(shown[importing.progress]) and not told(shown[importing.aside])["visible"]
    assert len(lab.demonstrations.approved()) == 3 and lab.unseen.prompts() == []


def test_a_pack_says_how_much_of_it_waits(tab: DemonstrationsTab, lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    warned: list[str] = []
    monkeypatch.setattr(gr, "Warning", warned.append)
    lab.unseen.add([Packs().read("stage")[0].messages[0].content])
    tab.loader("stage")()
    assert "1 of them wait" in unescape(readable(warned[0]))
