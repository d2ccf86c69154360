"""Short sequences of calls that each show one rule, for kernel and model alike."""

from subduct.model import Advice, MapFlag, Prot, RegisterMode, RemapFlag, Seal
from subduct.model.differential import ground
from subduct.model.differential.call import Argument, Call
from subduct.model.differential.operations import DESCRIPTORS, FILES
from subduct.model.uapi import PAGE

READ_WRITE = Prot.READ | Prot.WRITE
ANONYMOUS = MapFlag.PRIVATE | MapFlag.ANONYMOUS | MapFlag.FIXED
SHARED = MapFlag.SHARED | MapFlag.FIXED
PRIVATE = MapFlag.PRIVATE | MapFlag.FIXED
MOVE = RemapFlag.MAYMOVE | RemapFlag.FIXED
LEAVE = MOVE | RemapFlag.DONTUNMAP
UFFD, OTHER = DESCRIPTORS
FD, SECOND = FILES


def at(page: int) -> int:
    """The address of one of the single pages."""
    return ground.START + page * PAGE


def call(name: str, *arguments: Argument) -> Call:
    """A call."""
    return Call(name, arguments)


def anonymous(page: int, pages: int) -> Call:
    """Maps private anonymous memory."""
    return call("mmap", at(page), pages * PAGE, READ_WRITE, ANONYMOUS, -1, 0)


def file(page: int, pages: int, index: int, flags: MapFlag = SHARED) -> Call:
    """Maps the first file from a page of it on."""
    return call("mmap", at(page), pages * PAGE, READ_WRITE, flags, FD, index * PAGE)


def move(page: int, pages: int, target: int, flags: RemapFlag = MOVE) -> Call:
    """Moves pages, with mremap."""
    return call("mremap", at(page), pages * PAGE, pages * PAGE, flags, at(target))


def register(page: int, pages: int, mode: RegisterMode, fd: int = UFFD) -> Call:
    """Registers pages with a userfaultfd."""
    return call("uffd_register", fd, at(page), pages * PAGE, mode)


def unregister(page: int, pages: int, fd: int = UFFD) -> Call:
    """Ends their registration."""
    return call("uffd_unregister", fd, at(page), pages * PAGE)


