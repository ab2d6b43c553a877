"""The report in a browser: it loads by itself, nothing sticks out, all charts are drawn, and its colours can be told
apart."""

from __future__ import annotations

import json
import math
import re
import shutil
import subprocess
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest

import nbarec
from nbarec.cli import run_command
from nbarec.run_report import write_report

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
EVALUATE = """
evaluate:
  split: {use: last_fraction, fraction: 0.3}
  metrics: [recall@6, ndcg@6, hit_rate@6, coverage@6, novelty@6, diversity@6]
  segments: [{by: history}]
"""
PROBE = """<!doctype html><meta charset="utf-8"><title>probe</title>
<iframe id="page" src="PAGE" style="border:0;width:WIDTHpx;height:900px"></iframe><script>
document.getElementById("page").onload = event => {
  const inside = event.target.contentWindow, page = inside.document;
  page.querySelectorAll("details").forEach(one => one.open = true);
  const edge = one => Math.round(one.getBoundingClientRect().right);
  const scrolls = one => one.closest(".scroll, pre") !== null;
  const wide = [...page.querySelectorAll("body *")].filter(one => !scrolls(one) && edge(one) > inside.innerWidth);
  document.body.textContent = "PROBED" + JSON.stringify({
    width: page.documentElement.scrollWidth, wide: wide.map(one => one.tagName + "." + one.className).slice(0, 5),
    charts: [...page.querySelectorAll("svg.chart")].map(one => one.getBoundingClientRect().height),
    resources: inside.performance.getEntriesByType("resource").map(one => one.name),
    letters: Math.min(...[...page.querySelectorAll("svg text")].map(one => one.getBoundingClientRect().height)),
    background: inside.getComputedStyle(page.body).backgroundColor,
  }) + "PROBED";
};
</script>"""


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory, music_text: str) -> Path:
    """The report of a small music world."""
    folder = tmp_path_factory.mktemp("browser")
    (folder / "music.yaml").write_text(music_text + EVALUATE, "utf-8")
    assert run_command(["run", str(folder / "music.yaml"), "--out", str(folder / "music")]) == 0
    return write_report(folder / "music")


def probed(report: Path, folder: Path, width: int, scheme: str) -> tuple[dict[str, Any], list[str]]:
    """What a browser finds in the page where it is so wide, with all details open, and what its console says."""
    browser = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if browser is None:
        pytest.skip(f"needs a browser to open the report with: {', '.join(BROWSERS)}")
    probe = folder / f"probe_{width}_{scheme}.html"
    probe.write_text(PROBE.replace("PAGE", report.as_uri()).replace("WIDTH", str(width)), "utf-8")
    command = [browser, "--headless", "--no-sandbox", "--disable-gpu", "--allow-file-access-from-files"]
    command += [f"--user-data-dir={folder / 'profile'}", f"--window-size={max(width, 500)},1000"]
    command += ["--enable-logging=stderr", "--virtual-time-budget=5000", "--dump-dom"]
    command += [f"--blink-settings=preferredColorScheme={0 if scheme == 'dark' else 1}", probe.as_uri()]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    found = re.search("PROBED({.*})PROBED", ended.stdout)
    assert found, ended.stderr[-2000:]
    answer: dict[str, Any] = json.loads(found[1].replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&"))
    return answer, [line for line in ended.stderr.splitlines() if "CONSOLE" in line]


@pytest.mark.parametrize(("width", "scheme"), [(390, "dark"), (1280, "light")])
def test_the_page_fits_and_loads_alone(report: Path, tmp_path: Path, width: int, scheme: str) -> None:
    found, console = probed(report, tmp_path, width, scheme)
    assert console == []
    assert found["resources"] == []
    assert found["wide"] == []
    assert found["width"] <= width
    assert len(found["charts"]) == report.read_text("utf-8").count("<svg") >= 10
    assert all(height > 40 for height in found["charts"])
    assert found["letters"] > 9
    assert (sum(map(int, re.findall(r"\d+", found["background"])[:3])) < 200) == (scheme == "dark")


def test_the_probe_sees_what_sticks_out_and_what_is_loaded(report: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.html"
    text = report.read_text("utf-8").replace("</main>", '<div style="width:900px">wide</div><img src="no.png"></main>')
    broken.write_text(text, "utf-8")
    found, console = probed(broken, tmp_path, 390, "light")
    assert found["width"] > 390
    assert found["wide"]
    assert any("Content Security Policy" in line or "no.png" in line for line in console)


ROLES = ("slate", "generate", "rank", "filter")
SEEN = {
    "with all cones": [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]],
    "without red cones": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "without green cones": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.01182, 0.04294, 0.968881],
    ],
    "without blue cones": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.3039],
    ],
}
"""Colours as people see them (Machado, Oliveira and Fernandes 2009), in linear light."""


def themes() -> dict[str, dict[str, str]]:
    """The colours of each theme by name."""
    css = (Path(nbarec.__file__).parent / "report.css").read_text("utf-8")
    light, dark = css.split("@media (prefers-color-scheme: dark)", 1)
    paper = css.split("@media print", 1)[1]
    parts = {"light": light, "dark": dark.split("}", 1)[0], "paper": paper}
    return {name: dict(re.findall(r"--(\w+): (#\w{6})", part)) for name, part in parts.items()}


def linear(colour: str) -> list[float]:
    shares = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    return [share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4 for share in shares]


def contrast(one: str, other: str) -> float:
    """The contrast of two colours, 1 to 21 (WCAG 2.1)."""
    low, high = sorted(0.2126 * r + 0.7152 * g + 0.0722 * b for r, g, b in (linear(one), linear(other)))
    return (high + 0.05) / (low + 0.05)


def lab(light: list[float]) -> tuple[float, float, float]:
    """Oklab (Ottosson 2020)."""
    r, g, b = (max(share, 0.0) for share in light)
    x = (0.4122214708 * r + 0.5363325363 * g + 0.0514459929 * b) ** (1 / 3)
    y = (0.2119034982 * r + 0.6806995451 * g + 0.1073969566 * b) ** (1 / 3)
    z = (0.0883024619 * r + 0.2817188376 * g + 0.6299787005 * b) ** (1 / 3)
    return (
        0.2104542553 * x + 0.7936177850 * y - 0.0040720468 * z,
        1.9779984951 * x - 2.4285922050 * y + 0.4505937099 * z,
        0.0259040371 * x + 0.7827717662 * y - 0.8086757660 * z,
    )


def distance(one: str, other: str, seen: list[list[float]]) -> float:
    """How far two colours are apart for somebody, in hundredths."""
    first, second = (
        lab([sum(a * b for a, b in zip(row, linear(colour), strict=True)) for row in seen]) for colour in (one, other)
    )
    return 100 * math.dist(first, second)


@pytest.mark.parametrize("theme", ["light", "dark", "paper"])
def test_texts_can_be_read_and_marks_be_seen(theme: str) -> None:
    colours = themes()[theme]
    for ground in ("page", "card"):
        assert min(contrast(colours[name], colours[ground]) for name in ("ink", "muted")) >= 4.5
        assert min(contrast(colours[name], colours[ground]) for name in (*ROLES, "lost", "data")) >= 3


@pytest.mark.parametrize("seen", SEEN)
@pytest.mark.parametrize("theme", ["light", "dark", "paper"])
def test_roles_can_be_told_apart_by_everybody(theme: str, seen: str) -> None:
    colours = themes()[theme]
    assert min(distance(colours[one], colours[other], SEEN[seen]) for one, other in combinations(ROLES, 2)) >= 10
