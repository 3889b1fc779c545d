"""The list of models as HTML. Their names, licences and places are outside text, and shown as text."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from chatlab.models.library.entry import ModelEntry, ModelFacts
from chatlab.models.library.hub.download import Download
from chatlab.models.library.hub.downloaded import Unfinished
from chatlab.models.library.library import ModelLibrary
from chatlab.ui.html import (
    NOTHING,
    button,
    counted,
    div,
    duration,
    element,
    escaped,
    icon,
    one_line,
    press,
    progress_bar,
    span,
)
from chatlab.ui.models.known import KnownModel

SECTIONS = (("Included", ("included",)), ("Added", ("added", "hub")), ("Found on this machine", ("found",)))
"""Headings, and the sources of the models below each."""
HEAD = div(
    "models-head",
    element("h3", escaped("Models")),
    span("gap", ""),
    press(icon("close"), "tool", name="Close", act="close", to="models"),
)


def model_list(models: Sequence[KnownModel], opening: str, retrain: str, approved: int, looking: bool) -> Markup:
    """All sections. `opening` is the path of the model that is being opened; `retrain` the adapter to train like."""
    parts = []
    for title, sources in SECTIONS:
        found = [model for model in models if model.entry.source in sources]
        if not found and title != "Found on this machine":
            continue
        nothing = "Looking …" if looking else "None found in the folders of other programs."
        rows = [_row(model, opening, retrain, approved) for model in found] or [div("model-none", escaped(nothing))]
        parts.append(element("section", element("h4", escaped(title)), *rows))
    return div("models", *parts)


def _row(model: KnownModel, opening: str, retrain: str, approved: int) -> Markup:
    entry, facts = model.entry, model.facts
    is_opening = str(entry.path) == opening
    head = div(
        "model-head",
        element("b", escaped(one_line(entry.title or entry.name, 80)), title=str(entry.path)),
        NOTHING if entry.title.endswith(f"({entry.place})") else span("model-place", one_line(entry.place, 40)),
        span("gap", ""),
        _use(model, is_opening),
    )
    lines = [div("model-facts", escaped("Reading its headers …"))] if facts is None else _facts(model, facts, approved)
    actions = []
    if model.in_use and retrain and facts is not None and not facts.untrainable:
        actions.append(button("retrain", "Retrain on this model too", "small", to="models", text=retrain))
    if facts is not None and facts.lacks_template:
        label = "Change its chat template" if model.given else "Give it a chat template"
        actions.append(button("template", label, "small", to="models", text=entry.id))
    if entry.source in ("added", "hub") and not model.in_use:
        verb = "Delete" if entry.source == "hub" else "Remove"
        actions.append(button("remove", verb, "quiet small", to="models", text=entry.id))
    kind = "model-row used" if model.in_use else "model-row"
    return element("div", head, *lines, div("model-do", *actions) if actions else NOTHING, kind=kind)


def _use(model: KnownModel, is_opening: bool) -> Markup:
    if is_opening:
        return span("model-state", "Opening …")
    if model.in_use:
        return span("model-state on", "In use")
    if model.facts is not None and model.facts.unusable:
        return span("model-state", "Needs a template" if model.facts.lacks_template else "Cannot be used")
    name = f"Use {one_line(model.entry.title, 60)}"
    return press("Use", "small primary", name=name, act="use", to="models", text=model.entry.id)


def _facts(model: KnownModel, facts: ModelFacts, approved: int) -> list[Markup]:
    if facts.unusable:
        why = "It continues text, and has no chat template yet." if facts.lacks_template else facts.unusable
        return [div("model-facts warn", escaped(one_line(why, 400)))]
    first = (
        _parameters(facts.parameters),
        one_line(facts.quantisation, 30),
        f"{facts.context:,} tokens of context" if facts.context else "",
        f"licence {one_line(facts.licence, 60)}" if facts.licence else "licence not stated",
        "" if facts.template else "chat template given here" if model.given else "no chat template",
        size(model.entry.bytes),
    )
    memory = f"Memory: {size(facts.chat_bytes)} to chat"
    memory += f", {size(facts.training_bytes)} to train" if facts.training_bytes else ""
    memory += " · open: switching takes no time" if model.is_open and not model.in_use else ""
    return [
        div("model-about", escaped(one_line(model.entry.about, 160))) if model.entry.about else NOTHING,
        div("model-facts", escaped(" · ".join(part for part in first if part))),
        div("model-facts", escaped(f"{memory}.")),
        _training(model, facts, approved),
    ]


def _training(model: KnownModel, facts: ModelFacts, approved: int) -> Markup:
    if facts.untrainable:
        return div("model-facts warn", escaped(f"Can be trained: no. {one_line(facts.untrainable, 400)}"))
    if not approved:
        return div("model-facts", escaped("Can be trained: yes."))
    if model.seconds is None:
        return div("model-facts", escaped("Can be trained: yes."))
    for_all = f"{duration(model.seconds)} for {counted(approved, 'demonstration')}"
    time = f"about {for_all}" if model.measured else f"roughly {for_all}, by its size alone"
    return div("model-facts", escaped(f"Can be trained: yes, {time}."))


def downloads(library: ModelLibrary) -> Markup:
    """A line for each download: a bar with the seconds left while it runs, how it ended, and how to go on with it."""
    lines = [_download(number, one) for number, one in enumerate(library.downloads)]
    lines += [_unfinished(number, one) for number, one in enumerate(halves(library))]
    return div("downloads", *lines) if lines else NOTHING


def halves(library: ModelLibrary) -> list[Unfinished]:
    """Downloads that ended before their model was whole, and are not being gone on with."""
    running = {(one.repository, one.file) for one in library.downloads if one.under_way}
    return [one for one in library.unfinished() if (one.repository, one.file) not in running]


def _unfinished(number: int, one: Unfinished) -> Markup:
    name = one_line(f"{one.repository} {one.file}".strip(), 80)
    told = span("", f"is not whole; {size(one.bytes)} are here.")
    return div(
        "download",
        element("b", escaped(name)),
        told,
        _act("resume", "Go on", number),
        _act("discard", "Delete", number),
    )


def _download(number: int, one: Download) -> Markup:
    name = one_line(f"{one.repository} {one.file}".strip(), 80)
    if one.error is not None:
        words = span("warn", f"{one.error} {one.error.hint}".strip())
        return div("download", element("b", escaped(name)), words, _act("dismiss", "Dismiss", number))
    if not one.under_way:
        return div("download", element("b", escaped(name)), span("", "is here." if one.entry else "cancelled."))
    progress = one.progress
    left = f", {duration(progress.seconds_left)} left" if progress.seconds_left is not None else ""
    told = {"listing": "asking the hub", "checking": "checking"}.get(
        one.state, f"{size(progress.done)} of {size(progress.whole)}{left}"
    )
    bar = progress_bar(progress.done / progress.whole if progress.whole else 0.0)
    return div("download", element("b", escaped(name)), bar, span("", told), _act("cancel", "Cancel", number))


def _act(act: str, label: str, number: int) -> Markup:
    return button(act, label, "small", to="models", text=str(number))


def files(found: Sequence[tuple[str, int]]) -> list[tuple[str, str]]:
    """Choices for a repository's GGUFs, with their sizes."""
    return [(f"{one_line(name, 80)} ({size(number)})", name) for name, number in found]


def note(text: str, bad: bool = False) -> Markup:
    """What just happened, in a sentence."""
    return div(f"models-note{' warn' if bad else ''}", escaped(text)) if text else NOTHING


def size(number: int) -> str:
    """`98 MB`, `1.4 GB`."""
    return f"{number / 1e9:.1f} GB" if number >= 1e9 else f"{max(1, round(number / 1e6))} MB"


def _parameters(number: int) -> str:
    if not number:
        return ""
    return f"{number / 1e9:.1f} B parameters" if number >= 1e9 else f"{round(number / 1e6)} M parameters"


def title(entry: ModelEntry) -> str:
    return one_line(entry.title or entry.name, 80)
