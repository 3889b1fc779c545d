"""A reply's chunks, and what a stream makes of them."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

from chatlab.conversation import Conversation
from chatlab.engines.base import ReplyChunk, Variant
from chatlab.lab.chat.reply_stream import ReplyStream
from chatlab.tool_calls import Call, ToolStep

CALL = Call(name="count", arguments=(("what", "r"),))
CHUNKS = (
    ReplyChunk(reasoning="Let me ", tokens=1, sha256="a"),
    ReplyChunk(reasoning="count.", tokens=2, sha256="a"),
    ReplyChunk(text="I count.", tokens=3, sha256="a"),
    ReplyChunk(call=CALL, tokens=3, sha256="a"),
    ReplyChunk(step=ToolStep(call=CALL, result="3", text="I count."), tokens=3, sha256="a"),
    ReplyChunk(text="Three", tokens=4, sha256="a"),
    ReplyChunk(text=".", tokens=5, sha256="a"),
    ReplyChunk(tokens=5, sha256="a", stop="end"),
)


def stream() -> ReplyStream:
    def generate(reply: ReplyStream) -> Generator[ReplyChunk, None, None]:
        reply.start(Variant(name="player", folder=Path("player"), strength=0.5), "base")
        for chunk in CHUNKS:
            reply.add(chunk)
            yield chunk

    return ReplyStream(Conversation(), generate)


def test_a_stream_adds_up_its_chunks_and_a_step_begins_the_text_anew() -> None:
    reply = stream()
    seen = [(reply.text, reply.reasoning, reply.call, len(reply.steps)) for _ in reply]
    assert seen[1] == ("", "Let me count.", None, 0)
    assert seen[3] == ("I count.", "Let me count.", CALL, 0)
    assert seen[4] == ("", "Let me count.", None, 1)
    assert seen[-1] == ("Three.", "Let me count.", None, 1)


def test_a_stream_says_which_weights_generated_it() -> None:
    reply = stream()
    assert reply.provenance is None and reply.tokens == 0
    found = reply.finish().provenance
    assert found is not None and reply.tokens == 5
    assert (found.adapter, found.sha256, found.base, found.strength) == ("player", "a", "base", 0.5)


def test_nothing_is_generated_before_the_first_chunk_nor_after_a_stream_is_closed() -> None:
    reply = stream()
    assert reply.provenance is None
    next(reply)
    reply.close()
    assert list(reply) == [] and reply.tokens == 1
