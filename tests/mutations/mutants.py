"""
Changes to contracts and alerts that must not go unnoticed, each with the tests that are to notice.

Chosen by what they would do: tell a change twice or never, tell it to somebody else, pass a contract that
is violated. What changes nothing that anybody sees is no mutant.
"""

from __future__ import annotations

from typing import NamedTuple


class Mutant(NamedTuple):
    """One change to one file."""

    file: str
    old: str
    """Text that stands in the file once."""
    new: str
    tests: tuple[str, ...]
    """One of them fails when it is changed."""

    def __str__(self) -> str:
        """The file, and what of the text is changed."""
        at = next((n for n, (a, b) in enumerate(zip(self.old, self.new, strict=False)) if a != b), 0)
        return f"{self.file}: {' '.join(self.old[max(0, at - 12) : at + 36].split())}"


STATES = "tests/api/test_alerts.py::test_states"
AT_ONCE = "tests/api/test_alerts.py::test_without_a_time_to_last_it_fires_at_once"
OUTBOX = "tests/store/test_alert_outbox.py::"
RULES = "tests/store/test_alert_shelf.py::"
CHECKED = "tests/store/test_contract_shelf.py::"
JUDGED = "tests/api/test_contracts.py::test_a_limit_is_kept_wherever_the_figure_lies_or_it_is_unknown"
CONTRACTS = "tests/api/test_contracts.py::"
ALERTS = "tests/api/test_alerts.py::"
FAULTS = "tests/api/test_alert_faults.py::"
UPKEEP = "tests/api/test_alert_upkeep.py::"


def _mutants(file: str, *changes: tuple[str, str, str]) -> list[Mutant]:
    """Changes of one file: what is there, what is put in its place, and the test that is to notice."""
    return [Mutant(file, old, new, (test,)) for old, new, test in changes]


