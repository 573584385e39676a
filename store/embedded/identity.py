"""
Decides as whom the server runs. PostgreSQL refuses to run as root and needs a name for its user.

An ordinary user runs it as itself. Root, and a user without an entry in the password file,
enter a user namespace as ``nobody``: no account is made, no owner or permission changes. Where
the system forbids user namespaces (some containers), root becomes ``postgres`` or ``nobody``;
then the data folder is handed to that user, and the folders above it must let it pass.
"""

from __future__ import annotations

import os
import pwd
import shutil
import stat
from pathlib import Path

from store.embedded import process
from store.embedded.binaries import Binaries
from store.errors import FolderRefused

SELF = "self"


def choose() -> str:
    """Return the identity for this process, as ``enter.py`` reads it. Raises ``FolderRefused``."""
    if os.geteuid() != 0 and _has_entry(os.geteuid()):
        return SELF
    namespace = f"namespace:{_unprivileged('nobody').pw_uid}"
    probe = process.run("/bin/sh", ["-c", "exit 0"], identity=namespace)
    if probe.returncode == 0:
        return namespace
    if os.geteuid() != 0:
        raise FolderRefused(
            f"uid {os.geteuid()} has no entry in the password file, and user namespaces are not allowed here "
            f"({probe.stdout.strip()}); run as a named user"
        )
    return setuid("postgres", "nobody")


def setuid(*names: str) -> str:
    """Return the identity of the first of these users that exists."""
    user = _unprivileged(*names)
    return f"setuid:{user.pw_uid}:{user.pw_gid}"


def user_id(identity: str) -> int:
    """Return the uid that owns, seen from here, what the identity makes."""
    return int(identity.split(":")[1]) if identity.startswith("setuid:") else os.geteuid()


def hand_over(folder: Path, identity: str) -> None:
    """Let the identity own a folder of ours; a no-op unless it is another user."""
    if identity.startswith("setuid:"):
        _, uid, gid = identity.split(":")
        os.chown(folder, int(uid), int(gid))


def check_passable(folder: Path, identity: str) -> None:
    """Raise ``FolderRefused`` when a folder above keeps the identity out."""
    closed = _closed_parent(folder) if identity.startswith("setuid:") else None
    if closed is not None:
        raise FolderRefused(
            f"{folder}: uid {user_id(identity)}, which runs PostgreSQL in place of root, cannot pass "
            f"{closed}; set XRAY_DATA_DIR to a folder below /var/lib, or run as an ordinary user, "
            "or allow user namespaces"
        )


def reachable(binaries: Binaries, identity: str, spare: Path) -> Binaries:
    """
    Return programs that the identity can run: the same ones, or a copy in the folder ``spare``.

    A copy is needed when the packages lie in a home that is closed to others.
    """
    if not identity.startswith("setuid:") or _closed_parent(binaries.folder) is None:
        return binaries
    copy = spare / f"postgresql-{binaries.major}"
    if not copy.exists():
        unfinished = spare / f"postgresql-{binaries.major}.{os.getpid()}"
        shutil.copytree(binaries.folder.parent, unfinished, symlinks=True)
        unfinished.rename(copy)
    return binaries._replace(folder=copy / binaries.folder.name)


def _unprivileged(*names: str) -> pwd.struct_passwd:
    for name in names:
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    others = [entry for entry in pwd.getpwall() if entry.pw_uid != 0]
    if not others:
        raise FolderRefused(f"PostgreSQL refuses to run as root; make a user {' or '.join(names)}")
    return others[0]


def _has_entry(uid: int) -> bool:
    try:
        pwd.getpwuid(uid)
    except KeyError:
        return False
    return True


def _closed_parent(path: Path) -> Path | None:
    for parent in path.resolve().parents:
        if not parent.stat().st_mode & stat.S_IXOTH:
            return parent
    return None
