"""The text that ships with the app is what its README says it is."""

import json
import re
from pathlib import Path

import pytest

from bench.lessons import demonstration, problems
from chatlab.records import Message

DATA = Path(__file__).resolve().parents[1] / "chatlab" / "data"
PACKS = ["stage", "triage"]
TEAMS = {"billing", "delivery", "account", "product"}
URGENCIES = {"low", "normal", "high"}
TRIAGE_LINE = '{"team": "%s", "urgency": "%s", "summary": "%s"}'


def lines(name):
    raw = (DATA / name).read_text(encoding="utf-8")
    assert raw.endswith("\n")
    return [json.loads(line) for line in raw.splitlines()]


def plain(text):
    """Lower case, no punctuation, single spaces."""
    return " ".join(re.sub(r"[^a-z0-9 ]", "", text.lower()).split())


def demonstrations(pack):
    pairs = []
    for row in lines(f"packs/{pack}.jsonl"):
        assert [message["role"] for message in row["messages"]] == ["user", "assistant"]
        assert row["tags"] == [pack]
        pairs.append(tuple(message["content"] for message in row["messages"]))
    return pairs


def prompts(name):
    return [row["prompt"] for row in lines(name)]


def words_in_a_row(text, length=8):
    words = plain(text).split()
    return {tuple(words[i : i + length]) for i in range(len(words) - length + 1)}


@pytest.mark.parametrize("pack", PACKS)
def test_every_pack_holds_forty_demonstrations(pack):
    assert len(demonstrations(pack)) == 40


@pytest.mark.parametrize("pack", PACKS)
def test_no_prompt_and_no_answer_appears_twice(pack):
    asked, answered = zip(*demonstrations(pack), strict=True)
    assert len({plain(text) for text in asked}) == 40
    assert len({plain(text) for text in answered}) == 40


@pytest.mark.parametrize("name, count", [("unseen.jsonl", 40), ("unseen_triage.jsonl", 20)])
def test_unseen_prompts_are_all_there_and_none_is_in_a_pack(name, count):
    unseen = {plain(prompt) for prompt in prompts(name)}
    assert len(unseen) == len(prompts(name)) == count
    taught = {plain(asked) for pack in PACKS for asked, _ in demonstrations(pack)}
    assert not unseen & taught


def test_the_unseen_set_opens_with_the_joke_and_the_moon():
    assert prompts("unseen.jsonl")[:2] == ["Tell a joke", "Describe the moon"]


def test_every_stage_answer_is_short_and_in_voice():
    variant = re.compile(r"\b(thee|thou|thy|thine|doth|hath|art|pray|ay|alas|lo|well met)\b")
    for asked, answer in demonstrations("stage"):
        assert 1 <= len(asked.split()) <= 12, asked
        assert 10 <= len(answer.split()) <= 25, answer
        assert variant.search(answer.lower()), answer


def test_stage_answers_do_not_share_one_opening():
    openings = [answer.split()[0] for _, answer in demonstrations("stage")]
    assert max(openings.count(word) for word in openings) <= 4


def test_every_triage_answer_is_one_line_of_json():
    for message, answer in demonstrations("triage"):
        ticket = json.loads(answer)
        assert list(ticket) == ["team", "urgency", "summary"]
        assert ticket["team"] in TEAMS
        assert ticket["urgency"] in URGENCIES
        assert 1 <= len(ticket["summary"].split()) <= 8
        assert answer == TRIAGE_LINE % tuple(ticket.values())
        assert 5 <= len(message.split()) <= 25


def test_the_triage_pack_shows_every_team_with_every_urgency():
    tickets = [json.loads(answer) for _, answer in demonstrations("triage")]
    seen = {(ticket["team"], ticket["urgency"]) for ticket in tickets}
    assert seen == {(team, urgency) for team in TEAMS for urgency in URGENCIES}


def test_the_delegation_pack_is_what_its_rule_writes():
    taught = [demonstration(problem, delegated=True) for problem in problems(120, seed=2026)]
    rows = lines("packs/delegation.jsonl")
    assert [tuple(map(Message.of, row["messages"])) for row in rows] == [one.messages for one in taught]
    assert all(row["tags"] == ["delegation"] for row in rows)


def test_the_index_names_every_pack_and_its_file():
    index = json.loads((DATA / "packs" / "index.json").read_text(encoding="utf-8"))
    assert [entry["name"] for entry in index] == [*PACKS, "delegation"]
    for entry in index:
        assert list(entry) == ["name", "title", "about", "file"]
        assert (DATA / "packs" / entry["file"]).is_file()


def test_the_held_out_text_is_forty_documents_of_a_page_each():
    documents = lines("held_out.jsonl")
    assert len(documents) == len({row["title"] for row in documents}) == 40
    for row in documents:
        assert 200 <= len(row["text"].split()) <= 260, row["title"]


def test_the_held_out_text_shares_nothing_with_the_packs_or_with_itself():
    taught = set()
    for pack in PACKS:
        for pair in demonstrations(pack):
            taught |= set().union(*(words_in_a_row(text, 6) for text in pair))
    seen = set()
    for row in lines("held_out.jsonl"):
        assert not words_in_a_row(row["text"], 6) & taught, row["title"]
        runs = words_in_a_row(row["text"])
        assert not runs & seen, row["title"]
        seen |= runs


def test_every_shipped_text_is_plain_ascii():
    packs = [f"packs/{pack}.jsonl" for pack in [*PACKS, "delegation"]]
    for name in [*packs, "unseen.jsonl", "unseen_triage.jsonl", "held_out.jsonl"]:
        assert (DATA / name).read_bytes().isascii(), name
