"""Mutations of a sound GGUF file's header and tensor table, each by name."""

from __future__ import annotations

import math
import random
import struct
from collections.abc import Callable, Iterator

from tests.support.hostile.gguf_parts import ARRAY, F32, SIZES, STRING, U32, U64, Gguf, Tensor, packed

TOKENS, SCORES, TYPES = "tokenizer.ggml.tokens", "tokenizer.ggml.scores", "tokenizer.ggml.token_type"
MERGES = "tokenizer.ggml.merges"
HUGE = (2**31, 2**32 - 1, 2**40, 2**63, 2**64 - 1)
ODD_NAMES = (b"", b"\0", b"a\0b", b"\xff\xfe", b"x" * 65, b"x" * 70_000, "é".encode(), b"../x", b"blk.-1.w", b"%s%n")
ODD_TOKENS = (b"", b"\0", b"a\0b", b"\xff", b"\xed\xa0\x80", b" ", b"the", b"x" * 100_000, b"\xc3\xa9" * 999, b"<0x00>")
ODD_SHAPES = ([0], [1], [2**63], [2**32] * 2, [2**31, 2**33], [1, 1, 1, 2**62], [32] * 4, [0, 32], [2**64 - 1] * 4)
Mutation = Callable[[Gguf, random.Random], "bytes | None"]
"""Changes the parts in place, or returns the bytes of the whole file."""


def mutations() -> dict[str, Mutation]:
    """By name, which begins with its kind."""
    return dict(
        [*_alignments(), *_tables(), *_types(), *_lengths(), *_names(), *_vocabularies(), *_sizes(), *_shapes()]
    )


def _setting(name: str, kind: int, raw: bytes) -> Mutation:
    return lambda gguf, rng: gguf.set(name, kind, raw)


def _number(name: str, value: int) -> Mutation:
    return _setting(name, *((U32, struct.pack("<I", value)) if value < 2**32 else (U64, struct.pack("<Q", value))))


def _alignments() -> Iterator[tuple[str, Mutation]]:
    for value in (0, 1, 3, 4, 8, 16, 33, 64, 4096, 2**16, 2**31, 2**32 - 1, 2**63):
        yield f"alignment: {value}", _number("general.alignment", value)
    yield "alignment: a float", _setting("general.alignment", F32, struct.pack("<f", math.nan))
    yield "alignment: negative", _setting("general.alignment", 5, struct.pack("<i", -32))
    yield "alignment: true", _setting("general.alignment", 7, b"\1")

    def other(gguf: Gguf, rng: random.Random) -> None:
        gguf.alignment = rng.choice((1, 2, 64, 4096))

    yield "alignment: of the data only", other


def _tables() -> Iterator[tuple[str, Mutation]]:
    def overlap(gguf: Gguf, rng: random.Random) -> None:
        rng.choice(gguf.tensors[1:]).start = gguf.tensors[0].start

    def swap(gguf: Gguf, rng: random.Random) -> None:
        a, b = rng.sample(gguf.tensors, 2)
        a.start, b.start = b.start, a.start

    def shuffle(gguf: Gguf, rng: random.Random) -> None:
        rng.shuffle(gguf.tensors)

    def twice(gguf: Gguf, rng: random.Random) -> None:
        gguf.tensors.append(rng.choice(gguf.tensors))

    def rename(gguf: Gguf, rng: random.Random) -> None:
        a, b = rng.sample(gguf.tensors, 2)
        a.name = b.name

    def missing(gguf: Gguf, rng: random.Random) -> None:
        gguf.tensors.remove(rng.choice(gguf.tensors))

    def last_missing(gguf: Gguf, rng: random.Random) -> None:
        gguf.tensors.pop()

    def more(gguf: Gguf, rng: random.Random) -> None:
        gguf.tensors.append(Tensor(b"blk.7.extra.weight", [32], 0, len(gguf.data)))
        gguf.data += bytes(128)

    def many(gguf: Gguf, rng: random.Random) -> None:
        start = len(gguf.data)
        gguf.tensors += [Tensor(b"x%d" % number, [8], 0, start + 32 * number) for number in range(2000)]
        gguf.data += bytes(32 * 2000)

    for act in (overlap, swap, shuffle, twice, rename, missing, last_missing, more, many):
        yield f"table: {act.__name__}", act
    for value in (1, 31, 32, *HUGE, 2**64 - 32):
        yield f"table: offset {value}", _first(start=value)
    for shift in (-64, -32, -1, 1, 32, 2**20):

        def shifted(gguf: Gguf, rng: random.Random, shift: int = shift) -> None:
            gguf.tensors[-1].start += shift

        yield f"table: last offset moved by {shift}", shifted


