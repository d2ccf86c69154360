"""An off-heap object heap that compacts itself under running code.

A `Heap` holds dicts, lists, tuples, strings and numbers in memory of its own, within a budget of bytes. Data is copied in and stays
mutable there; its `Dict`, `List` and `Tuple` proxies behave as the builtins do. A collector frees what is unreachable and compacts
the rest while threads go on reading and writing.

    from subduct import Heap

    with Heap("1GiB") as heap:
        heap.root["users"] = {"ada": {"name": "Ada", "logins": 3}}
        heap.root["users"]["ada"]["logins"] += 1
        print(heap.root["users"].to_python())

What differs from the builtins: proxies have no identity (two reads of one value give two proxies, which are equal); what is stored is
a copy, except a proxy of the same heap, which is shared; a NaN equals nothing, not even the one it was stored as; only exactly None,
bool, int, float, str, bytes, dict, list and tuple can be stored, keys being None, bool, int, float, str, bytes and tuples of these.
"""

from typing import TYPE_CHECKING

__all__ = [
    "CycleReport",
    "Dict",
    "Fallbacks",
    "Heap",
    "HeapClosed",
    "HeapFull",
    "KernelError",
    "List",
    "Pauses",
    "Stats",
    "Tuple",
    "Unsupported",
    "VerifyReport",
    "__version__",
]

if TYPE_CHECKING:
    from subduct._heap import Heap
    from subduct._native import Dict, HeapClosed, HeapFull, KernelError, List, Tuple, Unsupported, __version__
    from subduct._stats import CycleReport, Fallbacks, Pauses, Stats, VerifyReport
else:
    # Names are loaded when they are asked for, because `subduct.model` works where there is no native code.
    from importlib import import_module as _import_module

    _HOMES = {
        "subduct._heap": ("Dict", "Heap", "List", "Tuple"),
        "subduct._native": ("HeapClosed", "HeapFull", "KernelError", "Unsupported", "__version__"),
        "subduct._stats": ("CycleReport", "Fallbacks", "Pauses", "Stats", "VerifyReport"),
    }

    def __getattr__(name: str) -> object:
        for home, names in _HOMES.items():
            if name in names:
                value = globals()[name] = getattr(_import_module(home), name)
                return value
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})


del TYPE_CHECKING
