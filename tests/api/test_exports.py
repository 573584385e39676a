"""Exports over a real socket: the same rows as the lists, in three formats, without a bound in size."""

from __future__ import annotations

import csv
import io
import json
import socket
import subprocess
import sys
from datetime import datetime
from typing import Any

import httpx
import psycopg
import pytest
from pyarrow import parquet

from api.exports.formats import MEDIA_TYPES
from store.errors import Unavailable
from store.reader import Reader
from store.sessions import MAX_EXPORTS
from tests.fixtures.reading import Shelf, chunk, run_copy, step_copy
from tests.fixtures.services import ROOT
from tests.fixtures.waiting import wait_until

RUNS = 700
"""More than a batch."""


@pytest.fixture
def told(shelf: Shelf) -> Shelf:
    """Runs of two steps; every tenth with decisions whose texts would break a careless CSV."""
    rows: list[Any] = []
    for number in range(RUNS):
        run_id = f"r{number:03}"
        rows += [
            run_copy(run_id, number, pipeline="shop", entity=f'P,"{number}"\n', tags={"market": "US"}),
            step_copy(
                run_id, "price", number, candidates_in=3, candidates_out=number % 3, metrics={"recall": 0.5}
            ),
            step_copy(run_id, "pick", number + 0.5, step_type="select", why="=1+1"),
        ]
        if number % 10 == 0:
            rows += [
                chunk(
                    run_id,
                    "price",
                    ["a", 'b,"\n', "ü"],
                    "KEE",
                    reasons=["too_dear"],
                    reason=[None, 0, 0],
                    value=[12.5, "wood", True],
                    threshold=50,
                    missing=[2],
                )
            ]
    shelf.put(*rows)
    return shelf


def listed(rest: httpx.Client, path: str, **parameters: str) -> list[dict[str, Any]]:
    """All pages of a list."""
    items: list[dict[str, Any]] = []
    asked = {**parameters, "limit": "1000"}
    while True:
        page = rest.get(f"/api/v1/{path}", params=asked).json()
        items += page["items"]
        if page["next_cursor"] is None:
            return items
        asked["cursor"] = page["next_cursor"]


def exported(rest: httpx.Client, path: str, **parameters: str) -> httpx.Response:
    """An export, which must have succeeded."""
    response = rest.get(f"/api/v1/export/{path}", params=parameters)
    assert response.status_code == 200, response.text
    return response


def test_ndjson_has_the_rows_of_the_list(told: Shelf, rest: httpx.Client) -> None:
    """Each line is an item of the list, in its order, through any number of batches and filters."""
    for path, asked in (
        ("runs", {}),
        ("steps", {}),
        ("steps", {"step_type": "filter", "q": "drop_ratio > 0.5 and tag.market = 'US'"}),
        ("runs", {"q": "step.drop_ratio > 0.9", "started_after": "2025-03-01T12:01:00Z"}),
    ):
        response = exported(rest, path, **asked)
        assert response.headers["content-type"] == "application/x-ndjson"
        assert f'filename="{path}.ndjson"' in response.headers["content-disposition"]
        rows = [json.loads(line) for line in response.text.splitlines()]
        assert rows == listed(rest, path, **asked)
        assert rows


def test_tables_have_the_same_rows(told: Shelf, rest: httpx.Client) -> None:
    """CSV and Parquet hold equal columns and values, nested ones spread or as JSON."""
    for path in ("runs", "steps", "decisions"):
        text = exported(rest, path, format="csv").text
        assert "\r\n" in text
        rows = list(csv.DictReader(io.StringIO(text, newline="")))
        table = parquet.read_table(io.BytesIO(exported(rest, path, format="parquet").content))
        assert table.column_names == list(rows[0])
        assert len(rows) == table.num_rows
        for sent, typed in zip(rows, table.to_pylist(), strict=True):
            assert sent == {name: _in_csv(value) for name, value in typed.items()}


