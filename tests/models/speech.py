"""A small random Whisper, its feature extractor and its tokenizer, and sounds to read."""

import torch
from torch import Tensor, nn

# The language stands right behind the start, as in the real vocabulary.
END, START, ENGLISH, TRANSCRIBE, NO_TIMESTAMPS = 50, 51, 52, 53, 54
SECOND = 16_000


def random_whisper(seed: int = 0, *, processor: bool = True, **kw) -> nn.Module:
    """Three decoder layers; reads one second of sound (8 mel bands, 100 frames)."""
    import transformers as hf

    shape = dict(vocab_size=58, d_model=32, num_mel_bins=8, max_source_positions=50,
                 encoder_layers=2, decoder_layers=3, encoder_attention_heads=4,
                 decoder_attention_heads=4, encoder_ffn_dim=64, decoder_ffn_dim=64,
                 max_target_positions=16, decoder_start_token_id=START, eos_token_id=END,
                 bos_token_id=END, pad_token_id=END,
                 begin_suppress_tokens=None)  # fmt: skip
    config = hf.WhisperConfig(**(shape | kw))
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = hf.WhisperForConditionalGeneration(config)
        for parameter in model.parameters():  # norms and biases too, so that a wrong one shows
            parameter.data.add_(0.15 * torch.randn_like(parameter))
    if processor:
        model.processor = hf.WhisperFeatureExtractor(feature_size=8, chunk_length=1)
    return model.eval()


def sounds(lengths: list[int], seed: int = 0) -> list[Tensor]:
    """Noise of these many samples."""
    generator = torch.Generator().manual_seed(seed)
    return [0.1 * torch.randn(n, generator=generator) for n in lengths]


def whisper_processor(language: str | None = None):
    """Letters and a space, and the special tokens of a Whisper of several languages."""
    import transformers as hf

    special = {"<|startoftranscript|>": START, "<|endoftext|>": END, "<|translate|>": 55,
               "<|notimestamps|>": NO_TIMESTAMPS, "<|en|>": ENGLISH,
               "<|transcribe|>": TRANSCRIBE}  # fmt: skip
    letters = {"Ġ": 0} | {chr(97 + i): 1 + i for i in range(26)}
    vocab = letters | {f"<{i}>": i for i in range(27, 50)} | special
    tokenizer = hf.WhisperTokenizer(vocab=vocab, merges=[])
    tokenizer.add_special_tokens({"additional_special_tokens": list(special)})
    if language:
        tokenizer.set_prefix_tokens(language=language, task="transcribe")
    extractor = hf.WhisperFeatureExtractor(feature_size=8, chunk_length=1)
    return hf.WhisperProcessor(extractor, tokenizer)


CTC_KINDS = {
    "post-norm": dict(),
    "pre-norm": dict(do_stable_layer_norm=True, feat_extract_norm="layer"),
}


def random_ctc(family: str = "hubert", kind: str = "post-norm", seed: int = 0) -> nn.Module:
    """A HuBERT or wav2vec2 of three layers with a head over 20 outputs; a frame is 32 samples."""
    import transformers as hf

    shape = dict(vocab_size=20, hidden_size=32, num_hidden_layers=3, num_attention_heads=4,
                 intermediate_size=64, conv_dim=(16, 16), conv_kernel=(10, 4), conv_stride=(8, 4),
                 num_feat_extract_layers=2, num_conv_pos_embeddings=4,
                 num_conv_pos_embedding_groups=2, pad_token_id=0)  # fmt: skip
    build, config = {
        "hubert": (hf.HubertForCTC, hf.HubertConfig),
        "wav2vec2": (hf.Wav2Vec2ForCTC, hf.Wav2Vec2Config),
    }[family]
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = build(config(**(shape | CTC_KINDS[kind])))
        for parameter in model.parameters():
            parameter.data.add_(0.15 * torch.randn_like(parameter))
    model.processor = hf.Wav2Vec2FeatureExtractor(sampling_rate=16_000, do_normalize=True)
    return model.eval()
