"""Every hook of nbarec. A plugin is a module that implements some of them with `hookimpl`.

Hooks named `nbarec_<plural>` are asked once, at start-up, for component classes. Lifecycle hooks are told what
happened; they must return None and cannot steer. Requests never go through hooks.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, TypeVar, cast

import pluggy

if TYPE_CHECKING:
    from nbarec.batch import Request, Slate, Trace
    from nbarec.components import CandidateGenerator, DataSource, FeatureProvider, Metric, PostFilter, Ranker
    from nbarec.pipeline import Pipeline

F = TypeVar("F")


class _Marker:
    """pluggy's marker with the decorated function's type kept, so that plugins stay typed."""

    def __init__(self, marker: Any) -> None:
        self._marker = marker

    def __call__(self, function: F) -> F:
        return cast(F, self._marker(function))


hookspec = _Marker(pluggy.HookspecMarker("nbarec"))
hookimpl = _Marker(pluggy.HookimplMarker("nbarec"))


@hookspec
def nbarec_candidate_generators() -> Iterable[type[CandidateGenerator[Any]]]:  # type: ignore[empty-body]
    """Generators to add.

    >>> from nbarec.hookspecs import hookimpl
    >>> from nbarec_plugins.popularity import Popularity
    >>> @hookimpl
    ... def nbarec_candidate_generators():
    ...     return [Popularity]
    """


@hookspec
def nbarec_rankers() -> Iterable[type[Ranker[Any]]]:  # type: ignore[empty-body]
    """Rankers to add.

    >>> from nbarec.hookspecs import hookimpl
    >>> from nbarec_plugins.blend import Blend
    >>> @hookimpl
    ... def nbarec_rankers():
    ...     return [Blend]
    """


@hookspec
def nbarec_post_filters() -> Iterable[type[PostFilter[Any]]]:  # type: ignore[empty-body]
    """Post-filters to add.

    >>> from nbarec.hookspecs import hookimpl
    >>> from nbarec_plugins.caps import MaxPer
    >>> @hookimpl
    ... def nbarec_post_filters():
    ...     return [MaxPer]
    """


@hookspec
def nbarec_data_sources() -> Iterable[type[DataSource]]:  # type: ignore[empty-body]
    """Data sources to add: what `data: {use: ...}` may name.

    >>> from nbarec.hookspecs import hookimpl
    >>> from nbarec_plugins.sources import Csv
    >>> @hookimpl
    ... def nbarec_data_sources():
    ...     return [Csv]
    """


@hookspec
def nbarec_feature_providers() -> Iterable[type[FeatureProvider[Any]]]:  # type: ignore[empty-body]
    """Feature providers to add: columns of the pool for rankers and rules.

    >>> from nbarec.hookspecs import hookimpl
    >>> @hookimpl
    ... def nbarec_feature_providers():
    ...     return []
    """


@hookspec
def nbarec_metrics() -> Iterable[type[Metric]]:  # type: ignore[empty-body]
    """Metrics to add: what `evaluate.metrics` may name.

    >>> from nbarec.hookspecs import hookimpl
    >>> from nbarec_plugins.metrics import Ndcg
    >>> @hookimpl
    ... def nbarec_metrics():
    ...     return [Ndcg]
    """


@hookspec
def nbarec_after_fit(pipeline: Pipeline, stage: str, state: object, seconds: float) -> None:
    """Told after a stage was fitted: its id, its state and how long it took.

    >>> from nbarec.hookspecs import hookimpl
    >>> @hookimpl
    ... def nbarec_after_fit(stage, seconds):
    ...     print(f"{stage} took {seconds:.2f} s")
    """


@hookspec
def nbarec_after_recommend(pipeline: Pipeline, request: Request, slate: Slate, trace: Trace) -> None:
    """Told after each batch of requests was served.

    >>> from nbarec.hookspecs import hookimpl
    >>> @hookimpl
    ... def nbarec_after_recommend(slate):
    ...     print(len(slate), "slates")
    """


@hookspec
def nbarec_on_error(pipeline: Pipeline, stage: str, error: Exception) -> None:
    """Told when a stage failed, before the error reaches the caller or `on_error: skip` lets the others serve.

    >>> from nbarec.hookspecs import hookimpl
    >>> @hookimpl
    ... def nbarec_on_error(stage, error):
    ...     print(stage, "failed:", error)
    """
