"""Plugins: found by entry point, tried one by one, and told apart by who provides them.

Every entry point of the group `nbarec` names a module. Each is imported, asked for its components and checked while
it stands alone, and joins the others only if all of that went well: whatever is wrong with one plugin, the others load.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import os
import re
import traceback
from collections.abc import Iterable, Iterator
from dataclasses import fields
from importlib import metadata
from types import ModuleType
from typing import Any

import pluggy

from nbarec import hookspecs
from nbarec.errors import PluginError
from nbarec.params import describe
from nbarec.providers import (
    DISABLE,
    KINDS,
    Broken,
    Kind,
    KindSpec,
    Provider,
    Registered,
    Registry,
    advice_on,
    normalised,
)

__all__ = ["Broken", "Kind", "Provider", "Registered", "Registry", "load_plugins", "registry"]

GROUP = "nbarec"
"""The group of entry points that are asked for."""

_NAME = re.compile("[a-z][a-z0-9_]*")
_MODULE = re.compile(r"\w+(\.\w+)*")
_LONGEST_REASON = 400  # the messages of some failed imports fill a screen


@functools.cache
def registry() -> Registry:
    """The plugins of this process, loaded at the first call."""
    return load_plugins()


def load_plugins(
    entry_points: Iterable[metadata.EntryPoint] | None = None, disabled: Iterable[str] | None = None
) -> Registry:
    """Load every plugin; what fails is `broken` in the registry and never raises.

    By default these are all entry points of the group `nbarec`, less those in `NBAREC_DISABLE_PLUGINS`. Where
    one distribution is found twice, the first counts, as it does for `import`. Raises PluginError where an entry of
    `disabled` is not `distribution:entry`.
    """
    found = metadata.entry_points(group=GROUP) if entry_points is None else entry_points
    off = _disabled_keys(os.environ.get(DISABLE, "").split(",") if disabled is None else disabled)
    unique = {provider.key: provider for provider in reversed([_provider(entry) for entry in found])}
    manager = _new_manager()
    wanted = [unique[key] for key in sorted(unique.keys() - off)]
    outcomes = {provider.key: _load(provider, manager) for provider in wanted}
    broken = tuple(outcome for outcome in outcomes.values() if isinstance(outcome, Broken))
    components = [item for outcome in outcomes.values() if not isinstance(outcome, Broken) for item in outcome]
    return Registry(
        manager=manager,
        registered=tuple(sorted(components, key=_place_in_listing)),
        providers=tuple(provider for provider in wanted if not isinstance(outcomes[provider.key], Broken)),
        broken=broken,
        disabled=tuple(unique[key] for key in sorted(unique.keys() & off)),
    )


class _Fault(Exception):
    """Something that no exception of the plugin itself says: the message is the whole reason."""


def _new_manager() -> pluggy.PluginManager:
    manager = pluggy.PluginManager("nbarec")
    manager.add_hookspecs(hookspecs)
    return manager


def _provider(entry: metadata.EntryPoint) -> Provider:
    # A distribution whose installation was interrupted may have entry points and no name.
    found = entry.dist and entry.dist.metadata
    name, version = (found[key] if found and key in found else "unknown" for key in ("Name", "Version"))
    return Provider(name, version, entry.name, entry.value)


def _disabled_keys(listed: Iterable[str]) -> set[str]:
    keys = set()
    for text in filter(None, map(str.strip, listed)):
        distribution, _, entry = text.partition(":")
        if not distribution or not entry:
            raise PluginError(
                f"{DISABLE} has {text!r}; write distribution:entry, such as nbarec-other:als, with commas between"
            )
        keys.add(f"{normalised(distribution)}:{entry}")
    return keys


def _place_in_listing(item: Registered) -> tuple[int, str, str]:
    return list(KINDS).index(item.kind), item.name, item.provider.key


def _load(provider: Provider, manager: pluggy.PluginManager) -> tuple[Registered, ...] | Broken:
    """The plugin's components, after it was registered; or what is wrong with it, and nothing is registered."""
    try:
        module = _module(provider.value)
        if taken := manager.get_name(module):
            raise _Fault(f"its module {provider.value} is already loaded as {taken}")
        # On trial with a manager of its own: what fails there was never among the others.
        trial = _new_manager()
        trial.register(module, str(provider))
        _check_hooks(trial, module)
        components = tuple(_components(trial, provider))
        manager.register(module, str(provider))
    except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever one plugin does, the others must load
        return Broken(provider, _reason(error, provider))
    return components


