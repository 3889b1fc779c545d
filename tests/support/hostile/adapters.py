"""Adapters that somebody made to do harm: every way of spoiling one published adapter, its manifest sealed anew."""

from __future__ import annotations

import json
import os
import shutil
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from chatlab.papers import CARD, CONFIG, LESSONS, MANIFEST, MANNER, WEIGHTS
from chatlab.system.files import sha256_of

Spoil = Callable[[Path], None]
"""Changes an adapter's folder in place."""

HUGE = "1" + "0" * 400
DEEP = "[" * 50_000 + "]" * 50_000
VALUES = (
    "null",
    "true",
    "false",
    "0",
    "-1",
    "3",
    "1.5",
    "1e308",
    "-0.0",
    HUGE,
    "9223372036854775808",
    "NaN",
    "Infinity",
    "-Infinity",
    '""',
    '"much"',
    '"0"',
    '"\\ud800"',
    '"(a+)+$"',
    "[]",
    "[0]",
    '["q_proj", 3]',
    '["(x|x)*y"]',
    "{}",
    '{"q_proj": 0}',
    '{"q_proj": -3}',
    '{"q_proj": "x"}',
    '{"q_proj": 1e999}',
    '{"(a+)+$": 4}',
    "[[]]",
    DEEP,
    '{"q_proj": 8, "q_proj": 4}',
)
CONFIG_KEYS = (
    "r",
    "lora_alpha",
    "use_rslora",
    "use_dora",
    "lora_bias",
    "fan_in_fan_out",
    "bias",
    "rank_pattern",
    "alpha_pattern",
    "target_modules",
    "exclude_modules",
    "modules_to_save",
    "layers_to_transform",
    "layers_pattern",
    "peft_type",
    "base_model_name_or_path",
    "auto_mapping",
    "lora_dropout",
    "runtime_config",
    "eva_config",
    "trainable_token_indices",
    "layer_replication",
    "something_new",
)
CARD_KEYS = (
    "name",
    "base_name",
    "template",
    "sha256",
    "created",
    "run",
    "parent",
    "settings",
    "demonstrations",
    "snapshot",
    "parameters",
    "base_parameters",
    "steps",
    "seconds",
    "loss",
    "held_out_before",
    "held_out_after",
    "forgetting",
    "forgetting_interval",
    "kl",
    "manner_before",
    "manner_after",
    "stopped_early",
)
WHOLE = (b"", b"[]", b"3", b"null", b'"x"', b"\xff\xfe\0", b"{", DEEP.encode(), b"{}", b" " * (1 << 25))
PATHS = ("../../etc/passwd", "/etc/passwd", "..", "a\x00b", "x" * 5000, "\udcff", "")


def seal(folder: Path) -> None:
    """A manifest that agrees with whatever the files are now."""
    files = {file.name: sha256_of(file) for file in folder.iterdir() if _is_covered(file)}
    (folder / MANIFEST).write_text(json.dumps({"format": 1, "files": files}))


def _is_covered(file: Path) -> bool:
    return file.name in (CONFIG, WEIGHTS, CARD, LESSONS) and file.is_file() and file.stat().st_size < 1 << 30


def configs() -> Iterator[tuple[str, Spoil]]:
    for key in CONFIG_KEYS:
        for value in VALUES:
            yield f"config {key}={value[:30]}", spoilt_value(CONFIG, key, value)
        yield f"config without {key}", _without(CONFIG, key)
    for number, data in enumerate(WHOLE):
        yield f"config whole {number}", _bytes(CONFIG, data)
    yield "config twice", _twice
    yield "config of rank 4 by pattern", spoilt_value(CONFIG, "rank_pattern", '{"q_proj": 4}')
    yield "config of all layers saved", spoilt_value(CONFIG, "modules_to_save", '["model", "layers", "0", "mlp"]')
    yield "config of the largest rank", spoilt_value(CONFIG, "r", "65536")


def cards() -> Iterator[tuple[str, Spoil]]:
    for key in CARD_KEYS:
        for value in VALUES:
            yield f"card {key}={value[:30]}", spoilt_value(CARD, key, value)
    for number, data in enumerate(WHOLE):
        yield f"card whole {number}", _bytes(CARD, data)
    for path in PATHS:
        yield f"card run={path[:20]!r}", spoilt_value(CARD, "run", json.dumps(path))
    for key in ("rank", "alpha", "learning_rate", "passes", "batch", "seed"):
        for value in VALUES:
            yield f"card settings.{key}={value[:30]}", spoilt_value(CARD, "settings", f'{{"{key}": {value}}}')
    for key in ("replies", "strays", "good", "tokens"):
        for value in VALUES:
            yield f"manner {key}={value[:30]}", _manner(key, value)


