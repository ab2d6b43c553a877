"""20,000 damaged configs: each is read, or refused by ConfigError with file, line and column, fast, in little memory.

The inputs are the shipped configs, whole and in small parts, after one to six mutations of bytes, words, lines and
structure. They go the way of every config: a file, then `Pipeline.from_yaml`. That warnings fail tests holds here too.
"""

from __future__ import annotations

import re
import time
import tracemalloc
from collections import Counter
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import TypeAlias

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nbarec.errors import ConfigError
from nbarec.pipeline import Pipeline

CONFIGS = sorted((Path(__file__).parents[2] / "configs").glob("*.yaml"))
INPUTS, EXAMPLES = 20_000, 660  # in all; of each config, with four inputs on average
SECONDS, BYTES = 0.1, 100 * 2**20
LARGEST = 8_192  # three times the largest shipped config: the time of reading grows with the size

Mutation: TypeAlias = Callable[[bytes, int, int], bytes]

SIGNS = tuple("{}[],:-?#&*!|>'\"%@`\\$=<~./() \t\r\n\0\x7f\x1b")
YAML = """*a|&a |*similar|&similar |!!python/object:os.system |!!str |! |!<tag:x> |<<: *a\n|<<: {}\n|%YAML 1.1\n
|%YAML 9.9\n|---\n|...\n|: |- |? |? [a]\n: |{a: |[[|}}|]]|\n\n|''|\"\"|'''|"\\x41"|"\\ud800"|"\\UFFFFFFFF"|# x\n
|\n  |\n\t|\r\n|${|${X}|$${|${X:-1}|${X:-|${1}"""
VALUES = """null ~ true yes off 0 -1 012 0x1F 0b1 1e5 1.0e+400 1.5e3 1_000 .inf -.NaN 1:30 9223372036854775808 -0.0
2025-13-45 latest 5GB 1GiB 30d 0d -1d 1y ndcg@0 ndcg@10 @ als nbarec/als /als als/ x/als item_cf use id with k data
candidates rank evaluate variants slate.k filters. .. user.events now == in"""
LETTERS = tuple("\ufeff\u0085\u2028\u200b\u202e\u00a0\u00e9\u0130\U0001f600\uffff\u0660\u212a")
LARGE = [
    *(
        sign * count
        for sign in ("[", "{a: ", "- ", "? ", "(", "not ", "*a ", "'", "\n", " ", "9")
        for count in (31, 700)
    ),
    "a" * 8_000,
    "'" + "a" * 8_000 + "'",
    "9" * 8_000,
    "1.5" + "0" * 5_000,
    "9" * 5_000 + "GiB",
    "ndcg@" + "9" * 5_000,
    "9" * 400 + "d",
    "1 + " * 1_500 + "1",
    ", ".join(f"a{number}: {number}" for number in range(300)),
    "\n".join(f"k{number}: 1" for number in range(100)) + "\n",
    "b: [&x [1, 1, 1, 1], &y [*x, *x, *x, *x], &z [*y, *y, *y, *y], *z, *z]\n",
    "\n".join(["b: &b0 [x]", *(f"b{at}: &b{at} [{', '.join([f'*b{at - 1}'] * 9)}]" for at in range(1, 9))]) + "\n",
]
BROKEN = [b"\xff", b"\xc3", b"\xed\xa0\x80", b"\xf0\x9f", b"\xff\xfe", b"\x00\x01", b"\xef\xbb\xbf"]
TOKENS = [text.encode() for text in (*SIGNS, *YAML.split("|"), *VALUES.split(), *LETTERS, *LARGE)] + BROKEN
WORD = re.compile(rb"[\w.@${}-]+")
LINE_BREAK = re.compile("\r\n|[\n\r\x85\u2028\u2029]")


def flip_bit(text: bytes, at: int, number: int) -> bytes:
    at %= len(text)
    return text[:at] + bytes([text[at] ^ (1 << number % 8)]) + text[at + 1 :]


def cut_out(text: bytes, at: int, number: int) -> bytes:
    at %= len(text)
    return text[:at] + text[at + 1 + number % 40 :]


