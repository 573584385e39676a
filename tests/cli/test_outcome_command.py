"""``xray outcome`` against a running server, and what the reading commands then show."""

from __future__ import annotations

import json

from tests.fixtures.command import xray
from tests.fixtures.services import ServiceProcess


def test_an_outcome_is_said_corrected_and_shown(module_xray_up: ServiceProcess):
    """Values have the type that they look like, a later one holds, and a withdrawn one is gone."""
    url = {"XRAY_API_URL": module_xray_up.api}
    said = xray("outcome", "run-1", "bad_match", "true", "--item", "a", "--source", "support", **url)
    assert (said.returncode, said.stdout) == (0, "stored; nothing else has arrived of this run yet\n")
    said = xray("outcome", "run-1", "refund", "24.90", "--observed-at", "2026-05-01T00:00:00Z", **url)
    assert (said.returncode, said.stdout) == (0, "stored\n")
    earlier = xray(
        "outcome", "run-1", "refund", "1", "--observed-at", "2026-04-01T00:00:00Z", "--json", **url
    )
    assert json.loads(earlier.stdout)["stored"] == 1
    shown = xray("run", "run-1", **url).stdout
    assert "bad_match" in shown
    assert "24.9" in shown
    assert "support" in shown
    taken_back = xray("outcome", "run-1", "refund", "--withdrawn", **url)
    assert taken_back.returncode == 0, taken_back.stderr
    (left,) = module_xray_up.get("/runs/run-1")["outcomes"]
    assert (left["name"], left["value"], left["item_id"]) == ("bad_match", True, "a")


def test_what_cannot_be_said_is_refused(module_xray_up: ServiceProcess):
    """A value or --withdrawn; a time that is one; a run id of the right form."""
    url = {"XRAY_API_URL": module_xray_up.api}
    assert xray("outcome", "run-2", "bad", **url).returncode == 2
    wrong_time = xray("outcome", "run-2", "bad", "true", "--observed-at", "last week", **url)
    assert wrong_time.returncode == 1
    assert "observed_at must say when" in wrong_time.stderr
    assert xray("outcome", "run 2", "bad", "true", **url).returncode == 2
