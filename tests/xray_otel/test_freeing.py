"""What was sent leaves memory: all of it, and with a burst of records not in one go."""

from __future__ import annotations

import platform
import subprocess
import sys
import weakref
from collections.abc import Iterator

import pytest
from opentelemetry.sdk.resources import Resource

from xray_otel._buffer import Event, Item, Priority
from xray_otel._freeing import Freeing
from xray_otel._pace import hurry


class Attributes(dict[str, object]):
    """Whose end can be seen."""


def records(count: int, size_bytes: int) -> tuple[list[Item], list[weakref.ref[Attributes]]]:
    """So many records, and whether each is there still."""
    attributes = [Attributes(number=number) for number in range(count)]
    references = [weakref.ref(one) for one in attributes]
    events = (Event("event", 0, one, Resource.get_empty()) for one in attributes)
    return [Item(Priority.DECISIONS, size_bytes, event) for event in events], references


def there(references: list[weakref.ref[Attributes]]) -> Iterator[int]:
    """Places of those that are there."""
    return (at for at, reference in enumerate(references) if reference() is not None)


def test_some_records_stay_until_nothing_waits() -> None:
    freeing = Freeing(hurry)
    items, references = records(120, 200_000)
    freeing.free(items)
    assert not items
    assert list(there(references)) == list(range(9, 120, 10))
    freeing.free_kept()
    assert not list(there(references))


def test_no_more_stay_than_belong_to_a_full_buffer() -> None:
    freeing = Freeing(hurry)
    items, references = records(1_000, 200_000)
    freeing.free(items)
    assert list(there(references)) == list(range(689, 1_000, 10))


def test_a_large_record_does_not_stay() -> None:
    freeing = Freeing(hurry)
    items, references = records(10, 3_000_000)
    freeing.free(items)
    assert not list(there(references))


def test_the_last_kept_is_freed_first_with_a_rest_before_each() -> None:
    seen: list[list[int]] = []
    items, references = records(30, 200_000)
    freeing = Freeing(lambda: seen.append(list(there(references))))
    freeing.free(items)
    seen.clear()
    freeing.free_kept()
    assert seen == [[9, 19, 29], [9, 19], [9]]


BURST = """
import os
from opentelemetry.sdk.resources import Resource
from xray_otel._buffer import Event, Item, Priority
from xray_otel._freeing import Freeing

def resident_bytes():
    with open("/proc/self/statm", "rb") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

bytes(bytearray(1_000_000))  # what is freed once by its own mapping comes from the heap from then on
figures = []
freeing = Freeing(lambda: figures.append(resident_bytes()))
waiting = [
    Item(Priority.DECISIONS, 190_000, Event("event", 0, {"data": os.urandom(190_000)}, Resource.get_empty()))
    for _ in range(200)
]
figures.append(resident_bytes())
while waiting:
    items, waiting = waiting[:5], waiting[5:]
    freeing.free(items)
freeing.free_kept()
figures.append(resident_bytes())
print(figures[0] - figures[-1], max(before - after for before, after in zip(figures, figures[1:])))
"""


@pytest.mark.skipif(
    sys.platform != "linux" or platform.libc_ver()[0] != "glibc", reason="memory of glibc, seen in /proc"
)
def test_the_memory_of_a_burst_is_given_back_in_pieces() -> None:
    done = subprocess.run([sys.executable, "-c", BURST], capture_output=True, text=True, check=True)
    in_all, at_once = map(int, done.stdout.split())
    assert in_all > 25_000_000
    assert at_once < 8_000_000
