"""An executable model of what Linux does when memory is mapped, moved, advised and registered with userfaultfd.

An `AddressSpace` takes the system calls that a process would make and answers with the result or the errno of a kernel version,
by the rules that this version has, in the order in which it goes through them. It knows what every page shows afterwards, and
how many page-table steps a move took. Nothing is mapped and no native code is needed.

    from subduct.model import AddressSpace, MapFlag, Prot, RefusedCall, RemapFlag

    space = AddressSpace("5.10")
    fd = space.memfd_create(3)
    space.ftruncate(fd, 4096)
    view = space.mmap(0, 4096, Prot.READ | Prot.WRITE, MapFlag.SHARED, fd)
    try:
        space.mremap(view, 4096, 4096, RemapFlag.MAYMOVE | RemapFlag.DONTUNMAP)
    except RefusedCall as refused:
        print(refused.errno, refused.rule.id, refused.rule.sentence)

docs/design/model.md says what is modelled and what is not.
"""

from subduct.model.fault import Access
from subduct.model.mapping import Mapping, VmFlag
from subduct.model.rules import RefusedCall, Rule
from subduct.model.space import AddressSpace
from subduct.model.state import RULES, Limits
from subduct.model.table import Levels, Steps, dense_steps
from subduct.model.uapi import Advice, Feature, MapFlag, Prot, RegisterMode, RemapFlag, Seal
from subduct.model.version import NEWEST, OLDEST, Version

__all__ = [
    "NEWEST",
    "OLDEST",
    "RULES",
    "Access",
    "AddressSpace",
    "Advice",
    "Feature",
    "Levels",
    "Limits",
    "MapFlag",
    "Mapping",
    "Prot",
    "RefusedCall",
    "RegisterMode",
    "RemapFlag",
    "Rule",
    "Seal",
    "Steps",
    "Version",
    "VmFlag",
    "dense_steps",
]
