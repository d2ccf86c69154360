"""Numbers as people read them."""

from __future__ import annotations

_MIB = 1 << 20


def count(number: float) -> str:
    """A whole number in groups of three: 1,234,567."""
    return f"{number:,.0f}"


def mib(size_bytes: int) -> str:
    """A size in MiB, one decimal below 100: "8.5 MiB", "1,024 MiB"."""
    size = size_bytes / _MIB
    return f"{size:,.1f} MiB" if size < 100 else f"{size:,.0f} MiB"


def whole_mib(size_bytes: int) -> str:
    """A size in whole MiB, without the unit."""
    return f"{size_bytes / _MIB:,.0f}"


def microseconds(time_us: float) -> str:
    """A time in microseconds, one decimal below 100: "61.2 us", "1,234 us"."""
    return f"{time_us:,.1f} us" if time_us < 100 else f"{time_us:,.0f} us"


def seconds(time_s: float) -> str:
    """A time in seconds: "2.5 s"."""
    return f"{time_s:,.1f} s"


def percent(fraction: float) -> str:
    """A fraction in percent: "10 %"."""
    return f"{fraction * 100:.3g} %"


def plural(number: int, noun: str) -> str:
    """A number and its noun: "1 file", "3 files"."""
    return f"{count(number)} {noun}" if number == 1 else f"{count(number)} {noun}s"
