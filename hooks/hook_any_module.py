"""Put a TransformerLens HookPoint behind every block of any module: a model of your own, too.

    h_l = the output of blocks[l] (or the first part of it, if it is a tuple),  l = 0 .. L-1

    hooked = hook_any_module(model, model.encoder.layers)
    scores, cache = hooked.run_with_cache(inputs)         # "blocks.3.hook_resid_post": [batch, pos, d]
    changed = hooked.run_with_hooks(inputs, fwd_hooks=[("blocks.3.hook_resid_post", fn)])

Take for `blocks` the modules whose outputs are the whole state: after the residual addition, and after the
norm where a block ends in one (post-norm). Then the model's head, with whatever stands between the last
block and it, reads every layer: a logit lens. Check that it gives the model's own scores at l = L-1.
"""

from torch import nn
from transformer_lens.hook_points import HookPoint
from transformer_lens.HookedRootModule import HookedRootModule


class HookedBlocks(HookedRootModule):
    """A module called as before, its blocks' outputs passing one HookPoint each on the way."""

    def __init__(self, model, blocks):
        super().__init__()
        self.model, self.hosts = model, tuple(blocks)  # a tuple: the model owns them already
        self.blocks = nn.ModuleList(nn.Module() for _ in self.hosts)
        for block in self.blocks:
            block.hook_resid_post = HookPoint()
        self.setup()
        self.train(model.training)

    def forward(self, *args, **kwargs):
        """The model's own output."""

        def through(point):
            def hook(host, inputs, output):
                if isinstance(output, tuple):
                    return (point(output[0]), *output[1:])
                return point(output)

            return hook

        handles = []  # the hook points are on the model while it runs, and no longer
        try:
            for host, block in zip(self.hosts, self.blocks, strict=True):
                handles.append(host.register_forward_hook(through(block.hook_resid_post)))
            return self.model(*args, **kwargs)
        finally:
            for handle in handles:
                handle.remove()


def hook_any_module(model, blocks):
    """Return ``model`` with hook points ``blocks.0.hook_resid_post`` .. behind these of its modules.

    The wrapper is called like the model and gives what the model gives; the model itself is not
    changed, and keeps the hooks that it has. Blocks that a forward pass calls twice pass their
    hook point twice.
    """
    return HookedBlocks(model, blocks)
