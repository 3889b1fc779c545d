"""Files over HTTP: what a visitor sends, and what is fetched. In the place of Gradio's own two routes."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from fastapi.responses import FileResponse, JSONResponse, PlainTextResponse, Response
from gradio.route_utils import GradioMultiPartParser, GradioUploadFile
from gradio.routes import file_upload_statuses
from gradio_client.utils import strip_invalid_filename_characters
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request

from chatlab.web.guard.security import UPLOAD_LIMIT
from chatlab.web.page import person_of
from chatlab.web.uploads import Uploads

log = logging.getLogger("chatlab.ui")

MOST = 1000
"""Files of one request; the page sends a folder in parts of that size."""


def add_file_routes(app: FastAPI, uploads: Uploads) -> None:
    """Before Gradio is mounted, so that its own routes are never reached."""
    routes = _Files(uploads)
    app.add_route("/gradio_api/upload", routes.take, methods=["POST"], include_in_schema=False)
    app.add_route("/gradio_api/file={path:path}", routes.give, methods=["GET", "HEAD"], include_in_schema=False)


class _Files:
    def __init__(self, uploads: Uploads) -> None:
        self._uploads = uploads

    async def take(self, request: Request) -> Response:
        """Keep what was sent; the paths by which events may name it."""
        upload_id = request.query_params.get("upload_id")
        paths: list[str] = []
        with self._half() as half:
            try:
                parser = GradioMultiPartParser(
                    request.headers,
                    request.stream(),
                    max_files=MOST,
                    max_fields=MOST,
                    max_file_size=UPLOAD_LIMIT,
                    upload_dir=half,
                    upload_id=upload_id,
                    upload_progress=file_upload_statuses if upload_id else None,
                )
                form = await parser.parse()
                sent = [part for part in form.getlist("files") if isinstance(part, GradioUploadFile)]
                paths = [self._kept(part, person_of(request.headers)) for part in sent]
            except ClientDisconnect:
                return PlainTextResponse("That is too large, or was broken off.", 413)
            except OSError as error:
                log.error("An upload could not be kept: %s", error.strerror)
                return PlainTextResponse("The file could not be kept. Make space on the disk.", 507)
            except Exception as error:  # a body of another shape; what the parser raises then is anybody's guess
                log.info("An upload could not be read: %s", type(error).__name__)
                return PlainTextResponse("That is no file that was sent by the page.", 400)
            finally:
                if upload_id and not paths:
                    file_upload_statuses.set_done(upload_id)
        return JSONResponse(paths)

    async def give(self, request: Request) -> Response:
        """A file that this visitor sent or that was made for them, to be saved and never shown."""
        path = request.path_params["path"]
        file = await run_in_threadpool(self._uploads.fetched, path, person_of(request.headers))
        if file is None:
            return PlainTextResponse("There is no such file for you.", 403)
        return FileResponse(file, filename=file.name, media_type="application/octet-stream")

    @contextlib.contextmanager
    def _half(self) -> Iterator[Path]:
        """A folder for what has not come to its end."""
        half = self._uploads.place()
        try:
            yield half
        finally:
            for file in half.iterdir():
                with contextlib.suppress(OSError):
                    file.unlink()
            with contextlib.suppress(OSError):
                half.rmdir()

    def _kept(self, part: GradioUploadFile, person: str) -> str:
        part.file.close()
        written: Any = part.file
        place = self._uploads.place()
        file = place / _name(part.filename or "")
        try:
            Path(written.name).rename(file)
        except OSError:
            place.rmdir()
            raise
        return self._uploads.sent(file, person)


def _name(given: str) -> str:
    """A plain file name like the one that was given, on whatever system."""
    last = given.replace("\\", "/").rsplit("/", 1)[-1].encode("utf-8", "replace").decode()
    return strip_invalid_filename_characters(last).strip(". ") or "file"
