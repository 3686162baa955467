"""The screen misses nobody; and every term of its bound is needed: without it somebody is missed."""

import pytest
import torch
from hypothesis import given, settings

from satlens.models.readout import Head
from satlens.saturation import quantised, screen
from satlens.saturation.exact import Bounds
from satlens.saturation.quantised import QuantisedScreen
from satlens.saturation.rotation import Rotation
from satlens.saturation.rows import LinearRows
from satlens.saturation.scan import plain_scan
from satlens.saturation.screen import FloatScreen
from tests.saturation.exactly import exact_layers
from tests.saturation.problems import problems

KINDS = ["int8", "bfloat16"]


def scores_of(head: Head, x: torch.Tensor) -> torch.Tensor:
    """``W x + b`` in float64."""
    z = x.double() @ head.weight.double().T
    return z if head.bias is None else z + head.bias.double()


def missed(screened, head: Head, x: torch.Tensor, change=lambda query: query) -> int:
    """Outputs that reach a threshold, their own score, without being named."""
    scores, count = scores_of(head, x), 0
    query = change(screened.query(x))
    product = screened.product(query).clone()
    for v in range(len(head)):
        row, hit = screened.hits(product, query.factors(scores[:, v]))
        found = torch.zeros(len(x), len(head), dtype=torch.bool)
        found[row, hit] = True
        count += int(((scores > scores[:, v : v + 1] + 1e-9) & ~found).sum()) + int(
            (~found[:, v]).sum()
        )
    return count


def gauss(*shape, seed=0, scale=1.0):
    return torch.randn(*shape, generator=torch.manual_seed(seed)) * scale


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=100)
@given(problems(dtypes=[torch.float32, torch.bfloat16, torch.float16]))
def test_nobody_is_missed(kind, problem):
    assert missed(QuantisedScreen(problem.head, kind), problem.head, problem.x[-1]) == 0


def test_the_screen_leaves_few():
    """Else it would be no screen: a handful of candidates beside those that really reach the threshold."""
    head, x = Head(gauss(20_000, 256)), gauss(64, 256, seed=1)
    threshold = scores_of(head, x).topk(5).values[:, -1]
    for kind in KINDS:
        screened = QuantisedScreen(head, kind)
        query = screened.query(x)
        row, _ = screened.hits(screened.product(query), query.factors(threshold))
        assert 5 * 64 <= len(row) < 20 * 64


def test_outliers_are_spread(monkeypatch):
    """One feature a hundred times the others: eight bits still leave few, and without rotation most."""
    weight, x = gauss(5000, 256), gauss(64, 256, seed=1)
    weight[:, 7] *= 0.02
    x[:, 7] = 100
    head = Head(weight)
    threshold = scores_of(head, x).topk(5).values[:, -1]

    def share():
        screened = QuantisedScreen(head)
        query = screened.query(x)
        row, _ = screened.hits(screened.product(query), query.factors(threshold))
        return len(row) / (64 * 5000)

    assert share() < 0.15
    monkeypatch.setattr(Rotation, "__call__", lambda self, x: x)
    assert share() > 0.5


def full(rotation: Rotation, d: int) -> torch.Tensor:
    """R as stored, as one matrix."""
    right, left = (factor.double() for factor in rotation.factors)
    x = torch.eye(d, dtype=torch.float64).reshape(-1, len(right)) @ right
    x = x.view(d, len(left), len(right)).transpose(1, 2)
    return (x.reshape(-1, len(left)) @ left).view(d, d)


