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
# # Where would this model skip a block?
#
# A small router behind every block says of each token whether it may skip the next one
# (Token-Selective Attention). Here the routers are trained alone, on a model that stays as it is:
# **which tokens can do without which blocks?** Two things are easily forgotten. A gate that only
# *scales* what a block adds saves nothing, so what counts is the loss once it is made hard. And
# skipping at random saves as much: that is what a router has to beat.
#
# To run it: `pip install ".[figures]"` in a clone of the repository, then open its `tutorials/` in Jupyter.
# On Colab, in a cell before the first: `%cd` into the clone, `%pip install ".[figures]"`, `%cd tutorials`.

# %%
# 1. A model, and stories in two parts: for the routers to learn from, and to judge them on.
import sys

sys.path.insert(0, "..")  # the hook recipes lie beside the tutorials

import matplotlib.pyplot as plt
import pandas as pd
import torch

import satlens
from hooks.gate_block_per_token import gate_block_per_token
from satlens.routing import (
    SparseForward,
    TokenGates,
    TrainSettings,
    crops,
    evaluate_gates,
    pieces,
    skip_and_saturation,
    train_gates,
)
from satlens.survey.corpus import read_corpus

model = satlens.load_model("tiny")
stories = list(read_corpus("bundled").documents)
training, held_out = stories[:22], stories[22:32]


def ids_of(texts):
    return torch.cat([model.to_tokens(text)[0] for text in texts]).cpu()


# %%
# 2. The recipe, by hand: what if every token skipped one block? The loss without each block.
tokens = model.to_tokens(held_out[0])
with torch.no_grad():
    for block in (1, 8, 15):
        nobody = torch.ones(tokens.shape)
        logits, _ = gate_block_per_token(model, tokens, {block: nobody})
        loss = torch.nn.functional.cross_entropy(logits[0, :-1], tokens[0, 1:])
        print(f"without block {block}: {loss:.2f} nats a token")

# %%
# 3. Routers that decide token by token. The model's weights stay; lambda asks for skipping.
gates = TokenGates(model)
source = crops(ids_of(training), batch_size=8, context=64)
settings = TrainSettings(steps=120, penalty=0.3, joint=False, lr=5e-3, log_every=30)
trained = train_gates(gates, source, settings)
pd.DataFrame(trained.history)

# %%
# 4. On stories they have not seen, four ways: no gates, scaled (soft), skipped (hard), and as many
# skipped at random.
rows = pieces(ids_of(held_out), batch_size=8, context=64)
found = evaluate_gates(gates, rows)


def said(one):
    return f"{one.value:.3f} [{one.low:.3f}, {one.high:.3f}]"


ways = ("open", "soft", "hard", "random")
pd.DataFrame(
    {way: {"loss": said(found.loss(way)), "saved": said(found.saved(way))} for way in ways}
).T

# %%
# 5. One story: how sure each router is that a token may skip its block.
with torch.no_grad(), gates.attached("hard") as run:
    model(tokens)
words = [model.tokenizer.decode(i) for i in tokens[0, :40].tolist()]
figure, axes = plt.subplots(figsize=(9, 3.6), layout="constrained")
image = axes.imshow(
    run.skip[:, 0, :40], vmin=0, vmax=1, cmap="Blues", origin="lower", aspect="auto"
)
axes.set_xticks(range(40), words, rotation=90, fontsize=7)
axes.set_yticks(range(0, 15, 2), range(1, 16, 2))
axes.set(ylabel="block", title="p: the token skips this block")
bar = figure.colorbar(image, fraction=0.03)

# %%
# 6. Does it skip where the answer is fixed already? The saturation layer of rank 1, with every token
# in every block, against how much the router skips; then given frequency, loss and position; then
# beyond what any path into the same end shows.
report = skip_and_saturation(gates, held_out)
print("rank correlation:     ", said(report.correlation))
print("given the confounders:", said(report.partial))
for kind, one in report.excess.items():
    print(f"beyond the path {kind}:", said(one))
for verdict in report.verdicts:
    print(f"{verdict['verdict'].upper()}: {verdict['statement']}")

# %%
# 7. The same, block by block.
table = report.by_block
figure, axes = plt.subplots(figsize=(6, 3.2), layout="constrained")
axes.plot(table.block, table.skip_fixed, "o-", color="#0072b2", label="fixed before the block")
axes.plot(table.block, table.skip_other, "s--", color="#c26a00", mfc="white", label="not yet fixed")
axes.plot(table.block, table.fixed, ":", color="gray", label="share that is fixed")
axes.set(xlabel="block", ylabel="share of tokens that skip it", ylim=(-0.02, 1.02))
legend = axes.legend(fontsize=8, loc="lower right")

# %%
# 8. And for real: tokens that skip are not computed. The same answers as the hard gates by hooks.
sparse = SparseForward(gates)
with torch.no_grad():
    quick = sparse(tokens)
    with gates.attached("hard"):
        gated = model(tokens)
print(f"computed: {quick.active.float().mean():.0%} of what blocks 1 to 15 would be")
print(f"largest difference of a logit: {(quick.logits - gated).abs().max():.1e}")

# %% [markdown]
# * **saved**: 1 - (1 + (L - 1) active) / L, where active is the mean share of tokens that run a
#   block. For soft gates it is what could be saved if scaling saved anything.
# * **hard against random** is what the routers know. **hard against open** is what it costs.
# * A skip is no exit: a token that skips one block may run in the next.
# * Fewer multiplications are not less time: `satlens.routing.timing.time_sparse` measures both.
#
# Training model and gates together, the published tasks and their figures: docs/routing.md.