def _in_csv(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    return value.isoformat().replace("+00:00", "Z") if isinstance(value, datetime) else str(value)


def test_columns_of_tables(told: Shelf, rest: httpx.Client) -> None:
    """What is nested is found in its column, typed."""
    steps = parquet.read_table(io.BytesIO(exported(rest, "steps", format="parquet").content)).to_pylist()
    step = next(row for row in steps if row["run_id"] == "r001" and row["step_id"] == "price")
    assert (step["candidates_in"], step["candidates_out"], step["index"]) == (3, 1, 0)
    assert step["drop_ratio"] == pytest.approx(2 / 3)
    assert json.loads(step["metrics"]) == {"recall": 0.5}
    assert isinstance(step["started_at"], datetime)
    runs = parquet.read_table(io.BytesIO(exported(rest, "runs", format="parquet").content)).to_pylist()
    assert json.loads(runs[0]["tags"]) == {"market": "US"}
    assert (runs[0]["state"], runs[0]["steps_count"]) == ("complete", 2)


def test_decisions_of_many_steps(told: Shelf, rest: httpx.Client) -> None:
    """Decisions come with their step, newest step first, in the order judged, and filtered as asked."""
    rows = [json.loads(line) for line in exported(rest, "decisions").text.splitlines()]
    assert len(rows) == RUNS // 10 * 3
    assert [(row["run_id"], row["item_id"]) for row in rows[:4]] == [
        ("r690", "a"),
        ("r690", 'b,"\n'),
        ("r690", "ü"),
        ("r680", "a"),
    ]
    assert rows[1]["entity"] == 'P,"690"\n'
    page = rest.get("/api/v1/runs/r690/steps/price/decisions").json()["items"]
    assert [{name: row[name] for name in page[0]} for row in rows[:3]] == page
    asked = {"verdict": "eliminated", "q": 'type = "filter" and drop_ratio = 1', "value_gt": "1"}
    assert exported(rest, "decisions", **asked).text == ""
    asked = {"verdict": "kept", "q": 'type = "filter" and drop_ratio = 1', "value_gt": "1"}
    found = [json.loads(line) for line in exported(rest, "decisions", **asked).text.splitlines()]
    assert {int(row["run_id"][1:]) % 30 for row in found} == {0}
    table = list(csv.DictReader(io.StringIO(exported(rest, "decisions", format="csv").text, newline="")))
    assert [(row["value"], row["value_text"], row["value_missing"]) for row in table[:3]] == [
        ("12.5", "", "false"),
        ("", "wood", "false"),
        ("", "true", "true"),
    ]


def test_numbers_of_any_size(shelf: Shelf, rest: httpx.Client) -> None:
    """An integer of more than 64 bits in a payload is in the tables as it is in the lists, digit by digit."""
    digits = "9" * 30
    shelf.put(run_copy("r", input={"serial": int(digits)}), step_copy("r", "s", output=[int(digits)]))
    for path in ("runs", "steps"):
        assert digits in exported(rest, path).text
        assert digits in exported(rest, path, format="csv").text
        table = parquet.read_table(io.BytesIO(exported(rest, path, format="parquet").content))
        assert digits in str(table.to_pylist())


def test_an_export_of_nothing(shelf: Shelf, rest: httpx.Client) -> None:
    """Without rows NDJSON is empty, CSV has its header and Parquet its schema."""
    assert exported(rest, "steps").content == b""
    assert len(exported(rest, "steps", format="csv").text.splitlines()) == 1
    table = parquet.read_table(io.BytesIO(exported(rest, "decisions", format="parquet").content))
    assert (table.num_rows, "item_id" in table.column_names) == (0, True)


def test_a_head_reads_no_rows(told: Shelf, rest: httpx.Client, reader: Reader) -> None:
    """It has the status and headers of the GET, waits for no place among the exports, and ends at once."""
    running = [reader.every_run() for _ in range(MAX_EXPORTS)]
    for export in running:
        next(export)
    for form in ("ndjson", "csv", "parquet"):
        asked = rest.head("/api/v1/export/steps", params={"format": form})
        assert (asked.status_code, asked.content) == (200, b"")
        assert asked.headers["content-type"] == MEDIA_TYPES[form]
        assert f"steps.{form}" in asked.headers["content-disposition"]
    assert rest.head("/api/v1/export/steps", params={"q": "drop_ratio >"}).status_code == 422
    for export in running:
        export.close()


@pytest.mark.parametrize(
    ("sent", "parameter"),
    [
        ({"format": "xlsx"}, "format"),
        ({"limit": "5"}, "limit"),
        ({"cursor": "x"}, "cursor"),
        ({"colour": "red"}, "colour"),
        ({"q": "drop_ratio >"}, "q"),
    ],
)
def test_refusals(rest: httpx.Client, sent: dict[str, str], parameter: str) -> None:
    """What is not understood is refused before anything is sent; of q the error has the column."""
    response = rest.get("/api/v1/export/steps", params=sent)
    error = response.json()["error"]
    assert (response.status_code, error["parameter"]) == (422, parameter)
    assert error.get("column") == (13 if parameter == "q" else None)


def test_who_leaves_frees_the_place(told: Shelf, rest: httpx.Client, reader: Reader) -> None:
    """As many exports run as may; who asks for more is told so, and who leaves early makes room."""
    running = [reader.every_run() for _ in range(MAX_EXPORTS)]
    for export in running:
        next(export)
    refused = rest.get("/api/v1/export/runs")
    assert (refused.status_code, refused.json()["error"]["code"]) == (429, "too_many_requests")
    assert refused.headers["retry-after"]
    for export in running:
        export.close()
    for _ in range(MAX_EXPORTS * 2):
        with socket.create_connection((rest.base_url.host, rest.base_url.port or 0)) as gone:
            gone.sendall(b"GET /api/v1/export/steps HTTP/1.1\r\nHost: x\r\n\r\n")
            assert gone.recv(1)
    wait_until(
        lambda: rest.get("/api/v1/export/runs", params={"q": "steps_count > 5"}).status_code == 200,
        timeout_s=60.0,
        what="the places of exports that nobody waits for",
    )


def test_an_export_that_fails_on_the_way_says_so(told: Shelf, reader: Reader, database_url: str) -> None:
    """When the database goes between two batches, the export ends in a failure and not as if it were all."""
    export = reader.every_step()
    next(export)
    with psycopg.connect(database_url, autocommit=True) as admin:
        admin.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'xray-read' "
            "AND datname = current_database()"
        )
    with pytest.raises(Unavailable):
        list(export)
    assert len(list(reader.every_run())) > 1


def test_parquet_without_pyarrow() -> None:
    """Where pyarrow is not installed the refusal says what to install."""
    program = (
        "import sys; sys.modules['pyarrow'] = None\n"
        "from api.exports.formats import table_parquet\n"
        "from store.queries.errors import InvalidParameter\n"
        "try: next(table_parquet((), ()))\n"
        "except InvalidParameter as exc: print(exc.parameter, exc)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True, timeout=120
    )
    assert done.stdout.startswith("format ")
    assert "pip install pyarrow" in done.stdout
