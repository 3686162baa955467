"""The main job: a model and a corpus in, a folder of results out."""

from satlens.audit.run import run_audit
from satlens.audit.settings import AuditSettings

__all__ = ["AuditSettings", "run_audit"]