CASES: dict[str, tuple[Call, ...]] = {
    "shared memory shows the same pages in the old range": (
        move(0, 8, 20, LEAVE), call("peek", at(1)), call("peek", at(21)), call("poke", at(1), 7), call("peek", at(21)),
    ),
    "private memory shows zeros in the old range": (
        anonymous(20, 2), call("poke", at(20), 5), move(20, 2, 30, LEAVE), call("peek", at(20)), call("peek", at(30)),
    ),
    "pages leave the middle of a charged mapping, and another follows": (
        anonymous(20, 5), file(28, 2, 0), move(21, 2, 40, LEAVE),
    ),
    "a private page of a file shows the file again": (
        file(20, 2, 0, PRIVATE), call("poke", at(20), 5), move(20, 2, 30, LEAVE), call("peek", at(20)), call("peek", at(30)),
    ),
    "unwritten memory merges where it is moved to": (anonymous(20, 2), anonymous(30, 2), move(20, 2, 28)),
    "written memory does not": (
        anonymous(20, 2), call("poke", at(20), 1), anonymous(30, 2), call("poke", at(30), 1), move(20, 2, 28),
    ),
    "a mapping grows up to the next": (
        file(20, 2, 0), file(24, 2, 4), call("mremap", at(20), 2 * PAGE, 4 * PAGE, 0, 0),
    ),
    "a mapping cannot grow into the next": (
        file(20, 2, 0), file(23, 2, 8), call("mremap", at(20), 2 * PAGE, 4 * PAGE, 0, 0),
    ),
    "written memory joins unwritten": (
        anonymous(20, 2), call("madvise", at(20), 2 * PAGE, Advice.DONTFORK), anonymous(22, 2), call("poke", at(22), 1),
        call("madvise", at(22), 2 * PAGE, Advice.DONTFORK),
    ),
    "a hole leaves private copies": (
        file(20, 4, 0, PRIVATE), call("poke", at(20), 5), call("peek", at(21)), call("punch", FD, 0, 4 * PAGE),
        call("peek", at(20)), call("peek", at(21)),
    ),
    "a shorter file takes private copies": (
        file(20, 4, 0, PRIVATE), call("poke", at(22), 5), call("ftruncate", FD, 2 * PAGE), call("peek", at(22)),
        call("load", at(23)),
    ),
    "several mappings move at once": (
        file(20, 2, 0), anonymous(23, 2), call("poke", at(23), 3), move(20, 5, 40), call("peek", at(43)), move(19, 4, 50),
    ),
    "a locked mapping is unlocked when its pages leave": (
        file(20, 4, 0), call("mlock", at(20), 4 * PAGE), move(21, 2, 40, LEAVE),
    ),
    "a locked mapping is counted when all its pages leave": (
        file(20, 4, 0), call("mlock", at(20), 4 * PAGE), move(20, 4, 40, LEAVE), call("munmap", at(40), 4 * PAGE),
    ),
    "unwritten pages leave for a place beside the mapping that had them": (
        anonymous(20, 4), move(22, 2, 24, LEAVE), anonymous(30, 4), move(30, 4, 34, LEAVE),
    ),
    "unwritten pages leave for a place between that mapping and another": (
        anonymous(20, 2), anonymous(30, 2), move(30, 2, 24), move(24, 2, 22, LEAVE),
    ),
    "a sealed mapping stays": (
        call("mseal", at(0), 2 * PAGE), move(0, 2, 20), call("munmap", at(0), PAGE), call("mprotect", at(0), PAGE, Prot.READ),
        call("mmap", at(1), 4 * PAGE, READ_WRITE, ANONYMOUS, -1, 0),
    ),
    "a sealed private mapping keeps its content": (
        anonymous(20, 2), call("poke", at(20), 1), call("mprotect", at(20), 2 * PAGE, Prot.READ),
        call("mseal", at(20), 2 * PAGE), call("madvise", at(20), PAGE, Advice.DONTNEED),
        file(30, 1, 0, PRIVATE), call("poke", at(30), 1), call("mprotect", at(30), PAGE, Prot.READ), call("mseal", at(30), PAGE),
        call("madvise", at(30), PAGE, Advice.DONTNEED), call("peek", at(30)),
    ),
    "a sealed file keeps its size and cannot be written": (
        call("munmap", at(0), 8 * PAGE), call("add_seals", FD, Seal.WRITE | Seal.SHRINK), call("ftruncate", FD, PAGE),
        call("punch", FD, 0, PAGE), file(20, 2, 0), call("mmap", at(20), PAGE, Prot.READ, SHARED, FD, 0),
        call("mprotect", at(20), PAGE, READ_WRITE), call("add_seals", FD, Seal.SEAL), call("add_seals", FD, Seal.GROW),
    ),
    "the destination is gone if the move fails late": (
        file(20, 2, 0), file(40, 4, 8), call("mremap", at(20), 4 * PAGE, 3 * PAGE, MOVE, at(40)),
    ),
    "wrong arguments of mremap, one at a time": (
        call("mremap", at(0), 2 * PAGE, 2 * PAGE, MOVE, at(1)),
        call("mremap", at(0), 2 * PAGE, 3 * PAGE, RemapFlag.MAYMOVE | RemapFlag.DONTUNMAP, 0),
        call("mremap", at(30), PAGE, PAGE, MOVE, at(40)),
        call("mremap", at(30), PAGE, PAGE, MOVE, at(30)),
        call("mremap", at(30), PAGE, 2 * PAGE, 0, 0),
        call("mremap", at(0), 9 * PAGE, 10 * PAGE, MOVE, at(40)),
        call("mremap", at(0), PAGE, 0, 0, 0), call("mremap", at(0) + 1, PAGE, PAGE, 0, 0), call("mremap", at(0), PAGE, PAGE, 16, 0),
        call("mremap", at(0), PAGE, PAGE, RemapFlag.FIXED, at(40)), call("mremap", at(0), PAGE, PAGE, MOVE, 1 << 62),
    ),
    "shared memory can be mapped twice, private memory cannot": (
        anonymous(20, 2), call("mremap", at(20), 0, PAGE, MOVE, at(40)), call("mremap", at(2), 0, 2 * PAGE, MOVE, at(40)),
        call("peek", at(40)), call("mremap", at(3), 0, PAGE, RemapFlag.MAYMOVE, 0),
    ),
    "locked pages stay": (
        anonymous(20, 2), call("mlock", at(20), 2 * PAGE), call("madvise", at(20), PAGE, Advice.DONTNEED),
        call("munlock", at(20), PAGE), call("madvise", at(20), 2 * PAGE, Advice.DONTNEED),
    ),
    "what cannot be faulted in is locked all the same": (
        call("mmap", at(20), 2 * PAGE, Prot.NONE, ANONYMOUS, -1, 0), call("mlock", at(20), 2 * PAGE), call("mlock", at(21), 3 * PAGE),
    ),
    "gaps end a change of protection": (
        anonymous(20, 2), anonymous(23, 2), call("mprotect", at(20), 5 * PAGE, Prot.READ), call("mprotect", at(22), PAGE, Prot.READ),
    ),
    "holes are made through shared mappings only": (
        file(20, 2, 0, PRIVATE), call("madvise", at(20), PAGE, Advice.REMOVE), call("madvise", at(0), PAGE, Advice.REMOVE),
        anonymous(30, 1), call("madvise", at(30), PAGE, Advice.REMOVE), call("peek", at(0)),
    ),
    "a read maps the cached pages around it": (
        call("madvise", at(0), 8 * PAGE, Advice.DONTNEED), call("peek", at(2)), call("peek", at(6)),
    ),
    "reading private memory makes no page of its own": (
        file(20, 2, 0, PRIVATE), call("peek", at(20)), call("poke", at(0), 9), call("peek", at(20)),
    ),
    "parts are registered, and join what is beside them": (
        file(20, 8, 0), register(23, 1, RegisterMode.MISSING), register(22, 1, RegisterMode.MISSING),
        register(20, 4, RegisterMode.MISSING), unregister(23, 1), unregister(21, 1), unregister(20, 4),
    ),
    "a mapping may move to where nothing is": (
        anonymous(20, 2), call("poke", at(20), 4), call("mremap", at(20), 2 * PAGE, 2 * PAGE, RemapFlag.MAYMOVE | RemapFlag.DONTUNMAP, 0),
        anonymous(22, 1), file(25, 1, 0), call("mremap", at(22), PAGE, 4 * PAGE, RemapFlag.MAYMOVE, 0),
    ),
    "a file that must not shrink": (call("add_seals", FD, Seal.SHRINK), call("ftruncate", FD, PAGE), call("ftruncate", FD, 20 * PAGE)),
}  # fmt: skip