def manifests() -> Iterator[tuple[str, Spoil]]:
    """After the seal: the manifest itself is what lies."""
    for number, data in enumerate(WHOLE):
        yield f"manifest whole {number}", _bytes(MANIFEST, data)
    for value in VALUES:
        yield f"manifest files={value[:30]}", spoilt_value(MANIFEST, "files", value)
        yield f"manifest sha256={value[:30]}", _entry(WEIGHTS, value)
    for path in PATHS:
        yield f"manifest names {path[:20]!r}", _entry(path, '"' + "0" * 64 + '"')


def weights() -> Iterator[tuple[str, Spoil]]:
    import torch

    def each(change: Callable[[Any], Any]) -> Spoil:
        return _tensors(lambda found: {name: change(tensor) for name, tensor in found.items()})

    def first(change: Callable[[Any], Any]) -> Spoil:
        return _tensors(lambda found: found | {next(iter(found)): change(next(iter(found.values())))})

    def named(change: Callable[[str], str]) -> Spoil:
        return _tensors(lambda found: {change(name): tensor for name, tensor in found.items()})

    for kind in (torch.int8, torch.int64, torch.bool, torch.float16, torch.float64, torch.float8_e4m3fn):
        yield f"weights as {kind}", each(lambda t, kind=kind: t.to(kind))  # type: ignore[misc]
    for odd in (float("nan"), float("inf"), 3e38, 0.0):
        yield f"weights of {odd}", each(lambda t, odd=odd: torch.full_like(t, odd))  # type: ignore[misc]
        yield f"one weight of {odd}", first(lambda t, odd=odd: torch.full_like(t, odd))  # type: ignore[misc]
    yield "weights flat", each(lambda t: t.flatten())
    yield "weights in three dimensions", each(lambda t: t[None])
    yield "weights turned", each(lambda t: t.T.contiguous())
    yield "weights cut", each(lambda t: t[:-1].contiguous())
    yield "weights empty", each(lambda t: t[:0].contiguous())
    yield "weights of one number", each(lambda t: t[:1, :1].contiguous())
    yield "weights of rank 0", each(lambda t: t[:0] if t.shape[0] == 8 else t[:, :0].contiguous())
    yield "one weight wide", first(lambda t: torch.cat([t, t], dim=1))
    yield "no weights", _tensors(lambda found: {})
    yield "one weight away", _tensors(lambda found: dict(list(found.items())[1:]))
    yield "one pair away", _tensors(lambda found: dict(list(found.items())[2:]))
    yield "names of another base", named(lambda name: name.replace("layers.", "h."))
    yield "names of layer 99", named(lambda name: name.replace("layers.0", "layers.99"))
    yield "names that lead out", named(lambda name: "../" * 9 + name)
    yield "names with half characters", named(lambda name: name + "\u202e\x00é")
    yield "names that are long", named(lambda name: name.replace("q_proj", "q_proj" * 3000))
    yield "names without a prefix", named(lambda name: name.removeprefix("base_model.model."))
    extra = "base_model.model.model.norm.weight"
    yield "a weight too many", _tensors(lambda found: found | {extra: torch.ones(64)})
    yield "a magnitude", _tensors(lambda found: found | {"base_model.model.x.lora_magnitude_vector": torch.ones(4)})
    for number, data in enumerate(_safetensors()):
        yield f"weights file {number}", _bytes(WEIGHTS, data)


def things() -> Iterator[tuple[str, Spoil]]:
    for name in (CONFIG, WEIGHTS, CARD, MANIFEST, MANNER, LESSONS, "README.md"):
        yield f"{name} is a folder", _folder(name)
        yield f"{name} is a pipe", _pipe(name)
        yield f"{name} is a link", _link(name, "/etc/passwd")
        yield f"{name} is a link to itself", _link(name, name)
        yield f"{name} is empty", _bytes(name, b"")
        yield f"{name} is huge", _sparse(name)
        yield f"{name} is away", lambda folder, name=name: (folder / name).unlink(missing_ok=True)  # type: ignore[misc]


def lessons() -> Iterator[tuple[str, Spoil]]:
    row = '{"id": 1, "messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}'
    for key in ("id", "messages"):
        for value in VALUES:
            yield f"lesson {key}={value[:30]}", _bytes(LESSONS, _with(row, key, value))
    for key in ("role", "content", "thought", "calls", "tools"):
        for value in VALUES:
            one = '{"role": "assistant", "content": "b", "' + key + '": ' + value + "}"
            line = f'{{"id": 1, "messages": [{{"role": "user", "content": "a"}}, {one}]}}'
            yield f"lesson {key}={value[:30]}", _bytes(LESSONS, line.encode(errors="surrogatepass"))
    for number, data in enumerate(WHOLE):
        yield f"lessons whole {number}", _bytes(LESSONS, data)


