"""Hearing voices on the unseen prompts: every prompt to every voice, each reply once and then kept."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from time import perf_counter

from chatlab.engines.base import Piece, Sampling, Voice
from chatlab.errors import ChatlabError, InputError
from chatlab.evaluation.replies import form
from chatlab.evaluation.reply_cache import Asked, Heard, Said
from chatlab.evaluation.unseen import CALM, role_markers
from chatlab.lab.adapters import Voices
from chatlab.lab.compare.compare import messages
from chatlab.lab.compare.grid_view import Cell, GridView
from chatlab.lab.data.unseen import Unseen
from chatlab.lab.models import ModelHost
from chatlab.records import BASE, Provenance

MOST = 4
"""Voices side by side; more cannot be read."""


class Grid:
    """Prompt by prompt, voice by voice. Whoever stops early keeps what was said, and goes on from there."""

    def __init__(self, cache: Path, unseen: Unseen, machine: ModelHost, voices: Voices) -> None:
        self._heard = Heard(cache / "replies")
        self._unseen = unseen
        self._machine = machine
        self._voices = voices

    def proposed(self) -> list[str]:
        """Who is best read side by side: the base, who was live before, and who is live, or newest."""
        names = self._voices.names()
        live = self._voices.live
        new = live if live != BASE else next(iter(names[1:]), BASE)
        return list(dict.fromkeys(name for name in (BASE, self._voices.previous, new) if name in names))

    def known(
        self, voices: Sequence[str], sampling: Sampling = CALM, system: str = "", strength: float = 1.0
    ) -> GridView:
        """What has been said before. Opens nothing: as long as the engine is not open, nothing is known."""
        sheet = self._blank(voices, sampling, system)
        if not self._machine.started:
            return sheet
        sheet = replace(sheet, base=self._machine.base.fingerprint, engine=self._machine.engine.name)
        hashes = [self._sha256(name) for name in voices]
        rows = []
        for prompt in sheet.prompts:
            asked = [
                self._asked(sheet, prompt, sha256, name, strength) for name, sha256 in zip(voices, hashes, strict=True)
            ]
            rows.append(tuple(Cell(said=self._heard.get(one)) for one in asked))
        return replace(sheet, cells=tuple(rows))

    def ask(
        self, voices: Sequence[str], sampling: Sampling = CALM, system: str = "", strength: float = 1.0
    ) -> Iterator[GridView]:
        """The sheet after every piece of a reply. A voice that fails says so in its cells, and the others go on.

        Raises InputError for no voice, too many, one twice, or no prompts; and what opening the base or the engine
        raises.
        """
        if not 1 <= len(voices) <= MOST or len(set(voices)) < len(voices):
            raise InputError(f"The grid takes 1 to {MOST} adapters, each once.", "Choose the adapters to run.")
        if not self._unseen.prompts():
            raise InputError("There are no unseen prompts.", "Write some, or load a default set.")
        self._machine.engine.name  # noqa: B018 - opened here, so that what it raises is raised before the first sheet
        return self._filled(self.known(voices, sampling, system, strength), strength)

    def _filled(self, sheet: GridView, strength: float) -> Iterator[GridView]:
        markers = role_markers(self._machine.base.template)
        rows = [list(row) for row in sheet.cells]
        yield sheet
        for place, prompt in enumerate(sheet.prompts):
            for at, name in enumerate(sheet.voices):
                if rows[place][at].settled:
                    continue
                for cell in self._cell(sheet, prompt, name, strength, markers):
                    rows[place][at] = cell
                    yield replace(sheet, cells=tuple(map(tuple, rows)))

    def _cell(self, sheet: GridView, prompt: str, name: str, strength: float, markers: Sequence[str]) -> Iterator[Cell]:
        """One reply as it grows, whole at the end; or why there is none."""
        known = self._heard.get(self._asked(sheet, prompt, self._sha256(name), name, strength))
        if known is not None:  # heard elsewhere in the meantime
            yield Cell(said=known)
            return
        yield Cell(speaking=True)
        try:
            yield from self._spoken(sheet, prompt, self._voices.voice(name, strength), markers)
        except ChatlabError as error:
            yield Cell(error=f"{error} {error.hint}".strip())

    def _spoken(self, sheet: GridView, prompt: str, voice: Voice, markers: Sequence[str]) -> Iterator[Cell]:
        template, began, text = self._machine.base.template, perf_counter(), ""
        ids = template.prompt(messages(prompt, sheet.system))
        pieces = self._machine.engine.stream(ids, sheet.sampling, voice, template.stop_ids)
        try:
            for piece in pieces:
                text += piece.text
                if piece.stop is None:
                    yield Cell(text=text, speaking=True)
                    continue
                said = Said(
                    text=template.content(text),
                    speaker=self._speaker(voice, piece, perf_counter() - began),
                    stop=piece.stop,
                    form=form(prompt, text, piece.stop, markers),
                )
                self._heard.keep(self._asked(sheet, prompt, piece.sha256, voice.name, voice.strength), said)
                yield Cell(said=said)
        finally:
            getattr(pieces, "close", lambda: None)()

    def _speaker(self, voice: Voice, piece: Piece, seconds: float) -> Provenance:
        return Provenance(
            adapter=voice.name,
            sha256=piece.sha256,
            base=self._machine.base.fingerprint,
            strength=voice.strength,
            tokens=piece.tokens,
            seconds=seconds,
        )

    def _blank(self, voices: Sequence[str], sampling: Sampling, system: str) -> GridView:
        prompts = tuple(self._unseen.prompts())
        cells = tuple(tuple(Cell() for _ in voices) for _ in prompts)
        return GridView(prompts=prompts, voices=tuple(voices), cells=cells, sampling=sampling, system=system.strip())

    def _asked(self, sheet: GridView, prompt: str, sha256: str, name: str, strength: float) -> Asked:
        return Asked(
            prompt=prompt,
            system=sheet.system,
            sampling=sheet.sampling,
            sha256=sha256,
            strength=1.0 if name == BASE else strength,
            base=sheet.base,
            engine=sheet.engine,
        )

    def _sha256(self, name: str) -> str:
        """By its papers; an adapter that is gone has none, and then nothing is known of it."""
        card = self._voices.who(name)
        return card.sha256 if card else "" if name == BASE else "gone"
