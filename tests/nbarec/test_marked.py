"""YAML with marks: what is read, what is refused, and what the person is told."""

from __future__ import annotations

import doctest
import json
import math
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nbarec import marked, overrides
from nbarec import scalars as scalars_module
from nbarec.errors import ConfigError, Mark, Problem
from nbarec.marked import (
    MAX_BYTES,
    MAX_NODES,
    ListNode,
    MapNode,
    Scalar,
    dump,
    from_python,
    read_file,
    read_text,
    to_plain,
)
from nbarec.overrides import apply_overrides, entry_id

PIPELINE = """\
nbarec: 1
data:
  use: csv
  events: {path: plays.csv}
candidates:
  - {id: similar, use: item_cf, k: 300}
  - id: latent
    use: als
    with: {factors: 64}
  - use: popularity
features:
evaluate: {metrics: [recall@20, ndcg@20]}
"""


def value_of(text: str) -> Any:
    return to_plain(read_text(f"key: {text}", "f.yaml"))["key"]


def problems_of(text: str) -> tuple[Problem, ...]:
    with pytest.raises(ConfigError) as caught:
        read_text(text, "f.yaml")
    return caught.value.problems


def message_of(text: str) -> str:
    return "\n".join(map(str, problems_of(text)))


def test_every_value_and_key_knows_its_line_and_column() -> None:
    root = read_text(PIPELINE, "music.yaml")
    candidates = root.entries["candidates"]
    assert isinstance(candidates, ListNode)
    latent = candidates.items[1]
    assert isinstance(latent, MapNode)
    assert latent.mark == Mark("music.yaml", 7, 5)
    assert str(latent.key_marks["with"]) == "music.yaml:9:5"
    factors = latent.entries["with"].entries["factors"]  # type: ignore[attr-defined]
    assert factors == Scalar(Mark("music.yaml", 9, 21), 64)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("12", 12),
        ("-3", -3),
        ("+7", 7),
        ("0", 0),
        ("0.5", 0.5),
        (".5", 0.5),
        ("-2.", -2.0),
        ("1.0e+3", 1000.0),
        ("2.5E-3", 0.0025),
        ("true", True),
        ("False", False),
        ("null", None),
        ("~", None),
        ("", None),
        ("plays.csv", "plays.csv"),
        ("30d", "30d"),
        ("recall@20", "recall@20"),
        ("50%", "50%"),
        ("not", "not"),
        ("1.2.3", "1.2.3"),
        ("value > 0.5", "value > 0.5"),
        ("2024-01-01", "2024-01-01"),
        ("2024-01-01T12:30:00Z", "2024-01-01T12:30:00Z"),
        ("2024-01-01 12:30:00", "2024-01-01 12:30:00"),
        ("'no'", "no"),
        ('"012"', "012"),
        ("'12'", "12"),
        ("[1, two, [3.0]]", [1, "two", [3.0]]),
        ("{a: {b: 1}}", {"a": {"b": 1}}),
        ("|\n  two\n  lines\n", "two\nlines\n"),
        ('"\\ud83d\\ude00"', "\U0001f600"),
    ],
)
def test_scalars_mean_what_they_look_like(text: str, value: object) -> None:
    found = value_of(text)
    assert found == value
    assert type(found) is type(value)


TRAPS = [
    *((word, "true or false") for word in ("yes", "No", "ON", "off", "y", "N")),
    ("012", "leading zeros"),
    ("-07", "leading zeros"),
    ("08", "leading zeros"),
    ("1:30", "duration"),
    ("16:9", "duration"),
    ("12:30:00", "duration"),
    ("1e3", "1.0e+3"),
    ("1e-3", "1.0e-3"),
    ("2.5e7", "2.5e+7"),
    (".inf", "finite"),
    ("-.Inf", "finite"),
    (".NaN", "finite"),
    ("0x1F", "decimal"),
    ("0b11", "decimal"),
    ("0o17", "decimal"),
    ("1_000", "without underscores"),
    ("9223372036854775808", "64 bits"),
    ("1" * 5000, "64 bits"),
    ("1.0e+999", "too large"),
]


