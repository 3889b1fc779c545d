"""The list of models as a person uses it: added, chosen, removed, dropped in, gone; and the same from a terminal."""

from __future__ import annotations

import argparse
import errno
import json
import os
import shutil
from collections import namedtuple
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

torch = pytest.importorskip("torch")

from chatlab.__main__ import main  # noqa: E402
from chatlab.commands import models as commands  # noqa: E402
from chatlab.engines.gguf_export.files import write_base  # noqa: E402
from chatlab.errors import BaseMissing, BaseRefused, ChatlabError, DiskFull, InputError  # noqa: E402
from chatlab.models.base import Base  # noqa: E402
from chatlab.models.given.templates import GivenTemplates  # noqa: E402
from chatlab.models.library.entry import ModelEntry  # noqa: E402
from chatlab.models.library.found.places import Machine  # noqa: E402
from chatlab.models.library.library import ModelLibrary  # noqa: E402
from tests.models.library.test_found import manifest, put  # noqa: E402
from tests.support.hub import HubModel, hub_server  # noqa: E402
from tests.support.tiny_models import llama_folder  # noqa: E402


@pytest.fixture(scope="module")
def made(base_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder and a GGUF file of one tiny model."""
    root = tmp_path_factory.mktemp("made")
    write_base(Base.open(llama_folder(base_folder, root / "tiny-folder")), root / "tiny.gguf", "q8_0")
    return root


@pytest.fixture
def gguf(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copyfile(made / "tiny.gguf", tmp_path / "tiny.gguf"))


@pytest.fixture
def library(tmp_path: Path) -> Iterator[ModelLibrary]:
    opened = library_of(tmp_path)
    yield opened
    opened.close()


def library_of(folder: Path, **environment: str) -> ModelLibrary:
    machine = Machine(home=folder / "person", environment=environment, system="linux", root=folder / "root")
    return ModelLibrary(folder / "home", folder / "cache", machine)


def others(library: ModelLibrary) -> list[ModelEntry]:
    """Those that did not come with the app."""
    return [entry for entry in library.entries() if entry.source != "included"]


def names(library: ModelLibrary) -> list[str]:
    return [entry.title for entry in others(library)]


def lm_studio(folder: Path, file: Path, name: str = "found.gguf") -> Path:
    """The file, as LM Studio has it."""
    to = folder / "person/.lmstudio/models/org/repo" / name
    to.parent.mkdir(parents=True, exist_ok=True)
    return Path(shutil.copyfile(file, to))


def test_what_came_with_the_app_is_first_then_what_was_added_then_what_was_found(
    library: ModelLibrary, tmp_path: Path, gguf: Path
) -> None:
    lm_studio(tmp_path, gguf)
    library.add(gguf)
    sources = [entry.source for entry in library.entries()]
    assert sources[0] == "included" and sources[-2:] == ["added", "found"]
    assert names(library) == ["tiny", "found"]


def test_an_added_model_is_remembered_where_it_lies(library: ModelLibrary, tmp_path: Path, gguf: Path) -> None:
    added = library.add(gguf)
    assert (added.name, added.source, added.path, added.kind) == ("tiny", "added", gguf, "gguf")
    assert library_of(tmp_path).find("tiny") == added
    assert library.add(gguf) == added and others(library) == [added]
    assert library.facts(added).quantisation == "Q8_0"


def test_a_folder_a_link_and_a_folder_around_one_gguf_can_be_added(
    library: ModelLibrary, made: Path, gguf: Path, tmp_path: Path
) -> None:
    assert library.add(made / "tiny-folder").kind == "folder"
    (tmp_path / "link.gguf").symlink_to(gguf)
    linked = library.add(tmp_path / "link.gguf")
    assert (linked.name, linked.path) == ("link", gguf)
    (tmp_path / "around").mkdir()
    inside = Path(shutil.copyfile(gguf, tmp_path / "around/inside.gguf"))
    assert library.add(tmp_path / "around").path == inside
    shutil.copyfile(gguf, tmp_path / "around/second.gguf")
    with pytest.raises(BaseRefused, match="holds 2 GGUF files") as refused:
        library.add(tmp_path / "around")
    assert "inside.gguf, second.gguf" in refused.value.hint


@pytest.mark.parametrize("name", ["nothing.gguf", "empty", "text.gguf", "cut.gguf", "x" * 5000, "nul\0.gguf"])
def test_what_is_no_model_is_not_added(name: str, library: ModelLibrary, tmp_path: Path, gguf: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.gguf").write_text("hello")
    (tmp_path / "cut.gguf").write_bytes(gguf.read_bytes()[:5000])
    with pytest.raises((BaseMissing, BaseRefused)):
        library.add(tmp_path / name)
    assert others(library) == []


def test_a_model_is_found_by_id_title_name_or_path(library: ModelLibrary, gguf: Path) -> None:
    added = library.add(gguf)
    for text in (added.id, "tiny", "TINY", str(gguf), f" {gguf} "):
        assert library.find(text) == added
    for other in ("other", "~nobody", "", "\0", "x" * 5000):
        with pytest.raises(BaseMissing, match="no model"):
            library.find(other)


def test_two_models_of_one_name_have_to_be_told_apart(library: ModelLibrary, tmp_path: Path, gguf: Path) -> None:
    lm_studio(tmp_path, gguf, "tiny.gguf")
    library.add(gguf)
    assert names(library) == ["tiny (Added)", "tiny (LM Studio)"]
    with pytest.raises(InputError, match="Several models") as refused:
        library.find("tiny")
    assert "tiny (Added), tiny (LM Studio)" in refused.value.hint
    assert library.find("tiny (lm studio)").place == "LM Studio"


def test_the_choice_outlives_the_app(library: ModelLibrary, tmp_path: Path, gguf: Path) -> None:
    assert library.chosen is None
    added = library.add(gguf)
    library.choose(added.id)
    chosen = library_of(tmp_path).chosen
    assert chosen is not None and (chosen.id, chosen.path) == (added.id, gguf)
    library.choose(None)
    assert library_of(tmp_path).chosen is None


def test_a_model_that_vanished_says_so(library: ModelLibrary, gguf: Path) -> None:
    added = library.add(gguf)
    library.choose(added.id)
    gguf.unlink()
    gone = library.find("tiny")
    assert "has gone" in gone.problem and library.facts(gone).unusable == gone.problem
    assert library.chosen is not None and "has gone" in library.chosen.problem
    library.remove(gone.id)
    assert others(library) == [] and library.chosen is None


def test_a_chosen_tag_that_ollama_pulled_again_is_opened_by_its_new_file(
    library: ModelLibrary, tmp_path: Path, gguf: Path
) -> None:
    folder = tmp_path / "person/.ollama/models"
    named = folder / "manifests/registry.ollama.ai/library/tiny/latest"
    whole = gguf.read_bytes()
    put(named, manifest(folder, model=whole))
    library.choose("tiny:latest")
    before = library.chosen
    assert before is not None and before.path.read_bytes() == whole
    before.path.unlink()
    put(named, manifest(folder, model=whole + bytes(32)))
    library.entries(refresh=True)
    after = library.chosen
    assert after is not None and after.id == before.id and after.path.read_bytes() == whole + bytes(32)


@pytest.mark.skipif(os.name == "nt", reason="names are always text there")
def test_a_name_that_is_no_text_can_be_listed_added_and_chosen(
    library: ModelLibrary, tmp_path: Path, gguf: Path
) -> None:
    odd = tmp_path / os.fsdecode(b"caf\xe9\x1b[31m.gguf")
    gguf.rename(odd)
    added = library.add(odd)
    library.choose(added.id)
    assert library_of(tmp_path).chosen == added and library.facts(added).parameters
    assert library.find(added.id) == added


def test_a_found_model_that_its_program_deleted_says_so_until_the_next_look(
    library: ModelLibrary, tmp_path: Path, gguf: Path
) -> None:
    file = lm_studio(tmp_path, gguf)
    entry = library.find("found")
    file.unlink()
    assert "no base model" in library.facts(entry).unusable
    assert library.entries(refresh=True) and others(library) == []


def test_facts_follow_a_file_that_another_program_replaced(library: ModelLibrary, tmp_path: Path, gguf: Path) -> None:
    file = lm_studio(tmp_path, gguf)
    entry = library.find("found")
    assert not library.facts(entry).unusable
    file.write_bytes(b"GGUF" + bytes(5000))
    assert library.facts(entry).unusable


def test_only_what_is_the_apps_own_is_ever_deleted(library: ModelLibrary, tmp_path: Path, gguf: Path) -> None:
    file = lm_studio(tmp_path, gguf)
    for name, word in (("found", "LM Studio"), ("embedded", "comes with Chatlab")):
        with pytest.raises(InputError, match=word):
            library.remove(library.find(name).id)
    added = library.add(gguf)
    library.remove(added.id)
    assert gguf.exists() and file.exists() and names(library) == ["found"]


def test_a_dropped_file_moves_into_the_apps_folder_and_goes_when_it_is_removed(
    library: ModelLibrary, tmp_path: Path, gguf: Path
) -> None:
    for dropped in ("one", "two"):
        upload = Path(shutil.copyfile(gguf, tmp_path / f"upload-{dropped}"))
        entry = library.add_upload(upload, "..\\evil/../My <b>model.gguf")
        assert not upload.exists() and entry.path.parent == tmp_path / "home/models/files"
        assert entry.path.read_bytes() == gguf.read_bytes()
    assert [entry.name for entry in others(library)] == ["My bmodel", "My bmodel-2"]
    library.remove(entry.id)
    assert [file.name for file in (tmp_path / "home/models/files").iterdir()] == ["My bmodel.gguf"]


def test_a_dropped_file_that_is_no_model_stays_where_it_is(library: ModelLibrary, tmp_path: Path) -> None:
    upload = tmp_path / "upload"
    upload.write_text("hello")
    with pytest.raises(BaseRefused):
        library.add_upload(upload, "x.gguf")
    assert upload.exists() and others(library) == []


def test_a_full_disk_changes_nothing(library: ModelLibrary, gguf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("chatlab.models.library.kept.write_whole", full)
    with pytest.raises(DiskFull):
        library.add(gguf)
    with pytest.raises(DiskFull):
        library.choose(library.entries()[0].id)
    assert others(library) == [] and library.chosen is None


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"models": 3}', '{"models": [3, {}, {"path": ""}]}', '{"model": {"id": 1}}']
)
def test_a_list_that_is_damaged_hides_no_other_model(text: str, library: ModelLibrary, gguf: Path) -> None:
    library.folder.mkdir(parents=True)
    for name in ("models.json", "chosen.json"):
        (library.folder / name).write_text(text)
    assert others(library) == [] and library.chosen is None
    library.add(gguf)
    assert names(library) == ["tiny"]


def test_memory_that_is_too_small_is_said_with_what_would_fit(
    library: ModelLibrary, gguf: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    added = library.add(gguf)
    assert library.shortage(added) == "" and library.shortage(added, training=True) == ""
    embedded = library.find("embedded")
    needs, other = library.facts(added), library.facts(embedded)
    memory = namedtuple("memory", "available")
    monkeypatch.setattr(psutil, "virtual_memory", lambda: memory(needs.chat_bytes))
    assert library.shortage(added) == ""
    monkeypatch.setattr(psutil, "virtual_memory", lambda: memory(needs.training_bytes - 1))
    assert other.training_bytes > needs.training_bytes
    said = library.shortage(added, training=True)
    assert "tiny needs about" in said and "are free" in said and "Close other programs." in said
    said = library.shortage(embedded, training=True)
    assert "Close other programs." in said
    monkeypatch.setattr(psutil, "virtual_memory", lambda: memory(needs.training_bytes))
    assert "or choose tiny" in library.shortage(embedded, training=True)


# -- from a terminal


@pytest.fixture
def typed(tmp_path: Path) -> Callable[..., list[str]]:
    """What `chatlab models ...` says; the exit code last, where it is not 0."""

    def run(*words: str, **environment: str) -> list[str]:
        parser = argparse.ArgumentParser()
        commands.add_to(parser.add_subparsers(dest="what"))
        said: list[str] = []
        library = library_of(tmp_path, **environment)
        templates = GivenTemplates(library.folder / "templates")
        code = commands.ModelCommands(library, templates, environment, said.append, said.append).run(
            parser.parse_args(["models", *words])
        )
        library.close()
        return said + ([str(code)] if code else [])

    return run


def test_models_are_listed_with_their_facts(typed: Any, tmp_path: Path, gguf: Path) -> None:
    lm_studio(tmp_path, gguf)
    said = "\n".join(typed())
    assert "embedded" in said and "8 M, bfloat16, 1,024 tokens" in said
    assert f"LM Studio: {tmp_path}" in said and "Q8_0" in said and "to train" in said
    told = json.loads(typed("--json")[0])
    assert told[-1]["title"] == "found" and told[-1]["quantisation"] == "Q8_0"


def test_the_real_command_speaks_of_the_real_home_and_nothing_in_a_name_commands_the_terminal(
    tmp_path: Path, gguf: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CHATLAB_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HOME", str(tmp_path / "person"))
    monkeypatch.setenv("USERPROFILE", str(tmp_path / "person"))
    monkeypatch.delenv("CHATLAB_BASE", raising=False)
    odd = gguf.rename(tmp_path / "tiny\x1b[31m.gguf")
    assert main(["models", "add", str(odd)]) == 0 and main(["models", "use", "nothing"]) == 1
    assert main(["models"]) == 0
    said, wrong = capsys.readouterr()
    assert "tiny?[31m" in said and "\x1b" not in said and "There is no model 'nothing'" in wrong


def test_a_model_is_added_used_and_removed(typed: Any, gguf: Path) -> None:
    assert typed("add", str(gguf))[0].startswith("tiny is in the list.")
    assert typed("use", "tiny") == ["tiny is opened from now on."]
    assert "* tiny" in typed("list")
    assert typed("use", "tiny", CHATLAB_BASE="/else")[-1] == "CHATLAB_BASE is set, so /else is opened instead."
    assert typed("use", "default") == ["The included model is opened from now on."]
    assert typed("remove", "tiny") == ["tiny is removed."]
    with pytest.raises(BaseMissing):
        typed("use", "tiny")


def test_a_model_that_cannot_be_used_is_not_chosen(typed: Any, gguf: Path) -> None:
    typed("add", str(gguf))
    gguf.write_bytes(gguf.read_bytes()[:5000])
    assert "cannot be used" in "\n".join(typed())
    with pytest.raises(BaseRefused, match="cut short"):
        typed("use", "tiny")


def test_a_model_without_a_template_is_used_once_it_was_given_one(typed: Any, tmp_path: Path, made: Path) -> None:
    folder = Path(shutil.copytree(made / "tiny-folder", tmp_path / "bare"))
    (folder / "chat_template.jinja").unlink()
    assert "no chat template" in "\n".join(typed("add", str(folder)))
    with pytest.raises(BaseRefused, match="Give it one in the Models panel"):
        typed("use", "bare")
    GivenTemplates(tmp_path / "home/models/templates").give(folder, "{{ messages[0].content }}")
    assert typed("use", "bare")[0] == "bare is opened from now on."
    assert "cannot be used" not in "\n".join(typed())


def test_what_is_not_all_here_says_how_to_go_on(typed: Any, tmp_path: Path) -> None:
    half = tmp_path / "home/models/hub/.half-0"
    put(half / "request.json", {"repository": "org/tiny", "revision": "v2", "file": "Q8_0"})
    put(half / "tiny.gguf.part", bytes(3_000_000))
    assert typed()[-1] == (
        "org/tiny is not all here (3 MB). Go on: chatlab models add org/tiny --revision v2 --file Q8_0"
    )


@pytest.mark.parametrize("model", ["./x.gguf", "/a/b", "~/x", "models/a/b", "x.gguf"])
def test_a_path_is_never_taken_for_a_model_of_the_hub(model: str, typed: Any) -> None:
    with pytest.raises(ChatlabError) as refused:
        typed("add", model)
    assert "no file or folder" in str(refused.value)


def test_a_model_of_the_hub_is_fetched_with_its_progress(typed: Any, gguf: Path) -> None:
    with hub_server(**{"org/tiny-GGUF": HubModel({"tiny-Q8_0.gguf": gguf.read_bytes()})}) as hub:
        with pytest.raises(InputError, match="choose one"):
            typed("add", "org/tiny-GGUF", **hub.environment)
        said = typed("add", "org/tiny-GGUF", "--file", "Q8_0", **hub.environment)
    assert any(line.startswith("org/tiny-GGUF/tiny-Q8_0 is in the list.") for line in said)
    assert "org/tiny-GGUF/tiny-Q8_0" in "\n".join(typed())
    assert typed("remove", "org/tiny-GGUF/tiny-Q8_0") == ["org/tiny-GGUF/tiny-Q8_0 is removed."]
