"""`weights_sha256`: equal for equal weights, different for one changed bit."""

import torch

from satlens.models import weights_sha256, wrap
from tests.builders import random_hf, random_hooked


def test_a_hash_of_the_weights_and_of_nothing_else():
    first, second, other = random_hooked(seed=0), random_hooked(seed=0), random_hooked(seed=1)
    assert weights_sha256(first) == weights_sha256(second) == weights_sha256(wrap(first))
    assert weights_sha256(first) != weights_sha256(other)
    assert len(weights_sha256(first)) == 64


def test_one_bit_or_another_type_changes_it():
    host = random_hf("llama")
    before = weights_sha256(host)
    parameter = host.lm_head.weight
    old = parameter.data[0, 0].clone()
    parameter.data[0, 0] = torch.nextafter(old, torch.tensor(1e9))
    assert weights_sha256(host) != before
    parameter.data[0, 0] = old
    assert weights_sha256(host) == before
    assert weights_sha256(host.to(torch.bfloat16)) != before
