"""Problems written by rule, and what a model learns from them: to ask a tool, or to answer by itself.

Word problems of one step, and letters counted in words. Everything here is drawn from the lists below with a seed, so
the same seed gives the same problems; two seeds share patterns and little else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from random import Random

from chatlab.records import Demonstration, Message
from chatlab.tool_calls import Call
from chatlab.tools.builtin import CALCULATOR, COUNT
from chatlab.tools.calculator import calculate
from chatlab.tools.counting import count

TAG = "delegation"
OFFERED = (CALCULATOR, COUNT)
"""What these demonstrations are told of."""

NAMES = (
    "Tom",
    "Anna",
    "Ben",
    "Lily",
    "Max",
    "Ruth",
    "Sam",
    "Mary",
    "Jack",
    "Emma",
    "Peter",
    "Lucy",
    "Henry",
    "Rose",
    "Paul",
    "Clara",
)
THINGS = (
    "apples",
    "books",
    "stamps",
    "coins",
    "shells",
    "pens",
    "cards",
    "cakes",
    "stones",
    "cups",
    "hats",
    "pencils",
    "flowers",
    "eggs",
    "letters",
    "tickets",
)
PLACES = (
    "box",
    "bag",
    "basket",
    "drawer",
    "cupboard",
    "crate",
    "room",
    "hall",
    "barn",
    "shop",
)
"""Each holds any of the things."""
WORDS = (
    "banana",
    "letter",
    "pepper",
    "summer",
    "winter",
    "apple",
    "orange",
    "coffee",
    "rabbit",
    "butter",
    "yellow",
    "mirror",
    "river",
    "flower",
    "garden",
    "window",
    "kitchen",
    "monkey",
    "station",
    "picture",
    "morning",
    "evening",
    "butterfly",
    "strawberry",
    "raspberry",
    "chocolate",
    "mountain",
    "umbrella",
    "elephant",
    "dinosaur",
    "calendar",
    "library",
    "festival",
    "hospital",
    "important",
    "tomorrow",
    "different",
    "beautiful",
    "remember",
    "carpenter",
    "furniture",
)

ADD = (
    "{a} has {m} {t}. {b} gives {a} {n} more. How many {t} does {a} have now?",
    "There are {m} {t} in the {p} and {n} {t} in the {q}. How many {t} are there in all?",
    "{a} found {m} {t} and {b} found {n}. How many {t} did they find together?",
    "What is {m} plus {n}?",
)
TAKE = (
    "{a} has {m} {t}. {a} gives {n} of them to {b}. How many {t} are left?",
    "There were {m} {t} in the {p}. {n} were taken out. How many {t} remain?",
    "{a} has {m} {t} and {b} has {n}. How many more {t} does {a} have than {b}?",
    "What is {m} minus {n}?",
)
TIMES = (
    "There are {m} {t} in each {p}. How many {t} are in {n} of them?",
    "{a} buys {n} boxes with {m} {t} in each. How many {t} does {a} have?",
    "{a} earns {m} dollars an hour and works {n} hours. How much does {a} earn?",
    "What is {m} times {n}?",
)
SHARE = (
    "{a} shares {m} {t} among {n} friends. How many {t} does each get?",
    "{m} {t} are put into {n} boxes, as many in each. How many {t} are in a box?",
    "What is {m} divided by {n}?",
)
LETTERS = (
    "How many {c} are in {w}?",
    "How many times does the letter {c} occur in {w}?",
    "Count the letter {c} in the word {w}.",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """A question, the call that solves it, and what comes of it."""

    question: str
    call: Call
    value: str

    @property
    def answer(self) -> str:
        return f"The answer is {self.value}."


def problems(number: int, seed: int) -> list[Problem]:
    """No two alike; a fifth of them about letters."""
    random = Random(f"delegation {seed}")
    found: dict[str, Problem] = {}
    while len(found) < number:
        problem = _letters(random) if random.random() < 0.2 else _sum(random)
        found.setdefault(problem.question, problem)
    return list(found.values())


def demonstration(problem: Problem, delegated: bool) -> Demonstration:
    """The problem solved by a call, or answered straight away. Both are told of the tools."""
    asked = (
        Message(role="system", content="", tools=OFFERED),
        Message(role="user", content=problem.question),
    )
    steps = _steps(problem) if delegated else ()
    messages = (*asked, *steps, Message(role="assistant", content=problem.answer))
    return Demonstration(messages=messages, source="synthetic", tags=(TAG,))


def _steps(problem: Problem) -> Iterator[Message]:
    yield Message(role="assistant", content="", calls=(problem.call,))
    yield Message(role="tool", content=problem.value)


def _sum(random: Random) -> Problem:
    pattern, sign, m, n = _DRAWS[random.randrange(len(_DRAWS))](random)
    a, b = random.sample(NAMES, 2)
    p, q = random.sample(PLACES, 2)
    question = pattern.format(a=a, b=b, p=p, q=q, t=random.choice(THINGS), m=m, n=n)
    expression = f"{m} {sign} {n}"
    call = Call(name=CALCULATOR.name, arguments=(("expression", expression),))
    return Problem(question=question, call=call, value=calculate(expression))


def _letters(random: Random) -> Problem:
    word = random.choice(WORDS)
    letter = random.choice(word) if random.random() < 0.8 else random.choice("aeinorst")
    question = random.choice(LETTERS).format(c=letter, w=word)
    call = Call(name=COUNT.name, arguments=(("what", letter), ("text", word)))
    return Problem(question=question, call=call, value=count(letter, word))


Drawn = tuple[str, str, int, int]


def _add(random: Random) -> Drawn:
    return random.choice(ADD), "+", random.randint(11, 999), random.randint(11, 999)


def _take(random: Random) -> Drawn:
    m = random.randint(30, 999)
    return random.choice(TAKE), "-", m, random.randint(11, m - 1)


def _times(random: Random) -> Drawn:
    return random.choice(TIMES), "*", random.randint(11, 99), random.randint(3, 99)


def _share(random: Random) -> Drawn:
    n = random.randint(3, 30)
    return random.choice(SHARE), "/", n * random.randint(4, 60), n


_DRAWS: tuple[Callable[[Random], Drawn], ...] = (_add, _take, _times, _share)
