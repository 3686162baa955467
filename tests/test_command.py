"""`satlens` as a command: its version, and the completion of a shell."""

import re
import shutil
import subprocess

import pytest

from satlens.cli import main
from satlens.cli.main import SHELLS, VERBS
from satlens.version import __version__

ASK = """
source "$1"
COMP_WORDS=(satlens "${@:2}")
COMP_CWORD=$(($# - 1))
COMP_LINE="${COMP_WORDS[*]}"
COMP_POINT=${#COMP_LINE}
$(complete -p satlens | sed -E 's/.* -F ([^ ]+) .*/\\1/') satlens "${COMP_WORDS[-1]}" "${COMP_WORDS[-2]}"
printf '%s\\n' "${COMPREPLY[@]}"
"""
"""Load the script and ask it for the last word, as bash does when Tab is pressed."""


def script(shell, capsys):
    """What the command prints; argument parsers leave by SystemExit once they have printed."""
    try:
        status = main(["--completion", shell])
    except SystemExit as left:
        status = left.code
    assert not status
    return capsys.readouterr().out


def test_version(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"satlens {__version__}\n"
    assert re.fullmatch(r"\d+\.\d+\.\d+", __version__)


@pytest.mark.parametrize("shell", SHELLS)
def test_completion_names_every_verb(capsys, shell):
    text = script(shell, capsys)
    assert all(re.search(rf"\b{verb}\b", text) for verb in VERBS)
    assert "--null-tokens" in text


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash")
@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        (["au"], ["audit"]),
        (["s"], ["shortcut", "survey"]),
        (["audit", "tiny", "--null-t"], ["--null-tokens"]),
        (["nothing-begins-like-this"], []),
    ],
)
def test_bash_completes(capsys, tmp_path, typed, offered):
    file = tmp_path / "satlens.bash"
    file.write_text(script("bash", capsys))
    assert subprocess.run(["bash", "-n", file], capture_output=True).stderr == b""
    asked = ["bash", "--norc", "-c", ASK, "bash", file, *typed]
    answer = subprocess.run(asked, capture_output=True, text=True)
    assert answer.stderr == ""
    assert answer.stdout.split() == offered


@pytest.mark.parametrize("given", [[], ["fish"], ["bash", "zsh"]])
def test_other_shells_are_refused(capsys, given):
    assert main(["--completion", *given]) == 2
    said = capsys.readouterr().err
    assert f"one of bash, zsh; got {' '.join(given) or 'none'}." in said
