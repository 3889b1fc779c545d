"""Held-out bits per byte at each checkpoint, as rows and as a picture."""

from pathlib import Path
from typing import Any

from chatlab.system.lines import json_rows


def rows(log: Path) -> list[dict[str, Any]]:
    """The measurements in a run's log: step, tokens, cool_down and bits by source."""
    lines = json_rows(log)
    return [line for line in lines if "bits" in line]


def draw(measured: list[dict[str, Any]], path: Path) -> None:
    """A line for each source; the cool-down is dashed, from where it branched off."""
    from matplotlib.figure import Figure  # only here is it needed

    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    stable = [row for row in measured if not row["cool_down"]]
    cooled = [row for row in measured if row["cool_down"]]
    if cooled:
        cooled = [row for row in stable if row["tokens"] < cooled[0]["tokens"]][-1:] + cooled
    for number, name in enumerate(measured[0]["bits"]):
        for part, dash in ((stable, "-"), (cooled, "--")):
            x = [row["tokens"] / 1e6 for row in part]
            label = name if dash == "-" else None
            axes.plot(x, [row["bits"][name] for row in part], dash, color=f"C{number}", label=label)
    axes.set(xlabel="tokens seen, millions", ylabel="held-out bits per byte", title="dashed: cool-down")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    figure.savefig(path, dpi=90)
