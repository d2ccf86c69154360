"""The command line."""

from __future__ import annotations

import errno
import io
import os
import sys
import warnings
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING

from subduct import HeapClosed, KernelError, Unsupported
from subduct.churn import ThreadsError
from subduct.cli.arguments import parse
from subduct.cli.refused import RefusedError
from subduct.load import LoadError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

__all__ = ["main"]

_NOT_VERIFIED = 1
_BAD_INPUT = 2
_INTERRUPTED = 130
# What a full disk or a broken device says to a write.
_UNWRITABLE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command that the arguments name (those of the process by default), and returns its exit code.

    What a user can get wrong ends in one line on standard error and exit code 2, never in a traceback.
    """
    if sys.stderr is None:
        # Closed by whoever started this. Messages belong into no other stream, and no file of ours in this one's place.
        sys.stderr = Path(os.devnull).open("w")  # noqa: SIM115
    if sys.stdout is None:
        return _say(
            "the output cannot be written: standard output is closed; send what nobody wants to /dev/null", _BAD_INPUT
        )
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # File names and data are printed that a terminal's encoding may not know.
            stream.reconfigure(errors="backslashreplace")
    try:
        arguments = _parsed(argv)
        with warnings.catch_warnings():
            # Whoever uses a command is told what is wrong, not on which line of this package it was noticed.
            warnings.showwarning = _warn
            code = int(arguments.command(arguments))
        # What does not fit would come up when the interpreter ends, too late for a word about it.
        sys.stdout.flush()
        return code
    except RefusedError as error:
        return _say(error, error.code)
    except (LoadError, ThreadsError) as error:
        return _say(error, _BAD_INPUT)
    except Unsupported as error:
        return _say(f"{error}; `subduct doctor` says what this machine allows", _BAD_INPUT)
    except (KernelError, HeapClosed) as error:
        return _say(error, _NOT_VERIFIED)
    except BrokenPipeError:
        # Whoever read the output has gone, and wants no word about it.
        _drop_output()
        return _BAD_INPUT
    except OSError as error:
        if error.errno not in _UNWRITABLE or error.filename is not None:
            raise
        _drop_output()
        # Not 1, which is an answer: that a test failed, or that the kernel refuses.
        return _say(f"the output cannot be written: {error.strerror}", _BAD_INPUT)
    except KeyboardInterrupt:
        return _INTERRUPTED


def _parsed(argv: Sequence[str] | None) -> argparse.Namespace:
    # Help and versions are output, too, and argparse does not mind when they cannot be written.
    output = io.StringIO()
    try:
        with redirect_stdout(output):
            return parse(argv)
    except SystemExit:
        sys.stdout.write(output.getvalue())
        sys.stdout.flush()
        raise


def _drop_output() -> None:
    """Keeps the interpreter from writing the rest when it ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _warn(message: Warning | str, *_where: object, **_line: object) -> None:
    print(f"subduct: warning: {message}", file=sys.stderr)


def _say(message: object, code: int) -> int:
    print(f"subduct: {message}", file=sys.stderr)
    return code
