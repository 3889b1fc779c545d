"""The log in the state folder: limited in size, and silent about what anybody said."""

from __future__ import annotations

import io
import logging
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from chatlab.errors import ChatlabError, InputError
from chatlab.system.log import LARGEST, NAME, OLDER, Discreet, close_log, open_log

SECRET = "correct-horse-battery"


@pytest.fixture
def book(tmp_path: Path) -> Iterator[logging.Handler]:
    before = logging.getLogger("chatlab").level
    book = open_log(tmp_path / "log")
    assert book is not None
    yield book
    close_log(book)
    logging.getLogger("chatlab").setLevel(before)


def text(tmp_path: Path) -> str:
    return (tmp_path / "log" / NAME).read_text(encoding="utf-8")


def test_numbers_and_our_own_words_are_kept_and_what_was_put_in_is_not(book: logging.Handler, tmp_path: Path) -> None:
    log = logging.getLogger("chatlab.lab")
    log.warning("The unseen prompts could not be asked: %s %s", InputError(SECRET), SECRET)
    log.info("Opened on port %d at %5.2f %%", 7860, 3.25)
    said = text(tmp_path)
    assert "The unseen prompts could not be asked: <InputError> ..." in said
    assert "Opened on port 7860 at 3.25 %" in said and SECRET not in said


def test_an_error_is_told_by_its_class_and_its_way_and_not_by_its_words(book: logging.Handler, tmp_path: Path) -> None:
    def asked(words: str) -> None:
        raise ValueError(words)

    try:
        try:
            asked(SECRET)
        except ValueError as error:
            raise ChatlabError(SECRET) from error
    except ChatlabError:
        logging.getLogger("chatlab.ui").exception("A handler failed")
    said = text(tmp_path)
    assert "ChatlabError (a known error)" in said and "ValueError (a bug or the system)" in said
    assert "test_log.py" in said and "asked" in said and SECRET not in said


def test_the_terminal_shows_no_more_of_what_was_said_than_the_log() -> None:
    terminal = io.StringIO()
    handler = logging.StreamHandler(terminal)
    handler.setFormatter(Discreet("%(levelname)s %(name)s: %(message)s"))
    for name in ("chatlab.ui", "asyncio", "uvicorn.error"):
        log = logging.getLogger(f"{name}.test_terminal")
        log.addHandler(handler)
        log.propagate = False
        try:
            raise ValueError(SECRET)
        except ValueError:
            log.exception("Failed with %s", SECRET, stack_info=True)
    assert terminal.getvalue().count("ValueError (a bug or the system)") == 3 and SECRET not in terminal.getvalue()


def test_of_others_sentences_only_the_place_is_kept(book: logging.Handler, tmp_path: Path) -> None:
    logging.getLogger("uvicorn.error").error(f"GET /?c=1&said={SECRET} failed")
    assert "uvicorn.error: test_log.py, line" in text(tmp_path) and SECRET not in text(tmp_path)


def test_the_log_stays_small_and_is_for_its_owner_alone(book: logging.Handler, tmp_path: Path) -> None:
    for _ in range((OLDER + 3) * LARGEST // 10_000):
        book.handle(logging.LogRecord("chatlab.lab", logging.INFO, __file__, 1, "x" * 10_000, (), None))
    files = list((tmp_path / "log").iterdir())
    assert len(files) == OLDER + 1
    assert sum(file.stat().st_size for file in files) <= (OLDER + 1) * LARGEST
    assert all(stat.S_IMODE(file.stat().st_mode) == 0o600 for file in files)


def test_a_log_that_cannot_be_written_is_no_reason_not_to_start(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("a file where the folder should be")
    assert open_log(tmp_path / "log") is None
