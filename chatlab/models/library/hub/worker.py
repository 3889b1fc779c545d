"""The process that talks to the hub: `python -m chatlab.models.library.hub.worker`.

Jobs come as lines of JSON on standard input, answers as lines on standard output. It is a process of its own so that a
download ends at once when it is cancelled, and so that huggingface_hub reads its environment (HF_TOKEN, HF_ENDPOINT,
HF_HUB_OFFLINE) anew. A file grows as `NAME.part`; one that is there already goes on from its end.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import httpx2
from huggingface_hub import HfApi, constants, get_token, hf_hub_url
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.file_download import http_get
from huggingface_hub.utils import build_hf_headers, disable_progress_bars  # type: ignore[attr-defined]

from chatlab.system.files import DISK_FULL
from chatlab.system.processes.bootstrap import answer_pipe

SECONDS = 20.0
"""That the hub may take to answer a question."""
PART = ".part"
CHUNK = 1 << 18
"""Bytes that are read together: progress is told, and a kill loses, no more than that. The library's own are 10 MB."""
EVERY = 0.1
"""Seconds between two words of progress."""


class Counted:
    """A file whose growth is told."""

    def __init__(self, file: BinaryIO, before: int, answers: BinaryIO) -> None:
        self._file, self._before, self._answers = file, before, answers
        self._told = 0.0

    def write(self, data: bytes) -> int:
        written = self._file.write(data)
        if time.monotonic() - self._told >= EVERY:
            self._told = time.monotonic()
            say(self._answers, done=self._before + self._file.tell())
        return written

    def tell(self) -> int:
        return self._file.tell()

    def seek(self, place: int) -> int:
        return self._file.seek(place)

    def truncate(self) -> int:
        return self._file.truncate()


def say(answers: BinaryIO, **told: Any) -> None:
    answers.write(json.dumps(told).encode("ascii") + b"\n")
    answers.flush()


def look(job: Mapping[str, Any]) -> dict[str, Any]:
    """What a revision of a repository holds."""
    info = HfApi().model_info(job["repository"], revision=job["revision"] or None, timeout=SECONDS, files_metadata=True)
    licence = info.card_data.get("license_name") or info.card_data.get("license") if info.card_data else ""
    files = [
        {
            "name": file.rfilename,
            "size": file.lfs.size if file.lfs else file.size,
            "sha256": file.lfs.sha256 if file.lfs else "",
            "blob": file.blob_id or "",
        }
        for file in info.siblings or ()
    ]
    return {"id": info.id, "commit": info.sha, "licence": licence if isinstance(licence, str) else "", "files": files}


def fetch(job: Mapping[str, Any], answers: BinaryIO) -> None:
    """Fetch one file into a folder, and compare it with the hash that the hub has of it."""
    to = Path(job["to"])
    part = to.with_name(to.name + PART)
    to.parent.mkdir(parents=True, exist_ok=True)
    if not to.exists():
        have = part.stat().st_size if part.exists() else 0
        if have > job["size"] or not job["sha256"]:  # small files are compressed on their way, and begin anew
            part.unlink(missing_ok=True)
            have = 0
        url = hf_hub_url(job["repository"], job["name"], revision=job["commit"])
        with part.open("ab") as file:
            counted: Any = Counted(file, job["before"], answers)
            http_get(url, counted, resume_size=have, headers=build_hf_headers(), expected_size=job["size"])
            file.flush()
            os.fsync(file.fileno())
        say(answers, checking=job["name"])
        if not _is_genuine(part, job):
            part.unlink()
            raise ValueError(f"what arrived as {job['name']} is not the file that the hub describes")
        part.replace(to)
    say(answers, fetched=job["name"])


def _is_genuine(file: Path, job: Mapping[str, Any]) -> bool:
    if job["sha256"]:
        found = hashlib.sha256()
    elif job["blob"]:
        found = hashlib.sha1(f"blob {file.stat().st_size}\0".encode(), usedforsecurity=False)
    else:
        return bool(file.stat().st_size == job["size"])
    with file.open("rb") as stream:
        while data := stream.read(1 << 20):
            found.update(data)
    return found.hexdigest() == str(job["sha256"] or job["blob"])


