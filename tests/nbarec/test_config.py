"""The config as its author meets it: what is read, and what is said of everything that is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from nbarec.config import Clock, Memory, read_config
from nbarec.errors import ConfigError
from nbarec.marked import read_text
from nbarec.pipeline import Pipeline

SMALL = """\
nbarec: 1
data: {use: music_world, users: 20, songs: 30, days: 10}
candidates:
  - {id: similar, use: item_cf, k: 20, with: {neighbors: 10}}
  - {use: nbarec/popularity}
rank: [{use: blend}]
slate: {k: 3, fallback: popularity}
"""


def problems_of(text: str) -> list[str]:
    with pytest.raises(ConfigError) as raised:
        Pipeline.from_text(text, "x.yaml")
    return [str(problem) for problem in raised.value.problems]


def test_a_small_config_has_its_defaults() -> None:
    config, section, _ = read_config(read_text(SMALL, "x.yaml"))
    assert section is not None
    assert section.use == "music_world"
    assert section.feedback is None
    assert config.seed == 0
    assert config.as_of.seconds is None
    assert config.engine.workers is None
    assert config.engine.memory == 2 * 2**30
    assert [stage.id for stage in config.candidates] == ["similar", "popularity"]
    assert config.rank[0].id == "blend"
    assert config.evaluate is None


def test_everything_that_is_wrong_is_said_at_once_with_line_and_column() -> None:
    found = problems_of("""\
nbarec: 1
sede: 3
data: {use: music_wrld}
candidates:
  - {id: a, use: item_cf, with: {neighbor: 5}}
  - {id: a, use: populrity}
  - {id: b, use: popularity, k: 0}
  - {id: c, use: popularity, when: user.events <}
  - {id: W, use: popularity}
