"""What satlens raises. Every message says what was asked, what was found, and what to do.

Catch `SatlensError` for all of them; the kinds also derive from the built-in exception that a
reader would expect (`ValueError`, `RuntimeError`, `OSError`, `ImportError`).
"""


class SatlensError(Exception):
    """The base of every error satlens raises on purpose."""


class InputError(SatlensError, ValueError):
    """An argument, a text, a file or an array that cannot be used as it is."""


class ModelError(SatlensError, RuntimeError):
    """A model that cannot be loaded, is of no known kind, or lacks what was asked of it."""


class ReadoutError(ModelError):
    """The readout of the last residual state does not give the model's own logits."""


class NumericsError(SatlensError, ArithmeticError):
    """NaN or infinite values in weights, states or scores."""


class OutputError(SatlensError, OSError):
    """An output folder or file that cannot be written, or that belongs to another run."""


class MissingExtraError(SatlensError, ImportError):
    """An optional package is not installed; the message gives the command that installs it."""


class EngineError(SatlensError, RuntimeError):
    """Workers of a survey that are lost again and again, or a cluster that cannot be reached."""
