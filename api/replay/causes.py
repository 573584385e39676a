"""Why an answer is not known, as words for programs and for people."""

from __future__ import annotations

from collections.abc import Mapping

WORDS: Mapping[str, str] = {
    "not_declared": "the step does not declare how its rules judge, or that they judge each candidate alone",
    "short_circuit": "another rule of the step may never have been evaluated for it",
    "no_comparator": "how value and threshold are compared is not declared, and not shown by the verdicts",
    "contradiction": "the recorded verdicts do not follow from values and thresholds",
    "at_the_limit": "its value equals the new threshold, and the record does not show which side that is",
    "no_value": "its value or threshold was not recorded as a number",
    "missing_value": "its value was missing, and the record does not show what the rule makes of that",
    "own_thresholds": "the threshold differs among the candidates, so one for all is another rule",
    "not_evaluated": "the record does not hold what the rule says of it",
    "depends_on_others": "the step looks at the other candidates, and those change",
    "never_judged": "the step never judged it, so its value there is not known",
    "at_an_end": "nobody went on from the step, so which steps would follow is not recorded",
    "arrival": "whether it would arrive at the step is not known",
    "repeated": "the step judged it several times, and not all of these decisions change alike",
    "not_recorded": "the step recorded only some of its decisions, or they cannot be read",
    "no_decisions": "the step recorded no decisions",
    "step_failed": "the step failed, or has not ended",
    "attempts": "several attempts of the step ended well, and which one counts is not known",
    "too_many": "the run has more decisions than are read for one answer",
    "no_scores": "the order of the candidates does not follow from the recorded scores",
}
