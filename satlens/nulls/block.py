"""Some documents' real states, ready to be turned into the states of a null.

    rotated, exchanged, walk, line     other ways into the same final state     (states -> states)

The states come from `satlens.nulls.paths`; the saturation layers in them from the same scan, lens and
final ranking as those of the real states.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy import ndarray
from torch import Generator, Tensor

from satlens.errors import InputError
from satlens.nulls import paths
from satlens.saturation.events import SaturationEvents
from satlens.saturation.method import Scan

PATH_NULLS = ("rotated", "exchanged")
"""The two that keep each token's distances to its end: the verdict is taken against the stricter."""
KINDS = (*PATH_NULLS, "walk", "line")


@dataclass(eq=False)
class Block:
    """The states of some documents, ready to be drawn from."""

    paths: paths.Paths
    dtype: torch.dtype
    final: Int[Tensor, "token k"]
    doc: Int[Tensor, " token"]
    runners: Int[Tensor, "token c"] | None = None
    """Runners-up of the final ranking, found in the first draw: every draw ends in the same states."""

    @staticmethod
    def of(resid: Float[Tensor, "layer token d"], events: SaturationEvents) -> "Block":
        """The block of states that lie together, and the events found in them."""

        def on_device(values: ndarray) -> Tensor:
            return torch.tensor(values, dtype=torch.long, device=resid.device)

        geometry = paths.Paths.of(resid)
        return Block(geometry, resid.dtype, on_device(events.token), on_device(events.doc))

    def states(self, kind: str, generator: Generator) -> Float[Tensor, "layer token d"]:
        """The states of one draw, in the model's own type; the last ones are the real ones."""
        if kind == "exchanged":
            drawn = paths.exchanged(self.paths, self._donors(generator))
        else:
            drawn = getattr(paths, kind)(self.paths, generator)
        return drawn.to(self.dtype)

    def layers(self, states: Float[Tensor, "layer token d"], scan: Scan) -> Int[ndarray, "token k"]:
        """The saturation layers in such states: the same scan, towards the same final ranking."""
        rows = scan.rows(states)
        if self.runners is None:
            self.runners = scan.runners(rows, self.final.shape[1])
        layer = scan.layers(rows, self.final, self.runners)
        return layer.cpu().numpy().astype(np.int16)

    def _donors(self, generator: Generator) -> Int[Tensor, " token"]:
        return paths.pick_donors(self.doc, self.final[:, 0], generator)

    def check_donors(self) -> None:
        """Refuse to draw "exchanged" where a token has nobody to exchange with."""
        alone = int((paths.donor_counts(self.doc, self.final[:, 0]) == 0).sum())
        if alone:
            docs = len(self.doc.unique())
            raise InputError(
                "The exchanged null takes each token's way from another document that ends in "
                f"another token; {alone} of {len(self.doc)} tokens, in {docs} document(s), have no "
                "such donor. Give more documents, or leave 'exchanged' out of kinds."
            )


def generator_for(kind: str, seed: int, part: int, device: torch.device) -> Generator:
    """A generator of its own for each kind of null and each part of a corpus."""
    sequence = np.random.SeedSequence([seed, KINDS.index(kind), part])
    generator = Generator(device)
    generator.manual_seed(int(sequence.generate_state(1, np.uint64)[0] >> 1))
    return generator


def joined(parts: Sequence[tuple[Tensor, SaturationEvents]]) -> tuple[Tensor, SaturationEvents]:
    """One block from batches."""
    resid = torch.cat([states for states, _ in parts], dim=1)
    return resid, SaturationEvents.concat([events for _, events in parts])
