"""What a model's headers say of it: config.json and the headers of safetensors, or a GGUF's."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from chatlab.errors import BaseError, BaseRefused
from chatlab.models.checks import CONTEXT_KEYS, check_config
from chatlab.models.files import TEMPLATES, check_tokenizer_files, is_there, read_file, read_json
from chatlab.models.gguf.header import Header, check_model, read_header
from chatlab.models.gguf_file import stamp
from chatlab.models.inventory import take_inventory
from chatlab.models.layout import find
from chatlab.models.library.entry import ModelEntry, ModelFacts
from chatlab.models.library.memory import Sizes, chat_bytes, training_bytes
from chatlab.models.trainable import check_trainable
from chatlab.models.weights import Tensor

NO_TEMPLATE = (
    "It has no chat template, so nobody can tell how to ask it. Give it one in the Models panel{beside}, or choose its "
    "instruct or chat version."
)
DTYPES = {"BF16": "bfloat16", "F16": "float16", "F32": "float32", "F64": "float64"}
LARGEST = 1 << 40
"""Of a size that a header claims; no network has a larger one."""
LARGEST_CARD = 1 << 20
"""Bytes of a model card or a licence of which the beginning is read."""
LONGEST = 80
"""Characters of a licence's name."""
_CARD_LICENCE = re.compile(r"^license(?:_name)?:\s*[\"']?([^\s\"'#\[][^\n\"'#]*)", re.MULTILINE)


def read_facts(entry: ModelEntry) -> ModelFacts:
    """Never raises for what is wrong with a model: `unusable` says it."""
    try:
        return examine(entry)
    except BaseError as error:
        return ModelFacts(unusable=_sentence(error))


def examine(entry: ModelEntry) -> ModelFacts:
    """Raises BaseMissing or BaseRefused for what is no model, damaged, unreadable, or could run a program."""
    if entry.problem:
        raise BaseRefused(entry.problem)
    try:
        return _of_gguf(entry) if entry.kind == "gguf" else _of_folder(entry)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise BaseRefused(f"{entry.name} cannot be read: {reason}.", "Look at its permissions.") from error


def _sentence(error: BaseError) -> str:
    return f"{error} {error.hint}".strip()


def _no_template(entry: ModelEntry, name: str) -> str:
    """Another program's folder is no place to put a file into."""
    return NO_TEMPLATE.format(beside="" if entry.source == "found" else f", put one beside it as {name}")


def _of_gguf(entry: ModelEntry) -> ModelFacts:
    stamp(entry.path)
    header = read_header(entry.path)
    check_model(header)
    sizes = _gguf_sizes(header)
    template = bool(header.values.get("tokenizer.chat_template")) or entry.path.with_suffix(".jinja").is_file()
    untrainable = _gguf_untrainable(header)
    return ModelFacts(
        parameters=sizes.parameters,
        quantisation=_gguf_quantisation(header),
        context=sizes.context,
        licence=entry.licence or _short(header.text("general.license")) or _first_line(entry.licence_file),
        template=template,
        architecture=header.architecture,
        chat_bytes=chat_bytes(sizes, header.size),
        training_bytes=0 if untrainable else training_bytes(sizes),
        unusable="" if template else _no_template(entry, entry.path.with_suffix(".jinja").name),
        untrainable=untrainable,
    )


