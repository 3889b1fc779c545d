"""GGUF files made here split text into the ids that the model's own tokenizer gives."""

from __future__ import annotations

import json
import shutil
import struct
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("llama_cpp", reason="llama.cpp is not installed")
torch = pytest.importorskip("torch")

import llama_cpp.llama_cpp as llama  # noqa: E402
from tokenizers import Tokenizer, decoders, models, normalizers  # noqa: E402
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast  # noqa: E402

from chatlab.engines.base import Sampling, Variant  # noqa: E402
from chatlab.engines.gguf_export.files import write_base  # noqa: E402
from chatlab.engines.llamacpp.engine import LlamaCppEngine  # noqa: E402
from chatlab.models.base import Base  # noqa: E402
from tests.support.gguf_models import CHATML, TEXTS, tiny_llama  # noqa: E402
from tests.support.real_data import tokenizer_folder  # noqa: E402


def ids_of(file: Path, texts: tuple[str, ...]) -> list[list[int]]:
    """As llama.cpp's own tokenizer splits them."""
    settings = llama.llama_model_default_params()
    settings.vocab_only = True
    model = llama.llama_model_load_from_file(str(file).encode(), settings)
    vocabulary = llama.llama_model_get_vocab(model)
    found = []
    for text in texts:
        room = (llama.llama_token * 4096)()
        raw = text.encode()
        count = llama.llama_tokenize(vocabulary, raw, len(raw), room, 4096, False, False)
        found.append(list(room[:count]))
    llama.llama_model_free(model)
    return found


def check_same(folder: Path, tmp_path: Path) -> None:
    base = Base.open(folder)
    write_base(base, tmp_path / "base.gguf", "f32")
    theirs = [base.tokenizer(text, add_special_tokens=False).input_ids for text in TEXTS]
    assert ids_of(tmp_path / "base.gguf", TEXTS) == theirs


def test_the_embedded_base_splits_text_alike(base_folder, tmp_path):
    check_same(base_folder, tmp_path)


@pytest.mark.parametrize("name", ["gpt2", "mistral-7b-v0.2"])
def test_tokenizers_of_both_kinds_split_text_alike(name, tmp_path):
    folder = tokenizer_folder(name, tmp_path / name)
    tokenizer = PreTrainedTokenizerFast.from_pretrained(str(folder))
    if tokenizer.eos_token is None:
        tokenizer.eos_token = "<|endoftext|>"
    check_same(tiny_llama(tmp_path / "base", tokenizer), tmp_path)


def test_a_tokenizer_that_llama_cpp_does_not_know_still_serves_ids(base_folder, tmp_path):
    folder = tmp_path / "base"
    shutil.copytree(base_folder, folder)
    told = json.loads((folder / "tokenizer.json").read_text())
    split = {"type": "Split", "pattern": {"Regex": "[aeiou]"}, "behavior": "Isolated", "invert": False}
    told["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": [split, told["pre_tokenizer"]]}
    (folder / "tokenizer.json").write_text(json.dumps(told))
    base = Base.open(folder)
    engine = LlamaCppEngine.open(base, tmp_path, threads=1)
    greedy = Sampling(temperature=0.0, max_tokens=8)
    assert "".join(piece.text for piece in engine.stream([0, 400, 401], greedy, Variant(), frozenset())).strip()
    engine.close()


