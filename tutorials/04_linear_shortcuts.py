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
# # What does a linear map tell of the end?
#
# The logit lens reads an early state as if it were the last one. A **linear shortcut** ("mat") first
# carries it there with one matrix, `h_L ~ A_l h_l`, fitted by least squares on the states of some texts.
# How much more of the final output does that tell, and what does it owe to? Ten cells, from a recipe
# to a verdict. No next token is looked at: the model's own final output is the measure.
#
# To run it: `pip install ".[figures]"` in a clone of the repository, then open its `tutorials/` in Jupyter.
# On Colab, in a cell before the first: `%cd` into the clone, `%pip install ".[figures]"`, `%cd tutorials`.

# %%
# 1. Documents that are fitted on, and documents that are measured on. None is in both.
import sys
import tempfile

sys.path.insert(0, "..")  # the hook recipes lie beside the tutorials

import matplotlib.pyplot as plt
import pandas as pd
import torch

import satlens
from hooks.read_linear_shortcut import fit_linear_shortcut, read_linear_shortcut
from satlens.lenses import ShortcutFitter, SubmoduleMaps, measure, split_documents, tolerance
from satlens.survey.corpus import read_corpus

host = satlens.load_model("tiny")
model = satlens.wrap(host)
stories = list(read_corpus("bundled").documents)
test, train = split_documents(model.batches(stories, batch_size=8), 0.3)
test = test.first(800)
train.n_documents, train.n_tokens, test.n_documents, test.n_tokens

# %%
# 2. By hand, with the recipe: a map for every layer from the states of some texts, and the layers of
# another text read through it, beside the logit lens (maps that are the identity).
maps = fit_linear_shortcut(host, (host.to_tokens(story) for story in stories[:40]))
tokens = host.to_tokens("The cat sat on the")
through = read_linear_shortcut(host, tokens, maps)[:, 0, -1]
logit_lens = read_linear_shortcut(host, tokens, torch.eye(128).expand_as(maps))[:, 0, -1]
words = [[host.tokenizer.decode([i]) for i in row] for row in zip(logit_lens, through, strict=True)]
pd.DataFrame(words, columns=["logit lens", "shortcut"]).rename_axis("layer").T

# %%
# 3. The same in a stream, in float64, with everything else that one pass can fit. The shift only puts
# the mean of a state right; the mean state knows nothing of its token.
fitter = ShortcutFitter(model).fit(train)
shortcut = fitter.shortcut()
lenses = {
    "shortcut": shortcut,
    "identity": satlens.LogitLens(model),
    "shift": fitter.shift(),
    "mean state": fitter.mean_state(),
}
fitter.n, shortcut.parameters

# %%
# 4. How often does each tell the model's final top-1, by layer, on documents it was not fitted on?
quality = measure(model, test, lenses)
figure, axes = plt.subplots(figsize=(5.4, 3.4), layout="constrained")
for name in lenses:
    found = quality.estimate(name, "precision@1")
    axes.plot(quality.layers, found.value, label=name)
    axes.fill_between(quality.layers, found.low, found.high, alpha=0.2)
axes.set(xlabel="layer", ylabel="final top-1 told", ylim=(0, 1))
legend = axes.legend()

# %%
# 5. The difference on the same tokens, with its interval over documents: over the better of identity
# and shift, found anew in every draw.
rows = {}
for run, layers in {"early": range(5), "middle": range(5, 10), "late": range(10, 15)}.items():
    best, ahead = quality.over_best("shortcut", ("identity", "shift"), "precision@1", layers)
    rows[run] = best, ahead.value, ahead.low, ahead.high
pd.DataFrame(rows, index=["over the", "difference", "low", "high"]).T

# %%
# 6. Other measures of the same thing, mean over all layers. r2 is what least squares fits.
measures = ("precision@1", "precision@10", "surprisal", "kl", "r2")
pd.DataFrame(
    {name: [quality.estimate(name, one).value.mean() for one in measures] for name in lenses},
    index=measures,
).round(2)

# %%
# 7. Fewer numbers: the best map of rank r, and the best map of rank r for what is still to come (the
# state itself is kept). Low rank alone forgets what the state already says.
ranks = (4, 16, 64)
low = {
    f"{kind}{rank}": fitter.shortcut(rank=rank, residual=kind == "identity + rank ")
    for kind in ("rank ", "identity + rank ")
    for rank in ranks
}
few = measure(model, test.first(300), low | {"identity": satlens.LogitLens(model)})
figure, axes = plt.subplots(figsize=(5.4, 3.4), layout="constrained")
for name in few.methods:
    style = "k:" if name == "identity" else "-" if name.startswith("identity") else "--"
    axes.plot(few.layers, few.estimate(name, "precision@1").value, style, label=name)
axes.set(xlabel="layer", ylabel="final top-1 told", ylim=(0, 1))
legend = axes.legend(ncols=2, fontsize=8)

# %%
# 8. When a token is fixed is a matter of model and lens together. Any lens goes into `detect`; the final
# ranking is always the model's own.
events = {
    name: satlens.detect(model, test, k=3, lens=lenses[name]) for name in ("identity", "shortcut")
}
pd.DataFrame({name: found.layer.mean(0) for name, found in events.items()}, index=[1, 2, 3]).round(
    2
)

# %%
# 9. One linear map for each sub-module instead, in place of all of one kind behind layer 8. Beside each
# stands its null: the mean of what the part writes. A part that does little is missed little.
parts = SubmoduleMaps.fit(model, train)
kept = tolerance(model, test.first(300), parts, layers=[8])
shares = {name: kept.estimate(name, "precision@1")[0].value for name in kept.methods}
pd.DataFrame(
    {
        by: [shares[kind + end] for kind in parts.kinds]
        for by, end in (("map", ""), ("mean", ", mean"))
    },
    index=parts.kinds,
).round(3)

# %%
# 10. A shortcut is saved with the identity of its model, and refused on another one.
folder = tempfile.mkdtemp()
shortcut.save(f"{folder}/shortcut")
same = satlens.LinearShortcut.load(f"{folder}/shortcut", model)
try:
    satlens.LinearShortcut.load(f"{folder}/shortcut", satlens.untrained(host))
except satlens.errors.InputError as error:
    print(error)

# %% [markdown]
# * The intervals take the fitted maps as given; they say how much hangs on which documents were read.
# * Agreement with the model is not being right. What a lens saves is another question: `satlens exits`.
# * A tuned lens (`satlens.TunedLens.fit`) is trained on the final output instead of the final state, and
#   tells more; it takes some minutes.
#
# The whole thing with tables, all controls and a page: `satlens shortcut tiny --out DIR`.
