"""A function in a Python file as a model: what it may return, and what is said when it does not."""

import random
import sys
from dataclasses import replace

import pytest
import torch

import satlens
from satlens.cli import main
from satlens.errors import InputError, ModelError, NumericsError, ReadoutError
from satlens.models import untrained, weights_sha256
from satlens.models.from_file import in_file
from tests.builders import random_hf
from tests.models.test_contract_own import Classifier, by_hand
from tests.models.test_inputs import make_tokenizer

LLAMA = """
import torch
from tests.builders import random_hf

def build():
    return random_hf("llama")
"""
OWN = """
import copy

import torch

from parts import Classifier, by_hand  # a file beside this one

def build(seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return by_hand(Classifier().eval())
"""
PARTS = """
from dataclasses import replace

import torch
from torch import nn

from tests.models import test_contract_own

Classifier = test_contract_own.Classifier

def by_hand(host):
    def fresh(seed):
        return by_hand(Classifier().eval())
    return replace(test_contract_own.by_hand(host), untrained=fresh)
"""


@pytest.fixture
def write(tmp_path):
    """A file of this code; its path."""

    def written(code: str, name: str = "models.py") -> str:
        (tmp_path / name).write_text(code, encoding="utf-8")
        return str(tmp_path / name)

    return written


@pytest.fixture
def own(write):
    """A module of one's own, with its untrained twin, in two files."""
    write(PARTS, "parts.py")
    yield f"{write(OWN)}:build"
    sys.modules.pop("parts", None)


@pytest.mark.parametrize(
    ("asked", "function"),
    [
        ("a.py:build", "build"),
        ("a/b.py", ""),
        ("a.py:", ""),
        ("tiny", None),
        ("org/name.py-model", None),
        ("a.python:build", None),
    ],
)
def test_which_names_are_files(asked, function):
    found = in_file(asked)
    assert (None if found is None else found[1]) == function


def test_a_module_that_wrap_knows(write):
    path = write(LLAMA)
    model = satlens.load_model(f"{path}:build")
    assert weights_sha256(model) == weights_sha256(random_hf("llama"))
    again = satlens.load_model(f"{path}:build", device="cpu", dtype=torch.float32)
    assert weights_sha256(again) == weights_sha256(model)
    assert len(satlens.detect(model, [[1, 2, 3]], k=3)) == 3
    assert weights_sha256(untrained(model)) != weights_sha256(model)


def test_a_module_of_ones_own(own):
    before = list(sys.path)
    model = satlens.load_model(own)
    assert sys.path == before
    items = torch.randn(4, 5, generator=torch.Generator().manual_seed(0))
    events = satlens.detect(model, items, k=3)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        same = satlens.detect(by_hand(Classifier().eval()), items, k=3)
    assert (events.layer == same.layer).all() and (events.token == same.token).all()
    assert events.settings["model"] == "classifier"


def test_its_untrained_twin(own):
    model = satlens.load_model(own)
    state = torch.random.get_rng_state()
    one, again, other = (untrained(model, seed) for seed in (1, 1, 2))
    assert torch.equal(torch.random.get_rng_state(), state)
    assert not one.host.training
    assert weights_sha256(one) == weights_sha256(again)
    assert len({weights_sha256(m) for m in (model, one, other)}) == 3
    items = torch.randn(4, 5, generator=torch.Generator().manual_seed(0))
    assert satlens.detect(one, items, k=3).n_layers == 4


def test_a_twin_that_is_none():
    def twin(make):
        with torch.random.fork_rng():
            torch.manual_seed(0)
            return replace(by_hand(Classifier().eval()), untrained=make)

    def spoiled(seed):
        model.host.head.reset_parameters()
        return by_hand(model.host)

    with pytest.raises(ModelError, match="twin of classifier is a Classifier; return a Residual"):
        untrained(twin(lambda seed: Classifier()))
    with pytest.raises(ModelError, match="has the trained weights"):
        untrained(twin(lambda seed: twin(None)))
    with pytest.raises(ModelError, match=r"= \(4, 8, 9\), the trained model \(4, 16, 9\)"):
        untrained(twin(lambda seed: replace(by_hand(Classifier().eval()), d_model=8)), seed=7)
    model = twin(spoiled)
    with pytest.raises(ModelError, match=r"in the place of the trained weights.*copy\.deepcopy"):
        untrained(model)
    with pytest.raises(ModelError, match=r"Classifier anew; .*ResidualModel\(\.\.\., untrained="):
        untrained(twin(None))


