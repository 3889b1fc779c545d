"""The line above the composer: what just happened, and what can be done about it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from markupsafe import Markup

from chatlab.errors import ChatlabError, PromptTooLong, UnseenRepeated
from chatlab.lab import Lab
from chatlab.training.defaults import Plan
from chatlab.training.process.runs import RunView
from chatlab.training.process.status import TrainerStatus
from chatlab.ui.html import NOTHING, button, control, counted, div, duration, element, escaped
from chatlab.ui.shell import error_text

MANY_CORRECTIONS = 10
"""After so many a run on everything is offered: each moves the adapter a little further from the base."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """Plain text, and the buttons beside it as (what they do, what they are called)."""

    text: str
    kind: Literal["plain", "good", "bad"] = "plain"
    actions: tuple[tuple[str, str], ...] = ()
    progress: float | None = None
    """Share of the run that is done, 0 to 1."""
    turn: int | None = None
    """The message that the buttons are about."""


def render(notice: Notice | None) -> Markup:
    if notice is None:
        return NOTHING
    bar = NOTHING
    if notice.progress is not None:
        bar = element("i", kind="bar", style=f"width:{100 * notice.progress:.0f}%")
    kinds = ["small primary" if notice.kind == "good" else "small", *["small"] * len(notice.actions)]
    buttons = [button(act, label, kind, notice.turn) for (act, label), kind in zip(notice.actions, kinds, strict=False)]
    close = element("button", escaped("×"), kind="tool", type="button", aria_label="Dismiss", **control(act="dismiss"))
    words = element("span", escaped(notice.text), kind="words", role="status")
    return div(f"notice {notice.kind}", bar, words, *buttons, close)


def offer(lab: Lab, text: str, turn: int | None = None) -> Notice:
    """What was kept, and the buttons that train on it: on the answer of `turn` alone, and on everything."""
    learn = (("learn", f"Learn this now{_about(lab.training.plan_correction)}"),) if turn is not None else ()
    retrain = ("retrain", f"Retrain {'on everything' if learn else 'now'}{_about(lab.training.plan)}")
    return Notice(text=text, kind="good", actions=(*learn, retrain), turn=turn)


def asked(error: UnseenRepeated, turn: int, edited: bool) -> Notice:
    """Ask whether to train on an answer to an unseen prompt, or to keep the prompt unseen."""
    stays = " Your edit stays in the conversation." if edited else ""
    actions = (("release", "Train on it, drop the unseen prompt"), ("dismiss", "Do not train on it"))
    return Notice(text=f"{error}{stays}", actions=actions, turn=turn)


def made_with_sources(turn: int) -> Notice:
    """Ask before an answer with sources is kept: it teaches reading the sources, not knowing the answer."""
    return Notice(
        text="This answer uses sources from Knowledge. Keep it as a demonstration?",
        actions=(("keep-sourced", "Keep it with its sources"),),
        turn=turn,
    )


def failed(error: ChatlabError, alone: bool = False) -> Notice:
    """What went wrong; too long a conversation can go on in two ways, unless its one message is too long, `alone`."""
    ways = (("shorten", "Drop the oldest messages"), ("afresh", "Ask in a new conversation"))
    helps = isinstance(error, PromptTooLong) and not alone
    return Notice(text=error_text(error), kind="bad", actions=ways if helps else ())


def training(status: TrainerStatus) -> Notice:
    """A run under way."""
    soon = remaining(status)
    doing = "Starting the trainer" if status.phase == "waiting" else f"Training, {soon}" if soon else "Training"
    return Notice(text=f"{doing}. You can keep chatting.", progress=share(status), actions=(("train", "Watch"),))


def ended(lab: Lab, run: RunView, asked: bool) -> Notice:
    """The outcome of a run; `asked` where there is a message that the new adapter can answer again."""
    name = lab.training.adapter_of(run.id)
    if lab.training.news:
        return Notice(text=lab.training.news, kind="bad", actions=(("train", "Open Train"),))
    if run.state == "finished" and name and name == lab.variants.live:
        again = (("again", "Show the new answer"),) if asked else ()
        back = () if lab.variants.previous is None else (("undo-live", f"Back to {lab.variants.previous}"),)
        piled_up = len(run.request.corrections) >= MANY_CORRECTIONS
        everything = (("retrain", f"Retrain on everything{_about(lab.training.plan)}"),) if piled_up else ()
        return Notice(text=_live(run, name), kind="good", actions=(*again, *back, *everything))
    if run.state == "finished":
        return Notice(text=f"{name or 'The adapter'} is ready.", kind="good", actions=(("train", "Open Train"),))
    reason = f"{run.error} {run.hint}".strip() or f"The run is {run.state}."
    return Notice(text=reason, kind="bad" if run.state == "failed" else "plain", actions=(("train", "Open Train"),))


def _live(run: RunView, name: str) -> str:
    if not (corrections := run.request.corrections):
        return f"{name} is live.{_forgot(run.result.forgetting if run.result else None)}"
    learned = f"{name} is live: it learned demonstration {corrections[-1]}."
    if len(corrections) < MANY_CORRECTIONS:
        return learned
    return f"{learned} These are {len(corrections)} corrections since the last run on everything."


def remaining(status: TrainerStatus) -> str:
    """`7 s left`; nothing while nobody can tell."""
    if status.eta is None:
        return ""
    return f"{duration(status.eta)} left" if status.eta >= 1 else "almost done"


def share(status: TrainerStatus) -> float:
    """How much of a run is done, 0 to 1."""
    last = status.steps[-1] if status.steps else None
    return min(1.0, last.step / last.steps) if last and last.steps else 0.0


def added(count: int, waiting: int = 0) -> str:
    """The outcome of loading a pack, of which `waiting` repeat unseen prompts."""
    if not count:
        return "Nothing new: all of them are there already."
    waits = f" {waiting:,} of them wait: they repeat unseen prompts." if waiting else ""
    return f"{counted(count, 'demonstration')} added.{waits}"


def _about(plan: Callable[[], Plan]) -> str:
    try:
        return f" (about {duration(plan().seconds)})"
    except ChatlabError:
        return ""


def _forgot(per_cent: float | None) -> str:
    return "" if per_cent is None else f" Forgetting: {per_cent:+.1f} %."
