"""Expressions: the rules that people write in YAML, such as `user.country in item.regions`, over rows of columns.

A small language of its own, parsed once when the config is read and evaluated over all rows at once: nothing of Python
can be reached from it. The grammar stands in grammar.py.

| written | means |
|---|---|
| `seconds`, `item.genre`, `user.age`, `context.hour`, `now` | a column of the scope |
| `30`, `0.5`, `30d 12h 15m 30s 2w` | a number; a duration is its seconds |
| `'rock'`, `"rock"` | text |
| `== !=` | the same number, the same text or the same truth |
| `< <= > >=` | the order of numbers; dates are seconds since 1970 UTC |
| `x in [a, b c]`, `not in` | the number or text is listed; a bare word in a list is text |
| `x in item.tags` | the text is one of the row's tags |
| `item.tags in [a, b]`, `item.tags in user.tags` | *any* of the row's tags is |
| `+ - * /`, unary `-` | arithmetic; a result that is not finite is unknown |
| `and or not` | Kleene's three-valued logic; a number is true unless it is 0 |

A missing value makes a comparison unknown: neither `holds` nor `fails`. In a list beside a text column a number counts
as the text that was written, so that `item.id in [196, 242]` works.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np

from nbarec.arrays import Floats64
from nbarec.errors import ConfigError, Mark
from nbarec.expression_evaluation import Evaluation
from nbarec.expression_values import MissingColumn, Scope, Truth
from nbarec.grammar import parse
from nbarec.marked import ListNode, Scalar
from nbarec.marked import Node as YamlNode
from nbarec.syntax import Node, Source
from nbarec.tables import Column

__all__ = ["Expression", "MissingColumn", "Scope", "Truth"]


@dataclass(frozen=True)
class Expression:
    """A parsed rule; two are equal if their texts are. Raises ConfigError with a caret under a fault of syntax.

    >>> Expression("seconds >= 30 and item.genre in [rock, pop]").names
    ('seconds', 'item.genre')
    >>> Expression("seconds >= 30 and")
    Traceback (most recent call last):
    nbarec.errors.ConfigError: expected a value after 'and', found the end
        seconds >= 30 and
                         ^
    """

    text: str
    mark: Mark | None = field(default=None, compare=False, repr=False)
    names: tuple[str, ...] = field(init=False, compare=False, repr=False)
    _tree: Node = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        tree, names = parse(self._source)
        object.__setattr__(self, "_tree", tree)
        object.__setattr__(self, "names", names)

    @classmethod
    def from_node(cls, node: YamlNode) -> Self:
        """The expression that a YAML text says, with the text's mark for errors."""
        value = node.value if isinstance(node, Scalar) else None
        if not isinstance(value, str):
            found = repr(value) if isinstance(node, Scalar) else "a list" if isinstance(node, ListNode) else "a mapping"
            raise ConfigError(f"{found} is not an expression; write a text such as seconds >= 30", node.mark)
        return cls(value, node.mark)

    def __str__(self) -> str:
        return self.text

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.text, self.mark)  # parsed again: pickle would recurse through the tree

    @property
    def _source(self) -> Source:
        return Source(self.text, self.mark)

    def truth(self, scope: Scope) -> Truth:
        """Where the rule holds: bool [N] values and knowledge of them, N = `scope.size`.

        Raises ConfigError with a caret at a name that the scope does not have, and where types do not fit.
        """
        evaluation = Evaluation(self._source, scope)
        return evaluation.truth(self._tree, evaluation.value(self._tree)).over(scope.size)

    def numbers(self, scope: Scope) -> Floats64:
        """The number in each row: float64 [N], read-only; NaN is unknown. Raises ConfigError as `truth` does."""
        evaluation = Evaluation(self._source, scope)
        values = evaluation.numbers(self._tree, evaluation.value(self._tree))
        return np.broadcast_to(np.asarray(values, np.float64), scope.size)

    def check(self, scope: Scope) -> None:
        """Raise what `truth` would raise about names and types, without looking at a row."""
        self.truth(_NoRows(scope))


@dataclass(frozen=True)
class _NoRows:
    """The columns of a scope without their rows."""

    scope: Scope
    size: int = 0

    def column(self, name: str) -> Column | MissingColumn:
        return self.scope.column(name).take(np.empty(0, np.int64))

    def names(self) -> list[str]:
        return self.scope.names()
