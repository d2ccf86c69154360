"""The record that benchmarks store: four fields, two of them strings, nothing shared between records."""

from __future__ import annotations

from typing import Any


def record(number: int) -> dict[str, Any]:
    """Record `number`."""
    return {
        "id": 1_000_000 + number,
        "name": f"user {number}",
        "email": f"user{number}@example.com",
        "balance": number / 7,
    }
