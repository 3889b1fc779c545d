"""`python -m chatlab`: open the app on this machine. `python -m chatlab report`: measure what the guide claims."""

from __future__ import annotations

import argparse
import logging
import socket
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from chatlab.errors import ChatlabError
from chatlab.lab import Lab
from chatlab.settings import Settings
from chatlab.ui.ports import listening

NO_LLAMA = (
    "llama.cpp is not installed, so transformers gives the replies. To add it: get a C++ compiler and cmake, "
    "then `rm -f .venv/llama && make run`."
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until interrupted, or do what else was asked; 1 if that could not be done."""
    given = _read(arguments)
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    return _report(given) if given.what == "report" else _open(given)


def _open(given: argparse.Namespace) -> int:
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


def _report(given: argparse.Namespace) -> int:
    from chatlab.evaluation.report.report import Wish, report
    from chatlab.evaluation.report.scale import QUICK, Scale

    seeds = {"seeds": given.seeds} if given.seeds else {}
    try:
        settings = Settings.from_environment()
        wish = Wish(
            folder=(given.out or settings.home / "report").expanduser().resolve(),
            scale=replace(QUICK if given.quick else Scale(), **seeds), only=tuple(given.only), workers=given.workers,
        )  # fmt: skip
        print(f"The report is at {report(wish, settings)}", flush=True)
    except ChatlabError as error:
        print(f"{error} {error.hint}".strip(), file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nStopped. What is finished is kept; the same command goes on from there.", file=sys.stderr)
        return 130
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
    also = parser.add_subparsers(dest="what", metavar="{report}")
    report = also.add_parser("report", help="measure the guide's claims on this base and write a page about them")
    report.add_argument("--quick", action="store_true", help="one seed and the smallest sizes: a first look")
    report.add_argument("--only", action="append", default=[], metavar="CLAIM", help="one claim; may be repeated")
    report.add_argument("--seeds", type=_positive, metavar="N", help="runs of each kind (3)")
    report.add_argument("--out", type=Path, metavar="FOLDER", help="where to (report/ in Chatlab's home)")
    report.add_argument("--workers", type=int, choices=(1, 2, 3, 4), default=0, help="processes (up to two)")
    return parser.parse_args(arguments)


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("at least 1")
    return number


if __name__ == "__main__":
    sys.exit(main())
