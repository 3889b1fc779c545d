"""A file with two hundred people's passwords: what is read, what is refused in words, and how quick a request stays."""

from __future__ import annotations

import base64
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from chatlab.__main__ import main
from chatlab.errors import InputError
from chatlab.web.guard.basic_auth import BasicAuth
from chatlab.web.guard.guesses import FREE
from chatlab.web.guard.passwords import HASHED, ScryptHash, password_line, people, read_people
from tests.support.served import ROOT

PASSWORD = "correct horse: battery"


def basic(name: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()


def written(folder: Path, content: str | bytes, mode: int = 0o600) -> Path:
    path = folder / "people"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    path.chmod(mode)
    return path


def test_two_hundred_people_each_come_in_with_their_own_password_alone(tmp_path: Path) -> None:
    lines = [f"name{n}:the password of {n}" for n in range(200)]
    gate = BasicAuth(read_people(written(tmp_path, "\n".join(lines))))
    for n in range(200):
        assert gate.ask(basic(f"name{n}", f"the password of {n}"), f"10.0.0.{n}").name == f"name{n}"
        assert not gate.ask(basic(f"name{n}", f"the password of {n + 1}"), f"10.0.1.{n}").name


def test_empty_lines_comments_windows_lines_and_a_byte_order_mark_are_no_people(tmp_path: Path) -> None:
    path = written(
        tmp_path, b"\xef\xbb\xbf# people\r\n\r\n anna:long password \r\n\t\r\nben:pass:word:x\r\n#x:yyyyyyyyyy\r\n"
    )
    assert read_people(path) == (("anna", "long password"), ("ben", "pass:word:x"))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"# nobody\n\n",
        b"anna\n",
        b"anna:short\n",
        b":a long password\n",
        b"anna:a long password\nanna:another password\n",
        b"an\x07na:a long password\n",
        b"x" * 65 + b":a long password\n",
        b"\x00\x01\x02" * 100,
        b"\xff\xfea\x00n\x00n\x00a\x00",
        b"PK\x03\x04" + bytes(range(256)),
        b"anna:$scrypt$\n",
        b"anna:$scrypt$ln=40,r=8,p=1$c2FsdHNhbHRzYWx0$a2V5a2V5a2V5a2V5a2V5a2V5\n",
        b"anna:$scrypt$ln=20,r=16,p=4$c2FsdHNhbHRzYWx0$a2V5a2V5a2V5a2V5a2V5a2V5\n",
        b"anna:$scrypt$ln=15,r=8,p=1$!$!\n",
        b"anna:$scrypt$ln=x,r=8,p=1$c2FsdHNhbHRzYWx0$a2V5a2V5a2V5a2V5a2V5a2V5\n",
    ],
)
def test_a_file_that_is_none_is_refused_in_words_that_quote_no_password(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(InputError) as refused:
        read_people(written(tmp_path, content))
    assert refused.value.hint and "a long password" not in str(refused.value) + refused.value.hint


@pytest.mark.skipif(os.name != "posix", reason="needs POSIX modes and pipes")
def test_a_file_that_others_may_read_a_folder_a_pipe_and_nothing_are_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe", 0o600)
    path = written(tmp_path, "anna:a long password")
    assert read_people(path)
    for mode in (0o640, 0o604, 0o620, 0o601):
        path.chmod(mode)
        with pytest.raises(InputError, match="Others may read"):
            read_people(path)
    for path in (tmp_path, tmp_path / "pipe", tmp_path / "nothing", Path("/dev/zero"), Path("/dev/null")):
        with pytest.raises(InputError) as refused:
            read_people(path)
        assert refused.value.hint


def test_a_hundred_thousand_people_are_read_at_once_and_asked_as_quickly_as_two(tmp_path: Path) -> None:
    many = read_people(written(tmp_path, "\n".join(f"name{n}:the password of {n}" for n in range(100_000))))
    gate = BasicAuth(many)
    began = time.process_time()
    for n in range(200):
        assert gate.ask(basic(f"name{n * 499}", f"the password of {n * 499}"), "10.0.0.1").name
    assert time.process_time() - began < 1, "each looks at one person, not at all"


def test_a_hash_stands_for_its_password_and_for_no_other(tmp_path: Path) -> None:
    line = password_line("anna", PASSWORD)
    assert PASSWORD not in line and password_line("anna", PASSWORD) != line, "salted"
    gate = BasicAuth(read_people(written(tmp_path, f"{line}\nben:a plain password\n")))
    assert not gate.ask(basic("anna", line.removeprefix("anna:")), "10.0.0.1").name, "the hash is no password"
    assert not gate.ask(basic("anna", PASSWORD + "x"), "10.0.0.1").name
    assert gate.ask(basic("anna", PASSWORD), "10.0.0.1").name == "anna"
    assert gate.ask(basic("ben", "a plain password"), "10.0.0.1").name == "ben"


def test_once_found_right_a_hash_is_not_computed_again(tmp_path: Path) -> None:
    gate = BasicAuth(read_people(written(tmp_path, password_line("anna", PASSWORD))))
    said = basic("anna", PASSWORD)
    assert gate.is_slow(said) and gate.ask(said, "10.0.0.1").name == "anna" and not gate.is_slow(said)
    began = time.process_time()
    for _ in range(1_000):
        assert gate.ask(said, "10.0.0.1").name == "anna"
    assert time.process_time() - began < 1
    assert gate.is_slow(basic("anna", PASSWORD + "x")) and gate.is_slow(basic("nobody", PASSWORD)), (
        "alike for all names"
    )


def test_guesses_that_come_together_count_one_after_another(tmp_path: Path) -> None:
    gate = BasicAuth([("anna", str(ScryptHash.of(PASSWORD)))])
    answers = []
    threads = [
        threading.Thread(target=lambda n=n: answers.append(gate.ask(basic("anna", f"guess {n}"), "10.0.0.1")))
        for n in range(12)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(not answer.wait for answer in answers) == FREE


def test_passwd_prints_a_line_that_opens_the_door(tmp_path: Path) -> None:
    run = subprocess.run(
        [sys.executable, "-m", "chatlab", "passwd", "anna"],
        cwd=ROOT,
        input=f"{PASSWORD}\n",
        text=True,
        capture_output=True,
        timeout=120,
    )
    assert run.returncode == 0 and run.stdout.startswith(f"anna:{HASHED}") and PASSWORD not in run.stdout + run.stderr
    assert BasicAuth(read_people(written(tmp_path, run.stdout))).ask(basic("anna", PASSWORD), "10.0.0.1").name == "anna"


@pytest.mark.parametrize(
    ("name", "password"), [("anna", "short"), ("an:na", PASSWORD), ("", PASSWORD), ("anna", HASHED * 2)]
)
def test_passwd_refuses_what_could_not_be_used(name: str, password: str) -> None:
    with pytest.raises(InputError):
        password_line(name, password)


def test_the_command_line_refuses_a_file_in_words(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--no-browser", "--auth-file", str(written(tmp_path, "anna:a long password\nben"))]) == 1
    told = capsys.readouterr().err
    assert "Line 2" in told and "a long password" not in told
    path = written(tmp_path, "anna:a long password\n")
    assert main(["--no-browser", "--auth", "anna:another password", "--auth-file", str(path)]) == 1
    assert "the name anna" in capsys.readouterr().err


def test_people_may_be_given_as_hashes_anywhere() -> None:
    line = password_line("anna", PASSWORD)
    assert BasicAuth(people([line])).ask(basic("anna", PASSWORD), "10.0.0.1").name == "anna"
