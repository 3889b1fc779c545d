"""docs/extending.md, followed to the letter in a copy of the project: each recipe's own tests pass on what it adds."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DOCUMENT = ROOT / "docs" / "extending.md"


def blocks(heading: str) -> list[str]:
    """The Python of one recipe, block by block."""
    text = DOCUMENT.read_text(encoding="utf-8").split(f"\n## {heading}\n")[1].split("\n## ")[0]
    return re.findall(r"```python\n(.*?)```", text, re.S)


def insert(file: Path, before: str, text: str) -> None:
    """Put lines before the first line that begins so."""
    whole = file.read_text(encoding="utf-8")
    assert before in whole, f"{file.name} has no {before!r} any more"
    file.write_text(whole.replace(before, text + before, 1), encoding="utf-8")


def item(text: str, indent: int) -> str:
    """An expression as one item of a list."""
    return textwrap.indent(text.rstrip(), " " * indent) + ",\n"


def tool(root: Path) -> list[str]:
    module, described, line = blocks("A tool")
    (root / "chatlab/tools/dice.py").write_text(module, encoding="utf-8")
    builtin = root / "chatlab/tools/builtin.py"
    insert(builtin, "from chatlab.tools.program", "from chatlab.tools.dice import throw\n")
    insert(builtin, "PASSAGE = ", described)
    insert(builtin, "            ToolImpl(tool=SEARCH", item(line, 12))
    return ["tests/tools/test_contract.py", "-k", "dice"]


def data_format(root: Path) -> list[str]:
    function, line = blocks("A data format")
    kinds = root / "chatlab/formats/kinds.py"
    insert(kinds, "FORMATS: tuple", function + "\n\n")
    insert(kinds, '    Format(\n        name="parquet"', item(line, 4))
    insert(kinds, '"parquet"]', '"dialog", ')
    return ["tests/formats/test_round_trip.py", "-k", "dialog"]


def tab(root: Path) -> list[str]:
    module, line = blocks("A tab")
    folder = root / "chatlab/ui/log"
    folder.mkdir()
    (folder / "__init__.py").write_text('"""What the app has logged."""\n', encoding="utf-8")
    (folder / "tab.py").write_text(module, encoding="utf-8")
    app = root / "chatlab/web/app.py"
    insert(app, "from chatlab.ui.train.tab", "from chatlab.ui.log.tab import LogTab\n")
    insert(app, '    "guide": (', line)
    insert(root / "chatlab/ui/shell.py", '"guide"]', '"log", ')
    return ["tests/browser/test_tabs.py", "-k", "log"]


def engine(root: Path) -> list[str]:
    (opener,) = blocks("An engine")
    function = opener.split("\n\n\nENGINES")[0]
    fallback = root / "chatlab/engines/fallback.py"
    insert(fallback, "Opener = ", function + "\n\n\n")
    insert(fallback, '"transformers": _transformers}', '"mine": _mine, ')
    insert(root / "chatlab/settings.py", '"transformers"]', '"mine", ')
    mine = (
        "from chatlab.engines.transformers.engine import TransformersEngine\n\n\nclass MyEngine(TransformersEngine):\n"
    )
    (root / "chatlab/engines/mine.py").write_text(f'"""Mine."""\n\n{mine}    """Mine."""\n', encoding="utf-8")
    return ["tests/engines/test_engines.py", "-k", "mine"]


@pytest.mark.parametrize("recipe", [tool, data_format, engine, tab], ids=lambda recipe: recipe.__name__)
def test_a_recipe_that_is_followed_passes_its_tests(recipe: Callable[[Path], list[str]], tmp_path: Path) -> None:
    for name in ("chatlab", "tests", "pyproject.toml"):
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, tmp_path / name)
    selected = recipe(tmp_path)
    command = [sys.executable, "-m", "pytest", *selected]
    run = subprocess.run(
        command, cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(tmp_path)}, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stdout[-3000:] + run.stderr[-1000:]
