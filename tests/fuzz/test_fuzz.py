"""A short run of each fuzzer; the long ones are for those who change what reads requests."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fixtures.services import environment
from tests.fuzz.targets import TARGETS

ROOT = Path(__file__).parents[2]
CORPUS = Path(__file__).with_name("corpus")
SECONDS = 4
DEADLINE_S = 180


@pytest.mark.parametrize("target", TARGETS)
def test_nothing_is_found(target: str, tmp_path: Path):
    """A few seconds of coverage-guided fuzzing end without a crash, a hang or a flood of memory."""
    if importlib.util.find_spec("atheris") is None:
        pytest.skip("not run: the fuzzer's wheel exists for Linux on x86-64 and Python before 3.13 only")
    command = [sys.executable, "-m", "tests.fuzz.fuzz", target, str(tmp_path / "found")]
    # Through a shell that forks: Linux hands the peak memory of whoever calls exec on, so the fuzzer
    # would hold what the tests before this one took against its own limit.
    done = subprocess.run(
        [
            "sh",
            "-c",
            '"$@"; exit $?',
            "sh",
            *command,
            f"-max_total_time={SECONDS}",
            f"-artifact_prefix={tmp_path}/",
        ],
        cwd=ROOT,
        env=environment({"PYTHONPATH": str(ROOT)}),
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]


@pytest.mark.parametrize("target", TARGETS)
def test_every_input_of_the_corpus_is_read(target: str):
    """What was once worth keeping still passes, wherever the fuzzer itself cannot run."""
    inputs = sorted((CORPUS / target).iterdir())
    assert inputs
    take = TARGETS[target]()
    for file in inputs:
        take(file.read_bytes())
        # As far as it was cut on its way.
        take(file.read_bytes()[: file.stat().st_size // 2])


def test_a_storm_at_both_sockets():
    """Some seconds of broken requests leave a collector that answers and has not grown."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.fuzz.storm", "--seconds", str(2 * SECONDS)],
        cwd=ROOT,
        env=environment({"PYTHONPATH": str(ROOT)}),
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "stood" in done.stdout
