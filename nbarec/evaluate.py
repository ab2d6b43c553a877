"""The evaluation run: every list of a pipeline against held-out events, with intervals."""

from __future__ import annotations

import difflib
import re
import time
from collections.abc import Mapping, Sequence

import numpy as np

from nbarec.components import Metric
from nbarec.data import Dataset
from nbarec.errors import ConfigError
from nbarec.evaluation_config import SegmentsBy
from nbarec.evaluation_run import EvaluationRun, Serve, Variant
from nbarec.measuring import Measuring, MetricAt
from nbarec.progress import track
from nbarec.relevance import fingerprint
from nbarec.reports import Evaluation
from nbarec.scalars import shown
from nbarec.segmentation import segments_of
from nbarec.sparse import Csr
from nbarec.statistics import Resamples
from nbarec.timelines import Moments

USERS_IN_BATCH = 16_384


def parse_metric(text: str, known: Mapping[str, type[Metric]]) -> MetricAt:
    """The metric that `name@k` asks for. Raises ValueError where the name is not known or k is not a whole number of
    at least 1."""
    name, at, places = text.partition("@")
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        advice = f"did you mean {near[0]!r}?" if near else f"the metrics are {', '.join(sorted(known))}"
        raise ValueError(f"{shown(text)}: there is no metric {shown(name)}; {advice}")
    if not at:
        raise ValueError(f"{text!r} does not say how many places count; write for example {name}@10")
    if not re.fullmatch("(?=0*[1-9])[0-9]{1,9}", places):
        raise ValueError(
            f"{shown(text)}: {shown(places)} is not a number of places; write a whole number, such as {name}@10"
        )
    return MetricAt(known[name](), int(places))


def evaluate(
    serve: Serve,
    users: np.ndarray,
    truth: Csr,
    metrics: Sequence[MetricAt],
    data: Dataset,
    rng: np.random.Generator,
    *,
    places: int = 1,
    variants: Sequence[Variant] = (),
    segments: Sequence[SegmentsBy] = (),
    holdout: Sequence[str] = (),
    batch: int = USERS_IN_BATCH,
    resamples: int = 1000,
    moments: Moments | None = None,
) -> Evaluation:
    """Measure the whole pipeline and each of its stages by all `metrics`, all over the same resamples of users.

    `users` int [U] are positions in `data`, which holds what the pipeline was fitted on; `truth` has a row for each
    user of `data`. Only users with a relevant item are asked for and measured. Lists are served with as many `places`
    as they have where they are used, and once more for each k beyond it that a metric has; `variants` are further
    slates, such as those of other settings; `segments` have figures of their own, of the metrics that are means.
    Metrics see `batch` users at a time.

    With `moments` a row is a request instead: `users` int [U] are positions among these, `truth` has a row for each of
    them, and lists are served for such positions. They stand user by user; a user's are resampled together.
    Raises ConfigError where no user has a relevant item, ContractError where slates or metric values have the wrong
    shape, ValueError without a metric.
    """
    if not metrics:
        raise ValueError("there is no metric to evaluate by; name one, such as ndcg@10")
    start = time.perf_counter()
    tested = users[truth.counts[users] > 0]
    if not len(tested):
        lacking = f"none of {len(users):,} users has a relevant held-out item"
        lacking = lacking if moments is None else "no held-out event counts"
        raise ConfigError(f"{lacking}; hold out more or other events")
    relevant = truth.take_rows(tested)
    asked = Moments.of_users(data, tested) if moments is None else moments.take(tested)
    by_weight = any(metric.metric.by_weight for metric in metrics)
    parts = {one.by: segments_of(one, data, asked.user, asked.known) for one in segments}
    if moments is None:
        drawn = Resamples.draw(len(tested), rng, resamples)
    else:
        drawn = Resamples.of_rows(asked.user, rng, resamples)
    run = EvaluationRun.of(tested, Measuring(tuple(metrics), relevant, data, drawn, batch), parts)
    with track("evaluating", 1 + len(variants)) as advance:
        whole, losses = run.whole(serve, places)
        advance(1)
        varied = {}
        for variant in variants:  # a step a variant: each is measured and let go before the next is made
            varied[variant.name] = run.variant(variant)
            advance(1)
    reports = run.reports([*whole.values(), *varied.values()])
    slate, *stages = reports[: len(whole)]
    return Evaluation(
        slate=slate,
        stages=dict(zip(list(whole)[1:], stages, strict=True)),
        variants=dict(zip(varied, reports[len(whole) :], strict=True)),
        losses=losses,
        segments=tuple(run.tables(whole)),
        users=tuple(data.users.texts(asked.user)),
        skipped=(len(users) if moments is None else len(data.users)) - drawn.users,
        requests=None if moments is None else tuple(asked.number.tolist()),
        holdout=tuple(holdout),
        relevant=fingerprint(truth, data, moments),
        weights=fingerprint(truth, data, moments, weights=True) if by_weight else "",
        seconds=time.perf_counter() - start,
    )