def _first(**values: object) -> Mutation:
    """A tensor drawn, with other values."""

    def change(gguf: Gguf, rng: random.Random) -> None:
        tensor = rng.choice(gguf.tensors)
        for name, value in values.items():
            setattr(tensor, name, value)

    return change


def _types() -> Iterator[tuple[str, Mutation]]:
    for kind in (*range(0, 45), 99, 2**31, 2**32 - 1):
        yield f"tensor type: {kind}", _first(kind=kind)
    for kind in (13, 99, 2**31, 2**32 - 1):
        yield f"value type: {kind}", _setting("general.name", kind, bytes(8))
        yield f"value type: array of {kind}", _setting("general.name", ARRAY, struct.pack("<IQ", kind, 4) + bytes(64))

    def other(gguf: Gguf, rng: random.Random) -> None:
        at = rng.randrange(len(gguf.keys))
        name, _, raw = gguf.keys[at]
        gguf.keys[at] = name, rng.choice((*SIZES, STRING, ARRAY)), raw

    yield "value type: another of the same bytes", other

    def retyped(gguf: Gguf, rng: random.Random) -> None:
        at = rng.randrange(len(gguf.keys))
        kind = rng.choice((*SIZES, STRING, ARRAY))
        raw = {STRING: packed(b"7"), ARRAY: struct.pack("<IQ", U32, 2) + bytes(8)}.get(kind)
        gguf.keys[at] = gguf.keys[at][0], kind, raw if raw is not None else bytes([1] * SIZES[kind])

    for number in range(12):
        yield f"value type: another with bytes to fit {number}", retyped


def _lengths() -> Iterator[tuple[str, Mutation]]:
    for value in HUGE:
        yield f"length: string {value}", _setting("general.name", STRING, struct.pack("<Q", value))
        yield f"length: architecture {value}", _setting("general.architecture", STRING, struct.pack("<Q", value))
        yield f"length: array {value}", _setting(MERGES, ARRAY, struct.pack("<IQ", U32, value))
        yield f"length: tokens {value}", _setting(TOKENS, ARRAY, struct.pack("<IQ", STRING, value))
        yield f"length: in an array {value}", _setting(TOKENS, ARRAY, struct.pack("<IQQ", STRING, 3, value))
        for part in ("keys", "tensors"):

            def counted(gguf: Gguf, rng: random.Random, part: str = part, value: int = value) -> None:
                gguf.counts[part] = value

            yield f"length: {part} {value}", counted
    for part in ("keys", "tensors"):
        for by in (-1, 1, 7):

            def off(gguf: Gguf, rng: random.Random, part: str = part, by: int = by) -> None:
                gguf.counts[part] = len(getattr(gguf, part)) + by

            yield f"length: {part} {by:+}", off
    for depth in (1, 2, 64, 20_000):
        yield f"length: arrays nested {depth} deep", _setting(TYPES, ARRAY, struct.pack("<IQ", ARRAY, 1) * depth)
    yield "length: array of empty arrays", _setting(TYPES, ARRAY, struct.pack("<IQ", ARRAY, 9) + bytes(12) * 9)
    yield "length: many of one byte", _setting("a.b", ARRAY, struct.pack("<IQ", 0, 10**5) + bytes(10**5))
    yield (
        "length: many empty strings",
        _setting("a.b", ARRAY, struct.pack("<IQ", STRING, 10**5) + bytes(8 * 10**5)),
    )
    yield "length: a string of megabytes", _setting("general.name", STRING, packed(b"x" * 3_000_000))
    for version in (0, 1, 2, 4, 2**32 - 1, 0x03000000):

        def versioned(gguf: Gguf, rng: random.Random, version: int = version) -> None:
            gguf.version = version

        yield f"length: version {version}", versioned


def _names() -> Iterator[tuple[str, Mutation]]:
    def twice(gguf: Gguf, rng: random.Random) -> None:
        gguf.keys.append(rng.choice(gguf.keys))

    def emptied(gguf: Gguf, rng: random.Random) -> None:
        at = rng.randrange(len(gguf.keys))
        gguf.keys[at] = (b"", *gguf.keys[at][1:])

    def missing(gguf: Gguf, rng: random.Random) -> None:
        gguf.keys.remove(rng.choice(gguf.keys))

    def none(gguf: Gguf, rng: random.Random) -> None:
        gguf.keys.clear()

    def many(gguf: Gguf, rng: random.Random) -> None:
        gguf.keys += [(b"a.%d" % number, 0, b"\0") for number in range(4000)]

    def shuffled(gguf: Gguf, rng: random.Random) -> None:
        rng.shuffle(gguf.keys)

    for act in (twice, emptied, none, many, shuffled):
        yield f"names: key {act.__name__}", act
    for number in range(30):
        yield f"names: key missing, draw {number}", missing
    for odd in ODD_NAMES:
        yield f"names: tensor {odd[:12]!r} of {len(odd)}", _first(name=odd)

        def named(gguf: Gguf, rng: random.Random, odd: bytes = odd) -> None:
            at = rng.randrange(len(gguf.keys))
            gguf.keys[at] = (odd, *gguf.keys[at][1:])

        yield f"names: key {odd[:12]!r} of {len(odd)}", named
        for key in ("general.architecture", "general.name", "tokenizer.ggml.model", "tokenizer.ggml.pre"):
            yield f"names: {key} is {odd[:12]!r} of {len(odd)}", _setting(key, STRING, packed(odd))
        yield f"names: template {odd[:12]!r} of {len(odd)}", _setting("tokenizer.chat_template", STRING, packed(odd))


