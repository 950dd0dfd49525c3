"""The wheel of a small project, as others would get it. By hand: a build backend would have to come from an index."""

import subprocess
import sys
import tomllib
from pathlib import Path
from zipfile import ZipFile

EXAMPLE = Path(__file__).parent / "example"


def wheel_of(project, folder):
    """Build the wheel of `project`, whose pyproject.toml has py-modules and entry points, in `folder`."""
    told = tomllib.loads((project / "pyproject.toml").read_text())
    name, version = told["project"]["name"].replace("-", "_"), told["project"]["version"]
    groups = told["project"]["entry-points"]
    points = "".join(
        f"[{group}]\n" + "".join(f"{key} = {value}\n" for key, value in entries.items())
        for group, entries in groups.items()
    )
    info = f"{name}-{version}.dist-info"
    files = {
        f"{each}.py": (project / f"{each}.py").read_text()
        for each in told["tool"]["setuptools"]["py-modules"]
    }
    files |= {
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {told['project']['name']}\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: by hand\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/entry_points.txt": points,
    }
    files[f"{info}/RECORD"] = "".join(f"{each},,\n" for each in [*files, f"{info}/RECORD"])
    wheel = folder / f"{name}-{version}-py3-none-any.whl"
    with ZipFile(wheel, "w") as archive:
        for path, text in files.items():
            archive.writestr(path, text)
    return wheel


def install(wheel, site):
    """Have pip install a wheel into the directory `site`, for those who have it on their path."""
    options = ["--quiet", "--no-index", "--no-deps", "--target", str(site)]
    subprocess.run([sys.executable, "-m", "pip", "install", *options, str(wheel)], check=True)
