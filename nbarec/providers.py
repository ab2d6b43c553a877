"""Who provides which component: what was found at start-up, and how a name in a config leads to a class."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

import pluggy

from nbarec.components import CandidateGenerator, Component, DataSource, FeatureProvider, Metric, PostFilter, Ranker
from nbarec.errors import PluginError
from nbarec.scalars import shown

DISABLE = "NBAREC_DISABLE_PLUGINS"
"""Environment variable: `distribution:entry,distribution:entry` are not even imported."""

Kind: TypeAlias = Literal["generator", "ranker", "filter", "source", "feature", "metric"]


@dataclass(frozen=True)
class KindSpec:
    """What one kind of component is: the hook that lists it, its base class, what people call it, the section of
    the config that it belongs to and how it is written there."""

    hook: str
    base: type[Component]
    words: str
    section: str
    written: str = "use: {}"


KINDS: Mapping[Kind, KindSpec] = {
    "generator": KindSpec("nbarec_candidate_generators", CandidateGenerator, "generator", "candidates"),
    "ranker": KindSpec("nbarec_rankers", Ranker, "ranker", "rank"),
    "filter": KindSpec("nbarec_post_filters", PostFilter, "post-filter", "filters"),
    "source": KindSpec("nbarec_data_sources", DataSource, "data source", "data"),
    "feature": KindSpec("nbarec_feature_providers", FeatureProvider, "feature provider", "features"),
    "metric": KindSpec("nbarec_metrics", Metric, "metric", "evaluate.metrics", written="{}@k"),
}


@dataclass(frozen=True)
class Provider:
    """Who provides a plugin: an entry point of an installed distribution. `value` is the module that it names."""

    distribution: str
    version: str
    entry: str
    value: str

    def __str__(self) -> str:
        return f"{self.distribution}:{self.entry}"

    @property
    def requirement(self) -> str:
        """What a manifest records and what pip can install: `nbarec-other==1.2`."""
        return f"{self.distribution}=={self.version}"

    @property
    def key(self) -> str:
        """`distribution:entry` with the distribution's name normalised: the same for every spelling of it."""
        return f"{normalised(self.distribution)}:{self.entry}"

    def is_from(self, distribution: str) -> bool:
        """Whether this is that distribution, in any spelling; the empty text stands for any."""
        return not distribution or normalised(distribution) == normalised(self.distribution)


@dataclass(frozen=True)
class Registered:
    """A component class, its kind, and the plugin that it came from."""

    kind: Kind
    component: type[Component]
    provider: Provider

    @property
    def name(self) -> str:
        """What `use:` says."""
        return self.component.name


@dataclass(frozen=True)
class Broken:
    """A plugin that was left out, and why, in one line."""

    provider: Provider
    reason: str

    def __str__(self) -> str:
        return f"{self.provider} ({self.provider.requirement}): {self.reason}"


@dataclass(frozen=True)
class Registry:
    """Every plugin that was found.

    `manager` calls the lifecycle hooks, as in `registry.manager.hook.nbarec_after_fit(...)`. `providers` are the
    plugins that were loaded, `broken` those that failed, `disabled` those that the environment turns off.
    """

    manager: pluggy.PluginManager
    registered: tuple[Registered, ...]
    providers: tuple[Provider, ...]
    broken: tuple[Broken, ...]
    disabled: tuple[Provider, ...]

    def components(self, kind: Kind | None = None) -> list[Registered]:
        """All components, or those of one kind; by kind, name and provider."""
        return [item for item in self.registered if kind in (None, item.kind)]

    def find(self, kind: Kind, use: str) -> Registered:
        """The component that `use` names: `als`, or `nbarec-other/als` for the one of that distribution.

        Raises PluginError where there is none, and where several distributions register the name.
        """
        distribution, _, name = use.rpartition("/")
        named = [item for item in _named(self, name, distribution) if item.kind == kind]
        if len(named) == 1:
            return named[0]
        raise PluginError(_ambiguous(named) if named else _missing(self, kind, distribution, name))


def _named(found: Registry, name: str, distribution: str) -> list[Registered]:
    return [item for item in found.registered if item.name == name and item.provider.is_from(distribution)]


def _ambiguous(named: list[Registered]) -> str:
    # Last comes what sorts first, mostly nbarec itself: the newcomer is what a person has to think about.
    providers = [item.provider for item in reversed(named)]
    who = " and by ".join(map(str, providers))
    distributions = list(dict.fromkeys(provider.distribution for provider in providers))
    if len(distributions) == 1:
        advice = f"leave one out with {DISABLE}={providers[0]}"
    else:
        advice = "write " + _choices(named[0].kind, named[0].name, distributions)
    return f"component {named[0].name!r} is registered by {who}; {advice}"


def _choices(kind: Kind, name: str, distributions: Iterable[str]) -> str:
    uses = (KINDS[kind].written.format(f"{distribution}/{name}") for distribution in distributions)
    return " or ".join(map(repr, uses))


def _missing(found: Registry, kind: Kind, distribution: str, name: str) -> str:
    """What to say where nothing fits: the nearest explanation, then what broken or disabled plugins might have been."""
    broken = [f"broken: {item}" for item in found.broken if item.provider.is_from(distribution)]
    disabled = [f"disabled by {DISABLE}: {item}" for item in found.disabled if item.is_from(distribution)]
    silent = ["plugins that may provide it are not loaded:"] if broken or disabled else []
    return "\n  ".join([_explained(found, kind, distribution, name), *silent, *broken, *disabled])


def _explained(found: Registry, kind: Kind, distribution: str, name: str) -> str:
    words = KINDS[kind].words
    if elsewhere := _named(found, name, distribution):
        other = KINDS[elsewhere[0].kind]
        return f"{name} is a {other.words}, not a {words}: list it under {other.section}"
    everyone = [*found.providers, *(item.provider for item in found.broken), *found.disabled]
    if distribution and not any(provider.is_from(distribution) for provider in everyone):
        names = sorted({provider.distribution for provider in everyone})
        # Most names begin with nbarec-: so much alike, another is no likely slip of the pen.
        advice = advice_on(distribution, names, f"install {shown(distribution, str)}", cutoff=0.8)
        return f"no plugin of {shown(distribution)} is installed; {advice}"
    whose = f"{distribution} has" if distribution else "there is"
    if others := [item.provider.distribution for item in _named(found, name, "") if item.kind == kind]:
        return f"{whose} no {words} {shown(name)}; write {_choices(kind, name, dict.fromkeys(others))}"
    names = sorted({item.name for item in found.components(kind) if item.provider.is_from(distribution)})
    advice = advice_on(name, names, f"those that there are: {', '.join(names) or 'none'}")
    return f"{whose} no {words} {shown(name)}; {advice}"


def normalised(distribution: str) -> str:
    """The name as package indexes compare it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", distribution).lower()


def advice_on(wrong: str, known: Iterable[str], otherwise: str, cutoff: float = 0.6) -> str:
    """The nearest known name as a question, or `otherwise` where none is as near as `cutoff`, from 0 to 1."""
    near = difflib.get_close_matches(wrong, known, n=1, cutoff=cutoff)
    return f"did you mean {near[0]!r}?" if near else otherwise
