"""The JSON Schema (draft 2020-12) of the whole config, with every installed component's parameters and their docs.

Editors complete and check a config by it. It is made from the declarations that `read_config` and the binder read by:
what it refuses they refuse. Only they can tell ids that stand twice, names of other stages, the grammar of expressions
and what the components check when they are built.

>>> from nbarec.plugins import registry
>>> schema = config_schema(registry())
>>> schema["required"], schema["properties"]["seed"]["minimum"]
(['nbarec', 'data', 'candidates'], 0)
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from nbarec.config import STAGE_ID, CandidatesConfig, Config, FeaturesConfig, FilterConfig, RankConfig
from nbarec.errors import PluginError
from nbarec.evaluation_config import ColdStart, EvaluateConfig
from nbarec.evaluation_plan import VARIED
from nbarec.feedback import Feedback
from nbarec.param_schemas import NULL, VARIABLE, Groups, Schema, one_of, pattern, prose
from nbarec.plugins import Kind, Registered, Registry
from nbarec.providers import normalised
from nbarec.reports import AS_CONFIGURED
from nbarec.splits import SPLITS
from nbarec.tune_config import TuneConfig
from nbarec.tuned_ranges import TUNED

DIALECT = "https://json-schema.org/draft/2020-12/schema"
STAGES: Mapping[type, Kind] = {
    CandidatesConfig: "generator",
    FeaturesConfig: "feature",
    RankConfig: "ranker",
    FilterConfig: "filter",
}
"""The settings of a stage, and the kind of component that it uses."""

_SEPARATORS = "[-_.]+"
_PLACES = "(?=0*[1-9])[0-9]{1,9}"


def schema_text(known: Registry) -> str:
    """`config_schema` as a file: indented JSON that ends with a line break."""
    return json.dumps(config_schema(known), indent=2, ensure_ascii=False) + "\n"


def config_schema(known: Registry) -> Schema:
    """The schema of a config whose components are those of a registry."""
    writer = _Writer(known, Groups())
    whole = writer.groups.parameters(Config)
    for settings, kind in STAGES.items():
        writer.fill_stage(settings, kind)
    writer.fill_evaluation()
    sections = whole["properties"]
    sections["data"] = {"description": sections["data"]["description"], **writer.data()}
    sections["candidates"]["minItems"] = 1
    return {"$schema": DIALECT, "title": "A config of nbarec", **whole, "$defs": writer.groups.found}


@dataclass(frozen=True)
class _Writer:
    """Fills in what the classes of the config leave open: which components there are, and what each takes."""

    known: Registry
    groups: Groups

    def fill_stage(self, settings: type, kind: Kind) -> None:
        """The names that `use` may say, and for each the parameters under `with`."""
        self.groups.group(settings)
        schema = self.groups.found[settings.__name__]
        schema["properties"]["use"] |= self._uses(kind)
        schema["properties"]["id"] |= {**pattern(STAGE_ID.pattern), "type": ["string", "null"]}
        if cases := [self._stage_case(item, spelling) for item, spelling in self._spellings(kind)]:
            schema["allOf"] = cases  # which must not be empty

    def data(self) -> Schema:
        """The data section: a source's own parameters stand beside `use` and `feedback`."""
        feedback = {**self.groups.group(Feedback), "description": "What events weigh; all the same if left out."}
        use = {"description": "The data source's name, or distribution/name.", **self._uses("source")}
        cases = []
        for item, spelling in self._spellings("source"):
            own = self._component(item)
            own["properties"] = {**own["properties"], "use": True, "feedback": True}
            cases.append(_case({"type": "string", "pattern": spelling}, self._kept(item, own)))
        return {"type": "object", "properties": {"use": use, "feedback": feedback}, "required": ["use"], "allOf": cases}

    def fill_evaluation(self) -> None:
        """Splits, names of metrics, and where the paths of variants may begin."""
        self.groups.group(EvaluateConfig)
        evaluation = self.groups.found[EvaluateConfig.__name__]["properties"]
        metric = self._metric()
        evaluation["split"] |= self._split()
        evaluation["metrics"] |= {"items": metric, "minItems": 1}
        variants = evaluation["variants"]
        variants["propertyNames"] = {"not": {"const": AS_CONFIGURED}}
        variants["additionalProperties"]["propertyNames"] = {"pattern": rf"^({'|'.join(VARIED)})(\.[^.]+)*$"}
        self.groups.found[ColdStart.__name__]["properties"]["metric"] |= metric
        self.groups.group(TuneConfig)
        tuning = self.groups.found[TuneConfig.__name__]["properties"]
        tuning["split"] |= self._split()
        tuning["metric"] |= metric
        tuning["ranges"] |= {"minProperties": 1, "propertyNames": {"pattern": rf"^({'|'.join(TUNED)})(\.[^.]+)+$"}}

    def _split(self) -> Schema:
        cases = []
        for name, split in SPLITS.items():
            schema = self.groups.parameters(split)
            schema["properties"]["use"] = True
            self.groups.found[f"split.{name}"] = schema
            cases.append(_case({"const": name}, {"$ref": f"#/$defs/split.{name}"}))
        return {"properties": {"use": one_of(SPLITS)}, "required": ["use"], "allOf": cases}

    def _metric(self) -> Schema:
        names = [item.name for item in self.known.components("metric") if self._finds("metric", item.name)]
        listed = "|".join(dict.fromkeys(names))
        return {**pattern(f"({listed})@{_PLACES}"), "examples": [f"{name}@10" for name in dict.fromkeys(names)]}

    def _uses(self, kind: Kind) -> Schema:
        """What `use` may say, each with its docs in short; other spellings of a distribution's name are allowed."""
        found = self._spellings(kind)
        choices = [
            {"const": use, "description": " ".join(prose(item.component).partition("\n\n")[0].split())}
            for item, _ in found
            for use in (item.name, f"{item.provider.distribution}/{item.name}")
            if self._finds(kind, use)
        ]
        spelled = "|".join([*(spelling for _, spelling in found), VARIABLE])
        return {"anyOf": [*choices, {"type": "string", "pattern": spelled}]}

    def _spellings(self, kind: Kind) -> list[tuple[Registered, str]]:
        """Every component that a `use` can name, with a pattern of all ways to write its name."""
        found = []
        for item in self.known.components(kind):
            if self._finds(kind, f"{item.provider.distribution}/{item.name}"):
                distribution = _any_spelling(item.provider.distribution)
                prefix = f"(({distribution})?/)?" if self._finds(kind, item.name) else f"{distribution}/"
                found.append((item, f"^{prefix}{item.name}$"))
        return found

    def _finds(self, kind: Kind, use: str) -> bool:
        try:
            self.known.find(kind, use)
        except PluginError:
            return False
        return True

    def _stage_case(self, item: Registered, spelling: str) -> Schema:
        own = self._component(item)
        needed = "required" in own
        reference = self._kept(item, own)
        parameters = reference if needed else {"anyOf": [reference, NULL]}
        then: Schema = {"properties": {"with": parameters}}
        return _case({"type": "string", "pattern": spelling}, {**then, "required": ["with"]} if needed else then)

    def _component(self, item: Registered) -> Schema:
        return {"title": f"{item.name} of {item.provider.distribution}", **self.groups.parameters(item.component)}

    def _kept(self, item: Registered, schema: Schema) -> Schema:
        """A reference to a component's schema, which then stands among the others."""
        name = f"{item.kind}.{normalised(item.provider.distribution)}.{item.name}"
        self.groups.found[name] = schema
        return {"$ref": f"#/$defs/{name}"}


def _case(use: Schema, then: Schema) -> Schema:
    """What holds where `use` is this."""
    return {"if": {"properties": {"use": use}, "required": ["use"]}, "then": then}


def _any_spelling(distribution: str) -> str:
    """A pattern of every name that package indexes take for the same (PEP 503)."""
    letters = (f"[{letter.upper()}{letter}]" if letter.isalpha() else letter for letter in normalised(distribution))
    return "".join(_SEPARATORS if letter == "-" else letter for letter in letters)
