"""What an audit is asked to do: one record that repeats the run, and the folder it may write to."""

import dataclasses
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import yaml

from satlens.conventions import DEFAULT_K, DEFAULT_SEED
from satlens.errors import InputError, OutputError
from satlens.survey.corpus import BUNDLED, SEPARATOR

SETTINGS_FILE = "settings.yaml"
WRITTEN = {SETTINGS_FILE, "events.parquet", "results.json", "report.html", "figures"}
"""What a run's folder holds; a folder with anything else is never replaced."""


@dataclass(frozen=True)
class AuditSettings:
    """Everything that decides what an audit finds. ``settings.yaml`` holds it.

    Attributes:
        model: "tiny", a Hugging Face name, or a folder.
        corpus: "bundled", a text file, or a folder of .txt files.
        k: ranks to follow; an order needs two.
        max_tokens: whole windows are read, in order, until this many tokens are reached.
        null_tokens: the nulls are drawn for the first documents, up to this many tokens.
        draws: draws of each null.
        untrained_seeds: how many freshly initialised models stand beside the trained one.
        seed: of everything random.
        batch_size: windows in one forward pass.
        separator: the text between two documents of a file.
    """

    model: str
    corpus: str = BUNDLED
    k: int = DEFAULT_K
    max_tokens: int = 20_000
    null_tokens: int = 5_000
    draws: int = 20
    untrained_seeds: int = 3
    seed: int = DEFAULT_SEED
    batch_size: int = 8
    separator: str = SEPARATOR

    def __post_init__(self) -> None:
        least = {"k": 2, "max_tokens": 1, "null_tokens": 1, "draws": 20, "untrained_seeds": 1,
                 "seed": 0, "batch_size": 1}  # fmt: skip
        for name, floor in least.items():
            if getattr(self, name) < floor:
                raise InputError(f"{name} must be at least {floor}, got {getattr(self, name)}.")

    def to_yaml(self) -> str:
        """The text of settings.yaml."""
        return yaml.safe_dump(dataclasses.asdict(self), sort_keys=False, allow_unicode=True)

    @staticmethod
    def read(path: str | Path) -> "AuditSettings":
        """The settings that a run wrote.

        Raises:
            InputError: no such file, not YAML, unknown or missing keys, or values of a wrong type.
        """
        try:
            found = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
        except OSError as error:
            raise InputError(f"Could not read settings from {path}: {error.strerror}.") from error
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise InputError(f"{path} is not a YAML file of settings: {error}.") from error
        types = {field.name: field.type for field in dataclasses.fields(AuditSettings)}
        if not isinstance(found, dict) or "model" not in found or set(found) - set(types):
            keys = sorted(found) if isinstance(found, dict) else type(found).__name__
            raise InputError(
                f"{path} holds {keys}; audit settings want `model` and may hold "
                f"{', '.join(name for name in types if name != 'model')}."
            )
        for name, value in found.items():
            if type(value) is not types[name]:
                raise InputError(f"{path}: {name} must be {types[name].__name__}, found {value!r}.")
        return AuditSettings(**found)


@contextmanager
def output_folder(out: str | Path, settings: AuditSettings, overwrite: bool) -> Iterator[Path]:
    """A folder to fill beside ``out`` that takes its place when everything is in it.

    On an error or Ctrl-C the folder beside is removed and ``out`` is as it was. An ``out`` that holds a
    run is replaced only with ``overwrite``; one that holds anything else is never touched.
    """
    out = Path(out).absolute()
    check_output(out, settings, overwrite)
    beside, before = out.with_name(f".{out.name}.part"), out.with_name(f".{out.name}.old")
    shutil.rmtree(beside, ignore_errors=True)  # left by a killed run
    try:
        beside.mkdir(parents=True)
        yield beside
        (beside / SETTINGS_FILE).write_text(settings.to_yaml(), encoding="utf-8")
        if out.exists():
            out.rename(before)
        beside.rename(out)
        shutil.rmtree(before, ignore_errors=True)
    except OSError as error:
        if isinstance(error, OutputError):
            raise
        raise OutputError(
            f"Could not write the run to {out}: {error.strerror or error}."
        ) from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def check_output(out: Path, settings: AuditSettings, overwrite: bool) -> None:
    """Refuse, before anything is computed, a place that must not be written to."""
    if out.is_file():
        raise OutputError(f"--out {out} is a file; an audit writes a folder.")
    found = {path.name for path in out.iterdir()} if out.is_dir() else set()
    if not found:
        return
    if SETTINGS_FILE not in found or found - WRITTEN:
        raise OutputError(
            f"--out {out} holds files that an audit does not write "
            f"({', '.join(sorted(found - WRITTEN)[:5])}); give another folder."
        )
    if not overwrite:
        same = AuditSettings.read(out / SETTINGS_FILE) == settings
        raise OutputError(
            f"--out {out} holds {'this run already' if same else 'a run with other settings'}; "
            "give another folder, or --overwrite to replace it."
        )