def stories(source: Path, folder: Path) -> Path:
    """The real stories260K, from its own file format to a Hugging Face folder."""
    raw = (source / "stories260K.bin").read_bytes()
    width, hidden, layers, heads, few, rows, context = struct.unpack("<7i", raw[:28])
    rows = abs(rows)
    flat = torch.frombuffer(bytearray(raw[28:]), dtype=torch.float32)
    at = 0

    def take(*shape: int) -> Any:
        nonlocal at
        count = int(torch.tensor(shape).prod())
        found = flat[at : at + count].reshape(shape)
        at += count
        return found

    head = width // heads
    names = {"embed": take(rows, width), "norm1": take(layers, width)}
    names |= {
        "q": take(layers, width, width),
        "k": take(layers, few * head, width),
        "v": take(layers, few * head, width),
    }
    names |= {"o": take(layers, width, width), "norm2": take(layers, width), "gate": take(layers, hidden, width)}
    names |= {"down": take(layers, width, hidden), "up": take(layers, hidden, width), "norm": take(width)}
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=rows,
            hidden_size=width,
            intermediate_size=hidden,
            num_hidden_layers=layers,
            num_attention_heads=heads,
            num_key_value_heads=few,
            max_position_embeddings=context,
            rms_norm_eps=1e-5,
            tie_word_embeddings=True,
            bos_token_id=1,
            eos_token_id=2,
        )
    )
    state = {
        "model.embed_tokens.weight": names["embed"],
        "lm_head.weight": names["embed"],
        "model.norm.weight": names["norm"],
    }
    for n in range(layers):
        for part, key in (("self_attn.v_proj", "v"), ("self_attn.o_proj", "o"), ("mlp.gate_proj", "gate")):
            state[f"model.layers.{n}.{part}.weight"] = names[key][n]
        for part, key in (("mlp.down_proj", "down"), ("mlp.up_proj", "up")):
            state[f"model.layers.{n}.{part}.weight"] = names[key][n]
        state[f"model.layers.{n}.self_attn.q_proj.weight"] = halved(names["q"][n], heads)
        state[f"model.layers.{n}.self_attn.k_proj.weight"] = halved(names["k"][n], few)
        state[f"model.layers.{n}.input_layernorm.weight"] = names["norm1"][n]
        state[f"model.layers.{n}.post_attention_layernorm.weight"] = names["norm2"][n]
    model.load_state_dict(state)
    model.save_pretrained(folder)
    pieces(source / "tok512.bin", rows).save_pretrained(folder)
    return folder


def halved(matrix: Any, heads: int) -> Any:
    """Rows that are turned in pairs, as that file has them -> first halves, then second ones, as transformers does."""
    return matrix.reshape(heads, -1, 2, matrix.size(1)).transpose(1, 2).reshape(matrix.shape)


def pieces(file: Path, rows: int) -> PreTrainedTokenizerFast:
    """Its SentencePiece vocabulary: texts with scores; what scores higher is merged first."""
    raw, at, words, scores = file.read_bytes(), 4, [], []
    for _ in range(rows):
        score, size = struct.unpack("<fi", raw[at : at + 8])
        words.append(raw[at + 8 : at + 8 + size].decode(errors="replace"))
        scores.append(score)
        at += 8 + size
    words[:3] = ["<unk>", "<s>", "</s>"]
    words[3:259] = [f"<0x{byte:02X}>" for byte in range(256)]
    words[259:] = [word.replace(" ", "▁") for word in words[259:]]
    known = {word: index for index, word in enumerate(words)}
    merges = []
    for index in sorted(range(259, rows), key=lambda index: -scores[index]):
        word = words[index]
        splits = [(word[:cut], word[cut:]) for cut in range(1, len(word))]
        merges += sorted(
            (s for s in splits if s[0] in known and s[1] in known), key=lambda s: (known[s[0]], known[s[1]])
        )
    backend = Tokenizer(models.BPE(known, merges, unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    backend.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    backend.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token="<s>", eos_token="</s>", unk_token="<unk>", chat_template=CHATML
    )


def test_a_real_pretrained_model_tells_the_same_story(shared_data, tmp_path):
    folder = stories(shared_data / "models" / "stories260K", tmp_path / "stories260K")
    base = Base.open(folder)
    check_same(folder, tmp_path)
    ids = [1, *base.tokenizer("Once upon a time, there was a little", add_special_tokens=False).input_ids]
    model = LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    with torch.inference_mode():
        told = model.generate(torch.tensor([ids]), do_sample=False, max_new_tokens=60)[0, len(ids) :]
    engine = LlamaCppEngine.open(base, tmp_path, threads=1, precision="f32")
    greedy = Sampling(temperature=0.0, repetition_penalty=1.0, max_tokens=60)
    text = "".join(piece.text for piece in engine.stream(ids, greedy, Variant(), frozenset()))
    engine.close()
    assert text == base.tokenizer.decode(told)
    assert "was" in text and "She" in text
