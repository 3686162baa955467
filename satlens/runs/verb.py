"""`ask_and_write`: what verbs do around their own question. Look first, ask, write all of it or nothing."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from satlens.report.validate import plain, write_results
from satlens.runs.begin import Begun, begin
from satlens.runs.folder import PAGE, RESULTS, output_folder
from satlens.runs.results import assemble, save_figures, timed
from satlens.runs.settings import RunSettings


@dataclass(frozen=True)
class Answer:
    """What a verb found.

    Attributes:
        found: its part of results.json. save: writes what else belongs into the folder.
    """

    found: Mapping[str, Any]
    save: Callable[[Path], None] = lambda folder: None


def ask_and_write(
    settings: RunSettings,
    out: str | Path,
    model: Any,
    overwrite: bool,
    ask: Callable[[Begun], Answer],
    figures: Callable[..., Any],
    summary: Callable[[Mapping[str, Any]], str],
) -> str:
    """Ask, write the verb's folder in ``out`` and the page anew, and return the tables as text.

    Args:
        settings, out, model, overwrite: as the verbs take them.
        ask: is given the model and what it reads, and answers.
        figures, summary: from results the paper figures, and the tables as text (`satlens.report`).

    Raises:
        SatlensError: a model, corpus, setting or output folder that cannot be used.
    """
    out = Path(out)
    begun = begin(settings, out, model, overwrite)
    seconds: dict[str, float] = {}
    with output_folder(out, settings, overwrite, begun.said) as folder:
        with timed(settings.verb, seconds):
            answer = ask(begun)
        results = plain(assemble(settings, begun.said, begun.reading, seconds, answer.found))
        write_results(results, folder / RESULTS)
        answer.save(folder)
        save_figures(figures, results, folder)
    return f"{summary(results)}\n\nThe page: {out / PAGE}"
