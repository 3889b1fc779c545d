"""Embeddings for the tokens that pre-training never saw: the roles of a chat, and padding.

LoRA does not train embeddings, so these stay as they begin. The end token is not among them: it was trained.
"""

import torch
from torch import Tensor

from scripts.pretrain.vocabulary import SPECIAL

UNSEEN = range(1, len(SPECIAL))
"""Ids whose rows training has only ever pushed away, all in one direction."""


def give(table: Tensor) -> None:
    """Put new rows for the unseen tokens into `table` (vocabulary, hidden), in place.

    Each is the mean of all trained rows, plus noise of the rows' own size: of usual length, so that the network reads
    it like any token; unlike every other, so that layers can be taught to tell roles apart; and near no word, so
    that the base neither says it nor takes it for one.
    """
    seen = torch.cat((table[:1], table[len(SPECIAL) :]))
    for index in UNSEEN:
        noise = torch.randn(table.size(1), generator=torch.Generator().manual_seed(index))
        table[index] = seen.mean(0) + seen.std() * noise
