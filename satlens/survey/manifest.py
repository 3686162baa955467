"""What a folder was planned with, and whether a run that comes back to it is the same one.

A survey is resumed only where settings, weights, corpus and versions are those of its manifest: two halves
made in two ways would be no survey of anything.
"""

from collections.abc import Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from satlens.errors import InputError, OutputError
from satlens.models import ResidualModel, weights_sha256
from satlens.survey.plan import Plan, Shard
from satlens.survey.settings import SurveySettings
from satlens.survey.source import Source
from satlens.survey.store import MANIFEST, read_json
from satlens.version import __version__

FORM = "satlens.survey/1"
_MOVED = ("model", "corpus")
"""Settings that are only where something was found; what it is, its hash says."""


def make_manifest(
    settings: SurveySettings, model: ResidualModel, source: Source, plan: Plan
) -> dict[str, Any]:
    """Everything that the files of a survey follow from, and the plan."""
    return {
        "form": FORM,
        "settings": settings.to_dict(),
        "model": {
            "name": model.name,
            "weights_sha256": weights_sha256(model),
            "n_layers": model.n_layers,
            "d_model": model.d_model,
            "n_outputs": model.n_outputs,
            "context": model.context,
        },
        "corpus": {
            "name": source.name,
            "files": list(source.files),
            "sha256": plan.sha256,
            "documents": plan.documents,
            "unreadable": plan.unreadable,
            "bytes": plan.size,
        },
        "versions": {
            "satlens": __version__,
            "torch": torch.__version__,
            "transformers": version("transformers"),
            "transformer_lens": version("transformer-lens"),
            "tokenizers": version("tokenizers"),
            "pyarrow": version("pyarrow"),
        },
        "shards": [shard.to_dict() for shard in plan.shards],
    }


def read_manifest(out: Path) -> dict[str, Any]:
    """The manifest of a folder.

    Raises:
        InputError: there is none, or it is not one of a survey.
    """
    path = out / MANIFEST
    if not path.is_file():
        raise InputError(f"{out} holds no survey: no {MANIFEST} in it.")
    found = read_json(path)
    if found.get("form") != FORM:
        raise InputError(
            f"{path} is of the form {found.get('form')!r}; this version reads {FORM!r}."
        )
    return found


def planned(manifest: Mapping[str, Any]) -> list[Shard]:
    """The shards of a manifest."""
    return [Shard.from_dict(dict(values)) for values in manifest["shards"]]


def check_same(out: Path, there: Mapping[str, Any], asked: Mapping[str, Any]) -> None:
    """Refuse to go on with another survey in the folder of this one.

    Raises:
        OutputError: what differs, what the folder has, and what was asked.
    """
    found = list(_differences(there, asked))
    if found:
        raise OutputError(
            f"--out {out} holds another survey. In the folder, and asked: {'; '.join(found)}. Ask for what "
            "the folder has, or give another folder."
        )


def _differences(there: Mapping[str, Any], asked: Mapping[str, Any]) -> Iterator[str]:
    names = [name for name in asked["settings"] if name not in _MOVED]
    rows = [("settings", name, name) for name in names]
    rows += [("model", "weights_sha256", "weights of the model"), ("corpus", "sha256", "corpus")]
    rows += [("versions", name, name) for name in asked["versions"]]
    for part, name, words in rows:
        old, new = there[part].get(name), asked[part][name]
        if old != new:
            if name.endswith("sha256"):
                old, new = (f"{one[part].get('name')} ({str(one[part].get(name))[:12]})"
                            for one in (there, asked))  # fmt: skip
                yield f"{words} {old}, {new}"
            else:
                yield f"{words} {old!r}, {new!r}"
    alike = all(
        there[part][name] == asked[part][name]
        for part, name in (("corpus", "sha256"), ("settings", "shards"))
    )
    if alike and there["shards"] != asked["shards"]:
        yield "where the documents of the corpus stand in its files"
