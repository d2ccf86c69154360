"""Wrong rules: what the comparison with the kernel must notice, one by one."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from errno import EACCES, EFAULT, EINVAL, ENOENT
from unittest.mock import patch

from subduct.model import AddressSpace, RegisterMode, memfd, mremap, userfaultfd
from subduct.model.fault import Access
from subduct.model.file import Page
from subduct.model.layout import Layout
from subduct.model.mapping import Mapping, Registration
from subduct.model.rules import RuleBook
from subduct.model.state import State
from subduct.model.table import Entry, Levels, PageTable, Steps


@dataclass(frozen=True)
class Mutation:
    """A model that is wrong in one point: by its rule book, or by its code while `patched` is entered."""

    name: str
    change: Callable[[RuleBook], RuleBook] = lambda book: book
    patched: Callable[[], AbstractContextManager[object]] = nullcontext


def without(rule: str) -> Mutation:
    """The kernel is thought not to have a rule."""
    return Mutation(f"without {rule}", lambda book: book.without(rule))


def having(rule: str) -> Mutation:
    """The kernel is thought to have a rule of other versions."""
    return Mutation(f"having {rule}", lambda book: book.having(rule))


def with_error(rule: str, error: int) -> Mutation:
    """The kernel is thought to refuse with another errno."""
    return Mutation(f"{rule} refuses with {error}", lambda book: book.with_error(rule, error))


def _destination_unmapped_first(book: RuleBook) -> RuleBook:
    steps = [step for step in book.order("mremap.to") if step != "unmap destination"]
    return book.with_order("mremap.to", ("unmap destination", *steps))


def _overlap_checked_last(book: RuleBook) -> RuleBook:
    steps = tuple(step for step in book.order("mremap.entry") if step != "mremap.overlap")
    return book.with_order("mremap.entry", steps).with_order(
        "mremap.to", (*book.order("mremap.to")[:-1], "mremap.overlap", "move")
    )


@contextmanager
def _entries_stay() -> Iterator[None]:
    """A move leaves the old range's entries where they were, too."""
    move = PageTable.move

    def moving(self: PageTable, old: int, new: int, length: int, levels: Levels) -> Steps:
        kept = list(self.entries(old, old + length))
        steps = move(self, old, new, length, levels)
        for address, entry in kept:
            self.set(address, entry)
        return steps

    with patch.object(PageTable, "move", moving):
        yield


@contextmanager
def _old_range_zeroed() -> Iterator[None]:
    """The old range shows zeros after MREMAP_DONTUNMAP, as the manual page has it, also if it is shared."""
    leave = mremap._leave_old

    def leaving(state: State, request: mremap.Request, moved: Mapping) -> None:
        leave(state, request, moved)
        for address in range(request.address, request.end, 4096):
            state.table.set(address, Entry(Page(), cached=True))

    with patch.object(mremap, "_leave_old", leaving):
        yield


@contextmanager
def _modes_add_up() -> Iterator[None]:
    """Registering a range once more adds to the modes that it has."""
    register = userfaultfd.register

    def adding(state: State, fd: int, address: int, length: int, mode: int) -> int:
        present = state.layout.at(address)
        if present is not None and present.registration is not None and 0 < mode < 8:
            mode |= present.registration.mode
        return register(state, fd, address, length, mode)

    with patch.object(userfaultfd, "register", adding):
        yield


@contextmanager
def _punching_takes_copies() -> Iterator[None]:
    """A hole in a file takes the private copies of its pages as well."""
    zap = memfd._zap
    with patch.object(
        memfd, "_zap", lambda state, file, first, end, **_copies: zap(state, file, first, end, copies=True)
    ):
        yield


@contextmanager
def _holes_are_caught_by_minor() -> Iterator[None]:
    """A registration for minor faults catches accesses to holes, too."""
    catches = Mapping.catches

    def catching(self: Mapping, mode: RegisterMode) -> bool:
        return catches(self, mode | RegisterMode.MINOR if mode == RegisterMode.MISSING else mode)

    with patch.object(Mapping, "catches", catching):
        yield