@pytest.mark.parametrize(("text", "advice"), TRAPS)
@pytest.mark.parametrize("place", ["key: {}", "- {}", "key: [a, {}]", "a: {{b: {}}}", "{}: 1", "{{{}: 1}}"])
def test_what_yaml_versions_read_differently_is_refused_everywhere(text: str, advice: str, place: str) -> None:
    document = "top:\n  " + place.format(text)
    if len(text) > 1000 and "1" in place:
        return  # a key of that length is no longer YAML
    (problem,) = problems_of(document)
    assert advice in problem.message
    assert problem.mark == Mark("f.yaml", 2, place.replace("{{", "{").replace("{}", "^").index("^") + 3)
    assert value_of(f"'{text}'") == text


def test_the_advice_for_an_exponent_is_the_same_number() -> None:
    assert value_of("1.0e+3") == float("1e3")
    assert "write 1.0e+3" in message_of("key: 1e3")


def test_several_traps_are_told_at_once_and_not_without_end() -> None:
    assert [problem.mark.line for problem in problems_of("a: yes\nb: 012\nc: 1e3\n") if problem.mark] == [1, 2, 3]
    assert len(problems_of("[" + "no, " * 5000 + "]")) == 20


@pytest.mark.parametrize(
    ("text", "place", "said"),
    [
        ("a: &x {b: 1}\nc: {<<: *x}", "f.yaml:2:5", "merge keys"),
        ("a: !!python/object:os.system 1", "f.yaml:1:4", "tag"),
        ("a: !!str 1", "f.yaml:1:4", "tag"),
        ("a: ! 1", "f.yaml:1:4", "tag"),
        ("a: !custom {b: 1}", "f.yaml:1:4", "tag"),
        ("a: 1\nb: 2\na: 3", "f.yaml:3:1", "already on line 1"),
        ("1: a", "f.yaml:1:1", "the key 1 is not text; put it in quotes"),
        ("true: a", "f.yaml:1:1", "not text"),
        ("~: a", "f.yaml:1:1", "not text"),
        ("? [a]\n: 1", "f.yaml:1:3", "plain text"),
        ("a: 1\n---\nb: 2", "f.yaml:2:1", "second document"),
        ("", "f.yaml:1:1", "empty"),
        ("# only a comment\n", "f.yaml:1:1", "empty"),
        ("---\n...\n", "f.yaml:2:1", "empty"),
        ("- 1", "f.yaml:1:1", "a list"),
        ("text", "f.yaml:1:1", "a single value"),
        ("a: [1, 2", "f.yaml:1:9", "not valid YAML"),
        ("a: 1\n\tb: 2", "f.yaml:2:1", "spaces, not tabs"),
        ("a: b: c", "f.yaml:1:5", "not valid YAML"),
        ("a: *x", "f.yaml:1:4", "no finished anchor"),
        ("a: &x [*x]", "f.yaml:1:8", "no finished anchor"),
        ("a: 1\nb: '\x01'", "f.yaml:2:5", "U+0001"),
        ('a: "\\UFFFFFFFF"', "f.yaml:1:1", "not valid YAML"),
        ('a: "\\ud800"', "f.yaml:1:4", "surrogate"),
        ("%YAML 3.0\n---\na: 1", "f.yaml:1:1", "not valid YAML"),
    ],
)
def test_what_is_not_read_says_where_and_why(text: str, place: str, said: str) -> None:
    (problem,) = problems_of(text)
    assert str(problem.mark) == place
    assert said in problem.message


def test_an_alias_is_the_anchored_value_with_the_mark_of_the_anchor() -> None:
    root = read_text("a: &x {b: [1]}\nc: *x\n", "f.yaml")
    assert to_plain(root) == {"a": {"b": [1]}, "c": {"b": [1]}}
    assert root.entries["c"].mark.line == 1


def test_a_small_alias_bomb_is_refused() -> None:
    lines = ["a: &a [x,x,x,x,x,x,x,x,x]"]
    lines += [
        f"{name}: &{name} [{','.join(['*' + before] * 9)}]" for before, name in zip("abcdef", "bcdefg", strict=True)
    ]
    bomb = "\n".join(lines)
    assert len(bomb) < 400
    assert f"more than {MAX_NODES:,} values" in message_of(bomb)


