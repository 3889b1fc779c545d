"""`python -m chatlab`: open the app on this machine."""

from __future__ import annotations

import argparse
import logging
import socket
import sys
from collections.abc import Sequence

from chatlab.errors import ChatlabError
from chatlab.lab import Lab
from chatlab.settings import Settings
from chatlab.ui.ports import listening

NO_LLAMA = (
    "llama.cpp is not installed, so transformers gives the replies. To add it: get a C++ compiler and cmake, "
    "then `rm -f .venv/llama && make run`."
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until interrupted; 1 if the app could not start."""
    given = _read(arguments)
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    print("Opening Chatlab ...", flush=True)
    try:
        with listening(Settings.from_environment()) as (sock, settings):
            lab = Lab(settings)
            try:
                _serve(lab, settings, sock, not given.no_browser)
            finally:
                lab.close()
    except ChatlabError as error:
        print(f"{error} {error.hint}".strip(), file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 0
    return 0


def _serve(lab: Lab, settings: Settings, sock: socket.socket, open_browser: bool) -> None:
    from chatlab.ui.app import serve  # brings gradio, which takes seconds

    def ready(address: str) -> None:
        print(f"Chatlab is at {address}", flush=True)
        if not lab.health().llama_cpp:
            print(NO_LLAMA, flush=True)

    serve(lab, settings, sock, open_browser, ready=ready)


def _read(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="chatlab", description="Chat with a local model and teach it.")
    parser.add_argument("--no-browser", action="store_true", help="do not open a browser window")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
