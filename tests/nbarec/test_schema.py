"""The JSON Schema of the config: what an editor shows and underlines is what the reader takes and refuses."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, make_dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import pytest
import yaml
from jsonschema import Draft202012Validator

from nbarec import pipeline as pipeline_module
from nbarec.cli import run_command
from nbarec.components import NoState, Ranker, param
from nbarec.errors import ConfigError
from nbarec.expressions import Expression
from nbarec.marked import MapNode, Node
from nbarec.param_rules import Rule
from nbarec.param_schemas import Groups
from nbarec.params import Duration, describe
from nbarec.pipeline import Pipeline
from nbarec.plugins import registry
from nbarec.schema import config_schema, schema_text

ROOT = Path(__file__).parents[2]
CONFIGS = sorted((ROOT / "configs").glob("*.yaml"))
FENCED = re.compile(r"^```yaml\n(nbarec:.*?)^```$", re.DOTALL | re.MULTILINE)

BASE = """\
nbarec: 1
data: {use: music_world}
candidates:
  - {use: item_cf}
  - {id: latent, use: als}
"""


@pytest.fixture(scope="module")
def validator() -> Draft202012Validator:
    return Draft202012Validator(config_schema(registry()))


class OneTwo(yaml.SafeLoader):
    """Dates are text, as in YAML 1.2."""

    yaml_implicit_resolvers: ClassVar[Any] = {
        letter: [(tag, regex) for tag, regex in found if not tag.endswith(":timestamp")]
        for letter, found in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


def as_editors_read(text: str) -> Any:
    """The plain values of a config, variables not filled in."""
    return yaml.load(text, OneTwo)


def takes(text: str) -> bool:
    """Whether the reader takes a config."""
    try:
        Pipeline.from_text(text)
    except ConfigError:
        return False
    return True


def test_it_is_a_schema_and_the_same_each_time() -> None:
    text = schema_text(registry())
    Draft202012Validator.check_schema(json.loads(text))
    assert schema_text(registry()) == text
    assert json.loads(text)["$schema"] == "https://json-schema.org/draft/2020-12/schema"


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_the_shipped_configs_are_valid(path: Path, validator: Draft202012Validator) -> None:
    """As they stand in the file, which is what an editor sees: variables are not filled in."""
    assert [error.message for error in validator.iter_errors(as_editors_read(path.read_text("utf-8")))] == []


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_the_first_line_of_a_config_leads_editors_to_the_schema(path: Path) -> None:
    line = path.read_text("utf-8").partition("\n")[0]
    match = re.fullmatch(r"# yaml-language-server: \$schema=(\S+)", line)
    assert match
    found = json.loads((path.parent / match[1]).read_text("utf-8"))
    assert found["title"] == "A config of nbarec"


def test_the_configs_of_the_docs_are_valid(validator: Draft202012Validator) -> None:
    shown = [text for page in (ROOT / "docs").rglob("*.md") for text in FENCED.findall(page.read_text("utf-8"))]
    valid = [validator.is_valid(as_editors_read(text)) for text in shown]
    assert any(valid)
    assert valid == [takes(text) for text in shown]  # some use a component that the page is about to write


def test_every_parameter_of_every_component_is_there_with_its_docs(validator: Draft202012Validator) -> None:
    found: Mapping[str, Any] = validator.schema["$defs"]  # type: ignore[index]
    for item in registry().components():
        if item.kind == "metric":
            continue  # metrics have no parameters: their names stand in a pattern
        schema = found[f"{item.kind}.{item.provider.distribution}.{item.name}"]
        assert schema["description"].split("\n")[0] in (item.component.__doc__ or "")
        own = {name: told for name, told in schema["properties"].items() if told is not True}
        assert list(own) == [parameter.name for parameter in describe(item.component)]
        for parameter in describe(item.component):
            assert own[parameter.name]["description"] == parameter.doc
            assert (parameter.name in schema.get("required", ())) == (parameter.default == "required")
            written = parameter.default not in ("required", "its own defaults")
            assert ("default" in own[parameter.name]) == written


CASES = [
    ("seed: 3", True),
    ("seed: 3.0", True),
    ("seed: 3.5", False),
    ("seed: -1", False),
    ("seed: true", False),
    ("seed: null", False),
    ('seed: "3"', False),
    ("sede: 3", False),
    ("as_of: 2025-01-01", True),
    ("as_of: 1735689600", True),
    ("as_of: [latest]", False),
    ("engine: {workers: null, memory: 1.5 GiB}", True),
    ("engine: {memory: 5GB}", False),
    ("engine: {memory: 5}", False),
    ("slate: {k: 3, fallback: latent}", True),
    ("slate: {fallback: Latent}", False),
    ("rank: [{use: blend}]", True),
    ("rank: [{use: nbarec/blend}]", True),
    ("rank: [{use: NBarec/blend}]", True),
    ("rank: [{use: blnd}]", False),
    ("rank: [{use: nbarec-other/blend}]", False),
    ("rank: [{use: item_cf}]", False),
    ("rank: [{id: mixed}]", False),
    ("rank: [{use: blend, id: ''}]", False),
    ("rank: [{use: blend, id: null, with: null}]", True),
    ("rank: [{use: blend, with: {weight: {}}}]", False),
    ("rank: [{use: blend, with: {weights: {latent: -1}}}]", False),
    ("rank: [{use: blend, with: {weights: {latent: 1.0}, cases: [{when: user.events < 3}]}}]", False),
    ("rank: [{use: boost, with: {where: item.tempo > 3, add: 0.5}}]", True),
    ("rank: [{use: boost, with: {add: 0.5}}]", False),
    ("rank: [{use: boost}]", False),
    ("rank: [{use: boost, with: null}]", False),
    ("rank: [{use: recency, with: {half_life: 30d}}]", True),
    ("rank: [{use: recency, with: {half_life: 30}}]", False),
    ("filters: [{use: mmr, with: {vectors: latent, relevance: 1}}]", True),
    ("filters: [{use: mmr, with: {relevance: 1.01}}]", False),
    ("filters: [{use: require, with: {where: user.age > 3, missing: alow}}]", False),
    ("filters: [{use: exclude_consumed, with: {within: 0d}}]", True),
    ("features: [{use: nothing}]", False),
    ("evaluate: {split: {use: random, fraction: 0.5}, metrics: [ndcg@10]}", True),
    ("evaluate: {split: {use: random, fraction: 1}, metrics: [ndcg@10]}", False),
    ("evaluate: {split: {use: leave_last_out, fraction: 0.5}, metrics: [ndcg@10]}", False),
    ("evaluate: {split: {use: rando}, metrics: [ndcg@10]}", False),
    ("evaluate: {split: {use: given}, metrics: [ndcg@10]}", False),
    ("evaluate: {split: {use: random}, metrics: []}", False),
    ("evaluate: {split: {use: random}, metrics: [ndcg]}", False),
    ("evaluate: {split: {use: random}, metrics: [ndcg@0]}", False),
    ("evaluate: {split: {use: random}, metrics: [ndcg@010, ndcg@999999999]}", True),
    ("evaluate: {split: {use: random}, metrics: [ndcg@9999999999]}", False),
    ("evaluate: {split: {use: random}, metrics: [ndcg@10], variants: {few: {slate.k: 3}}}", True),
    ("evaluate: {split: {use: random}, metrics: [ndcg@10], variants: {few: {seed: 3}}}", False),
    ("evaluate: {split: {use: random}, metrics: [ndcg@10], cold_start: {users: [0, -1]}}", False),
    ("evaluate: null", True),
]


@pytest.mark.parametrize(("line", "valid"), CASES, ids=[line for line, _ in CASES])
def test_the_schema_and_the_reader_agree(line: str, valid: bool, validator: Draft202012Validator) -> None:
    assert validator.is_valid(as_editors_read(BASE + line)) is valid
    assert takes(BASE + line) is valid


def test_a_variable_may_stand_for_any_text(validator: Draft202012Validator) -> None:
    for line in (
        "rank: [{use: '${RANKER:-blend}', with: {k: 3}}]",
        "filters: [{id: '${ID:-x}', use: max_per, with: {by: artist, max: 2, missing: '${WHAT:-allow}'}}]",
        "engine: {memory: '${MEMORY:-1GiB}'}",
        "evaluate: {split: {use: '${SPLIT:-random}'}, metrics: ['${METRIC:-ndcg}@10']}",
    ):
        assert validator.is_valid(as_editors_read(BASE + line))
        assert takes(BASE + line)
    assert not validator.is_valid(as_editors_read(BASE + "seed: ${SEED:-3}"))
    assert not takes(BASE + "seed: ${SEED:-3}")  # what a variable holds is text


@dataclass(frozen=True)
class Curve:
    """A type that reads itself in a way of its own."""

    @classmethod
    def from_node(cls, node: Node) -> Self:
        return cls()


@dataclass(frozen=True)
class Other(Ranker[NoState]):
    """A ranker that has its name from another."""

    name: ClassVar[str] = "blend"
    curve: Curve | None = param(None, doc="Any.")
    depth: int = param(1, choices=(1, 2), doc="How deep.")

    def fit(self, data: Any, rng: Any) -> NoState:
        return NoState()

    def rank(self, state: Any, request: Any, pool: Any) -> Any:
        return pool.score


def test_components_of_other_distributions_are_told_apart(plug: Callable[..., None]) -> None:
    plug(Other)
    validator = Draft202012Validator(config_schema(pipeline_module.registry()))
    for line, valid in (
        ("{use: nbarec_Other/blend, with: {curve: [3], depth: 2}}", True),
        ("{use: nbarec-other/blend, with: {depth: 3}}", False),
        ("{use: nbarec-other/blend, with: {weights: {latent: 1}}}", False),
        ("{use: nbarec/blend, with: {weights: {latent: 1}}}", True),
        ("{use: nbarec/blend, with: {depth: 2}}", False),
        ("{use: blend}", False),
    ):
        text = f"{BASE}rank: [{line}]"
        assert validator.is_valid(as_editors_read(text)) is takes(text) is valid, line


@pytest.mark.parametrize(
    ("annotation", "rule", "good", "wrong"),
    [
        (int | str, {"ge": 1}, [1, "x"], [0, None, 1.5]),
        (tuple[float, ...], {"gt": 0, "le": 1}, [[], [1, 0.5]], [[0], 1, ["x"]]),
        (Mapping[str, int] | None, {"lt": 3}, [{}, {"a": 2}, None], [{"a": 3}, []]),
        (Literal[1, "two", True], {}, [1, "two", True, "${X}"], [2, "three", False, None]),
        (Literal["all"] | Duration, {"gt": 0}, ["all", "1.5h", "0.5s"], ["0d", "00.0s", "1y", 3, "d"]),
        (str | None, {"choices": ("a", "b")}, ["a", None, "${X}"], ["c", 1]),
        (Path, {}, ["x"], ["", 1]),
        (Expression, {}, ["value > 1"], ["", "  ", 3, True]),
        (MapNode | None, {}, [{"a": [1]}, None], [3, []]),
        (Curve, {}, [3, "x", [], {}], []),
        (make_dataclass("Empty", [], frozen=True), {}, [{}], [{"a": 1}, None, []]),
    ],
)
def test_each_type_has_its_schema(annotation: Any, rule: Any, good: list[Any], wrong: list[Any]) -> None:
    groups = Groups()
    validator = Draft202012Validator({**groups.value(annotation, Rule(**rule)), "$defs": groups.found})
    assert [value for value in good if not validator.is_valid(value)] == []
    assert [value for value in wrong if validator.is_valid(value)] == []


@dataclass(frozen=True)
class Tree:
    """A group that holds itself."""

    children: tuple[Tree, ...] = ()


def test_groups_may_share_a_name_and_hold_themselves() -> None:
    inner = make_dataclass("Case", [("a", int)], frozen=True)
    outer = make_dataclass("Case", [("inner", inner), ("more", tuple[inner, ...], ())], frozen=True)  # type: ignore[valid-type]
    groups = Groups()
    assert groups.group(outer) == {"$ref": "#/$defs/Case"}
    assert groups.found["Case"]["properties"]["inner"] == {"$ref": "#/$defs/Case_2"}
    assert groups.found["Case"]["properties"]["more"]["default"] == []
    trees = Groups()
    validator = Draft202012Validator({**trees.group(Tree), "$defs": trees.found})
    assert validator.is_valid({"children": [{"children": []}, {}]})
    assert not validator.is_valid({"children": [{"children": [3]}]})


def test_the_command_prints_it_or_writes_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["schema"]) == 0
    printed = capsys.readouterr().out
    assert printed == schema_text(registry())
    path = tmp_path / "new" / "nbarec.schema.json"
    assert run_command(["schema", "--output", str(path)]) == 0
    assert path.read_text("utf-8") == printed
    assert f"the schema of the config written to {path}" in capsys.readouterr().err
