"""Continuations of twenty beginnings, as they come."""

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

OPENINGS = (
    "Once upon a time there was a",
    "The old man opened the door and",
    "A: What did you do last weekend?\nB:",
    "The city of",
    '"Where have you been?" asked',
    "In the morning the children",
    "Water is",
    "My favourite food is",
    "She looked at the letter and",
    "To make bread, you",
    "The moon",
    "Long ago, in a village by the sea,",
    "User: I am looking for a place to eat.\nAssistant:",
    "The king said to his",
    "There are many kinds of",
    "It was raining when",
    "The most important thing about",
    "HAMLET\n",
    "He was born in",
    "When I was a boy,",
)
"""Beginnings that the twenty sampled continuations go on from; number n is sampled with seed n."""


def drawn(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> list[dict[str, str]]:
    """One continuation of each opening, number n with seed n."""
    return [{"opening": each, "text": sample(model, tokenizer, each, n)} for n, each in enumerate(OPENINGS)]


def sample(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, opening: str, seed: int) -> str:
    """One continuation of at most 80 tokens, at temperature 0.8 and top-p 0.95."""
    torch.manual_seed(seed)
    ids = tokenizer(opening, return_tensors="pt", add_special_tokens=False)
    out = model.generate(  # type: ignore[operator]
        **ids, do_sample=True, temperature=0.8, top_p=0.95, top_k=0, max_new_tokens=80
    )
    return str(tokenizer.decode(out[0][ids.input_ids.size(1) :]))
