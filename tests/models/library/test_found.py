"""What other programs left on this machine is listed as they name it, and nothing about a folder raises."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pytest

from chatlab.models.library.entry import ModelEntry, told_apart
from chatlab.models.library.found.places import Machine, Place, places
from chatlab.models.library.found.search import found

WEIGHTS = b"GGUF" + bytes(2000)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return machine_of(tmp_path, "linux")


def machine_of(folder: Path, system: str, **environment: Path | str) -> Machine:
    home = folder / "home"
    home.mkdir(exist_ok=True)
    told = {name: str(value) for name, value in environment.items()}
    return Machine(home=home, environment=told, system=system, root=folder / "root")


def put(file: Path, data: bytes | str | dict[str, Any] = WEIGHTS) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(data, dict):
        data = json.dumps(data)
    file.write_bytes(data.encode() if isinstance(data, str) else data)
    return file


def blob(folder: Path, data: bytes) -> dict[str, Any]:
    """Put it among Ollama's blobs; how a manifest names it."""
    digest = hashlib.sha256(data).hexdigest()
    put(folder / "blobs" / f"sha256-{digest}", data)
    return {"digest": f"sha256:{digest}", "size": len(data)}


def manifest(folder: Path, **layers: bytes) -> dict[str, Any]:
    told = [
        {"mediaType": f"application/vnd.ollama.image.{kind}", **blob(folder, data)} for kind, data in layers.items()
    ]
    return {"schemaVersion": 2, "mediaType": "application/vnd.docker.distribution.manifest.v2+json", "layers": told}


def hub_model(cache: Path, name: str, files: dict[str, bytes], commit: str = "a" * 40, branch: str = "main") -> Path:
    """A snapshot as huggingface_hub arranges it: links to blobs that are named by their hashes."""
    repository = cache / f"models--{name.replace('/', '--')}"
    snapshot = repository / "snapshots" / commit
    snapshot.mkdir(parents=True)
    for file, data in files.items():
        kept = put(repository / "blobs" / hashlib.sha256(file.encode() + data).hexdigest(), data)
        (snapshot / file).parent.mkdir(parents=True, exist_ok=True)
        (snapshot / file).symlink_to(os.path.relpath(kept, (snapshot / file).parent))
    if branch:
        put(repository / "refs" / branch, commit)
    return snapshot


def looked(machine: Machine) -> dict[str, ModelEntry]:
    return {entry.name: entry for entry in found(places(machine))}


FOLDER = {"config.json": b"{}", "model.safetensors": bytes(100)}


def test_an_empty_machine_has_none(machine: Machine) -> None:
    assert found(places(machine)) == []


def test_a_folder_of_the_hubs_cache_is_named_by_its_repository(machine: Machine) -> None:
    snapshot = hub_model(machine.home / ".cache/huggingface/hub", "Qwen/Qwen3-0.6B", FOLDER)
    entry = looked(machine)["Qwen/Qwen3-0.6B"]
    assert (entry.kind, entry.path, entry.bytes, entry.revision) == ("folder", snapshot, 100, "main")
    assert (entry.source, entry.place) == ("found", "Hugging Face cache")


def test_a_gguf_of_the_hubs_cache_is_opened_by_its_blob_and_named_by_its_file(machine: Machine) -> None:
    hub_model(machine.home / ".cache/huggingface/hub", "ggml-org/tiny-GGUF", {"tiny-Q8_0.gguf": WEIGHTS})
    entry = looked(machine)["ggml-org/tiny-GGUF/tiny-Q8_0"]
    assert not entry.path.is_symlink() and entry.path.parent.name == "blobs" and entry.path.read_bytes() == WEIGHTS
    assert (entry.kind, entry.bytes) == ("gguf", len(WEIGHTS))


@pytest.mark.parametrize(
    ("name", "below"),
    [("HF_HUB_CACHE", ""), ("HUGGINGFACE_HUB_CACHE", ""), ("HF_HOME", "hub"), ("XDG_CACHE_HOME", "huggingface/hub")],
)
def test_the_hubs_cache_is_where_the_environment_says(tmp_path: Path, name: str, below: str) -> None:
    hub_model(tmp_path / "moved" / below, "a/b", FOLDER)
    assert "a/b" in looked(machine_of(tmp_path, "linux", **{name: tmp_path / "moved"}))


