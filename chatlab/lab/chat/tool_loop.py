"""A reply that may ask for tools: it is drawn until it calls, the call is run, and it goes on with the result.

A reply has one budget of tokens, whatever it calls, and a number of calls that it may make. Results are messages that
the template writes, so nothing in them is ever a control token, and nothing that a model writes is ever a result.
"""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import wait as wait_for
from contextlib import closing
from dataclasses import dataclass, replace

from chatlab.engines.base import ReplyChunk, Sampling, Variant
from chatlab.lab.chat.prompt_builder import Asked
from chatlab.lab.chat.reply_stream import Moment
from chatlab.lab.chat.thinking import ThoughtPiece, thinks, thought_and_answer
from chatlab.lab.models import ModelHost
from chatlab.records import Message
from chatlab.template import Heard
from chatlab.tool_calls import Call, ToolStep
from chatlab.tools import Toolbox, ToolResult

MOST = 6
"""Calls in one answer."""
BEAT = 0.05
"""Seconds between two looks at a tool that works, so that the person's stop is heard meanwhile."""


@dataclass(slots=True)
class _Round:
    """What is drawn between two calls."""

    text: str = ""
    heard: Heard | None = None
    last: ReplyChunk | None = None


class ToolLoop:
    """Streams replies. One without tools is a reply of one round, its text as it was drawn."""

    def __init__(self, machine: ModelHost, toolbox: Toolbox) -> None:
        self._machine = machine
        self._toolbox = toolbox

    def stream(self, asked: Asked, sampling: Sampling, variant: Variant) -> Generator[Moment, None, None]:
        """The voice is settled by this call, and what the engine refuses is raised by it; the rest as it is asked."""
        template = self._machine.base.template
        if thinks(template, sampling):
            first = thought_and_answer(self._machine.engine, template, asked.messages, sampling, variant)
        else:
            first = self._draw(asked.ids, sampling, variant)
        return self._reply(asked, sampling, variant, first)

    def _reply(
        self, asked: Asked, sampling: Sampling, variant: Variant, pieces: Iterator[ReplyChunk]
    ) -> Generator[Moment, None, None]:
        messages, now = list(asked.messages), Moment(said="", tokens=0, sha256="")
        while True:
            drawn = _Round()
            for moment in self._round(asked, pieces, now, drawn):
                yield moment
                now = moment
            call = drawn.heard.call if drawn.heard else None
            left = sampling.max_tokens - now.tokens
            if call is None or now.stop is not None:
                return
            if len(now.steps) >= MOST or left <= 0:
                yield replace(now, stop="calls" if left > 0 else "length")
                return
            for moment in self._run(call, asked, now):
                yield moment
                now = moment
            step = now.steps[-1]
            messages += [
                Message(role="assistant", content=step.said, calls=(call,)),
                Message(role="tool", content=step.result),
            ]
            now = replace(now, said="")
            ids = self._machine.base.template.prompt(messages)
            pieces = self._draw(ids, replace(sampling, max_tokens=left), variant)

    def _draw(self, ids: Sequence[int], sampling: Sampling, variant: Variant) -> Iterator[ReplyChunk]:
        return self._machine.engine.stream(ids, sampling, variant, self._machine.base.template.stop_ids)

    def _round(self, asked: Asked, pieces: Iterator[ReplyChunk], before: Moment, drawn: _Round) -> Iterator[Moment]:
        """Up to the end of a call, or of the reply. A call ends the drawing, whatever the model would go on to say."""
        template = self._machine.base.template
        with closing(pieces) as drawing:  # type: ignore[type-var]
            for piece in drawing:
                if isinstance(piece, ThoughtPiece):
                    before = replace(before, thought=before.thought + piece.text)
                    yield replace(before, tokens=before.tokens + piece.tokens, sha256=piece.sha256)
                    continue
                drawn.text += piece.text
                now = replace(before, tokens=before.tokens + piece.tokens, sha256=piece.sha256, stop=piece.stop)
                if not asked.tools:
                    yield replace(now, said=drawn.text)
                    continue
                drawn.heard = template.hear(drawn.text, asked.tools, ended=piece.stop is not None)
                called = drawn.heard.call is not None
                yield replace(now, said=drawn.heard.said, stop=None if called else piece.stop)
                if called:
                    return

    def _run(self, call: Call, asked: Asked, before: Moment) -> Iterator[Moment]:
        """The call while it is run, and at last its result. Closing this stops the tool."""
        stop = threading.Event()
        pool = ThreadPoolExecutor(1, thread_name_prefix="tool")
        try:
            running: Future[ToolResult] = pool.submit(self._toolbox.run, call, asked.tools, stop)
            while not running.done():
                yield replace(before, doing=call)
                wait_for([running], BEAT)
            done = running.result()
        finally:
            stop.set()
            pool.shutdown(wait=False)
        step = ToolStep(
            call=call, result=done.result, said=before.said, failed=done.failed, seconds=round(done.seconds, 3)
        )
        yield replace(before, said="", steps=(*before.steps, step))
