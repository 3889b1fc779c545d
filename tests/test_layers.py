"""The floors of the house, held to the code: imports go down, and each heavy package has its rooms."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
CHATLAB = ROOT / "chatlab"

FLOORS = (
    {
        "records",
        "measurements",
        "tool_calls",
        "conversation",
        "errors",
        "settings",
        "citations",
        "former_names",
        "fingerprints",
        "system",
    },
    {"store", "template", "formats", "quality"},
    {"models", "training", "engines", "adapters", "retrieval", "tools"},
    {"evaluation"},
    {"lab", "experiments"},
    {"ui", "web", "__main__", "commands", "doctor"},
)

BESIDE = {
    ("training", "models"),
    ("engines", "models"),
    ("engines", "adapters"),
    ("__main__", "web"),
    ("__main__", "ui"),
    ("__main__", "commands"),
    ("__main__", "doctor"),
    ("web", "ui"),
}
"""Neighbours on one floor of whom the first may ask the second."""

CONFINED = {
    "gradio": {"ui", "web"},
    "tinydb": {"store"},
    "faiss": {"retrieval"},
    "llama_cpp": {"engines/llamacpp", "engines/gguf_import", "engines/gguf_export"},
    "peft": {"training", "engines"},
    "trl": {"training"},
    "pyarrow": {"formats"},
    "pydantic_monty": {"tools"},
}
"""Package -> the only rooms that may import it."""

LATE = ("torch", "transformers.models", "peft", "faiss", "llama_cpp", "trl", "pydantic_monty")
"""What a start of the app never waits for."""

Import = tuple[Path, str]


def files() -> list[Path]:
    return sorted(file for file in CHATLAB.rglob("*.py") if file.name != "__init__.py" or file.stat().st_size)


def imports(file: Path) -> set[str]:
    """Full names of the modules that a file imports anywhere in it, those for the type checker alone excepted."""
    found: set[str] = set()
    for node in nodes(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: imports are written in full"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def nodes(tree: ast.AST):
    for child in ast.iter_child_nodes(tree):
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            continue
        yield child
        yield from nodes(child)


def room(file: Path) -> str:
    return file.relative_to(CHATLAB).parts[0].removesuffix(".py")


def floor(name: str) -> int:
    found = [number for number, rooms in enumerate(FLOORS) if name in rooms]
    assert found, f"chatlab/{name} is on no floor: give it a place in this table and in the README's tree"
    return found[0]


def own(name: str) -> str | None:
    """The room that an import goes to, if it is one of ours."""
    parts = name.split(".")
    return parts[1] if parts[0] == "chatlab" and len(parts) > 1 and parts[1] != "__version__" else None


@pytest.mark.parametrize("file", files(), ids=lambda file: str(file.relative_to(ROOT)))
def test_imports_go_down(file):
    here = room(file)
    if here == "__init__":
        assert not {own(name) for name in imports(file)} - {None}
        return
    for there in {own(name) for name in imports(file)} - {None, here}:
        below = floor(there) < floor(here) or (floor(there) == 0 == floor(here)) or (here, there) in BESIDE
        assert below, f"{file.relative_to(ROOT)} imports chatlab.{there}, which is not below it"


@pytest.mark.parametrize("file", files(), ids=lambda file: str(file.relative_to(ROOT)))
def test_each_heavy_package_stays_in_its_rooms(file):
    place = str(file.relative_to(CHATLAB).with_suffix(""))
    for name in imports(file):
        rooms = CONFINED.get(name.split(".")[0])
        at_home = rooms is None or any(place == room or place.startswith(f"{room}/") for room in rooms)
        assert at_home, f"{place} imports {name}, which belongs to {rooms}"


def test_no_file_outside_the_package_but_tests_and_measurements_breaks_the_confinement():
    app = ROOT / "app.py"
    if app.exists():
        assert not {name.split(".")[0] for name in imports(app)} & (set(CONFINED) | {"torch", "transformers"})


LAB = (
    ("models",),
    ("variants",),
    ("chat",),
    ("data",),
    ("runs",),
    ("preferences",),
    ("compare",),
    ("guide",),
    ("switch",),
    ("backups",),
    ("lab",),
)
"""The rooms of the lab, lowest first."""


def test_inside_the_lab_imports_go_down_too():
    floors = {name: number for number, names in enumerate(LAB) for name in names}
    for file in (CHATLAB / "lab").rglob("*.py"):
        here = file.relative_to(CHATLAB / "lab").parts[0].removesuffix(".py")
        there = {name.split(".")[2] for name in imports(file) if name.startswith("chatlab.lab.")}
        wrong = [name for name in there - {here} if here in floors and floors[name] >= floors[here]]
        assert not wrong, f"{file.relative_to(ROOT)} imports {wrong}"


def test_training_and_engines_never_meet():
    for file in files():
        met = {own(name) for name in imports(file)}
        assert not (room(file) == "training" and "engines" in met), file
        assert not (room(file) == "engines" and "training" in met), file


STARTS = (
    "chatlab.lab",
    "chatlab.store",
    "chatlab.template",
    "chatlab.adapters",
    "chatlab.models",
    "chatlab.tools.builtin",
    "chatlab.training.process.client",
    "chatlab.training.defaults",
    "chatlab.training.process.runs",
    "chatlab.engines.transformers.engine",
    "chatlab.engines.fake",
    "chatlab.evaluation.unseen",
    "chatlab.ui",
    "chatlab.web.app",
    "chatlab.__main__",
)


def present(module: str) -> bool:
    path = ROOT / module.replace(".", "/")
    return path.with_suffix(".py").exists() or (path / "__init__.py").exists()


@pytest.mark.parametrize("module", [module for module in STARTS if present(module)])
def test_what_the_app_starts_with_brings_no_backend(module):
    code = f"import sys, {module}; print([name for name in {LATE!r} if name in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, run.stderr
    assert run.stdout.strip().splitlines()[-1] == "[]"


def test_a_base_that_is_a_gguf_answers_before_torch_is_loaded():
    """It takes longer than all else that a first reply waits for."""
    pytest.importorskip("llama_cpp", reason="llama.cpp is not installed")
    code = "import sys, chatlab.engines.llamacpp.engine; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
