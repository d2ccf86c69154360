"""Files that a command writes: whole or not at all, wherever a name can be given to what is whole."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import shutil
import sys
from typing import TYPE_CHECKING

from subduct.cli.refused import RefusedError

if TYPE_CHECKING:
    from pathlib import Path
    from typing import TextIO

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def check_writable(path: Path) -> None:
    """Refuses a file that cannot be written, before anything was done for it; what is seen only when writing comes up then.

    Raises:
        RefusedError: it is a folder, or lies in one that does not exist or may not be written to.
    """
    if path.is_dir():
        raise _refused(path, os.strerror(errno.EISDIR), "name a file in it")
    if path.exists():
        if not os.access(path, os.W_OK):
            raise _refused(path, os.strerror(errno.EACCES), "name another file")
    elif not path.parent.is_dir():
        raise _refused(path, "there is no such folder", "make it, or name another one")
    elif not os.access(path.parent, os.W_OK | os.X_OK):
        raise _refused(path, "the folder may not be written to", "name another one")


def save(path: Path, text: str) -> None:
    """Writes a file. Where that fails, what was there before stays, and nothing else is left behind.

    What is no regular file, such as a pipe or a device, is written to as it is; so is one whose folder takes no other file.

    Raises:
        RefusedError: it cannot be written.
    """
    try:
        if stream := _standard_stream(path):
            # Opened again by its name, it would be cut off, and what is printed next would cover what was written.
            stream.write(text)
            stream.flush()
        elif _can_be_replaced(path):
            _replace(path, text)
        else:
            path.write_text(text)
    except OSError as error:
        remedy = "free some space, or name a file elsewhere" if error.errno in _NO_ROOM else "name another file"
        raise _refused(path, str(error.strerror), remedy) from None


def _standard_stream(path: Path) -> TextIO | None:
    """The stream of this process that a path such as /dev/stdout leads to."""
    with contextlib.suppress(OSError):
        there = path.stat()
        for number, stream in ((1, sys.stdout), (2, sys.stderr)):
            if os.path.samestat(there, os.fstat(number)):
                return stream
    return None


def _can_be_replaced(path: Path) -> bool:
    """Whether another file may take its name: it is a regular one, or none yet."""
    target = path.resolve()
    # What has lost its name, and is reached through /proc/self/fd, exists under none.
    return (target.is_file() or not path.exists()) and os.access(target.parent, os.W_OK | os.X_OK)


def _replace(path: Path, text: str) -> None:
    # Where a link leads, so that the link stays.
    target = path.resolve()
    whole = target.with_name(f".subduct-{secrets.token_hex(8)}.tmp")
    with contextlib.ExitStack() as undo, whole.open("x") as file:
        undo.callback(whole.unlink)
        file.write(text)
        file.close()
        with contextlib.suppress(FileNotFoundError):
            shutil.copymode(target, whole)
        whole.replace(target)
        undo.pop_all()


def _refused(path: Path, why: str, remedy: str) -> RefusedError:
    return RefusedError(f"{path} cannot be written: {why}; {remedy}")
