"""Plugins from made-up distributions, one for each thing that can go wrong; a sound one among them always loads."""

from __future__ import annotations

import importlib
import sys
import textwrap
import time
import tomllib
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest

from nbarec import hookspecs
from nbarec.components import Ranker
from nbarec.errors import PluginError
from nbarec.plugins import Broken, Registry, load_plugins, registry
from nbarec.providers import DISABLE, KINDS

ROOT = Path(__file__).parents[2]

PREAMBLE = """\
from __future__ import annotations
from dataclasses import dataclass
from typing import ClassVar
from nbarec.batch import Candidates
from nbarec.components import CandidateGenerator, NoState, Ranker, param
from nbarec.hookspecs import hookimpl
"""


def generator(name: str, fields: str = "", base: str = "CandidateGenerator[NoState]") -> str:
    """The source of a generator class named `Made` and of the hook that lists it."""
    return f"""
@dataclass(frozen=True)
class Made({base}):
    name: ClassVar[str] = {name!r}
    {fields}

    def fit(self, data, rng):
        return NoState()

    def generate(self, state, request, limit):
        return Candidates.empty(len(request))


@hookimpl
def nbarec_candidate_generators():
    return [Made]
"""


class Site:
    """A folder of installed distributions, as pip leaves them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def add(self, distribution: str, entry: str, source: str, *, value: str = "", version: str = "1.0") -> None:
        """Install a distribution with one plugin; by default its module is named after the two."""
        module = f"{distribution}_{entry}".replace("-", "_").replace(".", "_").lower()
        (self.folder / f"{module}.py").write_text(PREAMBLE + textwrap.dedent(source))
        self.describe(self.folder, distribution, {entry: value or module}, version)

    @staticmethod
    def describe(folder: Path, distribution: str, entries: dict[str, str], version: str = "1.0") -> None:
        """Write the metadata that pip writes; entries are added to those that are there."""
        info = folder / f"{distribution.replace('-', '_')}-{version}.dist-info"
        info.mkdir(parents=True, exist_ok=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n")
        points = info / "entry_points.txt"
        before = points.read_text() if points.exists() else "[nbarec]\n"
        points.write_text(before + "".join(f"{name} = {value}\n" for name, value in entries.items()))


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """A site folder on `sys.path` that has the sound plugin `nbarec-sound`."""
    monkeypatch.delenv(DISABLE, raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    before = set(sys.modules)
    made = Site(tmp_path)
    made.add("nbarec-sound", "fine", generator("sound"))
    yield made
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(tmp_path)):
            del sys.modules[name]


def loaded() -> Registry:
    """What `load_plugins` finds, after making sure that the sound plugin is there and works."""
    importlib.invalidate_caches()
    found = load_plugins()
    assert str(found.find("generator", "sound").provider) == "nbarec-sound:fine"
    assert found.manager.has_plugin("nbarec-sound:fine")
    return found


def only_broken(found: Registry) -> Broken:
    """The one broken plugin, after making sure that it left nothing behind."""
    (broken,) = found.broken
    assert broken.provider not in found.providers
    assert broken.provider not in [item.provider for item in found.components()]
    assert not found.manager.has_plugin(str(broken.provider))
    assert "\n" not in broken.reason
    found.manager.check_pending()
    return broken


def refusal(found: Registry, kind: str, use: str) -> str:
    with pytest.raises(PluginError) as caught:
        found.find(kind, use)  # type: ignore[arg-type]
    return str(caught.value)


# --- What is found ---------------------------------------------------------------------------------------------------


def test_a_component_knows_its_provider(site: Site) -> None:
    found = loaded().find("generator", "sound")
    assert (found.kind, found.name, found.component.__name__) == ("generator", "sound", "Made")
    assert found.provider.requirement == "nbarec-sound==1.0"
    assert (found.provider.entry, found.provider.value) == ("fine", "nbarec_sound_fine")


def test_distribution_names_compare_normalised(site: Site) -> None:
    site.add("Nbarec.Other", "warp", generator("warp"))
    found = loaded()
    assert str(found.find("generator", "nbarec_other/warp").provider) == "Nbarec.Other:warp"
    assert found.find("generator", "NBAREC--other/warp") == found.find("generator", "warp")


def test_a_distribution_on_two_folders_is_loaded_once(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    second = tmp_path / "second"
    Site.describe(second, "nbarec_sound", {"fine": "nbarec_sound_fine"}, version="0.9")
    monkeypatch.setattr(sys, "path", [*sys.path, str(second)])
    twice = [point for dist in metadata.distributions(path=[str(tmp_path), str(second)]) for point in dist.entry_points]
    assert len(twice) == 2
    found = load_plugins(twice)
    assert [provider.requirement for provider in found.providers] == ["nbarec-sound==1.0"]
    assert len(found.components("generator")) == 1
    assert found.broken == ()
    assert loaded().find("generator", "sound").provider.version == "1.0"


def test_a_module_that_two_entry_points_name_is_loaded_once(site: Site) -> None:
    site.add("nbarec-zeta", "again", "", value="nbarec_sound_fine")
    broken = only_broken(loaded())
    assert str(broken.provider) == "nbarec-zeta:again"
    assert broken.reason == "its module nbarec_sound_fine is already loaded as nbarec-sound:fine"


def test_entry_points_may_be_given(site: Site) -> None:
    points = [metadata.EntryPoint("mine", "nbarec_sound_fine", "nbarec")]
    (component,) = load_plugins(points).components()
    assert component.provider.requirement == "unknown==unknown"
    assert str(component.provider) == "unknown:mine"


def test_lifecycle_hooks_are_called_through_the_manager(site: Site) -> None:
    site.add(
        "nbarec-told",
        "log",
        """
        told = []

        @hookimpl
        def nbarec_after_fit(stage, seconds):
            told.append((stage, seconds))
        """,
    )
    found = loaded()
    found.manager.hook.nbarec_after_fit(pipeline=None, stage="latent", state=None, seconds=0.5)
    assert sys.modules["nbarec_told_log"].told == [("latent", 0.5)]
    assert "nbarec-told:log" in map(str, found.providers)


def test_components_are_listed_by_kind_and_name(site: Site) -> None:
    site.add("nbarec-more", "b", generator("zebra"))
    site.add("nbarec-most", "a", generator("ant"))
    names = [item.name for item in loaded().components("generator")]
    assert names == sorted(names)
    assert {"ant", "sound", "zebra"} <= set(names)
    kinds = [item.kind for item in loaded().components()]
    assert kinds == sorted(kinds, key=list(KINDS).index)


def test_the_registry_of_the_process_is_loaded_once() -> None:
    assert registry() is registry()


# --- Names that lead to no component, or to several ------------------------------------------------------------------


def test_one_name_from_two_distributions_is_an_ambiguity(site: Site) -> None:
    site.add("nbarec-aaa", "warp", generator("warp"))
    site.add("nbarec-other", "warp", generator("warp"))
    found = loaded()
    assert found.broken == ()
    assert [str(item.provider) for item in found.components() if item.name == "warp"] == [
        "nbarec-aaa:warp",
        "nbarec-other:warp",
    ]
    assert refusal(found, "generator", "warp") == (
        "component 'warp' is registered by nbarec-other:warp and by nbarec-aaa:warp; "
        "write 'use: nbarec-other/warp' or 'use: nbarec-aaa/warp'"
    )
    assert str(found.find("generator", "nbarec-other/warp").provider) == "nbarec-other:warp"


def test_one_name_from_two_plugins_of_one_distribution(site: Site) -> None:
    site.add("nbarec-twice", "one", generator("warp"))
    site.add("nbarec-twice", "two", generator("warp"))
    assert refusal(loaded(), "generator", "warp") == (
        "component 'warp' is registered by nbarec-twice:two and by nbarec-twice:one; "
        "leave one out with NBAREC_DISABLE_PLUGINS=nbarec-twice:two"
    )


def test_an_unknown_name_says_what_was_meant(site: Site) -> None:
    site.add("nbarec-other", "warp", generator("warp_plus"))
    found = loaded()
    assert refusal(found, "generator", "warp_pluss") == "there is no generator 'warp_pluss'; did you mean 'warp_plus'?"
    assert refusal(found, "generator", "nbarec-sound/warp_plus") == (
        "nbarec-sound has no generator 'warp_plus'; write 'use: nbarec-other/warp_plus'"
    )
    assert refusal(found, "generator", "nbarec-othr/warp_plus") == (
        "no plugin of 'nbarec-othr' is installed; did you mean 'nbarec-other'?"
    )
    assert refusal(found, "generator", "xyz/warp") == "no plugin of 'xyz' is installed; install xyz"
    assert refusal(found, "generator", "nbarec-warp/warp") == (
        "no plugin of 'nbarec-warp' is installed; install nbarec-warp"
    )
    assert refusal(found, "generator", "nbarec-sound/qq") == (
        "nbarec-sound has no generator 'qq'; those that there are: sound"
    )


def test_a_name_of_another_kind_says_where_it_belongs(site: Site) -> None:
    assert refusal(loaded(), "ranker", "sound") == "sound is a generator, not a ranker: list it under candidates"
    assert refusal(loaded(), "source", "sound") == "sound is a generator, not a data source: list it under candidates"


def test_without_any_plugin_nothing_is_found() -> None:
    assert refusal(load_plugins([]), "metric", "ndcg") == "there is no metric 'ndcg'; those that there are: none"


def test_an_unknown_name_lists_plugins_that_may_have_had_it(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.add("nbarec-broken", "warp", "import no_such_module")
    site.add("nbarec-off", "other", generator("other"))
    monkeypatch.setenv(DISABLE, "nbarec-off:other")
    found = loaded()
    said = refusal(found, "generator", "warp").split("\n  ")
    assert said[0].startswith("there is no generator 'warp'; ")
    assert said[1:] == [
        "plugins that may provide it are not loaded:",
        f"broken: nbarec-broken:warp (nbarec-broken==1.0): {found.broken[0].reason}",
        "disabled by NBAREC_DISABLE_PLUGINS: nbarec-off:other",
    ]
    said = refusal(found, "generator", "nbarec-off/other").split("\n  ")
    assert said[0] == "nbarec-off has no generator 'other'; those that there are: none"
    assert said[2:] == ["disabled by NBAREC_DISABLE_PLUGINS: nbarec-off:other"]


# --- Plugins that are disabled ---------------------------------------------------------------------------------------


def test_a_disabled_plugin_is_not_even_imported(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.add("nbarec-off", "one", generator("one"))
    site.add("nbarec-off", "two", generator("two"))
    monkeypatch.setenv(DISABLE, " Nbarec_Off:one, nbarec-absent:warp,")
    found = loaded()
    assert [str(provider) for provider in found.disabled] == ["nbarec-off:one"]
    assert "nbarec_off_one" not in sys.modules
    assert found.find("generator", "two").name == "two"


@pytest.mark.parametrize("listed", ["nbarec-off", "nbarec-off:", ":warp"])
def test_what_is_disabled_must_name_distribution_and_entry(
    site: Site, monkeypatch: pytest.MonkeyPatch, listed: str
) -> None:
    monkeypatch.setenv(DISABLE, listed)
    with pytest.raises(PluginError, match=f"{DISABLE} has '{listed}'; write distribution:entry, such as"):
        load_plugins()


# --- Plugins that are broken -----------------------------------------------------------------------------------------


def test_a_failing_import_is_told_with_its_line(site: Site) -> None:
    site.add("nbarec-broken", "warp", "\nraise RuntimeError('no such\\nluck')")
    line = PREAMBLE.count("\n") + 2
    file = site.folder / "nbarec_broken_warp.py"
    assert only_broken(loaded()).reason == f"RuntimeError: no such luck ({file}:{line})"


def test_a_module_that_is_not_there_is_told(site: Site) -> None:
    site.add("nbarec-broken", "warp", "", value="no_such_module")
    assert only_broken(loaded()).reason == "ModuleNotFoundError: No module named 'no_such_module'"


def test_a_line_that_python_cannot_read_is_told(site: Site) -> None:
    site.add("nbarec-broken", "warp", "x = = 1")
    assert only_broken(loaded()).reason.startswith("SyntaxError: invalid syntax (nbarec_broken_warp.py, line ")


def test_a_plugin_that_exits_is_told(site: Site) -> None:
    site.add("nbarec-broken", "warp", "import sys\nsys.exit('no licence')")
    assert only_broken(loaded()).reason.startswith("SystemExit: no licence (")


def test_an_interrupt_is_nobodys_fault(site: Site) -> None:
    site.add("nbarec-broken", "warp", "raise KeyboardInterrupt")
    with pytest.raises(KeyboardInterrupt):
        load_plugins()


def test_a_long_message_is_cut(site: Site) -> None:
    site.add("nbarec-broken", "warp", "raise ImportError('x' * 10_000)")
    reason = only_broken(loaded()).reason
    assert len(reason) < 600
    assert "xxx... (" in reason


HOOK_FAULTS = {
    "wrong argument": (
        "@hookimpl\ndef nbarec_after_fit(stage, duration):\n    pass",
        "PluginValidationError: Plugin 'nbarec-broken:warp' for hook 'nbarec_after_fit' hookimpl definition: "
        "nbarec_after_fit(stage, duration) Argument(s) {'duration'} are declared in the hookimpl but can not be "
        "found in the hookspec",
    ),
    "unknown hook": (
        "@hookimpl\ndef nbarec_ranker():\n    return []",
        "nbarec_broken_warp.nbarec_ranker is no hook of nbarec; did you mean 'nbarec_rankers'?",
    ),
    "no hook": (
        "def nbarec_rankers():\n    return []",
        "nbarec_broken_warp implements no hook; mark at least one function with nbarec.hookspecs.hookimpl",
    ),
    "returns nothing": (
        "@hookimpl\ndef nbarec_rankers():\n    pass",
        "nbarec_rankers must return a list of classes, not None",
    ),
    "returns text": (
        "@hookimpl\ndef nbarec_rankers():\n    return ['warp']",
        "nbarec_rankers lists 'warp', which is no subclass of nbarec.components.Ranker",
    ),
    "another kind": (
        generator("warp").replace("nbarec_candidate_generators", "nbarec_rankers"),
        "nbarec_rankers lists <class 'nbarec_broken_warp.Made'>, which is no subclass of nbarec.components.Ranker",
    ),
    "one name twice": (
        generator("warp").replace("[Made]", "[Made, Made]"),
        "nbarec_candidate_generators lists two components named 'warp'; rename one",
    ),
}


@pytest.mark.parametrize("fault", HOOK_FAULTS)
def test_a_faulty_hook_is_told(site: Site, fault: str) -> None:
    source, reason = HOOK_FAULTS[fault]
    site.add("nbarec-broken", "warp", source)
    assert only_broken(loaded()).reason == reason


def test_a_bare_class_is_told(site: Site) -> None:
    site.add("nbarec-broken", "warp", generator("warp").replace("[Made]", "Made"))
    assert only_broken(loaded()).reason.startswith(
        "nbarec_candidate_generators must return a list of classes, not <class"
    )


@pytest.mark.parametrize("body", ["raise RuntimeError('boom')", "yield 1 / 0"])
def test_a_hook_that_raises_is_told_with_its_line(site: Site, body: str) -> None:
    site.add("nbarec-broken", "warp", f"@hookimpl\ndef nbarec_rankers():\n    {body}")
    line = PREAMBLE.count("\n") + 3
    reason = only_broken(loaded()).reason
    assert reason.startswith(("RuntimeError: boom (", "ZeroDivisionError: division by zero ("))
    assert reason.endswith(f"nbarec_broken_warp.py:{line})")


def test_a_fault_after_a_sound_hook_leaves_nothing(site: Site) -> None:
    later = "\n@hookimpl\ndef nbarec_rankers():\n    raise RuntimeError('boom')\n"
    site.add("nbarec-broken", "warp", generator("warp") + later)
    found = loaded()
    assert only_broken(found).reason.startswith("RuntimeError: boom")
    assert "warp" not in [item.name for item in found.components("generator")]


def test_a_hook_of_a_newer_nbarec_may_be_optional(site: Site) -> None:
    source = "import pluggy\n@pluggy.HookimplMarker('nbarec')(optionalhook=True)\ndef nbarec_policies():\n    return []"
    site.add("nbarec-newer", "policies", source)
    found = loaded()
    assert found.broken == ()
    assert "nbarec-newer:policies" in map(str, found.providers)


@pytest.mark.parametrize("value", ["nbarec_sound_fine:Made", "nbarec sound", "nbarec_sound_fine [extra]"])
def test_an_entry_point_that_is_no_module_is_told(site: Site, value: str) -> None:
    site.add("nbarec-broken", "warp", "", value=value)
    reason = only_broken(loaded()).reason
    assert reason.startswith(f"its entry point {value!r} is not a module; write the module alone, such as")


CLASS_FAULTS = {
    "undecorated": (
        generator("warp").replace("@dataclass(frozen=True)", ""),
        "is not decorated with @dataclass(frozen=True)",
    ),
    "no name": (generator("warp").replace("name: ClassVar[str] = 'warp'", ""), "needs a name of small letters, digits"),
    "name is a number": (generator("warp").replace("'warp'", "5"), "needs a name of small letters, digits"),
    "name with a slash": (generator("nbarec/warp"), "needs a name of small letters, digits"),
    "name is a field": (
        generator("warp").replace("ClassVar[str] =", "str ="),
        "has its name as a parameter; annotate it as ClassVar[str]",
    ),
    "abstract": (generator("warp").replace("def generate", "def propose"), "does not implement generate"),
    "unknown type": (
        generator("warp", "factors: Missing = param(3)"),
        "has parameters of a type that YAML can't give: NameError: name 'Missing' is not defined",
    ),
    "type of no YAML": (
        generator("warp", "factors: complex = param(3)"),
        "has parameters of a type that YAML can't give: TypeError: ",
    ),
}


@pytest.mark.parametrize("fault", CLASS_FAULTS)
def test_a_faulty_class_is_told(site: Site, fault: str) -> None:
    source, reason = CLASS_FAULTS[fault]
    site.add("nbarec-broken", "warp", source)
    assert only_broken(loaded()).reason.startswith(f"nbarec_broken_warp.Made {reason}")


def test_a_class_that_is_not_frozen_is_told(site: Site) -> None:
    site.add("nbarec-broken", "warp", generator("warp").replace("(frozen=True)", ""))
    assert only_broken(loaded()).reason.startswith("TypeError: cannot inherit non-frozen dataclass from a frozen one")


# --- What nbarec itself brings ---------------------------------------------------------------------------------------


def project_entry_points() -> list[metadata.EntryPoint]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return [metadata.EntryPoint(name, value, "nbarec") for name, value in project["entry-points"]["nbarec"].items()]


def test_all_built_ins_load() -> None:
    found = load_plugins(project_entry_points(), disabled=())
    assert found.broken == ()
    assert len(found.providers) == len(project_entry_points())
    names = {(item.kind, item.name) for item in found.components()}
    assert {("generator", "item_cf"), ("ranker", "blend"), ("source", "csv"), ("metric", "ndcg")} <= names
    assert len(names) == len(found.components()), "one name stands for two built-in components"
    assert isinstance(found.find("ranker", "blend").component(), Ranker)


def test_loading_what_is_imported_is_quick() -> None:
    points = project_entry_points()
    load_plugins(points, disabled=())
    seconds = []
    for _ in range(5):
        start = time.perf_counter()
        load_plugins(points, disabled=())
        seconds.append(time.perf_counter() - start)
    assert min(seconds) < 0.05


def hooks() -> list[str]:
    return [name for name in vars(hookspecs) if name.startswith("nbarec_")]


def test_every_hook_that_lists_components_has_a_kind() -> None:
    asked = [name for name in hooks() if not getattr(hookspecs, name).__code__.co_argcount]
    assert sorted(asked) == sorted(spec.hook for spec in KINDS.values())
