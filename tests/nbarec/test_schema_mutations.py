"""The schema and the reader beside each other, over mutations of the shipped configs.

Both see keys, types, bounds, choices, missing parameters and names of components: a mutation of these is refused by
both or by neither. Only the reader sees the rest (ids, names of other stages, expressions, what components check among
their own parameters), so for any mutation at all the test is one-sided: what the schema refuses the reader refuses.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, TypeAlias

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from nbarec.errors import ConfigError, Mark
from nbarec.marked import ListNode, MapNode, dump, from_python, read_text, to_plain
from nbarec.param_rules import declared
from nbarec.pipeline import Pipeline
from nbarec.plugins import Kind, registry
from nbarec.schema import config_schema

CONFIGS = sorted((Path(__file__).parents[2] / "configs").glob("*.yaml"))
KINDS: dict[str, Kind] = {"candidates": "generator", "rank": "ranker", "filters": "filter"}

Draw: TypeAlias = Callable[[st.SearchStrategy[Any]], Any]
Tree: TypeAlias = dict[str, Any]


@cache
def validator() -> Draft202012Validator:
    return Draft202012Validator(config_schema(registry()))


@cache
def slices() -> list[Tree]:
    """Small valid configs that together hold every stage and every section of the shipped ones."""
    found = [part for path in CONFIGS for part in slices_of(Pipeline.from_yaml(path))]
    assert len(found) > 60
    assert [tree for tree in found if refusals(tree) != (False, False)] == []
    return found


def slices_of(pipeline: Pipeline) -> Iterator[Tree]:
    """Each stage beside the generators that it names, and the sections that are no stages."""
    tree: Tree = to_plain(pipeline.root)
    found = pipeline.stages
    bound = {"candidates": found.generators, "rank": found.rankers, "filters": found.filters}
    entries = {  # each with its id, which stays where a mutation changes `use`
        section: {
            stage.id: {"id": stage.id, **entry} for stage, entry in zip(stages, tree.get(section, []), strict=True)
        }
        for section, stages in bound.items()
    }
    base = {"nbarec": 1, "data": tree["data"]}
    generators = entries["candidates"]
    for section, stages in bound.items():
        for stage in stages:
            named = {*stage.component.generators_named(), *stage.component.vectors_named()}
            needed = [entry for name, entry in generators.items() if name in named]
            yield {**base, "candidates": needed or list(generators.values())[:1], section: [entries[section][stage.id]]}
    # Ends and steps of `tune.ranges` are checked against each other and against stages, which no schema can see.
    rest = {key: value for key, value in tree.items() if key not in (*bound, "features", "tune")}
    fallback = generators.get(tree.get("slate", {}).get("fallback"))
    rest["candidates"] = [fallback] if fallback else list(generators.values())
    if variants := tree.get("evaluate", {}).get("variants", {}):
        two = dict(list(variants.items())[:2])
        rest |= stages_named(tree, [path for values in two.values() for path in values])
        rest["evaluate"] = {**tree["evaluate"], "variants": two}
    yield rest


def stages_named(tree: Tree, paths: list[str]) -> Tree:
    """The sections of stages that dotted paths lead into, and what their rankers and filters look back on."""
    named = {path.partition(".")[0] for path in paths}
    later = {"features", "candidates"} if named & {"rank", "filters"} else set()
    return {section: tree[section] for section in (*KINDS, "features") if section in named | later and section in tree}


def refusals(tree: Tree) -> tuple[bool, bool]:
    """Whether the schema refuses a config, and whether the reader does.

    What a component checks among its own parameters, which it tells at the mapping of all of them, does not count.
    """
    by_schema = not validator().is_valid(tree)
    text = dump(from_python(tree, Mark("tree", 1, 1)))
    try:
        Pipeline.from_text(text, "tree")
    except ConfigError as error:
        wholes = set(marks_of_parameters(read_text(text, "tree")))
        return by_schema, any(at.mark not in wholes or "needs the parameter" in at.message for at in error.problems)
    return by_schema, False


def marks_of_parameters(root: MapNode) -> Iterator[Mark]:
    """Where the parameters of each stage begin."""
    for section in KINDS:
        listed = root.entries.get(section)
        for entry in listed.items if isinstance(listed, ListNode) else ():
            given = entry.entries.get("with") if isinstance(entry, MapNode) else None
            if isinstance(given, MapNode):
                yield given.mark


def places(node: Any) -> Iterator[tuple[Any, Any]]:
    """(container, key or position) of every value inside, but for those of variants: what they are is told by paths."""
    for key in node if isinstance(node, dict) else range(len(node)) if isinstance(node, list) else ():
        yield node, key
        variants = key == "variants" and isinstance(node[key], dict)
        yield from ((node[key], name) for name in node[key]) if variants else places(node[key])


def place(draw: Draw, tree: Tree, *wanted: type, keys: frozenset[str] | None = None) -> tuple[Any, Any] | None:
    """One place whose value is of a wanted type, or whose key is one of `keys`; None where there is none."""
    found = [
        (inside, key)
        for inside, key in places(tree)
        if type(inside[key]) in wanted or (keys is not None and key in keys)
    ]
    return draw(st.sampled_from(found)) if found else None


def unknown_key(draw: Draw, tree: Tree) -> None:
    """A list in a list is the value of nothing: neither of a key that is not there, nor of one in a free mapping."""
    at = place(draw, {"root": tree}, dict)
    assert at
    inside, key = at
    inside[key][draw(st.sampled_from(["odd", "Use", "uses", "with_", "k ", "", "seed.x", "é"]))] = [[]]


def wrong_type(draw: Draw, tree: Tree) -> None:
    inside, key = draw(st.sampled_from(list(places(tree))))
    others = {
        dict: [3, "a b", True, [[]], -0.5],
        list: [3, "a b", True, {"odd": []}],
        str: [3, True, 2.5, [[]], {"odd": []}],
        bool: [1, 0.0, "true", [], {}],
    }
    inside[key] = draw(st.sampled_from(others.get(type(inside[key]), [True, "a b", [], [3], {}, {"odd": 1}])))


def other_number(draw: Draw, tree: Tree) -> None:
    if at := place(draw, tree, int, float):
        inside, key = at
        numbers = st.sampled_from([-1e15, -1, -1e-9, -0.0, 0, 1e-9, 0.5, 1, 1.0, 1.5, 2, 5, 100, 10**6 + 1, 1e15])
        inside[key] = draw(numbers | st.integers(-(2**62), 2**62) | st.floats(-2, 2))


def other_parameter(draw: Draw, tree: Tree) -> None:
    """A parameter of a stage's component, whether it was given or not. `Odd` is text, and an expression, and no id."""
    section = draw(st.sampled_from([section for section in KINDS if tree.get(section)]))
    entry = draw(st.sampled_from(tree[section]))
    known = declared(registry().find(KINDS[section], entry["use"]).component)
    if known:
        key = draw(st.sampled_from(sorted(known)))
        values = [[[]], {"odd": [[]]}, True, 0.5, -1, 1, 3, "Odd", "1.5h", "", "allow", "mean", "nothing", "explicit"]
        if "Expression" in str(known[key].annotation):
            values = [
                value for value in values if value not in ("", "1.5h")
            ]  # no expression, and the schema can't tell
        entry["with"] = {**(entry.get("with") or {}), key: draw(st.sampled_from(values))}


