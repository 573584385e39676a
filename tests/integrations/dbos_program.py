"""
A DBOS workflow with X-Ray: ``python dbos_program.py FOLDER WORKFLOW_ID [first]``.

``first`` starts it, and hangs in the middle of its third step, where it is to be killed; without,
the workflow that was left behind is recovered. Prints how often each step ran in this process.
"""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from pathlib import Path

from dbos import DBOS, SetWorkflowID

import xray_otel as xray
from xray_otel.integrations.dbos import recorded_step, recorded_workflow

folder, workflow_id, is_first = Path(sys.argv[1]), sys.argv[2], "first" in sys.argv[3:]
DBOS(config={"name": "tests", "system_database_url": f"sqlite:///{folder / 'dbos.sqlite'}"})
runs: Counter[str] = Counter()


@DBOS.step()
@recorded_step(type="search")
def search() -> list[int]:
    runs["search"] += 1
    xray.current_step().counts(out=5)
    return [1, 2, 3, 4, 5]


@DBOS.step(retries_allowed=True, interval_seconds=0.01, max_attempts=3)
@recorded_step(type="filter")
def cheap(prices: list[int]) -> list[int]:
    runs["cheap"] += 1
    if runs["cheap"] == 1:
        raise ValueError("flaky")
    return xray.current_step().filter(prices, lambda price: price <= 3 or xray.Reject("too_expensive"))


@DBOS.step()
@recorded_step()
@xray.step(type="rank")
def rank(prices: list[int]) -> list[int]:
    runs["rank"] += 1
    if is_first:
        (folder / "in the middle").touch()
        time.sleep(600)
    return sorted(prices, reverse=True)


@DBOS.step()
@recorded_step(type="select")
def select(prices: list[int]) -> int:
    runs["select"] += 1
    return prices[0]


@DBOS.workflow()
@recorded_workflow("dearest", entity="P1")
def dearest() -> int:
    chosen = select(rank(cheap(search())))
    xray.current_run().outcome("chosen")
    return chosen


if __name__ == "__main__":
    DBOS.launch()
    if is_first:
        with SetWorkflowID(workflow_id):
            dearest()
    result = DBOS.retrieve_workflow(workflow_id).get_result()
    assert xray.flush(30.0)
    sys.stdout.write(json.dumps({"result": result, "runs": runs}) + "\n")
    DBOS.destroy()
