"""
A stand-in for Inngest's executor: calls an app's functions over HTTP, once per step, as Inngest does.

It plays the part of the protocol that the Python SDK (0.5) and the TypeScript SDK (4) speak in
development, unsigned: memos by hashed step id, retries by attempt, planning of parallel steps.
"""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass, field
from typing import Any

import httpx


@dataclass
class Executor:
    """Drives the functions of one app; keeps every request, to deliver it again."""

    client: httpx.Client
    app_id: str
    wraps_memos: bool = False
    """The TypeScript SDK wants each memo marked with what it is."""
    requests: list[tuple[str, str, dict[str, Any]]] = field(default_factory=list)
    """(function, target step, body) of each call."""

    def call(self, function: str, target: str, body: dict[str, Any]) -> httpx.Response:
        """One call of the function; target: hashed id of the step to execute, ``step`` for the next one."""
        response = self.client.post(
            f"/api/inngest?fnId={self.app_id}-{function}&stepId={target}",
            json=body,
            headers={"x-inngest-server-kind": "dev"},
        )
        assert response.status_code in (200, 206, 400, 500), response.text
        return response

    def deliver_again(self) -> None:
        """Every call so far once more, in its order."""
        for function, target, body in list(self.requests):
            self.call(function, target, body)

    def run(self, function: str, run_id: str, **how: Any) -> tuple[str, Any]:
        """Play one run to its end; (completed, failed or sleeping, output or error). how: see ``_Run``."""
        return _Run(self, function, run_id, **how).play()


@dataclass
class _Run:
    executor: Executor
    function: str
    run_id: str
    most_attempts: int = 4
    event: dict[str, Any] | None = None
    stops_at_sleep: bool = False
    memos: dict[str, Any] = field(default_factory=dict)
    queue: deque[tuple[str, int]] = field(default_factory=lambda: deque([("step", 0)]))
    is_parallel: bool = False

    def play(self) -> tuple[str, Any]:
        while self.queue:
            target, attempt = self.queue.popleft()
            body = self._body(attempt)
            self.executor.requests.append((self.function, target, body))
            response = self.executor.call(self.function, target, body)
            is_final = response.headers.get("x-inngest-no-retry") == "true"
            answer = response.json()
            if response.status_code == 200:
                return "completed", answer
            if response.status_code == 206:
                for operation in answer:
                    if self._take(operation, target, attempt, is_final) == "sleeping":
                        return "sleeping", None
                self.is_parallel |= sum(operation["op"] == "StepPlanned" for operation in answer) > 1
                if not self.queue:
                    self.queue.append(("step", 0))
            elif is_final or attempt + 1 >= self.most_attempts:
                return "failed", answer
            else:
                self.queue.append((target, attempt + 1))
        raise AssertionError("a run ends with an answer of the function")

    def _take(self, operation: dict[str, Any], target: str, attempt: int, is_final: bool) -> str | None:
        kind, step = operation["op"], operation["id"]
        if kind == "StepPlanned":
            self.queue.append((step, 0))
        elif kind in ("StepRun", "Step"):
            self.memos[step] = self._memo(operation.get("data"))
        elif kind in ("Sleep", "WaitForEvent"):
            if self.stops_at_sleep:
                return "sleeping"
            self.memos[step] = None
        elif kind in ("StepError", "StepFailed"):
            if kind == "StepError" and not is_final and attempt + 1 < self.most_attempts:
                self.queue.append((target, attempt + 1))
            else:
                error = operation["error"]
                self.memos[step] = {"error": {key: error.get(key) for key in ("message", "name", "stack")}}
        else:
            raise AssertionError(f"an operation that this executor does not know: {operation}")
        return None

    def _memo(self, data: Any) -> dict[str, Any]:
        inner = data["data"] if isinstance(data, dict) and set(data) == {"data"} else data
        return {"type": "data", "data": inner} if self.executor.wraps_memos else {"data": data}

    def _body(self, attempt: int) -> dict[str, Any]:
        now_ms = int(time.time() * 1000)
        event = self.event or {
            "name": f"t/{self.function}",
            "data": {"product": "P1"},
            "id": "e1",
            "ts": now_ms,
        }
        return {
            "ctx": {
                "fn_id": self.function,
                "attempt": attempt,
                "disable_immediate_execution": self.is_parallel,
                "max_attempts": self.most_attempts,
                "run_id": self.run_id,
                "stack": {"stack": list(self.memos), "current": len(self.memos)},
            },
            "event": event,
            "events": [event],
            "steps": dict(self.memos),
            "use_api": False,
            "version": 2,
        }
