"""A run as HTML: each function makes one piece, or a plain line."""

from __future__ import annotations

from dataclasses import asdict

from markupsafe import Markup

from chatlab.measurements import ReplyMetrics
from chatlab.records import PREFERENCE_FIELDS, AdapterCard, TrainSettings
from chatlab.training.process.runs import RunView, read_forgetting
from chatlab.training.process.status import TrainerStatus
from chatlab.ui.html import NOTHING, counted, div, duration, element, escaped, joined, one_line, progress_bar, span
from chatlab.ui.train.plots import sparkline
from chatlab.ui.train.preference_report import preferred
from chatlab.ui.train.settings import label
from chatlab.ui.verdict import verdict

PHASES = {
    "waiting": "Starting the trainer",
    "tokenise": "Tokenizing",
    "steps": "Training",
    "evaluate": "Evaluating",
    "save": "Saving the adapter",
}
STATES = {
    "waiting": "has not started",
    "running": "in progress",
    "stopped": "stopped and can be resumed",
    "interrupted": "was interrupted and can be resumed",
    "finished": "finished",
    "failed": "failed",
}


def name_of(run: RunView, adapter: str | None = None) -> str:
    """Its adapter's name, the requested name, or the time of the request."""
    return adapter or run.request.name or run.request.created[:16].replace("T", " ") or run.id


def heading(run: RunView, adapter: str | None, live: bool) -> Markup:
    chips = span(f"chip state-{run.state}", run.state) + (span("chip good", "live") if live else NOTHING)
    return div("run-head", span("run-name", name_of(run, adapter)), chips)


def progress(run: RunView, status: TrainerStatus) -> Markup:
    """The bar and what is being done; only for a run under way."""
    made = run.steps[-1].step if run.steps else 0
    length = run.steps[-1].steps if run.steps else 0
    left = f"{duration(status.eta)} left" if status.eta is not None and status.phase == "steps" else ""
    count = f"step {made} of {length}" if length else ""
    doing = "Saving the adapter" if run.result else PHASES.get(status.phase, "Starting")
    words = " · ".join(part for part in (doing, count, left) if part)
    bar = progress_bar(made / max(1, length))
    return div("run-progress", bar, span("run-phase", words), _warning(status.message))


def ended(run: RunView, card: AdapterCard | None, news: str = "", evaluated: bool = True) -> Markup:
    """The outcome of a run: the verdict, or why there is none. `card` belongs to its adapter.

    Until it is `proven` the unseen prompts are still being asked.
    """
    if run.result is None:
        return div(
            "run-ended",
            span("", f"This run {STATES[run.state]}."),
            _warning(f"{run.error} {run.hint}".strip()),
            _warning(news),
        )
    result = run.result
    late = read_forgetting(run.folder) if run.request.corrections else None
    found = verdict(late.per_cent, late.interval) if late else verdict(result.forgetting, result.forgetting_interval)
    figures = div("figures", _figure("Forgetting", found.figure, found.colour), _learned(run), _took(run))
    learned = "preference" if run.request.preferences else "demonstration"
    facts = [f"{counted(len(result.demonstrations), learned)} trained", f"{result.steps} steps"]
    if run.request.corrections:
        replayed = len(result.demonstrations) - 1
        facts[0] = f"Learned demonstration {run.request.corrections[-1]}, {replayed} replayed"
    if result.base_parameters:
        facts.append(f"{result.parameters / result.base_parameters:.1%} of the base model")
    if card is None:
        facts.append("the adapter is not in the list")
    if result.stopped_early:
        facts.append("stopped early")
    return div(
        "run-ended",
        div(f"verdict {found.colour}", span("", found.words)),
        figures,
        preferred(run),
        _manners(card, evaluated),
        div("faint", span("", " · ".join(facts))),
        _dropped(run),
        _held_back(run),
        _warning(news),
    )


def settings_table(settings: TrainSettings) -> Markup:
    rows = (
        element("tr", element("td", span("", label(name))) + element("td", span("", _plain(value))))
        for name, value in asdict(settings).items()
        if settings.loss != "sft" or name not in PREFERENCE_FIELDS
    )
    return element("table", joined(rows), kind="settings")


