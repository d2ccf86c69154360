"""Why the command cannot go on."""


class KernelsError(RuntimeError):
    """Something outside this program is missing or failed; the message says what to do."""
