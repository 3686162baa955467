"""What a number was measured on: the processor and what it multiplies fast, and versions."""

import datetime
import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

FLAGS = {
    "vnni": ("avx512_vnni", "avx_vnni"),
    "bf16": ("avx512_bf16", "amx_bf16"),
    "amx": ("amx_tile",),
    "avx512": ("avx512f",),
}
PACKAGES = (
    "satlens", "torch", "transformers", "transformer-lens", "tuned-lens", "nnsight", "numpy",
)  # fmt: skip


def machine() -> dict[str, Any]:
    """The processor, its cores and memory, and whether it has int8, bfloat16 and tile instructions."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    fields = dict((part.strip() for part in line.split(":", 1)) for line in lines if ":" in line)
    flags = set(fields.get("flags", "").split())
    return {
        "cpu": fields.get("model name") or platform.processor() or platform.machine(),
        "family": fields.get("cpu family"),
        "model": fields.get("model"),
        "cores": os.cpu_count(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "system": f"{platform.system()} {platform.machine()}",
        **{name: bool(flags & set(any_of)) for name, any_of in FLAGS.items()},
    }


def versions() -> dict[str, str | None]:
    """Installed versions; None for what is not here."""
    found: dict[str, str | None] = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = None
    return found


def today() -> str:
    """The date, in UTC."""
    return datetime.datetime.now(datetime.UTC).date().isoformat()
