"""Parameters: declared once, read from YAML with every fault named, and checked alike in Python."""

from __future__ import annotations

import copy
import dataclasses
import doctest
import math
import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar, Literal, Self

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbarec import param_types, params
from nbarec.errors import ConfigError, Mark, Problem
from nbarec.marked import MapNode, Node, Scalar, from_python, read_text
from nbarec.overrides import apply_overrides
from nbarec.params import Duration, Parameter, StageRef, build, check_params, describe, param


@dataclass(frozen=True)
class Formula:
    """A parameter type that reads itself, as expressions do; it is a dataclass to make that no special case."""

    text: str
    mark: Mark | None = None

    @classmethod
    def from_node(cls, node: Node) -> Self:
        if not isinstance(node, Scalar) or not isinstance(node.value, str):
            raise ConfigError("a formula is text", node.mark)
        if node.value.endswith(">"):
            raise ConfigError("'>' needs a right side", Mark(node.mark.source, node.mark.line, 99))
        return cls(node.value, node.mark)


@dataclass(frozen=True)
class Checked:
    def __post_init__(self) -> None:
        check_params(self)


@dataclass(frozen=True)
class Als(Checked):
    name: ClassVar[str] = "als"
    factors: int = param(64, ge=1, le=1024, doc="Length of each latent vector.")
    regularisation: float = param(0.01, gt=0)
    solver: Literal["cg", "cholesky"] = param("cg")
    similarity: str = param("cosine", choices=("cosine", "pearson"))
    implicit: bool = param(True)
    half_life: Duration | None = param(None, gt=0)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.solver == "cholesky" and self.factors > 512:
            raise ValueError("cholesky takes at most 512 factors; use solver: cg")


@dataclass(frozen=True)
class Case:
    when: Formula
    weights: Mapping[str, float] = param({}, ge=0)


@dataclass(frozen=True)
class File:
    path: Path
    columns: tuple[str, ...] = ()


@dataclass(frozen=True)
class Many(Checked):
    file: File
    with_: MapNode | None = param(None, key="with", doc="Handed on as it is.")
    weights: float | Mapping[str, float] = param(1.0, ge=0)
    layers: tuple[int, ...] = param((), ge=1)
    label: str | File = param("none")
    limit: float | Formula = param(0)
    vectors: StageRef | None = param(None)
    window: Duration | Literal["all"] = param("all")
    cases: tuple[Case, ...] = param(())
    options: dict[str, int] = param({"a": 1})


def made(cls: type[Any], text: str, where: str = "als") -> Any:
    problems: list[Problem] = []
    instance = build(cls, read_text(text, "f.yaml"), where=where, problems=problems)
    assert problems == []
    return instance


def faults(cls: type[Any], text: str, where: str = "als") -> list[str]:
    problems: list[Problem] = []
    assert build(cls, read_text(text, "f.yaml"), where=where, problems=problems) is None
    return [str(problem) for problem in problems]


def test_yaml_builds_the_declared_types() -> None:
    als = made(Als, "{factors: 128, regularisation: 1, half_life: 30d, implicit: false}")
    assert als == Als(128, 1.0, "cg", "cosine", False, Duration("30d"))
    assert type(als.regularisation) is float
    many = made(
        Many,
        """
        file: {path: a/b.csv, columns: [x, z]}
        with: {free: [1]}
        weights: {latent: 2}
        layers: [3, 4]
        label: {path: c}
        limit: user.events
        vectors: latent
        window: 2w
        cases: [{when: item.events < 5, weights: {alike: 1}}]
        """,
    )
    assert many.file == File(Path("a/b.csv"), ("x", "z"))
    assert isinstance(many.with_, MapNode)
    assert (many.weights, many.layers, many.label) == ({"latent": 2.0}, (3, 4), File(Path("c")))
    assert many.limit == Formula("user.events", Mark("f.yaml", 7, 16))
    assert (many.vectors, many.vectors.mark) == ("latent", Mark("f.yaml", 8, 18))
    assert many.window == 14 * 86_400
    assert many.cases[0].weights == {"alike": 1.0}


