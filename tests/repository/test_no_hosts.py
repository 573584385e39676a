"""What must not be in the repository: registry hosts in locks, paths of somebody's machine in files."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LOCKS = ["requirements.lock", "requirements-dev.lock"]
REGISTRIES = re.compile(
    r"https?://[^\s\"']*(pypi|pythonhosted|simple/|npmjs|registry\.|mirror|nexus|artifactory)", re.IGNORECASE
)
MACHINE_PATHS = re.compile(r"/(?:home|Users|work)/[a-z0-9_.-]+/|/root/\w")


def tracked() -> list[Path]:
    """Files that git tracks or would track; all of the tree's own when this is not a git checkout."""
    command = ["git", "-C", str(ROOT), "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    try:
        listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("not run: git does not list the files here")
    return [ROOT / name for name in listed.split("\0") if name and (ROOT / name).is_file()]


def lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError:
        return []


@pytest.mark.parametrize("name", LOCKS)
def test_locks_name_no_host(name):
    """A lock file holds names, versions and hashes, no address: it works with any mirror."""
    text = (ROOT / name).read_text()
    assert "://" not in text
    assert "index-url" not in text
    assert "find-links" not in text
    pinned = re.findall(r"^([A-Za-z][\w.-]*(?:\[[^]]*\])?)(.*)$", text, re.MULTILINE)
    assert pinned
    assert [package for package, rest in pinned if not re.match(r"==\S+( ; .*)? \\$", rest)] == []
    assert text.count("--hash=sha256:") >= len(pinned)


def test_locks_agree():
    """The development lock holds every package of the runtime lock in the same version."""
    runtime, development = (
        set(re.findall(r"^([A-Za-z][\w.-]*==[^\s]+)", (ROOT / name).read_text(), re.MULTILINE))
        for name in LOCKS
    )
    assert runtime - development == set()


def test_no_lock_with_hosts():
    """Lock formats that cannot do without addresses are not kept; npm's can, and is checked below."""
    refused = {"uv.lock", "pylock.toml", "poetry.lock"}
    assert [path for path in tracked() if path.name in refused] == []


def test_no_registry_and_no_machine_path():
    """No tracked file names a package registry's address or a path of the machine it was written on."""
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()[:100]}"
        for path in tracked()
        if path != Path(__file__)
        for number, line in enumerate(lines(path), 1)
        if REGISTRIES.search(line) or MACHINE_PATHS.search(line)
    ]
    assert found == []
