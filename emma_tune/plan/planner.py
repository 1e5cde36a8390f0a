"""Plan the tasks of a point, with their keys."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from emma_tune.attacks import PLAIN, Attack, attack_of
from emma_tune.defenses import DEFENSES, Defense
from emma_tune.defenses.around import OF_SECOND_STEP, THEN, around_params, effective, own_params
from emma_tune.models import NONE
from emma_tune.plan.attackers import attacker_settings, known_of, taught_by, views_of, with_oracle
from emma_tune.plan.task import GROUNDWORK, Point, PointPlan, Task, key_of, run_seed
from emma_tune.stages import (
    LOW_RANK_VERSION,
    STAGES,
    AttackerSettings,
    EvaluationSettings,
    GivenVictimSettings,
    GuidanceSettings,
    MatrixSettings,
    MeasureSettings,
    MisinformerSettings,
    PosteriorsSettings,
    ResponsesSettings,
    StageSettings,
    SurrogateSettings,
    VictimSettings,
    Views,
)
from emma_tune.study import Attacker, Study, outlier_set
from emma_tune.training.settings import Training

OF_OTHER_FIELDS = ("fresh", "layers", "surrogate", "exposure")
"""Parameters of baselines that are no numbers: they decide what is planned, or have fields of their own."""

GIVEN = "given victim"
"""Names the content of a victim that is not trained here, as a key of `Planner.weights`."""


class Planner:
    """The planner of one study.

    Args:
        study: the study.
        images: fingerprints of the victim's images and of the pool, under `victim` and `queries`, and of outliers
            under `outlier_set` of their name.
        weights: fingerprints of the weights to begin with, by `weights_name`, and of a given victim's content,
            under `GIVEN`.
        until: the last stage to plan; all if None.

    Attributes:
        runs: of each chain, by the seed of all that follows the victim: the seed of the victim.
    """

    def __init__(
        self,
        study: Study,
        images: Mapping[str, str],
        weights: Mapping[str, str] | None = None,
        *,
        until: str | None = None,
    ) -> None:
        self.study = study
        self.until = until
        self.images = dict(images)
        self.weights = dict(weights or {})
        # the stages that points share are planned once
        self._victim = cache(self._plan_victim)
        self._posteriors = cache(self._plan_posteriors)
        self._legs = cache(self._plan_legs)
        self._attacking = cache(self._attacker_settings)
        self._points: dict[tuple[Any, ...], PointPlan] = {}
        self.runs = {run_seed(seed, repeat): seed for repeat in study.repeats for seed in study.seeds}

    @property
    def digest(self) -> str:
        """Hash of everything but the point that determines its tasks and its figures.

        Two studies of the same digest plan the same tasks for the same point.
        """
        study = self.study.model_dump(mode="json", include={"surrogate", "defense", "seeds", "repeats"})
        study["defense"].pop(THEN, None)  # a parameter of the points
        study["attackers"] = self._described(self.study.counting)
        victim = self.study.victim.training
        study["victim"] = victim.model_dump(mode="json", include=set(Training.model_fields)) if victim else {}
        study["guide"] = self._latest
        of_all = (name for name in STAGES if name != "measure" or self.study.own_measures)
        versions = {name: STAGES[name].version for name in of_all}
        if "rank" in self.study.search.space.dimensions:
            versions["low rank"] = LOW_RANK_VERSION
        if self.study.plugged:
            study["plugins"] = self.study.plugged
        images = {name: self.images[name] for name in self.study.image_sets if name in self.images}
        return key_of({"study": study, "images": images, "weights": self.weights, "versions": versions})

    @property
    def front_digest(self) -> str:
        """Hash of everything that determines what the attackers of fronts reach: `digest`, and these attackers."""
        others = {name: of for name, of in self.study.attackers.items() if not of.counts}
        return key_of({"points": self.digest, "attackers": self._described(others)})

    def _described(self, attackers: Mapping[str, Attacker]) -> dict[str, Any]:
        """Return all that determines the clones of attackers at a point; versions as recipes have them."""
        described = {name: of.model_dump(mode="json", exclude={"when"}) for name, of in attackers.items()}
        for name, attacker in attackers.items():
            if (version := self._attack(attacker).version) > 1:
                described[name]["version"] = version
        return described

    def foundation(self, seed: int) -> tuple[Task, Task]:
        """Plan the victim of a seed and its posteriors, which every point of that seed needs."""
        return self._victim(seed), self._posteriors(seed, None)

    def attackers_of(self, defense: str) -> dict[str, Attacker]:
        """Return the attackers that apply to a defense; matrix-based ones only if it has a matrix."""
        linear = self._row(defense).linear
        return {
            name: attacker
            for name, attacker in self.study.attackers.items()
            if linear or not self._attack(attacker).needs_matrix
        }

    def _attack(self, attacker: Attacker) -> Attack:
        return attack_of(*map(self.study.versioned, (attacker.kind, attacker.targets)))

    def _row(self, defense: str) -> Defense:
        return DEFENSES[self.study.versioned(defense)]

    def point(self, point: Point) -> PointPlan:
        """Plan a point, once: everything up to the evaluations of the attackers that count."""
        name = (point.number, point.defense, *point.params.items())
        if name not in self._points:
            applying = self.attackers_of(point.defense)
            self._points[name] = self._plan(point, {name: of for name, of in applying.items() if of.counts})
        return self._points[name]

    def front_attack(self, point: Point) -> PointPlan:
        """Plan what the attackers of the fronts (`when: front`) do with a point; perhaps none applies."""
        applying = self.attackers_of(point.defense)
        return self._plan(point, {name: of for name, of in applying.items() if not of.counts})

    def whole(self, point: Point) -> PointPlan:
        """Plan a point with all its attackers, whether or not they will ever attack it."""
        return self._plan(point, self.attackers_of(point.defense))

    def _plan(self, point: Point, attackers: Mapping[str, Attacker]) -> PointPlan:
        tasks: dict[str, Task] = {}
        released: dict[int, Task] = {}
        measures: dict[tuple[int, str], Task] = {}
        clones: dict[tuple[int, str], Task] = {}
        evaluations: dict[tuple[int, str], Task] = {}
        for run, seed in self.runs.items():
            victim, posteriors = self.foundation(seed)
            before = self._defense(point, run)
            *leading, responses = self._answers(point, run, before, None)
            chain = [victim, posteriors, *before, *leading, responses]
            released[run] = responses
            asked = {"posteriors": posteriors.key, "responses": responses.key}
            for name in self.study.own_measures:
                settings = MeasureSettings(measure=self.study.versioned(name))
                measures[run, name] = self._task("measure", settings, asked)
                chain.append(measures[run, name])
            for name, of in attackers.items():
                views = views_of(of, self.study.versioned(of.kind), run, point)
                asking, answers = leading, responses
                if views is not None:
                    *asking, answers = self._answers(point, run, before, views)
                learning = taught_by(self._attacking(name, run), views)
                attacker = self._attacker(learning, of, [victim, *before, *asking, answers])
                evaluation = self._task("evaluation", EvaluationSettings(), {**asked, "attacker": attacker.key})
                clones[run, name] = attacker
                evaluations[run, name] = evaluation
                chain += [*asking, answers, attacker, evaluation]
            tasks |= {task.key: task for task in chain}
        return PointPlan(point, self._cut(tasks), released, clones, evaluations, measures)

    def groundwork(self) -> PointPlan:
        """Plan what all points share: victims, clean answers, and surrogates of every st_epoch."""
        tasks: dict[str, Task] = {}
        for run, seed in self.runs.items():
            legs = self._legs(run, self._latest)
            tasks |= {task.key: task for task in (*self.foundation(seed), *legs)}
        return PointPlan(GROUNDWORK, self._cut(tasks), {}, {}, {})

    @property
    def _latest(self) -> int:
        """The latest st_epoch of the space: the surrogate that baselines are guided by."""
        return max(self.study.search.space.st_epochs)

    def _cut(self, tasks: dict[str, Task]) -> dict[str, Task]:
        """Keep the tasks up to the last stage that is planned."""
        last = len(STAGES) if self.until is None else list(STAGES).index(self.until)
        return {key: task for key, task in tasks.items() if list(STAGES).index(task.stage) <= last}

    def _plan_victim(self, seed: int) -> Task:
        victim = self.study.victim
        if victim.training:
            return self._task("victim", VictimSettings(training=self._training(victim.training), seed=seed), {})
        # the same for every seed
        return self._task(
            "victim", GivenVictimSettings(content=self.weights[GIVEN], model=self._victims_network), {}
        )

    @property
    def _victims_network(self) -> str | None:
        network = self.study.victim.network
        return network and self.study.versioned(network)

    def _plan_posteriors(self, seed: int, views: Views | None) -> Task:
        settings = PosteriorsSettings(model=self._victims_network, views=views)
        return self._task("posteriors", settings, {"victim": self._victim(seed).key})

    def _attacker_settings(self, name: str, run: int) -> AttackerSettings:
        attacker = self.study.attackers[name]
        kind, targets = map(self.study.versioned, (attacker.kind, attacker.targets))
        return attacker_settings(attacker, kind, targets, self._training(attacker), run)

    def _attacker(self, settings: AttackerSettings, of: Attacker, chain: list[Task]) -> Task:
        """Plan an attacker; `chain` is from the victim through what the defense has learned to the answers."""
        answers = chain[-1]
        assert isinstance(answers.config, ResponsesSettings)
        settings, more = with_oracle(settings, self._victims_network, chain)
        inputs = {"responses": answers.key, **more}
        known = known_of(settings.attack, of.knows, answers.config)
        if known is not None:
            settings = settings.model_copy(update={"known" if settings.oracle else "release": known})
            if DEFENSES[known.defense].guided and not settings.oracle:  # which guides itself
                inputs["guidance"] = next(task.key for task in chain if task.stage == "guidance")
        return self._task("attacker", settings, inputs)

    def _defense(self, point: Point, run: int) -> list[Task]:
        """Plan what a defense learns before it answers anything."""
        defense = self._row(point.defense)
        if defense.learned:
            legs = self._legs(run, int(point.params["st_epoch"]))
            return [*legs, self._matrix(point, run, legs[-1])]
        match defense.guided:
            case "surrogate":
                untrained = point.params.get("surrogate") == "untrained"
                return self._legs(run, 0 if untrained else self._latest)
            case "misinformer":
                training, pool = self._training(self.study.misinformer), point.params.get("exposure")
                settings = MisinformerSettings(training=training, seed=run, exposed=pool is not None)
                # without a fingerprint nothing is found: a point whose pool no run of this study has prepared
                outliers = {} if pool is None else {"exposure": self.images.get(outlier_set(str(pool)), "unknown")}
                return [self._task("misinformer", settings, {}, images=outliers)]
        return []

    def _answers(self, point: Point, run: int, before: list[Task], views: Views | None) -> list[Task]:
        """Plan from the clean answers to queries, or to views of them, to what is released."""
        posteriors = self._posteriors(self.runs[run], views)
        chain, inputs = [posteriors], {"posteriors": posteriors.key}
        defense, name = self._row(point.defense), self.study.versioned(point.defense)
        if defense.learned:
            params = defense.release_params(point.params)
            settings = ResponsesSettings(defense=name, params=params, views=views)
            return [*chain, self._task("responses", settings, {**inputs, "matrix": before[-1].key})]
        if defense.guided:
            own = before[-1]
            network = self.study.surrogate if own.stage == "surrogate" else self.study.misinformer
            layers = point.params.get("layers", "all")
            model = self.study.versioned(network.model)
            asks = GuidanceSettings(defense=name, model=model, views=views, layers=layers)
            chain.append(self._task("guidance", asks, {**inputs, own.stage: own.key}))
            inputs["guidance"] = chain[-1].key
        draws = defense.randomized or defense.linear
        numbers = {n: float(of) for n, of in own_params(point.params).items() if n not in OF_OTHER_FIELDS}
        settings = ResponsesSettings(
            defense=name,
            params={**numbers, **around_params(point.params)},
            fresh=bool(point.params.get("fresh", False)),
            seed=run if draws else None,
            views=views,
        )
        return [*chain, self._task("responses", settings, inputs)]

    def _plan_legs(self, run: int, until: int) -> list[Task]:
        """Plan the surrogate of `until` epochs, in legs that end at every smaller st_epoch of the space."""
        posteriors = self._posteriors(self.runs[run], None)
        ends = sorted({e for e in self.study.search.space.st_epochs if e < until} | {until})
        legs: list[Task] = []
        for end in ends:
            settings = SurrogateSettings(training=self._training(self.study.surrogate), until=end, seed=run)
            before = legs[-1].key if legs else None
            legs.append(self._task("surrogate", settings, {"posteriors": posteriors.key}, before))
        return legs

    def _matrix(self, point: Point, run: int, surrogate: Task) -> Task:
        how, training = self.study.defense, self._training(self.study.surrogate)
        # fields of the settings, and what comes behind the matrix; others go into `params`
        elsewhere = {"lambda", "lr_gamma", "st_epoch", "rank"} | OF_SECOND_STEP
        settings = MatrixSettings(
            defense=self.study.versioned(point.defense),
            training=training.model_copy(
                update={
                    "epochs": how.epochs,
                    "batch_size": how.batch_size or training.batch_size,
                    "precision": how.precision or training.precision,
                    "compile": False,  # a tangent needs the graph of every function
                }
            ),
            lambda_=point.params.get("lambda"),
            lr_gamma=point.params["lr_gamma"],
            st_epoch=int(point.params["st_epoch"]),
            rank=int(point.params["rank"]) if "rank" in point.params else None,
            version=LOW_RANK_VERSION if "rank" in point.params else 1,
            params={n: float(of) for n, of in effective(point.params).items() if n not in elsewhere},
            against={} if list(how.against) == [PLAIN] else how.against,
            keep=how.keep,
            min_change=how.min_change,
            patience=how.patience,
            seed=run,
        )
        return self._task("matrix", settings, {**surrogate.inputs, "surrogate": surrogate.key})

    def _task(
        self,
        stage: str,
        config: StageSettings,
        inputs: Mapping[str, str],
        continues: str | None = None,
        images: Mapping[str, str] | None = None,
    ) -> Task:
        named, implied = (
            {name: self.images[name] for name in names} for names in (STAGES[stage].images, STAGES[stage].implied)
        )
        return Task(stage, config, inputs, {**named, **(images or {})}, continues, implied)

    def _training(self, part: Training) -> Training:
        """Return how a network is trained, without its data set or kind; weights are named by their content."""
        named = {name: getattr(part, name) for name in Training.model_fields}
        named["model"] = self.study.versioned(part.model)
        if part.weights != NONE:
            named["weights"] = self.weights[weights_name(part)]
        return Training(**named)


def weights_name(part: Training) -> str:
    """Name the weights that a part begins with, as a key of `Planner.weights`."""
    return f"{part.model}: {part.weights}"
