"""Why the command cannot go on."""


class MutantsError(RuntimeError):
    """The defects cannot be tried, or not all of them: the message says what failed and what to do."""
