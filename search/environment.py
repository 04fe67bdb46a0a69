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
CODE = ("zoo", "search", "datasets", "dashboards", "pyproject.toml")


def environment() -> dict[str, Any]:
    """Git commit (with whether the tree was dirty), versions, machine; everything as plain JSON values."""
    return {
        **commit(),
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}",
        "versions": {package: version(package) for package in PACKAGES},
    }


def commit() -> dict[str, Any]:
    """The commit that this code is of, and whether it was changed since; empty and False outside a checkout.

    Changed is what the commit holds, and what it does not hold of code; a picture or a song that lies beside it is not.
    """
    changed = _git("status", "--porcelain", "--untracked-files=no") or _git(
        "ls-files", "--others", "--exclude-standard", "--", *CODE
    )
    return {"git_commit": _git("rev-parse", "HEAD"), "git_dirty": bool(changed)}


def warning() -> str:
    """A line where the code was changed since its commit, which then does not say what ran; else empty."""
    found = commit()
    if not found["git_dirty"]:
        return ""
    return (
        f"warning: the code was changed since commit {found['git_commit'][:10]}, so the commit alone will not give "
        f"these numbers again"
    )


def checkout() -> Path:
    """The folder that this code runs from."""
    return Path(__file__).parent.parent


def _git(*words: str) -> str:
    """What git says of the checkout that this code runs from; empty where it is none."""
    folder = checkout()
    if not (folder / ".git").exists():
        return ""
    answer = subprocess.run(["git", "-C", str(folder), *words], capture_output=True, text=True, check=False)
    return answer.stdout.strip()