slate: {k: 5}
evaluate: {split: {use: last_frac}, metrics: [ndgc@10, recall, "recall@0"]}
""")
    expected = [
        "x.yaml:2:1: config has no parameter 'sede'; did you mean 'seed'?",
        "x.yaml:3:13: there is no data source 'music_wrld'; did you mean 'music_world'?",
        "x.yaml:5:34: item_cf has no parameter 'neighbor'; did you mean 'neighbors'?",
        "x.yaml:6:5: the id 'a' is taken by x.yaml:5:5",
        "x.yaml:6:5: candidates.a: there is no generator 'populrity'; did you mean 'popularity'?",
        "x.yaml:7:33: config.candidates[2]: k must be at least 1, not 0",
        "x.yaml:8:36: config.candidates[3]: when: expected a value after '<'",
        "x.yaml:9:5: 'W' is no stage id",
        "x.yaml:11:25: 'last_frac' is no split; write use: and one of last_fraction",
        "x.yaml:11:47: 'ndgc@10': there is no metric 'ndgc'; did you mean 'ndcg'?",
        "x.yaml:11:56: 'recall' does not say how many places count",
        "x.yaml:11:64: 'recall@0': '0' is not a number of places",
    ]
    assert len(found) == len(expected)
    for said, start in zip(found, expected, strict=True):
        assert said.startswith(start)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("fallback: popularity", "fallback: blend", "x.yaml:7:25: slate.fallback 'blend' is no candidate generator"),
        ("id: similar", "id: 9lives", "x.yaml:4:5: '9lives' is no stage id"),
        ("id: similar", "id: popularity", "x.yaml:5:5: the id 'popularity' is taken by x.yaml:4:5"),
        ("rank: [{use: blend}]", "rank: [{use: item_cf}]", "x.yaml:6:8: item_cf is a generator, not a ranker"),
        ("neighbors: 10", "neighbors: ten", "x.yaml:4:58: item_cf: neighbors must be a whole number, not 'ten'"),
        ("use: music_world, ", "", "x.yaml:2:7: data needs a source"),
        ("users: 20", "usres: 20", "x.yaml:2:26: data (music_world) has no parameter 'usres'; did you mean 'users'?"),
        ("nbarec: 1", "nbarec: 2", "x.yaml:1:9: config: nbarec must be at most 1, not 2"),
        ("days: 10}", "days: 10, feedback: {decay: 3}}", "x.yaml:2:76: data.feedback: decay must be"),
        ("days: 10}", "days: 10, feedback: [1]}", "x.yaml:2:68: data.feedback must be a mapping"),
        ("rank: [", "engine: {memory: 5}\nrank: [", "x.yaml:6:18: config.engine: memory: memory has no unit"),
        ("rank: [", f"engine: {{memory: {'9' * 400}GiB}}\nrank: [", "is more memory than there can be"),
        ("id: similar", "id: ''", "x.yaml:4:5: '' is no stage id"),
        ("rank: [", "as_of: soon\nrank: [", "x.yaml:6:8: config: as_of:"),
        ("k: 20", "k: 20, on_error: skp", "did you mean 'skip'?"),
        ("nbarec/popularity", "elsewhere/popularity", "no plugin of 'elsewhere' is installed"),
    ],
)
def test_each_mistake_has_its_own_words_and_place(old: str, new: str, said: str) -> None:
    assert old in SMALL
    assert any(said in problem for problem in problems_of(SMALL.replace(old, new)))


def test_a_config_without_candidates_says_so() -> None:
    assert "candidates is empty" in problems_of("nbarec: 1\ndata: {use: music_world}\ncandidates: []\n")[0]
    (missing,) = problems_of("nbarec: 1\ndata: {use: music_world}\n")
    assert "config needs the parameter 'candidates'" in missing


def test_what_follows_from_another_mistake_is_not_reported() -> None:
    broken = SMALL.replace("use: nbarec/popularity", "use: nbarec/popularity, k: -1")
    assert len(problems_of(broken)) == 1  # the fallback is only missing because its stage is wrong


def test_overrides_find_a_stage_by_its_id_even_where_that_is_the_component_of_a_distribution(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(SMALL)
    config, _, _ = read_config(
        path, {"candidates.similar.with.neighbors": "7", "candidates.popularity.k": 9, "engine.workers": 2}
    )
    pipeline = Pipeline.from_yaml(path, {"candidates.similar.with.neighbors": "7", "rank.blend.with.k": 1})
    assert config.candidates[1].k == 9
    assert config.candidates[1].id == "popularity"
    assert config.engine.workers == 2
    assert pipeline.stages.generators[0].component.neighbors == 7  # type: ignore[attr-defined]
    assert pipeline.stages.rankers[0].component.k == 1.0  # type: ignore[attr-defined]


def test_a_wrong_override_is_marked_with_its_path(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(SMALL)
    with pytest.raises(ConfigError) as raised:
        Pipeline.from_yaml(path, {"candidates.similar.with.neighbor": 7, "slate.k": 0})
    assert [str(problem) for problem in raised.value.problems] == [
        "--set candidates.similar.with.neighbor:1:1: item_cf has no parameter 'neighbor'; did you mean 'neighbors'?",
        "--set slate.k:1:1: config.slate: k must be at least 1, not 0",
    ]
    with pytest.raises(ConfigError, match="no entry has the id 'nobody'; the ids here are popularity, similar"):
        Pipeline.from_yaml(path, {"candidates.nobody.k": 7})


def test_memory_is_an_amount_with_a_unit() -> None:
    assert Memory("512MiB") == 512 * 2**20
    assert Memory("1.5 GiB") == 3 * 2**29
    assert Memory(77) == 77
    for wrong in ("5", "5GB", "GiB", "-1GiB"):
        with pytest.raises(ValueError, match="is not an amount of memory"):
            Memory(wrong)


def test_the_clock_is_latest_or_a_moment() -> None:
    assert Clock("latest").seconds is None
    assert Clock("1970-01-02").seconds == 86_400
    assert Clock("2025-06-30T00:00:00Z").seconds == 1_751_241_600
    with pytest.raises(ValueError, match="soon"):
        Clock("soon")


def test_the_clock_of_the_config_is_the_clock_of_requests() -> None:
    text = SMALL.replace("rank: [", "as_of: 2025-08-01T00:00:00Z\nrank: [")
    model = Pipeline.from_text(text).fit()
    assert model.data.as_of == 1_754_006_400
    assert model.door.request(["U1"], model.door.asked(1, 3)).now.tolist() == [1_754_006_400]


def test_the_text_of_a_pipeline_gives_the_same_pipeline() -> None:
    pipeline = Pipeline.from_text(SMALL)
    again = Pipeline.from_text(pipeline.text)
    assert again.text == pipeline.text
    assert [(s.id, s.component) for s in again.stages.all()] == [(s.id, s.component) for s in pipeline.stages.all()]
