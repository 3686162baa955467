"""The hosts that every recipe must run on, and what the tests of the recipes share."""

import torch

from tests.builders import random_bridge, random_hooked, random_ids

HOSTS = {
    "hooked": lambda: random_hooked(n_layers=5),
    "hooked, soft cap": lambda: random_hooked(n_layers=4, output_logits_soft_cap=2.0),
    "hooked, one block": lambda: random_hooked(n_layers=1),
    "bridge": lambda: random_bridge(n_layers=5),
    "bridge, soft cap (gemma2)": lambda: random_bridge(family="gemma2"),
    "bridge, scaled (granite)": lambda: random_bridge(family="granite"),
    "bridge, llama": lambda: random_bridge(family="llama"),
}
TOKENS = torch.tensor(random_ids(50, [12, 12]))


def attached(model) -> list[int]:
    """How many forward hooks every module has."""
    return [len(module._forward_hooks) for module in model.modules()]
