"""Other values at dotted paths of a config, as `--set candidates.latent.with.factors=128`.

>>> from nbarec.marked import read_text, to_plain
>>> root = read_text("candidates: [{id: latent, use: als}]", "music.yaml")
>>> to_plain(apply_overrides(root, {"candidates.latent.k": "300"}))
{'candidates': [{'id': 'latent', 'use': 'als', 'k': 300}]}
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from nbarec.errors import ConfigError, Mark, Problem
from nbarec.marked import MAX_DEPTH, ListNode, MapNode, Node, Scalar, compose, from_python, is_null, to_plain
from nbarec.scalars import shown


def apply_overrides(root: MapNode, overrides: Mapping[str, object]) -> MapNode:
    """A copy of `root` with other values at dotted paths, as `--set candidates.latent.with.factors=128`.

    In a list, a component of the path is the `entry_id` of a mapping there. Missing mappings on the way are
    made. Text is read as YAML; other Python values are taken as they are. Raises ConfigError.
    """
    problems: list[Problem] = []
    for path, value in overrides.items():
        try:
            root = _override(root, path, value)
        except ConfigError as error:
            problems.extend(error.problems)
    if problems:
        raise ConfigError(problems)
    return root


def entry_id(node: Node) -> str | None:
    """The id by which a list entry is addressed: its `id`, else its `use` without the distribution, else None."""
    if not isinstance(node, MapNode):
        return None
    return _text(node.entries.get("id")) or (_text(node.entries.get("use")) or "").rpartition("/")[2] or None


def _text(node: Node | None) -> str | None:
    return node.value if isinstance(node, Scalar) and isinstance(node.value, str) else None


def _override(root: MapNode, path: str, value: object) -> MapNode:
    mark = Mark(f"--set {path}", 1, 1)
    parts = path.split(".")
    if not all(parts) or len(parts) > MAX_DEPTH:
        raise ConfigError("this is not a path; write one such as seed or candidates.latent.with.factors", mark)
    if isinstance(value, str):
        return _in_mapping(root, parts, compose(value, mark.source) or Scalar(mark, None), mark)
    return _in_mapping(root, parts, from_python(value, mark), mark)


def _with_value(node: Node | None, parts: Sequence[str], value: Node, mark: Mark) -> Node:
    if not parts:
        return value
    if isinstance(node, ListNode):
        return _in_list(node, parts, value, mark)
    if node is None or is_null(node):
        node = MapNode(mark, {}, {})
    if not isinstance(node, MapNode):
        raise ConfigError(f"{parts[0]!r} can't be set inside {shown(to_plain(node))}, a single value", mark)
    return _in_mapping(node, parts, value, mark)


def _in_mapping(node: MapNode, parts: Sequence[str], value: Node, mark: Mark) -> MapNode:
    key = parts[0]
    entry = _with_value(node.entries.get(key), parts[1:], value, mark)
    return MapNode(node.mark, {**node.entries, key: entry}, {key: mark, **node.key_marks})


def _in_list(node: ListNode, parts: Sequence[str], value: Node, mark: Mark) -> ListNode:
    ids = [entry_id(item) for item in node.items]
    if not any(ids):
        raise ConfigError(f"there are no ids in this list to find {parts[0]!r} by; set the whole list", mark)
    if (times := ids.count(parts[0])) != 1:
        known = ", ".join(sorted({name for name in ids if name}))
        found = f"{times} entries have" if times else "no entry has"
        raise ConfigError(f"{found} the id {parts[0]!r}; the ids here are {known}", mark)
    at = ids.index(parts[0])
    entry = _with_value(node.items[at], parts[1:], value, mark)
    return ListNode(node.mark, (*node.items[:at], entry, *node.items[at + 1 :]))
