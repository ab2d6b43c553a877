"""What a study leaves behind: the best config, a table of its trials, and how sure the improvement is."""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nbarec.arrays import Floats64
from nbarec.errors import Mark
from nbarec.marked import ListNode, MapNode, Node, Scalar, dump, to_plain
from nbarec.paired import PairedTest, paired_tests
from nbarec.reports import replacing
from nbarec.tuning_record import Outcome
from nbarec.tuning_scores import Score, Scorer

RESAMPLES = 2000
WORDS = ("true", "false", "null", "yes", "no", "on", "off")
TEST_STREAM = 11
"""Random stream of the interval, apart from those of the stages, the splits and the study."""


@dataclass(frozen=True)
class Result:
    """A study so far: the trial of the config's `own` values, the `best` one, how many `trials` there were beside the
    former, and the paired `test` of the two, best less own, None for a metric that is no mean over users. `values` are
    the best ones as texts, by path, `before` those of the config."""

    metric: str
    own: Outcome
    best: Outcome
    trials: int
    test: PairedTest | None
    values: Mapping[str, str]
    before: Mapping[str, str]
    written: tuple[Path, ...]

    def __str__(self) -> str:
        figures = f"{self.metric} {_shown(self.own.figure)} -> {_shown(self.best.figure)} on validation"
        if self.best.number == 0:
            return f"{figures}: none of {self.trials} trials is better than the config as it is"
        if self.test is None:
            return f"{figures} (trial {self.best.number} of {self.trials})"
        low, high = self.test.ci95
        paired = f"difference {self.test.difference:+.4f} ± {(high - low) / 2:.4f}, paired, {self.test.users:,} users"
        return f"{figures} ({paired}; trial {self.best.number} of {self.trials})"