def test_several_revisions_are_told_apart(machine: Machine) -> None:
    cache = machine.home / ".cache/huggingface/hub"
    hub_model(cache, "a/b", FOLDER, commit="b" * 40)
    hub_model(cache, "a/b", FOLDER | {"model.safetensors": bytes(200)}, commit="a" * 40, branch="")
    entries = told_apart(found(places(machine)))
    assert [entry.revision for entry in entries] == ["main", "a" * 40]
    assert [entry.title for entry in entries] == [
        "a/b (Hugging Face cache, main)",
        "a/b (Hugging Face cache, aaaaaaaaaaaa)",
    ]


def test_ollamas_models_are_named_as_ollama_lists_them(machine: Machine) -> None:
    folder = machine.home / ".ollama/models"
    told = manifest(folder, model=WEIGHTS, license=b"\nApache License\nVersion 2.0", template=b"{{ .Prompt }}")
    put(folder / "manifests/registry.ollama.ai/library/llama3.2/1b", told)
    put(folder / "manifests/registry.ollama.ai/someone/other/latest", manifest(folder, model=WEIGHTS + b"2"))
    put(folder / "manifests/hf.co/org/model-GGUF/Q4_K_M", manifest(folder, model=WEIGHTS + b"3"))
    entries = looked(machine)
    assert set(entries) == {"llama3.2:1b", "someone/other:latest", "hf.co/org/model-GGUF:Q4_K_M"}
    entry = entries["llama3.2:1b"]
    assert (entry.place, entry.kind, entry.bytes, entry.problem) == ("Ollama", "gguf", len(WEIGHTS), "")
    assert entry.path.read_bytes() == WEIGHTS
    assert entry.licence_file is not None and entry.licence_file.read_bytes().startswith(b"\nApache")


def test_two_tags_of_one_file_are_one_model_of_two_names(machine: Machine) -> None:
    folder = machine.home / ".ollama/models"
    for tag in ("1b", "latest"):
        put(folder / "manifests/registry.ollama.ai/library/llama3.2" / tag, manifest(folder, model=WEIGHTS))
    (entry,) = found(places(machine))
    assert (entry.name, entry.also) == ("llama3.2:1b", ("llama3.2:latest",))


def test_manifests_that_are_links_and_lists_are_read(machine: Machine) -> None:
    folder = machine.home / ".ollama/models"
    child = blob(folder, json.dumps(manifest(folder, model=WEIGHTS)).encode())
    listed = {
        "mediaType": "application/vnd.ollama.manifest.list.v2+json",
        "manifests": [
            {"runner": "mlx", **manifest(folder, tensor=b"no GGUF")},
            {"runner": "ollama", "digest": child["digest"]},
        ],
    }
    target = folder / "blobs" / blob(folder, json.dumps(listed).encode())["digest"].replace(":", "-")
    named = folder / "manifests-v2/registry.ollama.ai/library/qwen3/0.6b"
    named.parent.mkdir(parents=True)
    named.symlink_to(os.path.relpath(target, named.parent))
    assert looked(machine)["qwen3:0.6b"].path.read_bytes() == WEIGHTS


def test_a_model_that_ollama_removed_or_is_pulling_says_so(machine: Machine) -> None:
    folder = machine.home / ".ollama/models"
    gone, half = manifest(folder, model=WEIGHTS), manifest(folder, model=WEIGHTS + b"2")
    put(folder / "manifests/registry.ollama.ai/library/gone/latest", gone)
    put(folder / "manifests/registry.ollama.ai/library/half/latest", half)
    before = looked(machine)
    before["gone:latest"].path.unlink()
    before["half:latest"].path.write_bytes(b"GGUF")
    after = looked(machine)
    assert "has gone" in after["gone:latest"].problem and "not whole" in after["half:latest"].problem
    assert after["gone:latest"].id == before["gone:latest"].id


def test_what_ollama_keeps_otherwise_is_named_with_the_reason(machine: Machine) -> None:
    folder = machine.home / ".ollama/models"
    library = folder / "manifests/registry.ollama.ai/library"
    put(library / "tuned/latest", manifest(folder, model=WEIGHTS, adapter=b"lora"))
    put(library / "mlx/latest", manifest(folder, tensor=b"one"))
    put(library / "cloud/latest", manifest(folder, params=b"{}"))
    entries = looked(machine)
    assert "adapter" in entries["tuned:latest"].problem and "tensor by tensor" in entries["mlx:latest"].problem
    assert set(entries) == {"tuned:latest", "mlx:latest"}, "what runs elsewhere is not on this machine"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "not json",
        "[]",
        "{}",
        '{"layers": 3}',
        '{"layers": [null]}',
        '{"layers": [{"digest": "../../etc"}]}',
        "[" * 5000,
    ],
)
def test_a_manifest_that_makes_no_sense_is_passed_over(machine: Machine, text: str) -> None:
    put(machine.home / ".ollama/models/manifests/registry.ollama.ai/library/odd/latest", text)
    assert found(places(machine)) == []


