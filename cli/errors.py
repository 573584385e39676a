"""
How a command fails.

    CliError             one line on stderr and an exit code
    ├── Failure          exit code 1: the question was fine, the answer is not
    └── UsageError       exit code 2: an option, argument or setting is wrong
"""

from __future__ import annotations

from collections.abc import Sequence

EXIT_FAILURE = 1
EXIT_USAGE = 2


class CliError(Exception):
    """Ends the command; ``str(error)`` is the line that the person reads."""

    exit_code = EXIT_FAILURE
    more: Sequence[str] = ()
    """Lines under it."""


class Failure(CliError):
    """What was asked for could not be done."""


class UsageError(CliError):
    """What was asked for is not askable: the line names the option and the accepted form."""

    exit_code = EXIT_USAGE
