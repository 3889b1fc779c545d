"""Folders and choices, read from the environment once, at the start."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Where things lie and how the app is reached. Passed to `Lab` and to the web app; nobody else reads it."""

    home: Path
    """Holds `store/` and `adapters/`."""
    base: Path = PACKAGE / "models" / "embedded"
    """Folder of the base model."""
    host: str = "127.0.0.1"
    port: int = 7860
    cache_folder: Path | None = None
    """None keeps the cache in `home`."""
    threads: int | None = None
    """Threads that chat computes with; None lets the engine choose."""

    @property
    def store(self) -> Path:
        return self.home / "store"

    @property
    def runs(self) -> Path:
        return self.store / "runs"

    @property
    def adapters(self) -> Path:
        return self.home / "adapters"

    @property
    def cache(self) -> Path:
        """Can be deleted at any time; whatever is in it is made again."""
        return self.cache_folder or self.home / ".cache"

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Settings:
        """CHATLAB_HOME, CHATLAB_BASE, CHATLAB_CACHE, CHATLAB_HOST, CHATLAB_PORT, CHATLAB_THREADS; all optional."""
        home = Path(environment.get("CHATLAB_HOME", PACKAGE.parent))
        cache = environment.get("CHATLAB_CACHE")
        threads = environment.get("CHATLAB_THREADS")
        return cls(
            home=home.expanduser().resolve(),
            base=Path(environment.get("CHATLAB_BASE", PACKAGE / "models" / "embedded")).expanduser().resolve(),
            host=environment.get("CHATLAB_HOST", "127.0.0.1"),
            port=int(environment.get("CHATLAB_PORT", "7860")),
            cache_folder=Path(cache).expanduser().resolve() if cache else None,
            threads=int(threads) if threads else None,
        )
