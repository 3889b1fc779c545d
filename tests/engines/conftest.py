"""A GGUF file that several files of tests try, written once."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def tiny(base_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole model of half a megabyte with the embedded base's vocabulary."""
    from chatlab.engines.gguf_export.files import write_base
    from chatlab.models.base import Base
    from tests.support.gguf_models import NAME, tiny_llama

    folder = tmp_path_factory.mktemp("tiny")
    write_base(Base.open(tiny_llama(folder / NAME, Base.open(base_folder).tokenizer)), folder / "tiny.gguf")
    return folder / "tiny.gguf"
