"""The head of a run's report: what was recommended, by what pipeline, how good it is; and what the data are like."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from nbarec.chart_planes import Axes, Point, columns, curve
from nbarec.data import Dataset
from nbarec.data_profile import FEW_EVENTS, DataProfile
from nbarec.markup import Markup, element, joined
from nbarec.metric_words import words_of
from nbarec.model import Model
from nbarec.paired import PairedTest
from nbarec.report_evaluation import RunEvaluation
from nbarec.report_page import charted, grid, interval_text, note, paragraph, percent, rounded, stage, tile, tiles
from nbarec.run_folder import ROLES, Run
from nbarec.stages import AnyStage

TOPS = (0.01, 0.1, 0.2)


def head(run: Run) -> Markup:
    """What somebody sees who looks at nothing else."""
    parts: list[Markup] = []
    if run.model is not None:
        parts += [_what(run.model), _flow(run.model)]
    if run.evaluation is not None:
        parts += [tiles(*_tiles(run, run.evaluation)), _verdict(run, run.evaluation)]
    return joined(parts)


def _what(model: Model) -> Markup:
    data, places = model.data, model.pipeline.config.slate.k
    said = (
        f"{_many(places, 'item')} for each of {_many(len(data.users), 'user')}, chosen from "
        f"{_many(len(data.items), 'item')} after {_many(len(data.events), 'event')}{_span(data)}."
    )
    return paragraph(said, class_="lead")


def _span(data: Dataset) -> str:
    time = data.events.time
    if not time.any():
        return ""
    first, last = (datetime.fromtimestamp(int(one), UTC).strftime("%Y-%m-%d") for one in (time.min(), time.max()))
    return f" between {first} and {last}"


def _many(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def _flow(model: Model) -> Markup:
    """The way of an item through the pipeline, a box a step."""
    stages = model.pipeline.stages
    steps: list[tuple[str, str, str, Sequence[AnyStage]]] = [
        ("Propose", "candidates", "each on its own", stages.generators),
        ("Describe", "features", "for the rankers", stages.features),
        ("Rank", "rank", "one after the other", stages.rankers),
        ("Filter", "filters", "in this order", stages.filters),
    ]
    boxes = [
        _box(title, ROLES[section], how, [_named(one) for one in found])
        for title, section, how, found in steps
        if found
    ]
    fallback = model.pipeline.config.slate.fallback
    filled = [joined(["filled up by ", stage(fallback, "generate")])] if fallback else []
    places = _many(model.pipeline.config.slate.k, "place")
    return element("ol", *boxes, _box("Show", "slate", places, filled), class_="flow")


def _box(title: str, role: str, how: str, lines: list[Markup]) -> Markup:
    listed = element("ul", *(element("li", line) for line in lines))
    return element("li", element("strong", title), " ", element("span", how, class_="muted small"), listed, class_=role)


def _named(one: AnyStage) -> Markup:
    component, own = one.registered.component.name, stage(one.id, ROLES[one.section])
    return own if component == one.id else joined([own, " ", element("span", component, class_="muted small")])


def _tiles(run: Run, found: RunEvaluation) -> Iterator[Markup]:
    label = found.headline
    figure = found.slate[label]
    yield tile(rounded(figure.mean), f"{label}, {interval_text(*figure.ci95)}: {words_of(label)}")
    best = found.best(label, run.generators)
    if best is not None and found.stages[best][label].mean != figure.mean:
        yield tile(_more(figure.mean, found.stages[best][label].mean), f"against the best single generator, {best}")
    if run.popularity is not None and run.popularity in found.stages and run.popularity != best:
        yield tile(
            _more(figure.mean, found.stages[run.popularity][label].mean), f"against popularity, {run.popularity}"
        )
    if found.losses is not None and found.losses.pairs:
        shown = list(found.losses.left.values())[-1]
        what = f"of {found.losses.pairs:,} held-out items are in the {found.losses.places} places of the slates"
        yield tile(percent(shown / found.losses.pairs), what)


def _more(value: float, other: float) -> str:
    """By how much a number is above another, as a share of the other."""
    if not other > 0:
        return "–"
    share = value / other - 1
    return "±0%" if abs(share) < 0.0005 else f"{'+' if share > 0 else '−'}{percent(abs(share))}"


def _verdict(run: Run, found: RunEvaluation) -> Markup:
    label = found.headline
    best = found.best(label, run.generators)
    said = [f"Measured on the held-out part of the data: {found.measured}. "]
    if best is not None:
        said += [_against(found, label, best, "the best single generator"), " "]
    if run.popularity is not None and run.popularity in found.stages and run.popularity != best:
        said += [_against(found, label, run.popularity, "showing what is popular")]
    elif run.popularity is None and run.model is not None:
        said += ["The pipeline has no generator of popularity that it could be set against."]
    return paragraph(*said)


def _against(found: RunEvaluation, label: str, other: str, what: str) -> Markup:
    """The slate against a stage's own list, and whether chance explains the difference."""
    test = found.lead(label, other)
    name = joined(["The slate's ", element("code", label), " is "])
    than = joined([f" {what} (", stage(other, "generate"), ")"])
    if test is None:
        difference = found.slate[label].mean - found.stages[other][label].mean
        side = "above" if difference > 0 else "below" if difference < 0 else "equal to"
        return joined([name, f"{rounded(abs(difference))} {side}", than, "."])
    return joined([name, _side_of(test), than, f"{_chance(test)}."])