SPECIAL_CASES: dict[str, tuple[Call, ...]] = {
    "a perf ring exists once": (
        call("map_ring"), call("mremap", ground.RING, 2 * PAGE, 2 * PAGE, LEAVE, ground.RING + 8 * PAGE),
        call("mremap", ground.RING, 2 * PAGE, 4 * PAGE, RemapFlag.MAYMOVE, 0),
        call("madvise", ground.RING, 2 * PAGE, Advice.DODUMP),
    ),
    "vvar exists once": (
        call("remap_vvar", RemapFlag.MAYMOVE | RemapFlag.DONTUNMAP, 0), call("remap_vvar", RemapFlag.MAYMOVE, PAGE),
    ),
}  # fmt: skip

_BOTH = RegisterMode.MISSING | RegisterMode.MINOR

REGISTERED_CASES: dict[str, tuple[Call, ...]] = {
    "the old range stays registered and the new one is not": (
        register(0, 8, RegisterMode.MISSING), move(0, 8, 20, LEAVE), call("peek", at(5)), call("peek", at(25)),
    ),
    "a page in the cache is mapped without a copy": (
        call("madvise", at(0), 8 * PAGE, Advice.DONTNEED), register(0, 8, _BOTH), call("peek", at(1)),
        call("uffd_continue", UFFD, at(0), 3 * PAGE, 0), call("peek", at(1)), call("uffd_continue", UFFD, at(2), 2 * PAGE, 0),
        call("uffd_continue", UFFD, at(6), PAGE, 0), call("uffd_copy", UFFD, at(6), [77], 0), call("peek", at(6)),
    ),
    "a hole under a minor registration reads as zeros": (
        register(0, 8, RegisterMode.MINOR), call("peek", at(6)), call("load", at(7)),
    ),
    "a missing page raises SIGBUS": (register(0, 8, RegisterMode.MISSING), call("store", at(6), 1)),
    "a range belongs to one descriptor": (
        register(0, 4, RegisterMode.MISSING), register(2, 4, RegisterMode.MISSING, OTHER),
        call("uffd_unregister", OTHER, at(0), 4 * PAGE), register(0, 4, RegisterMode.WP), register(0, 4, _BOTH),
    ),
    "registering takes a userfaultfd": (
        call("uffd_register", 99, at(0), PAGE, 0), call("uffd_unregister", 99, at(0), PAGE),
        call("uffd_register", FD, at(0), PAGE, 0), call("uffd_unregister", FD, at(0), PAGE),
    ),
    "minor faults are for shared memory": (
        anonymous(20, 2), register(20, 2, RegisterMode.MINOR), register(20, 2, RegisterMode.MISSING),
        call("uffd_zeropage", UFFD, at(20), PAGE, 0), call("uffd_copy", UFFD, at(20), [1, 2], 0),
        call("uffd_continue", UFFD, at(21), PAGE, 0), call("peek", at(20)),
    ),
    "a hole is not the business of minor faults": (
        register(0, 8, RegisterMode.MINOR), call("uffd_continue", UFFD, at(5), PAGE, 0), call("uffd_continue", UFFD, at(20), PAGE, 0),
        call("poke", at(5), 3), call("madvise", at(5), PAGE, Advice.DONTNEED), call("peek", at(5)),
    ),
    "what is registered moves alone": (
        register(2, 2, RegisterMode.MISSING), move(0, 4, 40), move(2, 2, 50, LEAVE),
    ),
    "a registration without write protection follows one with it": (
        anonymous(20, 4), register(22, 2, RegisterMode.MISSING | RegisterMode.WP), register(20, 4, RegisterMode.MISSING),
        unregister(20, 4), register(20, 4, RegisterMode.MISSING),
    ),
    "registered pages move to where they continue what is registered": (
        anonymous(20, 2), register(20, 2, RegisterMode.MISSING), anonymous(30, 1), register(30, 1, RegisterMode.MISSING),
        move(30, 1, 22),
    ),
    "a refused write counts as one for merging": (
        anonymous(20, 2), register(20, 2, RegisterMode.MISSING), call("poke", at(20), 1), move(21, 1, 22),
        file(30, 2, 0, PRIVATE), call("ftruncate", FD, PAGE), call("poke", at(31), 1), move(31, 1, 32),
    ),
    "pages beyond the file cannot be filled": (
        file(20, 4, 2), call("ftruncate", FD, 4 * PAGE), register(20, 4, _BOTH), call("uffd_copy", UFFD, at(21), [1, 2], 0),
        call("uffd_copy", UFFD, at(22), [1], 0), call("uffd_zeropage", UFFD, at(22), PAGE, 0),
        call("uffd_continue", UFFD, at(22), PAGE, 0),
    ),
}  # fmt: skip