def test_aliases_count_towards_the_depth() -> None:
    text = "\n".join(["a0: &a0 [1]"] + [f"a{i}: &a{i} [*a{i - 1}]" for i in range(1, 40)])
    assert "deeper than 32" in message_of(text)


def test_aliases_count_by_all_that_they_hold() -> None:
    head = "a: &a {b: [1, 2], c: {d: 3}}\n"  # nine values, the three keys inside among them
    fits = (MAX_NODES - 1 - 1 - 9 - 1 - 1) // 9
    assert to_plain(read_text(f"{head}e: [{'*a, ' * fits}]", "f.yaml"))["e"][-1] == {"b": [1, 2], "c": {"d": 3}}
    assert "values" in message_of(f"{head}e: [{'*a, ' * (fits + 1)}]")


def test_an_anchor_may_be_set_again() -> None:
    assert to_plain(read_text("a: &x [1]\nb: &x [*x, [*x]]\nc: *x", "f.yaml"))["c"] == [[1], [[1]]]


@pytest.mark.parametrize("opening", ["[", "{a: ", "- "])
def test_depth_is_limited(opening: str) -> None:
    assert "deeper than 32" in message_of("a:\n " + opening * 5000)


def test_thirty_two_levels_are_read() -> None:
    assert to_plain(read_text("a: " + "[" * 31 + "]" * 31, "f.yaml"))
    assert "deeper" in message_of("a: " + "[" * 32 + "]" * 32)


def test_node_count_and_size_are_limited() -> None:
    assert "values" in message_of("a: [" + "1," * MAX_NODES + "]")
    assert "larger than" in message_of("# " + "x" * MAX_BYTES)
    assert "larger than" in message_of("# " + "\u20ac" * (MAX_BYTES // 3))


def test_variables_are_expanded_in_text_only_and_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FOLDER", "/data")
    monkeypatch.setenv("NUMBER", "12")
    monkeypatch.setenv("TRICKY", "${FOLDER}: [no]")
    monkeypatch.setenv("EMPTY", "")
    monkeypatch.delenv("ABSENT", raising=False)
    assert value_of("${FOLDER}/plays.csv") == "/data/plays.csv"
    assert value_of("[\"${FOLDER}\", 'a${FOLDER}b']") == ["/data", "a/datab"]
    assert value_of("${NUMBER}") == "12"
    assert value_of("${TRICKY}") == "${FOLDER}: [no]"
    assert value_of("${ABSENT:-plays.csv}") == "plays.csv"
    assert value_of("${EMPTY:-plays.csv}") == "plays.csv"
    assert value_of("x${ABSENT:-}") == "x"
    assert value_of("x${EMPTY}") == "x"
    assert value_of("$${FOLDER}") == "${FOLDER}"
    assert value_of("$FOLDER $5") == "$FOLDER $5"
    assert to_plain(read_text("'${FOLDER}': 1", "f.yaml")) == {"${FOLDER}": 1}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("${ABSENT}", "ABSENT is not set; set it, or write ${ABSENT:-default}"),
        ("a ${} b", "$${"),
        ("${not closed", "$${"),
        ("${a-b}", "$${"),
        ("[${ABSENT}]", 'quote it: "${NAME}"'),
    ],
)
def test_wrong_variables_say_what_to_write(monkeypatch: pytest.MonkeyPatch, text: str, said: str) -> None:
    monkeypatch.delenv("ABSENT", raising=False)
    assert said in message_of(f"key: {text}")


def test_files_are_read_with_their_path_in_the_marks(tmp_path: Path) -> None:
    path = tmp_path / "music.yaml"
    path.write_bytes("\ufeffname: Bj\u00f6rk\r\nseed: 1\r\n".encode())
    root = read_file(path)
    assert to_plain(root) == {"name": "Bj\u00f6rk", "seed": 1}
    assert root.key_marks["name"] == Mark(str(path), 1, 1)
    assert root.key_marks["seed"] == Mark(str(path), 2, 1)


