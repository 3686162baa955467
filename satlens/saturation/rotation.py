"""A random rotation of d dimensions for d (a + b) products a row, and what it can be off by."""

import torch
from jaxtyping import Float
from torch import Tensor

from satlens.saturation.exact import gamma


class Rotation:
    """A fixed random rotation of d dimensions, ``R = A (x) B`` with d = a b: d (a + b) products a row.

    It spreads a few large dimensions over all of them, so that 8 bits serve every one.

    Attributes:
        rho: what the rotation as stored and computed can be off by. Each factor multiplies with an error
            of at most gamma_n |x| |F|, |F| its Frobenius norm; and F F^T is the identity up to its defect,
            so inner products change by at most ``(1 + defect_A)(1 + defect_B) - 1`` of ``|w| |x|``.
    """

    def __init__(self, d: int, seed: int, device: torch.device) -> None:
        a = max(n for n in range(1, int(d**0.5) + 1) if d % n == 0)
        generator = torch.Generator().manual_seed(seed)
        self.factors, grown, rho = [], 1.0, 0.0
        for n in (d // a, a):
            gauss = torch.randn(n, n, generator=generator, dtype=torch.float64)
            factor = torch.linalg.qr(gauss)[0].float()
            exact = factor.double()
            defect = float(torch.linalg.matrix_norm(exact @ exact.T - torch.eye(n)))
            rounding = gamma(n + 2, torch.float32) * float(torch.linalg.matrix_norm(exact))
            rho = (1 + rho) * (1 + rounding) - 1
            grown *= 1 + defect
            self.factors.append(factor.to(device))
        self.rho = 1.01 * (rho + (grown - 1))

    def __call__(self, x: Float[Tensor, "row d"]) -> Float[Tensor, "row d"]:
        """``x R`` (with the dimensions in another order)."""
        right, left = self.factors
        n = len(x)
        x = (x.reshape(-1, len(right)) @ right).view(n, len(left), len(right))
        return (x.transpose(1, 2).reshape(-1, len(left)) @ left).view(n, -1)