def cut_off(text: bytes, at: int, number: int) -> bytes:
    return text[: at % len(text)]


def insert(text: bytes, at: int, number: int) -> bytes:
    at %= len(text)
    return text[:at] + TOKENS[number % len(TOKENS)] + text[at:]


def replace_word(text: bytes, at: int, number: int) -> bytes:
    return _with_word(text, at, TOKENS[number % len(TOKENS)])


def copy_word(text: bytes, at: int, number: int) -> bytes:
    words = WORD.findall(text) or [b""]
    return _with_word(text, at, words[number % len(words)])


def nest_word(text: bytes, at: int, number: int) -> bytes:
    """A value, wrapped: sometimes within what is allowed, sometimes beyond."""
    opening, closing = ((b"[", b"]"), (b"{a: ", b"}"), (b"(", b")"), (b"&a [", b", *a]"))[number % 4]
    words = WORD.findall(text) or [b""]
    depth = number // 4 % 70
    return _with_word(text, at, opening * depth + words[at % len(words)] + closing * depth)


def _with_word(text: bytes, at: int, word: bytes) -> bytes:
    found = list(WORD.finditer(text))
    if not found:
        return word
    old = found[at % len(found)]
    return text[: old.start()] + word + text[old.end() :]


def delete_line(text: bytes, at: int, number: int) -> bytes:
    return _with_lines(text, at, lambda line: [])


def double_line(text: bytes, at: int, number: int) -> bytes:
    return _with_lines(text, at, lambda line: [line] * (2 + number % 20))


def indent_line(text: bytes, at: int, number: int) -> bytes:
    return _with_lines(text, at, lambda line: [b" " * (number % 9) + (line.lstrip() if number % 2 else line)])


def _with_lines(text: bytes, at: int, change: Callable[[bytes], list[bytes]]) -> bytes:
    lines = text.splitlines(keepends=True)
    at %= len(lines)
    return b"".join([*lines[:at], *change(lines[at]), *lines[at + 1 :]])


def swap_lines(text: bytes, at: int, number: int) -> bytes:
    lines = text.splitlines(keepends=True)
    one, other = at % len(lines), number % len(lines)
    lines[one], lines[other] = lines[other], lines[one]
    return b"".join(lines)


MUTATIONS: list[Mutation] = [
    *(flip_bit, cut_out, cut_off, insert, replace_word, copy_word, nest_word),
    *(delete_line, double_line, indent_line, swap_lines),
]
mutations = st.lists(st.tuples(st.sampled_from(MUTATIONS), st.integers(0, 2**32 - 1)), min_size=2, max_size=6)


def parts(text: str) -> Iterator[bytes]:
    """The config whole; and each entry of its lists and each of its sections, with no more than makes it a config."""
    yield text.encode()
    sections = [section for section in re.split(r"^(?=[a-z])", text, flags=re.MULTILINE) if section[0] != "#"]
    for section in sections:
        name = section.partition(":")[0]
        heading, *entries = re.split(r"^(?=  - )", section, flags=re.MULTILINE)
        for part in [heading + entry for entry in entries] or [section]:
            others = {
                "nbarec": "nbarec: 1\n",
                "data": "data: {use: music_world}\n",
                "candidates": "candidates: [{use: als}]\n",
            }
            yield "".join([*(line for other, line in others.items() if other != name), part]).encode()


@cache
def bases(path: Path) -> list[bytes]:
    return list(parts(path.read_text("utf-8")))


def mutated(text: bytes, changes: list[tuple[Mutation, int]]) -> Iterator[bytes]:
    """The text after the first mutation, after the second, and so on."""
    for mutation, numbers in changes:
        text = mutation(text, *divmod(numbers, 2**16))[:LARGEST] or b"\n"
        yield text


