"""The kernels for GPUs: on a GPU, or interpreted where there is none and Triton is installed."""

import os

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import satlens
from satlens.models.readout import Head
from satlens.saturation import certified, gpu
from satlens.saturation.certified import certified_scan, final_ranking
from satlens.saturation.exact import Bounds, exact_scores, full_precision
from satlens.saturation.method import _static
from satlens.saturation.quantised import QuantisedScreen
from satlens.saturation.rows import LinearRows, fast_dots
from satlens.saturation.scan import backward_scan, plain_scan
from satlens.saturation.screen import FloatScreen
from tests.saturation.problems import problems

CUDA = torch.cuda.is_available()
DEVICE = torch.device("cuda" if CUDA else "cpu")
pytestmark = pytest.mark.skipif(
    gpu.triton is None or not (CUDA or os.environ.get("TRITON_INTERPRET") == "1"),
    reason="no GPU, and no Triton that could interpret its kernels (pip install triton)",
)
# Numbers that are not finite are among the problems; the interpreter counts with NumPy, which says so.
quiet = pytest.mark.filterwarnings("ignore::RuntimeWarning")
on_a_gpu = pytest.mark.skipif(not CUDA, reason="no GPU")
MANY = 150 if CUDA else 40


@pytest.fixture(autouse=True)
def kernels(monkeypatch):
    monkeypatch.setattr(gpu, "here", lambda device: True)


def moved(head: Head) -> Head:
    return Head(head.weight.to(DEVICE), None if head.bias is None else head.bias.to(DEVICE))


