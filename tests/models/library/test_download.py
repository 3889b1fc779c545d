"""Models from the hub, by the real huggingface_hub against a small server of its kind: whole, or not there."""

from __future__ import annotations

import json
import shutil
from collections import namedtuple
from pathlib import Path
from typing import Any

import pytest

from chatlab.errors import BaseMissing, BaseRefused, ChatlabError, DiskFull, DownloadFailed, InputError
from chatlab.models.base import Base
from chatlab.models.library.hub.download import Hub, _key
from chatlab.models.library.hub.downloaded import HALF, Downloads, folder_of
from tests.support.hub import HubModel, HubServer
from tests.support.tiny_models import safetensors

GGUF = b"GGUF" + bytes(range(256)) * 8000
COMMIT = "c" * 40


@pytest.fixture
def tiny(base_folder: Path) -> dict[str, bytes]:
    """A model's files: the embedded base's tokenizer and weights of one layer, beside files that nobody wants."""
    names = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "generation_config.json")
    files = {name: (base_folder / name).read_bytes() for name in names}
    rows = json.loads((base_folder / "config.json").read_bytes())["vocab_size"]
    config = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": rows, "hidden_size": 64}
    files["config.json"] = json.dumps(config | {"num_hidden_layers": 1}).encode()
    files["model.safetensors"] = safetensors({"model.embed_tokens.weight": [rows, 64]})
    return files | {
        "pytorch_model.bin": b"pickle",
        "modeling.py": b"import os",
        "README.md": b"# Tiny",
        "a/b.json": b"{}",
    }


def halves(downloads: Downloads) -> list[Path]:
    return [place for place in downloads.folder.glob(f"{HALF}*") if place.is_dir()]


def test_a_model_arrives_with_all_that_opens_it_and_nothing_else(
    hub: HubServer, downloads: Downloads, start: Any, tiny: dict[str, bytes]
) -> None:
    hub.models["org/tiny"] = HubModel(tiny)
    download = start()
    entry = download.wait(60)
    assert entry is not None and download.state == "done"
    assert (entry.name, entry.source, entry.kind, entry.licence) == ("org/tiny", "hub", "folder", "apache-2.0")
    assert entry.bytes == len(tiny["model.safetensors"]) and entry.revision == COMMIT
    base = Base.open(entry.path)
    assert base.name == "org/tiny" and base.template.check() == []
    assert {file.name for file in entry.path.iterdir()} == {
        "config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja",
        "model.safetensors", "download.json",
    }  # fmt: skip
    assert download.progress.done == download.progress.whole > entry.bytes
    assert downloads.entries() == [entry] and halves(downloads) == []


def test_the_weights_come_from_another_host_which_is_not_given_the_token(
    hub: HubServer, start: Any, tiny: dict[str, bytes]
) -> None:
    hub.models["org/tiny"] = HubModel(tiny, private=True)
    assert start(HF_TOKEN="hf_right").wait(60) is not None
    large = [headers for path, headers in hub.asked if path.startswith("/large/")]
    others = [headers for path, headers in hub.asked if not path.startswith("/large/")]
    assert large and not any("authorization" in headers for headers in large)
    assert all(headers["authorization"] == "Bearer hf_right" for headers in others)


def test_shards_come_with_their_index(hub: HubServer, start: Any, tiny: dict[str, bytes]) -> None:
    whole = tiny.pop("model.safetensors")
    name = "model-00001-of-00001.safetensors"
    index = {"weight_map": {"model.embed_tokens.weight": name}}
    files = tiny | {name: whole, "model.safetensors.index.json": json.dumps(index).encode()}
    hub.models["org/tiny"] = HubModel(files | {"consolidated.safetensors": b"x"})
    entry = start().wait(60)
    assert entry is not None and Base.open(entry.path).parameters == Base.open(entry.path).rows * 64
    assert not (entry.path / "consolidated.safetensors").exists()


