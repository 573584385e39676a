"""
Coverage-guided fuzzing of what reads requests.

    python -m tests.fuzz.fuzz traces_protobuf FOLDER [options of libFuzzer]

Targets: see ``targets.py``. Begins with ``corpus/TARGET`` and what lies in FOLDER, where inputs that
reach new code are kept. Useful options: ``-max_total_time=1800`` seconds, ``-max_len=4096``.
Ends with 0 when nothing was found; a crash, an input that takes over 10 s or more than 1 GiB of
memory ends it, with the input written to the working folder.
"""

from __future__ import annotations

import sys
from pathlib import Path

import atheris  # type: ignore[import-untyped, import-not-found, unused-ignore]  # only where there is a wheel of it

with atheris.instrument_imports(include=["collector", "store"]):
    from tests.fuzz.targets import TARGETS

CORPUS = Path(__file__).with_name("corpus")
_LIMITS = ("-timeout=10", "-rss_limit_mb=1024")


def main(arguments: list[str]) -> None:
    """Fuzz one target; does not return."""
    if len(arguments) < 2 or arguments[0] not in TARGETS:
        sys.exit(f"usage: python -m tests.fuzz.fuzz {'|'.join(TARGETS)} FOLDER [options of libFuzzer]")
    name, folder, *options = arguments
    Path(folder).mkdir(parents=True, exist_ok=True)
    # libFuzzer writes to the first folder and only reads the others.
    atheris.Setup([sys.argv[0], *_LIMITS, *options, folder, str(CORPUS / name)], TARGETS[name]())
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv[1:])
