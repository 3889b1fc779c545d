"""The machine: packages, memory, disk, the port."""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
from packaging.requirements import Requirement

from chatlab import __version__
from chatlab.doctor.finding import Finding
from chatlab.engines.llamacpp import package
from chatlab.settings import Settings
from chatlab.system.ports import is_free, is_loopback

TELLING = ("torch", "transformers", "gradio", "llama-cpp-python")
"""Whose versions explain most faults."""
LITTLE_DISK = 2 * 2**30
NO_DISK = 200 * 2**20
LITTLE_MEMORY = 2 * 2**30
AGAIN = "Run `make run` again to install what is missing."
PATIENCE = 60.0
"""Seconds for llama.cpp to be loaded in a process of its own: a build for another processor ends that process."""


def python() -> Finding:
    where = f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores"
    return Finding(
        about="Python", mark="good", words=f"Chatlab {__version__}, Python {platform.python_version()}, {where}"
    )


def packages() -> Finding:
    """Those that the project asks for, in the versions it asks for."""
    wrong = list(_wrong_packages())
    if wrong:
        return Finding(about="Packages", mark="bad", words="; ".join(wrong) + ".", advice=AGAIN)
    told = [f"{name} {version}" for name in TELLING if (version := _version(name))]
    return Finding(about="Packages", mark="good", words=", ".join(told))


def engines() -> Finding:
    if not package.version():
        return Finding(
            about="Engines",
            mark="note",
            words="transformers; llama.cpp, which is faster, is not installed",
            advice="Get a C++ compiler and cmake, then `rm -f .venv/llama && make run`.",
        )
    if why := _llama_trouble():
        return Finding(
            about="Engines",
            mark="bad",
            words=f"llama.cpp is installed but cannot be loaded: {why}.",
            advice="Set CHATLAB_ENGINE=transformers for now. To repair it: `rm -f .venv/llama && make run`.",
        )
    return Finding(about="Engines", mark="good", words="llama.cpp and transformers")


def memory() -> Finding:
    free, whole = psutil.virtual_memory().available, psutil.virtual_memory().total
    words = f"{free / 2**30:.1f} GB of {whole / 2**30:.1f} GB are free"
    if free < LITTLE_MEMORY:
        return Finding(about="Memory", mark="note", words=words, advice="Close other programs before you train.")
    return Finding(about="Memory", mark="good", words=words)


def disk(settings: Settings) -> Iterator[Finding]:
    """Room, and leave to write, where Chatlab keeps things."""
    place = _nearest(settings.home)
    free = shutil.disk_usage(place).free
    words = f"{free / 2**30:.1f} GB are free at {place}"
    mark, advice = ("good", "") if free >= LITTLE_DISK else ("note", "A few runs may fill it. Free some space.")
    if free < NO_DISK:
        mark, advice = "bad", "Free some space: changes may be refused. Stored data is safe."
    yield Finding(about="Disk", mark=mark, words=words, advice=advice)  # type: ignore[arg-type]
    for name, folder in {"store": settings.store, "adapters": settings.adapters, "cache": settings.cache}.items():
        if why := _cannot_write(_nearest(folder)):
            yield Finding(
                about="Disk",
                mark="bad",
                words=f"The {name} folder {folder} is not writable: {why}.",
                advice="Change its permissions, or set CHATLAB_HOME (or CHATLAB_CACHE) to another folder.",
            )


def port(settings: Settings, owner: str) -> Finding:
    """`owner` is who has the store open."""
    where = f"{settings.host}:{settings.port}"
    if is_free(settings):
        return Finding(about="Port", mark="good", words=f"{where} is free")
    if owner:
        return Finding(about="Port", mark="good", words=f"Chatlab is open already, as {owner}")
    return Finding(
        about="Port",
        mark="note",
        words=f"{where} is in use by another program, or is not an address of this machine.",
        advice="Chatlab uses the next free port and prints it, or set CHATLAB_PORT.",
    )


def reachability(settings: Settings) -> Finding:
    if is_loopback(settings.host):
        return Finding(about="Access", mark="good", words="this machine only")
    asks = "your password" if settings.auth else "a password made at each start"
    return Finding(
        about="Access",
        mark="note",
        words=f"{settings.host}: open to other machines, behind {asks}",
        advice="Traffic is not encrypted. Use a trusted network or an SSH tunnel.",
    )


def _wrong_packages() -> Iterator[str]:
    try:
        asked = importlib.metadata.requires("chatlab") or []
    except importlib.metadata.PackageNotFoundError:
        return  # run from its folder, without being installed
    for requirement in map(Requirement, asked):
        if requirement.marker and not requirement.marker.evaluate({"extra": ""}):
            continue
        found = _version(requirement.name)
        if not found:
            yield f"{requirement.name} is not installed"
        elif not requirement.specifier.contains(found, prereleases=True):
            yield f"{requirement.name} is {found}, but {requirement.specifier} is required"


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _llama_trouble() -> str:
    try:
        done = subprocess.run(
            [sys.executable, "-c", "import llama_cpp"], capture_output=True, text=True, timeout=PATIENCE, check=False
        )
    except subprocess.TimeoutExpired:
        return f"no response within {PATIENCE:.0f} seconds"
    if done.returncode < 0:
        return f"it ends by signal {-done.returncode}, as a build for another processor does"
    return (done.stderr.strip().splitlines() or ["it does not say why"])[-1] if done.returncode else ""


def _nearest(folder: Path) -> Path:
    """Itself, or the nearest folder above it that is there."""
    return next(place for place in (folder, *folder.parents) if place.exists())


def _cannot_write(folder: Path) -> str:
    try:
        with contextlib.closing(tempfile.NamedTemporaryFile(dir=folder, prefix=".chatlab-")) as file:
            file.write(b"x" * 4096)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        return error.strerror or str(error)
    return ""