PLACES = {
    ("linux", "LM Studio"): "home/.lmstudio/models/org/repo/{}.gguf",
    ("linux", "Ollama"): "root/usr/share/ollama/.ollama/models",
    ("linux", "llama.cpp cache"): "home/.cache/llama.cpp/{}.gguf",
    ("linux", "Jan"): "home/.local/share/Jan/data/llamacpp/models/org/{}/model.gguf",
    ("linux", "GPT4All"): "home/.local/share/nomic.ai/GPT4All/{}.gguf",
    ("darwin", "LM Studio"): "home/.lmstudio/models/org/repo/{}.gguf",
    ("darwin", "llama.cpp cache"): "home/Library/Caches/llama.cpp/{}.gguf",
    ("darwin", "Jan"): "home/Library/Application Support/Jan/data/llamacpp/models/org/{}/model.gguf",
    ("darwin", "GPT4All"): "home/Library/Application Support/nomic.ai/GPT4All/{}.gguf",
    ("win32", "LM Studio"): "home/.lmstudio/models/org/repo/{}.gguf",
    ("win32", "llama.cpp cache"): "home/AppData/Local/llama.cpp/{}.gguf",
    ("win32", "Jan"): "home/AppData/Roaming/Jan/data/llamacpp/models/org/{}/model.gguf",
    ("win32", "GPT4All"): "home/AppData/Local/nomic.ai/GPT4All/{}.gguf",
}


@pytest.mark.parametrize(
    "path",
    [
        ".var/app/ai.jan.Jan/data/Jan/data/llamacpp/models/tiny/model.gguf",
        ".var/app/io.gpt4all.gpt4all/data/nomic.ai/GPT4All/tiny.gguf",
    ],
)
def test_programs_installed_as_flatpaks_are_looked_for_too(path: str, machine: Machine) -> None:
    put(machine.home / path)
    assert set(looked(machine)) == {"tiny"}


@pytest.mark.parametrize(("system", "program"), PLACES)
def test_each_program_is_looked_for_where_it_keeps_its_files(tmp_path: Path, system: str, program: str) -> None:
    machine = machine_of(tmp_path, system)
    path = tmp_path / PLACES[system, program]
    if program == "Ollama":
        put(path / "manifests/registry.ollama.ai/library/tiny/latest", manifest(path, model=WEIGHTS))
    else:
        put(Path(str(path).format("tiny")))
    (entry,) = found(places(machine))
    assert entry.place == program and entry.name in ("tiny", "tiny:latest")
    assert entry.path.read_bytes() == WEIGHTS


def test_folders_that_were_moved_in_a_programs_own_settings_are_found(tmp_path: Path) -> None:
    moved = {name: tmp_path / name for name in ("lm", "lm-home", "jan", "gpt", "llama", "ollama")}
    machine = machine_of(tmp_path, "linux", LLAMA_CACHE=moved["llama"], OLLAMA_MODELS=moved["ollama"])
    pointer = put(tmp_path / "dotfiles/pointer", f"{moved['lm-home']}\n")
    (machine.home / ".lmstudio-home-pointer").symlink_to(pointer)
    put(moved["lm-home"] / "settings.json", {"downloadsFolder": str(moved["lm"])})
    put(machine.home / ".local/share/Jan/settings.json", {"data_folder": str(moved["jan"])})
    put(machine.home / ".config/nomic.ai/GPT4All.ini", f"[General]\nmodelPath={moved['gpt']}\n")
    put(moved["lm"] / "org/repo/one.gguf")
    put(moved["jan"] / "llamacpp/models/two/model.gguf", WEIGHTS + b"2")
    put(moved["gpt"] / "three.gguf", WEIGHTS + b"3")
    put(moved["llama"] / "four.gguf", WEIGHTS + b"4")
    put(
        moved["ollama"] / "manifests/registry.ollama.ai/library/five/1b",
        manifest(moved["ollama"], model=WEIGHTS + b"5"),
    )
    assert set(looked(machine)) == {"one", "two", "three", "four", "five:1b"}


@pytest.mark.parametrize("text", ["not json", "[]", '{"downloadsFolder": 3}', '{"downloadsFolder": "models"}', "\x00"])
def test_settings_that_make_no_sense_change_nothing(machine: Machine, text: str) -> None:
    put(machine.home / ".lmstudio/settings.json", text)
    put(machine.home / ".lmstudio-home-pointer", text)
    put(machine.home / ".lmstudio/models/org/repo/tiny.gguf")
    assert set(looked(machine)) == {"tiny"}


