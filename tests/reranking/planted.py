"""Positions whose next tokens are drawn by a known rule, from final outputs and layers made up here."""

import numpy as np
import torch

from satlens.reranking.final_output import final_numbers
from satlens.reranking.tokens import NextTokens
from satlens.saturation.ranking import top_ids


def positions(logits, layer, following, doc, n_layers) -> NextTokens:
    """`NextTokens` of bare logits ``[n, output]``, saturation layers ``[n, k]`` and next ids."""
    logits = torch.as_tensor(logits, dtype=torch.float32)
    top = top_ids(logits, layer.shape[1])
    said = final_numbers(logits, top, torch.as_tensor(following))
    pos = np.arange(len(doc))
    return NextTokens(
        np.asarray(layer, np.int16), **said, next=np.asarray(following), doc=doc, pos=pos, n_layers=n_layers
    )  # fmt: skip


def planted(
    seed, documents=40, tokens=60, *, effect=0.0, confounded=1.0, sharpness=0.8, by_document=0.3,
    outputs=40, k=4, n_layers=12,
) -> NextTokens:  # fmt: skip
    """Next tokens drawn from r(v) ~ p(v)^sharpness exp(effect E(v)), E(v) the lead of v's rank over L - 1
    (0 outside the ranks).

    E follows the final output (``confounded``: how strongly its probability and margins), the document (by
    ``by_document``), and chance. With ``effect`` 0 it says nothing beyond the final output.
    """  # fmt: skip
    rng = np.random.default_rng([seed, 11])
    n = documents * tokens
    doc = np.repeat(np.arange(documents), tokens)
    logits = rng.normal(0, rng.uniform(0.5, 2.0, (n, 1)), (n, outputs)).astype(np.float32)
    favourites = rng.random((n, outputs)).argsort(1)[
        :, :2
    ]  # so that rank 2 is anything from unlikely to sure
    logits[np.arange(n)[:, None], favourites] += rng.uniform(0, 5, (n, 2)).astype(np.float32)
    logp = np.asarray(torch.as_tensor(logits).double().log_softmax(-1))
    order = np.argsort(-logits, axis=1, kind="stable")[:, : k + 1]
    ranked = np.take_along_axis(logp, order, axis=1)
    margin = ranked[:, :-1] - ranked[:, 1:]
    odds = ranked[:, :-1] - np.log1p(-np.exp(ranked[:, :1]))
    signal = 0.5 * (odds + 2) + 0.5 * np.tanh(margin)
    shared = rng.normal(0, by_document, (documents, 1))[doc]
    share = 0.35 + 0.2 * (confounded * signal + shared + rng.normal(0, 1, (n, k)))
    lead = np.clip(np.floor(share * n_layers), 0, n_layers - 1).astype(int)
    worse = rng.normal(0, 0.5 * by_document, (documents, 1))[doc]
    truth = (sharpness + worse).clip(0.2, 1.5) * logp
    boost = np.zeros_like(truth)
    np.put_along_axis(boost, order[:, :k], effect * lead / (n_layers - 1), axis=1)
    following = (truth + boost + rng.gumbel(size=truth.shape)).argmax(1)
    return positions(logits, n_layers - 1 - lead, following, doc, n_layers)