def test_files_that_cannot_be_read_say_what_to_do(tmp_path: Path) -> None:
    latin = tmp_path / "latin.yaml"
    latin.write_bytes(b"seed: 1\nname: Bj\xf6rk\n")
    large = tmp_path / "large.yaml"
    large.write_bytes(b"#" * (MAX_BYTES + 1))
    for path, said in (
        (tmp_path / "absent.yaml", "check the path"),
        (tmp_path, "name the YAML file inside"),
        (latin, f"{latin}:2:9: this is not UTF-8 text; save the file as UTF-8"),
        (large, "larger than"),
        ("nul\0.yaml", "can't be read"),
    ):
        with pytest.raises(ConfigError) as caught:
            read_file(path)
        assert said in str(caught.value)


@pytest.mark.parametrize(
    ("path", "value", "before", "after"),
    [
        ("candidates.latent.with.factors", "128", "factors: 64", "factors: 128"),
        ("candidates.similar.k", "2", "k: 300", "k: 2"),
        ("candidates.popularity.k", "9", "use: popularity", "use: popularity\n    k: 9"),
        ("candidates.popularity", "{use: als, k: 2}", "use: popularity", "{use: als, k: 2}"),
        ("data.events.path", "other.csv", "plays.csv", "other.csv"),
        ("data.events.path", "'12'", "plays.csv", "'12'"),
        ("seed", "7", "nbarec: 1", "nbarec: 1\nseed: 7"),
        ("evaluate.split.fraction", "0.2", "evaluate: {", "evaluate: {split: {fraction: 0.2}, "),
        ("evaluate.metrics", "[ndcg@5]", "[recall@20, ndcg@20]", "[ndcg@5]"),
        ("features", "[]", "features:", "features: []"),
        ("features.more", "true", "features:", "features: {more: true}"),
        ("data", "", "data:\n  use: csv\n  events: {path: plays.csv}", "data:"),
    ],
)
def test_an_override_equals_editing_the_file(path: str, value: str, before: str, after: str) -> None:
    root = read_text(PIPELINE, "f.yaml")
    edited = read_text(PIPELINE.replace(before, after), "f.yaml")
    assert to_plain(apply_overrides(root, {path: value})) == to_plain(edited)
    assert root == read_text(PIPELINE, "f.yaml")


def test_overrides_apply_in_order_and_carry_their_own_marks() -> None:
    root = apply_overrides(
        read_text(PIPELINE, "f.yaml"), {"engine": "{workers: 2}", "engine.workers": 3, "seed": "\n 5"}
    )
    assert to_plain(root)["engine"] == {"workers": 3}
    assert str(root.entries["seed"].mark) == "--set seed:2:2"
    assert str(root.key_marks["seed"]) == "--set seed:1:1"
    assert str(root.key_marks["nbarec"]) == "f.yaml:1:1"


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("candidates.laten.k", "1", "no entry has the id 'laten'; the ids here are latent, popularity, similar"),
        ("evaluate.metrics.recall", "1", "set the whole list"),
        ("nbarec.version", "1", "inside 1, a single value"),
        ("a..b", "1", "not a path"),
        ("", "1", "not a path"),
        (".".join("a" * 5000), "1", "not a path"),
        ("seed", "no", "true or false"),
        ("seed", "[1", "not valid YAML"),
        ("seed", {1: 2}, "not text"),
    ],
)
def test_wrong_overrides_are_named(path: str, value: object, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        apply_overrides(read_text(PIPELINE, "f.yaml"), {path: value, "b..c": 1})
    assert str(caught.value).startswith(f"--set {path}:1:")
    assert said in str(caught.value)
    assert len(caught.value.problems) == 2


def test_an_id_that_stands_twice_cannot_be_addressed() -> None:
    root = read_text("rank: [{use: blend}, {id: blend, use: product}]", "f.yaml")
    with pytest.raises(ConfigError, match="2 entries have the id 'blend'"):
        apply_overrides(root, {"rank.blend.keep": 1})


def test_python_values_become_nodes() -> None:
    import numpy as np

    mark = Mark("here", 1, 1)
    value = {"a": np.int64(3), "b": (1.5, None), "c": np.array([1, 2]), "d": Scalar(mark, "x")}
    assert to_plain(from_python(value, mark)) == {"a": 3, "b": [1.5, None], "c": [1, 2], "d": "x"}
    endless: list[Any] = []
    endless.append(endless)
    with pytest.raises(ConfigError, match="deeper"):
        from_python(endless, mark)


def test_an_entry_is_known_by_its_id_then_by_what_it_uses() -> None:
    root = read_text("a: [{id: mine, use: als}, {use: other/als}, {id: ~, use: als}, {k: 1}, text, {id: 3}]", "f.yaml")
    entries = root.entries["a"]
    assert isinstance(entries, ListNode)
    assert [entry_id(entry) for entry in entries.items] == ["mine", "als", "als", None, None, None]


def test_dump_does_not_depend_on_key_order_or_layout() -> None:
    one = read_text("b: [1, x]\na: {d: 0.5, c: null}", "one.yaml")
    other = read_text('{"a": {c: ~, "d": .5},\n "b": [1, "x"]}', "other.yaml")
    assert dump(one) == dump(other) == '{"a": {"c": null, "d": 0.5}, "b": [1, "x"]}'
    assert dump(one) != dump(read_text("b: [1, '1']\na: {d: 0.5, c: null}", "f.yaml"))


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts
    | st.sampled_from([text for text, _ in TRAPS] + ["${A}", "$${", "$", "<<", "\x7f", "\u2028", "\x85", "- a", "a: b"])
)
trees = st.dictionaries(
    texts,
    st.recursive(
        scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3), max_leaves=8
    ),
    max_size=4,
)


