"""``satlens detect``."""

import sys
from typing import Annotated

from tyro.conf import Positional, arg

from satlens.conventions import DEFAULT_K


def detect(
    model: Annotated[Positional[str], arg(metavar="MODEL")],
    text: Annotated[Positional[str], arg(metavar="TEXT")],
    /,
    *,
    k: int = DEFAULT_K,
) -> None:
    """The tokens of one text, and the layer from which each of the top k is fixed.

    Args:
        model: "tiny" (bundled), a Hugging Face name, or a local folder.
        text: the text; "-" reads it from standard input.
        k: ranks to follow.
    """
    import satlens
    from satlens.report.detect_view import detect_table

    wrapped = satlens.wrap(satlens.load_model(model))
    events = satlens.detect(wrapped, sys.stdin.read() if text == "-" else text, k=k)
    sys.stdout.write(detect_table(events, wrapped.tokenizer) + "\n")
