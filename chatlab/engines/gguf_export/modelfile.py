"""A chat template in Ollama's language, derived from what the Jinja template makes of a conversation."""

from __future__ import annotations

from chatlab.engines.base import Sampling
from chatlab.records import Message
from chatlab.template import Template

WITHOUT = (
    "This chat template cannot be written in Ollama's language, so the Modelfile has no TEMPLATE. Ollama then uses the "
    "one inside the GGUF as far as it can read it, and its prompts may not be those that the adapter was trained on."
)
_MARKS = ("SAID0", "SAID1", "SAID2", "SAID3")


def modelfile(template: Template, weights: str, sampling: Sampling) -> str:
    """The text of a Modelfile beside the GGUF file called `weights`.

    Where the template cannot be written in Ollama's language, the file says so and leaves it to Ollama.
    """
    lines = [f"FROM ./{weights}"]
    go = go_template(template)
    if go and '"""' not in go:
        lines.append(f'TEMPLATE """{go}"""')
    else:
        lines.append(f"# {WITHOUT}")
    lines += [f'PARAMETER stop "{template.text([stop])}"' for stop in sorted(template.stop_ids)]
    lines.append(f"PARAMETER temperature {sampling.temperature}")
    lines.append(f"PARAMETER top_p {sampling.top_p}")
    lines.append(f"PARAMETER repeat_penalty {sampling.repetition_penalty}")
    return "\n".join(lines) + "\n"


def go_template(template: Template) -> str:
    """Ollama's template; empty where the Jinja template does more than put text around each message."""
    roles = ("system", "user", "assistant", "user")
    messages = [Message(role=role, content=mark) for role, mark in zip(roles, _MARKS, strict=True)]  # type: ignore[arg-type]
    own = slice(0 if template.begin is None else 1, None)  # Ollama puts that token there itself, as the file says
    whole = template.text(template.prompt(messages)[own])
    short = template.text(template.prompt(messages[1:2])[own])
    positions = [whole.find(mark) for mark in _MARKS]
    if positions != sorted(positions) or any(whole.count(mark) != 1 for mark in _MARKS) or short.count("SAID1") != 1:
        return ""
    before, rest = whole.split("SAID0")
    between, rest = rest.split("SAID1")
    asking, rest = rest.split("SAID2")
    turning, ending = rest.split("SAID3")
    begin, request = short.split("SAID1")
    opening = _opening(begin, turning, [template.text([stop]) for stop in template.stop_ids])
    closing = turning.removesuffix(opening)
    start = begin.removesuffix(opening)
    after = between.removesuffix(opening)
    if not (opening and between.endswith(opening)):
        return ""
    default = ""
    if not before.startswith(start):  # it begins with a system message of its own where none is given
        if not (before and start.startswith(before) and start.endswith(after) and len(start) >= len(before + after)):
            return ""
        start, default = "", start
    if not asking == ending == request:
        return ""
    parts = {
        "system": f"{before[len(start) :]}{{{{ .Content }}}}{after}",
        "user": f"{opening}{{{{ .Content }}}}{ending}",
        "assistant": f"{{{{ .Content }}}}{closing}",
    }
    if any("{{" in text.replace("{{ .Content }}", "") for text in (*parts.values(), start, default)):
        return ""
    if default:
        start = f"{{{{ if not .System }}}}{default}{{{{ end }}}}"
    (first, text), *others = parts.items()
    body = f'{{{{ if eq .Role "{first}" }}}}{text}'
    body += "".join(f'{{{{ else if eq .Role "{role}" }}}}{text}' for role, text in others)
    return f"{start}{{{{ range .Messages }}}}{body}{{{{ end }}}}{{{{ end }}}}"


def _opening(begin: str, turning: str, stops: list[str]) -> str:
    """The text before every user message: the suffix that a first and a later turn share, past the answer's stop."""
    past = min((turning.find(stop) + len(stop) for stop in stops if stop in turning), default=len(turning))
    return next((turning[at:] for at in range(past, len(turning)) if begin.endswith(turning[at:])), "")