def test_one_gguf_of_several_is_chosen_by_its_quantisation(hub: HubServer, start: Any, downloads: Downloads) -> None:
    hub.models["org/tiny-GGUF"] = HubModel(
        {
            "tiny-Q8_0.gguf": GGUF + b"8",
            "sub/tiny-Q4_K_M.gguf": GGUF,
            "mmproj-tiny.gguf": b"x",
            "tiny-00001-of-00002.gguf": b"",
        }
    )
    with pytest.raises(InputError, match="choose one") as refused:
        start("org/tiny-GGUF").wait(60)
    assert "sub/tiny-Q4_K_M.gguf (2 MB), tiny-Q8_0.gguf (2 MB)." in refused.value.hint
    with pytest.raises(InputError, match="2 files match"):
        start("org/tiny-GGUF", file="tiny").wait(60)
    with pytest.raises(InputError, match="no GGUF 'Q5'"):
        start("org/tiny-GGUF", file="Q5").wait(60)
    entry = start("org/tiny-GGUF", file="q4_k_m").wait(60)
    assert entry is not None and (entry.name, entry.kind) == ("org/tiny-GGUF/tiny-Q4_K_M", "gguf")
    assert entry.path.name == "tiny-Q4_K_M.gguf" and entry.path.read_bytes() == GGUF
    other = start("org/tiny-GGUF", file="tiny-Q8_0.gguf").wait(60)
    assert other is not None and other.id != entry.id and {e.id for e in downloads.entries()} == {entry.id, other.id}


def test_a_branch_a_tag_or_a_commit_can_be_asked_for(hub: HubServer, start: Any, tiny: dict[str, bytes]) -> None:
    hub.models["org/tiny"] = HubModel(tiny, branches=("main", "refs/pr/1"))
    entry = start(revision="refs/pr/1").wait(60)
    assert entry is not None and entry.revision == "refs/pr/1"
    assert start(revision=COMMIT).wait(60).path == entry.path, "it is here already"