def _side_of(test: PairedTest) -> str:
    if test.difference == 0:
        return "the same as that of"
    return f"{rounded(abs(test.difference))} {'above' if test.difference > 0 else 'below'} that of"


def _chance(test: PairedTest) -> str:
    low, high = test.ci95
    if test.difference == 0:
        return ""
    sure = low > 0 or high < 0
    told = "chance alone does not explain that" if sure else "chance alone may explain that"
    return f"; {told} (95% interval of the difference: {rounded(low)} to {rounded(high)})"


def data_section(run: Run) -> Markup:
    """What the data look like."""
    if run.model is None:
        return note("This folder has an evaluation and no model, and the data lie with the model. ", _run_again(run))
    profile = DataProfile.of(run.model.data)
    few = profile.rare_items / max(len(profile.item_events), 1)
    facts = tiles(
        tile(percent(profile.density), "of all pairs of a user and an item have an event (density)"),
        tile(rounded(profile.gini), "Gini index of the items' events: 0 all alike, 1 all on one item"),
        tile(percent(profile.share_of_top(0.1)), "of the events are on the 10% most popular items"),
        tile(percent(few), f"of the items have fewer than {FEW_EVENTS} events ({profile.rare_items:,})"),
    )
    return joined([paragraph("What the model was fitted on."), facts, grid(*_data_charts(profile)), _files(run.model)])


def _run_again(run: Run) -> Markup:
    return joined([element("code", "nbarec run CONFIG --out DIR"), " writes both into one folder."])


def _data_charts(profile: DataProfile) -> Iterator[Markup]:
    yield charted("The long tail", "Items from the most popular on, and the share of events on them.", _tail(profile))
    names, users = profile.users_by_events()
    titles = [f"{count:,} users have {name} events" for name, count in zip(names, users.tolist(), strict=True)]
    yield charted(
        "How active users are",
        "Users by how many events they have; each column spans twice as many events as the one before.",
        columns("Users by events", "; ".join(titles), Axes("events of a user", "users"), users.tolist(), names, titles),
    )
    period, starts, events = profile.activity()
    if not period:
        return
    titles = [f"{count:,} events in the {period} of {at}" for at, count in zip(starts, events.tolist(), strict=True)]
    told = f"{len(starts)} {period}s from {starts[0]} to {starts[-1]}, {int(events.max()):,} events at most"
    axes = Axes(f"{period} from", "events")
    chart = columns("Activity over time", told, axes, events.tolist(), starts, titles)
    yield charted("Activity over time", f"Events of each {period}.", chart)


def _tail(profile: DataProfile) -> Markup:
    across, up = profile.concentration()
    line = [Point("", x, y, "", "data") for x, y in zip(across.tolist(), up.tolist(), strict=True)]
    tops = {fraction: profile.share_of_top(fraction) for fraction in TOPS}
    marked = [
        Point(
            f"{fraction:.0%} of items: {share:.0%} of events",
            fraction,
            share,
            f"the {fraction:.0%} most popular items have {percent(share)} of the events",
            "data",
        )
        for fraction, share in tops.items()
    ]
    points = sorted([*line, *marked], key=lambda one: (one.x, one.y))
    told = "; ".join(one.told for one in marked)
    return curve("The long tail", told, Axes("share of items", "share of events"), points, role="data")


def _files(model: Model) -> Markup:
    if not model.data.files:
        return Markup()
    lines = [str(report) for report in model.data.files]
    listed = element("ul", *(element("li", line) for line in lines), class_="small muted")
    return element("details", element("summary", "What became of every input row"), listed)
