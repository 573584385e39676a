"""Programs of others in Python environments of their own, made once in ``~/.cache/xray/peers``."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import venv
from collections.abc import Callable, Sequence
from pathlib import Path


def environment(name: str, packages: Sequence[str], say: Callable[[str], None]) -> Path:
    """
    The folder with the environment's programs; made when missing or for other packages.

    Installing takes minutes and the package registry; a line of progress is said for every tenth package.
    """
    folder = _cache() / name
    stamp = folder / ".xray-packages"
    wanted = json.dumps([sys.version, *packages])
    if not stamp.exists() or stamp.read_text() != wanted:
        say(f"installing {' '.join(packages)} into {folder}; this happens once")
        shutil.rmtree(folder, ignore_errors=True)
        venv.create(folder, with_pip=True)
        _install(folder, packages, say)
        stamp.write_text(wanted)
    return folder / "bin"


def package_version(bin_folder: Path, package: str) -> str:
    """The installed version."""
    code = f"from importlib.metadata import version; print(version({package!r}))"
    return subprocess.check_output([str(bin_folder / "python"), "-c", code], text=True).strip()


def _cache() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "xray" / "peers"


def _install(folder: Path, packages: Sequence[str], say: Callable[[str], None]) -> None:
    options = ["--disable-pip-version-check", "--no-input", "--progress-bar", "off"]
    command = ["nice", str(folder / "bin" / "python"), "-m", "pip", "install", *options, *packages]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as pip:
        assert pip.stdout is not None  # a pipe
        lines, seen = [], 0
        for line in pip.stdout:
            lines.append(line)
            if line.startswith("Collecting "):
                seen += 1
                if seen % 10 == 0:
                    say(f"  package {seen}: {line.split()[1]}")
            elif line.startswith("Installing"):
                say(f"  installing {seen} packages")
    if pip.returncode != 0:
        raise SystemExit(f"pip could not install {' '.join(packages)}:\n{''.join(lines[-15:])}")
