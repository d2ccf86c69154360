"""The side of a comparison that asks the model."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Any

from subduct.model.differential import ground
from subduct.model.differential.call import FileView, Line, Result, Seen, View
from subduct.model.fault import Access
from subduct.model.file import File
from subduct.model.mapping import Mapping, VmFlag
from subduct.model.rules import RefusedCall
from subduct.model.space import AddressSpace
from subduct.model.uapi import PAGE, Feature, Prot, RegisterMode

if TYPE_CHECKING:
    from subduct.model.differential.call import Call
    from subduct.model.rules import RuleBook
    from subduct.model.state import Limits

_FLAGS = (
    ("lo", VmFlag.LOCKED),
    ("de", VmFlag.DONTEXPAND),
    ("dc", VmFlag.DONTCOPY),
    ("dd", VmFlag.DONTDUMP),
    ("ac", VmFlag.ACCOUNT),
    ("rr", VmFlag.RANDOM),
    ("sr", VmFlag.SEQUENTIAL),
)
_MODES = (("um", RegisterMode.MISSING), ("uw", RegisterMode.WP), ("ui", RegisterMode.MINOR))
# Where the model has what the kernel maps somewhere near the stack.
_VVAR = 0x7FFE_0000_0000
_SIGNALS = {Access.SEGV: signal.SIGSEGV, Access.BUS: signal.SIGBUS}


class ModelSide:
    """Makes the same calls in an address space of the model."""

    def __init__(self, book: RuleBook, limits: Limits, *, shows_seals: bool) -> None:
        self.space = AddressSpace(book=book, limits=limits)
        self._shows_seals = shows_seals
        self._files: list[File] = []
        vvar = Mapping(_VVAR, _VVAR + PAGE, Prot.READ, VmFlag.PFNMAP, File("[vvar]"), 0)
        self.space.state.layout.add(vvar)

    def perform(self, call: Call, placed: int | None = None) -> Seen:
        """The result of a call and the view after it. `placed` is where the kernel mapped what it might map anywhere."""
        result = self.answer(call, placed)
        return Seen(result, None if result.kind == "signal" else self.view())

    def answer(self, call: Call, placed: int | None = None) -> Result:
        """The result of a call alone."""
        state = self.space.state
        state.place = state.highest_free if placed is None else lambda _length: placed
        try:
            return Result("value", self._dispatch(call.name, call.arguments))
        except RefusedCall as refused:
            return Result("error", refused.errno)
        except _Signal as ended:
            return Result("signal", ended.number)

    def prepare(self, call: Call) -> None:
        """Makes a call that is known to succeed, without looking. Raises RefusedCall."""
        self._dispatch(call.name, call.arguments)

    def _dispatch(self, name: str, arguments: tuple[Any, ...]) -> int:
        own = getattr(self, f"_{name}", None)
        return int((own or getattr(self.space, name))(*arguments) or 0)

    def _memfd_create(self, fd: int, sealable: int) -> int:
        self.space.memfd_create(fd, f"f{fd}", sealable=bool(sealable))
        self._files.append(self.space.state.files[fd])
        return fd

    def _userfaultfd(self, fd: int) -> int:
        return self.space.userfaultfd(fd, Feature.SIGBUS)

    def _uffd_copy(self, _fd: int, destination: int, values: list[int], mode: int) -> int:
        return self.space.uffd_copy(destination, values, mode)

    def _uffd_zeropage(self, _fd: int, address: int, length: int, mode: int) -> int:
        return self.space.uffd_zeropage(address, length, mode)

    def _uffd_continue(self, _fd: int, address: int, length: int, mode: int) -> int:
        return self.space.uffd_continue(address, length, mode)

    def _peek(self, address: int) -> int:
        return self._in_kernel(self.space.read(address))

    def _poke(self, address: int, value: int) -> int:
        return self._in_kernel(self.space.write(address, value))

    def _load(self, address: int) -> int:
        return _in_user_mode(self.space.read(address))

    def _store(self, address: int, value: int) -> int:
        return _in_user_mode(self.space.write(address, value))

    def _in_kernel(self, outcome: int | Access) -> int:
        if isinstance(outcome, Access) and outcome is not Access.OK:
            raise self.space.state.book.refuse("fault.in-kernel")
        return outcome if isinstance(outcome, int) else 0

    def _map_ring(self) -> int:
        end = ground.RING + ground.RING_PAGES * PAGE
        flags = VmFlag.SHARED | VmFlag.MAYWRITE | VmFlag.DONTEXPAND | VmFlag.DONTCOPY | VmFlag.DONTDUMP
        ring = Mapping(ground.RING, end, Prot.READ | Prot.WRITE, flags, File("anon_inode:[perf_event]"), 0)
        self.space.state.unmap(ground.RING, end)
        self.space.state.layout.add(ring)
        return ground.RING

    def _remap_vvar(self, flags: int, growth: int) -> int:
        return self.space.mremap(_VVAR, PAGE, PAGE + growth, flags)

    def view(self) -> View:
        """What is seen now."""
        state = self.space.state
        present = []
        for address in (*ground.pages(), *ground.LANDMARKS):
            entry = state.table.get(address)
            if entry is not None:
                mapping = state.layout.at(address)
                assert mapping is not None, "what is present is mapped"
                present.append((address, entry.page.value if Prot.READ in mapping.prot else None))
        lines = tuple(self._line(mapping) for mapping in state.layout if ground.inside(mapping.start))
        return View(lines, tuple(present), tuple(map(_file_view, self._files)), state.locked_pages)

    def _line(self, mapping: Mapping) -> Line:
        protection = "".join(
            (
                "r" if Prot.READ in mapping.prot else "-",
                "w" if Prot.WRITE in mapping.prot else "-",
                "-",
                "s" if mapping.shared else "p",
            )
        )
        name = "" if mapping.file is None else mapping.file.name
        if name.startswith("/"):
            name += " (deleted)"
        if "perf_event" in name:
            return Line(mapping.start, mapping.end, protection, name, 0, ())
        offset = 0 if mapping.file is None else mapping.index * PAGE
        return Line(mapping.start, mapping.end, protection, name, offset, tuple(self._flags(mapping)))

    def _flags(self, mapping: Mapping) -> list[str]:
        mode = mapping.registration.mode if mapping.registration else RegisterMode(0)
        access = (("rd", Prot.READ in mapping.prot), ("wr", Prot.WRITE in mapping.prot), ("sh", mapping.shared))
        names = [name for name, has in access if has]
        names += ["mw"] if VmFlag.MAYWRITE in mapping.flags else []
        names += [name for name, flag in _FLAGS if flag in mapping.flags]
        names += [name for name, flag in _MODES if mode & flag]
        return names + (["sl"] if self._shows_seals and VmFlag.SEALED in mapping.flags else [])


class _Signal(Exception):  # noqa: N818
    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def _in_user_mode(outcome: int | Access) -> int:
    if isinstance(outcome, Access) and outcome is not Access.OK:
        raise _Signal(_SIGNALS[outcome])
    return outcome if isinstance(outcome, int) else 0


def _file_view(file: File) -> FileView:
    pages = ((index, page.value) for index, page in sorted(file.pages.items()) if page.filled)
    limit = min(file.page_count, ground.PAGES)
    return FileView(file.size, tuple((index, value) for index, value in pages if index < limit))
