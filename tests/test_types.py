"""What a type checker is told of the public names: checked by pyright (make lint), and run here."""

from pathlib import Path
from typing import assert_type

import pandas as pd
import torch

import satlens
from satlens.exits import Evaluation, FixedLayer, Never, Patience, Peek, SoftmaxResponse, evaluate
from satlens.order import OrderReport, report

TEXTS = ["Lily had a red ball.", "One day a dog ran to the park."]


class EveryThird:
    """A policy of one's own needs a name and a call, nothing else."""

    name = "every third"

    def __call__(self, peek: Peek) -> torch.Tensor:
        return peek.pos % 3 == 0


def test_a_checker_and_the_code_say_the_same() -> None:
    model = satlens.wrap(satlens.load_model("tiny"))
    assert_type(model, satlens.ResidualModel)
    lens = satlens.LogitLens(model)
    events = satlens.detect(model, TEXTS, k=2, lens=lens)
    assert_type(events, satlens.SaturationEvents)
    assert_type(events.to_frame(), pd.DataFrame)
    assert_type(satlens.order.report(events, draws=20), OrderReport)
    policies = [FixedLayer(4), Patience(2), SoftmaxResponse(0.5), Never(), EveryThird()]
    found = evaluate(model, TEXTS, policies, lens=lens)
    assert_type(found, Evaluation)
    assert isinstance(model, satlens.ResidualModel)
    assert isinstance(events, satlens.SaturationEvents)
    assert isinstance(events.to_frame(), pd.DataFrame)
    assert isinstance(report(events, draws=20), OrderReport)
    assert isinstance(found, Evaluation)


def test_arrays_of_any_kind_make_events() -> None:
    rows = [[0, 3], [1, 3]]
    of_lists = satlens.SaturationEvents(rows, [[7, 5], [7, 6]], [0, 0], [1, 2], n_layers=4)
    of_tensors = satlens.SaturationEvents(
        torch.tensor(rows), torch.tensor([[7, 5], [7, 6]]), [0, 0], [1, 2], n_layers=4
    )
    assert of_lists.to_frame().equals(of_tensors.to_frame())


def test_checkers_are_told_that_there_are_types() -> None:
    assert Path(satlens.__file__).with_name("py.typed").is_file()
