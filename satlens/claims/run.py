"""`run`: the claims of the papers on one model, judged, corrected for how many there are."""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from satlens.claims.claim import Claim, check_ids
from satlens.claims.registry import CLAIMS
from satlens.claims.studies import Asked, found_or_made, takes
from satlens.claims.table import ClaimTable, table
from satlens.conventions import DEFAULT_K, DEFAULT_SEED
from satlens.errors import InputError
from satlens.models import ResidualModel, load_model, wrap
from satlens.models.protocol import READS
from satlens.runs.corpora import corpus_of
from satlens.survey.corpus import BUNDLED, SEPARATOR


def run(
    model: Any = None,
    corpus: str | Path | Sequence[str] = BUNDLED,
    *,
    only: str | Iterable[str] | None = None,
    out: str | Path | None = None,
    k: int = DEFAULT_K,
    max_tokens: int = 20_000,
    seed: int = DEFAULT_SEED,
    batch_size: int = 8,
    separator: str = SEPARATOR,
    mask_share: float = 0.15,
    settings: Mapping[str, Mapping[str, Any]] | None = None,
    progress: bool = False,
) -> ClaimTable:
    """Which claims of the papers hold on this model?

    Every claim is judged by the sound test of `satlens`, beside the protocol of its paper. What they are
    judged from are the runs of the command line, in one folder; those that are there are not made again.

    Args:
        model: "tiny", a name, a folder, FILE.py:FUNCTION, or a model at hand (as for `satlens.wrap`). None
            where only claims about no given model are asked, whose study trains its own.
        corpus: "bundled", the path of a file or a folder, or texts.
        only: ids of claims (`satlens.claims.CLAIMS`); all that are about what the model reads if not given.
            The correction is for those that are asked.
        out: the folder of the runs; a stopped run goes on there, and its report.html has the evidence.
            Without it the runs are thrown away.
        k, max_tokens, seed, batch_size, separator, mask_share: of every run, as on the command line.
        settings: of single studies, as ``{"route": {"steps": 20}}``; the others keep their defaults.

    Returns:
        A table with one row a claim. A study that cannot be made on this model leaves its claims untold, with
        the reason.

    Raises:
        InputError: an unknown claim, one that is not about such models, unusable settings or corpus.
        ModelError: a model that cannot be loaded.
        OutputError: a folder that cannot be written, or holds runs that were asked something else.

    Example::

        table = satlens.claims.run("tiny", out="runs/tiny")
        print(table)
        table["order"].verdict, table["order"].p_holm
    """
    names = check_ids(CLAIMS, only)
    wrapped = _wrapped(model)
    chosen = applicable([CLAIMS[one] for one in names], wrapped, named=only is not None)
    shared = {
        "k": k, "max_tokens": max_tokens, "seed": seed, "batch_size": batch_size, "separator": separator,
        "mask_share": mask_share,
    }  # fmt: skip
    with _file_of(corpus, separator) as path, _folder(out) as folder:
        asked = Asked(_name(wrapped), path, shared, settings or {})
        asked.check()
        if wrapped is not None:
            corpus_of(wrapped, path, separator=separator)
        made = {}
        for study in dict.fromkeys(claim.study for claim in chosen):
            made[study] = found_or_made(study, asked, wrapped, folder, progress)
    judged = []
    for claim in chosen:
        results, why = made[claim.study]
        judged.append(claim.untold(why) if results is None else claim.judge(results))
    said = corpus if isinstance(corpus, str | Path) else f"{len(corpus)} texts"
    asked_for = {"model": _name(wrapped), "corpus": str(said), **shared}
    return table(
        judged, {**asked_for, "settings": {k: dict(v) for k, v in (settings or {}).items()}}
    )


def applicable(claims: Sequence[Claim], model: ResidualModel | None, named: bool) -> list[Claim]:
    """The claims that are about what this model reads; those about no given model where they are named.

    Raises:
        InputError: one that was asked for by name is not, or none is.
    """

    def fits(one: Claim) -> bool:
        if not one.takes:
            return named
        return model is not None and model.reads in one.takes and model.reads in takes(one.study)

    fit = [one for one in claims if fits(one)]
    left = [one for one in claims if one.takes and one not in fit]
    if model is None and left:
        alone = ", ".join(one.id for one in CLAIMS.values() if not one.takes)
        raise InputError(
            f"The claim {left[0].id!r} is about a model: give one. About none are {alone}."
        )
    if model is not None and left and (named or not fit):
        own = [one.id for one in CLAIMS.values() if one.takes and fits(one)]
        about = " or ".join(READS[one] for one in left[0].takes if one in takes(left[0].study))
        raise InputError(
            f"The claim {left[0].id!r} is about models that read {about}, and {model.name} reads "
            f"{READS[model.reads]}. Claims about such models: {', '.join(own)}."
        )
    return fit


def _wrapped(model: Any) -> ResidualModel | None:
    """The model, called as it was given."""
    if model is None:
        return None
    if not isinstance(model, str | Path):
        return wrap(model)
    return replace(wrap(load_model(model)), name=str(model))


def _name(model: ResidualModel | None) -> str:
    return "no model" if model is None else model.name


@contextmanager
def _file_of(corpus: str | Path | Sequence[str], separator: str):
    """The path of a corpus; texts at hand are written to a file."""
    if isinstance(corpus, str | Path):
        yield str(corpus)
        return
    texts = list(corpus)
    if not texts or not all(isinstance(one, str) and one.strip() for one in texts):
        raise InputError(
            'The corpus is "bundled", the path of a file or folder, or a list of texts, none of them empty.'
        )
    if cut := [i for i, one in enumerate(texts) if separator in one]:
        raise InputError(
            f"Text {cut[0]} holds {separator!r}, which stands between documents; pass another separator."
        )
    with TemporaryDirectory() as folder:
        path = Path(folder, "texts.txt")
        path.write_text(separator.join(texts), encoding="utf-8")
        yield str(path)


@contextmanager
def _folder(out: str | Path | None):
    if out is not None:
        yield Path(out)
        return
    with TemporaryDirectory() as folder:
        yield Path(folder, "claims")
