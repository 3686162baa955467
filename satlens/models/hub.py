"""Names on the Hugging Face hub: what has been downloaded, and whether a revision can be reached."""

import os
from pathlib import Path

from satlens.errors import ModelError

CHOICES = (
    'Choices: "tiny" (bundled), a local Hugging Face folder (config.json, *.safetensors, tokenizer '
    "files), a name on the Hugging Face hub such as EleutherAI/pythia-70m, or path/to/file.py:function, "
    "a function that returns a model."
)
MAIN = "main"
"""The revision that a name stands for when none is given."""
HUB_TIMEOUT = 5.0
"""Seconds the hub has for its first answer, so that no network means a message and not a hang."""


def in_cache(name: str, revision: str = MAIN) -> bool:
    """Whether the configuration and the weights of a hub name have been downloaded before."""
    return cached_file(name, "config.json", revision) is not None and any(
        cached_file(name, file, revision)
        for file in ("model.safetensors", "model.safetensors.index.json")
    )


def cached_file(name: str, file: str, revision: str = MAIN) -> Path | None:
    """A file of a hub name where it has been downloaded, or None."""
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        found = try_to_load_from_cache(name, file, revision=revision)
    except HFValidationError:
        return None  # no possible name; the hub's message is given by `reach`
    return Path(found) if isinstance(found, str) else None


def cached_revisions(name: str) -> list[str]:
    """Revisions of a hub name of which something has been downloaded, in order of name."""
    from huggingface_hub import constants

    refs = Path(constants.HF_HUB_CACHE, f"models--{name.replace('/', '--')}", "refs")
    found = [path.relative_to(refs) for path in refs.rglob("*") if path.is_file()]
    return sorted(str(path).replace(os.sep, "/") for path in found)


def reach(name: str, revision: str | None = None) -> None:
    """Return if the hub knows the name, at this revision; one request, no retries."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import RevisionNotFoundError

    at = "" if revision is None else f" at revision {revision!r}"
    try:
        HfApi().model_info(name, revision=revision, timeout=HUB_TIMEOUT)
    except RevisionNotFoundError as cause:
        raise ModelError(
            f"The Hugging Face hub has {name!r}, and no revision {revision!r} of it (a branch, a tag or a "
            f"commit). https://huggingface.co/{name}/tree/main lists them.{downloaded(name)}"
        ) from cause
    # The network library behind huggingface_hub changes with its version, and so do its errors.
    except Exception as cause:
        said = CHOICES if revision is None else downloaded(name).strip() or CHOICES
        raise ModelError(
            f"The model {name!r}{at} is neither bundled, nor a local folder, nor reachable on the Hugging "
            f"Face hub ({one_line(cause)}). {said}"
        ) from cause


def downloaded(name: str) -> str:
    """A sentence on the revisions that are on this machine; empty where there are none."""
    found = cached_revisions(name)
    shown = ", ".join(found[:8]) + (", ..." if len(found) > 8 else "")
    return f" Downloaded before: {shown}." if found else ""


def one_line(cause: BaseException) -> str:
    """The kind of an error and the first line of its message."""
    lines = [line for line in str(cause).splitlines() if line.strip()]
    return f"{type(cause).__name__}: {lines[0].strip()[:200]}" if lines else type(cause).__name__
