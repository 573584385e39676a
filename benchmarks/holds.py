"""
For how long does the sender hold the interpreter without letting go?

    python -m benchmarks.holds [--seconds 35]

Linux, CPython 3.11 and a C compiler. A library loaded before all others notes each signal of a
condition variable: CPython gives one to the waiting threads when the interpreter is let go, and
another when it is taken. Both with the processor time of the thread, so that what the system
gave to other programs meanwhile does not count, unlike in what a thread sees that waits
(``pauses.py``). The main thread never lets go by itself; bursts of records follow one another.
A stretch in which the system took the processor away runs with cold caches after that, so it
is told apart.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import xray_otel as xray
from benchmarks.client_overhead import send_much, sink

PROBE = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define MOST (1 << 21)
typedef struct { long long cpu_ns, waited_ns; void *condition; int thread, waits; } event;
static event *events;
static int count;
static __thread int thread, stat;

static void note(void *condition, int waits) {
    if (!events) return;
    if (!thread) {
        char path[64];
        thread = syscall(SYS_gettid);
        snprintf(path, sizeof path, "/proc/self/task/%d/schedstat", thread);
        stat = open(path, O_RDONLY);
    }
    char figures[64] = "";
    struct timespec now;
    int at = __sync_fetch_and_add(&count, 1);
    if (at >= MOST || pread(stat, figures, 63, 0) < 0) return;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    char *waited = strchr(figures, ' ');
    events[at] = (event){now.tv_sec * 1000000000LL + now.tv_nsec, waited ? atoll(waited + 1) : 0,
                         condition, thread, waits};
}

int pthread_cond_signal(pthread_cond_t *condition) {
    static int (*next)(pthread_cond_t *);
    if (!next) next = dlvsym(RTLD_NEXT, "pthread_cond_signal", "GLIBC_2.3.2");
    note(condition, 0);
    return next(condition);
}

int pthread_cond_timedwait(pthread_cond_t *condition, pthread_mutex_t *mutex, const struct timespec *until) {
    static int (*next)(pthread_cond_t *, pthread_mutex_t *, const struct timespec *);
    if (!next) next = dlvsym(RTLD_NEXT, "pthread_cond_timedwait", "GLIBC_2.3.2");
    note(condition, 1);
    return next(condition, mutex, until);
}

void begin(void) { events = calloc(MOST, sizeof(event)); }
int end(event **found) { *found = events; events = NULL; return count < MOST ? count : MOST; }
"""
_EVENT = struct.Struct("qqQii")


class Event(NamedTuple):
    """As the probe writes it."""

    cpu_ns: int
    waited_ns: int
    """For how long the thread was ready and waited for a processor."""
    condition: int
    thread: int
    waits: int
    """1 for a wait on the condition, 0 for a signal."""


class Hold(NamedTuple):
    """One stretch of a thread with the interpreter."""

    cpu_ms: float
    waited_ms: float


def holds(events: Sequence[Event], main_thread: int) -> list[Hold]:
    """
    Those of all threads but the main one.

    Threads wait for the interpreter on the condition that is signalled when it is let go.
    """
    free = Counter(event.condition for event in events if event.waits).most_common(1)[0][0]
    began: dict[int, Event] = {}
    found = []
    for event in events:
        if event.waits or event.thread == main_thread:
            continue
        if event.condition != free:
            began[event.thread] = event
        elif first := began.pop(event.thread, None):
            cpu_ns, waited_ns = event.cpu_ns - first.cpu_ns, event.waited_ns - first.waited_ns
            found.append(Hold(cpu_ns / 1e6, waited_ns / 1e6))
    return found


def record(seconds: float) -> list[Hold]:
    """Bursts for so long, each when the one before is out; in a process with the probe."""
    probe = ctypes.PyDLL(None)
    with sink() as url:
        xray.configure(endpoint=url, offline="drop")
        with xray.run("benchmark"):
            probe.begin()
            started = looked = time.perf_counter()
            while (now := time.perf_counter()) - started < seconds:
                if now - looked > 0.5:
                    looked = now
                    if xray.flush(0):
                        send_much()
            address = ctypes.c_void_p()
            count = probe.end(ctypes.byref(address))
            xray.flush(30)
        xray.configure(disabled=True)
    data = ctypes.string_at(address.value or 0, count * _EVENT.size)
    return holds([Event(*fields) for fields in _EVENT.iter_unpack(data)], threading.get_native_id())


def report(title: str, found: Sequence[Hold]) -> None:
    """Print one line."""
    times = sorted(hold.cpu_ms for hold in found)
    above = ", ".join(
        f"{sum(time_ms > limit for time_ms in times)} above {limit} ms" for limit in (1, 2, 3, 4)
    )
    longest = ", ".join(f"{time_ms:.2f}" for time_ms in times[:-4:-1])
    print(f"{title}: {len(times)} stretches, {above}; the longest {longest} ms")


def main() -> None:
    """Build the probe, and run again with it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=35)
    parser.add_argument("--probed", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.probed:
        found = record(options.seconds)
        print(f"load {os.getloadavg()[0]:.1f}")
        report("all", found)
        report(
            "in which the system did not take the processor away",
            [one for one in found if one.waited_ms < 0.05],
        )
        return
    with tempfile.TemporaryDirectory() as folder:
        source, library = Path(folder, "probe.c"), Path(folder, "probe.so")
        source.write_text(PROBE)
        subprocess.run(["cc", "-O2", "-shared", "-fPIC", "-o", library, source], check=True)
        again = [sys.executable, "-m", "benchmarks.holds", "--probed", "--seconds", str(options.seconds)]
        subprocess.run(again, env=os.environ | {"LD_PRELOAD": str(library)}, check=True)


if __name__ == "__main__":
    main()
