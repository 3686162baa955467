"""The jobs of the command line, whole: a model and a corpus in, a folder of results out."""

from satlens.runs.audit import run_audit
from satlens.runs.depth import run_depth
from satlens.runs.dynamics import run_dynamics
from satlens.runs.exits import run_exits
from satlens.runs.folder import write_report
from satlens.runs.patch import run_patch
from satlens.runs.probe import run_probe
from satlens.runs.rerank import run_rerank
from satlens.runs.route import run_route
from satlens.runs.settings import (
    AuditSettings,
    ClaimsSettings,
    DepthSettings,
    DynamicsSettings,
    ExitsSettings,
    PatchSettings,
    ProbeSettings,
    RerankSettings,
    RouteSettings,
    RunSettings,
    ShortcutSettings,
)
from satlens.runs.shortcut import run_shortcut

__all__ = [
    "AuditSettings",
    "ClaimsSettings",
    "DepthSettings",
    "DynamicsSettings",
    "ExitsSettings",
    "PatchSettings",
    "ProbeSettings",
    "RerankSettings",
    "RouteSettings",
    "RunSettings",
    "ShortcutSettings",
    "run_audit",
    "run_depth",
    "run_dynamics",
    "run_exits",
    "run_patch",
    "run_probe",
    "run_rerank",
    "run_route",
    "run_shortcut",
    "write_report",
]
