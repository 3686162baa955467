"""HuBERT and wav2vec2 with a CTC head against the contract of `ResidualModel`, bare and as bridges."""

import numpy as np
import pytest
import torch
from torch.nn.utils.rnn import pad_sequence

import satlens
from satlens.errors import InputError, ModelError
from satlens.models import wrap
from satlens.patching import patch
from tests.builders import HAS_HOOKED, to_bridge
from tests.contracts.residual_model import ResidualModelContract
from tests.models.speech import CTC_KINDS, random_ctc, sounds

KINDS = [f"{family}, {kind}" for family in ("hubert", "wav2vec2") for kind in CTC_KINDS]
# TransformerLens has a bridge for wav2vec2 from 4 on.
BRIDGES = [kind for kind in KINDS if not (HAS_HOOKED and "wav2vec2" in kind)]
AUDIO = sounds([700, 300, 500, 700])


class CTCContract(ResidualModelContract):
    n_layers = 3

    @pytest.fixture(scope="class")
    @classmethod
    def inputs(cls):
        return AUDIO

    def padded(self, documents, side):
        extractor = random_ctc().processor
        waves = [
            extractor(w.numpy(), sampling_rate=16_000, return_tensors="pt")["input_values"][0]
            for w in documents
        ]
        fields = waves, [torch.ones(len(wave), dtype=torch.int64) for wave in waves]
        values, mask = (pad_sequence(x, batch_first=True, padding_side=side) for x in fields)
        return {"input_values": values, "attention_mask": mask}


class TestCTC(CTCContract):
    @pytest.fixture(scope="class", params=KINDS)
    @classmethod
    def host(cls, request):
        return random_ctc(*request.param.split(", "))


class TestCTCBridge(CTCContract):
    @pytest.fixture(scope="class", params=BRIDGES)
    @classmethod
    def host(cls, request):
        model = random_ctc(*request.param.split(", "))
        bridge = to_bridge(model)
        bridge.processor = model.processor
        return bridge


@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_a_recording_is_read_in_a_batch_as_the_model_reads_it_alone(kind):
    host = random_ctc(*kind.split(", "))
    model = wrap(host)
    (batch,) = model.batches(AUDIO, 4)
    logits = model.forward(batch)
    assert not batch.args["sample_mask"].all()
    for row, doc in enumerate(batch.doc.tolist()):
        values = host.processor(AUDIO[doc].numpy(), sampling_rate=16_000, return_tensors="pt")
        want = host(values["input_values"]).logits[0]
        got = logits[row][batch.real[row]]
        assert got.shape == want.shape
        assert float((got - want).abs().max()) < 2e-5 * float(want.std())


def test_bridge_and_bare_module_give_the_same_events():
    host = random_ctc()
    bridge = to_bridge(host)
    bridge.processor = host.processor
    want, got = (satlens.detect(one, AUDIO, k=3) for one in (host, bridge))
    assert (got.layer == want.layer).all() and (got.token == want.token).all()
    assert len(np.unique(want.layer)) == 3


def test_a_frame_into_another_recording():
    result = patch(random_ctc(), AUDIO, gap=1, offsets=[0], conditions=["paired", "self"], k=3)
    assert len(result) > 0
    assert float(result.estimate("advance", "self").value.max()) == 0.0


def test_untrained_keeps_the_processor():
    host = random_ctc()
    fresh = satlens.untrained(host)
    assert fresh.processor is host.processor
    assert len(satlens.detect(fresh, AUDIO, k=2)) == len(satlens.detect(host, AUDIO, k=2))


BAD = [
    ([torch.ones(20)], r"recording 0: 20 samples are too few for one frame"),
    ("Tom ran.", r"An audio model reads no text"),
    ({"input_values": torch.ones(4)}, r"input_values are floats \[recording, sample\]"),
    ({"input_values": torch.full((1, 99), torch.inf)}, r"input_values hold NaN or infinite"),
    (
        {"input_values": torch.ones(1, 99), "attention_mask": torch.ones(1, 9)},
        r"input_values have shape \(1, 99\), attention_mask \(1, 9\)",
    ),
]


@pytest.mark.parametrize(("inputs", "message"), BAD)
def test_what_cannot_be_read(inputs, message):
    with pytest.raises(InputError, match=message):
        wrap(random_ctc()).batches(inputs, 2)


def test_without_a_processor_or_a_head():
    host = random_ctc()
    del host.processor
    with pytest.raises(InputError, match="no processor to read audio with"):
        wrap(host).batches(AUDIO, 2)
    bare = to_bridge(random_ctc().hubert.eval())
    with pytest.raises(ModelError, match="has no CTC head"):
        wrap(bare)
