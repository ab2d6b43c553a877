"""The report of a run: one page of HTML that needs nothing else, to look at rather than to read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from nbarec.errors import DataError
from nbarec.ids import TextOrNumber
from nbarec.markup import Markup
from nbarec.report_findings import findings_section
from nbarec.report_overview import data_section, head
from nbarec.report_page import page
from nbarec.report_people import making_section, users_section
from nbarec.report_quality import losses_section, metrics_section, popularity_section, segments_section
from nbarec.report_trials import cold_section, variants_section
from nbarec.reports import replacing
from nbarec.run_folder import Run
from nbarec.sample_users import SampleUser, drawn_users, sample_users

FILE = "report.html"
Section = tuple[str, str, Markup]
"""Its anchor, its title, and what it holds."""


def report_of(folder: Path, users: Sequence[TextOrNumber] = ()) -> str:
    """The page of the run in a folder, with these users as samples or ten that the config's seed draws.

    The same folder gives the same page. Raises DataError where there is nothing to report on, or where the model knows
    a user not; StoreError where the model is damaged.
    """
    run = Run.read(folder)
    sampled = _samples(run, users)
    sections: list[Section] = [
        ("metrics", "How good the lists are", metrics_section(run)),
        ("losses", "Where good items are left", losses_section(run)),
        ("popularity", "Popular, or personal", popularity_section(run)),
        ("segments", "For whom it works", segments_section(run)),
        *_there(
            ("variants", "Other settings", variants_section(run)), ("new", "New users and items", cold_section(run))
        ),
        *_there(("findings", "What the stages learnt", findings_section(run))),
        ("users", "Who gets what, and why", users_section(run, sampled)),
        ("data", "The data", data_section(run)),
        ("making", "How this was made", making_section(run)),
    ]
    return page(f"Run report: {run.name}", sections, head(run))


def _there(*sections: Section) -> list[Section]:
    """Those that hold anything."""
    return [section for section in sections if section[2]]


def write_report(folder: Path, path: Path | None = None, users: Sequence[TextOrNumber] = ()) -> Path:
    """Write the page, whole or not at all: to `report.html` in the folder where no path is given. Returns the path."""
    text = report_of(folder, users)
    path = path or folder / FILE
    if not path.parent.is_dir():
        raise DataError(f"{path.parent} is no folder; make it first, or give another --output")
    with replacing(path) as file:
        file.write(text)
    return path


def _samples(run: Run, users: Sequence[TextOrNumber]) -> list[SampleUser]:
    if run.model is None:
        if users:
            raise DataError(f"{run.folder} has no model that could serve {users[0]}; nbarec run writes one")
        return []
    chosen = users or drawn_users(run.model.data, run.model.pipeline.config.seed)
    return sample_users(run.model, chosen)
