"""What can differ between two groups of runs: one figure per run, by the names of the filter language."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, NamedTuple, TypeGuard

from store.queries.groups import RunFacts, StepFacts

MAX_FEATURES = 600
"""Figures that are tested; of more, those that most runs have."""
MAX_WORDS = 20
"""Values of one tag or field that are looked at, the most frequent ones."""

_ABSURD = 1e100
_VERDICTS = ("kept", "eliminated", "scored", "selected", "not_selected", "deferred", "merged")
_RUN_WORDS = ("pipeline_version", "status", "outcome", "service_name", "environment")
_STEP_WORDS = ("model", "config_fingerprint")
_LEVELS = (
    "drop_ratio",
    "candidates_in",
    "candidates_out",
    "duration_ms",
    "score_mean",
    "score_std",
    "score_p50",
    "temperature",
)
Scale = Literal["is", "share", "level"]
"""``is``: 1 of a run for which it holds; ``share`` of the candidates that came in; ``level``: as recorded."""


class Feature(NamedTuple):
    """One figure."""

    pipeline: str | None
    """None where one pipeline is compared."""
    step: str | None
    """Name of the step; None of the run itself."""
    step_type: str | None
    field: str
    """As in the filter language: ``reason.too_dear``, ``drop_ratio``, ``tag.market``."""
    scale: Scale
    word: str | None
    """What the field is, where the figure says whether it is that."""


class Features(NamedTuple):
    """Figures of all runs."""

    keys: Sequence[Any]
    """Of the runs."""
    columns: Mapping[Feature, Mapping[int, float]]
    """Feature to place in ``keys`` to figure; runs that cannot have it are absent."""
    left_out: int
    """Features beyond ``MAX_FEATURES``."""


class _Columns:
    """Collects figures; what is absent of a run that could have it is 0."""

    def __init__(self) -> None:
        self.made: defaultdict[Feature, dict[int, float]] = defaultdict(dict)
        self.zero: dict[Feature, tuple[Any, ...]] = {}
        """Feature to what the runs have in common that have 0 where nothing is noted."""
        self.runs: defaultdict[tuple[Any, ...], list[int]] = defaultdict(list)

    def size(self, feature: Feature) -> int:
        """How many runs have the figure, zeros included."""
        where = self.zero.get(feature)
        return len(self.made[feature] if where is None else self.runs[where])

    def varies(self, feature: Feature) -> bool:
        """Whether it is not the same in all runs."""
        noted = self.made[feature]
        return len({*noted.values(), *([0.0] if len(noted) < self.size(feature) else [])}) > 1

    def filled(self, feature: Feature) -> Mapping[int, float]:
        """The figure of each run."""
        where = self.zero.get(feature)
        zeros = {} if where is None else dict.fromkeys(self.runs[where], 0.0)
        return zeros | self.made[feature]


def features(runs: Sequence[RunFacts], steps: Iterable[StepFacts]) -> Features:
    """Return all figures that are not the same in all runs."""
    columns = _Columns()
    several = len({run.pipeline for run in runs}) > 1
    pipelines = [run.pipeline if several else None for run in runs]
    for place, run in enumerate(runs):
        columns.runs["run", pipelines[place]].append(place)
        _of_run(columns, place, run)
    places = {run.run_key: place for place, run in enumerate(runs)}
    executed: dict[tuple[int, str], tuple[StepFacts, int]] = {}
    for step in steps:
        at = (places[step.run_key], step.name)
        executed[at] = (step, executed[at][1] + 1 if at in executed else 1)
    for (place, _), (step, executions) in executed.items():
        _of_step(columns, place, pipelines[place], step, executions)
    made = _frequent_words(columns)
    chosen = sorted(made, key=lambda feature: (-columns.size(feature), _order(feature)))[:MAX_FEATURES]
    return Features(
        [run.run_key for run in runs],
        # Zeros of all runs are filled in last: a tag may have another value in each run.
        {feature: columns.filled(feature) for feature in sorted(chosen, key=_order)},
        len(made) - len(chosen),
    )


def _order(feature: Feature) -> tuple[str, ...]:
    return tuple("" if part is None else f"={part}" for part in feature)


def _of_run(columns: _Columns, place: int, run: RunFacts) -> None:
    columns.runs["all",].append(place)
    words = {name: getattr(run, name) for name in _RUN_WORDS}
    words |= {f"tag.{name}": value for name, value in (run.tags or {}).items()}
    for field, word in words.items():
        if isinstance(word, str):
            feature = Feature(None, None, None, field, "is", word)
            columns.made[feature][place] = 1.0
            columns.zero[feature] = ("all",)
    if _is_usable(run.duration_ms):
        columns.made[Feature(None, None, None, "duration_ms", "level", None)][place] = run.duration_ms


class _Note(NamedTuple):
    """One figure of one execution."""

    field: str
    scale: Scale
    value: float
    zero: str | None = None
    """Of which runs the figure is 0 where it is not noted: ``run``, ``ran`` or ``judged``."""
    word: str | None = None


def _of_step(columns: _Columns, place: int, pipeline: str | None, step: StepFacts, executions: int) -> None:
    columns.runs["ran", pipeline, step.name].append(place)
    if step.candidates_in:
        columns.runs["judged", pipeline, step.name].append(place)
    notes = [*_yes_and_no(step), *_levels(step), *_shares(step), *_named(step)]
    for note in (*notes, _Note("executions", "level", float(executions))):
        feature = Feature(pipeline, step.name, step.step_type, note.field, note.scale, note.word)
        columns.made[feature][place] = note.value
        if note.zero is not None:
            columns.zero[feature] = (note.zero, pipeline, *([] if note.zero == "run" else [step.name]))


def _yes_and_no(step: StepFacts) -> Iterable[_Note]:
    yield _Note("name", "is", 1.0, "run", step.name)
    yield _Note("status", "is", float(step.status == "error"), None, "error")
    for name in _STEP_WORDS:
        if (word := getattr(step, name)) is not None:
            yield _Note(name, "is", 1.0, "ran", word)


def _levels(step: StepFacts) -> Iterable[_Note]:
    for name in _LEVELS:
        if _is_usable(level := getattr(step, name)):
            yield _Note(name, "level", level)


def _shares(step: StepFacts) -> Iterable[_Note]:
    """Of the candidates that came in."""
    if not step.candidates_in:
        return
    for name in _VERDICTS:
        if count := getattr(step, name):
            yield _Note(name, "share", count / step.candidates_in, "judged")
    for code, count in zip(step.reason_codes or (), step.reason_counts or (), strict=False):
        yield _Note(f"reason.{code}", "share", count / step.candidates_in, "judged")


def _named(step: StepFacts) -> Iterable[_Note]:
    """What the sender named."""
    for name, metric in (step.metrics or {}).items():
        if _is_usable(metric):
            yield _Note(f"metric.{name}", "level", metric)
    for field, statistics in (step.fields or {}).items():
        for name in ("missing", "mean"):
            if _is_usable(figure := statistics.get(name)):
                yield _Note(f"field.{field}.{name}", "level", figure)


def _is_usable(value: Any) -> TypeGuard[float]:
    """Whether it is a number that can be summed: a sender's may be as large as any."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < _ABSURD


def _frequent_words(columns: _Columns) -> list[Feature]:
    """Those that vary, without rare values of a tag or field, and one of two that exclude each other."""
    by_field: defaultdict[tuple[Any, ...], list[Feature]] = defaultdict(list)
    found: list[Feature] = []
    for feature in columns.made:
        if not columns.varies(feature):
            continue
        if feature.word is None:
            found.append(feature)
        else:
            by_field[feature[:4]].append(feature)
    for words in by_field.values():
        words.sort(key=lambda feature: (-sum(columns.made[feature].values()), feature.word or ""))
        of_two = len(words) == 2 and _exclude(columns, *words)
        found += words[1 if of_two else 0 : MAX_WORDS]
    return found


def _exclude(columns: _Columns, one: Feature, other: Feature) -> bool:
    """Whether of two words of a field each run has one."""
    first, second = columns.made[one].keys(), columns.made[other].keys()
    return not first & second and len(first) + len(second) == columns.size(one)
