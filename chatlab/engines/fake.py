"""An engine without a model: instant, deterministic, and true to the whole protocol.

It ships with the package, so that tests and authors of plug-ins need no weights.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from chatlab.engines.base import ReplyChunk, Sampling, Variant, check_prompt, one_by_one
from chatlab.engines.folder import AdapterFiles, Stamp, read_adapter, stamp
from chatlab.records import StopReason

Script = Callable[[Sequence[int], Variant, Sampling], str]
"""Makes the reply to a prompt. The reply ends by itself after the last word."""

WORDS = "my good friend the moon is bright and all players rest while a merry song goes round this house"


def babble(prompt: Sequence[int], variant: Variant, sampling: Sampling) -> str:
    """A dozen words that change with the prompt, the variant, its strength and, above temperature 0, the seed."""
    seed = sampling.seed if sampling.temperature > 0 else 0
    words = WORDS.split()
    key = f"{list(prompt)} {variant.name} {variant.strength} {seed}"
    return " ".join(words[byte % len(words)] for byte in hashlib.sha256(key.encode()).digest()[:12])


class FakeEngine:
    """Replies with what `script` returns, a word a token, `pause` seconds before each; it may be changed meanwhile.

    With a `fingerprint` it refuses adapters of other bases; without one it takes all.
    """

    def __init__(
        self, script: Script = babble, *, context: int = 1024, fingerprint: str | None = None, pause: float = 0.0
    ) -> None:
        self._script = script
        self._context = context
        self._fingerprint = fingerprint
        self.pause = pause
        self._loaded: dict[Path, tuple[Stamp, AdapterFiles]] = {}
        self._closed = threading.Event()
        self.yielding = False

    @property
    def name(self) -> str:
        return "fake"

    @property
    def context(self) -> int:
        return self._context

    def stream(
        self, prompt: Sequence[int], sampling: Sampling, variant: Variant, stop_ids: frozenset[int]
    ) -> Iterator[ReplyChunk]:
        """The script's words. `stop_ids` mean nothing to it, as it has words in place of tokens."""
        check_prompt(prompt, self._context)
        sha256 = self._load(variant)
        most = min(sampling.max_tokens, self._context - len(prompt))
        return self._reply(self._script(prompt, variant, sampling), sha256, most)

    def stream_batch(
        self, prompts: Sequence[Sequence[int]], sampling: Sampling, variant: Variant, stop_ids: frozenset[int]
    ) -> Iterator[tuple[int, ReplyChunk]]:
        return one_by_one(self, prompts, sampling, variant, stop_ids)

    def load(self, variant: Variant) -> None:
        self._load(variant)

    def unload(self, folder: Path) -> None:
        self._loaded.pop(folder, None)

    def forget_prompts(self) -> None:
        """There is no prefix cache."""

    def yield_cores(self, on: bool) -> None:
        self.yielding = on

    def close(self) -> None:
        self._closed.set()

    def _reply(self, text: str, sha256: str, most: int) -> Iterator[ReplyChunk]:
        words, tokens = text.split(" ") if text else [], 0
        for word in words[:most]:
            if self.pause:
                self._closed.wait(self.pause)
            tokens += 1
            yield ReplyChunk(text=word if tokens == 1 else f" {word}", tokens=tokens, sha256=sha256)
        stop: StopReason = "end" if tokens == len(words) and tokens < most else "length"
        yield ReplyChunk(tokens=tokens, sha256=sha256, stop=stop)

    def _load(self, variant: Variant) -> str:
        """The sha256 of the adapter's weights, read again only when the files have changed."""
        if variant.folder is None:
            return ""
        now = stamp(variant.folder)
        known = self._loaded.get(variant.folder)
        if known is None or known[0] != now:
            known = self._loaded[variant.folder] = (now, read_adapter(variant.folder, self._fingerprint))
        return known[1].sha256