def _vocabularies() -> Iterator[tuple[str, Mutation]]:
    def with_token(odd: bytes) -> Mutation:
        def change(gguf: Gguf, rng: random.Random) -> None:
            tokens = gguf.strings(TOKENS)
            for _ in range(rng.choice((1, 1, 3))):
                tokens[rng.randrange(len(tokens))] = odd
            gguf.set_strings(TOKENS, tokens)

        return change

    for odd in ODD_TOKENS:
        for draw in range(2):
            yield f"vocabulary: token {odd[:8]!r} of {len(odd)}, draw {draw}", with_token(odd)

    def listed(change: Callable[[list[bytes]], list[bytes]], key: str = TOKENS) -> Mutation:
        def act(gguf: Gguf, rng: random.Random) -> None:
            if gguf.has(key):
                gguf.set_strings(key, change(gguf.strings(key)))

        return act

    yield "vocabulary: no tokens", listed(lambda tokens: [])
    yield "vocabulary: one token", listed(lambda tokens: tokens[:1])
    yield "vocabulary: half of the tokens", listed(lambda tokens: tokens[: len(tokens) // 2])
    yield "vocabulary: a token too many", listed(lambda tokens: [*tokens, b"one more"])
    yield "vocabulary: all the same", listed(lambda tokens: [b"a"] * len(tokens))
    yield "vocabulary: all empty", listed(lambda tokens: [b""] * len(tokens))
    yield "vocabulary: backwards", listed(lambda tokens: tokens[::-1])
    yield "vocabulary: no merges", listed(lambda merges: [], MERGES)
    yield "vocabulary: merges to nothing", listed(lambda merges: [b"qz zq", *merges], MERGES)
    yield "vocabulary: merges that are no pairs", listed(lambda merges: [b"ab", b" ", b"", *merges], MERGES)
    yield "vocabulary: merges not UTF-8", listed(lambda merges: [b"\xff \xfe", *merges], MERGES)
    yield "vocabulary: merges with NUL", listed(lambda merges: [b"\0 \0", *merges], MERGES)
    yield "vocabulary: merges twice", listed(lambda merges: merges * 2, MERGES)
    yield "vocabulary: merges backwards", listed(lambda merges: merges[::-1], MERGES)
    yield "vocabulary: a long merge", listed(lambda merges: [b"a" * 10**6 + b" b", *merges], MERGES)
    for count in (0, 1, 10, 10**5):
        floats = struct.pack("<IQ", F32, count) + bytes(4 * count)
        yield f"vocabulary: {count} scores", _setting(SCORES, ARRAY, floats)
        yield f"vocabulary: {count} types", _setting(TYPES, ARRAY, struct.pack("<IQ", 5, count) + bytes(4 * count))

    def typed(value: int) -> Mutation:
        def act(gguf: Gguf, rng: random.Random) -> None:
            count = len(gguf.strings(TOKENS))
            gguf.set(TYPES, ARRAY, struct.pack("<IQ", 5, count) + struct.pack("<i", value) * count)

        return act

    for value in (-1, 0, 2, 3, 4, 5, 6, 99, 2**31 - 1):
        yield f"vocabulary: every token of type {value}", typed(value)

    def scored(value: float) -> Mutation:
        def act(gguf: Gguf, rng: random.Random) -> None:
            count = len(gguf.strings(TOKENS))
            gguf.set("tokenizer.ggml.model", STRING, packed(b"llama"))
            gguf.set(SCORES, ARRAY, struct.pack("<IQ", F32, count) + struct.pack("<f", value) * count)

        return act

    for score in (0.0, math.nan, math.inf, -math.inf, -1e38):
        yield f"vocabulary: every score {score}", scored(score)
    for name in (b"llama", b"bert", b"t5", b"rwkv", b"none", b"plamo2", b"gpt2"):
        yield f"vocabulary: kind {name.decode()}", _setting("tokenizer.ggml.model", STRING, packed(name))
    for part in ("bos", "eos", "unknown", "padding", "eot", "eom", "seperator", "fim_pre", "mask"):
        for value in (2**16, 2**31 - 1, 2**31, 2**32 - 1, 2**40):
            yield f"vocabulary: {part} is {value}", _number(f"tokenizer.ggml.{part}_token_id", value)
    yield "vocabulary: eos is text", _setting("tokenizer.ggml.eos_token_id", STRING, packed(b"</s>"))
    yield "vocabulary: add_bos is text", _setting("tokenizer.ggml.add_bos_token", STRING, packed(b"yes"))


def _sizes() -> Iterator[tuple[str, Mutation]]:
    parts = ("context_length", "embedding_length", "block_count", "feed_forward_length", "attention.head_count",
             "attention.head_count_kv", "attention.key_length", "attention.value_length", "rope.dimension_count",
             "vocab_size", "expert_count", "expert_used_count")  # fmt: skip
    for part in parts:
        for value in (0, 1, 3, 7, 31, 1000, 2**20, 2**31, 2**32 - 1, 2**40):
            yield f"sizes: {part} is {value}", _number(f"llama.{part}", value)
        for kind, raw in ((5, struct.pack("<i", -1)), (F32, struct.pack("<f", math.nan)), (STRING, packed(b"1"))):
            yield f"sizes: {part} of type {kind}", _setting(f"llama.{part}", kind, raw)
        for count in (0, 1, 2, 3, 600):
            raw = struct.pack(f"<IQ{count}I", U32, count, *range(count))
            yield f"sizes: {part} as a list of {count}", _setting(f"llama.{part}", ARRAY, raw)
    floats = ("rope.freq_base", "attention.layer_norm_rms_epsilon", "rope.scaling.factor", "rope.freq_scale")
    for part in floats:
        for value in (0.0, -1.0, math.nan, math.inf, -math.inf, 1e-45, 3e38):
            yield f"sizes: {part} is {value}", _setting(f"llama.{part}", F32, struct.pack("<f", value))
    for name in (b"yarn", b"longrope", b"linear", b"none", b"\xff", b""):
        yield f"sizes: rope scaling {name!r}", _setting("llama.rope.scaling.type", STRING, packed(name))
    for name in (b"qwen2", b"gemma3", b"gpt2", b"bert", b"mamba", b"t5", b"deepseek2", b"llama4", b"clip", b"whisper"):
        yield f"sizes: architecture {name.decode()}", _setting("general.architecture", STRING, packed(name))
    for value in (0, 1, 2, 7, 65, 2**16 - 1):
        yield f"sizes: split.count is {value}", _setting("split.count", 2, struct.pack("<H", value))
    for value in (0, 2, 1023, 2**31, 2**32 - 1):
        yield f"sizes: file_type is {value}", _number("general.file_type", value)


def _shapes() -> Iterator[tuple[str, Mutation]]:
    for shape in ODD_SHAPES:
        yield f"shapes: {shape}", _first(shape=shape)
    for count in (0, 5, 64, 10_000):
        yield f"shapes: {count} dimensions", _first(shape=[1] * count)

    def turned(gguf: Gguf, rng: random.Random) -> None:
        tensor = rng.choice([tensor for tensor in gguf.tensors if len(set(tensor.shape)) == 2])
        tensor.shape.reverse()

    def flat(gguf: Gguf, rng: random.Random) -> None:
        tensor = rng.choice([tensor for tensor in gguf.tensors if len(tensor.shape) == 2])
        tensor.shape = [math.prod(tensor.shape)]

    def deep(gguf: Gguf, rng: random.Random) -> None:
        rng.choice(gguf.tensors).shape += [1, 1]

    for act in (turned, flat, deep):
        for draw in range(4):
            yield f"shapes: {act.__name__}, draw {draw}", act


def flipped(data: bytes, head: int, rng: random.Random) -> bytes:
    """Bytes changed at random, most of them in the `head` bytes of the header."""
    found = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 8))):
        where = rng.choice((64, 2000, head, head, len(data)))
        at = rng.randrange(where)
        match rng.randrange(4):
            case 0:
                found[at] = rng.randrange(256)
            case 1:
                found[at : at + 4] = struct.pack("<I", rng.choice((0, 1, 2**31, 2**32 - 1, rng.getrandbits(32))))
            case 2:
                found[at : at + 8] = struct.pack("<Q", rng.choice((0, 1, *HUGE, rng.getrandbits(64))))
            case _:
                size, other = rng.randrange(1, 64), rng.randrange(head - 64)
                found[at : at + size] = found[other : other + size]
    return bytes(found)
