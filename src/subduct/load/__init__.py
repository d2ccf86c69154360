"""Data sources: each turns one kind of input into documents that a heap can hold, and can make any of them again."""

from subduct.load.detect import open_source
from subduct.load.source import Key, LoadError, Source

__all__ = ["Key", "LoadError", "Source", "open_source"]
