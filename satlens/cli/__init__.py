"""The command line: ``satlens VERB MODEL ...``, one module a verb.

Each verb is a plain function; tyro makes its arguments out of the signature and the docstring.
"""

from satlens.cli.main import main

__all__ = ["main"]
