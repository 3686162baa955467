"""A small random Llama folder with a real byte-pair tokenizer, and a text corpus for it."""

import shutil

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from satlens.runs import results
from satlens.survey import read_corpus
from tests.builders import random_hf


@pytest.fixture(scope="module", autouse=True)
def formats():
    """Figures as PNG alone: a PDF costs more than all the rest of a small run. Gives what runs write."""
    written = results.FORMATS
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(results, "FORMATS", ("png",))
        yield written


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "little"
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300, special_tokens=["<s>"], initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
    )
    tokenizer.train_from_iterator(read_corpus("bundled").documents, trainer)
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>").save_pretrained(path)
    random_hf("llama", vocab=300, layers=4, n_ctx=64).save_pretrained(path)
    return path


@pytest.fixture(scope="session")
def settling(folder, tmp_path_factory):
    """A model like that of ``folder`` whose later blocks write less and less: its tokens settle early."""
    path = tmp_path_factory.mktemp("settling") / "calm"
    shutil.copytree(folder, path, ignore=shutil.ignore_patterns("*.safetensors"))
    model = random_hf("llama", vocab=300, layers=6, n_ctx=64)
    with torch.no_grad():
        for depth, block in enumerate(model.model.layers):
            for weight in (block.self_attn.o_proj.weight, block.mlp.down_proj.weight):
                weight *= 3 * 0.5**depth
    model.save_pretrained(path)
    return path


@pytest.fixture(scope="session")
def corpus(tmp_path_factory):
    path = tmp_path_factory.mktemp("corpus") / "stories.txt"
    documents = read_corpus("bundled").documents[:6]
    path.write_text("\n<|endoftext|>\n".join(text[:160] for text in documents))
    return path