@contextmanager
def _nothing_merges() -> Iterator[None]:
    """Mappings that continue each other stay apart."""
    with patch.object(Layout, "_continues", lambda _self, _left, _right: False):
        yield


@contextmanager
def _reading_prepares_writing() -> Iterator[None]:
    """Reading private memory makes a page of its own at once."""
    touch = AddressSpace.read

    def reading(self: AddressSpace, address: int) -> int | Access:
        self.touch(address, write=True)
        return touch(self, address)

    with patch.object(AddressSpace, "read", reading):
        yield


@contextmanager
def _registration_moves_along() -> Iterator[None]:
    """The registration goes with the pages: the new range has it, the old one does not."""
    leave = mremap._leave_old

    def leaving(state: State, request: mremap.Request, moved: Mapping) -> None:
        leave(state, request, moved)
        old = state.layout.at(request.address)
        assert old is not None
        registration: Registration | None = old.registration
        moved.registration, old.registration = registration, None

    with patch.object(mremap, "_leave_old", leaving):
        yield


MUTATIONS = (
    without("mremap.overlap"),
    without("mremap.dontunmap-resizes"),
    having("mremap.dontunmap-shared"),
    with_error("mremap.unmapped", EINVAL),
    with_error("mremap.crosses-end", EINVAL),
    without("mremap.duplicate-private"),
    without("mremap.dontunmap-dontexpand"),
    without("mremap.dontunmap-pfnmap"),
    with_error("mremap.growth-special", EINVAL),
    with_error("mremap.no-room", EFAULT),
    without("mremap.several-mappings"),
    without("mremap.several-registered"),
    without("mremap.sealed"),
    without("mremap.old-unlocked"),
    having("mremap.unlocks-part"),
    without("mremap.locked-leak"),
    having("mremap.locked-leak"),
    having("mremap.splits-locked"),
    without("mremap.merges-with-source"),
    having("mremap.merges-with-source"),
    having("mremap.account-lost"),
    having("mremap.account-spills"),
    without("mremap.old-stays-registered"),
    without("mremap.new-unregistered"),
    having("mremap.registered-apart"),
    without("mremap.registered-apart"),
    without("mremap.unwritten-reindexed"),
    without("mremap.growth-merges"),
    without("merge.written-into-unwritten"),
    without("munmap.sealed"),
    without("madvise.dontneed-locked"),
    with_error("madvise.remove-private", EINVAL),
    without("mprotect.sealed"),
    with_error("mprotect.unmapped", EACCES),
    without("mlock.not-populated"),
    without("uffd.register-busy"),
    having("uffd.register-keeps-wp"),
    without("uffd.register-keeps-wp"),
    with_error("uffd.descriptor", EINVAL),
    with_error("uffd.other-descriptor", EINVAL),
    without("uffd.minor-anonymous"),
    without("uffd.unregister-foreign"),
    without("uffd.inside-merges-behind"),
    with_error("uffd.continue-hole", ENOENT),
    with_error("uffd.fill-unregistered", EINVAL),
    having("uffd.fill-beyond-shared-file"),
    without("uffd.fill-beyond-shared-file"),
    without("memfd.shrink-sealed"),
    without("fault.around"),
    Mutation("the destination is unmapped before anything is checked", _destination_unmapped_first),
    Mutation("overlap is checked after the mapping is looked up", _overlap_checked_last),
    Mutation("moved entries stay in the old range", patched=_entries_stay),
    Mutation("the old range shows zeros", patched=_old_range_zeroed),
    Mutation("the registration moves along", patched=_registration_moves_along),
    Mutation("modes of registration add up", patched=_modes_add_up),
    Mutation("a hole takes private copies", patched=_punching_takes_copies),
    Mutation("minor registration catches holes", patched=_holes_are_caught_by_minor),
    Mutation("nothing merges", patched=_nothing_merges),
    Mutation("reading makes private pages", patched=_reading_prepares_writing),
)
