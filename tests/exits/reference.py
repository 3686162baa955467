"""Early exit as it is told: one policy, one token, one layer after the other; only a `Peek` is shown."""

import torch

from satlens.exits import Peek, leaving
from satlens.saturation.ranking import top_ids


@torch.no_grad()
def exits_by_hand(model, lens, policy, states):
    """The exit layer of every token."""
    found = []
    for i in range(len(states.pos)):
        memory = {}
        for layer in range(model.n_layers - 1):
            before = states.resid[layer - 1, i : i + 1].clone() if layer else None
            peek = Peek(
                layer, model.n_layers, states.resid[layer, i : i + 1].clone(), before,
                states.pos[i : i + 1].clone(), lens.scores, memory,
            )  # fmt: skip
            if bool(leaving(policy, peek)[0]):
                found.append(layer)
                break
            memory = peek.memory
        else:
            found.append(model.n_layers - 1)
    return found


@torch.no_grad()
def evaluate_by_hand(model, inputs, policy, lens, cost, scored, own):
    """The numbers of one policy over all tokens: agreement, accuracy, loss, blocks, compute saved.

    ``scored``: it reads scores at every look. ``own``: multiply-adds of a look beside them.
    """
    agree, right, lost, blocks, spent, full = [], [], [], [], [], []
    for document in inputs:
        (batch,) = model.batches([document], 1)
        states = model.states(batch)
        final = top_ids(states.logits, 1)[:, 0].tolist()
        for i, e in enumerate(exits_by_hand(model, lens, policy, states)):
            last = e == model.n_layers - 1
            scores = (
                states.logits[i : i + 1] if last else lens.scores(states.resid[e, i : i + 1], e)
            )
            top = int(top_ids(scores, 1))
            agree.append(top == final[i])
            if i + 1 < len(document):
                right.append(top == document[i + 1])
                lost.append(-float(scores.double().log_softmax(-1)[0, document[i + 1]]))
            blocks.append(e + 1)
            layers = range(model.n_layers)
            body = sum(cost.per_token[x] + cost.per_pair[x] * (i + 1) for x in layers if x <= e)
            body += sum(cost.kv[x] for x in layers if x > e)
            looks = [x for x in layers if x <= min(e, model.n_layers - 2)]
            body += sum(own + scored * cost.look[x] for x in looks)
            if last or not scored:  # else the last look is the answer
                body += cost.look[e]
            spent.append(body)
            whole = sum(cost.per_token[x] + cost.per_pair[x] * (i + 1) for x in layers)
            full.append(whole + cost.look[-1])

    def mean(x):
        return sum(x) / len(x)

    return {
        "agreement": mean(agree), "accuracy": mean(right), "loss": mean(lost), "blocks": mean(blocks),
        "compute_saved": 1 - sum(spent) / sum(full),
    }  # fmt: skip
