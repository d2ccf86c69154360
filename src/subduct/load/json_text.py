"""JSON texts whose integers may have any number of digits."""

from __future__ import annotations

import json
import sys
from typing import Any

# No limit on the digits of a conversion (sys.set_int_max_str_digits; 4300 by default) can be lower.
_DIGITS_AT_ONCE = sys.int_info.str_digits_check_threshold

_DECODER = json.JSONDecoder()


def _integer(text: str) -> int:
    return -_natural(text[1:]) if text.startswith("-") else _natural(text)


def _natural(digits: str) -> int:
    """Half by half, which is faster than digit by digit and meets no limit."""
    if len(digits) <= _DIGITS_AT_ONCE:
        return int(digits)
    half = len(digits) // 2
    scale: int = 10**half
    return _natural(digits[:-half]) * scale + _natural(digits[-half:])


_LONG_DECODER = json.JSONDecoder(parse_int=_integer)


def raw_decode(text: str, position: int) -> tuple[Any, int]:
    """The value that begins at `position`, and where it ends. Raises as `json.JSONDecoder.raw_decode` does."""
    try:
        return _DECODER.raw_decode(text, position)
    except json.JSONDecodeError:
        raise
    except ValueError:
        # Some integer is too long. The decoder that reads it is slower, since it calls Python for each integer.
        return _LONG_DECODER.raw_decode(text, position)


def decode(text: str) -> Any:
    """The one value that a text holds. Raises as `json.loads` does."""
    try:
        return _DECODER.decode(text)
    except json.JSONDecodeError:
        raise
    except ValueError:
        return _LONG_DECODER.decode(text)
