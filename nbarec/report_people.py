"""Who gets what and why, and how the run was made: the last sections of a run's report."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from nbarec.explain import Proposal
from nbarec.markup import Markup, element, escaped, joined
from nbarec.report_page import code, folded, note, paragraph, rounded, stage, table
from nbarec.run_costs import versions
from nbarec.run_folder import Run
from nbarec.sample_users import Known, SampleUser, Shown
from nbarec.saved import Recorded, recorded

NAMES_IN_SUMMARY = 3


def users_section(run: Run, users: Sequence[SampleUser]) -> Markup:
    """A card a user: what is known, what is shown, and why."""
    if run.model is None:
        return note("Slates are made by the model, which this folder lacks: ", code("nbarec run CONFIG --out DIR"), ".")
    if not users:
        return note("No user of these data has an event.")
    timed = bool(run.model.data.events.time.any())
    said = (
        "The model as it was saved, fitted on all data. Behind each reason: which generators proposed the item, and at "
        "which place of their own lists."
    )
    return joined([paragraph(said), *(_card(run, one, timed=timed, first=one is users[0]) for one in users)])


def _card(run: Run, user: SampleUser, *, timed: bool, first: bool) -> Markup:
    gets = " · ".join(one.name or one.id for one in user.slate[:NAMES_IN_SUMMARY])
    events = f"{user.events:,} event{'' if user.events == 1 else 's'}"
    title = element("h3", f"User {user.id}")
    told = element("span", f" · {user.group}, {events} → {gets or 'nothing'}", class_="muted")
    knows = "Latest in the history" if timed else "Most weight in the history"
    history = element("div", element("strong", knows), _history(user.known))
    slate = element("div", element("strong", "Gets"), element("ol", *(_place(run, one) for one in user.slate)))
    decision = [paragraph(f"({user.decision})", class_="muted small")] if user.decision else []
    body = element("div", history, slate, class_="taste")
    return element("details", element("summary", title, told), body, *decision, class_="user", open=first)


def _history(known: Sequence[Known]) -> Markup:
    if not known:
        return paragraph("nothing of positive weight", class_="muted")
    return element("ul", *(element("li", *_item(one.id, one.name), _own_number(one.value)) for one in known))


def _own_number(value: str) -> Markup:
    return element("span", f" ({value})", class_="muted") if value else Markup()


def _item(item: str, name: str) -> Iterator[Markup]:
    if name:
        yield element("span", name)
        yield element("span", f" {item}", class_="muted small")
    else:
        yield element("span", item)


def _place(run: Run, shown: Shown) -> Markup:
    because = f"because {shown.why.because}. " if shown.why.because else ""
    proposals = sorted(shown.why.proposals, key=lambda one: one.rank)
    by = [_by(run, one) for one in proposals] or [escaped("proposed by none, put in by a rule")]
    return element("li", *_item(shown.id, shown.name), element("span", because, *by, class_="why"))


def _by(run: Run, one: Proposal) -> Markup:
    told = f"{one.stage} proposed it at place {one.rank} of its own list, with the score {one.score:.6g}"
    return element(
        "span", stage(one.stage, run.roles.get(one.stage, "generate")), f" {one.rank}", class_="by", title=told
    )


def making_section(run: Run) -> Markup:
    """Config, seeds, versions, time and memory."""
    parts = [table("What made this run", ["", ""], _facts(run), class_="words")]
    if run.model is not None:
        stages = recorded(run.manifest["meta"], run.folder)
        header = ["stage", "component", "from", "fit, seconds"]
        lines = [[stage(one.id, run.roles[one.id]), one.component, one.requirement, _seconds(one)] for one in stages]
        parts.append(table("Stages, in order", header, lines))
        parts.append(folded("The whole config", element("pre", code(run.model.pipeline.text), tabindex="0")))
    return joined(parts)


def _seconds(one: Recorded) -> str:
    return f"{one.seconds:.3f}" if not one.failed else one.failed


def _facts(run: Run) -> Iterator[tuple[str, str]]:
    if run.model is not None:
        config = run.model.pipeline.config
        yield "seed", str(config.seed)
        yield "workers, memory", f"{config.engine.work.workers}, {config.engine.memory}"
        yield "config, SHA-256", str(run.manifest["meta"]["config_sha256"])[:16]
    if run.cost is not None:
        peak = "" if run.cost.peak is None else f", {run.cost.peak / 2**20:,.0f} MiB of memory at most"
        yield "took", f"{rounded(run.cost.seconds)} seconds{peak}"
    made = versions() if run.cost is None else run.cost.versions
    whose = "versions of this report (the run tells none)" if run.cost is None else "versions"
    yield whose, ", ".join(f"{name} {version}" for name, version in made.items())
    if run.evaluation is not None:
        yield "evaluated", run.evaluation.measured
