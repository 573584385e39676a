"""Packed decisions: what goes in comes out."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from store.decisions import VERDICTS, Decision, DecisionColumns, UnknownCodec, about, pack, rows, unpack

scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.text(max_size=5)
    | st.floats(allow_nan=False, allow_infinity=False)
)
numbers = st.none() | st.floats(allow_nan=False, allow_infinity=False)


def _column(count: int, values: st.SearchStrategy) -> st.SearchStrategy:
    return values | st.lists(values, min_size=count, max_size=count)


@st.composite
def decision_columns(draw) -> DecisionColumns:
    count = draw(st.integers(0, 6))
    reasons = draw(st.lists(st.text(max_size=5), min_size=1, max_size=3))
    position = st.none() | st.integers(0, len(reasons) - 1)
    check = st.fixed_dictionaries(
        {"name": st.text(max_size=3), "value": scalars, "threshold": scalars, "passed": st.booleans()}
    )
    return DecisionColumns(
        count=count,
        item=draw(st.lists(st.text(max_size=8), min_size=count, max_size=count)),
        verdict="".join(draw(st.lists(st.sampled_from(sorted(VERDICTS)), min_size=count, max_size=count))),
        reasons=reasons,
        reason=draw(st.none() | st.lists(position, min_size=count, max_size=count)),
        score=draw(_column(count, numbers)),
        value=draw(_column(count, scalars)),
        threshold=draw(_column(count, scalars)),
        missing=draw(st.none() | st.lists(st.integers(0, max(count - 1, 0)), unique=True).map(sorted)),
        checks=draw(
            st.none() | st.lists(st.none() | st.lists(check, max_size=2), min_size=count, max_size=count)
        ),
        probability=draw(_column(count, numbers)),
    )


@given(decision_columns())
def test_packing_keeps_every_column(columns):
    """Unpacking gives back what was packed, and packing that again gives the same bytes."""
    packed = pack(columns)
    assert unpack(packed) == columns
    assert pack(unpack(packed)) == packed


@given(decision_columns())
def test_there_is_one_decision_for_each_candidate(columns):
    """Rows are as many as candidates, in order, whichever columns hold one value for all."""
    decisions = list(rows(columns))
    assert [decision.item_id for decision in decisions] == list(columns.item)
    assert [decision.verdict for decision in decisions] == [VERDICTS[letter] for letter in columns.verdict]


@given(decision_columns(), st.data())
def test_the_decisions_about_some_items_are_those_that_name_them(columns, data):
    """Picking items out of the columns gives what picking them out of all decisions gives."""
    wanted = data.draw(st.frozensets(st.sampled_from([*columns.item, "nobody"])))
    expected = [decision for decision in rows(columns) if decision.item_id in wanted]
    assert list(rows(about(columns, wanted))) == expected


def test_columns_are_read_per_candidate():
    """Dictionary positions, values for all and missing values end up with their candidate."""
    columns = DecisionColumns(
        count=2,
        item=["a", "b"],
        verdict="KE",
        reasons=["too_dear"],
        reason=[None, 0],
        texts=["99 is above 50"],
        text=[None, 0],
        score=[0.5, None],
        value=[None, 99],
        threshold="fifty",
        missing=[0],
        probability=0.1,
    )
    assert list(rows(columns)) == [
        Decision("a", "kept", None, None, 0.5, None, "fifty", True, None, 0.1),
        Decision("b", "eliminated", "too_dear", "99 is above 50", None, 99, "fifty", False, None, 0.1),
    ]


@pytest.mark.parametrize("data", [b"", b"\x02abc"])
def test_an_unknown_codec_is_named(data):
    """Data of a newer version is refused by name instead of misread."""
    with pytest.raises(UnknownCodec, match="codec"):
        unpack(data)
