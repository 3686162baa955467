"""A small model with gates, and rows with a planted rule."""

import torch

from satlens.routing import NOT_SCORED, Examples, TokenGates
from satlens.routing.tasks import fresh_model, toy

VOCAB = 12


def small(layers=3, dropout=0.1, seed=0, vocab=VOCAB):
    return fresh_model(
        vocab, width=16, layers=layers, heads=2, context=16, dropout=dropout, seed=seed
    )


def gated(seed=0, bias=-1.0, **kw):
    return TokenGates(small(seed=seed, **kw), bias=bias, seed=seed)


def source(kind="copy", batch_size=4, length=4, symbols=8, seed=0):
    return toy(kind, batch_size, length=length, symbols=symbols, seed=seed)


def rows(n=3, pos=6, doc=None, seed=0):
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(0, VOCAB, (n, pos), generator=generator)
    target = torch.randint(0, VOCAB, (n, pos), generator=generator)
    target[:, 0] = NOT_SCORED
    return Examples(ids, target, doc=doc)
