"""Guessing passwords: slow for a name at a place, for a place, and for a name from everywhere; nobody is locked out."""

from __future__ import annotations

import base64
import json
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest

from chatlab.web.guard.basic_auth import FREE, BasicAuth
from chatlab.web.guard.guesses import NAME_BURST, NAME_REFILL, PLACE_BURST, PLACE_REFILL, PLACES, place_of

ANNA, BEN = ("anna", "anna's long password"), ("ben", "ben's long pass:word")
DAY = 24 * 3600


class Clock:
    """Time that passes when a test says so."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def basic(name: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def gate(clock: Clock) -> BasicAuth:
    return BasicAuth([ANNA, BEN], clock=clock)


def heard(gate: BasicAuth, name: str, places: Iterator[str], clock: Clock, seconds: float = DAY) -> int:
    """Wrong answers for `name` that are heard until the clock says `seconds`, each from the next place."""
    count = 0
    for place in places:
        if clock.now >= seconds:
            break
        answer = gate.ask(basic(name, f"guess {count}"), place)
        clock.now += answer.wait
        count += not answer.wait
    return count


def test_a_right_password_forgets_nobody_elses_wrong_ones(shared_data: Path, gate: BasicAuth) -> None:
    case = json.loads((shared_data.parent / "cases/attacks/requests/own_password_between_guesses.json").read_text())
    wrong = [ask for _ in range(case["repeat"]) for ask in case["asks"] if ask.endswith(":wrong")]
    listened = 0
    for _ in range(case["repeat"]):
        for ask in case["asks"]:
            name, _, password = ask.partition(":")
            said = basic(name, password) if password == "wrong" else basic(*BEN)
            answer = gate.ask(said, "10.0.0.1")
            listened += password == "wrong" and not answer.wait
            assert password == "wrong" or answer.name == "ben", "ben comes in all the while"
    assert len(wrong) == 200 and listened == FREE


def test_one_s_own_right_password_forgets_one_s_own_mistakes(gate: BasicAuth) -> None:
    for _ in range(10):
        for _ in range(FREE - 1):
            assert not gate.ask(basic("anna", "mistyped"), "10.0.0.1").name
        assert gate.ask(basic(*ANNA), "10.0.0.1").name == "anna"


def test_many_names_tried_from_one_place_are_slow_too(gate: BasicAuth, clock: Clock) -> None:
    count = 0
    while clock.now < DAY:
        answer = gate.ask(basic(f"name{count}", "password1"), "10.0.0.1")
        clock.now += answer.wait
        count += not answer.wait
    assert count <= PLACE_BURST + DAY / PLACE_REFILL + 1


def test_who_signed_in_at_a_place_does_not_wait_for_others_there_who_guess(gate: BasicAuth) -> None:
    assert gate.ask(basic(*BEN), "10.0.0.1").name == "ben"
    for number in range(100):
        gate.ask(basic(f"name{number}", "password1"), "10.0.0.1")
    assert gate.ask(basic(*ANNA), "10.0.0.1").wait > 0, "nobody knows her here"
    assert gate.ask(basic(*BEN), "10.0.0.1").name == "ben"


def test_one_name_guessed_from_many_places_is_slow_too(gate: BasicAuth, clock: Clock) -> None:
    places = (f"10.{n >> 16 & 255}.{n >> 8 & 255}.{n & 255}" for n in range(2**24))
    assert heard(gate, "anna", places, clock) <= NAME_BURST + DAY / NAME_REFILL + 1


def test_an_attack_from_everywhere_locks_nobody_out_where_they_signed_in_before(gate: BasicAuth) -> None:
    assert gate.ask(basic(*ANNA), "192.168.1.7").name == "anna"
    for number in range(5_000):
        gate.ask(basic("anna", f"guess {number}"), f"10.1.{number >> 8}.{number & 255}")
        if number % 100 == 0:
            assert gate.ask(basic(*ANNA), "192.168.1.7").name == "anna"
            assert gate.ask(basic(*BEN), "192.168.1.8").name == "ben"


def test_at_a_new_place_one_gets_in_while_a_thousand_places_guess_on(gate: BasicAuth, clock: Clock) -> None:
    """They have used up what was heard of places that never guessed; their further guesses do not count against it."""
    for number in range(1_000):
        gate.ask(basic("anna", "guess"), f"10.1.{number >> 8}.{number & 255}")
    waits = gate.ask(basic(*ANNA), "192.168.1.7").wait
    assert 0 < waits <= NAME_REFILL
    clock.now += waits
    assert gate.ask(basic(*ANNA), "192.168.1.7").name == "anna"


def test_a_name_that_nobody_has_is_treated_like_any_other(clock: Clock) -> None:
    gates = [BasicAuth([ANNA, BEN], clock=clock) for _ in range(2)]
    places = [f"10.0.{n % 7}.{n % 3}" for n in range(300)]
    answers = []
    for gate, name in zip(gates, ("anna", "nobody"), strict=True):
        clock.now = 0.0
        told = []
        for place in places:
            told.append(gate.ask(basic(name, "guess"), place))
            clock.now += 0.5
        answers.append(told)
    assert answers[0] == answers[1]


def test_what_is_remembered_is_bounded(gate: BasicAuth) -> None:
    tracemalloc.start()
    for number in range(3 * PLACES):
        gate.ask(basic(f"name{number}", "guess"), f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}")
        if number == PLACES:
            before = tracemalloc.get_traced_memory()[0]
    after = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert after < before + 4 * 2**20


@pytest.mark.parametrize(
    ("peer", "place"),
    [
        ("10.0.0.1", "10.0.0.1"),
        ("2001:db8::1", "2001:db8::/64"),
        ("2001:db8:0:0:ffff::1", "2001:db8::/64"),
        ("::ffff:10.0.0.1", "10.0.0.1"),
        ("no address", "no address"),
        ("", ""),
    ],
)
def test_a_place_is_an_address_or_one_customers_network(peer: str, place: str) -> None:
    assert place_of(peer) == place
