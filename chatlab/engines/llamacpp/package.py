"""The package llama-cpp-python, which may be built and installed while the app runs."""

from __future__ import annotations

import importlib
import importlib.metadata

NAME = "llama-cpp-python"


def version() -> str:
    """The version that is installed; empty while there is none, or only a part of one.

    An installer writes the list of files last, after the library itself.
    """
    importlib.invalidate_caches()
    try:
        found = importlib.metadata.distribution(NAME)
    except importlib.metadata.PackageNotFoundError:
        return ""
    return found.version if found.read_text("RECORD") else ""