def _with(text: str, key: str, value: str) -> bytes:
    data = json.loads(text)
    data[key] = "@"
    return json.dumps(data).replace('"@"', value).encode(errors="surrogatepass")


def spoilt_value(name: str, key: str, value: str) -> Spoil:
    def spoil(folder: Path) -> None:
        (folder / name).write_bytes(_with((folder / name).read_text(), key, value))

    return spoil


def _without(name: str, key: str) -> Spoil:
    def spoil(folder: Path) -> None:
        data = json.loads((folder / name).read_text())
        data.pop(key, None)
        (folder / name).write_text(json.dumps(data))

    return spoil


def _entry(name: str, value: str) -> Spoil:
    def spoil(folder: Path) -> None:
        manifest = folder / MANIFEST
        data = json.loads(manifest.read_text())
        data["files"][name] = "@"
        manifest.write_text(json.dumps(data).replace('"@"', value))

    return spoil


def _manner(key: str, value: str) -> Spoil:
    usual = {"replies": 4, "strays": 0, "stops": 4, "echoes": 0, "good": 4, "tokens": 9.5}

    def spoil(folder: Path) -> None:
        text = json.dumps({"manner_before": usual, "manner_after": usual | {key: "@"}})
        (folder / MANNER).write_bytes(text.replace('"@"', value).encode())

    return spoil


def _twice(folder: Path) -> None:
    text = (folder / CONFIG).read_text()
    (folder / CONFIG).write_text('{"r": 64, ' + text.lstrip()[1:])


def _bytes(name: str, data: bytes) -> Spoil:
    return lambda folder: _written(folder / name, data)


def _written(file: Path, data: bytes) -> None:
    file.write_bytes(data)


def _tensors(change: Callable[[dict[str, Any]], dict[str, Any]]) -> Spoil:
    def spoil(folder: Path) -> None:
        from safetensors.torch import load_file, save_file

        save_file(change(load_file(folder / WEIGHTS)), folder / WEIGHTS)

    return spoil


def _safetensors() -> Iterator[bytes]:
    """Files whose headers lie."""
    yield b""
    yield b"\xff" * 100
    yield struct.pack("<Q", 1 << 62) + b"{}"
    for header in (
        {"a": {"dtype": "F32", "shape": [10**300] * 100, "data_offsets": [0, 4]}},
        {"a": {"dtype": "F32", "shape": [1 << 40, 1 << 40], "data_offsets": [0, 4]}},
        {"a": {"dtype": "F32", "shape": [-1], "data_offsets": [0, -4]}},
        {name: {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]} for name in "ab"},
        {"a": {"dtype": "F32", "shape": [1], "data_offsets": [4, 0]}},
        {"a": {"dtype": "Q9", "shape": [1], "data_offsets": [0, 4]}},
        {"a": {"dtype": "F32", "shape": "1", "data_offsets": None}},
        {"a": None},
        {"__metadata__": {"a": 1}},
        {"__metadata__": [[]] * 1000, "a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}},
        {f"a{n}": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]} for n in range(100_000)},
    ):
        text = json.dumps(header).encode()
        yield struct.pack("<Q", len(text)) + text + b"\0" * 4
    deep = DEEP.encode()
    yield struct.pack("<Q", len(deep)) + deep


def _folder(name: str) -> Spoil:
    def spoil(folder: Path) -> None:
        (folder / name).unlink(missing_ok=True)
        (folder / name / "within").mkdir(parents=True)

    return spoil


def _pipe(name: str) -> Spoil:
    def spoil(folder: Path) -> None:
        (folder / name).unlink(missing_ok=True)
        os.mkfifo(folder / name)

    return spoil


def _link(name: str, to: str) -> Spoil:
    def spoil(folder: Path) -> None:
        (folder / name).unlink(missing_ok=True)
        (folder / name).symlink_to(to)

    return spoil


def _sparse(name: str) -> Spoil:
    def spoil(folder: Path) -> None:
        with (folder / name).open("wb") as file:
            file.truncate(1 << 42)

    return spoil


def spoilt(whole: Path, to: Path, spoil: Spoil, sealed: bool = True) -> Path:
    """A copy of the adapter in `whole`, spoilt."""
    shutil.rmtree(to, ignore_errors=True)
    shutil.copytree(whole, to)
    spoil(to)
    manifest = to / MANIFEST
    if sealed and manifest.is_file() and not manifest.is_symlink() and manifest.stat().st_size < 1 << 30:
        seal(to)
    return to
