"""The verbs, and what becomes of their errors."""

import logging
import sys

import tyro
from tyro.conf import OmitArgPrefixes

from satlens.cli.audit import audit
from satlens.cli.claims import claims
from satlens.cli.compare import compare
from satlens.cli.depth import depth
from satlens.cli.detect import detect
from satlens.cli.dynamics import dynamics
from satlens.cli.exits import exits
from satlens.cli.patch import patch
from satlens.cli.probe import probe
from satlens.cli.rerank import rerank
from satlens.cli.route import route
from satlens.cli.shortcut import shortcut
from satlens.cli.survey import survey
from satlens.errors import InputError, SatlensError
from satlens.version import __version__

INTERRUPTED = 130
"""The exit status a shell gives to a program stopped by Ctrl-C."""

VERBS = {
    "audit": audit,
    "probe": probe,
    "patch": patch,
    "shortcut": shortcut,
    "exits": exits,
    "rerank": rerank,
    "depth": depth,
    "route": route,
    "dynamics": dynamics,
    "claims": claims,
    "survey": survey,
    "detect": detect,
    "compare": compare,
}


SHELLS = ("bash", "zsh")
"""The shells that `satlens --completion SHELL` writes a completion script for."""


def main(arguments: list[str] | None = None) -> int:
    """Run one verb; an error of ours is one message on standard error and exit status 2."""
    logging.basicConfig(level=logging.WARNING, format="%(name)s: %(message)s", stream=sys.stderr)
    logging.getLogger("satlens").setLevel(logging.INFO)
    arguments = sys.argv[1:] if arguments is None else arguments
    if arguments == ["--version"]:
        sys.stdout.write(f"satlens {__version__}\n")
        return 0
    try:
        if arguments[:1] == ["--completion"]:
            arguments = ["--tyro-print-completion", _shell(arguments[1:])]
        tyro.extras.subcommand_cli_from_dict(
            VERBS,
            prog="satlens",
            description="From which layer on does the model know?\n\nsatlens --version tells the version, "
            f"satlens --completion {'|'.join(SHELLS)} prints a completion script.",
            args=arguments,
            config=(OmitArgPrefixes,),
        )
    except SatlensError as error:
        sys.stderr.write(f"satlens: {error}\n")
        return 2
    except KeyboardInterrupt as stop:
        sys.stderr.write(f"satlens: {str(stop) or 'interrupted; nothing was written.'}\n")
        return INTERRUPTED
    return 0


def _shell(given: list[str]) -> str:
    """The shell to write a completion script for."""
    if len(given) != 1 or given[0] not in SHELLS:
        raise InputError(
            f"Completion is written for one of {', '.join(SHELLS)}; got {' '.join(given) or 'none'}."
        )
    return given[0]
