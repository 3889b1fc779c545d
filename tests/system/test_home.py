"""Where records and adapters lie: never in Python's own folder, and where they were before."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from chatlab.settings import PACKAGE, Settings, default_home

ROOT = PACKAGE.parent


def package_in(folder: Path) -> Path:
    (folder / "chatlab").mkdir(parents=True)
    return folder / "chatlab"


@pytest.fixture(autouse=True)
def user_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's folder for data, on any system."""
    for name in ("HOME", "XDG_DATA_HOME", "LOCALAPPDATA", "USERPROFILE"):
        monkeypatch.setenv(name, str(tmp_path / "user"))
    return tmp_path / "user"


def test_a_checkout_keeps_its_home_in_the_project_folder(tmp_path: Path) -> None:
    package = package_in(tmp_path / "project")
    (tmp_path / "project" / "pyproject.toml").touch()
    assert default_home(package) == tmp_path / "project"
    assert Settings.from_environment({}).home == ROOT


def test_an_installed_package_keeps_it_in_the_users_folder(tmp_path: Path, user_folder: Path) -> None:
    home = default_home(package_in(tmp_path / "site-packages"))
    assert home.is_relative_to(user_folder) and "chatlab" in str(home)


@pytest.mark.parametrize("name", ["chatlab.json", "chatlab.journal"])
def test_a_home_that_an_older_version_made_beside_the_package_is_found_again(tmp_path: Path, name: str) -> None:
    package = package_in(tmp_path / "site-packages")
    (tmp_path / "site-packages" / "store").mkdir()
    (tmp_path / "site-packages" / "store" / name).touch()
    assert default_home(package) == tmp_path / "site-packages"


def test_chatlab_home_wins(tmp_path: Path) -> None:
    assert Settings.from_environment({"CHATLAB_HOME": str(tmp_path / "mine")}).home == tmp_path / "mine"


USE = """
import sys
from pathlib import Path
import chatlab
from chatlab.lab import Lab
from chatlab.settings import Settings
lab = Lab(Settings.from_environment())
lab.demonstrations.load_pack("stage")
lab.close()
print(Path(chatlab.__file__).parent.parent, lab.settings.home, sep="\\n")
"""


def test_an_installed_wheel_writes_nothing_into_its_folder(tmp_path: Path, user_folder: Path) -> None:
    sources, site = tmp_path / "sources", tmp_path / "site-packages"
    ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
    shutil.copytree(PACKAGE, sources / "chatlab", ignore=ignored)  # setuptools builds in the folder of the sources
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, sources)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    wheel = [*pip, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(tmp_path), str(sources)]
    if subprocess.run(
        [sys.executable, "-c", "import setuptools.command.bdist_wheel, pip"], capture_output=True
    ).returncode:
        pytest.skip("pip or a setuptools that builds wheels is not installed here")
    subprocess.run(wheel, check=True, timeout=300)
    (built,) = tmp_path.glob("*.whl")
    install = [*pip, "install", "--no-deps", "--no-index", "--no-compile", "--target", str(site), str(built)]
    subprocess.run(install, check=True, timeout=300)
    before = {file: file.stat().st_mtime_ns for file in site.rglob("*")}

    environment = {**os.environ, "PYTHONPATH": str(site), "PYTHONDONTWRITEBYTECODE": "1"}
    environment.pop("CHATLAB_HOME", None)
    used = subprocess.run(
        [sys.executable, "-c", USE], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300
    )
    assert used.returncode == 0, used.stderr
    ran_from, home = map(Path, used.stdout.splitlines()[-2:])
    assert ran_from == site and home.is_relative_to(user_folder)
    assert (home / "store" / "chatlab.journal").is_file()
    assert {file: file.stat().st_mtime_ns for file in site.rglob("*")} == before
