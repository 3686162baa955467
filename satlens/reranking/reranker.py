"""`Reranker`: the model's next-token distribution, changed by when its ranks were fixed.

With p_b the model's distribution at inverse temperature b, t_1 .. t_k its ranking, R the rest, and for rank i

    x_i = 1,  log p_b(t_i),  H,    and with saturation layers also   E_i,  1[E_i = 0],    E_i = lead / (L - 1)

    q(t_i) = p_b(t_i) exp(w_i . x_i) / Z,    q(v) = p_b(v) / Z  for v in R,    Z = the sum over all outputs

a distribution over the whole vocabulary. b is fitted first, then w with b held (`satlens.reranking.softmax`):
w = 0 is temperature scaling. H is the entropy at b = 1; E and H are the position's own, nothing later is
read.
"""

from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from numpy import ndarray
from sklearn.base import BaseEstimator
from sklearn.exceptions import NotFittedError
from torch import Tensor

from satlens.errors import InputError
from satlens.reranking.final_output import final_numbers
from satlens.reranking.softmax import fit_softmax, log_shares
from satlens.reranking.temperature import at_the_end, fit_temperature
from satlens.reranking.tokens import NextTokens
from satlens.storage import Stored
from satlens.version import __version__

FEATURES = ("constant", "log p", "entropy")
SATURATION = ("lead", "fixed only at the last layer")
STORED = Stored("satlens.Reranker/1", "reranker", "Reranker.save")


