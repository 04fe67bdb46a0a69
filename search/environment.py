"""What a result depends on besides its settings: the code, the versions, the machine."""

import platform
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

PACKAGES = (
    "wavezoo",
    "torch",
    "torchaudio",
    "ray",
    "optuna",
    "mlflow",
    "pyarrow",
    "scikit-learn",
    "numpy",
    "soxr",
)


def environment() -> dict[str, Any]:
    """Git commit (with whether the tree was dirty), versions, machine; everything as plain JSON values."""
    return {
        **commit(),
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}",
        "versions": {package: version(package) for package in PACKAGES},
    }


def commit() -> dict[str, Any]:
    """The commit that this code is of, and whether it was changed since; empty and False outside a checkout."""
    return {"git_commit": _git("rev-parse", "HEAD"), "git_dirty": bool(_git("status", "--porcelain"))}


def warning() -> str:
    """A line where the code was changed since its commit, which then does not say what ran; else empty."""
    found = commit()
    if not found["git_dirty"]:
        return ""
    return (
        f"warning: the code was changed since commit {found['git_commit'][:10]}, so the commit alone will not give "
        f"these numbers again"
    )


def _git(*words: str) -> str:
    """What git says of the checkout that this code runs from; empty where it is none."""
    folder = Path(__file__).parent.parent
    if not (folder / ".git").exists():
        return ""
    answer = subprocess.run(["git", "-C", str(folder), *words], capture_output=True, text=True, check=False)
    return answer.stdout.strip()
