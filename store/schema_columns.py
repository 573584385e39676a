"""What the tables of ``schema.py`` are made of: their registry and the columns that recur in them."""

from __future__ import annotations

from typing import Any

from sqlalchemy import BigInteger, Column, Date, DateTime, Double, Integer, MetaData, Text, Uuid
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
    }
)


def instant_column(name: str, comment: str | None = None, *, nullable: bool = True) -> Column[Any]:
    return Column(name, DateTime(timezone=True), nullable=nullable, comment=comment)


def text_column(name: str, comment: str | None = None, *, nullable: bool = True) -> Column[Any]:
    return Column(name, Text, nullable=nullable, comment=comment)


def count_column(name: str, comment: str | None = None) -> Column[Any]:
    return Column(name, BigInteger, comment=comment)


def ratio_column(name: str, comment: str | None = None) -> Column[Any]:
    return Column(name, Double, comment=comment)


def json_column(name: str, comment: str | None = None) -> Column[Any]:
    # none_as_null: an absent value is SQL NULL, never the JSON word.
    return Column(name, JSONB(none_as_null=True), comment=comment)


def words_column(name: str, comment: str | None = None) -> Column[Any]:
    return Column(name, ARRAY(Text), comment=comment)


def key_column(name: str, type_: Any, comment: str | None = None) -> Column[Any]:
    return Column(name, type_, primary_key=True, nullable=False, autoincrement=False, comment=comment)


def run_key_column() -> Column[Any]:
    return key_column("run_key", Uuid, "blake2b-128 of the text run id (store/ids.py)")


def run_day_column() -> Column[Any]:
    return key_column("run_day", Date, "copied from runs.run_day; the partition column")


def receipt_columns() -> tuple[Column[Any], Column[Any]]:
    return (
        Column(
            "deliveries", Integer, nullable=False, comment="copies received, the losing and the repeated too"
        ),
        instant_column("received_at", "receipt of the first copy", nullable=False),
    )


def provenance_columns() -> tuple[Column[Any], ...]:
    """What the merge needs to go on from the stored row; no reader shows these."""
    return (
        Column(
            "end_sent_ns",
            BigInteger,
            comment="winning terminal copy: its place, by its end as sent in ns since 1970",
        ),
        Column(
            "content_hash", BigInteger, comment="winning terminal copy: hash of its content; null = none yet"
        ),
        json_column("start_copy", "the winning start copy, whole (store/copies.py)"),
        words_column("filled", "columns that the winning terminal copy did not send itself"),
        words_column("receipt_filled", "columns that hold a receipt time because no time was sent"),
        json_column("sent_flags", "flags that came with the copies; derived ones are added in flags"),
    )
