"""The questions that can be put to the store, each a method; the only door for readers."""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator, Mapping, Sequence
from datetime import UTC, datetime

from sqlalchemy import Connection, Engine, text

from store.engine import read_engine
from store.queries import (
    artifacts,
    baseline,
    contracts,
    decisions,
    drift,
    estimates,
    exports,
    groups,
    habits,
    items,
    journey,
    losses,
    metrics,
    pools,
    run_columns,
    runs,
    schemas,
    steps,
)
from store.queries.cursor import Cursors
from store.queries.filters import Filters, PageRequest
from store.queries.language_sql import Question
from store.queries.run_columns import RunColumns, StepKey
from store.queries.schemas import SchemaRecord, SchemaSummary
from store.queries.types import ArtifactContent, Page, RunDetail, RunRecord, StepRecord
from store.queries.types_decisions import DecisionPage, ItemDecision, ItemHistory, Journey, StepEstimates
from store.queries.types_losses import LossRecord, LossTotals
from store.queries.types_metrics import MetricsPage, ReasonMetrics, StepMetrics
from store.secrets import CURSOR_KEY, shared_secret
from store.sessions import Sessions

DEFAULT_RUN_TIMEOUT_S = 900.0
DEFAULT_STATEMENT_TIMEOUT_MS = 10_000
DEFAULT_EXPORT_TIMEOUT_S = 3600.0
DEFAULT_BAD_OUTCOMES = ("bad_match", "bad")
_FIRST_PAGE = PageRequest()
_EVERYTHING = Filters()


def _utc_now() -> datetime:
    return datetime.now(UTC)


