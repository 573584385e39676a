"""
Runs between fork and exec: takes on an identity, ties its life to the parent, becomes a program.

A script of its own, not a ``preexec_fn``: the parent may have threads (gRPC), and Python code
that runs in a fork of such a process can deadlock. Started by path with ``python -I -S``, so it
may import the standard library only.

Usage: ``enter.py PARENT_PID IDENTITY PROGRAM [ARGUMENT…]`` where IDENTITY is ``self``,
``namespace:UID`` or ``setuid:UID:GID``, and PARENT_PID 0 leaves the lifetime alone.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

CLONE_NEWUSER = 0x10000000  # linux/sched.h
PR_SET_PDEATHSIG = 1  # linux/prctl.h


def become(identity: str) -> None:
    """Take on the identity; raises OSError when the system does not allow it."""
    kind, *numbers = identity.split(":")
    if kind == "namespace":
        enter_namespace(int(numbers[0]))
    elif kind == "setuid":
        os.setgroups([])
        os.setgid(int(numbers[1]))
        os.setuid(int(numbers[0]))


def enter_namespace(uid: int) -> None:
    """
    Enter a user namespace in which our user has another number (user_namespaces(7)).

    For the kernel outside nothing changes: files stay owned by us, so no folder needs a new
    owner or wider permissions. Inside, we are not root, which is all that PostgreSQL asks.
    """
    outer_uid, outer_gid = os.geteuid(), os.getegid()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWUSER) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"unshare(CLONE_NEWUSER): {os.strerror(number)}")
    # An unprivileged process may write gid_map only after giving up setgroups.
    for name, text in (
        ("setgroups", "deny"),
        ("uid_map", f"{uid} {outer_uid} 1"),
        ("gid_map", f"{uid} {outer_gid} 1"),
    ):
        with open(f"/proc/self/{name}", "w", encoding="ascii") as file:
            file.write(text)


def die_with(parent_pid: int) -> None:
    """
    Ask the kernel for SIGINT, PostgreSQL's fast and clean stop, when the parent is gone.

    After ``become``: a change of credentials clears the request (prctl(2)).
    """
    if parent_pid == 0 or not sys.platform.startswith("linux"):
        return
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGINT)
    # The parent may have died before the request was made; then nobody will tell us.
    if os.getppid() != parent_pid:
        sys.exit(f"the parent {parent_pid} is gone")


def main(arguments: list[str]) -> None:
    """Do what the module says; does not return when the program starts."""
    parent_pid, identity, program, *rest = arguments
    try:
        become(identity)
        die_with(int(parent_pid))
        os.execv(program, [program, *rest])
    except OSError as exc:
        sys.exit(f"enter {identity}: {exc}")


if __name__ == "__main__":
    main(sys.argv[1:])
