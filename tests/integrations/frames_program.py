"""What is recorded of pandas, polars, Arrow, numpy and pydantic, as one JSON object on stdout."""

from __future__ import annotations

import dataclasses
import json
import sys
import warnings
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
from pydantic import BaseModel

import xray_otel as xray
from xray_otel import testing

warnings.simplefilter("error")  # of polars, when a lazy frame is asked for its columns

ROWS: list[dict[str, Any]] = [
    {"id": f"i{n}", "price": None if n % 10 == 0 else float(n), "shard": "a" if n % 4 else "b"}
    for n in range(100)
]


class Model(BaseModel):
    id: str
    price: float | None
    shard: str


@dataclasses.dataclass
class Record:
    id: str
    price: float | None
    shard: str


ITEMS: dict[str, Any] = {
    "dicts": ROWS,
    "dataclasses": [Record(**row) for row in ROWS],
    "pydantic": [Model(**row) for row in ROWS],
    "pandas": pd.DataFrame(ROWS),
    "pandas, ids as index": pd.DataFrame(ROWS).set_index("id"),
    "polars": pl.DataFrame(ROWS),
    "Arrow table": pa.Table.from_pylist(ROWS),
    "Arrow batch": pa.RecordBatch.from_pylist(ROWS),
}
SERIES: dict[str, Any] = {
    "numpy": np.array,
    "pandas": pd.Series,
    "polars": pl.Series,
    "Arrow": pa.array,
}
VALUES: dict[str, Any] = {
    "pandas": pd.DataFrame({"a": [1, 2], "password": ["hunter2", "hunter3"]}),
    "polars": pl.DataFrame({"a": [1, 2], "password": ["hunter2", "hunter3"]}),
    "Arrow": pa.table({"a": [1, 2], "password": ["hunter2", "hunter3"]}),
    "row": pd.DataFrame({"a": [1], "password": ["hunter2"]}).iloc[0],
    "mixed": pd.Series({0: 1, "password": "hunter2"}),
    "fields": np.array([(1, "hunter2")], dtype=[("a", "i4"), ("password", "U9")]),
    "twice": pd.DataFrame([[1, 2, "hunter2"]], columns=["a", "a", "password"]),
    "type": pd.DataFrame,
    "long": pd.DataFrame({"a": range(5_000)}),
    "lazy": pl.DataFrame({"a": [1]}).lazy(),
    "missing": [pd.NA, pd.NaT, np.float32(0.5), np.int64(3), pa.scalar(4), pd.Series([1, None])],
}


def main() -> None:
    with testing.capture() as captured, xray.run("frames"):
        for name, items in ITEMS.items():
            with xray.step(f"fields of {name}") as step:
                step.fields(items, ["price", "shard", "absent"], source="shard")
        for name, made in SERIES.items():
            with xray.step(f"columns of {name}") as step:
                step.record(made(["a", "b"]), made([True, False]), "dear", values=made([1.0, 2.0]))
        with xray.step("ids") as step:
            for one in (np.int64(7), np.str_("x"), pa.scalar("y"), pd.Timestamp("2020-01-01")):
                step.accept(one)
            frame = pd.DataFrame(ROWS[:2])
            step.record(frame, frame["price"] > 0, "no_price", key="id")
            step.record(pl.DataFrame(ROWS[:1]), "kept")
        with xray.step("gaps") as step:
            reasons = pd.Series([float("nan"), pd.NA, "dear"])
            step.record(["a", "b", "c"], "KKE", reasons, scores=pd.Series([1, pd.NA, None], dtype="Int64"))
        with xray.step("hidden") as step:
            step.accept("a", value=pd.Series({"password": "hunter2"}))
            step.accept("b", value=np.array([("hunter2",)], dtype=[("password", "U9")])[0])
            step.accept("c", value=pd.NA)
        for name, value in VALUES.items():
            with xray.step(f"input of {name}") as step:
                step.set_input(value)
    steps = captured.run("frames").steps
    told = {
        step.name: {
            "fields": step.attributes.get("xray.fields.missing"),
            "mean": step.attributes.get("xray.fields.mean", [None])[0],
            "sources": step.attributes.get("xray.sources.counts"),
            "decisions": [(d.item_id, d.verdict, d.reason, d.value) for d in step.decisions],
            "input": step.attributes.get("xray.step.input"),
        }
        for step in steps
    }
    json.dump(told, sys.stdout)


if __name__ == "__main__":
    main()
