"""Keys and values that are owed: by whom, until when, and under which number after others have ended."""

import torch

from satlens.exits.decoder.cache import Cache


def cache(rows: int = 4, layers: int = 3) -> Cache:
    return Cache(layers, (rows, 6, 1, 2), torch.zeros(1))


def resid(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float32)[:, None].expand(-1, 5).clone()


def test_what_is_due_is_that_of_the_rows_that_read():
    kept = cache()
    kept.owe(1, torch.tensor([0, 2]), torch.tensor([3, 4]), resid(10, 12))
    kept.owe(1, torch.tensor([2]), torch.tensor([5]), resid(13))
    assert kept.due(0, None) is None and kept.due(2, None) is None
    assert kept.due(1, torch.tensor([1, 3])) is None
    due = kept.due(1, torch.tensor([1, 2]))
    assert due.rows.tolist() == [2, 2] and due.pos.tolist() == [4, 5]
    assert due.resid[:, 0].tolist() == [12, 13]
    assert kept.due(1, torch.tensor([2])) is None  # once
    assert kept.due(1, None).rows.tolist() == [0]


def test_what_was_filled_waits_in_front_of_the_next_block_until_the_last():
    kept = cache(layers=3)
    kept.owe(1, None, torch.tensor([2, 2, 2, 2]), resid(0, 1, 2, 3))
    for layer in (1, 2):
        due = kept.due(layer, torch.tensor([1]))
        assert due.rows.tolist() == [1]
        kept.fill(layer, due, torch.full((1, 1, 2), 7.0 + layer), torch.full((1, 1, 2), -7.0))
        assert kept.keys[layer][1, 2, 0].tolist() == [7.0 + layer] * 2
        assert kept.values[layer][1, 2, 0].tolist() == [-7.0] * 2
        assert kept.keys[layer].count_nonzero() == 2
    assert [len(parts) for parts in kept.waiting] == [0, 1, 0, 0]


def test_rows_are_numbered_anew_when_others_have_ended():
    kept = cache()
    where = (torch.arange(4), torch.tensor([1, 1, 1, 1]))
    kept.write(0, where, *[torch.arange(4.0)[:, None, None].expand(4, 1, 2)] * 2)
    kept.owe(1, None, torch.tensor([0, 1, 2, 3]), resid(0, 1, 2, 3))
    kept.owe(2, torch.tensor([0]), torch.tensor([5]), resid(9))
    kept.keep(torch.tensor([1, 3]))
    assert kept.read(0, None, 2)[0][:, 1, 0, 0].tolist() == [1, 3]
    assert kept.read(0, torch.tensor([1]), 2)[1][:, 1, 0, 0].tolist() == [3]
    due = kept.due(1, None)
    assert due.rows.tolist() == [0, 1] and due.pos.tolist() == [1, 3]
    assert due.resid[:, 0].tolist() == [1, 3]
    assert kept.due(2, None) is None  # its row has ended
    kept.keep(torch.tensor([1]))
    kept.owe(1, None, torch.tensor([4]), resid(4))
    assert kept.due(1, torch.tensor([0])).rows.tolist() == [0]


def test_what_is_forgiven_is_not_due():
    kept = cache()
    kept.owe(1, None, torch.zeros(4, dtype=torch.long), resid(0, 1, 2, 3))
    kept.forgive()
    assert kept.due(1, None) is None