MUTANTS = [
    *_mutants(
        "api/alerts/states.py",
        ("now - standing.since >= lasting", "now - standing.since > lasting", STATES),
        (
            'if holds is None:\n        if standing.state == "pending"',
            'if holds is None:\n        if standing.state == "firing"',
            STATES,
        ),
        (
            'if not holds:\n        if standing.state == "firing"',
            'if not holds:\n        if standing.state != "firing"',
            STATES,
        ),
        ('since=now), "resolved"', "since=now), None", STATES),
        (
            'return Standing("firing", now, now), "firing"',
            'return Standing("firing", now), "firing"',
            AT_ONCE,
        ),
        ('if standing.state != "pending":\n', 'if standing.state == "ok":\n', STATES),
    ),
    *_mutants(
        "api/alerts/upkeep.py",
        ("if change is not None and after", "if change is None and after", UPKEEP + "test_what_is_decided"),
        (
            'before.state != "firing"',
            'before.state == "firing"',
            UPKEEP + "test_a_group_that_is_gone_goes_on_firing_and_is_else_forgotten",
        ),
        (
            'if state.state == "firing" and state.firing_since',
            "if state.firing_since",
            UPKEEP + "test_only_what_fires_ends",
        ),
        (
            "again_at > delivery.created_at",
            "again_at < delivery.created_at",
            UPKEEP + "test_when_it_is_given_up",
        ),
        (
            "if not answer.heard:",
            "if answer.heard:",
            FAULTS + "test_a_receiver_that_is_away_is_not_tried_event_by_event",
        ),
        (
            "next_try_at=None if given_up else again_at",
            "next_try_at=again_at",
            UPKEEP + "test_when_it_is_given_up",
        ),
        ("now + pause(delivery.attempts)", "now + _FIRST_PAUSE", UPKEEP + "test_when_it_is_given_up"),
        (
            '"not understood by this version", at, at + timedelta(minutes=1)',
            '"not understood by this version", at, at',
            UPKEEP + "test_a_rule_that_fails_comes_again_in_a_minute",
        ),
        (
            "type(exc).__name__, at, at + timedelta(minutes=1)",
            "type(exc).__name__, at, at",
            UPKEEP + "test_a_rule_that_fails_comes_again_in_a_minute",
        ),
    ),
    *_mutants(
        "api/alerts/telling.py",
        (
            "alert_id = _hash(rule.id, key, began)",
            "alert_id = _hash(rule.id, began)",
            UPKEEP + "test_what_names_an_event",
        ),
        ("event_id = _hash(alert_id, kind)", "event_id = alert_id", UPKEEP + "test_what_names_an_event"),
        ("_hash(rule.id, key, began)", "_hash(rule.id, key)", UPKEEP + "test_what_names_an_event"),
        ('b"." + body', 'b"."', ALERTS + "test_a_change_is_told_once_and_signed"),
        (
            "asyncio.timeout(timeout_s)",
            "asyncio.timeout(None)",
            FAULTS + "test_a_receiver_that_drips_is_left",
        ),
        ("response.is_success", "True", ALERTS + "test_a_sample_is_marked_and_sent_at_once"),
    ),
    *_mutants(
        "api/alerts/addresses.py",
        (
            "all(map(is_public, addresses))",
            "any(map(is_public, addresses))",
            UPKEEP + "test_every_address_of_a_name_must_be_public",
        ),
        ("if inner is not None:\n            return is_public(inner)", "", ALERTS + "test_addresses"),
        ("and not address.is_multicast", "", ALERTS + "test_addresses"),
        ("if address not in _UNICAST:\n            return False", "", ALERTS + "test_addresses"),
    ),
    *_mutants(
        "api/alerts/asking.py",
        ("if n >= rule.min_n", "if n > rule.min_n", ALERTS + "test_a_rule_on_steps"),
        (
            '{"held": True, "violated": False}',
            '{"held": True, "violated": False, "unknown": False}',
            ALERTS + "test_a_rule_on_steps",
        ),
        (
            "found.matching + found.unsure))",
            "found.matching))",
            ALERTS + "test_runs_that_cannot_be_told_neither_fire_nor_resolve",
        ),
        (
            "value - reach, value + reach",
            "value, value + reach",
            CONTRACTS + "test_percentiles_of_long_times_are_known_within_their_resolution",
        ),
        ("now - rule.window", "now - 4 * rule.window", ALERTS + "test_a_rule_on_steps"),
        ("None if value is None else value == 1.0", "value == 1.0", ALERTS + "test_a_rule_on_a_contract"),
    ),
    *_mutants(
        "store/alerts.py",
        (
            '" WHERE rule_id = %s FOR UPDATE"',
            '" WHERE rule_id = %s"',
            RULES + "test_two_that_evaluate_a_rule_at_the_same_moment",
        ),
        (
            "(known.updated_at, known.evaluated_at) != (rule.updated_at, rule.evaluated_at)",
            "known.updated_at != rule.updated_at",
            RULES + "test_who_read_a_rule_before_it_changed_changes_nothing",
        ),
        (
            "(known.updated_at, known.evaluated_at) != (rule.updated_at, rule.evaluated_at)",
            "known.evaluated_at != rule.evaluated_at",
            RULES + "test_who_read_a_rule_before_it_changed_changes_nothing",
        ),
        (
            "    with connection.transaction():\n        known = ",
            "    if True:\n        known = ",
            RULES + "test_states_and_events_are_of_one_transaction",
        ),
        (
            "alert_outbox.enqueue(connection, known.rule_id, events, known.webhooks, known.secret, now)",
            "pass",
            RULES + "test_two_that_evaluate_a_rule_at_the_same_moment",
        ),
        (
            "    alert_outbox.enqueue(connection, rule.rule_id, events, rule.webhooks, rule.secret, now)\n",
            "",
            RULES + "test_deleting_a_rule_tells_the_end_and_leaves_the_others",
        ),
        (
            "known.document != rule.document",
            "True",
            RULES + "test_a_rule_that_is_put_again_keeps_its_groups_unless_it_asks_something_else",
        ),
        (
            "firing_since = excluded.firing_since, value",
            "value",
            RULES + "test_groups_are_replaced_as_a_whole",
        ),
        (
            "WHERE rule_id = %s AND group_key <> ALL (%s)",
            "WHERE group_key <> ALL (%s) AND rule_id >= %s",
            RULES + "test_groups_are_replaced_as_a_whole",
        ),
        (
            "WHERE rule_id = %s AND state = 'pending'",
            "WHERE rule_id = %s",
            RULES + "test_a_failure_is_noted_of_the_rule_that_was_asked",
        ),
        ("checked_at <= %s", "checked_at < %s", RULES + "test_the_last_check_of_a_contract_is_what_counts"),
        (
            "WHERE next_at <= %s",
            "WHERE next_at < %s",
            RULES + "test_a_rule_is_due_when_it_was_put_and_when_it_comes_again",
        ),
    ),
    *_mutants(
        "store/alert_outbox.py",
        (
            "AND event_id <> %(event_id)s\nON CONFLICT DO NOTHING",
            "AND event_id <> %(event_id)s",
            OUTBOX + "test_an_event_that_is_told_again_is_there_once",
        ),
        (
            "greatest(%(now)s, max(created_at) + interval '1 microsecond')",
            "%(now)s",
            OUTBOX + "test_an_event_comes_after_what_its_group_told_before",
        ),
        (" AND event_id <> %(event_id)s", "", OUTBOX + "test_an_event_is_of_one_time_for_all_its_webhooks"),
        (
            "NOT EXISTS",
            "NULL IS NULL OR EXISTS",
            OUTBOX + "test_what_waits_for_a_later_try_holds_up_its_group",
        ),
        (" AND e.url = o.url", "", OUTBOX + "test_what_waits_for_a_later_try_holds_up_its_group"),
        (
            " AND e.group_key = o.group_key",
            "",
            OUTBOX + "test_an_event_comes_after_what_its_group_told_before",
        ),
        (
            "WHERE event_id = %s AND place = %s",
            "WHERE event_id = %s AND place >= 0 * %s",
            OUTBOX + "test_a_try_is_noted_of_its_event_and_webhook_alone",
        ),
        (
            "WHERE url = %s AND next_try_at < %s",
            "WHERE url = %s AND next_try_at <> %s",
            OUTBOX + "test_only_what_waits_for_the_webhook_is_postponed",
        ),
        (
            "created_at DESC, event_id DESC, place OFFSET",
            "created_at, event_id DESC, place OFFSET",
            OUTBOX + "test_of_too_many_that_wait_the_oldest_are_given_up",
        ),
        (
            "done.created_at < %s",
            "done.created_at <= %s",
            OUTBOX + "test_what_is_done_is_forgotten_after_its_time",
        ),
    ),
    *_mutants(
        "api/contracts/judging.py",
        ("figure <= limit", "figure < limit", JUDGED),
        ("figure < limit", "figure <= limit", JUDGED),
        ("figure >= limit", "figure > limit", JUDGED),
        ("figure > limit", "figure >= limit", JUDGED),
        ("len(verdicts) > 1", "len(verdicts) > 2", JUDGED),
        ("certain + unsure", "certain", CONTRACTS + "test_shares_are_exact"),
    ),
    *_mutants(
        "api/contracts/checking.py",
        (
            "value - reach, value + reach",
            "value - reach, value",
            CONTRACTS + "test_percentiles_of_long_times_are_known_within_their_resolution",
        ),
        (
            'state == "unknown" and bounds is not None',
            "bounds is not None",
            CONTRACTS + "test_a_figure_of_steps",
        ),
        (
            'if run.status in ("running", "waiting")',
            'if run.status == "waiting"',
            CONTRACTS + "test_an_item_reaches_a_step",
        ),
        (
            'named = found.named_matching if sign == "at_most"',
            'named = found.named_matching if sign != "at_most"',
            CONTRACTS + "test_a_share_of_runs",
        ),
        (
            "because = _because(state, n if bounds else 0,",
            "because = _because(state, n,",
            CONTRACTS + "test_steps_without_the_figure_are_nothing_to_judge",
        ),
        (
            "if cut_short is not None and not certain:",
            "if cut_short is not None and certain:",
            CONTRACTS + "test_what_takes_too_long_is_unknown",
        ),
        ("if None in there or", "if", CONTRACTS + "test_an_item_reaches_a_step"),
    ),
    *_mutants(
        "store/queries/contracts.py",
        (
            'RUN_STATUS.in_(("running", "waiting"))',
            'RUN_STATUS.in_(("running",))',
            CONTRACTS + "test_runs_that_cannot_be_told_make_it_unknown",
        ),
        (
            '(run.c.unsure, "unsure"), (run.c.satisfied, "yes")',
            '(run.c.satisfied, "yes"), (run.c.unsure, "unsure")',
            CONTRACTS + "test_runs_that_cannot_be_told_make_it_unknown",
        ),
        (", ~came)", ")", CONTRACTS + "test_runs_that_cannot_be_told_make_it_unknown"),
        ('if state != "pending")', ")", CONTRACTS + "test_runs_that_cannot_be_told_make_it_unknown"),
    ),
    *_mutants(
        "store/contract_shelf.py",
        (
            "WHERE contract_id = %s AND updated_at = %s",
            "WHERE contract_id = %s AND updated_at <= now() + 0 * (now() - %s)",
            "tests/api/test_contract_faults.py::test_a_verdict_on_what_was_replaced_is_dropped",
        ),
        ('" ON CONFLICT DO NOTHING"', '""', CHECKED + "test_results_are_kept_for_their_time_and_once"),
        ("checked_at < %s", "checked_at <= %s", CHECKED + "test_results_are_kept_for_their_time_and_once"),
        (
            " updated_at = excluded.updated_at,",
            "",
            CHECKED + "test_a_contract_that_is_put_again_is_no_new_one",
        ),
    ),
    *_mutants(
        "api/contracts/declared.py",
        (
            "joined(self.steps, other), STEPS)",
            "joined(self.steps, other), RUNS)",
            CONTRACTS + "test_steps_without_the_figure_are_nothing_to_judge",
        ),
        (
            '"at_most": ">", "below": ">="',
            '"at_most": "<", "below": "<="',
            CONTRACTS + "test_a_figure_of_steps",
        ),
        ("if each.id in seen:", "if False:", CONTRACTS + "test_what_is_no_contract_is_pointed_at"),
    ),
    *_mutants(
        "api/alerts/declared.py",
        (
            '_understood("runs.where", RUNS, self.runs.where)',
            "pass",
            ALERTS + "test_what_is_no_rule_is_pointed_at",
        ),
        ("elif len(limits) != 1:", "elif len(limits) < 1:", ALERTS + "test_what_is_no_rule_is_pointed_at"),
    ),
    *_mutants(
        "api/schemas_contracts.py",
        ('else "unknown" if "unknown" in states', "", CONTRACTS + "test_one_state_for_several_contracts"),
    ),
    *_mutants(
        "api/contracts/continuous.py",
        ("at + EVERY", "at", CONTRACTS + "test_stored_contracts_are_checked_again_and_again"),
    ),
    *_mutants(
        "cli/contracts.py",
        (
            'EXIT_VIOLATED if answer["state"] == "violated" else EXIT_UNKNOWN',
            "EXIT_UNKNOWN",
            "tests/cli/test_rule_commands.py::test_contracts_in_ci",
        ),
    ),
]