def row(run: RunView, adapter: str | None) -> str:
    """Two plain lines for the list of runs."""
    facts = [
        counted(len(run.request.preferences), "preference")
        if run.request.preferences
        else counted(len(run.request.demonstrations), "demo")
    ]
    if run.result is not None:
        if run.result.held_out_after is not None:
            facts.append(f"loss {run.result.held_out_after:.2f}")
        if run.result.forgetting is not None:
            facts.append(f"forgetting {run.result.forgetting:+.1f} %")
        facts.append(duration(sum(run.result.seconds.values())))
    line = sparkline([s.loss for s in run.steps if s.step > 0])
    return f"{one_line(name_of(run, adapter), 40)} · {run.state}\n{' · '.join(facts)}  {line}".rstrip()


def _learned(run: RunView) -> Markup:
    result = run.result
    if run.request.corrections or run.request.preferences:
        return NOTHING  # what is held out of these is told otherwise
    if result is None or result.held_out_before is None or result.held_out_after is None:
        few = (
            f"{counted(result.questions, 'different question')} are too few to hold any out"
            if result and result.questions
            else ""
        )
        return _figure("Held-out loss", "too few to hold any out", "unknown", few)
    better = "good" if result.held_out_after < result.held_out_before else "bad"
    words = f"{result.held_out_before:.2f} → {result.held_out_after:.2f}"
    asked = (
        f"{result.held_out_questions} of {counted(result.questions, 'different question')}" if result.questions else ""
    )
    return _figure("Held-out loss", words, better, asked)


def _manners(card: AdapterCard | None, evaluated: bool) -> Markup:
    """The base and the adapter on the unseen prompts, figure by figure."""
    if card is None or card.reply_metrics_before is None or card.reply_metrics_after is None:
        return NOTHING if evaluated else div("faint", span("", "Answering the unseen prompts …"))
    before, after = card.reply_metrics_before, card.reply_metrics_after
    rows = (
        ("On-format", _of(before.well_formed, before), _of(after.well_formed, after)),
        ("Stop by themselves", _of(before.stops, before), _of(after.stops, after)),
        ("Write the user's turn", _of(before.role_leaks, before), _of(after.role_leaks, after)),
        ("Tokens per answer", f"{before.tokens:.0f}", f"{after.tokens:.0f}"),
        ("KL to base (nats per token)", "0", "" if card.kl is None else f"{card.kl:.2f}"),
    )
    head = element("tr", joined(element("th", escaped(name)) for name in ("On unseen prompts", "Base", "Adapter")))
    body = joined(element("tr", joined(element("td", escaped(cell)) for cell in row)) for row in rows)
    return div("samples manners", element("table", head + body))


def _of(count: int, manner: ReplyMetrics) -> str:
    return f"{count} of {manner.replies}"


def _took(run: RunView) -> Markup:
    seconds = run.result.seconds if run.result else {}
    parts = ", ".join(f"{phase} {value:.1f} s" for phase, value in seconds.items())
    return _figure("Time", duration(sum(seconds.values())), "unknown", parts)


def _figure(label: str, value: str, colour: str, title: str = "") -> Markup:
    return element(
        "div", span("figure-label", label) + span(f"figure-value {colour}", value), kind="figure", title=title
    )


def _dropped(run: RunView) -> Markup:
    dropped = run.result.dropped if run.result else ()
    if not dropped:
        return NOTHING
    reasons = "; ".join(f"{d.id}: {d.reason}" if d.id else d.reason for d in dropped[:10])
    return _warning(f"{counted(len(dropped), 'demonstration')} left out. {reasons}")


def _held_back(run: RunView) -> Markup:
    """What was approved and yet not learned, so that the unseen prompts stayed unseen."""
    ids = run.request.held_back
    if not ids:
        return NOTHING
    named = ", ".join(map(str, ids[:10])) + (" and more" if len(ids) > 10 else "")
    return _warning(f"{counted(len(ids), 'demonstration')} left out for repeating unseen prompts: {named}.")


def _warning(text: str) -> Markup:
    return div("warning", span("", text)) if text else NOTHING


def _plain(value: object) -> str:
    return (
        ("yes" if value else "no")
        if isinstance(value, bool)
        else f"{value:g}"
        if isinstance(value, float)
        else str(value)
    )
