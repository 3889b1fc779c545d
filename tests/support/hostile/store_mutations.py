"""A home that was lived in, and its files altered at random with every checksum made right again."""

from __future__ import annotations

import copy
import json
import random
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson

from chatlab.conversation import Budget
from chatlab.engines.base import Sampling
from chatlab.engines.fake import FakeEngine
from chatlab.lab import Lab
from chatlab.lab.chat.reply_stream import ReplyOptions
from chatlab.records import Provenance, Vote
from chatlab.settings import Settings
from chatlab.store.disk import Files
from chatlab.store.snapshot import decode_snapshot

DEEP = re.compile(rb'"nested ([0-9]+)"')
"""Stands for so many lists in one another: nothing of Python's own could copy them."""


JUNK: tuple[Any, ...] = (
    None,
    True,
    False,
    0,
    1,
    2,
    7,
    -1,
    -(2**63),
    2**31,
    2**53,
    2**63,
    "number 1" + "0" * 40,
    0.5,
    -1e300,
    1e300,
    "",
    "x",
    "base",
    "1",
    "-1",
    "\0",
    "\x1b[2J",
    "\u202e\u2028",
    "<b>&",
    "user",
    "2026-13-40T99:99",
    "long " * 20_000,
    [],
    {},
    [[]],
    [None],
    [0],
    ["x"],
    [1, 2],
    {"": None},
    {"1": {}},
    {"a": 1},
    [{"id": 0}],
    [["a", "b"]],
    "nested 60",
    "nested 240",
    "nested 252",
    "nested 400",
    "nested 1500",
    list(range(3000)),
)
"""Of every kind that JSON has."""


def lived_in(settings: Settings) -> Path:
    """A home with something of everything that the store keeps; its store's folder. Closed again."""
    lab = Lab(settings, open_engine=lambda base: FakeEngine())
    chat, sampling = lab.chat, Sampling(seed=1)
    for title in ("Whales", "The sea"):
        id = chat.new("You are {name}.", wording="You are {name}.", budget=Budget(answer=64, thinking=8))
        chat.reply(id, f"Tell me of {title}", ReplyOptions(sampling=sampling)).finish()
        chat.reply(id, "And then?", ReplyOptions(sampling=sampling)).finish()
        chat.retry(id, 3, ReplyOptions(sampling=sampling)).finish()
        chat.rate(id, 3, False, ["too long"])
        lab.demonstrations.keep(id, 1, "As it should be.")
        chat.show(id, 1)
        chat.set_system(id, "Be brief.")
    lab.demonstrations.load_pack("stage")
    lab.unseen.prompts()
    lab.annotators.call("Ann")
    lab.annotators.judge(1, 4, "Fine")
    lab.system_messages.save("Mine", "You are {name}, made by {maker}.")
    lab.system_messages.set_values("Bard", "me")
    base = lab.machine.base.fingerprint
    provenances = (
        Provenance(base=base, tokens=3, seconds=0.5),
        Provenance(adapter="stage", sha256="ab" * 32, base=base),
    )
    asked = lab.demonstrations.get(1).prompt
    for verdict, winner in (("best", 0), ("best", 1), ("tie", None), ("both bad", None)):
        lab.store.votes.add(
            Vote(prompt=asked, answers=("a", "b"), provenances=provenances, verdict=verdict, winner=winner)  # type: ignore[arg-type]
        )
    state = lab.store.state
    state.set("live", ["base", "stage", "base"])
    state.set("budgets", {"": [64, 8], "bob": [32, 0]})
    state.set("dismissed findings", ["one", "two"])
    state.set("compare", ["base", "stage"])
    state.set("compare typed", {"prompt": "Who goes there?", "system": ""})
    state.set("wanted demonstration", 2)
    state.set("last import", {"name": "rows.jsonl", "demonstrations": [[1, 2]], "preferences": [[1, 1]]})
    state.set("audit", {"at": "ab", "found": ["one"], "more": 0})
    state.set("unseen variants", ["base"])
    state.set("unseen draft", {"text": "One\nTwo", "before": ["One"]})
    state.set("drafts", {"1": {"system": "", "tags": "a", "roles": ["user", "assistant"], "texts": ["q", "a"]}})
    lab.close()
    return settings.store


def held(folder: Path) -> tuple[dict[str, Any], list[Any]]:
    """What the snapshot of a closed store holds, and the same as the items of a journal's lines."""
    snapshot = decode_snapshot(Files(folder).snapshot.read_bytes())
    items: list[Any] = [[0, {}, {"format": 1}]]
    for name, table in snapshot.tables.items():
        for id, document in table.items():
            items.append([len(items), {name: {id: document}}])
    return {"tables": snapshot.tables, "seq": snapshot.seq, "format": snapshot.format, "next": snapshot.next}, items


def mutated(value: Any, rng: random.Random, most: int = 3) -> Any:
    """A copy with some places altered: replaced by junk or by another part of it, taken out, doubled or moved."""
    value = copy.deepcopy(value)
    for _ in range(rng.randint(1, most)):
        holder, key = rng.choice(list(_places(value)))
        match rng.randrange(8):
            case 0:
                del holder[key]
            case 1:
                other, at = rng.choice(list(_places(value)) or [(holder, key)])
                holder[key] = copy.deepcopy(other[at])
            case 2 if isinstance(holder, list):
                holder.insert(rng.randrange(len(holder) + 1), copy.deepcopy(holder[key]))
            case 2 | 3 if isinstance(holder, dict):
                holder[rng.choice(["0", "-1", "01", "1", "x", "", "_meta", str(2**53), str(2**64), "head", "id"])] = (
                    holder.pop(key)
                )
            case 4 if type(holder[key]) is int:
                holder[key] += rng.choice([-1, 1, 2, -100, 2**40])
            case _:
                holder[key] = copy.deepcopy(rng.choice(JUNK))
        if not list(_places(value)):
            break
    return value


def _places(value: Any, depth: int = 0) -> Iterator[tuple[Any, Any]]:
    """Whatever can be altered, as (holder, key). Not far into what was put there to be deep."""
    if depth > 12:
        return
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in list(items)[:200]:
        yield value, key
        yield from _places(inner, depth + 1)


def line(item: Any) -> bytes:
    """A journal line of any JSON at all, its checksum right."""
    body = as_json(item)
    return b"%08x %s\n" % (zlib.crc32(body), body)


def sealed(tables: Any, meta: Any) -> bytes:
    """A snapshot of any JSON at all, its seal right."""
    whole, first = as_json(tables), as_json(meta)
    rest = b"," + whole[1:] if whole[:1] == b"{" and whole != b"{}" else b"}"
    return b'{"_meta":{"1":%s,"crc":"%08x"}}\n%s' % (first[:-1], zlib.crc32(rest, zlib.crc32(first)), rest)


def as_json(value: Any) -> bytes:
    """With what stands for deep nesting and for numbers beyond 64 bits written out."""
    try:
        plain = orjson.dumps(value)
    except TypeError:  # a whole number beyond 64 bits, which JSON may hold and this writer does not
        plain = json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass")
    text = DEEP.sub(lambda found: b"[" * int(found[1]) + b"1" + b"]" * int(found[1]), plain)
    return re.sub(rb'"number (10+)"', rb"\1", text)