class TestEveryTermIsNeeded:
    """Each test takes one term away; the same data with it miss nobody."""

    @staticmethod
    def check(head, x, kind, mutate=None, change=None, before=None):
        assert missed(QuantisedScreen(head, kind), head, x) == 0
        with pytest.MonkeyPatch.context() as patch:
            if before:
                before(patch)
            screened = QuantisedScreen(head, kind)
            if mutate:
                mutate(screened)
            assert missed(screened, head, x, change or (lambda query: query)) > 0

    @pytest.mark.parametrize("kind", KINDS)
    def test_the_error_of_the_head(self, kind):
        def mutate(screened):
            screened.eps.zero_()
            screened.finish()

        x = gauss(20, 32, seed=1)
        if kind == "bfloat16":
            x = x.bfloat16().float()  # no error of its own that would cover for it
        self.check(Head(gauss(200, 32)), x, kind, mutate)

    @pytest.mark.parametrize("kind", KINDS)
    def test_the_error_of_the_rows(self, kind):
        def change(query):
            query.error.zero_()
            return query

        if kind == "bfloat16":
            weight = gauss(100, 32).bfloat16().float()
        else:  # rows that the rotation puts on the grid of eight bits
            turn = full(Rotation(32, 0, torch.device("cpu")), 32)
            weight = (127.0 * gauss(100, 32).sign().double() @ turn.T).float()
        weight = torch.cat([weight, -weight])  # a mean of zero
        self.check(Head(weight), gauss(20, 32, seed=1), kind, change=change)

    @pytest.mark.parametrize("kind", KINDS)
    def test_the_mean(self, kind):
        def change(query):
            query.mean.zero_()
            return query

        self.check(Head(gauss(200, 32) - 2), gauss(20, 32, seed=1), kind, change=change)

    @pytest.mark.parametrize("kind", KINDS)
    def test_the_bias(self, kind):
        def mutate(screened):
            screened.bias.zero_()
            screened.finish()

        self.check(
            Head(gauss(200, 32), gauss(200, seed=2).abs()), gauss(20, 32, seed=1), kind, mutate
        )

    @pytest.mark.parametrize("kind", KINDS)
    def test_the_bias_of_a_block_is_its_largest(self, kind):
        def mutate(screened):
            mean = screened.bias.view(-1, screen.BLOCK).mean(1)
            screened.terms[1] = -mean / screened.scale

        bias = gauss(256, seed=2) * 10
        self.check(Head(gauss(256, 32), bias), gauss(20, 32, seed=1), kind, mutate)

    @pytest.mark.parametrize("kind", KINDS)
    def test_the_slack_of_the_limit(self, kind):
        """Large biases: the limit is a small difference of large numbers, and rounds."""
        head = Head(gauss(200, 4, scale=1e-3), 1e6 + gauss(200, seed=2))

        def before(patch):
            patch.setattr(quantised, "SLACK", 0.0)

        self.check(head, gauss(20, 4, seed=1, scale=1e-3), kind, before=before)

    def test_the_rounding_of_a_bfloat16_product(self):
        weight = gauss(100, 16, scale=20).round()
        weight = torch.cat([weight, -weight])

        def mutate(screened):
            screened._lowered = lambda limit: limit

        self.check(Head(weight), gauss(20, 16, seed=1, scale=20).round(), "bfloat16", mutate)

    def test_the_summing_of_a_bfloat16_product(self):
        """A large product, many small ones, the large one taken away: summed in that order, which a kernel
        may do, float32 loses all the small ones."""
        weight = torch.ones(64, 512)
        weight[:, 0], weight[:, -1] = 2.0**12, -(2.0**12)
        weight[32:] = -weight[:32]
        x = torch.full((1, 512), 0.5)
        x[:, 0] = x[:, -1] = 2.0**12

        def one_by_one(self, query, first=0, last=None):
            products = query.p.float()[:, None] * self.q[first:last].float()
            total = torch.zeros(products.shape[:2])
            for j in range(products.shape[2]):
                total += products[:, :, j]
            return total.bfloat16()

        def before(patch):
            patch.setattr(quantised, "gamma", lambda n, dtype: 0.0)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(QuantisedScreen, "product", one_by_one)
            self.check(Head(weight), x, "bfloat16", before=before)


class TestTheRotation:
    """What is said of it holds in float64, and would not without its allowance."""

    @pytest.mark.parametrize("d", [1, 7, 64, 96, 768])
    def test_it_turns(self, d):
        rotation = Rotation(d, 0, torch.device("cpu"))
        r = full(rotation, d)
        off = torch.linalg.matrix_norm(r @ r.T - torch.eye(d), ord=2)
        assert off <= rotation.rho
        x = gauss(200, d)
        error = (rotation(x).double() - x.double() @ r).norm(dim=1)
        assert (error <= rotation.rho * x.double().norm(dim=1)).all()

    @pytest.mark.parametrize("of", ["row", "head"])
    def test_the_errors_cover_what_the_rotation_may_be_off_by(self, of, monkeypatch):
        """A kernel as bad as rho allows puts turned rows on the grid of eight bits, where they are not quite:
        nothing is seen of the error, in the rows of a batch as in the head's."""
        screened = QuantisedScreen(Head(gauss(100, 64)))
        r = full(screened.rotation, 64)
        grid = torch.randint(-127, 128, (500, 64), generator=torch.manual_seed(0)).double()
        grid[:, 0] = 127
        off = gauss(1, 64, seed=5)
        off *= 0.5 * screened.rho / off.norm()
        beside = grid - off.double() * grid.norm(dim=1, keepdim=True)
        x = (torch.cat([beside, -beside]) @ r.T).float()  # a mean of zero
        turn = Rotation.__call__

        def bad_kernel(self, x):
            turned = turn(self, x)
            return turned + off * turned.norm(dim=1, keepdim=True) * turned[:, :1].sign()

        monkeypatch.setattr(Rotation, "__call__", bad_kernel)

        def uncovered():
            if of == "row":
                query = screened.query(x)
                scale, q, error = query.scale[:, None], query.p, query.error
            else:
                made = QuantisedScreen(Head(x))
                scale = made.scale.repeat_interleave(screen.BLOCK)[: len(x), None]
                q, error = made.q[: len(x)], made.eps[: len(x)]
            used = scale.double() * q[:, :64].double()
            return int(((x.double() @ r - used).norm(dim=1) > error.double()).sum())

        assert uncovered() == 0
        init = Rotation.__init__
        monkeypatch.setattr(
            Rotation,
            "__init__",
            lambda self, *a: (init(self, *a), setattr(self, "rho", 0.0))[0],
        )
        screened.rho = 0.0
        assert uncovered() > 0


