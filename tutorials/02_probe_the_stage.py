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
# # Is the stage in the residual stream?
#
# If a model settles its top token first, then the second, then the third, a state could be said to
# *work on rank i*: **stage i** (the papers' "task i"). A linear probe reads the stage off the
# state. But what does it read: the stage, or something that goes with it? Eight cells, from labels
# to a probe beside nine controls.
#
# The state after block `l` is in stage `i` where `s'[i-1] < l <= s'[i]`, with `s'` the layer from
# which rank `i` and all ranks above it are fixed.
#
# To run it: `pip install ".[figures]"` in a clone of the repository, then open its `tutorials/` in Jupyter.
# On Colab, in a cell before the first: `%cd` into the clone, `%pip install ".[figures]"`, `%cd tutorials`.

# %%
# 1. Saturation layers first: one row a token, one column a rank.
import sys

sys.path.insert(0, "..")  # the hook recipes lie beside the tutorials

import matplotlib.pyplot as plt
import pandas as pd

import satlens
from hooks.collect_stage_states import collect_stage_states
from hooks.mark_saturation import mark_saturation
from satlens.probes import CONTROLS, StageSampler, cross_validate, final_features, stage_labels
from satlens.saturation.detect import stream
from satlens.survey.corpus import read_corpus

model = satlens.load_model("tiny")
stories = list(read_corpus("bundled").documents[:40])
events = satlens.detect(model, stories, k=3)
events

# %%
# 2. Labels, and how many states of each stage there are at each layer. The stage rises with the layer:
# whoever knows the layer can guess the stage.
labels = stage_labels(events)
table = pd.DataFrame(labels.table(), columns=["stage 1", "stage 2", "stage 3", "all fixed"])
table.index.name = "layer"
table

# %%
# 3. By hand, for one text: the recipe gives states, stages, layers, and the text each state is from.
tokens = model.to_tokens("Once upon a time there was a little dog who lived in the")
layer, _ = mark_saturation(model, tokens, k=3)
h, stage, at, row = collect_stage_states(model, tokens, layer)
h.shape, stage.bincount().tolist()

# %%
# 4. For a corpus: a sample of every stage at every layer, in one pass, whatever the size of the
# corpus. Balanced, every layer has as many states of each stage, and the layer number is worth nothing.
sampler = StageSampler(per_cell=300)
for states, found in stream(model, stories, k=3):
    sampler.update(states.resid, found, final_features(states.logits, 3))
data = sampler.finish().balanced(stages=3)
data

# %%
# 5. Scaled, one logistic regression a stage, tested on documents that it has not seen.
probed = cross_validate(data)
accuracy = probed.accuracy
f"balanced accuracy {accuracy.value:.3f} [{accuracy.low:.3f}, {accuracy.high:.3f}], chance {1 / 3:.3f}"

# %%
# 6. Which stages does it take for which? (Rows: what they are.)
figure, axes = plt.subplots(figsize=(3.6, 3.2), layout="constrained")
image = axes.imshow(probed.confusion, vmin=0, vmax=1, cmap="Blues")
axes.set(xlabel="stage, predicted", ylabel="stage", xticks=range(3), yticks=range(3))
axes.set_xticklabels([1, 2, 3])
axes.set_yticklabels([1, 2, 3])
for i, shares in enumerate(probed.confusion):
    for j, share in enumerate(shares):
        axes.text(j, i, f"{share:.2f}", ha="center", va="center", color="k" if share < 0.6 else "w")

# %%
# 7. The same probe beside everything else that could explain it, each in the same folds.
report = satlens.probes.report(model, stories, k=3, stages=3, per_cell=300, draws=2)
figure, axes = plt.subplots(figsize=(6, 3.2), layout="constrained")
real = report.pooled.accuracy
axes.axvspan(real.low, real.high, alpha=0.25)
axes.axvline(real.value, label="probe, with its interval over documents")
axes.axvline(1 / 3, color="gray", linestyle=":", label="chance")
for y, name in enumerate(reversed(CONTROLS)):
    axes.plot(
        report.controls[name].values, [y] * len(report.controls[name].values), "o", color="gray"
    )
axes.set_yticks(range(len(CONTROLS)), CONTROLS[::-1])
axes.set_xlabel("balanced accuracy on unseen documents")
legend = axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=2, fontsize=8)

# %%
# 8. The verdict is about what is left above the strictest control.
report.verdicts[0]["verdict"], report.verdicts[0]["why"]

# %% [markdown]
# * `layer`, `shuffled` and `gaussian` (the paper's control) should be at chance: they hold nothing.
# * `margin` never sees a state: it knows how sure the model is at the end, and at which layer we look.
# * `identity` knows the token that was read and the one that is answered, and no state.
# * `rotated` and `exchanged` are states that merely converge: each token's path to its own final
#   state, turned at random or taken from another token, with stages of their own.
# * `control_task` is not in the verdict: it says how well such a probe learns an arbitrary stage
#   per token type.
#
# `report.probe.save("stages")` writes the probe as safetensors and JSON;
# `satlens.StageProbe.load("stages")` reads it. The whole thing with tables and a page:
# `satlens probe tiny --out DIR`.