REFUSALS: dict[str, tuple[dict[str, Any], type[ChatlabError], str, str]] = {
    "unknown": ({"name": "org/other"}, BaseMissing, "no model org/other", "spelling"),
    "private": ({"name": "org/private"}, BaseMissing, "needs HF_TOKEN", "spelling"),
    "gated": ({"name": "org/gated"}, BaseRefused, "makers' terms", "HF_TOKEN"),
    "a wrong token": ({"HF_TOKEN": "hf_wrong"}, DownloadFailed, "does not accept your HF_TOKEN", "new one"),
    "no such revision": ({"revision": "nope"}, BaseMissing, "no revision 'nope'", "newest"),
    "no address": ({"HF_ENDPOINT": "http://127.0.0.1:9"}, DownloadFailed, "cannot be reached", "HF_ENDPOINT"),
    "offline": ({"HF_HUB_OFFLINE": "1"}, DownloadFailed, "HF_HUB_OFFLINE", "Unset"),
    "pickles alone": ({"name": "org/pickles"}, BaseRefused, "pickle", "safetensors or as GGUF"),
    "no tokenizer": ({"name": "org/bare"}, BaseRefused, "no tokenizer.json", "transformers"),
    "nothing": ({"name": "org/empty"}, BaseRefused, "no model.safetensors and no GGUF", "another"),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_what_cannot_be_had_says_why_and_what_to_do(
    case: str, hub: HubServer, start: Any, tiny: dict[str, bytes], downloads: Downloads
) -> None:
    hub.models |= {
        "org/tiny": HubModel(tiny),
        "org/private": HubModel(tiny, private=True),
        "org/gated": HubModel(tiny, gated=True),
        "org/pickles": HubModel({"config.json": b"{}", "pytorch_model.bin": b"x"}),
        "org/bare": HubModel({"config.json": b"{}", "model.safetensors": b"x"}),
        "org/empty": HubModel({"README.md": b"x"}),
    }
    asked, kind, message, hint = REFUSALS[case]
    download = start(**asked)
    with pytest.raises(kind, match=message) as refused:
        download.wait(60)
    assert hint in refused.value.hint and download.state == "failed"
    assert downloads.entries() == []


@pytest.mark.parametrize("status", [429, 500, 403])
def test_a_hub_in_trouble_says_so(status: int, hub: HubServer, start: Any) -> None:
    hub.status = status
    with pytest.raises(DownloadFailed) as refused:
        start().wait(60)
    assert refused.value.hint


@pytest.mark.parametrize(
    "name", ["", "a/b/c", "../x", "org/na me", "org/x.git", "--x", "https://example.com/a/b", "a" * 200]
)
def test_what_is_no_id_is_refused_before_anything_is_asked(name: str, hub: HubServer, start: Any) -> None:
    with pytest.raises(InputError, match="no model id"):
        start(name)
    assert hub.asked == []


def test_an_address_is_taken_for_the_id_in_it(hub: HubServer, start: Any, tiny: dict[str, bytes]) -> None:
    hub.models["org/tiny"] = HubModel(tiny)
    assert start("https://huggingface.co/org/tiny/").wait(60) is not None


def test_a_config_that_could_run_a_program_is_refused_before_the_weights_are_fetched(
    hub: HubServer, start: Any, tiny: dict[str, bytes], downloads: Downloads
) -> None:
    config = json.loads(tiny["config.json"]) | {"auto_map": {"AutoModelForCausalLM": "modeling.Model"}}
    hub.models["org/tiny"] = HubModel(tiny | {"config.json": json.dumps(config).encode()})
    with pytest.raises(BaseRefused, match="auto_map"):
        start().wait(60)
    assert hub.ranges() == [] and halves(downloads) == []


def test_a_disk_that_is_too_small_is_said_before_a_byte_is_fetched(
    hub: HubServer, start: Any, downloads: Downloads, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.models["org/big"] = HubModel({"big.gguf": GGUF})
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(0, 0, (256 << 20) + 1_000_000))
    with pytest.raises(DiskFull, match=r"has 2 MB, and 1 MB are free") as refused:
        start("org/big", file="big.gguf").wait(60)
    assert "smaller" in refused.value.hint and hub.ranges() == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no disk that is always full")
def test_a_disk_that_fills_up_meanwhile_leaves_no_model_and_says_so(
    hub: HubServer, start: Any, downloads: Downloads
) -> None:
    hub.models["org/tiny"] = HubModel({"t.gguf": GGUF})
    described = Hub(hub.environment)
    repository = described.look("org/tiny")
    described.close()
    half = downloads.folder / f"{HALF}{_key(folder_of(downloads.folder, repository, repository.files))}"
    half.mkdir(parents=True)
    (half / "t.gguf.part").symlink_to("/dev/full")
    with pytest.raises(DiskFull, match="disk is full") as refused:
        start(file="t.gguf").wait(60)
    assert "Free some space" in refused.value.hint and downloads.entries() == []
    (half / "t.gguf.part").unlink()
    entry = start(file="t.gguf").wait(60)
    assert entry is not None and entry.path.read_bytes() == GGUF


def test_what_arrives_otherwise_than_the_hub_describes_is_thrown_away(
    hub: HubServer, start: Any, downloads: Downloads
) -> None:
    hub.models["org/tiny"] = HubModel({"t.gguf": GGUF}, lies={"t.gguf": "0" * 64})
    with pytest.raises(DownloadFailed, match="not the file that the hub describes"):
        start(file="t.gguf").wait(60)
    assert downloads.entries() == [] and [file.name for half in halves(downloads) for file in half.iterdir()] == [
        "request.json"
    ]


def test_a_removed_download_leaves_nothing_and_others_stay(hub: HubServer, start: Any, downloads: Downloads) -> None:
    hub.models["org/tiny"] = HubModel({"a.gguf": GGUF, "b.gguf": GGUF + b"b"})
    one, other = (start(file=name).wait(60) for name in ("a.gguf", "b.gguf"))
    downloads.remove(one)
    assert not one.path.exists() and downloads.entries() == [other]


def test_names_that_would_leave_the_folder_are_passed_over(hub: HubServer) -> None:
    names = ["../../evil.gguf", "/etc/x.gguf", "a\\b.gguf", "a/../b.gguf", "con\n.gguf", "..gguf/..", "good.gguf"]
    hub.models["org/tiny"] = HubModel(dict.fromkeys(names, GGUF))
    asker = Hub(hub.environment)
    assert [file.name for file in asker.look("org/tiny").files] == ["good.gguf"]
    asker.close()
