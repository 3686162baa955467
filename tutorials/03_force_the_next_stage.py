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
# # Can the next stage be forced?
#
# Two tokens end in the same answer; one has it fixed early (the donor), one late (the recipient).
# **Put the donor's state into the recipient's stream: does the recipient go on to its next rank?**
# The published test asks whether the recipient's top token is now fixed at the patched layer. That
# is nearly circular: the state put in says so already. Here the controls stand beside it, and the
# question is put to rank 2, which no state brought along.
#
# To run it: `pip install ".[figures]"` in a clone of the repository, then open its `tutorials/` in Jupyter.
# On Colab, in a cell before the first: `%cd` into the clone, `%pip install ".[figures]"`, `%cd tutorials`.

# %%
# 1. A model, some stories, and from which layer on each rank is fixed.
import sys

sys.path.insert(0, "..")  # the hook recipes lie beside the tutorials

import matplotlib.pyplot as plt
import pandas as pd

import satlens
from hooks.inject_saturated_state import inject_saturated_state
from hooks.mark_saturation import mark_saturation
from satlens.patching import find_pairs, patch, steer
from satlens.survey.corpus import read_corpus

model = satlens.load_model("tiny")
stories = list(read_corpus("bundled").documents[:24])
events = satlens.detect(model, stories, k=3)
events

# %%
# 2. Pairs of one answer, the donor fixed at least 4 layers before the recipient. No token is used
# twice.
pairs = find_pairs(events, gap=4, room=2, limit=40)
pairs.to_frame().head()

# %%
# 3. One pair by hand, with the recipe: the donor's state at its saturation layer, into the recipient.
first = pairs.to_frame().iloc[0]
donor, recipient = (
    model.to_tokens(stories[first[f"{side}_doc"]]) for side in ("donor", "recipient")
)


def ranks(model, tokens):
    return mark_saturation(model, tokens, k=3)


before, token = ranks(model, recipient)
after, now = inject_saturated_state(
    model, donor, first.donor_pos, recipient, first.recipient_pos, first.donor_layer, run=ranks
)
at = first.recipient_pos
pd.DataFrame(
    {
        "fixed from": before[0, at].tolist(),
        "token": [model.tokenizer.decode(i) for i in token[0, at].tolist()],
        "patched: fixed from": after[0, at].tolist(),
        "patched: token": [model.tokenizer.decode(i) for i in now[0, at].tolist()],
    },
    index=pd.RangeIndex(1, 4, name="rank"),
)

# %%
# 4. Many pairs, offsets and controls at once. "self" puts a token's own state back: it changes nothing.
result = patch(model, stories, pairs, k=3, offsets=range(-2, 3))
result

# %%
# 5. The published picture (left) with its controls in it, and what becomes of the recipient's own
# rank 2 (right).
figure, both = plt.subplots(1, 2, figsize=(8, 3.2), layout="constrained", sharex=True)
for axes, outcome in zip(both, ("published", "forced"), strict=True):
    for name in result.conditions:
        rate = result.estimate(outcome, name)
        axes.plot(
            result.offsets, rate.value, marker="o", label=name, lw=2.5 if name == "paired" else 1
        )
    axes.set(title=outcome, xlabel="layers from the donor's saturation layer", ylim=(-0.03, 1.03))
legend = figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=3)

# %%
# 6. What is left of both above the strictest control, at the donor's saturation layer.
controls = ("unsaturated", "random_donor", "shuffled", "random_direction")
{outcome: result.strictest(controls, outcome) for outcome in ("published", "forced")}

# %%
# 7. No state at all, only the direction: the mean of stage 2 minus the mean of stage 1, from other
# documents.
pushed = steer(model, stories, events=events, stage=1, alphas=(0.5, 1, 2, 4), limit=40)
pushed

# %%
# 8. The dose-response curve: how often does stage 2 begin at once, with the model's own answer?
figure, axes = plt.subplots(figsize=(5, 3.4), layout="constrained")
for name in pushed.conditions:
    rate = pushed.estimate("forced", name)
    axes.plot(pushed.alphas, rate.value, marker="o", label=name, lw=2.5 if name == "means" else 1)
axes.set(xlabel="strength, in mean differences", ylabel="share forced")
legend = axes.legend(fontsize=8)

# %%
# 9. The effect over the strictest direction of the same length, at strength 1.
pushed.strictest(("shuffled", "random", "rotated", "exchanged"))

# %% [markdown]
# * **published**: rank 1 is fixed at the patched layer, and the answer is the same.
# * **forced**: rank 2 settles earlier than in the clean run, with the recipient's own ranks 1 and
#   2, and the state put in comes from a token of another rank 2.
# * **unsaturated** has the same answer but not yet fixed; **shuffled** and **random_donor** have
#   other answers;
#   **random_direction** is a push of the same size.
# * For steering, the directions of a path null (**rotated**, **exchanged**) are those of states
#   that merely converge.
#
# With all pairs, intervals, verdicts and a page: `satlens patch tiny --out DIR`.