REQUIRED = frozenset(
    {"nbarec", "data", "candidates", "use", "events", "path", "columns", "user", "item", "value", "id", "names", "name"}
    | {"half_life", "where", "by", "max", "when", "split", "metrics"}
)


def missing_key(draw: Draw, tree: Tree) -> None:
    """A key that is required somewhere; not the id of a stage, which others may name."""
    at = place(draw, tree, keys=REQUIRED)
    assert at
    inside, key = at
    if not (key == "id" and "use" in inside):
        del inside[key]


def other_use(draw: Draw, tree: Tree) -> None:
    at = place(draw, tree, keys=frozenset(["use"]))
    assert at
    inside, key = at
    name = inside[key].rpartition("/")[2]
    spelled = [f"nbarec/{name}", f"NBarec/{name}", f"nbarec-/{name}", f"nbarec-other/{name}", f"a/nbarec/{name}"]
    others = ["", name.upper(), f"{name} ", f"{name}/", "odd", "item_cf", "boost", "mmr", "ndcg", "csv", "given"]
    inside[key] = draw(st.sampled_from([name, *spelled, *others]))


SEEN_BY_BOTH = [unknown_key, wrong_type, other_number, other_parameter, missing_key, other_use]


@pytest.mark.parametrize("mutate", SEEN_BY_BOTH, ids=lambda mutate: mutate.__name__)
def test_a_mutation_that_both_can_see_is_refused_by_both_or_by_neither(mutate: Callable[[Draw, Tree], None]) -> None:
    seen: Counter[tuple[bool, bool]] = Counter()

    @settings(max_examples=340, deadline=None, database=None)
    @given(st.data())
    def compare(data: st.DataObject) -> None:
        tree = copy.deepcopy(data.draw(st.sampled_from(slices())))
        mutate(data.draw, tree)
        outcome = refusals(tree)
        seen[outcome] += 1
        assert outcome[0] == outcome[1], tree

    compare()
    assert seen[True, True] > 50
    assert seen[False, False] > 20 or mutate in (unknown_key, wrong_type)


anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-3, 40)
    | st.floats(-2, 2)
    | st.sampled_from(["", "30d", "value > 1", "x", "als"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("abk"), inner, max_size=2),
    max_leaves=4,
)


@settings(max_examples=500, deadline=None)
@given(st.data())
def test_what_the_schema_refuses_the_reader_refuses(data: st.DataObject) -> None:
    tree = copy.deepcopy(data.draw(st.sampled_from(slices())))
    for _ in range(data.draw(st.integers(1, 3))):
        inside, key = data.draw(st.sampled_from(list(places(tree))))
        if isinstance(inside, dict) and data.draw(st.booleans()):
            del inside[key]
        else:
            inside[key] = data.draw(anything)
    by_schema, by_reader = refusals(tree)
    assert by_reader or not by_schema, tree