class Reranker(BaseEstimator):
    """Changes the probabilities of ranks 1 .. k, and of the rest as a whole.

    Args:
        saturation: False leaves the saturation layers out: rank, probability and entropy alone.
        C: inverse penalty on the weights of standardised features.

    Once fitted it has ``beta_``, the inverse temperature; ``coef_`` ``[k, features]``, the weights w of the
    features as they are; ``features_``, their names; ``notes_``, what the fit complained of.

    Source: ours; the saturation layers of Lioubashevski et al. 2025 as features.

    Example:
        >>> import satlens
        >>> from satlens.survey import read_corpus
        >>> texts = list(read_corpus("bundled").documents)[:6]
        >>> tokens = satlens.reranking.next_tokens(satlens.load_model("tiny"), texts, k=3)
        >>> reranker = Reranker().fit(tokens)
        >>> reranker.coef_.shape, bool(reranker.losses(tokens).mean() < -tokens.next_logp.mean())
        ((3, 5), True)
    """

    def __init__(self, saturation: bool = True, C: float = 1.0) -> None:
        self.saturation = saturation
        self.C = C

    def fit(self, tokens: NextTokens) -> "Reranker":
        """Fit b and w to positions and their next tokens.

        Raises:
            InputError: no positions, or C not above 0.
        """
        if not len(tokens):
            raise InputError(
                "A reranker needs positions with a next token to be fitted to; got none."
            )
        if not self.C > 0:
            raise InputError(f"C must be above 0, got {self.C}.")
        self.beta_ = fit_temperature(tokens)
        self.k_, self.n_layers_ = tokens.k, tokens.n_layers
        self.features_ = (*FEATURES, *(SATURATION if self.saturation else ()))
        x = self._features(tokens)
        mean, spread = x.mean(0), x.std(0)
        constant = spread < 1e-12
        mean[constant], spread[constant] = 0.0, 1.0
        rank = tokens.rank
        y = np.where((rank >= 1) & (rank <= self.k_), rank - 1, self.k_)
        w, ended = fit_softmax(self._offset(tokens), (x - mean) / spread, y, self.C)
        self.coef_ = w / spread
        self.coef_[:, 0] -= (self.coef_ * mean).sum(
            1
        )  # the constant comes first and has mean 0 here
        self.notes_ = [] if ended else ["Newton's method had not ended"]
        if at_the_end(self.beta_):
            self.notes_.append(f"the temperature is at the end of its range: b = {self.beta_:.3f}")
        return self

    def log_shares(self, tokens: NextTokens) -> Float[ndarray, "n c"]:
        """``log q`` of ranks 1 .. k, and of all the rest together in the last column."""
        self._check(tokens.k, tokens.n_layers)
        return log_shares(self._offset(tokens), self._features(tokens), self.coef_)

    def losses(self, tokens: NextTokens) -> Float[ndarray, " n"]:
        """``-log q`` of the next token at each position, in nats."""
        log_q = self.log_shares(tokens)
        rank = tokens.rank
        top = (rank >= 1) & (rank <= self.k_)
        said = log_q[np.arange(len(tokens)), np.where(top, rank - 1, self.k_)]
        own = self.beta_ * tokens.next_logp.astype(np.float64) - tokens.tail_at(self.beta_)
        return -(said + np.where(top, 0.0, own))

    def hits(self, tokens: NextTokens) -> Bool[ndarray, " n"]:
        """Whether the largest q is the next token's; of equal ones the lower id is first."""
        self._check(tokens.k, tokens.n_layers)
        score = self.beta_ * tokens.logp.astype(np.float64)  # of rank k + 1: the first of the rest
        score[:, :-1] += np.einsum("nkm,km->nk", self._features(tokens), self.coef_)
        first = np.where(score == score.max(1, keepdims=True), tokens.token, np.iinfo(np.int32).max)
        return first.min(1) == tokens.next

    @torch.no_grad()
    def log_prob(
        self, logits: Float[Tensor, "n output"], token: Int[Any, "n k"], layer: Int[Any, "n k"]
    ) -> Float[Tensor, "n output"]:
        """``log q`` over the whole vocabulary.

        Args:
            logits: the model's own final output.
            token, layer: the final ranking and its saturation layers, as in `SaturationEvents`.

        Raises:
            InputError: other numbers of ranks than it was fitted to, or layers outside the model's.
        """
        top = torch.as_tensor(np.array(token)).to(logits.device, torch.long)
        layer = np.array(layer)
        if tuple(top.shape) != layer.shape or len(layer) != len(logits):
            raise InputError(
                f"log_prob wants token and layer of one shape, a row for each of {len(logits)} rows of "
                f"logits; got {tuple(top.shape)} and {layer.shape}."
            )
        self._check(layer.shape[1], None)
        nothing = np.zeros(len(layer), np.int64)
        said = final_numbers(logits, top, top[:, 0])
        tokens = NextTokens(
            layer,
            **said,
            next=nothing,
            doc=nothing,
            pos=nothing,
            n_layers=self.n_layers_,
            settings={},
        )
        log_q = torch.from_numpy(self.log_shares(tokens)).to(logits.device, torch.float32)
        log_p = (self.beta_ * logits.float()).log_softmax(-1)
        rest = log_p.scatter(1, top, -torch.inf)
        rest = rest - rest.logsumexp(-1, keepdim=True) + log_q[:, -1:]
        return rest.scatter(1, top, log_q[:, :-1])

    def save(self, path: str | Path) -> None:
        """Write ``path.safetensors`` and ``path.json``; see `load`."""
        self._check(None, None)
        said = {
            "params": self.get_params(), "beta": self.beta_, "k": self.k_, "n_layers": self.n_layers_,
            "features": list(self.features_), "notes": list(self.notes_),
            "versions": {"satlens": __version__, "numpy": version("numpy")},
        }  # fmt: skip
        STORED.save(path, {"coef": self.coef_}, said)

    @classmethod
    def load(cls, path: str | Path) -> "Reranker":
        """Read what `save` wrote.

        Raises:
            InputError: no such files, or files that were changed, cut short or of another kind.
        """
        said, raw = STORED.read(path)
        made = cls(**said["params"])
        made.beta_, made.k_, made.n_layers_ = said["beta"], said["k"], said["n_layers"]
        made.features_, made.notes_ = tuple(said["features"]), said["notes"]
        wanted = {"coef": (np.dtype(np.float64), (made.k_, len(made.features_)))}
        made.coef_ = STORED.arrays(path, raw, wanted)["coef"]
        return made

    def _offset(self, tokens: NextTokens) -> Float[ndarray, "n c"]:
        """``log p_b`` of ranks 1 .. k, and of the rest together."""
        top = self.beta_ * tokens.logp[:, : self.k_].astype(np.float64)
        own = np.concatenate([top, tokens.tail_at(self.beta_)[:, None]], axis=1)
        return own - tokens.normaliser(self.beta_)[:, None]

    def _features(self, tokens: NextTokens) -> Float[ndarray, "n k m"]:
        """``x`` of every rank."""
        shape = (len(tokens), self.k_)
        entropy = np.broadcast_to(tokens.entropy[:, None], shape)
        columns = [np.ones(shape), self._offset(tokens)[:, :-1], entropy]
        if self.saturation:
            columns += [tokens.lead / (self.n_layers_ - 1), tokens.lead == 0]
        return np.stack(columns, axis=-1).astype(np.float64)

    def _check(self, k: int | None, n_layers: int | None) -> None:
        """Fitted, and to positions of this kind."""
        if not hasattr(self, "coef_"):
            raise NotFittedError("This Reranker is not fitted yet: call fit first.")
        for name, found, wanted in (("k", k, self.k_), ("n_layers", n_layers, self.n_layers_)):
            if found is not None and found != wanted:
                raise InputError(
                    f"This reranker was fitted with {name}={wanted}; got positions with {name}={found}."
                )
