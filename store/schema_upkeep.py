"""Tables of upkeep: when its tasks ran, how far a week's times reach, and what has expired."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Date, Double, Index, Integer, LargeBinary, Table, Text

from store.schema_columns import instant_column, key_column, metadata, text_column

upkeep_turns = Table(
    "upkeep_turns",
    metadata,
    key_column("task", Text),
    instant_column("started_at", "of the last turn", nullable=False),
    instant_column("succeeded_at", "end of the last turn that ended well; null = none yet"),
    Column("duration_s", Double, comment="of the last turn that ended; null = none yet"),
    text_column("error", "why the last turn failed, without values of rows; null = it did not"),
    Column("failures", Integer, nullable=False, comment="turns in a row that failed"),
    info={"upkeep": True},
    comment="When each task of upkeep last ran, in whichever server process (store/upkeep.py).",
)

partition_bounds = Table(
    "partition_bounds",
    metadata,
    key_column("week", Date, "Monday of the partitions"),
    Column("runs_first", Date, comment="no run of the week started on an earlier day; null = none"),
    Column("runs_last", Date, comment="... nor on a later one"),
    Column("steps_first", Date, comment="no step of the week's runs started on an earlier day; null = none"),
    Column("steps_last", Date, comment="... nor on a later one"),
    info={"upkeep": True},
    comment="How far started_at reaches beyond the week of the runs; a week without a row: unknown.",
)

erasures = Table(
    "erasures",
    metadata,
    key_column("kind", Text, "run, item"),
    key_column("digest", LargeBinary, "16 bytes: the run key, or a hash of the item id; never an id"),
    Column("fingerprint", LargeBinary, comment="of an item (store/item_filter.py)"),
    Column("number", BigInteger, nullable=False, comment="counts up: tells what is new"),
    instant_column("erased_at", nullable=False),
    info={"upkeep": True, "reference": True},
    comment="What was erased and must not come back (store/erase.py).",
)

# Writers, who ask every second what is new.
Index("ix_erasures_number", erasures.c.number)

retention_floors = Table(
    "retention_floors",
    metadata,
    key_column("kind", Text, "runs, decisions, artifacts, rollups"),
    Column("first_day", Date, nullable=False, comment="what is of an earlier run_day has expired"),
    info={"upkeep": True, "reference": True},
    comment="How far retention has come; never goes back (store/retention.py).",
)
