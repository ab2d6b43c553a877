"""How good the lists are, in the report of a run: metrics, where items are left, popularity, segments."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

from nbarec.chart_planes import Axes, Point, scatter
from nbarec.charts import Mark, bars, dots, waterfall
from nbarec.figures import Figure
from nbarec.list_popularity import list_popularity
from nbarec.markup import Markup, element, joined
from nbarec.metric_words import words_of
from nbarec.outcomes import BELOW, CUT, REMOVED
from nbarec.report_evaluation import RunEvaluation, SegmentFigures
from nbarec.report_page import (
    charted,
    code,
    exact,
    figure_text,
    folded,
    grid,
    halves,
    interval_text,
    items,
    note,
    paragraph,
    percent,
    rounded,
    stage,
    table,
)
from nbarec.reports import WHOLE_PIPELINE
from nbarec.run_folder import Run
from nbarec.stage_losses import EXCLUDED, UNPROPOSED, StageLosses

NO_EVALUATION = (
    "This run has no evaluation, so nothing tells how good its lists are. Give the config an ",
    code("evaluate:"),
    " section, such as ",
    code("evaluate: {split: {use: last_fraction, fraction: 0.2}, metrics: [recall@20, ndcg@20, novelty@20]}"),
    ", and run it again with ",
    code("nbarec run CONFIG --out DIR"),
    ".",
)

KNOWN_LITTLE = ("novelty", "average_popularity")
"""Metrics of how popular the shown items are, the first that was measured is taken."""

EVENTS = "events of the items shown"
EVENTS_WORDS = (
    "figures of the lists that the saved model gives to users of all kinds; the evaluation has no metric of it, "
    "such as novelty@10"
)

HITS = ("recall", "recall_capped", "hit_rate", "ndcg", "precision", "map", "mrr", "auc")


def metrics_section(run: Run) -> Markup:
    """Every figure of every list: as charts, and as a table."""
    found = run.evaluation
    if found is None:
        return note(*NO_EVALUATION)
    said = (
        "A line a list: what each generator would show by itself, what each ranker makes of all of them, and what is "
        "shown in the end (slate). The thin line is the 95% interval: how far the figure would move with other users "
        "of the same kind."
    )
    charts = [charted(label, words_of(label), _dots(run, found, label)) for label in found.slate]
    lines = [[_name(run, name), *map(figure_text, report.values())] for name, report in _in_order(found)]
    roles = ["slate" if name == WHOLE_PIPELINE else "" for name in found.lists]
    caption = f"Means over {'users' if found.requests is None else 'requests'}, ± half of the 95% interval"
    held = [*found.holdout, f"{found.measured} measured, {found.skipped:,} without a relevant held-out item"]
    parts = [paragraph(said), _key(run), grid(*charts), element("h3", "The same as a table")]
    return joined([*parts, table(caption, ["list", *found.slate], lines, roles=roles), folded("Held out", items(held))])


def _in_order(found: RunEvaluation) -> Iterator[tuple[str, Mapping[str, Figure]]]:
    for name, report in found.lists.items():
        nothing = Figure(math.nan, (math.nan, math.nan), 0, 0)
        yield name, {label: report.get(label, nothing) for label in found.slate}


def _name(run: Run, name: str) -> Markup:
    return stage(name, run.roles.get(name, "lost"))


def _key(run: Run, *, filters: bool = False) -> Markup:
    """What the colours mean."""
    words = {
        "generate": "generators propose",
        "rank": "rankers order",
        "filter": "filters remove",
        "slate": "the slate",
    }
    there = set(run.roles.values()) - (set() if filters else {"filter"})
    listed = (element("li", told, class_=role) for role, told in words.items() if role in there)
    return element("ul", *listed, class_="key")


def _dots(run: Run, found: RunEvaluation, label: str) -> Markup:
    marks = [_mark(name, report[label], run.roles.get(name, "lost"), label) for name, report in _in_order(found)]
    told = "; ".join(mark.told for mark in marks)
    return dots(label, told, marks)


def _mark(name: str, figure: Figure, role: str, label: str) -> Mark:
    low, high = figure.ci95
    interval = interval_text(low, high)
    told = f"{name}: {label} {rounded(figure.mean)}" + (f", {interval}" if interval else "")
    return Mark(name, figure.mean, rounded(figure.mean), told, role, low, high)


def losses_section(run: Run) -> Markup:
    """Where items are left that users went on to like."""
    found = run.evaluation
    if found is None or found.losses is None or not found.losses.pairs:
        asked = joined(["Needs an evaluation with ", code("stage_losses: true"), ", which it is where left out."])
        return note(*NO_EVALUATION) if found is None else note(asked)
    losses = found.losses
    said = (
        f"Users went on to like {losses.pairs:,} items that were held out. Each is followed through the pipeline until "
        "it is shown, or left: the widest bar is where there is most to win."
    )
    chart = charted("Where held-out items are left", _not_lost(losses), _waterfall(losses))
    lines = [
        [_name(run, name), f"{some:,}", _of_all(some, losses), f"{one:,}", _of_all(one, losses)]
        for name, (some, one) in losses.generators.items()
    ]
    header = ["generator", "proposed", "share", "no other did", "share"]
    told = "What each generator brings: held-out items that it proposed, and those that no other one did"
    return joined([paragraph(said), _key(run, filters=True), halves(chart, table(told, header, lines))])


def _of_all(count: int, losses: StageLosses) -> Markup:
    return exact(count / losses.pairs, percent(count / losses.pairs))


def _waterfall(losses: StageLosses) -> Markup:
    *reasons, shown = losses.left
    steps = [_loss(reason, losses) for reason in reasons if losses.left[reason]]
    start = Mark("held out", losses.pairs, f"{losses.pairs:,}", f"{losses.pairs:,} held-out items", "lost")
    end = _loss(shown, losses)
    told = "; ".join(mark.told for mark in (start, *steps, end))
    return waterfall("Where held-out items are left", told, start, steps, end)


def _loss(reason: str, losses: StageLosses) -> Mark:
    count = losses.left[reason]
    shown = f"{count:,} · {percent(count / losses.pairs)}"
    label = f"ranked below the {losses.places} places" if reason == BELOW else _plain(reason)
    return Mark(label, count, shown, f"{label}: {shown}", _role_of(reason))


def _plain(reason: str) -> str:
    return "left out, as already known" if reason == EXCLUDED else reason


def _role_of(reason: str) -> str:
    """What kind of stage an item was left at."""
    if reason in (EXCLUDED, UNPROPOSED):
        return "generate"
    if reason.startswith(REMOVED):
        return "filter"
    return "rank" if reason == BELOW or reason.startswith(CUT) else "slate"


def _not_lost(losses: StageLosses) -> str:
    nothing = [_at(reason) for reason in list(losses.left)[:-1] if not losses.left[reason]]
    return f"None was lost {', '.join(nothing)}." if nothing else "Every step left some."


def _at(reason: str) -> str:
    """Where an item is left, in short."""
    if reason.startswith((REMOVED, CUT)):
        return f"at {reason.removeprefix(REMOVED).removeprefix(CUT)}"
    return {EXCLUDED: "as already known", UNPROPOSED: "as not proposed", BELOW: "below the places"}.get(reason, reason)


def popularity_section(run: Run) -> Markup:
    """Whether lists find what users like by showing what everybody knows."""
    found = run.evaluation
    if found is None:
        return note(*NO_EVALUATION)
    up = found.labelled(*HITS)
    across, known = _known(run, found)
    if up is None or not known:
        asked = code(f"novelty@{found.headline.partition('@')[2]}")
        return note("Needs a metric of how popular the shown items are: add ", asked, " to evaluate.metrics.")
    points = [
        Point(
            name,
            known[name],
            report[up].mean,
            f"{name}: {across} {rounded(known[name])}, {up} {rounded(report[up].mean)}",
            run.roles.get(name, "lost"),
        )
        for name, report in _in_order(found)
        if not (math.isnan(known.get(name, math.nan)) or math.isnan(report[up].mean))
    ]
    if len({(point.x, point.y) for point in points}) < 2:
        return paragraph(*_alike(run, points, across))
    chart = scatter(f"{up} by {across}", "; ".join(point.told for point in points), Axes(across, up), points)
    side = "right" if across.startswith("novelty") else "left"
    said = f"High up: finds more of what users went on to like. Far to the {side}: shows items that few know."
    lead = "A list that finds much and shows what few know is personal; one that finds much by what all know is not."
    words = [f"{up}: {words_of(up)}.", f"{across}: {EVENTS_WORDS if across == EVENTS else words_of(across)}."]
    explained = element("div", items(words), paragraph(lead))
    return joined([_key(run), halves(charted(f"{up} by {across}", said, chart), explained)])


def _alike(run: Run, points: Sequence[Point], across: str) -> list[str]:
    """What is said where all lists are the same."""
    if not points:
        return ["No list shows anything."]
    if across != EVENTS or run.model is None:
        return [f"All lists are alike: {across} is {rounded(points[0].x)}."]
    catalogue = float(run.model.data.item_counts.mean()) if len(run.model.data.items) else 0.0
    shown = f"All lists are alike: an item that is shown has {rounded(points[0].x)} events on average, "
    return [shown, f"one of the catalogue {rounded(catalogue)}. These are {EVENTS_WORDS}."]


def _known(run: Run, found: RunEvaluation) -> tuple[str, Mapping[str, float]]:
    """How known what each list shows is: as it was measured, or of what the model serves; nothing without either."""
    across = found.labelled(*KNOWN_LITTLE)
    if across is not None:
        return across, {name: report[across].mean for name, report in _in_order(found)}
    if run.model is None:
        return "", {}
    own = [name for name in found.stages if run.roles.get(name) in ("generate", "rank")]
    served = list_popularity(run.model, own, run.model.pipeline.config.slate.k)
    return EVENTS, {name or WHOLE_PIPELINE: mean for name, mean in served.items()}


def segments_section(run: Run) -> Markup:
    """Who is served how well."""
    found = run.evaluation
    if found is None:
        return note(*NO_EVALUATION)
    if not found.segments:
        asked = code("segments: [{by: history}, {by: popularity}]")
        return note(
            "Not measured. Add ",
            asked,
            " to the evaluate section: users by how much is known of them, items by ",
            "how popular they are; a column of users, such as user.country, is possible, too.",
        )
    label = found.headline
    charts = [
        charted(f"{label} by {by}", _segment_words(by), _segment_bars(label, by, segments))
        for by, segments in found.segments.items()
        if any(label in one.figures for one in segments)
    ]
    tables = [_segment_table(by, segments) for by, segments in found.segments.items()]
    return joined([paragraph("The whole slate, for some of the users or items alone."), grid(*charts), *tables])


def _segment_words(by: str) -> str:
    if by == "popularity":
        return "Head: the items that make most of the events; tail: all others."
    return "By how many events are known of a user." if by == "history" else f"By {by}."


def _segment_bars(label: str, by: str, segments: Sequence[SegmentFigures]) -> Markup:
    marks = [_mark(one.name, one.figures[label], "slate", label) for one in segments if label in one.figures]
    return bars(f"{label} by {by}", "; ".join(mark.told for mark in marks), marks)


def _segment_table(by: str, segments: Sequence[SegmentFigures]) -> Markup:
    labels = list(segments[0].figures) if segments else []
    lines = [
        [
            f"{one.name} ({one.told})" if one.told else one.name,
            exact(one.users, f"{one.users:,}"),
            *(figure_text(one.figures[label]) for label in labels),
        ]
        for one in segments
    ]
    return table(f"By {by}, ± half of the 95% interval", [by, "users", *labels], lines)