def test_parts_of_one_model_are_one_entry_that_says_how_to_join_them(machine: Machine) -> None:
    for number in (1, 2, 3):
        put(machine.home / f".lmstudio/models/org/big/big-Q4_K_M-0000{number}-of-00003.gguf")
    (entry,) = found(places(machine))
    assert (entry.name, entry.bytes) == ("big-Q4_K_M", 3 * len(WEIGHTS))
    assert "split into 3 files" in entry.problem and "llama-gguf-split --merge" in entry.problem


def test_the_eyes_of_a_model_and_downloads_under_way_are_passed_over(machine: Machine) -> None:
    folder = machine.home / ".lmstudio/models/org/repo"
    for name in (
        "mmproj-model-f16.gguf",
        "model.mmproj-q8_0.gguf",
        "x.gguf.part",
        "downloading_x.gguf.part",
        "README.md",
    ):
        put(folder / name)
    put(folder / "empty.gguf", b"")
    put(folder / "tiny.gguf")
    assert set(looked(machine)) == {"tiny"}


def test_links_are_followed_once_and_those_that_lead_nowhere_are_passed_over(machine: Machine) -> None:
    real = put(machine.home / "elsewhere/real.gguf")
    folder = machine.home / ".lmstudio/models/org/repo"
    folder.mkdir(parents=True)
    (folder / "linked.gguf").symlink_to(real)
    (folder / "again.gguf").symlink_to(real)
    (folder / "broken.gguf").symlink_to(folder / "nothing.gguf")
    (folder / "loop.gguf").symlink_to(folder / "loop.gguf")
    (folder / "round").symlink_to(folder)
    (entry,) = found(places(machine))
    assert (entry.name, entry.also, entry.path) == ("again", ("linked",), real)


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="everybody may read everything here")
def test_a_folder_that_may_not_be_read_hides_no_other(machine: Machine) -> None:
    locked = put(machine.home / ".lmstudio/models/org/locked/x.gguf").parent
    put(machine.home / ".lmstudio/models/org/open/tiny.gguf")
    locked.chmod(0)
    try:
        assert set(looked(machine)) == {"tiny"}
    finally:
        locked.chmod(0o700)


def test_a_file_that_vanishes_while_it_is_looked_at_is_passed_over(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = put(machine.home / ".lmstudio/models/org/repo/tiny.gguf").parent
    put(folder / "zz.gguf")
    listing = os.scandir

    def vanishing(place: Any) -> Any:
        items = listing(place)
        (folder / "zz.gguf").unlink(missing_ok=True)
        return items

    monkeypatch.setattr(os, "scandir", vanishing)
    assert set(looked(machine)) == {"tiny"}


def test_a_pipe_and_a_folder_with_a_models_name_are_passed_over(machine: Machine) -> None:
    folder = machine.home / ".lmstudio/models/org/repo"
    (folder / "folder.gguf").mkdir(parents=True)
    if hasattr(os, "mkfifo"):
        os.mkfifo(folder / "pipe.gguf")
    assert found(places(machine)) == []


def test_two_models_of_one_name_are_told_apart_by_where_they_lie(machine: Machine) -> None:
    put(machine.home / ".lmstudio/models/one/repo-a/tiny.gguf")
    put(machine.home / ".lmstudio/models/two/repo-b/tiny.gguf", WEIGHTS + b"2")
    put(machine.home / ".cache/llama.cpp/tiny.gguf", WEIGHTS + b"3")
    put(machine.home / ".cache/llama.cpp/other.gguf", WEIGHTS + b"4")
    titles = [entry.title for entry in told_apart(found(places(machine)))]
    assert titles == ["tiny (LM Studio, repo-a)", "tiny (LM Studio, repo-b)", "other", "tiny (llama.cpp cache)"]


def test_a_folder_that_is_a_link_is_looked_into(machine: Machine) -> None:
    put(machine.home / "big disk/org/repo/tiny.gguf")
    (machine.home / ".lmstudio").mkdir()
    (machine.home / ".lmstudio/models").symlink_to(machine.home / "big disk")
    (machine.home / "big disk/org/more").symlink_to(put(machine.home / "more/other.gguf", WEIGHTS + b"2").parent)
    assert set(looked(machine)) == {"tiny", "other"}


def test_very_deep_and_very_full_folders_end(tmp_path: Path) -> None:
    deep = tmp_path / "/".join("d" * 9)
    put(deep / "tiny.gguf")
    assert found([Place("LM Studio", tmp_path)]) == []
