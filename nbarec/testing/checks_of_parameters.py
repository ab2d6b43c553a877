"""Checks of any component before it does anything: its class, its documentation and its parameters."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, Literal, get_args, get_origin

from nbarec.components import Component
from nbarec.errors import ConfigError
from nbarec.param_rules import Declared, declared
from nbarec.param_types import Duration, is_a
from nbarec.params import describe
from nbarec.testing.subject import CheckFailed, NotApplicable

NONSENSE = "no such choice"


class Nothing:
    """What no parameter can be."""

    def __repr__(self) -> str:
        return "an object of no known type"


def declared_as_a_plugin(component: Component) -> None:
    """Its class is a frozen dataclass of its own, with a name that YAML can say."""
    cls = type(component)
    if "__dataclass_fields__" not in vars(cls):
        raise CheckFailed(f"{cls.__name__} is not decorated; put @dataclass(frozen=True) above it")
    name = vars(cls).get("name", getattr(cls, "name", None))
    if not isinstance(name, str) or not re.fullmatch("[a-z][a-z0-9_]*", name):
        raise CheckFailed(f"{cls.__name__} has the name {name!r}; give it one of small letters, digits and _")
    if "name" in declared(cls):
        raise CheckFailed(f"{cls.__name__} has its name as a parameter; annotate it as ClassVar[str]")


def documented(component: Component) -> None:
    """Its class has a docstring of its own, and every parameter a `doc`."""
    cls = type(component)
    text = vars(cls).get("__doc__") or ""
    if not text.strip() or text.startswith(f"{cls.__name__}("):  # what @dataclass writes where there is none
        raise CheckFailed(f"{cls.__name__} has no docstring; say what it computes: it is its page in the documentation")
    bare = [parameter.name for parameter in describe(cls) if not parameter.doc.strip()]
    if bare:
        raise CheckFailed(f"nothing says what {', '.join(bare)} means; write param(..., doc='...')")


def defaults_construct(component: Component) -> None:
    """Without any parameters it can be made; a copy with the same parameters is equal."""
    if replace(component) != component:
        raise CheckFailed(f"{component!r} made anew from its own parameters is another; check __post_init__")
    required = [key for key, item in declared(type(component)).items() if item.required]
    if required:
        raise NotApplicable(f"it needs {', '.join(required)}")
    try:
        type(component)()
    except (ValueError, ConfigError) as error:
        if not declared(type(component)) or _breaks_its_own_rule(component, error):
            raise CheckFailed(f"its defaults are refused: {error}; choose defaults that fit its own bounds") from error
        raise NotApplicable(f"its defaults alone are not enough: {error}") from error


def _breaks_its_own_rule(component: Component, error: Exception) -> bool:
    """Whether a default is refused for itself, and not because something more must be given."""
    return any(re.match(rf"{re.escape(key)} must be ", str(error)) for key in declared(type(component)))


def bad_parameters_refused(component: Component) -> None:
    """Values of a wrong type, out of bounds or not among the choices are refused at construction, by name."""
    parameters = declared(type(component))
    if not parameters:
        raise NotApplicable("it has no parameters")
    for key, item in parameters.items():
        for value in (Nothing(), *_bad_values(item)):
            _check_refused(component, key, item.name, value)


def _check_refused(component: Component, key: str, field: str, value: object) -> None:
    try:
        replace(component, **{field: value})
    except (ValueError, ConfigError) as error:
        if key not in str(error):
            raise CheckFailed(
                f"with {key}={value!r} it says {error}; the message must name the parameter, {key}"
            ) from error
    else:
        raise CheckFailed(
            f"it takes {key}={value!r}; declare bounds with param(...), and let __post_init__, if there is one, call "
            "super().__post_init__() first"
        )


def _bad_values(item: Declared) -> Iterator[object]:
    """Values of the right type that the parameter's rule forbids."""
    annotation, rule = item.annotation, item.rule
    for sign, _, _, limit in rule.bounds():
        beyond = {">=": limit - 1, ">": limit, "<=": limit + 1, "<": limit}[sign]
        yield from _wrapped(annotation, beyond)
    if rule.choices:
        yield NONSENSE
    if _has(annotation, float):
        yield from _wrapped(annotation, math.nan)
    if get_origin(annotation) is Literal:
        yield NONSENSE


def _wrapped(annotation: Any, value: float) -> Iterator[object]:
    """The number as the parameter would hold it: in a list, in a mapping, as a duration."""
    for option in (annotation, *get_args(annotation)):
        origin = get_origin(option) or option
        if is_a(origin, Mapping):
            yield {"any": value}
            return
        if origin is tuple:
            yield (value,)
            return
        if option is Duration:
            if value >= 0:  # no duration is less
                yield Duration(value)
            return
    yield value


def _has(annotation: Any, wanted: type) -> bool:
    return annotation is wanted or any(_has(option, wanted) for option in get_args(annotation))


PARAMETER_CHECKS = (declared_as_a_plugin, documented, defaults_construct, bad_parameters_refused)
