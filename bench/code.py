"""The checks of a training set on answers that are code: what they find in whole pieces, and in some that are cut.

`python -m bench.code [--seed N] [--pieces N] [--show KIND]`. Pieces are functions, rules and files of the packages that
are installed: Python, JavaScript, C, CSS, shell, JSON, TOML, YAML and more; bare, in a fence, or in a fence between
sentences. Nothing in them is cut, speaks for another or is in another language, so that findings of these kinds are
wrong unless a piece says otherwise; each is shown, to be read.
"""

from __future__ import annotations

import argparse
import ast
import random
import re
import sys
import sysconfig
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from chatlab.quality import Finding, check
from chatlab.quality.findings import counts
from chatlab.records import Demonstration, Message

ENDINGS = {
    ".py": "python",
    ".pyi": "python",
    ".js": "javascript",
    ".ts": "typescript",
    ".c": "c",
    ".h": "c",
    ".hpp": "cpp",
    ".cu": "cuda",
    ".cuh": "cuda",
    ".pyx": "cython",
    ".css": "css",
    ".sh": "bash",
    ".json": "json",
    ".toml": "toml",
    ".yaml": "yaml",
    ".yml": "yaml",
    ".cmake": "cmake",
    ".f90": "fortran",
    ".html": "html",
    ".jinja": "jinja",
    ".ini": "ini",
    ".cfg": "ini",
    ".sql": "sql",
}
SHORTEST, LONGEST = 60, 2500
"""Characters of a piece."""
FILES = 400
"""Files of one language that are opened."""
SHARE = 0.35
"""Of the pieces, how many are Python at most: most of what is installed is."""
CONTROL = ("<|user|>", "<|assistant|>", "<|end|>")
Row = tuple[int, Demonstration]


def pieces(seed: int, count: int, old: Collection[str] = ()) -> list[tuple[str, str, str]]:
    """(language, what it is, code), drawn by `seed` from what is installed."""
    rng = random.Random(seed)
    root = Path(sysconfig.get_paths()["purelib"])
    files: dict[str, list[Path]] = {}
    for file in sorted(root.rglob("*")):
        if (language := ENDINGS.get(file.suffix)) and file.is_file() and file.stat().st_size < 400_000:
            files.setdefault(language, []).append(file)
    found: dict[str, list[tuple[str, str, str]]] = {}
    for language, some in files.items():
        rng.shuffle(some)
        seen: dict[str, tuple[str, str, str]] = {}
        for file in some[: FILES * (4 if language == "python" else 1)]:
            own = [one for one in _pieces_of(file, language) if one[1] not in old]
            for what, code in rng.sample(own, min(len(own), 3)):
                seen.setdefault(re.sub(r"\W+", " ", code)[:200], (language, what, code))
        found[language] = list(seen.values())
    others = [one for language, some in found.items() if language != "python" for one in some]
    rng.shuffle(others)
    python = found.get("python", [])[: max(int(SHARE * count), count - len(others))]
    drawn = [*python, *others[: count - len(python)]]
    rng.shuffle(drawn)
    return drawn


def rows(seed: int, count: int, old: Collection[str] = ()) -> list[Row]:
    """As demonstrations, bare, in a fence, or in a fence beside sentences; none of the `old` pieces."""
    rng = random.Random(seed)
    made = []
    for number, (language, what, code) in enumerate(pieces(seed, count, old), 1):
        fenced = f"```{language}\n{code}\n```"
        answer = rng.choice(
            [code, fenced, f"Here is {what}:\n\n{fenced}\n\nCall it with your own values.", f"{fenced}\n\nThat is all."]
            if "```" not in code
            else [code]
        )
        asked = Message(role="user", content=f"Show me {what} in {language}.")
        made.append((number, Demonstration(messages=(asked, Message(role="assistant", content=answer)))))
    return made


def _pieces_of(file: Path, language: str) -> Iterator[tuple[str, str]]:
    """What a piece is, and its code."""
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return
    blocks = _functions(text) if language == "python" else _blocks(text, file)
    for what, code in blocks:
        if SHORTEST <= len(code.strip()) <= LONGEST and code.count("\n") >= 2:
            yield what, code.strip("\n")


def _functions(text: str) -> Iterator[tuple[str, str]]:
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError):
        return
    lines = text.split("\n")
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef):
            first = min([node.lineno, *(one.lineno for one in node.decorator_list)])
            told = (ast.get_docstring(node) or node.name).strip().split("\n")[0]
            code = lines[first - 1 : node.end_lineno]
            indent = len(code[0]) - len(code[0].lstrip())
            yield told.rstrip("."), "\n".join(line[indent:] if not line[:indent].strip() else line for line in code)


def _blocks(text: str, file: Path) -> Iterator[tuple[str, str]]:
    """A whole small file; of a large one what stands between empty lines, where its brackets are closed."""
    name = f"{file.parent.name}/{file.name}"
    if len(text) <= LONGEST:
        yield name, text
        return
    held: list[str] = []
    for block in re.split(r"\n[ \t]*\n", text):
        held.append(block)
        whole = "\n\n".join(held)
        if all(whole.count(a) == whole.count(b) for a, b in ("()", "[]", "{}")) and not whole.rstrip().endswith(","):
            yield f"{' '.join(whole.split()[:16])} of {name}", whole
            held = []
        elif len(whole) > LONGEST:
            held = []


def cut(found: Sequence[Row]) -> list[Row]:
    """The same with each tenth answer in a fence broken off within it."""
    made = []
    for number, row in found:
        answer = row.answer
        if number % 10 == 0 and answer.count("```") == 2:
            start, end = answer.index("\n", answer.index("```")), answer.rindex("```")
            answer = answer[: (start + end) // 2].rstrip()
        made.append((number, Demonstration(messages=(*row.messages[:-1], Message(role="assistant", content=answer)))))
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--new-to", type=int, nargs="*", default=[], help="seeds whose pieces are left out")
    parser.add_argument("--pieces", type=int, default=2000)
    parser.add_argument("--show", default="", help="print the findings of this kind, or `all`")
    parser.add_argument("--most", type=int, default=1000)
    given = parser.parse_args()
    old = {code for seed in given.new_to for _, _, code in pieces(seed, given.pieces)}
    whole = rows(given.seed, given.pieces, old)
    languages = Counter(
        demonstration.messages[0].content.rpartition(" in ")[2].strip(".") for _, demonstration in whole
    )
    print(f"{len(whole)} pieces:", ", ".join(f"{name} {n}" for name, n in languages.most_common()))
    found = check(whole, CONTROL)
    print("findings:", dict(counts(found)))
    broken = cut(whole)
    planted = {n for (n, a), (_, b) in zip(whole, broken, strict=True) if a.answer != b.answer}
    told = {one for each in check(broken, CONTROL) if each.kind == "truncated" for one in each.demonstrations}
    print(f"of {len(planted)} broken off in a fence, found: {len(planted & told)}; others told: {len(told - planted)}")
    if given.show:
        _show(dict(whole), [one for one in found if given.show in ("all", one.kind)], given.most)


def _show(of: dict[int, Demonstration], found: Sequence[Finding], most: int) -> None:
    random.Random(1).shuffle(chosen := list(found))
    for each in chosen[:most]:
        sys.stdout.write(f"\n==== {each.kind} {each.demonstrations[:4]}: {each.why}\n")
        for one in each.demonstrations[:2]:
            asked, answer = of[one].messages[0].content, of[one].answer
            sys.stdout.write(f"--- {asked[:150]}\n{answer[:300]}\n   [...]\n{answer[-160:]}\n")


if __name__ == "__main__":
    main()
