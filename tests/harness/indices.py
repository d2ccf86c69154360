"""Objects that are given as indices."""

from typing import Any


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


class InstanceIndex:
    """No index: only the class of an index can make it one."""

    def __getattr__(self, name: str) -> Any:
        if name == "__index__":
            return lambda: 1
        raise AttributeError(name)