def test_defaults_stand_where_nothing_is_said_and_are_not_shared() -> None:
    first, second = (made(Many, "file: {path: x}") for _ in range(2))
    assert (first.weights, first.window, first.options, first.with_) == (1.0, "all", {"a": 1}, None)
    assert first.options is not second.options
    assert made(Als, "half_life: null").half_life is None


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("factor: 1", "f.yaml:1:1: als has no parameter 'factor'; did you mean 'factors'?"),
        (
            "zzz: 1",
            "f.yaml:1:1: als has no parameter 'zzz'; "
            "it has factors, regularisation, solver, similarity, implicit, half_life",
        ),
        ("name: x", None),
        ("factors: abc", "f.yaml:1:10: als: factors must be a whole number, not 'abc'"),
        ("factors: '12'", "f.yaml:1:10: als: factors must be a whole number, not '12'"),
        ("factors: 1.5", "f.yaml:1:10: als: factors must be a whole number, not 1.5"),
        ("factors: true", "f.yaml:1:10: als: factors must be a whole number, not true"),
        ("factors:", "f.yaml:1:9: als: factors must be a whole number, not null"),
        ("factors: [1]", "f.yaml:1:10: als: factors must be a whole number, not a list"),
        ("factors: {a: 1}", "f.yaml:1:10: als: factors must be a whole number, not a mapping"),
        ("factors: 0", "f.yaml:1:10: als: factors must be at least 1, not 0"),
        ("factors: 1025", "f.yaml:1:10: als: factors must be at most 1024, not 1025"),
        ("regularisation: 0", "f.yaml:1:17: als: regularisation must be more than 0, not 0"),
        ("regularisation: x", "f.yaml:1:17: als: regularisation must be a number, not 'x'"),
        (
            "solver: cholesk",
            "f.yaml:1:9: als: solver must be one of cg, cholesky, not 'cholesk'; did you mean 'cholesky'?",
        ),
        ("similarity: 3", "f.yaml:1:13: als: similarity must be text, not 3; quote it: '3'"),
        ("similarity: dice", "f.yaml:1:13: als: similarity must be one of cosine, pearson, not 'dice'"),
        ("implicit: 1", "f.yaml:1:11: als: implicit must be true or false, not 1"),
        (
            "half_life: 30",
            "f.yaml:1:12: als: half_life: 30 has no unit; write a duration such as 30s, 15m, 12h, 30d or 2w",
        ),
        (
            "half_life: 1y",
            "f.yaml:1:12: als: half_life: '1y' is not a duration; write one such as 30s, 15m, 12h, 30d or 2w",
        ),
        ("half_life: 0d", "f.yaml:1:12: als: half_life must be more than 0s, not '0d'"),
        (
            "{solver: cholesky, factors: 513}",
            "f.yaml:1:1: als: cholesky takes at most 512 factors; use solver: cg",
        ),
    ],
)
def test_each_fault_says_who_where_what_and_what_to_do(text: str, fault: str | None) -> None:
    found = faults(Als, text)
    assert len(found) == 1
    assert fault is None or found == [fault]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("label: x", "f.yaml:2:1: m needs the parameter 'file' (mapping of path, columns); add it"),
        ("file: {pth: x, path: p}", "f.yaml:2:8: m.file has no parameter 'pth'; did you mean 'path'?"),
        ("file: {columns: []}", "f.yaml:2:7: m.file needs the parameter 'path' (path); add it"),
        ("file: x.csv", "f.yaml:2:7: m: file must be a mapping, not 'x.csv'"),
        ("file: {path: ''}", "f.yaml:2:14: m.file: path must be a path, not ''"),
        ("{file: {path: x}, with: 3}", "f.yaml:2:25: m: with must be a mapping or null, not 3"),
        ("{file: {path: x}, with_: {}}", "f.yaml:2:19: m has no parameter 'with_'; did you mean 'with'?"),
        ("{file: {path: x}, weights: -1}", "f.yaml:2:28: m: weights must be at least 0, not -1"),
        ("{file: {path: x}, weights: {b: -1}}", "f.yaml:2:32: m: weights.b must be at least 0, not -1"),
        ("{file: {path: x}, weights: {b: c}}", "f.yaml:2:32: m: weights.b must be a number, not 'c'"),
        ("{file: {path: x}, weights: [1]}", "f.yaml:2:28: m: weights must be a number or a mapping, not a list"),
        ("{file: {path: x}, layers: [2, 0]}", "f.yaml:2:31: m: layers[1] must be at least 1, not 0"),
        ("{file: {path: x}, layers: 2}", "f.yaml:2:27: m: layers must be a list, not 2; write [2]"),
        ("{file: {path: x}, limit: a >}", "f.yaml:2:99: m: limit: '>' needs a right side"),
        ("{file: {path: x}, vectors: A B}", None),
        ("{file: {path: x}, vectors: 3}", "f.yaml:2:28: m: vectors: 3 is not a stage id; write the id of another"),
        ("{file: {path: x}, window: al}", "f.yaml:2:27: m: window must be a duration or one of all, not 'al'"),
        ("{file: {path: x}, label: {path: x, a: 1}}", "f.yaml:2:36: m.label has no parameter 'a'"),
        (
            "{file: {path: x}, cases: [{when: ok}, {when: a, weights: {k: -1}}]}",
            "f.yaml:2:62: m.cases[1]: weights.k must be at least 0, not -1",
        ),
        ("{file: {path: x}, cases: [{weights: {}}]}", "f.yaml:2:27: m.cases[0] needs the parameter 'when' (formula)"),
    ],
)
def test_faults_inside_values_name_the_path_to_them(text: str, fault: str | None) -> None:
    found = faults(Many, "\n" + text, where="m")
    assert len(found) == 1
    assert found[0].startswith(fault or "f.yaml:2:")