MADE = "from tests.models.test_contract_own import Classifier, by_hand\nimport torch\n"
REFUSED = {
    "a function that is not there": (
        "def build():\n    pass\ndef _hidden():\n    pass\n", "make", ModelError,
        r"models\.py has no function 'make'; it has build\. Write path/to/file\.py:function",
    ),
    "no functions": ("x = 3\n", "x", ModelError, "has no function 'x'; it has no functions of its"),
    "no name": ("def build():\n    pass\n", "", ModelError, "named without a function; it has build"),
    "arguments": (
        "def build(folder):\n    pass\n", "build", ModelError,
        r"models\.py:build is called without arguments, and cannot be: .*'folder'.* Give them def",
    ),
    "an error in the file": (
        "import torch\nx = {}['no']\n", "build", ModelError,
        r"models\.py cannot be run: it raised KeyError: 'no' \(line 2\)\.",
    ),
    "no Python": ("def build(:\n", "build", ModelError, "cannot be run: it raised SyntaxError: "),
    "a package that is missing": (
        "import no_such_package\n", "build", ModelError, r"raised ModuleNotFoundError: No module",
    ),
    "an exit": ("import sys\nsys.exit(3)\n", "build", ModelError, r"raised SystemExit: 3 \(line 2"),
    "an error in the function": (
        "def build():\n    return 1 / 0\n", "build", ModelError,
        r"models\.py:build raised ZeroDivisionError: division by zero \(line 2\)\.",
    ),
    "nothing returned": ("def build():\n    pass\n", "build", ModelError, "build returned None; it"),
    "a number": ("def build():\n    return 3\n", "build", ModelError, "returned a int; it must"),
    "no weights": (
        "from torch import nn\ndef build():\n    return nn.ReLU().eval()\n", "build", ModelError,
        "returned a ReLU without weights",
    ),
    "training mode": (
        f"{MADE}def build():\n    return Classifier()\n", "build", ModelError,
        r"Classifier is in training mode.*model\.eval\(\)",
    ),
    "NaN": (
        f"{MADE}def build():\n    model = Classifier().eval()\n"
        "    model.head.bias.data[2] = float('nan')\n    return model\n",
        "build", NumericsError, r"1 of 9 values of head\.bias",
    ),
    "a readout that was not verified": (
        f"{MADE}from dataclasses import replace\ndef build():\n"
        "    model = by_hand(Classifier().eval())\n"
        "    return replace(model, readout=lambda state: 2 * model.readout(state))\n",
        "build", ReadoutError, "does not give the model's own logits",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_refused(case, write):
    code, function, kind, message = REFUSED[case]
    known, where = set(sys.modules), list(sys.path)
    with pytest.raises(kind, match=message) as caught:
        satlens.load_model(f"{write(code)}:{function}")
    assert "\n" not in str(caught.value)
    assert sys.path == where
    if kind is ModelError and "cannot be run" in message:
        assert not {name for name in set(sys.modules) - known if name.startswith("satlens_file_")}


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(ModelError, match=r"There is no file .*none\.py, which .*none\.py:f' names"):
        satlens.load_model(f"{tmp_path}/none.py:f")
    assert main(["audit", f"{tmp_path}/none.py:f", "--out", str(tmp_path / "run")]) == 2


def test_the_function_decides_where_its_model_is(write):
    asked = f"{write(LLAMA)}:build"
    with pytest.raises(
        InputError, match=r"decides how .*dtype=torch\.bfloat16 was asked for and i"
    ):
        satlens.load_model(asked, dtype=torch.bfloat16)
    with pytest.raises(InputError, match="device='meta' was asked for and its weights are on cpu"):
        satlens.load_model(asked, device="meta")
    with pytest.raises(InputError, match="bridge=True was asked for and it gives a LlamaForCausal"):
        satlens.load_model(asked, bridge=True)


def test_files_of_one_name_are_two_modules_and_nobody_elses(tmp_path):
    """A file named like a module of the standard library does not become that module."""
    for number in (1, 2):
        folder = tmp_path / str(number)
        folder.mkdir()
        code = f"{MADE}from dataclasses import replace\n\ndef build():\n"
        code += f"    return replace(by_hand(Classifier().eval()), name='number {number}')\n"
        (folder / "random.py").write_text(code, encoding="utf-8")
    names = [satlens.load_model(f"{tmp_path}/{n}/random.py:build").name for n in (1, 2)]
    assert names == ["number 1", "number 2"]
    assert sys.modules["random"] is random


def test_an_audit_of_it_repeats(write, tmp_path):
    code = LLAMA + "\nfrom tests.models.test_inputs import make_tokenizer\n"
    code = code.replace(
        'return random_hf("llama")',
        'model = random_hf("llama")\n    model.tokenizer = make_tokenizer()\n    return model',
    )
    asked = f"{write(code)}:build"
    assert make_tokenizer()("a b")["input_ids"]
    (tmp_path / "texts.txt").write_text("a b c a\n<|endoftext|>\nb c a b\n", encoding="utf-8")
    first, second = tmp_path / "first", tmp_path / "second"
    options = ["--corpus", str(tmp_path / "texts.txt"), "--k", "3", "--untrained-seeds", "1"]
    assert main(["audit", asked, *options, "--out", str(first)]) == 0
    settings = (first / "settings.yaml").read_text(encoding="utf-8")
    assert f"model: {asked}\n" in settings
    assert main(["audit", "--from", str(first / "settings.yaml"), "--out", str(second)]) == 0
    assert (first / "events.parquet").read_bytes() == (second / "events.parquet").read_bytes()
