"""Python bindings to mremap, memfd and userfaultfd, for people who build on them.

    from subduct.kernel import Memfd, Seal

    with Memfd(1 << 21, seals=Seal.GROW | Seal.SHRINK) as file, file.map(align=1 << 21) as view:
        memoryview(view)[:5] = b"hello"
        with view.move(keep_source=True) as shadow:  # mremap(MREMAP_DONTUNMAP)
            assert shadow.read(0, 5) == b"hello" == view.read(0, 5)  # shared memory: both show the same pages

- `Mapping`, `Memfd`, `Reservation`: memory as objects with a lifetime, and with the buffer protocol. Nothing here can map over
  memory that is in use.
- `Userfaultfd`, its events, and `serve`, which has a Python function in another process fill pages on demand.
- `maps`, `smaps`, `pagemap`: what the kernel says of a process's memory.
- `calls`: the bare system calls, nothing checked.

Everything works unprivileged, unless it says otherwise. Addresses and lengths are checked before a call (ValueError); what the kernel
refuses is a `subduct.KernelError` with the call, its arguments, the errno, and what to do. Each rule names its source: a manual page,
or the Linux version or commit that brought it.
"""

from subduct.kernel import calls
from subduct.kernel._checks import PAGE_SIZE
from subduct.kernel._enums import (
    Advice,
    ContinueMode,
    CopyMode,
    EventKind,
    FallocFlag,
    FaultFlag,
    Feature,
    Ioctl,
    MapFlag,
    MemfdFlag,
    MoveMode,
    PoisonMode,
    Prot,
    RegisterMode,
    RemapFlag,
    Seal,
    UffdFlag,
    WriteprotectMode,
    ZeropageMode,
)
from subduct.kernel._events import Event, Fork, PageFault, Remap, Remove, Unmap
from subduct.kernel._fault import Fault, Handler
from subduct.kernel._mapping import Mapping
from subduct.kernel._memfd import Memfd
from subduct.kernel._pagemap import Page, pagemap
from subduct.kernel._place import Place
from subduct.kernel._proc import MapsEntry, SmapsEntry, maps, smaps
from subduct.kernel._reservation import Reservation
from subduct.kernel._serve import Failure, ServeError, Server, StartMethod, serve
from subduct.kernel._userfaultfd import Userfaultfd

__all__ = [
    "PAGE_SIZE",
    "Advice",
    "ContinueMode",
    "CopyMode",
    "Event",
    "EventKind",
    "Failure",
    "FallocFlag",
    "Fault",
    "FaultFlag",
    "Feature",
    "Fork",
    "Handler",
    "Ioctl",
    "MapFlag",
    "Mapping",
    "MapsEntry",
    "Memfd",
    "MemfdFlag",
    "MoveMode",
    "Page",
    "PageFault",
    "Place",
    "PoisonMode",
    "Prot",
    "RegisterMode",
    "Remap",
    "RemapFlag",
    "Remove",
    "Reservation",
    "Seal",
    "ServeError",
    "Server",
    "SmapsEntry",
    "StartMethod",
    "UffdFlag",
    "Unmap",
    "Userfaultfd",
    "WriteprotectMode",
    "ZeropageMode",
    "calls",
    "maps",
    "pagemap",
    "serve",
    "smaps",
]

# Where a name is defined is nobody's business: what users see is where to import it from.
for _name in __all__:
    _public = globals()[_name]
    if getattr(_public, "__module__", "").startswith("subduct.kernel."):
        _public.__module__ = __name__

del _name, _public
