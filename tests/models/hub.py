"""The hub's cache as huggingface_hub lays it out, with a model of several revisions, and no network."""

import os
import shutil

from tests.builders import random_hf
from tests.models.test_inputs import make_tokenizer

REVISIONS = {"main": 0, "step0": 1, "step512": 2}
"""The seed of the weights of each."""


def write_cache(root, monkeypatch=None, name="org/small", revisions=REVISIONS):
    """Write blobs, snapshots (links to blobs) and refs; point huggingface_hub to it where asked."""
    cache = root / f"models--{name.replace('/', '--')}"
    (cache / "refs").mkdir(parents=True)
    (cache / "blobs").mkdir()
    for revision, seed in revisions.items():
        commit = f"{seed:040x}"
        made = root / "made"
        random_hf("llama", seed=seed).save_pretrained(made)
        make_tokenizer(bos_token="<s>").save_pretrained(made)
        snapshot = cache / "snapshots" / commit
        snapshot.mkdir(parents=True)
        for file in made.iterdir():
            blob = cache / "blobs" / f"{commit}-{file.name}"
            shutil.move(file, blob)
            os.symlink(os.path.relpath(blob, snapshot), snapshot / file.name)
        (cache / "refs" / revision).write_text(commit)
    if monkeypatch is not None:
        # Read once, on import, by huggingface_hub and by transformers.
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(root))
        monkeypatch.setattr("huggingface_hub.file_download.HF_HUB_CACHE", str(root), raising=False)
    return root
