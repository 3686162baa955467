"""`calibrate`: a threshold whose disagreement is bounded on new text, with a stated confidence.

Risk of a threshold t: the share of a new document's tokens whose answer is not the full model's,

    r(t) = E[R_d(t)],        R_d = tokens of document d that disagree / its tokens,  in [0, 1]

The unit that is exchangeable is the document: tokens of one document resemble each other, and p-values that
count tokens would promise too much. Learn-then-Test (Angelopoulos et al. 2021), as CALM uses it:

    H_t: r(t) > epsilon,     p_t valid for n independent documents
    from the threshold that lets the fewest tokens leave downwards: on while p_t <= delta    (fixed sequence)
    the last one that passed has   P(r > epsilon) <= delta

No correction for the number of thresholds is needed, because the order is fixed beforehand and testing ends
at the first that fails. Two p-values, each for means of independent numbers in [0, 1]:

    betting              1 / max_i K_i,  K_i = prod_{j <= i} (1 - nu_j (R_j - epsilon)),  nu_j from the past
                         (Waudby-Smith and Ramdas 2023; Bates et al. 2021): uses that R_d varies little
    hoeffding-bentkus    min(exp(-n kl(min(mean, eps) | eps)), e P(Bin(n, eps) <= ceil(n mean)))
                         (Bates et al. 2021)

Neither can reject with fewer than log(1 / delta) / -log(1 - epsilon) documents, even if nothing ever
disagrees: for 5 % at 95 % confidence that is 59 documents.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy import ndarray
from scipy.stats import binom

from satlens.conventions import DEFAULT_SEED
from satlens.errors import InputError
from satlens.exits.policies import Never
from satlens.exits.policy import Policy, name_of
from satlens.exits.result import Evaluation

BOUNDS = ("betting", "hoeffding-bentkus")


@dataclass(frozen=True, eq=False)
class Calibration:
    """The threshold that was chosen, or None: no threshold can be vouched for, so never leave.

    Attributes:
        name: of the policy that was calibrated.
        policy: it at that threshold; `Never` if there is none. Ready for evaluate and generate.
        thresholds, risks, p_values: in the order tested; p is NaN after the first that failed.
        documents: calibration documents.
        why: in a sentence, for None.
    """

    name: str
    policy: Policy
    threshold: float | None
    epsilon: float
    delta: float
    thresholds: Float[ndarray, " threshold"]
    risks: Float[ndarray, " threshold"]
    p_values: Float[ndarray, " threshold"]
    documents: int
    bound: str
    why: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        return {
            "policy": self.name, "threshold": self.threshold, "epsilon": self.epsilon,
            "delta": self.delta, "thresholds": self.thresholds.tolist(), "risks": self.risks.tolist(),
            "p_values": [None if np.isnan(p) else float(p) for p in self.p_values],
            "documents": self.documents, "bound": self.bound, "why": self.why,
        }  # fmt: skip


def calibrate(
    evaluation: Evaluation,
    policy: str | Policy,
    epsilon: float = 0.05,
    delta: float = 0.05,
    *,
    bound: str = "betting",
    seed: int = DEFAULT_SEED,
) -> Calibration:
    """The lowest threshold that keeps disagreement on new documents within epsilon, at confidence 1 - delta.

    Args:
        evaluation: on calibration documents: none that anything was fitted on, none of the test.
        policy: its name there (or the policy); all its thresholds are tested, safest first.
        epsilon: the share of a document's tokens that may disagree with the full model, on average
            over documents.
        delta: the probability, over calibration documents, that this fails.
        bound: "betting" or "hoeffding-bentkus".
        seed: of the order in which documents are bet on.

    Raises:
        InputError: epsilon or delta outside (0, 1), an unknown policy or bound, or a policy without
            thresholds.

    Source: Angelopoulos et al. 2021 (Learn then Test); Schuster et al. 2022 (CALM).

    Example:
        >>> import satlens
        >>> from satlens.exits import Patience
        >>> from satlens.exits.evaluate import evaluate
        >>> found = evaluate(satlens.load_model("tiny"), "Lily had a red ball.", [Patience(3)])
        >>> calibrate(found, "patience").threshold is None  # one document vouches for nothing
        True
    """
    for name, value in (("epsilon", epsilon), ("delta", delta)):
        if not 0 < value < 1:
            raise InputError(f"{name} must lie between 0 and 1, got {value}.")
    if bound not in BOUNDS:
        raise InputError(f"bound must be one of {', '.join(BOUNDS)}; got {bound!r}.")
    name = policy if isinstance(policy, str) else name_of(policy)
    points = evaluation.points(name)
    thresholds = evaluation.thresholds[points]
    if np.isnan(thresholds).any():
        raise InputError(f"The policy {name!r} has no threshold to choose.")
    risk = 1 - evaluation.agree[points] / evaluation.tokens
    order = np.random.default_rng(seed).permutation(risk.shape[1])
    p_values = np.full(len(points), np.nan)
    chosen = None
    for i, own in enumerate(risk[:, order]):
        p_values[i] = p_value(own, epsilon, delta, bound)
        if p_values[i] > delta:
            break
        chosen = points[i]
    n = risk.shape[1]
    return Calibration(
        name=name,
        policy=Never() if chosen is None else evaluation.policies[chosen],
        threshold=None if chosen is None else float(evaluation.thresholds[chosen]),
        epsilon=epsilon, delta=delta, thresholds=thresholds, risks=risk.mean(1), p_values=p_values,
        documents=n, bound=bound, why="" if chosen is not None else _why(n, epsilon, delta, p_values[0]),
    )  # fmt: skip


def p_value(
    risk: Float[ndarray, " doc"], epsilon: float, delta: float, bound: str = "betting"
) -> float:
    """Of "the mean of these independent numbers in [0, 1] is above epsilon".

    >>> p_value(np.zeros(100), 0.05, 0.05) < 0.05
    True
    """
    if bound == "betting":
        return _betting(risk, epsilon, delta)
    n, mean = len(risk), float(risk.mean())
    hoeffding = math.exp(-n * _kl(min(mean, epsilon), epsilon))
    bentkus = math.e * float(binom.cdf(math.ceil(n * mean - 1e-9), n, epsilon))
    return min(1.0, hoeffding, bentkus)


def _betting(risk: Float[ndarray, " doc"], epsilon: float, delta: float) -> float:
    """What is left of p after betting against every document with stakes from the ones before it."""
    n = len(risk)
    i = np.arange(1, n + 1)
    mean = (0.5 + np.cumsum(risk)) / (i + 1)
    variance = (0.25 + np.cumsum((risk - mean) ** 2)) / (i + 1)
    before = np.concatenate([[0.25], variance[:-1]])
    stake = np.minimum(1 / (1 - epsilon), np.sqrt(2 * math.log(1 / delta) / (n * before)))
    with np.errstate(
        divide="ignore"
    ):  # all is lost where a stake of 1 / (1 - epsilon) meets a risk of 1
        capital = np.cumsum(np.log1p(-stake * (risk - epsilon)))
    return float(min(1.0, math.exp(-max(0.0, float(capital.max())))))


def _kl(p: float, q: float) -> float:
    """The divergence of two coins."""
    parts = [(p, q), (1 - p, 1 - q)]
    return sum(a * math.log(a / b) for a, b in parts if a > 0)


def _why(n: int, epsilon: float, delta: float, p: float) -> str:
    least = math.ceil(math.log(delta) / math.log(1 - epsilon))
    if n < least:
        return (
            f"{n} documents cannot vouch for {epsilon:g} at confidence {1 - delta:g}: it takes {least} even "
            "if nothing disagrees. Give more documents, or a larger epsilon."
        )
    return (
        f"Already the strictest threshold tested could not be vouched for (p = {p:.3g}): never leave. Add "
        "stricter thresholds, more documents, or a larger epsilon."
    )