def _gguf_sizes(header: Header) -> Sizes:
    def number(key: str, default: int = 0) -> int:
        return min(LARGEST, max(0, header.number(f"{header.architecture}.{key}", default)))

    width = number("embedding_length")
    heads = max(1, number("attention.head_count", 1))
    embedding = header.tensors.get("token_embd.weight")
    return Sizes(
        parameters=sum(t.numbers for name, t in header.tensors.items() if not name.startswith("rope_")),
        layers=number("block_count"),
        width=width,
        kv_width=number("attention.head_count_kv", heads) * number("attention.key_length", width // heads),
        vocabulary=embedding.shape[-1] if embedding else 0,
        context=number("context_length"),
    )


def _gguf_quantisation(header: Header) -> str:
    """As the file calls its mixture, "Q4_K_M"; else the type that most of its bytes have."""
    from gguf import GGMLQuantizationType, LlamaFileType

    most: Counter[int] = Counter()
    for tensor in header.tensors.values():
        most[tensor.kind] += tensor.size
    by_bytes = GGMLQuantizationType(most.most_common(1)[0][0]).name
    try:
        name = LlamaFileType(header.number("general.file_type", -1)).name.removeprefix("MOSTLY_").removeprefix("ALL_")
    except ValueError:
        name = ""
    known = name and not name.startswith("GUESSED")
    return {"F32": "float32", "F16": "float16", "BF16": "bfloat16"}.get(
        name if known else by_bytes, name if known else by_bytes
    )


def _gguf_untrainable(header: Header) -> str:
    """As `Base.check_trainable` finds it."""
    from chatlab.models.gguf.config import network, tensors_of

    try:
        tensors_of(header, network(header))
    except BaseRefused as refused:
        return _sentence(refused)
    return ""


def _of_folder(entry: ModelEntry) -> ModelFacts:
    layout = find(entry.path)
    config = read_json(layout.folder / "config.json")
    check_config(config, entry.name)
    held = take_inventory(layout.weights, config)
    tensors = held.tensors
    check_tokenizer_files(layout.folder)
    sizes = _folder_sizes(config, held.parameters)
    template = _has_template(layout.folder)
    untrainable = _folder_untrainable(config, tensors)
    return ModelFacts(
        parameters=sizes.parameters,
        quantisation=_dtype(tensors),
        context=sizes.context,
        licence=entry.licence or _card_licence(layout.folder) or _first_line(entry.licence_file),
        template=template,
        architecture=_short(config.get("model_type")),
        chat_bytes=chat_bytes(sizes, 2 * sizes.parameters),
        training_bytes=0 if untrainable else training_bytes(sizes),
        unusable="" if template else _no_template(entry, "chat_template.jinja"),
        untrainable=untrainable,
    )


def _folder_sizes(config: Mapping[str, Any], parameters: int) -> Sizes:
    def number(*keys: str) -> int:
        return next((min(LARGEST, config[key]) for key in keys if type(config.get(key)) is int and config[key] > 0), 0)

    width = number("hidden_size", "n_embd")
    heads = max(1, number("num_attention_heads", "n_head"))
    return Sizes(
        parameters=parameters,
        layers=number("num_hidden_layers", "n_layer"),
        width=width,
        kv_width=(number("num_key_value_heads") or heads) * (number("head_dim") or width // heads),
        vocabulary=number("vocab_size"),
        context=number(*CONTEXT_KEYS) or 2048,
    )


def _dtype(tensors: Mapping[str, Tensor]) -> str:
    most: Counter[str] = Counter()
    for tensor in tensors.values():
        most[tensor.dtype] += tensor.end - tensor.start
    kind = most.most_common(1)[0][0]
    return DTYPES.get(kind, kind)


def _has_template(folder: Path) -> bool:
    if is_there(folder / "chat_template.jinja") or any((folder / TEMPLATES).glob("*.jinja")):
        return True
    config = folder / "tokenizer_config.json"
    return config.is_file() and bool(read_json(config).get("chat_template"))


def _folder_untrainable(config: Mapping[str, Any], tensors: Collection[str]) -> str:
    try:
        check_trainable(config, tensors)
    except BaseRefused as refused:
        return f"{refused} {refused.hint}"
    return ""


def _card_licence(folder: Path) -> str:
    """`license:` at the head of a model card."""
    card = folder / "README.md"
    if not card.is_file():
        return ""
    try:
        text = read_file(card, LARGEST_CARD).decode(errors="replace")
    except BaseRefused:
        return ""
    head = text[4:].split("\n---", 1)[0] if text.startswith("---\n") else ""
    found = _CARD_LICENCE.search(head)
    return _short(found[1]) if found else ""


def _first_line(file: Path | None) -> str:
    """Of a licence's text."""
    if file is None:
        return ""
    try:
        lines = read_file(file, LARGEST_CARD).decode(errors="replace").split("\n")
    except BaseRefused:
        return ""
    return _short(next((line for line in lines if line.strip()), ""))


def _short(text: object) -> str:
    """One line of an outside text that can be shown; empty for what is none."""
    if not isinstance(text, str):
        return ""
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return line if len(line) <= LONGEST else f"{line[: LONGEST - 2]} …"
