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
# # What does leaving early buy?
#
# Many tokens have their answer long before the last block. **If a token leaves there, how much is
# saved, and how often is it the wrong one?** Three things are easily forgotten. A policy that reads
# scores pays the whole vocabulary at every look. A coin that never leaves, or leaves after the first
# block, saves compute too, and knows nothing. And a threshold that was chosen on a text is no
# promise about the next one.
#
# To run it: `pip install ".[figures]"` in a clone of the repository, then open its `tutorials/` in Jupyter.
# On Colab, in a cell before the first: `%cd` into the clone, `%pip install ".[figures]"`, `%cd tutorials`.

# %%
# 1. A model, and stories in two parts: to fit on, and to judge on.
import sys

sys.path.insert(0, "..")  # the hook recipes lie beside the tutorials

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

import satlens
from hooks.leave_by_softmax_response import leave_by_softmax_response
from satlens import exits
from satlens.probes import StageSampler, final_features
from satlens.saturation.detect import stream
from satlens.survey.corpus import read_corpus

model = satlens.load_model("tiny")
stories = list(read_corpus("bundled").documents)
training, held_out = stories[:14], stories[14:26]

# %%
# 2. One story by hand, with the recipe: each token leaves where the model is sure enough of it.
tokens = model.to_tokens(stories[14])
layer, logits = leave_by_softmax_response(model, tokens, threshold=0.5)
same = logits.argmax(-1) == model(tokens).argmax(-1)
print(f"blocks used: {(layer + 1.0).mean():.1f} of {len(model.blocks)}")
print(f"the full model's answer: {same.float().mean():.0%} of the tokens")

# %%
# 3. After which block each of its first tokens leaves, and where the answer then differs.
words = [model.tokenizer.decode(i) for i in tokens[0, :40].tolist()]
figure, axes = plt.subplots(figsize=(9, 2.6), layout="constrained")
colors = np.where(same[0, :40], "#0072b2", "#c26a00")
axes.bar(range(40), layer[0, :40] + 1, color=colors, width=0.8)
axes.set_xticks(range(40), words, rotation=90, fontsize=7)
axes.set(ylabel="blocks used", title="blue: the full model's answer; orange: another one")
axes.margins(x=0.01)

# %%
# 4. What policies need to know is fitted on the training part: a probe that says "rank 1 is fixed"
# (stage 2), and a classifier that says "the lens already has the final answer".
sampler = StageSampler(per_cell=200)
for states, events in stream(model, training, k=2):
    features = final_features(states.logits, 2)
    sampler.update(states.resid, events, features)
found = sampler.finish().balanced(stages=2, min_states=30)
probe = satlens.StageProbe().fit(found.state, found.stage, found.layer)
agreement = exits.AgreementProbe.fit(model, training)

# %%
# 5. Each policy at ten thresholds, evenly spaced in depth; then all of them, on the other stories,
# in one pass.
policies = [
    exits.StageExit(probe, first=int(found.layer.min())),
    exits.SoftmaxResponse(),
    exits.StateSaturation(),
    exits.Classifier(agreement),
    exits.Patience(),
    exits.FixedLayer(),
]
swept = exits.sweep(model, training, policies, n=10, tokens=1000)
result = exits.evaluate(model, held_out, swept)
table = result.table()
result

# %%
# 6. The same points twice: blocks alone, and everything that is computed. Dotted: the coin.
figure, both = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained", sharey=True)
for axes, saving in zip(both, ("layers_saved", "compute_saved"), strict=True):
    for name, own in table.groupby("policy", sort=False):
        marker = "*" if name == exits.ORACLE else "o"
        axes.plot(
            own[saving], own.agreement, marker=marker, ms=8 if marker == "*" else 4, label=name
        )
    once = table[(table.policy == "fixed layer") & (table.threshold == 0)]
    axes.plot(
        [0, once[saving].item()], [1, once.agreement.item()], ls=":", color="gray", label="coin"
    )
    axes.set(xlabel=saving.replace("_", " "), xlim=(-0.3, 1))
both[0].set_ylabel("agreement with the full model")
legend = figure.legend(*both[0].get_legend_handles_labels(), loc="outside lower center", ncols=4)

# %%
# 7. One number a policy, with intervals over documents: the mean agreement above the coin, over all
# savings of layers and of compute. Thresholds are chosen on one half of the stories and read on the
# other.
compared = {
    saving: exits.compare(result, saving=saving, draws=500)
    for saving in ("layers_saved", "compute_saved")
}
pd.DataFrame(
    {
        saving: [
            f"{made.gain[i].value:+.3f} [{made.gain[i].low:+.3f}, {made.gain[i].high:+.3f}]"
            for i in range(len(made.names))
        ]
        for saving, made in compared.items()
    },
    index=compared["layers_saved"].names,
)

# %%
# 8. A threshold with a promise: in a new story at most 3 of 10 answers differ, wrong with probability
# 0.2 at most. With so few stories little can be promised; "never" is an answer, too.
chosen = [exits.calibrate(result, name, epsilon=0.3, delta=0.2) for name in result.families]
pd.DataFrame(
    {one.name: {"threshold": one.threshold, "documents": one.documents} for one in chosen}
).T

# %%
# 9. And for real: generation that stops computing. Keys and values of skipped blocks are made from
# the state that left.
leave = exits.StageExit(probe, threshold=0.9, first=int(found.layer.min()))
made = exits.generate(model, "One day a little dog", leave, max_new_tokens=20)
print(made.text[0])
print("blocks used, token by token:", (made.exit_layer[0] + 1).tolist())

# %% [markdown]
# * **agreement**: the answer at the exit is the full model's top-1. **compute saved** counts blocks,
#   attention, the keys and values of skipped blocks, every look of the policy and the final reading.
# * The states of `evaluate` are those of the full model; `generate` is where earlier exits change
#   what later tokens see.
# * **oracle**: leaves at the first layer whose top-1 is the final one. It sees the answer: a bound.
#
# With linear shortcuts, an untrained model, verdicts and a page: `satlens exits tiny --out DIR`.