@quiet
@settings(max_examples=MANY)
@given(
    st.integers(0, 2**32),
    st.integers(1, 300),
    st.integers(1, 700),
    st.integers(1, 5),
    st.booleans(),
)
def test_reaching_is_the_limit_of_every_output(seed, n_rows, n_outputs, sixteens, spoilt):
    generator = torch.manual_seed(seed)
    padded = -(-n_outputs // 64) * 64
    # Whole numbers: sums in float32 are exact in any order, so reaching a limit exactly counts.
    p = torch.randint(-8, 9, (n_rows, 16 * sixteens), generator=generator).bfloat16()
    q = torch.randint(-8, 9, (padded, 16 * sixteens), generator=generator).bfloat16()
    factors = torch.randint(-3, 4, (n_rows, 4), generator=generator).float()
    factors[:, 0] += 40 * sixteens**0.5 // 1
    own = torch.randint(-3, 4, (3, padded), generator=generator).float()
    if spoilt:  # a limit that is not finite says nothing
        factors[::3, 0], factors[1::3, 2] = float("nan"), float("inf")
    limit = factors[:, :1] - (factors[:, 1:, None] * own).sum(1)
    reached = (p.float() @ q.float().T >= limit) | ~limit.isfinite()
    want = reached[:, :n_outputs].nonzero(as_tuple=True)
    tensors = [part.to(DEVICE) for part in (p, q, factors, own)]
    row, v = gpu.reaching(*tensors, n_outputs)
    assert torch.equal(row.cpu(), want[0]) and torch.equal(v.cpu(), want[1])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("stored", [torch.float32, torch.bfloat16, torch.float16, torch.float64])
@pytest.mark.parametrize("n", [0, 1, 16, 333])
def test_dots_are_the_sums(dtype, stored, n):
    generator = torch.manual_seed(n)
    weight = torch.randn(90, 300, generator=generator).to(stored)
    x = torch.randn(40, 300, generator=generator).to(stored)
    row, v = (torch.randint(high, (n,), generator=generator) for high in (40, 90))
    found, size = gpu.dots(*(part.to(DEVICE) for part in (weight, x, row, v)), dtype)
    products = weight[v].double() * x[row].double()
    tolerance = 300 * torch.finfo(dtype).eps * products.abs().sum(1)
    assert found.dtype == size.dtype == dtype
    assert ((found.cpu() - products.sum(1)).abs() <= tolerance).all()
    assert ((size.cpu() - products.abs().sum(1)).abs() <= tolerance).all()


@settings(max_examples=MANY)
@given(problems(), st.sampled_from([3, 1024]), st.booleans())
def test_scans_are_the_definition_by_exact_arithmetic(problem, size, with_runners):
    want, final = problem.answer()
    head = moved(problem.head)
    seen = LinearRows(problem.x.to(DEVICE), Bounds.of(head))
    screened = QuantisedScreen(head, "bfloat16")
    assert screened.fused
    with pytest.MonkeyPatch.context() as patch, full_precision():
        patch.setattr(certified, "ROWS", size)
        patch.setattr(certified, "TOKENS", (size, size))
        found, near = final_ranking(seen, len(problem.x) - 1, problem.k, screened)
        assert torch.equal(found.cpu(), final)
        near = near if with_runners else None
        assert torch.equal(certified_scan(seen, found, screened, near).cpu(), want)


@on_a_gpu
@pytest.mark.parametrize("kind", ["plain", "backward", "float32", "bfloat16", "in pieces"])
@settings(max_examples=50)
@given(problem=problems())
def test_every_method_on_a_gpu_is_the_definition(kind, problem):
    want, final = problem.answer()
    head, x = moved(problem.head), problem.x.to(DEVICE)
    seen = LinearRows(x, Bounds.of(head))
    with full_precision():
        if kind in ("plain", "backward"):
            ranked = seen.top(len(x) - 1, problem.k)
            scan = (lambda *a: plain_scan(*a)[0]) if kind == "plain" else backward_scan
            layers = scan(seen, ranked)
        else:
            screened = FloatScreen(head) if kind == "float32" else QuantisedScreen(head, "bfloat16")
            if kind == "in pieces":
                screened.fused = False
            ranked, near = final_ranking(seen, len(x) - 1, problem.k, screened)
            layers = certified_scan(seen, ranked, screened, near)
    assert torch.equal(ranked.cpu(), final) and torch.equal(layers.cpu(), want)


@on_a_gpu
@pytest.mark.parametrize("d", [64, 768, 4096])
def test_tensor_cores_stay_within_their_bound(d):
    """Sums of products of bfloat16, against float64: of random signs, and of one sign (the worst case)."""
    generator = torch.Generator(DEVICE).manual_seed(d)
    for signed in (True, False):
        p, q = (torch.randn(512, d, generator=generator, device=DEVICE) for _ in range(2))
        p, q = (part if signed else part.abs() for part in (p, q))
        p, q = p.bfloat16(), q.bfloat16()
        exact = p.double() @ q.double().T
        own = torch.zeros(3, 512, device=DEVICE)
        size = p.double().norm(dim=1, keepdim=True) * q.double().norm(dim=1)
        bound = QuantisedScreen(Head(q), "bfloat16")._sums * size
        # A limit a bound below the exact product must be reached, one a bound above it must not be.
        for column in range(0, 512, 64):
            one = torch.zeros(512, 4, device=DEVICE)
            one[:, 0] = (exact - bound)[:, column].float()
            row, v = gpu.reaching(p, q, one, own, 512)
            assert (v == column).sum() == 512
            one[:, 0] = (exact + bound)[:, column].float()
            row, v = gpu.reaching(p, q, one, own, 512)
            assert (v == column).sum() == 0


@on_a_gpu
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_detect_on_a_gpu_is_the_plain_reference(dtype):
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    config = GPT2Config(
        n_layer=6, n_embd=128, n_head=4, vocab_size=5000, bos_token_id=0, eos_token_id=0
    )
    model = GPT2LMHeadModel(config).to(DEVICE, dtype).eval()
    ids = torch.randint(5000, (4, 100), device=DEVICE)
    plain = satlens.detect(model, ids, method="plain")
    for method in ("backward", "certified", "auto"):
        found = satlens.detect(model, ids, method=method)
        assert (found.layer == plain.layer).all() and (found.token == plain.token).all()


@on_a_gpu
def test_the_kernels_are_what_a_gpu_uses_by_itself():
    head = Head(torch.randn(5000, 128, device=DEVICE).T.contiguous().T)
    static = _static(head)
    assert static.kind(always=False) == "bfloat16" and static.screen("bfloat16").fused
    assert not static.head.transposed
    x = torch.randn(7, 128, device=DEVICE)
    v = torch.randint(5000, (7,), device=DEVICE)
    every = torch.arange(7, device=DEVICE)
    assert torch.allclose(
        fast_dots(static.head, x, every, v), (head.weight[v] * x).sum(1), atol=1e-4
    )
    on_cpu = exact_scores(Head(head.weight.cpu()), x.cpu(), v.cpu())
    assert torch.equal(exact_scores(static.head, x, v).cpu(), on_cpu)