class Reader(Sessions):
    """
    Answers questions; every method reads one snapshot of the database.

    Any number of threads may ask at once. Each method raises ``store.errors.Unavailable`` when the
    database cannot be reached or lacks our tables, ``QueryTimeout`` when the answer takes too long,
    and ``InvalidParameter`` for a cursor that belongs to another question. Unknown ids give None.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        statement_timeout_ms: int,
        run_timeout_s: float,
        now: Callable[[], datetime],
        bad_outcomes: Collection[str] = DEFAULT_BAD_OUTCOMES,
        export_timeout_s: float = DEFAULT_EXPORT_TIMEOUT_S,
    ) -> None:
        super().__init__(engine, statement_timeout_ms=statement_timeout_ms, export_timeout_s=export_timeout_s)
        self._bad_outcomes = frozenset(bad_outcomes)
        self._known_baselines = baseline.Baselines()
        self._known_habits = habits.Known()
        self._known_cursors: Cursors | None = None
        self._run_timeout_s = run_timeout_s
        self._now = now

    @classmethod
    def open(
        cls,
        url: str,
        *,
        statement_timeout_ms: int = DEFAULT_STATEMENT_TIMEOUT_MS,
        run_timeout_s: float = DEFAULT_RUN_TIMEOUT_S,
        now: Callable[[], datetime] = _utc_now,
        bad_outcomes: Collection[str] = DEFAULT_BAD_OUTCOMES,
        export_timeout_s: float = DEFAULT_EXPORT_TIMEOUT_S,
    ) -> Reader:
        """
        Return a reader of the database at ``url`` (``postgresql://…``); connects on the first question.

        run_timeout_s: silence after which a run that names no timeout itself counts as incomplete.
        now: the clock that run status is derived by. bad_outcomes: names of late outcomes that keep a run
        out of what other runs are compared with. export_timeout_s: for all of an export.
        """
        return cls(
            read_engine(url, statement_timeout_ms=statement_timeout_ms),
            statement_timeout_ms=statement_timeout_ms,
            run_timeout_s=run_timeout_s,
            now=now,
            bad_outcomes=bad_outcomes,
            export_timeout_s=export_timeout_s,
        )

    def ping(self) -> None:
        """Return when the database answers, with our tables in it."""
        with self._connection() as connection:
            connection.execute(text("SELECT 1 FROM runs LIMIT 1"))

    def runs(self, filters: Filters = _EVERYTHING, page: PageRequest = _FIRST_PAGE) -> Page[RunRecord]:
        """Runs that satisfy all filters, newest first (``store.queries.runs``)."""
        with self._connection() as connection:
            return runs.list_runs(
                connection,
                self._cursors(connection),
                filters,
                page,
                now=self._now(),
                default_timeout_s=self._run_timeout_s,
            )

    def run(self, run_id: str) -> RunRecord | None:
        """One run."""
        with self._connection() as connection:
            return self._run(connection, run_id)

    def run_detail(self, run_id: str) -> RunDetail | None:
        """One run with its steps in order, the first ``store.queries.steps.MAX_STEPS``."""
        with self._connection() as connection:
            return runs.run_detail(connection, run_id, now=self._now(), default_timeout_s=self._run_timeout_s)

    def run_columns(
        self, run_id: str, wanted: Collection[StepKey], limit: int = run_columns.MAX_DECISIONS
    ) -> RunColumns:
        """The decisions of these executions of a run's steps, in columns (``store.queries.run_columns``)."""
        with self._connection() as connection:
            return run_columns.run_columns(connection, run_id, wanted, limit)

    def run_steps(self, run_id: str, page: PageRequest = _FIRST_PAGE) -> Page[StepRecord] | None:
        """The steps of one run in order, page by page."""
        with self._connection() as connection:
            return steps.page_of_run(connection, self._cursors(connection), run_id, page)

    def steps(self, filters: Filters = _EVERYTHING, page: PageRequest = _FIRST_PAGE) -> Page[StepRecord]:
        """Steps of all runs that satisfy all filters, newest first (``store.queries.steps``)."""
        with self._connection() as connection:
            return steps.list_steps(connection, self._cursors(connection), filters, page)

    def decisions(
        self, run_id: str, step_id: str, filters: Filters = _EVERYTHING, page: PageRequest = _FIRST_PAGE
    ) -> DecisionPage | None:
        """Decisions of one step in the order they were judged (``store.queries.decisions``)."""
        with self._connection() as connection:
            return decisions.list_decisions(
                connection, self._cursors(connection), run_id, step_id, filters, page
            )

    def estimates(self, run_id: str, step_id: str, filters: Filters = _EVERYTHING) -> StepEstimates | None:
        """Totals and means over the decisions of one step (``store.queries.estimates``)."""
        with self._connection() as connection:
            return estimates.estimate_decisions(connection, run_id, step_id, filters)

    def journey(self, run_id: str, item_id: str) -> Journey | None:
        """The way of one item through a run; None when the run or a decision about it is unknown."""
        return self.journeys(run_id, [item_id]).get(item_id)

    def journeys(self, run_id: str, item_ids: Sequence[str]) -> Mapping[str, Journey]:
        """The ways of several items through a run, read at once; without those that are unknown."""
        with self._connection() as connection:
            run = self._run(connection, run_id)
            return {} if run is None else journey.item_journeys(connection, run, item_ids)

    def item_history(
        self, item_id: str, filters: Filters = _EVERYTHING, page: PageRequest = _FIRST_PAGE
    ) -> ItemHistory:
        """What steps of all runs decided about an item, newest first (``store.queries.items``)."""
        with self._connection() as connection:
            return items.item_history(connection, self._cursors(connection), item_id, filters, page)

    def step_metrics(
        self,
        filters: Filters = _EVERYTHING,
        grouping: metrics.Grouping = metrics.Grouping(),  # noqa: B008 - frozen
        page: PageRequest = _FIRST_PAGE,
    ) -> MetricsPage[StepMetrics]:
        """Counts and percentiles of steps (``store.queries.metrics``)."""
        with self._connection() as connection:
            return metrics.step_metrics(connection, self._cursors(connection), filters, grouping, page)

    def reason_metrics(
        self,
        filters: Filters = _EVERYTHING,
        grouping: metrics.Grouping = metrics.Grouping(),  # noqa: B008 - frozen
        page: PageRequest = _FIRST_PAGE,
    ) -> Page[ReasonMetrics]:
        """How often each reason was given (``store.queries.metrics``)."""
        with self._connection() as connection:
            return metrics.reason_metrics(connection, self._cursors(connection), filters, grouping, page)

    def losses(self, filters: Filters = _EVERYTHING, page: PageRequest = _FIRST_PAGE) -> Page[LossRecord]:
        """What was recorded and is not stored, the latest first (``store.queries.losses``)."""
        with self._connection() as connection:
            return losses.list_losses(connection, self._cursors(connection), filters, page)

    def loss_totals(self, filters: Filters = _EVERYTHING) -> LossTotals:
        """How much was lost by cause and kind."""
        with self._connection() as connection:
            return losses.loss_totals(connection, filters, now=self._now())

    def every_run(self, filters: Filters = _EVERYTHING) -> Generator[list[RunRecord], None, None]:
        """All runs that satisfy all filters, batch by batch (``store.queries.exports``); close it early."""
        with self._export() as connection:
            yield from self._in_time(
                exports.every_run(connection, filters, now=self._now(), default_timeout_s=self._run_timeout_s)
            )

    def every_step(self, filters: Filters = _EVERYTHING) -> Generator[list[StepRecord], None, None]:
        """All steps that satisfy all filters, as ``every_run``."""
        with self._export() as connection:
            yield from self._in_time(exports.every_step(connection, filters))

    def every_decision(self, filters: Filters = _EVERYTHING) -> Generator[list[ItemDecision], None, None]:
        """All decisions of the steps that satisfy the filters, as ``every_run``."""
        with self._export() as connection:
            yield from self._in_time(exports.every_decision(connection, filters))

    def schemas(self, page: PageRequest = _FIRST_PAGE) -> Page[SchemaSummary]:
        """The schemas that runs follow, by id (``store.queries.schemas``)."""
        with self._connection() as connection:
            return schemas.list_schemas(connection, self._cursors(connection), page)

    def schema(self, schema_id: str) -> SchemaRecord | None:
        """One schema with its versions, the latest first."""
        if "\x00" in schema_id:
            return None
        with self._connection() as connection:
            return schemas.one_schema(connection, schema_id)

    def artifact(self, artifact_id: str) -> ArtifactContent | None:
        """An artifact with its bytes."""
        with self._connection() as connection:
            return artifacts.content(connection, artifact_id)

    def baseline(
        self, pipeline: str | None, pipeline_version: str | None, *, without: str
    ) -> baseline.Baseline:
        """What runs of a pipeline and version usually look like (``store.queries.baseline``)."""
        with self._connection() as connection:
            return baseline.baseline(
                connection,
                self._known_baselines,
                pipeline,
                pipeline_version,
                without=without,
                bad=self._bad_outcomes,
            )

    def share_of_runs(self, scope: Filters, condition: Filters) -> contracts.RunShare:
        """How many runs that ended satisfy a condition (``store.queries.contracts``)."""
        with self._connection() as connection:
            return contracts.share_of_runs(
                connection, scope, condition, now=self._now(), default_timeout_s=self._run_timeout_s
            )

    def habits(self, run_id: str, pipeline: str | None, pipeline_version: str | None) -> habits.Habits:
        """What the steps of a run and of its baseline were like (``store.queries.habits``)."""
        with self._connection() as connection:
            return habits.habits(
                connection, self._known_habits, run_id, pipeline, pipeline_version, bad=self._bad_outcomes
            )

    def pool(self, question: pools.PoolQuestion) -> pools.Pool:
        """What runs since a time and those before it were like (``store.queries.pools``)."""
        with self._connection() as connection:
            return pools.pool(connection, self._known_habits, question, bad=self._bad_outcomes)

    def cursor(self, question: str, position: Sequence[int | str]) -> str:
        """A signed cursor for a list that is not read page by page (``store.queries.cursor``)."""
        with self._connection() as connection:
            return self._cursors(connection).encode(question, position)

    def position(self, question: str, cursor: str) -> Sequence[int | str]:
        """What ``cursor`` was made of; raises ``InvalidParameter`` unless it was for this question."""
        with self._connection() as connection:
            return self._cursors(connection).decode(question, cursor)

    def reason_history(self, question: drift.DriftQuestion) -> drift.History:
        """How often steps gave each reason, by time (``store.queries.drift``)."""
        with self._connection() as connection:
            return drift.history(connection, question, now=self._now())

    def find_groups(self, shared: Filters, bad: Question, good: Question | None) -> groups.Groups:
        """The runs of two groups (``store.queries.groups``)."""
        with self._connection() as connection:
            return groups.find_groups(
                connection, shared, bad, good, now=self._now(), default_timeout_s=self._run_timeout_s
            )

    def group_facts(
        self, bad: Sequence[groups.Member], good: Sequence[groups.Member], most_steps: int
    ) -> groups.Facts:
        """What the runs of two groups and their steps say (``store.queries.groups``)."""
        with self._connection() as connection:
            return groups.facts(
                connection,
                bad,
                good,
                most_steps,
                now=self._now(),
                default_timeout_s=self._run_timeout_s,
            )

    def _run(self, connection: Connection, run_id: str) -> RunRecord | None:
        return runs.one_run(connection, run_id, now=self._now(), default_timeout_s=self._run_timeout_s)

    def _cursors(self, connection: Connection) -> Cursors:
        # Two threads may fetch it at once; they get the same key.
        if self._known_cursors is None:
            self._known_cursors = Cursors(shared_secret(connection, CURSOR_KEY))
        return self._known_cursors