@dataclass(frozen=True)
class Results:
    """Where the results of a study go: `best.yaml`, `trials.csv`, and each user's values of the two trials that are
    compared."""

    scorer: Scorer
    folder: Path

    def best(self, outcomes: Sequence[Outcome]) -> Outcome:
        """The best complete trial, of several as good the first."""
        best = outcomes[0]
        for one in outcomes[1:]:
            if one.state == "complete" and self.scorer.better(_figure(one), _figure(best)):
                best = one
        return best

    def keep(self, outcome: Outcome, score: Score | None, before: Sequence[Outcome]) -> None:
        """Keep what each user had in a trial that is the first, or better than those before."""
        if score is None or self.best([*before, outcome]) is not outcome:
            return
        path = self._values_path(outcome.number)
        path.unlink(missing_ok=True)
        with path.open("xb") as file:
            np.save(file, np.asarray(score.values), allow_pickle=False)
        for old in self.folder.glob("values-*.npy"):
            if old not in (path, self._values_path(0)):
                old.unlink()

    def write(self, outcomes: Sequence[Outcome]) -> tuple[Path, ...]:
        """Write the table of all trials, and the best one as a config if the latest is the best."""
        table, config = self.folder / "trials.csv", self.folder / "best.yaml"
        paths = [one.path for one in self.scorer.plan.dimensions]
        with replacing(table) as file:
            rows = csv.writer(file, lineterminator="\n")
            rows.writerow(["trial", "state", self.scorer.plan.metric.label, "seconds", *paths, "failed"])
            for one in outcomes:  # a row a trial
                figure = "" if one.figure is None else repr(one.figure)
                used = self.used(one)
                told = [used.get(path, "") for path in paths]
                rows.writerow([one.number, one.state, figure, f"{one.seconds:.3f}", *told, one.failed])
        if self.best(outcomes) is outcomes[-1] or not config.exists():
            self._write_config(config, outcomes, None)
        return config, table

    def of(self, outcomes: Sequence[Outcome]) -> Result:
        """The study as it stands, with the interval of the improvement."""
        own, best = outcomes[0], self.best(outcomes)
        test = None
        if best is not own and self.scorer.plan.metric.is_mean:
            differences = self._values(best) - self._values(own)
            rng = np.random.default_rng([self.scorer.pipeline.config.seed, TEST_STREAM])
            test = paired_tests(differences[:, None], rng, RESAMPLES)[0]
        written = self.write(outcomes)
        metric = self.scorer.plan.metric.label
        result = Result(metric, own, best, len(outcomes) - 1, test, self.used(best), self.used(own), written)
        self._write_config(written[0], outcomes, result)
        return result

    def used(self, outcome: Outcome) -> dict[str, str]:
        """The values that a trial ran with, as texts, by path."""
        used = self.scorer.plan.overrides(outcome.values).items()
        return {path: _text(to_plain(node)) or dump(node) for path, node in used}

    def _values(self, outcome: Outcome) -> Floats64:
        """What each user had in a trial: as it was kept, or measured again where it was not."""
        path = self._values_path(outcome.number)
        try:
            values: Floats64 = np.load(path, allow_pickle=False)
        except (OSError, ValueError, EOFError):
            values = np.empty(0)
        if values.shape == (len(self.scorer.users),) and values.dtype == np.float64:
            return values
        return self.scorer.score(outcome.values if outcome.number else {}).values

    def _values_path(self, number: int) -> Path:
        return self.folder / f"values-{number}.npy"

    def _write_config(self, path: Path, outcomes: Sequence[Outcome], result: Result | None) -> None:
        plan, pipeline, best = self.scorer.plan, self.scorer.pipeline, self.best(outcomes)
        changed = pipeline.with_values(plan.overrides(best.values) if best.number else {})
        own, found = _shown(outcomes[0].figure), _shown(best.figure)
        told = str(result) if result else f"{plan.metric.label} {own} -> {found} on validation"
        source = pipeline.root.mark.source
        lines = [
            f"Trial {best.number} of the study in {self.folder}, the best of {len(outcomes) - 1}, from {source}:",
            f"nbarec tune {source} --output {self.folder}",
            told,
            f"Seeds: {pipeline.config.seed} of the config, {plan.config.seed} of the study ({plan.config.sampler}).",
            f"The figure is that of the users it was chosen by. On the test part: nbarec evaluate {path}",
        ]
        with replacing(path) as file:
            file.writelines(f"# {' '.join(line.split())}\n" for line in lines)
            file.write(document(changed.root))


def document(root: MapNode) -> str:
    """A config as YAML that `read_text` reads back as the same tree: a line an entry of each section, as in the file.

    >>> from nbarec.marked import read_text
    >>> print(document(read_text("{seed: 3, data: {use: csv}, rank: [{use: blend, keep: 5}]}", "a.yaml")), end="")
    seed: 3
    data:
      use: "csv"
    rank:
      - {"keep": 5, "use": "blend"}
    """
    return "".join(_section(name, node) for name, node in root.entries.items())


def _section(name: str, node: Node) -> str:
    if isinstance(node, MapNode) and node.entries:
        inner = (f"  {_key(key)}: {dump(value)}\n" for key, value in node.entries.items())
        return f"{name}:\n{''.join(inner)}"
    if isinstance(node, ListNode) and node.items:
        return f"{name}:\n{''.join(f'  - {dump(item)}' + chr(10) for item in node.items)}"
    return f"{name}: {dump(node)}\n"


def _key(key: str) -> str:
    """A key as it is, or in quotes where it would not be read as text."""
    return key if re.fullmatch("[a-z][a-z_]+", key) and key not in WORDS else dump(Scalar(Mark("", 1, 1), key))


def _text(value: object) -> str:
    """A text as it is; nothing for anything else."""
    return str(value) if isinstance(value, str) else ""


def _figure(outcome: Outcome) -> float:
    return math.nan if outcome.figure is None else outcome.figure


def _shown(figure: float | None) -> str:
    return "undefined" if figure is None else f"{figure:.4f}"