@settings(max_examples=200, deadline=None)
@given(trees)
def test_what_is_dumped_reads_back_as_the_same_tree(tree: dict[str, Any]) -> None:
    text = dump(from_python(tree, Mark("tree", 1, 1)))
    assert isinstance(json.loads(text), dict)
    again = to_plain(read_text(text, "dumped"))
    assert again == tree
    assert dump(from_python(again, Mark("again", 1, 1))) == text


def read_or_refuse(text: str) -> MapNode | None:
    """The tree, or None where a ConfigError names at least one place; anything else fails the test."""
    try:
        return read_text(text, "f.yaml")
    except ConfigError as error:
        marks = [problem.mark for problem in error.problems]
    assert marks
    assert all(mark and 1 <= mark.line <= text.count("\n") + 2 and mark.column >= 1 for mark in marks)
    return None


@settings(max_examples=300, deadline=2000)
@given(st.text(max_size=80) | st.text("[]{}:,-?*&!|>'\"%@#~ \n\t\\$ax10.eUu", max_size=60))
def test_any_text_is_a_tree_or_a_config_error(text: str) -> None:
    if root := read_or_refuse(text):
        assert to_plain(read_text(dump(root), "again")) == to_plain(root)


@settings(max_examples=200, deadline=2000)
@given(st.data())
def test_a_mutated_config_is_a_tree_or_a_config_error(data: st.DataObject) -> None:
    text = PIPELINE
    insertions = ["", "*a", "&a ", "[", "}", ": ", "\n", "\t", "!!int ", "<<: ", "'", "${X"]
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(text)))
        inserted = data.draw(st.sampled_from(insertions))
        text = text[:at] + inserted + text[at + data.draw(st.integers(0, 5)) :]
    if root := read_or_refuse(text):
        assert to_plain(read_text(dump(root), "again")) == to_plain(root)


@settings(max_examples=100, deadline=None)
@given(tree=trees, name=st.from_regex(r"[a-z][a-z0-9_]{0,8}", fullmatch=True), value=scalars)
def test_an_override_is_an_assignment(tree: dict[str, Any], name: str, value: Any) -> None:
    root = read_text(dump(from_python({**tree, "inner": tree}, Mark("tree", 1, 1))), "f.yaml")
    expected = to_plain(root)
    expected["inner"][name] = value
    as_python = value if not isinstance(value, str) else dump(Scalar(Mark("v", 1, 1), value))
    found = to_plain(apply_overrides(root, {f"inner.{name}": as_python}))
    assert found == expected
    assert not isinstance(value, float) or math.copysign(1, found["inner"][name]) == math.copysign(1, value)


@pytest.mark.parametrize("module", [marked, overrides, scalars_module])
def test_the_examples_in_the_docstrings_hold(module: ModuleType) -> None:
    failed, tried = doctest.testmod(module)
    assert (failed, tried > 0) == (0, True)
