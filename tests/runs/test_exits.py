"""The examples of docs/exits.md run as they stand there, on a local Hugging Face folder."""

import re
from pathlib import Path

import pytest

from satlens.exits import ThresholdPolicy, evaluate
from satlens.runs import ExitsSettings
from satlens.runs.exits import StageFitter
from satlens.survey import read_corpus

PAGE = Path(__file__).parents[2] / "docs" / "exits.md"


@pytest.fixture
def blocks():
    found = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert len(found) == 2
    return found


def test_a_policy_on_a_local_folder_in_five_lines(blocks, folder, corpus, capsys):
    code = [line for line in blocks[0].splitlines() if line and "import" not in line]
    assert len(code) == 5
    names = {"folder": str(folder), "texts": list(read_corpus(str(corpus)).documents)}
    exec(blocks[0], names)
    found = names["found"]
    assert found.tokens.sum() > 100 and len(found.names) == 4
    assert "softmax response" in capsys.readouterr().out


def test_a_policy_of_ones_own(blocks, folder, corpus):
    names = {"folder": str(folder), "texts": list(read_corpus(str(corpus)).documents)}
    exec(blocks[0] + blocks[1], names)
    mine = names["Entropy"]()
    assert not isinstance(mine, ThresholdPolicy)
    found = evaluate(names["model"], names["texts"], mine)
    assert found.families == ("entropy",) and any("entropy" in note for note in found.notes)


def test_a_model_of_fewer_outputs_than_stages():
    from satlens.errors import InputError
    from tests.exits.toys import whole_numbers

    model = whole_numbers(outputs=2)
    with pytest.raises(InputError, match="preset has 2 outputs: too few for 3 stages"):
        StageFitter(ExitsSettings("preset", stages=3))(model, model.batches([[1, 2]], 1))