def _module(value: str) -> ModuleType:
    if not _MODULE.fullmatch(value):
        module = value.partition(":")[0].strip()
        raise _Fault(f"its entry point {value!r} is not a module; write the module alone, such as {module!r}")
    return importlib.import_module(value)


def _check_hooks(trial: pluggy.PluginManager, module: ModuleType) -> None:
    """Refuse a module without hooks and one with hooks that nbarec does not have."""
    used = trial.get_hookcallers(module) or []
    if not used:
        raise _Fault(f"{module.__name__} implements no hook; mark at least one function with nbarec.hookspecs.hookimpl")
    known = [caller.name for caller in vars(trial.hook).values() if caller.has_spec()]
    for caller in used:
        if caller.name not in known and not all(hook.optionalhook for hook in caller.get_hookimpls()):
            advice = advice_on(caller.name, known, f"the hooks are {', '.join(known)}")
            raise _Fault(f"{module.__name__}.{caller.name} is no hook of nbarec; {advice}")


def _components(trial: pluggy.PluginManager, provider: Provider) -> Iterator[Registered]:
    for kind, spec in KINDS.items():
        names: set[str] = set()
        for hook in getattr(trial.hook, spec.hook).get_hookimpls():
            for component in _listed(hook.function(), spec):
                _check_component(component, spec)
                if component.name in names:
                    raise _Fault(f"{spec.hook} lists two components named {component.name!r}; rename one")
                names.add(component.name)
                yield Registered(kind, component, provider)


def _listed(returned: Any, spec: KindSpec) -> Iterable[Any]:
    if isinstance(returned, type) or not isinstance(returned, Iterable):
        raise _Fault(f"{spec.hook} must return a list of classes, not {returned!r}")
    return returned


def _check_component(component: Any, spec: KindSpec) -> None:
    """Refuse what the engine could not make, describe or call."""
    if not isinstance(component, type) or not issubclass(component, spec.base):
        raise _Fault(f"{spec.hook} lists {component!r}, which is no subclass of nbarec.components.{spec.base.__name__}")
    where = f"{component.__module__}.{component.__qualname__}"
    # Looked up in the class itself: fields that a subclass adds are no parameters until it is decorated, too.
    if "__dataclass_fields__" not in vars(component):
        raise _Fault(f"{where} is not decorated with @dataclass(frozen=True)")
    name = getattr(component, "name", None)
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise _Fault(f"{where} needs a name of small letters, digits and _, such as name: ClassVar[str] = 'als'")
    if any(field.name == "name" for field in fields(component)):
        raise _Fault(f"{where} has its name as a parameter; annotate it as ClassVar[str]")
    if inspect.isabstract(component):
        raise _Fault(f"{where} does not implement {', '.join(sorted(component.__abstractmethods__))}")
    try:
        describe(component)
    except Exception as error:
        raise _Fault(f"{where} has parameters of a type that YAML can't give: {_one_line(error)}") from error


def _reason(error: BaseException, provider: Provider) -> str:
    if isinstance(error, _Fault):
        return str(error)
    package = provider.value.partition(".")[0]
    own = [
        f" ({frame.f_code.co_filename}:{line})"
        for frame, line in traceback.walk_tb(error.__traceback__)
        if str(frame.f_globals.get("__name__")).partition(".")[0] == package
    ]
    return _one_line(error) + "".join(own[-1:])


def _one_line(error: BaseException) -> str:
    text = " ".join(f"{type(error).__name__}: {error}".split())
    return text if len(text) <= _LONGEST_REASON else text[: _LONGEST_REASON - 3] + "..."
