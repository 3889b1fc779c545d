"""An engine without a model: instant, deterministic, and true to every promise of the protocol.

It ships with the package, so that tests, demonstrations of the interface and plug-in authors need no weights.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from chatlab.engines.base import Piece, Sampling, Voice, check_prompt, one_by_one
from chatlab.engines.folder import AdapterFiles, Stamp, read_adapter, stamp
from chatlab.records import StopReason

Script = Callable[[Sequence[int], Voice, Sampling], str]
"""What to answer to a prompt. The reply ends by itself after the last word."""

WORDS = "my good friend the moon is bright and all players rest while a merry song goes round this house"


def babble(prompt: Sequence[int], voice: Voice, sampling: Sampling) -> str:
    """A dozen words that change with the prompt, the voice, its strength and, above temperature 0, the seed."""
    seed = sampling.seed if sampling.temperature > 0 else 0
    words = WORDS.split()
    told = f"{list(prompt)} {voice.name} {voice.strength} {seed}"
    return " ".join(words[byte % len(words)] for byte in hashlib.sha256(told.encode()).digest()[:12])


class FakeEngine:
    """Says what `script` says, one word a token, with `pause` seconds before each; it may be changed meanwhile.

    With a `fingerprint` it refuses adapters of other bases; without one it takes all.
    """

    def __init__(
        self, script: Script = babble, *, context: int = 1024, fingerprint: str | None = None, pause: float = 0.0
    ) -> None:
        self._script = script
        self._context = context
        self._fingerprint = fingerprint
        self.pause = pause
        self._resident: dict[Path, tuple[Stamp, AdapterFiles]] = {}
        self._closed = threading.Event()
        self.eased = False

    @property
    def name(self) -> str:
        return "fake"

    @property
    def context(self) -> int:
        return self._context

    def stream(
        self, prompt: Sequence[int], sampling: Sampling, voice: Voice, stop_ids: frozenset[int]
    ) -> Iterator[Piece]:
        """The script's words. `stop_ids` mean nothing to it, as it has words in place of tokens."""
        check_prompt(prompt, self._context)
        sha256 = self._load(voice)
        room = min(sampling.max_tokens, self._context - len(prompt))
        return self._say(self._script(prompt, voice, sampling), sha256, room)

    def together(
        self, prompts: Sequence[Sequence[int]], sampling: Sampling, voice: Voice, stop_ids: frozenset[int]
    ) -> Iterator[tuple[int, Piece]]:
        return one_by_one(self, prompts, sampling, voice, stop_ids)

    def prepare(self, voice: Voice) -> None:
        self._load(voice)

    def forget(self, folder: Path) -> None:
        self._resident.pop(folder, None)

    def forget_prompts(self) -> None:
        """It remembers none."""

    def ease(self, on: bool) -> None:
        self.eased = on

    def close(self) -> None:
        self._closed.set()

    def _say(self, text: str, sha256: str, room: int) -> Iterator[Piece]:
        words, tokens = text.split(" ") if text else [], 0
        for word in words[:room]:
            self._wait()
            tokens += 1
            yield Piece(text=word if tokens == 1 else f" {word}", tokens=tokens, sha256=sha256)
        stop: StopReason = "end" if tokens == len(words) and tokens < room else "length"
        yield Piece(text="", tokens=tokens, sha256=sha256, stop=stop)

    def _wait(self) -> None:
        if self.pause:
            self._closed.wait(self.pause)

    def _load(self, voice: Voice) -> str:
        """The sha256 of the adapter's weights, read again only when the files have changed."""
        if voice.folder is None:
            return ""
        now = stamp(voice.folder)
        known = self._resident.get(voice.folder)
        if known is None or known[0] != now:
            known = self._resident[voice.folder] = (now, read_adapter(voice.folder, self._fingerprint))
        return known[1].sha256
