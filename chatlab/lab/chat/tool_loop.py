"""A reply that may call tools: it is generated until it calls one, the call is run, and it goes on with the result.

A reply has one budget of tokens, whatever it calls, and a number of calls that it may make. Results are messages that
the template writes, so nothing in them is ever a control token, and nothing that a model writes is ever a result.
"""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import wait as wait_for
from contextlib import closing
from dataclasses import replace
from typing import Any, cast

from chatlab.engines.base import Engine, ReplyChunk, Sampling, Variant
from chatlab.lab.chat.prompt_builder import Prompt
from chatlab.lab.chat.reply_stream import ReplyStream
from chatlab.lab.models import LoadedModel
from chatlab.records import Message
from chatlab.template import Template
from chatlab.tool_calls import Call, Tool, ToolStep
from chatlab.tools import Toolbox, ToolResult

MOST = 6
"""Calls in one answer."""
POLL = 0.05
"""Seconds between two looks at a running tool, so that the person's stop is noticed meanwhile."""


class ToolLoop:
    """Generates replies. One without tools has one round, and its text is what was generated."""

    def __init__(self, toolbox: Toolbox) -> None:
        self._toolbox = toolbox

    def stream(
        self, model: LoadedModel, reply: ReplyStream, prompt: Prompt, sampling: Sampling, variant: Variant
    ) -> Generator[ReplyChunk, None, None]:
        """The chunks of `reply`, each already added to it.

        The variant is loaded by this call, which raises what the engine refuses; the rest is done as it is iterated.
        """
        template = model.base.template
        if sampling.thinking > 0 and template.thinking is not None:
            first = reasoning_and_answer(model.engine, template, prompt.messages, sampling, variant)
        else:
            first = _generate(model, prompt.ids, sampling, variant)
        return self._reply(model, reply, prompt, sampling, variant, first)

    def _reply(
        self,
        model: LoadedModel,
        reply: ReplyStream,
        prompt: Prompt,
        sampling: Sampling,
        variant: Variant,
        chunks: Iterator[ReplyChunk],
    ) -> Generator[ReplyChunk, None, None]:
        messages = list(prompt.messages)
        while True:
            call = yield from self._round(model.base.template, reply, prompt.tools, chunks)
            if call is None or reply.provenance is None:
                return
            tokens, sha256 = reply.provenance.tokens, reply.provenance.sha256
            left = sampling.max_tokens - tokens
            if len(reply.steps) >= MOST or left <= 0:
                end = ReplyChunk(tokens=tokens, sha256=sha256, stop="calls" if left > 0 else "length")
                reply.add(end)
                yield end
                return
            yield from self._run(reply, call, prompt.tools, ReplyChunk(tokens=tokens, sha256=sha256, call=call))
            step = reply.steps[-1]
            messages += [
                Message(role="assistant", content=step.text, calls=(call,)),
                Message(role="tool", content=step.result),
            ]
            ids = model.base.template.prompt(messages)
            chunks = _generate(model, ids, replace(sampling, max_tokens=left), variant)

    def _round(
        self, template: Template, reply: ReplyStream, tools: Sequence[Tool], chunks: Iterator[ReplyChunk]
    ) -> Generator[ReplyChunk, None, Call | None]:
        """Up to the end of a call, which is returned, or of the reply. What a model would write next is lost."""
        generated, tokens = "", reply.tokens
        with closing(cast(Any, chunks)):
            for chunk in chunks:
                generated += chunk.text
                call: Call | None = None
                text = generated
                if tools and not chunk.reasoning:
                    parsed = template.parse_reply(generated, tools, ended=chunk.stop is not None)
                    call, text = parsed.call, parsed.text
                new = replace(chunk, tokens=tokens + chunk.tokens, stop=None if call else chunk.stop)
                reply.add(new, text)
                yield new
                if call is not None:
                    return call
        return None

    def _run(
        self, reply: ReplyStream, call: Call, tools: Sequence[Tool], running: ReplyChunk
    ) -> Generator[ReplyChunk, None, None]:
        """`running` again and again while the call runs, and a chunk with its result. Closing this stops the tool."""
        stop = threading.Event()
        pool = ThreadPoolExecutor(1, thread_name_prefix="tool")
        try:
            future: Future[ToolResult] = pool.submit(self._toolbox.run, call, tools, stop)
            while not future.done():
                reply.add(running)
                yield running
                wait_for([future], POLL)
            done = future.result()
        finally:
            stop.set()
            pool.shutdown(wait=False)
        step = ToolStep(
            call=call, result=done.result, text=reply.text, failed=done.failed, seconds=round(done.seconds, 3)
        )
        ended = replace(running, call=None, step=step)
        reply.add(ended)
        yield ended


def _generate(model: LoadedModel, ids: Sequence[int], sampling: Sampling, variant: Variant) -> Iterator[ReplyChunk]:
    return model.engine.stream(ids, sampling, variant, model.base.template.stop_ids)


def reasoning_and_answer(
    engine: Engine, template: Template, messages: Sequence[Message], sampling: Sampling, variant: Variant
) -> Iterator[ReplyChunk]:
    """Chunks of the reasoning, at most `sampling.thinking` tokens of it, then of the answer, tokens counted through.

    The answer is generated after the reasoning as training will tokenize it, so that both read the same ids. Empty
    reasoning is none, and the answer is then generated without. Raises what `Engine.stream` raises.
    """
    assert template.thinking is not None
    prompt = template.prompt(messages, reasoning=True)
    budget = min(sampling.thinking, max(1, (engine.context - len(prompt)) // 2))
    text, tokens, end = "", 0, template.thinking.end
    chunks = engine.stream(prompt, replace(sampling, max_tokens=budget), variant, template.stop_ids)
    with closing(cast(Any, chunks)):
        for chunk in chunks:
            before = len(_before_end(text, end))
            text, tokens = text + chunk.text, chunk.tokens
            yield ReplyChunk(reasoning=_before_end(text, end)[before:], tokens=tokens, sha256=chunk.sha256)
            if end in text:
                break
    reasoning = text.partition(end)[0].strip()
    ids = template.prompt_after(messages, reasoning) if reasoning else template.prompt(messages)
    for chunk in engine.stream(ids, sampling, variant, template.stop_ids):
        yield replace(chunk, tokens=tokens + chunk.tokens)


def _before_end(text: str, end: str) -> str:
    """The text before the mark that ends the reasoning, less what may yet become that mark."""
    reasoning, closed, _ = text.partition(end)
    if closed:
        return reasoning
    held = next((k for k in range(min(len(end) - 1, len(text)), 0, -1) if text.endswith(end[:k])), 0)
    return text[: len(text) - held]
