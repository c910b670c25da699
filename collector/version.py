"""What `--version` prints: the version of the package, and the commit it was built from where the build said so."""

import json
import os
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, distribution

from collector import __version__

COMMIT_VARIABLE = "HEAPSTER_COMMIT"
"""Set while an image is built; see the Dockerfile."""

UNKNOWN = "unknown"


def commit(environ: Mapping[str, str] = os.environ) -> str:
    """The commit this was built from: what the image says, else what pip noted of a repository it installed from."""
    return environ.get(COMMIT_VARIABLE) or _noted_commit(_install_note())


def version_text() -> str:
    """Two lines, as Heapster printed them."""
    return f"version: {__version__}\ncommit: {commit()}\n"


def _install_note() -> str:
    """`direct_url.json` of the installed package; empty where there is none."""
    try:
        return distribution("pyheapster").read_text("direct_url.json") or ""
    except PackageNotFoundError:
        return ""


def _noted_commit(note: str) -> str:
    try:
        return str(json.loads(note)["vcs_info"]["commit_id"])
    except (ValueError, LookupError, TypeError):
        return UNKNOWN
