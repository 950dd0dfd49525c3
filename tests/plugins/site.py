"""Installing a module as somebody else's package, for the services of one test only."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


def lay_out(site: Path, name: str, module: Path, handlers: Mapping[str, str]) -> dict[str, str]:
    """Install `module` under `site` as the package `name`; return the environment in which services find it.

    Args:
        site: a directory that isn't there yet.
        name: what others would import.
        module: a file that imports nothing of Daybook.
        handlers: job type → function in the module.
    """
    dist = site / f"{name}-1.0.dist-info"
    dist.mkdir(parents=True)
    shutil.copy(module, site / f"{name}.py")
    points = "".join(f"{job_type} = {name}:{function}\n" for job_type, function in handlers.items())
    (dist / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name.replace('_', '-')}\nVersion: 1.0\n")
    (dist / "entry_points.txt").write_text(f"[daybook.handlers]\n{points}")
    return {"PYTHONPATH": os.pathsep.join(filter(None, (str(site), os.environ.get("PYTHONPATH"))))}
