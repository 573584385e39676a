"""
Is a replay what truly running the pipeline again gives?

    python -m benchmarks.replay [--runs 200] [--changes 60] [--flips 20] [--seed 1]

Pipelines of all kinds run through the client, a collector and PostgreSQL. Then thresholds, rules and
numbers to keep are changed at random: the replay, made from what is stored, is held against executing
the pipeline again under the change. ``--runs 10 --changes 20`` takes a quarter of a minute.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Iterator

import xray_otel as xray
from benchmarks import servers
from benchmarks.replay.kinds import INDEPENDENT
from benchmarks.replay.trials import Tally, recorded, told_of, try_changes, try_contrasts, try_flips
from store.reader import Reader


def main() -> None:
    """Read the options, run, report."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.replay",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--changes", type=int, default=60, help="of each run")
    parser.add_argument("--flips", type=int, default=20, help="of each run")
    parser.add_argument("--seed", default="1")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="xray-spool-") as spool, servers.servers() as addresses:
        os.environ["XRAY_SPOOL_DIR"] = spool
        xray.configure(endpoint=addresses.otlp_http, sample_size=4, mode="strict")
        runs = recorded([f"{options.seed}-{number}" for number in range(options.runs)])
        reader, tally = Reader.open(addresses.database), Tally()
        for run in runs:
            told = told_of(reader, run)
            try_changes(run, told, options.changes, tally)
            try_flips(run, told, options.flips, tally)
            try_contrasts(run, told, options.flips, tally)
        reader.close()
        xray.shutdown()
    print("\n".join(report(tally)))


def report(tally: Tally) -> list[str]:
    """The figures, a line each."""
    items = sum(tally.answers.values())
    shares = ", ".join(f"{word} {n / max(1, items):.1%}" for word, n in sorted(tally.answers.items()))
    assumed = tally.answers["assumed"]
    misled = f"{tally.assumed_wrong} of {assumed} ({tally.assumed_wrong / max(1, assumed):.2%})"
    lines = [
        f"{tally.changes} changes, {tally.refused} refused because they name no rule of the record",
        f"certain and wrong: {len(tally.wrong)}",
        *tally.wrong[:10],
        f"{items} fates of items: {shares}",
        f"assumed and wrong: {misled}",
        f"every fate certain: {tally.whole[True]} of {tally.whole.total()}",
        *_shares(tally),
    ]
    for (how, kind, capture), share in sorted(tally.filters.items()):
        lines.append(f"  {how}, {kind}, {capture}: {share}")
        causes = ", ".join(
            f"{cause} {n / share.verdicts.total():.1%}" for cause, n in share.verdicts.most_common()
        )
        lines.append(f"      {causes}")
    lines.append("flips: " + ", ".join(f"{word} {n}" for word, n in sorted(tally.flips.items())))
    return lines


def _shares(tally: Tally) -> Iterator[str]:
    yield "item-independent filters at full capture, certain:"
    for title, how in (("recorded as docs/sdk.md advises", "advised"), ("as found", "found"), ("both", "")):
        yield f"  {title}: {tally.share(how, *INDEPENDENT)}"


if __name__ == "__main__":
    main()
