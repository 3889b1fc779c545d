"""Several people and one store: whoever restores a backup puts back what is theirs, and nobody else's words."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from chatlab.engines.base import Sampling
from chatlab.engines.fake import FakeEngine
from chatlab.errors import NotFound, StoreError
from chatlab.lab import Lab
from chatlab.lab.chat.reply_stream import ReplyOptions
from chatlab.settings import Settings
from tests.support.hostile.store_mutations import as_json
from tests.support.served import site
from tests.web.test_wire import Tab

ANNA, BEN = ("anna", "anna's long password"), ("ben", "ben's long pass:word")
OWNERS = {"": ANNA, "ben": BEN}


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return replace(settings, auth=(ANNA, BEN))


@pytest.fixture
def lab(settings: Settings) -> Iterator[Lab]:
    lab = Lab(settings, open_engine=lambda base: FakeEngine(script=lambda *_: "Good morrow"))
    yield lab
    lab.close()


def talked(lab: Lab, owner: str, text: str) -> int:
    id = lab.chat.new(owner=owner)
    lab.chat.reply(id, text, ReplyOptions(sampling=Sampling(seed=1))).finish()
    return id


def titles(lab: Lab, owner: str) -> list[str]:
    return sorted(talk.title for _, talk in lab.chat.conversations(owner=owner))


class Panel(Tab):
    """One person's fold "Backups", pressed over HTTP."""

    def press(self, button: str, event: str = "click", **given: object) -> list:
        (call,) = (c for c in self.calls.values() if [self.ids[button], event] in c["targets"])
        self.send(call["api_name"], **given)
        return self.result()

    def restore(self, name: str) -> None:
        self.press("backups", "expand")
        self.press("backups-sure", backups_kept=name)


@pytest.mark.parametrize("owner", ["", "ben"])
def test_a_restore_over_http_leaves_the_other_persons_conversations_as_they_are(
    lab: Lab, settings: Settings, owner: str
) -> None:
    other = "ben" if owner == "" else ""
    mine, theirs, gone = talked(lab, owner, "mine before"), talked(lab, other, "theirs"), talked(lab, other, "gone")
    lab.demonstrations.write("Who goes there?", "before")
    backup = lab.backups.make()
    lab.chat.rename(mine, "mine spoilt")
    late = talked(lab, owner, "mine after")
    lab.chat.rename(theirs, "theirs renamed")
    new = talked(lab, other, "theirs after")
    lab.chat.delete(gone)
    lab.demonstrations.write("Who goes there?", "after")
    kept = {id: lab.chat.get(id) for id in (theirs, new)}
    with site(lab, settings) as address:
        panel = Panel(address, f"of-{owner}", OWNERS[owner])
        panel.restore(backup.name)
        assert titles(lab, owner) == ["mine before"], "what was theirs is as it was"
        assert dict(lab.chat.conversations(owner=other)) == kept, "made, renamed and deleted since"
        answers = [one.answer for _, one in lab.store.demonstrations.rows()]
        shared = ["before"] if owner == "" else ["before", "after"]
        assert answers == shared, "what all share is the house's to restore"
        talked(lab, other, "theirs between")
        Panel(address, f"of-other-{owner}", OWNERS[other]).press("backups-undo")
        assert titles(lab, owner) == ["mine before"], "nobody undoes another's restore"
        panel.press("backups-undo")
    assert titles(lab, owner) == ["mine after", "mine spoilt"] and late in lab.store.conversations
    assert titles(lab, other) == ["theirs after", "theirs between", "theirs renamed"]
    assert talked(lab, owner, "new") > new, "an id is not used again"


def test_a_demonstration_that_anothers_conversation_refers_to_outlives_a_restore(lab: Lab) -> None:
    backup = lab.backups.make()
    lab.demonstrations.write("Who goes there?", "shared")
    theirs = talked(lab, "ben", "Say something good")
    demonstration = lab.demonstrations.keep(theirs, 1).demonstration
    lab.budgets.use(lab.budgets.last("ben").__class__(answer=99), "ben")
    lab.backups.restore(backup.name)
    assert [id for id, _ in lab.store.demonstrations.rows()] == [demonstration]
    assert lab.chat.get(theirs).turns[1].demonstration == demonstration
    assert lab.budgets.last("ben").answer == 99, "what somebody chose for themselves is not another's to restore"
    lab.backups.undo()
    assert len(lab.store.demonstrations) == 2


def test_each_undoes_their_own_restore_and_only_once(lab: Lab) -> None:
    talked(lab, "ben", "one")
    backup = lab.backups.make()
    talked(lab, "ben", "two")
    lab.backups.restore(backup.name, "ben")
    assert lab.backups.undoable("ben") and not lab.backups.undoable("")
    with pytest.raises(NotFound):
        lab.backups.undo("")
    lab.backups.undo("ben")
    assert titles(lab, "ben") == ["one", "two"] and not lab.backups.undoable("ben")
    with pytest.raises(NotFound):
        lab.backups.undo("ben")


def test_a_conversation_whose_owner_cannot_be_read_is_left_alone(lab: Lab) -> None:
    mine = talked(lab, "", "mine")
    backup = lab.backups.make()
    table = lab.store.db.table("conversations")
    table.update({"owner": ["ben"]}, doc_ids=[mine])
    lab.backups.restore(backup.name)
    assert table.get(doc_id=mine)["owner"] == ["ben"]  # type: ignore[index,call-overload]


@pytest.mark.parametrize(
    "content",
    [
        [],
        {"conversations": []},
        {"demonstrations": {"1": "text"}},
        {"conversations": {"one": {}}},
        {"conversations": {"1": {"a": "nested 400"}}},
        {"_meta": {"1": {"format": "x", "seq": 1, "next": {}}}},
        {"_meta": {"1": {"format": 9, "seq": 1, "next": {}}}},
        {"_meta": 3, "state": {"1": {}}},
        "text",
        None,
    ],
    ids=str,
)
def test_a_backup_that_was_tampered_with_is_refused_in_words(lab: Lab, content: object) -> None:
    talked(lab, "ben", "theirs")
    talked(lab, "", "mine")
    backup = lab.backups.make()
    (lab.settings.store / "backups" / backup.name).write_bytes(as_json(content))
    for owner in ("", "ben"):
        with pytest.raises(StoreError) as refused:
            lab.backups.restore(backup.name, owner)
        assert refused.value.hint and any(word in str(refused.value) for word in (backup.name, "newer Chatlab"))
    assert titles(lab, "") == ["mine"] and titles(lab, "ben") == ["theirs"]