class TestEveryTermOfTheFastSums:
    """Without the error of a fast sum, or the spacing of the type, near ties are decided wrongly."""

    @staticmethod
    def wrong(x, head, k):
        want, final = exact_layers(x, head.weight, head.bias, k)
        seen = LinearRows(x, Bounds.of(head))
        ranked = seen.top(len(x) - 1, k)
        return int((ranked != final).sum()) + int((plain_scan(seen, final)[0] != want).sum())

    def test_the_error(self, monkeypatch):
        """Scores near 0 of large numbers: the sum is off by more than the spacing at its result."""
        weight = gauss(40, 12, scale=100).round(decimals=1)
        weight[20:] = weight[:20]
        x = gauss(4, 12, 12, seed=1, scale=100)
        x -= (x * weight[0]).sum(-1, keepdim=True) / (weight[0] ** 2).sum() * weight[0]
        weight[1:] = weight[0] + gauss(39, 12, seed=3, scale=1e-5)
        head = Head(weight)
        assert self.wrong(x, head, 5) == 0
        monkeypatch.setattr(Bounds, "error", lambda self, norm, ids=None: torch.zeros_like(norm))
        assert self.wrong(x, head, 5) > 0

    def test_the_spacing(self, monkeypatch):
        weight = gauss(200, 12)
        weight[:, 0] += 30
        head = Head(weight.bfloat16())
        x = gauss(4, 12, 12, seed=1).bfloat16()
        assert self.wrong(x, head, 5) == 0
        monkeypatch.setattr(Bounds, "spacing", lambda self, scores: torch.zeros_like(scores))
        assert self.wrong(x, head, 5) > 0


def test_bfloat16_products_come_in_few_sizes(monkeypatch):
    sizes = {quantised.few_sizes(rows) for rows in range(1, screen.ROWS + 1)}
    assert len(sizes) <= 48
    for rows in (1, 16, 17, 83, 256, 257, 1024):
        assert rows <= quantised.few_sizes(rows) < rows + (16 if rows <= 256 else 64)
    seen = []
    monkeypatch.setattr(
        torch, "mm", lambda p, q, out, mm=torch.mm: seen.append(len(p)) or mm(p, q, out=out)
    )
    generator = torch.manual_seed(0)
    head = Head(torch.randn(300, 32, generator=generator))
    screened = QuantisedScreen(head, "bfloat16")
    for rows in (3, 17, 30):
        query = screened.query(torch.randn(rows, 32, generator=generator))
        found = screened.product(query).clone()
        assert len(found) == rows
        assert torch.allclose(found, query.p @ screened.q.T, rtol=2**-7)
    assert seen == [3, 32, 32]


def test_float_screen_is_the_threshold():
    head, x = Head(gauss(130, 8), gauss(130, seed=3)), gauss(10, 8, seed=1)
    screened, scores = FloatScreen(head), torch.nn.functional.linear(x, head.weight, head.bias)
    query = screened.query(x)
    row, v = screened.hits(screened.product(query), query.factors(torch.full((10,), 1.0)))
    want = (scores >= 1).nonzero()
    assert torch.equal(torch.stack([row, v], 1), want)


def test_int8_products_without_torchs_own(monkeypatch):
    """Where torch has no integer product the screen is slow, and the same."""
    screened = QuantisedScreen(Head(gauss(200, 24)))
    query = screened.query(gauss(20, 24, seed=1))
    want = screened.product(query).clone()
    monkeypatch.setattr(quantised, "INT_MM", None)
    assert torch.equal(screened.product(query), want)


def test_torchs_integer_product_is_where_it_was():
    """A private call: should it move, detection falls back to bfloat16 and this says so."""
    assert hasattr(torch, "_int_mm"), "torch._int_mm is gone: look for its public successor"
    p = torch.randint(-127, 128, (32, 16), dtype=torch.int8, generator=torch.manual_seed(0))
    q = torch.randint(-127, 128, (64, 16), dtype=torch.int8, generator=torch.manual_seed(1))
    out = torch.empty(32, 64, dtype=torch.int32)
    torch._int_mm(p, q.T, out=out)
    assert torch.equal(out.long(), p.long() @ q.long().T)