def outcome(path: Path) -> str:
    """What became of the config: read, or refused with a place for each problem. Any other error fails the test."""
    try:
        Pipeline.from_yaml(path)
    except ConfigError as error:
        problems = error.problems
    else:
        return "read"
    assert problems
    lines = len(LINE_BREAK.findall(path.read_bytes().decode("utf-8", "replace"))) + 2
    for problem in problems:
        assert problem.mark, problem
        assert problem.mark.source == str(path), problem
        assert 1 <= problem.mark.line <= lines, problem
        assert problem.mark.column >= 1
        assert problem.message
    return "refused"


def seconds(path: Path) -> tuple[str, float]:
    """What became of the config, and how long this took: the least of three times where the first is too long, as it
    may be where garbage is collected just then."""
    taken = [SECONDS]
    while taken[-1] >= SECONDS and len(taken) < 4:
        start = time.process_time()
        found = outcome(path)
        taken.append(time.process_time() - start)
    return found, taken[-1]


@pytest.mark.parametrize("config", CONFIGS, ids=lambda path: path.stem)
def test_a_damaged_config_is_read_or_refused_with_its_place(config: Path, tmp_path: Path) -> None:
    seen: Counter[str] = Counter()
    path = tmp_path / "damaged.yaml"
    assert outcome(config) == "read"

    @settings(max_examples=EXAMPLES, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(st.sampled_from(bases(config)), mutations)
    def read(text: bytes, changes: list[tuple[Mutation, int]]) -> None:
        for damaged in mutated(text, changes):
            path.write_bytes(damaged)
            found, taken = seconds(path)
            seen[found] += 1
            assert taken < SECONDS

    read()
    assert seen.total() >= INPUTS / len(CONFIGS)
    assert seen["refused"] > 500
    assert seen["read"] > 50


def memory(path: Path) -> int:
    """The most memory that reading a config took, in bytes."""
    tracemalloc.start()
    try:
        outcome(path)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@settings(max_examples=100, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(config=st.sampled_from(CONFIGS), data=st.data())
def test_a_damaged_config_takes_little_memory(
    config: Path, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """A sample, because memory is slow to trace."""
    path = tmp_path_factory.getbasetemp() / "traced.yaml"
    *_, damaged = mutated(data.draw(st.sampled_from(bases(config))), data.draw(mutations))
    path.write_bytes(damaged)
    assert memory(path) < BYTES


HEAD = "nbarec: 1\ndata: {use: music_world}\ncandidates: [{use: als}]\n"


@pytest.mark.parametrize(
    "text",
    [
        HEAD.replace("{use: als}", "{use: odd}," * 4_000),
        f"a: &a [{'1,' * 99}]\nb: &b [{'*a,' * 99}]\nc: [{'*b,' * 99}]\n{HEAD}",
        "[" * 1_000_000,
    ],
    ids=["many stages", "many aliases", "deep"],
)
def test_the_largest_texts_take_little_memory_too(text: str, tmp_path: Path) -> None:
    """A third of the values that a config may have, all that its aliases may stand for, and all its bytes."""
    path = tmp_path / "large.yaml"
    path.write_text(text)
    assert memory(path) < BYTES / 3


LONG = "a" * 1_000


@pytest.mark.parametrize(
    "line",
    [
        f"seed: {LONG}",
        f"as_of: {LONG}",
        f"engine: {{memory: {LONG}}}",
        f"engine: {{memory: {'9' * 1_000}GiB}}",
        f"{LONG}: 3",
        f"rank: [{{use: {LONG}}}]",
        f"rank: [{{use: {LONG}/blend}}]",
        f"rank: [{{use: blend, id: A{LONG}}}]",
        f"rank: [{{use: recency, with: {{half_life: {LONG}}}}}]",
        f"slate: {{fallback: {LONG}}}",
        f"evaluate: {{split: {{use: random}}, metrics: [{LONG}@3, ndcg@{LONG}]}}",
        f"filters: [{{use: reject, with: {{where: {LONG} ==}}}}]",
    ],
    ids=lambda line: line[:30],
)
def test_a_long_text_does_not_fill_the_error(line: str) -> None:
    with pytest.raises(ConfigError) as raised:
        Pipeline.from_text(HEAD + line)
    assert len(str(raised.value)) < 700
