"""Replies to the unseen prompts: every prompt to every variant, each reply once and then kept."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from time import perf_counter

from chatlab.engines.base import ReplyChunk, Sampling, Variant
from chatlab.errors import ChatlabError, InputError
from chatlab.evaluation.replies import form
from chatlab.evaluation.reply_cache import CachedReply, ReplyCache, ReplyKey
from chatlab.evaluation.unseen import GREEDY, role_markers
from chatlab.lab.compare.compare import messages
from chatlab.lab.compare.grid_view import Cell, GridView
from chatlab.lab.data.unseen import Unseen
from chatlab.lab.models import LoadedModel, ModelHost
from chatlab.lab.variants import Variants
from chatlab.records import BASE, Provenance

MOST = 4
"""Variants side by side; more cannot be read."""


class Grid:
    """Prompt by prompt, variant by variant. Whoever stops early keeps what was said, and goes on from there."""

    def __init__(self, cache: Path, unseen: Unseen, machine: ModelHost, variants: Variants) -> None:
        self._heard = ReplyCache(cache / "replies")
        self._unseen = unseen
        self._machine = machine
        self._variants = variants

    def default_variants(self) -> list[str]:
        """Who is best read side by side: the base, who was live before, and who is live, or newest."""
        names = self._variants.names()
        live = self._variants.live
        new = live if live != BASE else next(iter(names[1:]), BASE)
        return list(dict.fromkeys(name for name in (BASE, self._variants.previous, new) if name in names))

    def cached(
        self, variants: Sequence[str], sampling: Sampling = GREEDY, system: str = "", strength: float = 1.0
    ) -> GridView:
        """Replies that were generated before. Opens nothing: while the engine is not open, none is known."""
        return self._cached(self._machine.current, variants, sampling, system, strength)

    def _cached(
        self, model: LoadedModel, variants: Sequence[str], sampling: Sampling, system: str, strength: float
    ) -> GridView:
        view = self._empty_view(variants, sampling, system)
        engine = model.opened_engine
        if engine is None:
            return view
        view = replace(view, base=model.base.fingerprint, engine=engine.name)
        hashes = [self._sha256(name) for name in variants]
        rows = []
        for prompt in view.prompts:
            keys = (self._reply_key(view, prompt, *who, strength) for who in zip(hashes, variants, strict=True))
            rows.append(tuple(Cell(said=self._heard.get(key)) for key in keys))
        return replace(view, cells=tuple(rows))

    def ask(
        self, variants: Sequence[str], sampling: Sampling = GREEDY, system: str = "", strength: float = 1.0
    ) -> Iterator[GridView]:
        """The grid after every piece of a reply. A variant that fails says so in its cells, and the others go on.

        Raises InputError for no variant, too many, one twice, or no prompts; and what opening the base or the engine
        raises.
        """
        if not 1 <= len(variants) <= MOST or len(set(variants)) < len(variants):
            raise InputError(f"The grid takes 1 to {MOST} adapters, each once.", "Choose the adapters to run.")
        if not self._unseen.prompts():
            raise InputError("There are no unseen prompts.", "Write some, or load a default set.")
        model = self._machine.current
        model.engine.name  # noqa: B018 - opened here, so that what it raises is raised before the first view
        return self._leased(model, self._cached(model, variants, sampling, system, strength), strength)

    def _leased(self, model: LoadedModel, view: GridView, strength: float) -> Iterator[GridView]:
        with self._machine.lease(model):
            yield from self._fill(model, view, strength)

    def _fill(self, model: LoadedModel, view: GridView, strength: float) -> Iterator[GridView]:
        markers = role_markers(model.base.template)
        rows = [list(row) for row in view.cells]
        yield view
        for place, prompt in enumerate(view.prompts):
            for at, name in enumerate(view.variants):
                if rows[place][at].finished:
                    continue
                for cell in self._cell(model, view, prompt, name, strength, markers):
                    rows[place][at] = cell
                    yield replace(view, cells=tuple(map(tuple, rows)))

    def _cell(
        self, model: LoadedModel, view: GridView, prompt: str, name: str, strength: float, markers: Sequence[str]
    ) -> Iterator[Cell]:
        """One reply as it grows, whole at the end; or why there is none."""
        cached = self._heard.get(self._reply_key(view, prompt, self._sha256(name), name, strength))
        if cached is not None:  # generated elsewhere in the meantime
            yield Cell(said=cached)
            return
        yield Cell(speaking=True)
        try:
            yield from self._generate(model, view, prompt, self._variants.get(name, strength, model), markers)
        except ChatlabError as error:
            yield Cell(error=f"{error} {error.hint}".strip())

    def _generate(
        self, model: LoadedModel, view: GridView, prompt: str, variant: Variant, markers: Sequence[str]
    ) -> Iterator[Cell]:
        template, began, text = model.base.template, perf_counter(), ""
        ids = template.prompt(messages(prompt, view.system))
        chunks = model.engine.stream(ids, view.sampling, variant, template.stop_ids)
        try:
            for chunk in chunks:
                text += chunk.text
                if chunk.stop is None:
                    yield Cell(text=text, speaking=True)
                    continue
                said = CachedReply(
                    text=template.content(text),
                    provenance=_provenance(model, variant, chunk, perf_counter() - began),
                    stop=chunk.stop,
                    form=form(prompt, text, chunk.stop, markers),
                )
                self._heard.put(self._reply_key(view, prompt, chunk.sha256, variant.name, variant.strength), said)
                yield Cell(said=said)
        finally:
            getattr(chunks, "close", lambda: None)()

    def _empty_view(self, variants: Sequence[str], sampling: Sampling, system: str) -> GridView:
        prompts = tuple(self._unseen.prompts())
        cells = tuple(tuple(Cell() for _ in variants) for _ in prompts)
        return GridView(
            prompts=prompts, variants=tuple(variants), cells=cells, sampling=sampling, system=system.strip()
        )

    def _reply_key(self, view: GridView, prompt: str, sha256: str, name: str, strength: float) -> ReplyKey:
        return ReplyKey(
            prompt=prompt,
            system=view.system,
            sampling=view.sampling,
            sha256=sha256,
            strength=1.0 if name == BASE else strength,
            base=view.base,
            engine=view.engine,
        )

    def _sha256(self, name: str) -> str:
        """Hash of an adapter's weights, from its card; of one that is gone no reply is known."""
        card = self._variants.card(name)
        return card.sha256 if card else "" if name == BASE else "gone"


def _provenance(model: LoadedModel, variant: Variant, chunk: ReplyChunk, seconds: float) -> Provenance:
    return Provenance(
        adapter=variant.name,
        sha256=chunk.sha256,
        base=model.base.fingerprint,
        base_name=model.base.name,
        strength=variant.strength,
        tokens=chunk.tokens,
        seconds=seconds,
    )
