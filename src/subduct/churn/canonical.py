"""One sequence of bytes for each value, the same for two values exactly when they are the same throughout."""

from __future__ import annotations

import struct
from typing import Any


def canonical(value: Any) -> bytes:
    """The bytes of a value made of None, bool, int, float, str, bytes, tuple, list and dict.

    They tell apart what `==` does not: 1, 1.0 and True, the order of a dict, -0.0, the bits of a NaN, and which lists
    and dicts are one object. Values are written breadth first, each as its type and content; a container is written
    as the number of items that come later, and a list or dict that was met before as the number it was met under. This
    can be read back in one way only, so values that differ have bytes that differ. Linear in time; no stack for depth.
    """
    pieces: list[bytes] = []
    write = pieces.append
    met: dict[int, bytes] = {}
    texts: dict[str, bytes] = {}
    queue: list[Any] = [value]
    # The list grows behind the loop: what is appended is written in its turn.
    for item in queue:
        kind = type(item)
        if kind is str:
            piece = texts.get(item)
            if piece is None:
                piece = texts[item] = _text(item)
        elif kind is dict or kind is list:
            piece = met.get(id(item), b"")
            if not piece:
                met[id(item)] = b"@%d;" % len(met)
                if kind is dict:
                    piece = b"d%d;" % len(item)
                    queue.extend(item.keys())
                    queue.extend(item.values())
                else:
                    piece = b"l%d;" % len(item)
                    queue.extend(item)
        elif kind is tuple:
            piece = b"t%d;" % len(item)
            queue.extend(item)
        else:
            piece = _scalar(item)
        write(piece)
    return b"".join(pieces)


def _text(text: str) -> bytes:
    data = text.encode("utf-8", "surrogatepass")
    return b"s%d;%b" % (len(data), data)


def _scalar(value: Any) -> bytes:
    if value is None:
        return b"n"
    kind = type(value)
    if kind is int:
        return b"i%x;" % value
    if kind is bool:
        return b"T" if value else b"F"
    if kind is float:
        return b"f" + struct.pack("<d", value)
    if kind is bytes:
        return b"b%d;%b" % (len(value), value)
    raise TypeError(f"no canonical form for {kind.__module__}.{kind.__qualname__}")
