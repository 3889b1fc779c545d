"""The model card that lies in an adapter's folder, for people and for other PEFT programs."""

from __future__ import annotations

import json

from chatlab.records import AdapterCard


def readme(card: AdapterCard) -> str:
    """Front matter as model hubs read it, then what the adapter is, in a table."""
    return "\n".join(
        [
            "---",
            f"base_model: {json.dumps(card.base_name or 'unknown')}",
            "library_name: peft",
            "pipeline_tag: text-generation",
            "tags:",
            "- lora",
            "- chatlab",
            "---",
            "",
            f"# {card.name}",
            "",
            *(_BROUGHT if card.origin else (_trained(card), *_TRAINED)),
            "",
            "| | |",
            "|---|---|",
            *(f"| {what} | {said} |" for what, said in _facts(card) if said),
            "",
        ]
    )


_BROUGHT = (
    "A LoRA adapter that was trained elsewhere and brought to Chatlab. Load it with PEFT on the base named above.",
    "Nothing is known of its training; `card.json` holds what was measured of it here.",
)
_TRAINED = (
    "the base named above; `card.json` holds everything that is known about it, `demonstrations.jsonl` the",
    "words it learned from. That file can be taken out before the adapter is given to somebody else.",
)


def _trained(card: AdapterCard) -> str:
    learned = f"{len(card.demonstrations)} demonstrations"
    if card.preferences:
        learned += f" and then {len(card.preferences)} preferences"
    return f"A LoRA adapter, trained with Chatlab on {learned}. Load it with PEFT on"


def _facts(card: AdapterCard) -> list[tuple[str, str]]:
    settings = card.settings
    return [
        ("base", f"`{_plain(card.base_name)}`, fingerprint `{card.base}`"),
        ("chat template", f"`{card.template}`" if card.template else ""),
        ("brought" if card.origin else "trained", _plain(card.created)),
        ("from", _plain(card.origin)),
        ("then on", f"{len(card.preferences)} preferences, loss {settings.loss}" if card.preferences else ""),
        ("trained on", f"demonstrations {_ranges(card.demonstrations)}" if card.demonstrations else ""),
        (
            "settings",
            f"rank {settings.rank}, alpha {settings.alpha:g}"
            if card.origin
            else f"rank {settings.rank}, alpha {settings.alpha:g}, learning rate {settings.learning_rate:g}, "
            f"{settings.epochs} epochs, batch size {settings.batch_size}, KL weight {settings.kl_weight:g}, "
            f"seed {settings.seed}",
        ),
        (
            "steps",
            ""
            if card.origin
            else f"{card.steps} in {card.seconds:.1f} s" + (", stopped early" if card.stopped_early else ""),
        ),
        ("size", _size(card)),
        ("held-out loss", _before_and_after(card)),
        ("forgetting", _forgetting(card)),
    ]


def _size(card: AdapterCard) -> str:
    share = f" ({100 * card.parameters / card.base_parameters:.2f} % of the base)" if card.base_parameters else ""
    return f"{card.parameters:,} parameters{share}"


def _before_and_after(card: AdapterCard) -> str:
    if card.held_out_before is None or card.held_out_after is None:
        return ""
    asked = f", on {card.held_out_questions} of {card.questions} different questions" if card.questions else ""
    return f"{card.held_out_before:.3f} before, {card.held_out_after:.3f} after{asked}"


def _forgetting(card: AdapterCard) -> str:
    """The rise of perplexity on general text, per cent."""
    if card.forgetting is None:
        return ""
    interval = card.forgetting_interval
    return f"{card.forgetting:+.1f} %" + (f" (95 %: {interval[0]:+.1f} to {interval[1]:+.1f})" if interval else "")


def _ranges(ids: tuple[int, ...]) -> str:
    """`1-3, 7` for 1, 2, 3, 7."""
    runs: list[list[int]] = []
    for number in sorted(ids):
        if runs and number == runs[-1][-1] + 1:
            runs[-1][1:] = [number]
        else:
            runs.append([number])
    return ", ".join("-".join(map(str, run)) for run in runs)


def _plain(text: str) -> str:
    """Free text that cannot break out of its table cell."""
    return "".join(letter if letter.isprintable() and letter not in "|`<>" else " " for letter in text)
