"""
What the store answers, occupies and drops at ten million steps.

    python -m benchmarks.scale [--steps 10000000] [--runs 1000000] [--days 30] [--decided 1]
                               [--database-url URL | --keep FOLDER]
                               [--only seed,headline,run,pages,metrics,items,filters,disk,drop]
                               [--no-load] [--no-rest] [--json]

Seeds the product's tables (ten million steps in some minutes, 16 GB), then asks each question with
random parameters: of the reader alone, while a collector takes in half of what it can, and by REST.
A folder that is kept is not seeded again. ``drop`` needs one that is not kept, or is named with
``--only``: it drops everything.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from benchmarks.scale import dropping, questions, seed, sizes
from benchmarks.scale.asking import by_reader, by_rest, measure
from benchmarks.scale.load import half_capacity
from benchmarks.scale.questions import Question
from benchmarks.scale.report import HEAD, Report, line
from benchmarks.scale.seed import Plan, Seeded
from benchmarks.servers import whole
from benchmarks.table_sizes import server_version
from store import migrate
from store.embedded import EmbeddedPostgres
from store.reader import Reader

_SETTINGS = {"shared_buffers": "2GB", "max_wal_size": "8GB"}
"""Of the server that is started here; the defaults are for a laptop's worth of rows."""
_SEED = 20261121
_REST_TIMES = 50
_LOADED_TIMES = 100


def say(text: str) -> None:
    """Progress, apart from the figures."""
    print(text, file=sys.stderr, flush=True)


def main() -> None:
    """Read the options, seed, measure."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=100_000)
    parser.add_argument("--runs", type=int, help="a tenth of the steps when it is not said")
    parser.add_argument("--days", type=int, default=30)
    parser.add_argument("--decided", type=float, default=1.0, help="share of runs with decisions of a step")
    parser.add_argument("--database-url", help="an empty database of your own, or one that was seeded")
    parser.add_argument(
        "--keep", type=Path, metavar="FOLDER", help="of the server; used again when it is there"
    )
    parser.add_argument("--only", help="some of: seed, the groups of questions, disk, drop")
    parser.add_argument("--times", type=int, help="how often each question is asked")
    parser.add_argument("--no-load", action="store_true", help="not while ingest runs")
    parser.add_argument("--no-rest", action="store_true", help="not by REST")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    only = set(options.only.split(",")) if options.only else set()
    with _server(options.database_url, options.keep) as url:
        seeded = _seeded(url, options)
        report = Report({"seeded": seeded._asdict(), "postgres": server_version(url)})
        asked = [one for one in questions.questions(seeded) if not only or one.group in only]
        unknown = only - {one.group for one in questions.questions(seeded)} - {"seed", "disk", "drop"}
        if unknown:
            parser.error(f"--only does not know {', '.join(sorted(unknown))}")
        print_ = say if options.json else print
        if asked:
            _ask(url, asked, report, options)
            print_(HEAD)
            for row in report.rows:
                print_(line(row))
        if not only or "disk" in only:
            report.more["disk"] = sizes.measure(url, seeded, print_)
        if "drop" in only or (not only and options.keep is None and options.database_url is None):
            report.more["drop"] = dropping.measure(url, seeded, print_)
        if options.json:
            print(report.json())


@contextmanager
def _server(url: str | None, keep: Path | None) -> Iterator[str]:
    if url is not None:
        yield url
    elif keep is not None:
        keep.mkdir(parents=True, exist_ok=True)
        with EmbeddedPostgres(keep, settings=_SETTINGS) as server:
            yield server.url
    else:
        with (
            tempfile.TemporaryDirectory(prefix="xray-scale-") as folder,
            EmbeddedPostgres(Path(folder), settings=_SETTINGS) as server,
        ):
            yield server.url


def _seeded(url: str, options: argparse.Namespace) -> Seeded:
    found = seed.seeded(url)
    if found is None:
        plan = Plan(options.steps, options.runs or options.steps // 10, options.days, options.decided)
        say(f"seeding {plan.steps:,} steps")
        # Until yesterday: what comes in while questions are asked is of today.
        found = seed.seed(url, plan, datetime.now(UTC).date() - timedelta(days=1), say)
    else:
        migrate.upgrade(url)
    say(
        f"{found.steps:,} steps of {found.runs:,} runs over {found.days} days, {found.chunks:,} chunks with"
        f" {found.candidates:,} candidates, seeded in {found.seconds:.0f} s"
    )
    return found


def _ask(url: str, asked: Sequence[Question], report: Report, options: argparse.Namespace) -> None:
    reader = Reader.open(url)
    answers = by_reader(reader)
    try:
        for question in asked:
            row = report.add(question, measure(question, answers, _SEED, options.times))
            say(line(row))
        if not options.no_load:
            with half_capacity(url) as (paced, capacity):
                for question, row in zip(asked, report.rows, strict=True):
                    row.loaded = measure(question, answers, _SEED, options.times or _LOADED_TIMES)
                    say(line(row))
                report.context["ingest"] = {"capacity_spans_s": capacity, "sent_spans_s": paced.rate}
                say(f"ingest meanwhile: {paced.rate:,.0f} spans/s, of {capacity:,.0f} that it can take")
    finally:
        reader.close()
    if not options.no_rest:
        with whole(url) as started, by_rest(started.api) as replies:
            for question, row in zip(asked, report.rows, strict=True):
                row.rest = measure(question, replies, _SEED, options.times or _REST_TIMES)


if __name__ == "__main__":
    main()
