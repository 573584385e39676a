"""From batches of records to the bytes of a file: NDJSON, CSV, Parquet."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Generator, Iterable, Sequence
from datetime import datetime
from typing import Any

from pydantic import BaseModel

from api.exports.columns import Column
from store.queries.errors import InvalidParameter

MEDIA_TYPES = {
    "ndjson": "application/x-ndjson",
    "csv": "text/csv; charset=utf-8; header=present",
    "parquet": "application/vnd.apache.parquet",
}
Batches = Iterable[Sequence[Any]]
Render = Callable[[Batches], Generator[bytes, None, None]]
_ROW_GROUP_ROWS = 5_000
"""A group is written as a whole, and held until then."""


def ndjson(answer: Callable[[Any], BaseModel], batches: Batches) -> Generator[bytes, None, None]:
    """Yield one line of JSON per record, as lists of the API show it."""
    for batch in batches:
        yield b"".join(answer(record).model_dump_json(by_alias=True).encode() + b"\n" for record in batch)


def table_csv(columns: Sequence[Column], batches: Batches) -> Generator[bytes, None, None]:
    """Yield RFC 4180 with a header; what is null and what is an empty text both are an empty field."""
    page = io.StringIO(newline="")
    writer = csv.writer(page)
    writer.writerow([column.name for column in columns])
    for batch in batches:
        writer.writerows([_field(column.read(record)) for column in columns] for record in batch)
        yield _taken(page)
    yield _taken(page)


def table_parquet(columns: Sequence[Column], batches: Batches) -> Generator[bytes, None, None]:
    """Yield a Parquet file, row group by row group; raises ``InvalidParameter`` where pyarrow is missing."""
    try:
        import pyarrow as pa
        from pyarrow import parquet
    except ImportError:
        raise InvalidParameter(
            "format",
            "format=parquet needs pyarrow where the API runs (pip install pyarrow, then start it again); "
            "ndjson and csv need nothing",
        ) from None
    types = {
        "text": pa.string(),
        "json": pa.string(),
        "integer": pa.int64(),
        "number": pa.float64(),
        "boolean": pa.bool_(),
        "time": pa.timestamp("us", tz="UTC"),
    }
    schema = pa.schema([(column.name, types[column.kind]) for column in columns])
    written = _Taken()
    with parquet.ParquetWriter(pa.PythonFile(written, mode="w"), schema, compression="zstd") as file:
        for rows in _grouped(batches):
            values = [pa.array([column.read(row) for row in rows], types[column.kind]) for column in columns]
            file.write_table(pa.Table.from_arrays(values, schema=schema))
            yield written.take()
    yield written.take()


def _grouped(batches: Batches) -> Iterable[Sequence[Any]]:
    rows: list[Any] = []
    for batch in batches:
        rows += batch
        if len(rows) >= _ROW_GROUP_ROWS:
            yield rows
            rows = []
    if rows:
        yield rows


def _field(value: Any) -> Any:
    if isinstance(value, bool):
        return "true" if value else "false"
    return value.isoformat().replace("+00:00", "Z") if isinstance(value, datetime) else value


def _taken(page: io.StringIO) -> bytes:
    text = page.getvalue()
    page.seek(0)
    page.truncate()
    return text.encode()


class _Taken(io.RawIOBase):
    """A file that is written to and never read: what was written is taken away."""

    def __init__(self) -> None:
        super().__init__()
        self._parts: list[bytes] = []
        self._size = 0

    def writable(self) -> bool:
        """Yes."""
        return True

    def tell(self) -> int:
        """How many bytes were written in all; Parquet notes where its groups lie."""
        return self._size

    def write(self, data: Any) -> int:
        """Keep the bytes until they are taken."""
        part = bytes(data)
        self._parts.append(part)
        self._size += len(part)
        return len(part)

    def take(self) -> bytes:
        """Return what was written since the last time."""
        parts, self._parts = self._parts, []
        return b"".join(parts)
