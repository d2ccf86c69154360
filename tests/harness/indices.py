"""Objects that are given as indices."""


class Index:
    """An int, as far as indexing is concerned. It cannot be compared."""

    def __init__(self, value: int) -> None:
        self.value = value

    def __index__(self) -> int:
        return self.value


class FailingIndex:
    """An index that fails."""

    def __index__(self) -> int:
        raise LookupError("no index")
