"""Whose file a file of lines is: each run marks what it writes, a job always with the same token.

The mark is an extended attribute of the file, so it goes where the file goes (`mv`, `cp -a`), and
a file that somebody puts in its place does not have it. A file system without such attributes
leaves a file unmarked; a job then knows its results by their inode number.
"""

import contextlib
import os
import secrets
from pathlib import Path

ATTRIBUTE = "user.lexigram_actors.run"


def new_token() -> str:
    """Return a token that nobody else has."""
    return secrets.token_hex(16)


def mark(descriptor: int, token: str) -> bool:
    """Mark an open file as that of `token`; say whether the file system could."""
    if not hasattr(os, "setxattr"):
        return False
    try:
        os.setxattr(descriptor, ATTRIBUTE, token.encode())
    except OSError:
        return False
    return True


def owner_of(path: Path) -> str | None:
    """Return the token that a file is marked with, None for one without mark or not there."""
    if hasattr(os, "getxattr"):
        with contextlib.suppress(OSError):
            return os.getxattr(path, ATTRIBUTE).decode("ascii", "replace")
    return None


def inode_of(path: Path) -> int:
    """Return the inode number of a file, 0 when it is not there."""
    try:
        return path.stat().st_ino
    except FileNotFoundError:
        return 0


def claim(path: Path, token: str) -> int:
    """Mark a file, made if it is not there; return its inode number if it could not be, else 0."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
    try:
        return 0 if mark(descriptor, token) else os.fstat(descriptor).st_ino
    finally:
        os.close(descriptor)
