"""The web app: the page built from its tabs, behind its middleware, served on loopback."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import webbrowser
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Protocol

import gradio as gr
import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import Response

from chatlab.errors import ChatlabError, InputError
from chatlab.lab import Lab
from chatlab.lab.chat.reply_stream import ReplyOptions
from chatlab.settings import Settings
from chatlab.system.ports import address
from chatlab.ui.backups import SafekeepingPanel
from chatlab.ui.chat.replies import Replies
from chatlab.ui.chat.tab import ChatTab
from chatlab.ui.compare.tab import CompareTab
from chatlab.ui.current_user import current_user
from chatlab.ui.demonstrations.lineage import ask_for, ask_to_write
from chatlab.ui.demonstrations.tab import DemonstrationsTab
from chatlab.ui.guide.tab import GuideTab
from chatlab.ui.header import LOADING, Header
from chatlab.ui.html import KEY
from chatlab.ui.knowledge.tab import KnowledgeTab
from chatlab.ui.models.panel import ModelsPanel
from chatlab.ui.page_event import PageEvent
from chatlab.ui.shell import Bridge, Shell, TabName, error_text, html_block, warn
from chatlab.ui.theme import ASSETS, tab_sheets, theme
from chatlab.ui.train.tab import TrainTab
from chatlab.ui.unseen.panel import UnseenPanel
from chatlab.web.file_routes import add_file_routes
from chatlab.web.guard.basic_auth import BasicAuth
from chatlab.web.guard.bodies import UPLOAD_LIMIT, BodyMiddleware
from chatlab.web.guard.event_streams import EventStreamMiddleware
from chatlab.web.guard.failures import FailureMiddleware
from chatlab.web.guard.headers import HeadersMiddleware
from chatlab.web.guard.proxies import ProxyMiddleware
from chatlab.web.guard.routes import RouteMiddleware
from chatlab.web.guard.security import SecurityMiddleware
from chatlab.web.guard.session_owners import SessionOwnerMiddleware
from chatlab.web.health import PATH, health
from chatlab.web.http1 import Server, StrictProtocol
from chatlab.web.light_state import forget_conversation, lighten
from chatlab.web.page import Page
from chatlab.web.shutdown import Shutdown
from chatlab.web.uploads import FORGET, Uploads, refuse_addresses


class Tab(Protocol):
    """One tab of the page: what it shows and what its events do."""

    def build(self, shell: Shell) -> None:
        """Make the components and wire their events; called inside the tab's own `gr.Tab`."""
        ...


TABS: dict[TabName, tuple[str, Callable[[Lab, Replies], Tab]]] = {
    "chat": ("Chat", ChatTab),
    "demonstrations": ("Demonstrations", lambda lab, replies: DemonstrationsTab(lab)),
    "train": ("Train", lambda lab, replies: TrainTab(lab)),
    "compare": ("Compare", lambda lab, replies: CompareTab(lab)),
    "knowledge": ("Knowledge", lambda lab, replies: KnowledgeTab(lab)),
    "guide": ("Guide", lambda lab, replies: GuideTab(lab)),
}
"""The tabs in their order: what each is called, and how it is made. `tests/browser/test_tabs.py` tries every one."""
OWN_FILES = {"page.js": "text/javascript", "page.css": "text/css", "icon.svg": "image/svg+xml"}
PAGES = 64
"""Pages whose state is kept; those left longest go first. Gradio holds a copy of the whole page for each, about 1 MB,
also for those that were closed. An open one asks once a second, and so is never the one left longest."""
HEAD = (
    '<link rel="stylesheet" href="/chatlab/page.css"><link rel="icon" href="/chatlab/icon.svg" type="image/svg+xml">'
    '<script src="/chatlab/page.js" defer></script>'
)


def build(lab: Lab, replies: Replies | None = None, uploads: Uploads | None = None) -> Page:
    """The page. `replies` are the answers under way, which outlive any page; `uploads` the files it may be sent."""
    header = Header(lab)
    replies = replies or Replies()
    page = Page(
        uploads or Uploads(lab.settings.uploads),
        title="Chatlab",
        analytics_enabled=False,
        fill_width=True,
        fill_height=True,
        delete_cache=FORGET,
    )
    with page:
        page.state_session_capacity = PAGES
        _endpoints(lab)  # before the handlers, whose names would be taken
        bar = html_block(LOADING, elem_id="bar")
        bridge = Bridge("page")
        timer = gr.Timer(1.0)
        model = gr.Textbox("", visible="hidden", elem_id="model-in-use")
        with gr.Tabs(selected="chat", elem_id="tabs") as tabs:
            shell = Shell(
                tabs=tabs,
                timer=timer,
                header=bar,
                draw_header=header.tick,
                load=page.load,
                model=model,
                when_left=page.when_left,
            )
            shell.items.update(
                {name: gr.Tab(label, id=name, elem_id=f"tab-{name}") for name, (label, _) in TABS.items()}
            )
        _fill(shell, lab, replies)
        ModelsPanel(lab).build(shell)
        shell.on(page.load, do=header.tick, outputs=[bar, timer])
        shell.on(timer.tick, do=header.tick, outputs=[bar, timer], queue=False)
        shell.on(
            bridge.pressed, do=lambda payload: on_page_event(lab, payload), inputs=[bridge.payload], outputs=[tabs]
        )
    refuse_addresses(page)
    for forget in (replies.end, partial(forget_conversation, page)):
        lab.chat.when_ended(forget)
    return page


