"""The study as a whole: its parts, and what they share."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import ConfigDict, Field, ValidationInfo, field_validator, model_validator

from emma_tune.defenses import DEFENSES, LEARNED, Parameter
from emma_tune.defenses.around import GATE, THEN
from emma_tune.stages import STAGES
from emma_tune.storage import as_place
from emma_tune.storage.redaction import printable
from emma_tune.storage.versions import versioned
from emma_tune.study.baselines import Baseline, outlier_set
from emma_tune.study.checks import CHECKS
from emma_tune.study.document import shown
from emma_tune.study.fields import AUTO, NAME, NAME_EXPECTED, Color, StageName, misplaced
from emma_tune.study.inheritance import with_victims_fields
from emma_tune.study.measures import ATTACKERS, MEASURES, Direction, Measure, measure
from emma_tune.study.parts import Attacker, Limits, Optimization, Queries
from emma_tune.study.plugged import REGISTERED, PluginFile, add_rows, with_plugins
from emma_tune.study.resources import Share, or_auto, spelled_out
from emma_tune.study.search import PARAMETERS, DefenseSearch, Dimension, Search, WholeChoice, check_ranges
from emma_tune.study.victims import AnyVictim
from emma_tune.training.fields import Frozen
from emma_tune.training.settings import Training

LONGEST = 150  # bytes of an attacker's name, which trackers make a part of a folder's name


def _may_extend(schema: dict[str, Any]) -> None:
    """Allow `extends` in the JSON schema; the two files are merged before validation."""
    schema["properties"]["extends"] = {
        "type": "string",
        "description": "path of a study file, relative to this one; what this one leaves out is taken from it",
    }


def _as_paths(schema: dict[str, Any]) -> None:
    """Describe plug-ins as a study file names them."""
    schema["items"] = {"type": "string"}


class Study(Frozen):
    """A study: what is attacked, by whom, how it is defended, and what is searched for."""

    model_config = ConfigDict(json_schema_extra=_may_extend)

    name: str = Field(
        description="name of the study and of its folder: letters, digits, dots, dashes and underscores",
        json_schema_extra={"pattern": f"^{NAME}$"},
    )
    victim: AnyVictim = Field(
        description="the classifier to protect: trained here (model, epochs, …), or given (onnx, answers, or "
        "model with weights and train: false)"
    )
    queries: Queries
    surrogate: Training = Field(
        description="the defender's stand-in for an attacker; fields left out are the victim's"
    )
    defense: Optimization
    attackers: dict[str, Attacker] = Field(
        min_length=1, description="attackers by name; kind is the name if left out, other fields are the victim's"
    )
    baselines: tuple[Baseline, ...] = Field(
        default_factory=lambda: (Baseline(kind="none"),), description="defenses to compare with"
    )
    seeds: tuple[Annotated[int, Field(strict=True, ge=0)], ...] = Field(
        (0,), min_length=1, description="for each, a victim is trained and every point is run once"
    )
    repeats: tuple[Annotated[int, Field(strict=True, ge=0)], ...] = Field(
        (0,),
        min_length=1,
        description="for each, every point is run once on the same victims: 0 is the seed itself, any other "
        "number a fresh seed for all that follows the victim",
    )
    search: Search
    objectives: dict[str, Direction] = Field(
        {"l1": "min", "attacker_accuracy": "min"},
        min_length=1,
        description="measures to optimize, min or max; attackers.NAME is the accuracy of one attacker's clone",
        json_schema_extra={"propertyNames": {"anyOf": [{"enum": list(MEASURES)}, {"pattern": "^attackers[.]."}]}},
    )
    limits: Limits = Limits(accuracy_drop=None)
    resources: dict[StageName, Share] = Field(
        default_factory=dict,
        description="what one task of a stage takes; default: one CPU and no GPU; auto: one CPU, and as much of "
        "a GPU as the stage's first task needed",
        json_schema_extra=or_auto,
    )
    data_root: str | None = Field(
        None,
        description="folder of the data sets that come with no package; default: the variable EMMA_TUNE_DATA",
    )
    on_bad_image: Literal["skip", "fail"] = Field(
        "skip", description="skip: leave out images that cannot be read, and name them; fail: do not start"
    )
    background: Color = Field(
        "white", description="what transparent images are laid on: white, black, '#rrggbb' or [red, green, blue]"
    )
    plugins: tuple[PluginFile, ...] = Field(
        (),
        exclude_if=lambda plugins: not plugins,
        description="files of Python that declare your own defenses, attackers, networks, data sets and measures",
        json_schema_extra=_as_paths,
    )
    store: str | None = Field(
        None,
        description="folder of the artifacts, or s3://…; default: `store` beside the study's folder",
    )

    @model_validator(mode="before")
    @classmethod
    def _inherit_from_victim(cls, given: object) -> object:
        return with_victims_fields(given) if isinstance(given, dict) else given

    @model_validator(mode="before")
    @classmethod
    def _plugins_first(cls, given: object) -> object:
        """Read plug-ins before the names that they add are checked: of these validators the last runs first."""
        return with_plugins(given) if isinstance(given, dict) else given

    @field_validator("resources", mode="before")
    @classmethod
    def _auto_is_for_all(cls, resources: object) -> object:
        if isinstance(resources, str) and resources != AUTO:
            raise ValueError("expected a mapping, or auto")
        return spelled_out(resources)

    @field_validator("name")
    @classmethod
    def _fit_for_a_folder(cls, name: str) -> str:
        if not re.fullmatch(NAME, name):
            raise ValueError(NAME_EXPECTED)
        return name

    @field_validator("store")
    @classmethod
    def _a_place(cls, store: str | None) -> str | None:
        if store is not None:
            as_place(store)
        return store

    @field_validator("objectives")
    @classmethod
    def _known_and_in_its_direction(
        cls, objectives: dict[str, Direction], info: ValidationInfo
    ) -> dict[str, Direction]:
        attackers: Mapping[str, Attacker] = info.data.get("attackers", {})
        for name, direction in objectives.items():
            if name.startswith(ATTACKERS) and "attackers" not in info.data:
                continue  # the error of the attackers is reported already
            place, attacker = f"objectives.{name}", attackers.get(name.removeprefix(ATTACKERS))
            if name.startswith(ATTACKERS) and attacker is not None:
                if not attacker.counts or attacker.attack.needs_matrix:
                    raise misplaced(
                        place,
                        "expected an attacker that attacks every point, found one that "
                        + ("needs a matrix" if attacker.counts else "attacks only the fronts (when: front)"),
                    )
            elif name not in MEASURES:
                known = ", ".join([*MEASURES, *(f"{ATTACKERS}{attacker}" for attacker in attackers)])
                raise misplaced(place, f"expected a known measure of a point, one of {known}, found {name!r}")
            if direction != (better := measure(name).direction):
                raise misplaced(place, f"expected {better}, found {direction!r}")
        return objectives

    @field_validator("search")
    @classmethod
    def _in_range(cls, search: Search, info: ValidationInfo) -> Search:
        if "defense" in info.data:  # else its error is reported already
            check_ranges(search.space, LEARNED[info.data["defense"].kind].parameters)
        return search

    @field_validator("seeds", "repeats")
    @classmethod
    def _no_repetition(cls, values: tuple[int, ...]) -> tuple[int, ...]:
        if len(set(values)) < len(values):
            raise ValueError("expected each value once")
        return values

    @field_validator("baselines")
    @classmethod
    def _each_defense_once(cls, baselines: tuple[Baseline, ...]) -> tuple[Baseline, ...]:
        kinds = [baseline.kind for baseline in baselines]
        if len(set(kinds)) < len(kinds):
            raise ValueError(f"expected each defense once, found {', '.join(kinds)}")
        return baselines

    @field_validator("attackers")
    @classmethod
    def _names_can_be_shown(cls, attackers: dict[str, Attacker]) -> dict[str, Attacker]:
        for name in attackers:
            if printable(name) != name or not name.strip() or "\n" in name:
                raise ValueError(f"expected names that can be printed, found {name!r}")
            if len(name.encode()) > LONGEST:
                raise ValueError(f"expected names of at most {LONGEST} bytes, found {shown(name)}")
        return attackers

    @field_validator("attackers")
    @classmethod
    def _one_attacks_everything(cls, attackers: dict[str, Attacker]) -> dict[str, Attacker]:
        if not any(attacker.counts and not attacker.attack.needs_matrix for attacker in attackers.values()):
            raise ValueError(
                "expected an attacker with `when: always` that needs no matrix, since some defenses are none"
            )
        return attackers

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        for check in CHECKS:
            check(self)
        return self

    @property
    def plugged(self) -> dict[str, str]:
        """The hashes of its plug-ins, by the names that they declare."""
        return {name: of.hash for of in self.plugins for name in of.declarations}

    @property
    def own_measures(self) -> tuple[str, ...]:
        """The measures that its plug-ins declare."""
        return tuple(n for of in self.plugins for n, one in of.declarations.items() if one.kind == "measure")

    @property
    def measures(self) -> tuple[str, ...]:
        """The measures of its points: this package's, and those that its plug-ins declare.

        Those of a gate only if there is one.
        """
        own = (name for name in MEASURES if name not in REGISTERED)
        return *(n for n in own if not MEASURES[n].gated or self.gated), *self.own_measures

    @property
    def gated(self) -> bool:
        """Whether there is a defense behind a gate."""
        return GATE.name in self.search.space.dimensions or any(GATE.name in of.space for of in self.baselines)

    @property
    def parameters(self) -> list[Parameter]:
        """What is searched of the learned defenses that it can name: this package's, and its plug-ins'."""
        rows = [DEFENSES.get(self.versioned(name)) for name in self.plugged]
        own = [of for row in rows if row and row.learned for of in row.parameters if of.name not in PARAMETERS]
        return [of for of in (*PARAMETERS.values(), *own) if self.search.space.has(of)]

    def use(self) -> Self:
        """Put its plug-ins' rows back, in place of those of other studies of this process, and return it."""
        add_rows(self.plugins)
        return self

    def measure(self, name: str) -> Measure:
        """Look up a measure of its points."""
        self.use()
        return measure(name)

    def versioned(self, name: str) -> str:
        """Return a name as recipes have it: of a plug-in with the hash of its content."""
        return versioned(name, self.plugged[name]) if name in self.plugged else name

    @property
    def budget(self) -> str:
        """The measure that says what a defense costs: the first such objective, or l1."""
        return next((name for name in self.objectives if not self.measure(name).of_clones), "l1")

    @property
    def attack(self) -> str:
        """The measure that says what attackers get: the first such objective, or `attacker_accuracy`."""
        return next((name for name in self.objectives if self.measure(name).of_clones), "attacker_accuracy")

    @property
    def misinformer(self) -> Training:
        """How the second network of adaptive misinformation is trained: as the victim, else the surrogate."""
        return self.victim.training or self.surrogate

    @property
    def counting(self) -> dict[str, Attacker]:
        """The attackers that attack every point, and make the worst case."""
        return {name: attacker for name, attacker in self.attackers.items() if attacker.counts}

    def against(self, attacker: str | None) -> Self:
        """Return the study with one attacker's accuracy as its attack objective; itself if None."""
        if attacker is None or not self.attack.startswith(ATTACKERS):
            return self  # figures against an attacker have its clone for the worst one
        renamed = {f"{ATTACKERS}{attacker}" if n == self.attack else n: d for n, d in self.objectives.items()}
        return self.model_copy(update={"objectives": renamed})

    @property
    def axes(self) -> tuple[Measure, Measure]:
        """The measures of `budget` and `attack`: what a trade-off curve is drawn over."""
        return self.measure(self.budget), self.measure(self.attack)

    @property
    def fixed(self) -> tuple[tuple[str, dict[str, float | bool | str]], ...]:
        """The points that need no proposal: name and parameters of a baseline."""
        return tuple((baseline.kind, params) for baseline in self.baselines for params in baseline.grid)

    @property
    def exposure(self) -> tuple[str, str] | None:
        """The images that a baseline is exposed to: their field in the study file, and their name."""
        exposed = {f"baselines.{i}.exposure": of.exposure for i, of in enumerate(self.baselines) if of.exposure}
        return next(iter(exposed.items()), None)  # of one defense, which is there once

    @property
    def image_sets(self) -> tuple[str, ...]:
        """The sets of images that a run prepares."""
        return ("victim", "queries", *([outlier_set(self.exposure[1])] if self.exposure else []))

    @property
    def searches(self) -> dict[str, DefenseSearch]:
        """The search of each defense that is searched."""
        then = {THEN: self.defense.then} if self.defense.then else {}
        found = {self.defense.kind: self._search_of(None, self.search.space.dimensions, then)}
        for baseline in self.baselines:
            if baseline.searched:
                found[baseline.kind] = self._search_of(baseline.points, baseline.space, baseline.settings)
        return found

    def _search_of(
        self,
        points: int | None,
        space: Mapping[str, Dimension | WholeChoice],
        settings: Mapping[str, float | bool | str],
    ) -> DefenseSearch:
        return DefenseSearch(points or self.search.points, space, settings, grid=self.search.sampler == "grid")

    @property
    def proposals(self) -> int:
        """Number of points that are searched, of all defenses."""
        return sum(search.proposals for search in self.searches.values())

    def share(self, stage: str) -> Share:
        """Return what a task of this stage takes; one CPU where the study says nothing."""
        return self.resources.get(self.shares_with(stage)) or Share(cpu=1, gpu=0, timeout_seconds=None)

    def shares_with(self, stage: str) -> str:
        """Return the stage whose resources count for this one: itself, or the one named by its row in `STAGES`."""
        return stage if stage in self.resources else STAGES[stage].resources or stage
