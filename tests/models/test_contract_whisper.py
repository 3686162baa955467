"""Whisper against the contract of `ResidualModel`."""

import pytest
import torch

from satlens.models import wrap
from tests.builders import random_ids
from tests.contracts.residual_model import ResidualModelContract, pad
from tests.models.speech import START, random_whisper, sounds


class TestWhisper(ResidualModelContract):
    n_layers = 3

    @pytest.fixture(scope="class")
    @classmethod
    def host(cls):
        return random_whisper()

    @pytest.fixture(scope="class")
    @classmethod
    def inputs(cls):
        audio = sounds([16_000, 9_000, 12_345, 16_000])
        return list(zip(audio, random_ids(50, [6, 3, 8, 3]), strict=True))

    def padded(self, documents, side):
        features = torch.stack(
            [row.features for row in wrap(random_whisper()).batches(documents, 4).rows]
        )
        ids, mask = pad([[START, *target] for _, target in documents], side)
        return {
            "input_features": features,
            "decoder_input_ids": ids,
            "decoder_attention_mask": mask,
        }