def _fill(shell: Shell, lab: Lab, replies: Replies) -> None:
    for name, (_, make) in TABS.items():
        with shell.items[name]:
            make(lab, replies).build(shell)
    with shell.items["compare"]:
        UnseenPanel(lab).build(shell)
    with shell.items["demonstrations"]:
        SafekeepingPanel(lab).build(shell)


def on_page_event(lab: Lab, payload: str) -> Any:
    """What buttons outside the chat do: open a tab or a demonstration, or say what is wrong with the machine."""
    event = PageEvent.read(payload)
    name = event.do
    if name == "open-demonstration":
        ask_for(lab, event.turn)
        return gr.Tabs(selected="demonstrations")
    if name == "write-demonstration":
        ask_to_write(lab)
        return gr.Tabs(selected="demonstrations")
    if name == "warnings":
        for warning in lab.health().warnings:
            warn(warning)
        return gr.skip()
    if name not in TABS:
        raise InputError(f"There is no tab {name!r}.")
    return gr.Tabs(selected=name)


def _endpoints(lab: Lab) -> None:
    """The few calls that other programs may make."""

    def say(text: str, voice: str = "", conversation: int = 0, request: gr.Request | None = None) -> Iterator[str]:
        """The answer as it grows. `conversation` 0 stores nothing; otherwise it is one of the caller's own."""
        chat_id = conversation or lab.chat.new(incognito=True)
        try:
            if conversation:
                lab.chat.owned(conversation, current_user(request, lab.settings.auth))
            with contextlib.closing(lab.chat.reply(chat_id, text, ReplyOptions(variant=voice or None))) as reply:
                for _ in reply:
                    yield reply.text
        except ChatlabError as error:
            raise gr.Error(error_text(error)) from error
        finally:
            if not conversation:
                lab.chat.delete(chat_id)  # nobody can come back to it

    def voices() -> list[str]:
        """The base and all adapters, by name."""
        return lab.variants.names()

    gr.events.api(say, api_name="say", concurrency_limit=4)
    gr.events.api(voices, api_name="voices")


def web(lab: Lab, settings: Settings, replies: Replies) -> FastAPI:
    """The ASGI app: the page, its script, and the doors around both."""
    uploads = Uploads(settings.uploads)
    uploads.open()
    os.environ["GRADIO_TEMP_DIR"] = str(uploads.folder)  # Gradio's own copies go there too, read whenever one is made
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None, lifespan=lambda _: uploads.swept())

    for name, kind in OWN_FILES.items():
        app.add_route(f"/chatlab/{name}", _own_file(name, kind), include_in_schema=False)
    app.add_route(PATH, health(lab), include_in_schema=False)
    add_file_routes(app, uploads)
    page = build(lab, replies, uploads)
    gr.mount_gradio_app(
        app,
        page,
        path="/",
        server_name=settings.host,
        server_port=settings.port,
        footer_links=[],
        run_history=False,
        show_error=False,
        max_file_size=UPLOAD_LIMIT,
        enable_monitoring=False,
        app_kwargs={"openapi_url": None, "docs_url": None, "redoc_url": None},
        ssr_mode=False,
        theme=theme(),
        css_paths=tab_sheets(),
        head=HEAD,
    )
    lighten(page)
    _guard(app, page, settings)
    return app


def _guard(app: FastAPI, page: Page, settings: Settings) -> None:
    """The middlewares around every request. What is added last is asked first."""
    calls = [str(fn.api_name) for fn in page.fns.values() if fn.api_visibility == "public"]
    auth = BasicAuth(settings.auth) if settings.auth else None
    app.add_middleware(EventStreamMiddleware)
    app.add_middleware(SessionOwnerMiddleware, left=page.leave)
    app.add_middleware(BodyMiddleware, functions=list(page.fns), calls=calls)
    app.add_middleware(RouteMiddleware)
    app.add_middleware(SecurityMiddleware, host=settings.host, auth=auth, names=settings.names)
    app.add_middleware(ProxyMiddleware, proxies=settings.proxies)
    app.add_middleware(FailureMiddleware)
    app.add_middleware(HeadersMiddleware)


def http(app: FastAPI) -> uvicorn.Config:
    """The server's settings. Only `ProxyMiddleware` reads what a proxy says; one strict parser reads requests."""
    return uvicorn.Config(
        app,
        http=StrictProtocol,
        ws="none",
        proxy_headers=False,
        server_header=False,
        log_config=None,  # its own arrangement of loggers would keep the server's errors out of the log
        log_level="warning",
        access_log=False,
        timeout_graceful_shutdown=1,
    )


def _own_file(name: str, kind: str) -> Callable[[Request], Response]:
    def send(request: Request) -> Response:
        body = (ASSETS / name).read_bytes()
        if name == "page.js":  # it obeys only what carries this process's key
            body = body.replace(b"{{KEY}}", KEY.encode())
        return Response(body, media_type=kind, headers={"cache-control": "no-cache"})

    return send


def serve(
    lab: Lab,
    settings: Settings,
    sock: socket.socket,
    open_browser: bool = True,
    ready: Callable[[str], None] = print,
    ending: Shutdown | None = None,
) -> None:
    """Serve on `sock` until `ending` is asked. The model is opened once the page can be had; `ready` is told where."""
    replies = Replies()

    def answered() -> None:
        ready(address(settings))
        lab.warm()
        if open_browser:
            threading.Thread(target=webbrowser.open, args=(address(settings),), daemon=True).start()

    server = Server(http(web(lab, settings, replies)), answered, replies.close)
    if ending is not None:
        ending.stops(server.stop)
    server.run(sockets=[sock])
