# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # From a model to the order plot
#
# A Transformer writes its answer into the residual stream block by block. **From which layer on is
# the answer fixed, and are its ranks fixed one after the other?** Ten cells, from a model to a plot
# that says how much of the "order" any path with the same end would have shown as well.
#
# Layer `l` is the state after block `l`. Rank 1 is the model's top token. A rank that is seen fixed
# only at the output (layer `L-1`) is *censored*: it is neither late nor a tie.
#
# To run it: `pip install ".[figures]"` in a clone of the repository, then open its `tutorials/` in Jupyter.
# On Colab, in a cell before the first: `%cd` into the clone, `%pip install ".[figures]"`, `%cd tutorials`.

# %%
# 1. A model. On TransformerLens 3 it is a HookedTransformer, on 4 a TransformerBridge.
import sys

sys.path.insert(0, "..")  # the hook recipes lie beside the tutorials

import matplotlib.pyplot as plt
import pandas as pd
import torch

import satlens
from hooks.freeze_after_saturation import freeze_after_saturation
from hooks.logit_lens import logit_lens
from hooks.mark_saturation import mark_saturation
from satlens.survey.corpus import read_corpus

model = satlens.load_model("tiny")
n_layers = len(model.blocks)
type(model).__name__, n_layers

# %%
# 2. Read every layer as if it were the last one: what would the model say next?
text = "Once upon a time there was a little girl named Lily. She loved to play in the"
tokens = model.to_tokens(text)
says = logit_lens(model, tokens, read=lambda scores: scores.topk(5).indices)[:, 0, -1]
pd.DataFrame(
    [[repr(model.tokenizer.decode(i)) for i in row] for row in says.tolist()],
    index=pd.RangeIndex(n_layers, name="layer"),
    columns=pd.RangeIndex(1, 6, name="rank"),
)

# %%
# 3. Mark, while the forward pass runs, since when each rank has held its final token.
layer, token = mark_saturation(model, tokens, k=5)
pd.DataFrame(
    layer[0].tolist(),
    index=[model.tokenizer.decode(i) for i in tokens[0].tolist()],
    columns=pd.RangeIndex(1, 6, name="rank"),
)

# %%
# 4. What is fixed can be frozen: alone, a position keeps its answer, by the definition.
alone = torch.full_like(tokens, n_layers - 1)
alone[0, -1] = layer[0, -1, 0]
kept = freeze_after_saturation(model, tokens, alone)[0, -1].argmax() == token[0, -1, 0]
# Frozen together, positions read one another's frozen states. How many answers survive that?
together = freeze_after_saturation(model, tokens, layer[..., 0]).argmax(-1)
bool(kept), f"{(together == token[..., 0]).float().mean():.0%} of the answers survive"

# %%
# 5. The same for a corpus, exactly and in batches: one row a token, one column a rank.
stories = list(read_corpus("bundled").documents[:12])
events = satlens.detect(model, stories, k=5)
events

# %%
# 6. The mean layer rises with the rank, and so does the share that is censored.
events.to_frame().groupby("rank")[["layer", "censored"]].mean().round(2)

# %%
# 7. Survival curves say the same without pretending to know what lies behind the output.
survival = satlens.order.survival(events)
figure, axes = plt.subplots(figsize=(6, 3.5), layout="constrained")
for rank, (value, low, high) in enumerate(
    zip(survival.curve.value, survival.curve.low, survival.curve.high, strict=True), 1
):
    axes.step(range(n_layers), value, where="post", label=f"rank {rank}")
    axes.fill_between(range(n_layers), low, high, step="post", alpha=0.2)
axes.set(xlabel="layer", ylabel="share not yet fixed", ylim=(0, 1))
legend = axes.legend(loc="lower left")

# %%
# 8. Of two ranks of a token, how often is the higher one fixed first? (0.5: no order.)
order = satlens.order.concordance(events)
order.estimate, order.tied.value, order.comparable.value

# %%
# 9. Nulls: same tokens, same final states, same distances to them. Only the way is another.
nulls = satlens.order.draw_nulls(model, stories, k=5)
report = satlens.order.report(events, nulls)
report.verdict.verdict, report.verdict.why

# %%
# 10. The order plot. What counts is the distance to the path nulls, not to 0.5.
figure, axes = plt.subplots(figsize=(6, 2.8), layout="constrained")
for row, excess in enumerate(report.excess.values()):
    draws = excess["concordance"].draws
    axes.plot(draws, [row] * len(draws), "|", color="gray", markersize=12)
estimate = report.concordance.estimate
axes.axvspan(estimate.low, estimate.high, alpha=0.3)
axes.axvline(estimate.value, label="the model, with its interval over documents")
axes.axvline(0.5, color="gray", linestyle=":", label="no order")
axes.set_yticks(range(len(report.excess)), report.excess)
axes.set_xlabel("concordance of ranks and saturation layers")
legend = axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=2, fontsize=8)

# %% [markdown]
# Gray marks are draws of each null. Ranks that are permuted have no order at all; paths that merely
# converge to the same end (rotated, exchanged, walk, line) do have one, without any model working rank
# by rank. The verdict of cell 9 is about what is left above the stricter of the two path nulls.
#
# The whole audit, with the untrained model, a page and all numbers: `satlens audit tiny --out DIR`.
