"""Calls of the native measurements."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, TypeAlias

#: Told what happens next.
Progress: TypeAlias = Callable[[str], None]


def measured(function: Callable[..., str], *arguments: Any, progress: Progress, **options: Any) -> Any:
    """What a native measurement found, out of its JSON."""
    return json.loads(function(*arguments, progress=progress, **options))


def named(progress: Progress, name: str) -> Progress:
    """A progress that says about what it speaks."""
    return lambda text: progress(f"{name}: {text}")
