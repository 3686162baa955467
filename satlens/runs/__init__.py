"""The jobs of the command line, whole: a model and a corpus in, a folder of results out."""

from satlens.runs.run import run_audit
from satlens.runs.settings import AuditSettings

__all__ = ["AuditSettings", "run_audit"]
