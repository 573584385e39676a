"""The demo as a newcomer runs it."""

from __future__ import annotations

import io
import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import httpx
import pytest
from rich.console import Console

from cli.demo import PIPE_WIDTH
from cli.demo_print import print_story
from cli.demo_story import Question, Story
from tests.fixtures.command import xray
from tests.fixtures.services import ROOT, environment
from tests.fixtures.waiting import wait_until

DEADLINE_S = 300


def demo(folder: Path, stdout: IO[str], stderr: IO[str], *arguments: str) -> subprocess.Popen[str]:
    """Start the demo with its temporary folder below ``folder``."""
    return subprocess.Popen(
        [sys.executable, "-m", "cli", "demo", *arguments],
        cwd=ROOT,
        env=environment({"TMPDIR": str(folder)}),
        stdout=stdout,
        stderr=stderr,
        text=True,
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the demos of this module keep their data."""
    return tmp_path_factory.mktemp("demo")


@pytest.fixture(scope="module")
def story(folder: Path) -> Any:
    """What ``xray demo --json`` prints; it must have ended with 0."""
    done = xray("demo", "--json", TMPDIR=str(folder))
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_demo_shows_the_planted_fault(story: Any) -> None:
    """A phone case was matched to a laptop stand."""
    assert story["bad_match"]["product_type"] == "phone_case"
    assert story["bad_match"]["matched_type"] == "laptop_stand"
    assert len(story["run"]["steps"]) >= 5
    assert story["run"]["steps"][1]["candidates_out"] >= 5_000


def test_demo_names_step_reason_and_item(story: Any) -> None:
    """The explanation names the type check, the missing type and the stand that it let pass."""
    explanation = story["explanation"]
    decisive = explanation["findings"][explanation["suspect"]["findings"][0]]
    assert explanation["suspect"]["step"] == "filter_by_type"
    assert decisive["evidence"]["reason"] == "type_unknown"
    assert (
        decisive["evidence"]["item_id"] == explanation["winner"]["item_id"] == story["bad_match"]["matched"]
    )


def test_demo_has_a_baseline_a_flip_and_a_comparison(story: Any) -> None:
    """The step is named against other runs, with what would turn the choice and with a run that went well."""
    assert story["explanation"]["conclusion"] == "fault"
    assert story["explanation"]["culprits"][0]["step"] == "filter_by_type"
    assert story["contrast"]["step"] == "select_competitor"
    assert story["contrast"]["flip"] is not None
    assert story["healthy"]["entity"] == story["bad_match"]["entity"]
    assert story["comparison"]["first_divergence"]["step"] == "search_catalogue"
    decided = story["comparison"]["first_decision_change"]
    assert decided["step"] == "filter_by_type"
    assert decided["possible_steps"] == ["search_catalogue", "filter_by_type"]


def test_demo_follows_both_items(story: Any) -> None:
    """The winner is followed to its selection, and the item that came next to its loss."""
    assert story["winner_journey"]["final_verdict"] == "selected"
    assert story["rival_journey"]["final_verdict"] == "not_selected"


def test_demo_fits_a_screen_or_two(story: Any) -> None:
    """What a pipe gets has 60 lines at most, of which the first 21 name the item, the step and the reason."""
    told = {name: value for name, value in story.items() if name != "explained"}
    told["questions"] = [Question(**question) for question in story["questions"]]
    page = io.StringIO()
    print_story(Story(**told), Console(file=page, highlight=False, soft_wrap=True, width=PIPE_WIDTH))
    lines = page.getvalue().splitlines()
    assert len(lines) <= 60
    item = story["bad_match"]["matched"]
    assert lines[2].endswith(f"(laptop_stand, item {item})")
    fault = lines.index("The step at fault")
    assert fault < 20
    assert lines[fault + 1].startswith("  filter_by_type, with ")
    assert item in lines[fault + 2]
    assert "reason type_unknown" in lines[fault + 2]


@pytest.fixture
def kept(folder: Path, tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], Path]]:
    """A demo that leaves its servers up, and the file that its stderr goes to."""
    said = tmp_path / "stderr"
    with (
        said.open("w", encoding="utf-8") as stderr,
        (tmp_path / "stdout").open("w", encoding="utf-8") as stdout,
    ):
        process = demo(folder, stdout, stderr, "--keep", "--runs", "3")
        yield process, said
        if process.poll() is None:
            process.kill()
            process.wait()


def test_demo_keeps_its_servers_until_it_is_told_to_stop(
    kept: tuple[subprocess.Popen[str], Path], folder: Path
) -> None:
    """With --keep the API still answers after the walk-through; Ctrl-C stops it and nothing is left."""
    process, said = kept

    def address() -> str | None:
        found = re.search(
            r"^XRAY_API_URL=(\S+) \./xray explain \S+$(?=[^$]*kill \d+$)",
            said.read_text(encoding="utf-8"),
            re.MULTILINE,
        )
        return found[1] if found else None

    wait_until(
        lambda: address() or process.poll() is not None, timeout_s=DEADLINE_S, what="the servers stay up"
    )
    url = address()
    assert url is not None, said.read_text(encoding="utf-8")
    answer = httpx.get(f"{url}/api/v1/runs", timeout=10.0, trust_env=False)
    assert answer.json()["items"]
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 0
    assert list(folder.iterdir()) == []
