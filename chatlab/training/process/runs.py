"""A run is a folder: its request, its steps so far, its result. Read here without torch.

    run.json        Request, written once by whoever asks for the run
    start/          PEFT folder of the adapter that a correction goes on from
    snapshot.jsonl  the demonstrations as they were then, a line each: {"id": ..., "messages": [...]}; of preferences
                    the messages end with the chosen answer, and "rejected" is the other, or "liked" is true or false
    steps.jsonl     one Step a line, appended as they are made
    checkpoint/     from which an interrupted run goes on
    kept/18/        PEFT folder of what the adapter was after step 18, where the run was evaluated
    adapter/        PEFT folder, once finished
    result.json     Result, the last thing written
    forgetting.json Forgetting, measured after a correction is finished
    stopped, error.json   how a run ended without a result; removed when it goes on
    worker.lock     locked by the process that works on it, freed by the system when that process ends

What a run's state is follows from which of these are there.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from filelock import FileLock, Timeout

from chatlab.errors import TrainingError
from chatlab.former_names import current_fields
from chatlab.measurements import PreferenceMetrics, Step
from chatlab.records import TrainSettings
from chatlab.system.codec import from_document
from chatlab.system.files import private_folder, write_whole

RunState = Literal["waiting", "running", "stopped", "interrupted", "finished", "failed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What a run is to compute."""

    base: str
    """Fingerprint of the base."""
    base_folder: str
    base_name: str = ""
    """What the base is called; empty in requests from before names were kept."""
    snapshot: str
    """sha256 of snapshot.jsonl."""
    settings: TrainSettings = field(default_factory=TrainSettings)
    demonstrations: tuple[int, ...] = ()
    preferences: tuple[int, ...] = ()
    """Of a run on preferences: their ids in the store; below 0 those that were made for the run."""
    name: str = ""
    """What the adapter should be called."""
    parent: str = ""
    """The adapter that was live when this was asked."""
    created: str = ""
    """ISO 8601, UTC."""
    live: bool = True
    """Whether the adapter is to go live when it is done."""
    corrections: tuple[int, ...] = ()
    """Demonstrations learned one at a time since the last run from the base. The last is to be learned now, going on
    from the adapter in `start/`, if there is one. Empty for a run from the base."""
    held_back: tuple[int, ...] = ()
    """Approved demonstrations that were left out, because they ask what the unseen prompts asked then."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dropped:
    """A demonstration that was left out of a run, and why."""

    id: int
    """0 for a line of the snapshot that cannot be read."""
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What came of a finished run."""

    adapter: str
    """sha256 of adapter_model.safetensors."""
    template: str
    """sha256 of the chat template."""
    steps: int
    stopped_early: bool = False
    demonstrations: tuple[int, ...] = ()
    """Trained on; neither dropped nor held out. Of a run on preferences these are theirs, as in `held_out`."""
    held_out: tuple[int, ...] = ()
    """Held out to measure on."""
    questions: int = 0
    """Different questions among all of these; 0 in results from before they were counted."""
    held_out_questions: int = 0
    """Those held out. Nothing that was trained on asks them."""
    dropped: tuple[Dropped, ...] = ()
    loss: float | None = None
    """Mean over the last epoch, nats per token."""
    held_out_before: float | None = None
    held_out_after: float | None = None
    forgetting: float | None = None
    """Per cent by which perplexity on held-out general text rose."""
    forgetting_interval: tuple[float, float] | None = None
    kl: float | None = None
    """KL divergence from the base on the answers of held-out demonstrations, nats per token; in a run on preferences
    from the adapter that it began with, on the chosen answers of held-out pairs."""
    preferences: PreferenceMetrics | None = None
    """How held-out pairs are ranked; None for a run on demonstrations, or where no pair is held out."""
    parameters: int = 0
    base_parameters: int = 0
    tokens: int = 0
    """Demonstration tokens read, all epochs, padding not counted."""
    seconds: Mapping[str, float] = field(default_factory=dict)
    """By phase: queue, tokenise, steps, evaluate, save."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Forgetting:
    """By how much perplexity on held-out general text rose, per cent."""

    per_cent: float
    interval: tuple[float, float]
    """95 % bootstrap interval over documents."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunView:
    """A run's folder as it stands."""

    id: str
    folder: Path
    request: Request
    steps: tuple[Step, ...]
    state: RunState
    result: Result | None = None
    error: str = ""
    hint: str = ""

    @property
    def adapter(self) -> Path:
        """The finished PEFT folder."""
        return self.folder / "adapter"

    @property
    def start(self) -> Path:
        """The PEFT folder that a correction goes on from."""
        return self.folder / "start"

    @property
    def checkpoints(self) -> dict[int, Path]:
        """By step, PEFT folders of what the adapter was after it."""
        found = (folder for folder in (self.folder / "kept").glob("*") if folder.name.isdecimal())
        return {int(folder.name): folder for folder in sorted(found, key=lambda folder: int(folder.name))}


