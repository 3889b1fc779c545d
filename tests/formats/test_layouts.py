"""Layouts that data sets come in: each is read for what its rows mean, and nothing disliked is learned."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from chatlab.formats import DatasetReader, Imported, Outcome, Prompt, Refused, sniff
from chatlab.records import Demonstration, Preference

ASKED, WREN = {"role": "user", "content": "Name a bird."}, {"role": "assistant", "content": "A wren."}
DOG = {"role": "assistant", "content": "A dog."}
TURNS = [("user", "Name a bird."), ("assistant", "A wren.")]
FOUR = [*TURNS, ("user", "Another?"), ("assistant", "A tit.")]


def read(tmp_path: Path, *rows: Any, text: str = "") -> list[Outcome]:
    path = tmp_path / "rows.jsonl"
    path.write_text(text or "\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    return list(DatasetReader(path, sniff(path)))


def said(outcome: Outcome) -> list[tuple[str, str]]:
    assert isinstance(outcome, Imported), outcome
    assert isinstance(outcome.record, Demonstration)
    return [(message.role, message.content) for message in outcome.record.messages]


def pair(outcome: Outcome) -> tuple[list[str], str, str]:
    assert isinstance(outcome, Imported), outcome
    assert isinstance(outcome.record, Preference)
    return [m.content for m in outcome.record.prompt], outcome.record.chosen, outcome.record.rejected


SYSTEM = [("system", "Be kind."), *TURNS]
ROWS: dict[str, tuple[dict[str, Any], list[tuple[str, str]]]] = {
    "Cohere's roles": (
        {"messages": [{"role": "User", "content": "Name a bird."}, {"role": "Chatbot", "content": "A wren."}]},
        TURNS,
    ),
    "Bedrock": (
        {
            "system": [{"text": "Be kind."}],
            "messages": [
                {"role": "user", "content": [{"text": "Name a bird."}]},
                {"role": "assistant", "content": [{"text": "A "}, {"text": "wren."}]},
            ],
        },
        SYSTEM,
    ),
    "Gemini": (
        {
            "systemInstruction": {"role": "system", "parts": [{"text": "Be kind."}]},
            "contents": [
                {"role": "user", "parts": [{"text": "Name a bird."}]},
                {"role": "model", "parts": [{"text": "Birds ...", "thought": True}, {"text": "A wren."}]},
            ],
        },
        SYSTEM,
    ),
    "Anthropic": (
        {
            "system": [{"type": "text", "text": "Be kind."}],
            "messages": [
                {"role": "user", "content": [{"type": "text", "text": "Name a bird."}]},
                {
                    "role": "assistant",
                    "content": [{"type": "thinking", "thinking": "..."}, {"type": "text", "text": "A wren."}],
                },
            ],
        },
        SYSTEM,
    ),
    "OpenAI's later parts": (
        {
            "messages": [
                {"role": "developer", "content": [{"type": "input_text", "text": "Be kind."}]},
                {"role": "user", "content": [{"type": "input_text", "text": "Name a bird."}]},
                {"role": "assistant", "content": [{"type": "output_text", "text": "A wren."}]},
            ]
        },
        SYSTEM,
    ),
    "LLaMA-Factory v1": (
        {
            "messages": [
                {"role": "user", "content": [{"type": "text", "value": "Name a bird."}], "loss_weight": 0.0},
                {"role": "assistant", "content": [{"type": "text", "value": "A wren."}], "loss_weight": 1.0},
            ]
        },
        TURNS,
    ),
    "UltraChat": ({"id": "0", "data": ["Name a bird.", "A wren.", "Another?", "A tit."]}, FOUR),
    "DailyDialog": ({"dialog": ["Name a bird.", "A wren."], "act": [1, 2], "emotion": [0, 0]}, TURNS),
    "Capybara": (
        {
            "source": "x",
            "conversation": [
                {"input": "Name a bird.", "output": "A wren."},
                {"input": "Another?", "output": "A tit."},
            ],
        },
        FOUR,
    ),
    "ms-swift": ({"system": "Be kind.", "conversation": [{"human": "Name a bird.", "assistant": "A wren."}]}, SYSTEM),
    "JSON in a cell": ({"messages": json.dumps([ASKED, WREN])}, TURNS),
    "as pandas prints it": ({"conversations": str([ASKED, WREN])}, TURNS),
    "Schema-Guided Dialogue": (
        {
            "dialogue_id": "1_0",
            "services": ["Birds_1"],
            "turns": [
                {"speaker": "USER", "utterance": "Name a bird.", "frames": [{"service": "Birds_1"}]},
                {"speaker": "SYSTEM", "utterance": "A wren.", "frames": []},
            ],
        },
        TURNS,
    ),
    "Claude's export": (
        {
            "uuid": "6f",
            "name": "Birds",
            "chat_messages": [{"sender": "human", "text": "Name a bird."}, {"sender": "assistant", "text": "A wren."}],
        },
        TURNS,
    ),
    "ChatGPT's export": (
        {
            "title": "Birds",
            "mapping": {
                "r": {"message": None, "parent": None, "children": ["a"]},
                "a": {
                    "message": {
                        "author": {"role": "user"},
                        "content": {"content_type": "text", "parts": ["Name a bird."]},
                    },
                    "parent": "r",
                    "children": ["b", "c"],
                },
                "b": {
                    "message": {
                        "author": {"role": "assistant"},
                        "content": {"content_type": "text", "parts": ["A dog."]},
                    },
                    "parent": "a",
                    "children": [],
                },
                "c": {
                    "message": {
                        "author": {"role": "assistant"},
                        "content": {"content_type": "text", "parts": ["A wren."]},
                    },
                    "parent": "a",
                    "children": [],
                },
            },
        },
        TURNS,
    ),
    "an Open Assistant tree": (
        {
            "message_tree_id": "t",
            "tree_state": "ready_for_export",
            "prompt": {
                "text": "Name a bird.",
                "role": "prompter",
                "replies": [
                    {"text": "A dog.", "role": "assistant", "rank": 1, "replies": []},
                    {"text": "Buy now!", "role": "assistant", "rank": 0, "deleted": True, "replies": []},
                    {
                        "text": "A wren.",
                        "role": "assistant",
                        "rank": 0,
                        "replies": [{"text": "Ta.", "role": "prompter", "replies": []}],
                    },
                ],
            },
        },
        TURNS,
    ),
    "SQuAD": (
        {
            "context": "Wrens sing.",
            "question": "Who sings?",
            "answers": {"text": ["Wrens", "Wrens"], "answer_start": [0, 0]},
        },
        [("user", "Who sings?\n\nWrens sing."), ("assistant", "Wrens")],
    ),
}


@pytest.mark.parametrize("name", ROWS)
def test_a_layout_is_read_for_what_it_means(name: str, tmp_path: Path) -> None:
    row, wanted = ROWS[name]
    first, second = read(tmp_path, row, row)
    assert said(first) == said(second) == wanted


TEXTS = {
    "Guanaco": "### Human: Name a bird.### Assistant: A wren.### Human: Another?### Assistant: A tit.",
    "Guanaco on lines": "### Human:\nName a bird.\n\n### Assistant:\nA wren.\n\n### Human: Another?\n"
    "### Assistant: A tit.</s>",
    "ChatML": "<|im_start|>user\nName a bird.<|im_end|>\n<|im_start|>assistant\nA wren.<|im_end|>\n"
    "<|im_start|>user\nAnother?<|im_end|>\n<|im_start|>assistant\nA tit.<|im_end|>",
    "Llama 2": "<s>[INST] Name a bird. [/INST] A wren. </s><s>[INST] Another? [/INST] A tit. </s>",
    "Llama 3": "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\nName a bird.<|eot_id|>"
    "<|start_header_id|>assistant<|end_header_id|>\n\nA wren.<|eot_id|><|start_header_id|>user<|end_header_id|>\n\n"
    "Another?<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\nA tit.<|eot_id|>",
    "Gemma": "<bos><start_of_turn>user\nName a bird.<end_of_turn>\n<start_of_turn>model\nA wren.<end_of_turn>\n"
    "<start_of_turn>user\nAnother?<end_of_turn>\n<start_of_turn>model\nA tit.<end_of_turn>\n",
    "Zephyr": "<|user|>\nName a bird.</s>\n<|assistant|>\nA wren.</s>\n"
    "<|user|>\nAnother?</s>\n<|assistant|>\nA tit.</s>",
    "OIG": "<human>: Name a bird.\n<bot>: A wren.\n<human>: Another?\n<bot>: A tit.",
    "Vicuna": "USER: Name a bird. ASSISTANT: A wren.</s>USER: Another? ASSISTANT: A tit.</s>",
    "names on lines": "User: Name a bird.\nAssistant: A wren.\nUser: Another?\nAssistant: A tit.",
    "HH": "\n\nHuman: Name a bird.\n\nAssistant: A wren.\n\nHuman: Another?\n\nAssistant: A tit.",
}


@pytest.mark.parametrize("name", TEXTS)
def test_a_conversation_in_one_text_is_told_apart_by_who_speaks(name: str, tmp_path: Path) -> None:
    for column in ("text", "chat"):
        first, _ = read(tmp_path, *[{"id": 1, column: TEXTS[name]}] * 2)
        assert said(first) == FOUR


def test_an_instruction_in_one_text_has_its_preface_and_its_input(tmp_path: Path) -> None:
    text = "Be kind.\n\n### Instruction:\nName a bird.\n\n### Input:\nA small one.\n\n### Response:\nA wren."
    (first,) = read(tmp_path, {"text": text})
    assert said(first) == [("system", "Be kind."), ("user", "Name a bird.\n\nA small one."), ("assistant", "A wren.")]


def test_a_text_that_only_mentions_who_speaks_is_no_conversation(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    prose = "A play has lines.\nUser: says one.\nAssistant: another."
    path.write_text("\n".join(json.dumps({"text": text}) for text in (prose, "Rain fell.", "It was late.")))
    assert not sniff(path).sure


PAIRS: dict[str, dict[str, Any]] = {
    "ShareGPT": {
        "conversations": [{"from": "human", "value": "Name a bird."}],
        "chosen": {"from": "gpt", "value": "A wren."},
        "rejected": {"from": "gpt", "value": "A dog."},
    },
    "OpenAI": {
        "input": {"messages": [ASKED], "tools": [], "parallel_tool_calls": True},
        "preferred_output": [WREN],
        "non_preferred_output": [DOG],
    },
    "LLaMA-Factory v1": {"chosen_messages": [ASKED, WREN], "rejected_messages": [ASKED, DOG]},
    "ms-swift": {"messages": [ASKED, WREN], "rejected_response": "A dog."},
    "an answer and a rejected one": {"prompt": "Name a bird.", "response": "A wren.", "rejected_response": "A dog."},
    "JSON in cells": {"chosen": json.dumps([ASKED, WREN]), "rejected": json.dumps([ASKED, DOG])},
    "an arena": {
        "model_a": "x",
        "model_b": "y",
        "winner": "model_b",
        "conversation_a": [ASKED, DOG],
        "conversation_b": [ASKED, WREN],
    },
    "SafeRLHF": {"prompt": "Name a bird.", "response_0": "A dog.", "response_1": "A wren.", "better_response_id": 1},
    "SHP": {"history": "Name a bird.", "human_ref_A": "A wren.", "human_ref_B": "A dog.", "labels": 1},
    "HelpSteer": {"context": [ASKED], "response1": "A wren.", "response2": "A dog.", "overall_preference": -2},
}


@pytest.mark.parametrize("name", PAIRS)
def test_two_answers_of_which_one_is_better_are_a_preference(name: str, tmp_path: Path) -> None:
    first, _ = read(tmp_path, PAIRS[name], PAIRS[name])
    assert pair(first) == (["Name a bird."], "A wren.", "A dog.")


def test_answers_that_are_json_stay_texts(tmp_path: Path) -> None:
    (first,) = read(tmp_path, {"prompt": "[1]", "chosen": '{"bird": "wren"}', "rejected": '["dog"]'})
    assert pair(first) == (["[1]"], '{"bird": "wren"}', '["dog"]')


def test_where_nobody_says_which_of_two_answers_is_better_none_is_learned(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps({"prompt": "Name a bird.", "response_a": "A dog.", "response_b": "A wren."}))
    proposal = sniff(path)
    assert not proposal.sure and proposal.columns.missing() == ("Which is better",)
    row = {"prompt": "Name a bird.", "response_a": "A dog.", "response_b": "A wren.", "winner": "tie"}
    (tie,) = read(tmp_path, row)
    assert isinstance(tie, Refused) and "which of its two answers" in tie.reason


DISLIKED: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "TRL": ({"label": True}, {"label": False}),
    "LLaMA-Factory": ({"kto_tag": True}, {"kto_tag": False}),
    "words": ({"label": "good"}, {"label": "bad"}),
    "thumbs": ({"feedback": "thumbs up"}, {"feedback": "thumbs_down"}),
    "signs": ({"rating": 1}, {"rating": -1}),
    "stars": ({"rating": 5}, {"rating": 2}),
    "stars as text": ({"stars": "4"}, {"stars": "1"}),
    "marks": ({"score": 8.5}, {"score": 4}),
    "a column of right and wrong": ({"is_correct": True}, {"is_correct": False}),
    "accepted": ({"accepted": "yes"}, {"accepted": "no"}),
    "quality": ({"quality": "good"}, {"quality": "poor"}),
    "marks of quality": ({"quality": 5}, {"quality": 1}),
    "a status": ({"status": "approved"}, {"status": "rejected"}),
    "positive and negative": ({"label": "positive"}, {"label": "negative"}),
    "a weight": ({"weight": 1}, {"weight": 0}),
}


@pytest.mark.parametrize("name", DISLIKED)
@pytest.mark.parametrize("words", ["messages", "prompt"])
def test_a_disliked_answer_is_never_a_demonstration(name: str, words: str, tmp_path: Path) -> None:
    spoken = (
        ({"messages": [ASKED, WREN]}, {"messages": [ASKED, DOG]})
        if words == "messages"
        else ({"prompt": "Name a bird.", "completion": "A wren."}, {"prompt": "Name a bird.", "completion": "A dog."})
    )
    up, down = ({**text, **verdict} for text, verdict in zip(spoken, DISLIKED[name], strict=True))
    for rows in ([up, down, up], [down, up, down]):
        outcomes = read(tmp_path, *rows)
        for row, outcome in zip(rows, outcomes, strict=True):
            if row is up:
                assert said(outcome) == TURNS
            else:
                assert isinstance(outcome, Refused) and "disliked" in outcome.reason


def test_a_label_that_says_what_a_row_is_about_is_no_verdict(tmp_path: Path) -> None:
    (first,) = read(tmp_path, {"messages": [ASKED, WREN], "label": "birds"})
    assert said(first) == TURNS


@pytest.mark.parametrize("field", [{"weight": 0}, {"loss_weight": 0.0}, {"train": False}, {"rating": -1}])
def test_an_answer_of_weight_nought_is_read_and_not_learned(field: dict[str, Any], tmp_path: Path) -> None:
    more = [{"role": "user", "content": "Sure?"}, {"role": "assistant", "content": "No: a wren.", "weight": 1}]
    whole, alone, cut = read(
        tmp_path,
        {"messages": [ASKED, DOG | field, *more]},
        {"messages": [ASKED, DOG | field]},
        {"messages": [ASKED, WREN, {"role": "user", "content": "Another?"}, DOG | field]},
    )
    assert isinstance(whole, Imported) and isinstance(whole.record, Demonstration)
    assert [m.masked for m in whole.record.messages] == [False, True, False, False]
    assert isinstance(alone, Refused) and "weight 0" in alone.reason
    assert said(cut) == TURNS


@pytest.mark.parametrize(
    "row",
    [
        {"messages": [{"role": "user", "content": "<image>Which?"}, WREN], "images": ["wren.jpg"]},
        {
            "image": "wren.jpg",
            "conversations": [{"from": "human", "value": "Which?"}, {"from": "gpt", "value": "A wren."}],
        },
        {"prompt": "Which?", "completion": "A wren.", "audio_path": "wren.mp3"},
        {
            "messages": [
                {
                    "role": "user",
                    "content": [{"type": "text", "text": "Which?"}, {"type": "image_url", "image_url": {}}],
                },
                WREN,
            ]
        },
        {"messages": [{"role": "user", "content": [{"text": "Which?"}, {"image": {"format": "png"}}]}, WREN]},
        {
            "contents": [
                {"role": "user", "parts": [{"inlineData": {"mimeType": "image/png"}}]},
                {"role": "model", "parts": [{"text": "A wren."}]},
            ]
        },
    ],
)
def test_a_picture_or_a_sound_beside_the_words_leaves_the_row_out(row: dict[str, Any], tmp_path: Path) -> None:
    (outcome,) = read(tmp_path, row)
    assert isinstance(outcome, Refused) and "only words can be learned" in outcome.reason


def test_an_empty_column_of_pictures_changes_nothing(tmp_path: Path) -> None:
    (first,) = read(tmp_path, {"messages": [ASKED, WREN], "images": []})
    assert said(first) == TURNS


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "Name a bird."},
        {"key": 1000, "prompt": "Name a bird.", "instruction_id_list": ["x"], "kwargs": [{}]},
        {"question_id": 81, "category": "birds", "turns": ["Name a bird."]},
        {"messages": [ASKED]},
    ],
)
def test_prompts_alone_are_read_as_unseen_prompts(row: dict[str, Any], tmp_path: Path) -> None:
    outcomes = read(tmp_path, row, row)
    assert [one.record for one in outcomes if isinstance(one, Imported)] == [Prompt("Name a bird.")] * 2
