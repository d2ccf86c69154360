"""The error of a command that cannot do what it was asked to."""

from __future__ import annotations


class RefusedError(Exception):
    """The command ends here, with one line for the person who gave it and an exit code: 2, unless another is given."""

    def __init__(self, message: str, *, code: int = 2) -> None:
        super().__init__(message)
        self.code = code
