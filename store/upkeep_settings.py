"""Settings of what the server does by itself: whether it does, and how long each kind of data is kept."""

from __future__ import annotations

from typing import Any

from pydantic import ValidationInfo, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from store.retention import Policy
from store.settings import setting

_DAYS = "a number of days from 0 to 36500"


def _days(description: str, but: str = "") -> Any:
    return setting(0, description, accepted=_DAYS + but, ge=0, le=36_500)


class UpkeepSettings(BaseSettings):
    """What the server does by itself. All server processes of a database need the same."""

    model_config = SettingsConfigDict(env_prefix="XRAY_", frozen=True, extra="ignore")

    upkeep: bool = setting(
        True,
        "Whether this process may do what is due: retention, roll-ups and the like. Of several processes "
        "on a database one does it at a time, so at least one needs it.",
        accepted="true or false",
    )
    retention_runs_days: int = _days(
        "Days that runs are kept, with their steps and losses; 0 = for ever. Whole weeks expire, so up to "
        "six days more.",
    )
    retention_decisions_days: int = _days(
        "Days that decisions are kept; 0 = as long as their run.",
        ", no more than XRAY_RETENTION_RUNS_DAYS",
    )
    retention_artifacts_days: int = _days(
        "Days that artifacts are kept; 0 = as long as their run.",
        ", no more than XRAY_RETENTION_RUNS_DAYS",
    )
    retention_rollups_days: int = _days(
        "Days that hourly sums and distributions of steps are kept; 0 = for ever.",
        ", no less than XRAY_RETENTION_RUNS_DAYS and 0 where that is 0",
    )

    @property
    def policy(self) -> Policy:
        """How long what is kept."""
        return Policy(
            self.retention_runs_days,
            self.retention_decisions_days,
            self.retention_artifacts_days,
            self.retention_rollups_days,
        )

    @field_validator("retention_decisions_days", "retention_artifacts_days")
    @classmethod
    def _does_not_outlive_its_run(cls, value: int, info: ValidationInfo) -> int:
        runs_days = info.data.get("retention_runs_days", 0)
        if runs_days and value > runs_days:
            raise ValueError("evidence does not outlive its run")
        return value

    @field_validator("retention_rollups_days")
    @classmethod
    def _outlive_the_runs(cls, value: int, info: ValidationInfo) -> int:
        # A field that was refused itself is missing here, and its own error comes first.
        runs_days = info.data.get("retention_runs_days", 0)
        if value and "retention_runs_days" in info.data and (value < runs_days or not runs_days):
            raise ValueError("what is counted from steps is there as long as they are")
        return value
