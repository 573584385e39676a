"""The answer of ``/runs/{run_id}/explain``, field by field; the parts are the records of the analysis."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import ConfigDict, Field

from api import schemas, shaping
from api.explain import records

for _part in records.PARTS:
    # What stands under their fields is what OpenAPI says of them, without pydantic in the analysis.
    setattr(_part, "__pydantic_config__", ConfigDict(use_attribute_docstrings=True))  # noqa: B010 - no slot


class Explanation(schemas.Answer):
    """Why the run decided as it did, as far as its record shows; every sentence beside its numbers."""

    run: schemas.Run
    baseline_runs: int = Field(description="Completed runs of the pipeline and version to compare with.")
    funnel: Sequence[records.FunnelLine] = Field(description="One line per step in order; last attempts.")
    audit: Sequence[records.AuditLine] = Field(description="Whether candidates vanished in or between steps.")
    findings: Sequence[records.Finding] = Field(description="What is out of the ordinary.")
    suspect: records.Suspect | None = Field(
        description="The first culprit in a sentence; by the rules of the findings where the conclusion is "
        "no_baseline. Null where no step is shown to be at fault."
    )
    conclusion: records.Conclusion = Field(
        description="fault: a step stands out from the baseline, or failed, or lost candidates. "
        "outside_baseline: the run is so much larger or smaller than all others that they say nothing "
        "about it. no_baseline: too few other runs to say what is unusual."
    )
    culprits: Sequence[records.Culprit] = Field(
        description="Steps by how much speaks against them, whatever is concluded; the most suspicious first."
    )
    winner: records.Winner | None = Field(description="The selected item; null when none was.")
    runner_up: records.RunnerUp | None
    largest_drop: records.Drop | None = Field(description="Among steps that judge candidates one by one.")
    largest_deviation: records.Drop | None = Field(description="Farthest from the baseline's median.")
    first_error: records.StepError | None
    summary: Sequence[str] = Field(description="The same in sentences; what format=text answers with.")
    completeness: schemas.RunCompleteness


def answer(explained: records.Explanation) -> Explanation:
    """Return the explanation as it is sent."""
    values = {name: getattr(explained, name) for name in Explanation.model_fields}
    return Explanation.model_validate(values | {"run": shaping.run(explained.run)})