def reason(error: Exception, job: Mapping[str, Any]) -> dict[str, str]:
    """What went wrong, by the name of an error of Chatlab's, in a sentence, and what to do."""
    name, hub = job["repository"], constants.ENDPOINT
    again = "Start it again: what has arrived is kept."
    if isinstance(error, GatedRepoError):
        return _said(
            "BaseRefused",
            f"{name} is given only to those who accept its makers' terms.",
            f"Accept them at {hub}/{name}, make a token there, set HF_TOKEN to it and start Chatlab again.",
        )
    if isinstance(error, RevisionNotFoundError):
        return _said(
            "BaseMissing",
            f"{name} has no revision {job.get('revision') or job.get('commit')!r}.",
            "Name a branch, a tag or a whole commit, or leave it out for the newest.",
        )
    if isinstance(error, RepositoryNotFoundError):
        private = "your HF_TOKEN may not see it" if get_token() else "it is private and needs HF_TOKEN"
        return _said(
            "BaseMissing", f"There is no model {name} at {hub}, or {private}.", "Check its spelling: ORGANISATION/NAME."
        )
    if isinstance(error, EntryNotFoundError):
        return _said("DownloadFailed", f"{job.get('name', 'A file')} of {name} is not there any more.", "Try again.")
    if isinstance(error, OfflineModeIsEnabled):
        return _said("DownloadFailed", "HF_HUB_OFFLINE is set, so nothing is fetched.", "Unset it, and start again.")
    if isinstance(error, HFValidationError):
        return _said("InputError", f"{name!r} is no model id.", "One looks like Qwen/Qwen3-0.6B: ORGANISATION/NAME.")
    if isinstance(error, HfHubHTTPError):
        return _http(error, name, hub, again)
    if isinstance(error, httpx2.TimeoutException):
        return _said("DownloadFailed", f"{hub} does not answer.", again)
    if isinstance(error, httpx2.ConnectError):
        return _said(
            "DownloadFailed",
            f"{hub} cannot be reached.",
            "Check the network and HF_ENDPOINT. Models on this machine need neither.",
        )
    if isinstance(error, httpx2.HTTPError) or (isinstance(error, OSError) and error.errno is None):
        return _said("DownloadFailed", f"The connection to {hub} broke off.", again)
    if isinstance(error, OSError) and error.errno in DISK_FULL:
        return _said("DiskFull", f"The disk is full; {name} is not all here.", f"Free some space. {again}")
    if isinstance(error, OSError):
        return _said("DownloadFailed", f"{name} could not be written: {error.strerror}.", again)
    return _said("DownloadFailed", f"{name} could not be fetched: {str(error)[:200]}.", again)


def _http(error: HfHubHTTPError, name: str, hub: str, again: str) -> dict[str, str]:
    status = error.response.status_code if error.response is not None else 0
    if status == 401:
        return _said("DownloadFailed", f"{hub} does not accept your HF_TOKEN.", "Make a new one, or unset it.")
    if status == 403:
        return _said("DownloadFailed", f"{hub} does not let you read {name}.", "Your HF_TOKEN needs read access to it.")
    if status == 429:
        return _said("DownloadFailed", f"{hub} has had too many requests from here.", f"Wait some minutes. {again}")
    return _said("DownloadFailed", f"{hub} answered with an error ({status}).", again)


def _said(error: str, message: str, hint: str) -> dict[str, str]:
    return {"error": error, "message": message, "hint": hint}


def main() -> None:
    answers = answer_pipe()
    disable_progress_bars()
    constants.DOWNLOAD_CHUNK_SIZE = CHUNK
    for line in sys.stdin:
        job = json.loads(line)
        try:
            if job["do"] == "look":
                say(answers, repository=look(job))
            else:
                fetch(job, answers)
        except Exception as error:  # whatever it is, the app is told; the library raises many kinds
            say(answers, **reason(error, job))


if __name__ == "__main__":
    main()