def test_all_problems_are_told_at_once_after_those_already_known() -> None:
    problems = [Problem("earlier")]
    node = read_text("factor: 1\nregularisation: 0\nfactors: a\nsolver: lu\n", "f.yaml")
    assert build(Als, node, where="latent", problems=problems) is None
    assert [problem.mark.line for problem in problems[1:] if problem.mark] == [1, 3, 2, 4]
    assert problems[0] == Problem("earlier")


def test_an_override_is_checked_like_the_file() -> None:
    problems: list[Problem] = []
    node = apply_overrides(read_text("factors: 2", "f.yaml"), {"factors": "0", "solvr": "cg"})
    assert build(Als, node, where="als", problems=problems) is None
    assert sorted(map(str, problems)) == [
        "--set factors:1:1: als: factors must be at least 1, not 0",
        "--set solvr:1:1: als has no parameter 'solvr'; did you mean 'solver'?",
    ]


@pytest.mark.parametrize(
    ("values", "fault"),
    [
        ({"factors": 0}, "factors must be at least 1, not 0"),
        ({"factors": np.int64(0)}, "factors must be at least 1, not 0"),
        ({"factors": np.float64(1.5)}, "factors must be a whole number, not 1.5"),
        ({"factors": np.bool_(True)}, "factors must be a whole number, not true"),
        ({"regularisation": math.nan}, "regularisation must be a number, not nan"),
        ({"regularisation": math.inf}, "regularisation must be a number, not inf"),
        ({"regularisation": 10**400}, "regularisation must be a number, not 1000"),
        ({"half_life": 30.0}, "half_life: 30.0 has no unit"),
        ({"similarity": "dice"}, "similarity must be one of cosine, pearson, not 'dice'"),
        ({"similarity": object()}, "similarity must be text, not <object"),
        ({"solver": {"a": {1: 2}}}, "solver: the key 1 is not text"),
        ({"factors": 0, "implicit": 3}, "factors must be at least 1, not 0; implicit must be true or false, not 3"),
    ],
)
def test_a_component_made_in_python_is_refused_in_the_same_words(values: dict[str, Any], fault: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the message is checked below
        Als(**values)
    assert str(caught.value).startswith(fault)


def test_a_component_made_in_python_holds_the_declared_types() -> None:
    als = Als(factors=np.int32(8), regularisation=np.float32(0.5), half_life="1d")  # type: ignore[arg-type]
    assert (type(als.factors), type(als.regularisation), type(als.half_life)) == (int, float, Duration)
    assert pickle.loads(pickle.dumps(als)) == copy.deepcopy(als) == als
    weights = {"latent": np.float64(1)}
    many = Many(File(Path("x")), weights=weights, layers=[1, 2], limit="a < b", vectors="latent")  # type: ignore[arg-type]
    weights["latent"] = np.float64(9)
    assert (many.weights, many.layers, many.limit) == ({"latent": 1.0}, (1, 2), Formula("a < b", Mark("Many", 1, 1)))
    assert isinstance(many.vectors, StageRef)
    assert pickle.loads(pickle.dumps(many)) == copy.deepcopy(many) == many == dataclasses.replace(many)
    assert Many({"path": "x"}).file == File(Path("x"))  # type: ignore[arg-type]
    with_node = Many(File(Path("x")), with_=read_text("a: 1", "f.yaml"))
    assert with_node.with_ == read_text("a: 1", "f.yaml")


@pytest.mark.parametrize("annotation", [tuple[int, int], tuple, Mapping, dict, list[int], set[int], Any, object])
def test_a_type_that_is_no_parameter_is_the_authors_fault(annotation: Any) -> None:
    wrong = dataclasses.make_dataclass("Wrong", [("pair", annotation)], frozen=True)
    with pytest.raises(TypeError, match=r"m\.pair: .* can't be the type of a parameter"):
        made(wrong, "pair: [1, 2]", where="m")


def test_a_config_error_at_construction_keeps_its_own_mark() -> None:
    @dataclass(frozen=True)
    class Strict:
        size: int = 1

        def __post_init__(self) -> None:
            raise ConfigError("too strict", Mark("elsewhere", 3, 4))

    assert faults(Strict, "size: 2") == ["elsewhere:3:4: too strict"]


def test_whole_floats_are_whole_numbers_and_a_fields_own_default_is_a_parameter() -> None:
    @dataclass(frozen=True)
    class Plain:
        size: int = 3
        kept: int = dataclasses.field(default=0, init=False)

    assert made(Plain, "size: 1.0e+6").size == 1_000_000
    assert faults(Plain, "kept: 1") == ["f.yaml:1:1: als has no parameter 'kept'; it has size"]


def test_describe_says_what_documentation_prints() -> None:
    assert describe(Als) == (
        Parameter("factors", "int >= 1, <= 1024", "64", "Length of each latent vector."),
        Parameter("regularisation", "float > 0", "0.01", ""),
        Parameter("solver", "one of cg, cholesky", "cg", ""),
        Parameter("similarity", "one of cosine, pearson", "cosine", ""),
        Parameter("implicit", "true or false", "true", ""),
        Parameter("half_life", "duration or null > 0", "null", ""),
    )
    assert [(item.name, item.type, item.default) for item in describe(Many)] == [
        ("file", "mapping of path, columns", "required"),
        ("with", "mapping or null", "null"),
        ("weights", "float or mapping of text to float >= 0", "1.0"),
        ("layers", "list of int >= 1", "[]"),
        ("label", "text or mapping of path, columns", "none"),
        ("limit", "float or formula", "0"),
        ("vectors", "stage id or null", "null"),
        ("window", "duration or one of all", "all"),
        ("cases", "list of mapping of when, weights", "[]"),
        ("options", "mapping of text to int", '{"a": 1}'),
    ]


@pytest.mark.parametrize(
    ("text", "seconds", "printed"),
    [
        ("30s", 30, "30s"),
        ("15m", 900, "15m"),
        ("12h", 43_200, "12h"),
        ("30d", 2_592_000, "30d"),
        ("2w", 1_209_600, "2w"),
        ("90s", 90, "90s"),
        ("48h", 172_800, "2d"),
        ("1.5h", 5400, "90m"),
        ("0d", 0, "0s"),
        ("0.25s", 0.25, "0.25s"),
    ],
)
def test_durations(text: str, seconds: float, printed: str) -> None:
    assert Duration(text) == seconds
    assert f"{Duration(text)}" == printed
    assert repr(Duration(text)) == f"Duration('{printed}')"


@pytest.mark.parametrize(
    "wrong", ["", "30", "d", "-1d", "1 d", "1d ", "1h30m", "1y", "1e3s", "9" * 400 + "d", -1, math.nan]
)
def test_what_is_no_duration_is_refused(wrong: str | float) -> None:
    with pytest.raises(ValueError, match=r"write (one|a finite one)"):
        Duration(wrong)


@given(st.floats(0, 1e300))
def test_a_printed_duration_reads_back_exactly(seconds: float) -> None:
    assert Duration(str(Duration(seconds))) == seconds


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@given(st.dictionaries(st.sampled_from([item.name for item in describe(Many)] + ["other"]), plain, max_size=4))
def test_any_mapping_is_built_or_every_fault_has_its_place(values: dict[str, Any]) -> None:
    problems: list[Problem] = []
    node = from_python({"file": {"path": "x"}, **values}, Mark("f.yaml", 1, 1))
    assert isinstance(node, MapNode)
    instance = build(Many, node, where="m", problems=problems)
    assert (instance is None) == bool(problems)
    assert all(problem.mark and problem.message.startswith("m") for problem in problems)


@given(st.integers(-5, 2000), st.floats(-1, 1))
def test_yaml_and_python_refuse_the_same_values(factors: int, regularisation: float) -> None:
    values = {"factors": factors, "regularisation": regularisation}
    problems: list[Problem] = []
    node = from_python(values, Mark("f.yaml", 1, 1))
    assert isinstance(node, MapNode)
    build(Als, node, where="als", problems=problems)
    if problems:
        said = "; ".join(problem.message.removeprefix("als: ") for problem in problems)
        with pytest.raises(ValueError) as caught:  # noqa: PT011 - compared whole
            Als(**values)  # type: ignore[arg-type]
        assert str(caught.value) == said
    else:
        assert Als(**values).factors == factors  # type: ignore[arg-type]


@pytest.mark.parametrize("module", [params, param_types])
def test_the_examples_in_the_docstrings_hold(module: ModuleType) -> None:
    failed, tried = doctest.testmod(module)
    assert (failed, tried > 0) == (0, True)
