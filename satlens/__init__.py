"""From which layer on does the model know? Top-k saturation for TransformerLens models.

Everything is imported when it is first asked for: ``import satlens`` and ``satlens --help`` do not wait for
torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from satlens import (
        claims,
        exits,
        lenses,
        order,
        patching,
        probes,
        reranking,
        routing,
        survey,
        theory,
    )
    from satlens.lenses import LinearShortcut, LogitLens, TunedLens
    from satlens.models import ResidualModel, load_model, untrained, wrap
    from satlens.probes import StageProbe
    from satlens.saturation import SaturationEvents, detect
    from satlens.version import __version__

__all__ = [
    "LinearShortcut",
    "LogitLens",
    "ResidualModel",
    "SaturationEvents",
    "StageProbe",
    "TunedLens",
    "__version__",
    "claims",
    "detect",
    "exits",
    "lenses",
    "load_model",
    "order",
    "patching",
    "probes",
    "reranking",
    "routing",
    "survey",
    "theory",
    "untrained",
    "wrap",
]

_HOMES = {
    "LinearShortcut": "lenses",
    "LogitLens": "lenses",
    "ResidualModel": "models",
    "SaturationEvents": "saturation",
    "StageProbe": "probes",
    "TunedLens": "lenses",
    "__version__": "version",
    "detect": "saturation",
    "load_model": "models",
    "untrained": "models",
    "wrap": "models",
}
"""Where a name is from; every other one is a folder or a module of its own."""


def __getattr__(name: str) -> Any:
    full = f"{__name__}.{_HOMES.get(name, name)}"
    try:
        home = None if name.startswith("_") and name not in _HOMES else import_module(full)
    except ModuleNotFoundError as missing:
        if missing.name != full:  # something that it needs is not installed
            raise
        home = None
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = getattr(home, name) if name in _HOMES else home
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
