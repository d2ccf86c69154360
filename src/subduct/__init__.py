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

# All at once: a child that is forked while another thread imports a part later could never import it.
try:
    from subduct._heap import Heap
    from subduct._native import Dict, HeapClosed, HeapFull, KernelError, List, Tuple, Unsupported, __version__
    from subduct._stats import CycleReport, Fallbacks, Pauses, Stats, VerifyReport
except ImportError as _error:
    # `subduct.model` works where there is no native code. Everything else says why it does not.
    _why = _error

    def __getattr__(name: str) -> object:
        if name in __all__:
            # Without the frames of earlier raises, which it would gather.
            raise _why.with_traceback(None)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


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
