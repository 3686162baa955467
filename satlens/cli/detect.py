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
        model: "tiny" (bundled), a Hugging Face name, a local folder, or FILE.py:FUNCTION (runs the file).
        text: the text; "-" reads it from standard input. For a model that reads images or recordings: a
            file or a folder.
        k: ranks to follow.
    """
    import satlens
    from satlens.models import class_names
    from satlens.models.inputs.images import find_pictures
    from satlens.report.detect_view import detect_table, detect_text

    wrapped = satlens.wrap(satlens.load_model(model))
    events = satlens.detect(wrapped, sys.stdin.read() if text == "-" else text, k=k)
    if wrapped.reads == "images":
        names = [picture.name for picture in find_pictures(text)]
        answers = class_names(wrapped, events.token[:, 0])
        table = detect_text(events, [names[doc] for doc in events.doc], answers)
    else:
        table = detect_table(events, wrapped.tokenizer)
    sys.stdout.write(table + "\n")