def read_forgetting(run: Path) -> Forgetting | None:
    """What was measured after a correction; None as long as it was not."""
    try:
        raw = _json_or_empty(run / "forgetting.json")
        low, high = raw["interval"]
        return Forgetting(per_cent=raw["per_cent"], interval=(low, high))
    except (KeyError, TypeError, ValueError, OSError):
        return None


def write_request(run: Path, request: Request) -> None:
    """Make `run` a run that a TrainerClient can start; its snapshot.jsonl is written beside it by the store."""
    private_folder(run)
    write_json(run / "run.json", asdict(request))


def write_failure(run: Path, message: str, hint: str) -> None:
    """Make `run` one that failed, with the reason. Where the disk is full it stays as it was."""
    with suppress(OSError):
        write_json(run / "error.json", {"message": message, "hint": hint})


def read_request(run: Path) -> Request:
    """Raises FileNotFoundError where `run` is no run."""
    raw = json.loads((run / "run.json").read_text(encoding="utf-8"))
    raw["settings"] = TrainSettings(**current_fields(TrainSettings, raw["settings"]))
    raw["demonstrations"] = tuple(raw["demonstrations"])
    raw["held_back"] = tuple(raw.get("held_back", ()))
    raw["corrections"] = tuple(raw.get("corrections", ()))
    raw["preferences"] = tuple(raw.get("preferences", ()))
    return Request(**current_fields(Request, raw))


def read_run(run: Path) -> RunView:
    """What has become of `run` so far. Raises FileNotFoundError for what is no run, TrainingError for a damaged one."""
    try:
        return _read_run(run)
    except FileNotFoundError:
        raise
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise TrainingError(
            f"The folder of run {run.name} is damaged: {error}.", "Delete that folder; its adapter, if any, stays."
        ) from error


def _read_run(run: Path) -> RunView:
    error = _json_or_empty(run / "error.json")
    result = _json_or_empty(run / "result.json")
    return RunView(
        id=run.name,
        folder=run,
        request=read_request(run),
        steps=tuple(read_steps(run)),
        state=_state(run, bool(result), bool(error)),
        result=_result(result) if result else None,
        error=error.get("message", ""),
        hint=error.get("hint", ""),
    )


def read_steps(run: Path) -> Iterator[Step]:
    """Steps in order. A last line torn by a kill is left out."""
    try:
        lines = (run / "steps.jsonl").read_bytes().split(b"\n")[:-1]
    except FileNotFoundError:
        return
    for line in lines:
        with suppress(ValueError, TypeError, AttributeError):  # a damaged line costs a point of the curve, no more
            yield Step(**current_fields(Step, json.loads(line)))


def list_runs(runs: Path) -> list[RunView]:
    """All runs in a folder that can be read, newest first."""
    views = [view for view in _views(runs).values() if isinstance(view, RunView)]
    return sorted(views, key=lambda r: (r.request.created, r.id), reverse=True)


def damaged_runs(runs: Path) -> dict[str, str]:
    """The folders that cannot be read, by name, and why."""
    return {name: str(view) for name, view in _views(runs).items() if isinstance(view, TrainingError)}


def _views(runs: Path) -> dict[str, RunView | TrainingError]:
    found: dict[str, RunView | TrainingError] = {}
    for file in runs.glob("*/run.json") if runs.is_dir() else ():
        try:
            found[file.parent.name] = read_run(file.parent)
        except FileNotFoundError:  # discarded meanwhile
            continue
        except TrainingError as error:
            found[file.parent.name] = error
    return found


def lock_of(run: Path) -> FileLock:
    """Held by the process that works on `run`."""
    return FileLock(run / "worker.lock")


def write_json(path: Path, value: object) -> None:
    """Whole or not at all, and on disk when this returns."""
    write_whole(path, json.dumps(value, indent=1).encode())


def _state(run: Path, finished: bool, failed: bool) -> RunState:
    if finished:
        return "finished"
    if _is_worked_on(run):
        return "running"
    if failed:
        return "failed"
    if (run / "stopped").exists():
        return "stopped"
    return "interrupted" if (run / "worker.lock").exists() else "waiting"


def _is_worked_on(run: Path) -> bool:
    if not (run / "worker.lock").exists():
        return False
    try:
        with lock_of(run).acquire(blocking=False):
            return False
    except Timeout:
        return True


def _json_or_empty(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return {}


def _result(raw: dict[str, Any]) -> Result:
    interval = raw.get("forgetting_interval")
    raw["forgetting_interval"] = tuple(interval) if interval else None
    raw["dropped"] = tuple(Dropped(**d) for d in raw["dropped"])
    raw["demonstrations"], raw["held_out"] = tuple(raw["demonstrations"]), tuple(raw["held_out"])
    ranked = raw.get("preferences")
    raw["preferences"] = from_document(PreferenceMetrics, ranked) if ranked else None
    return Result(**current_fields(Result, raw))
