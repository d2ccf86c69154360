"""The model by itself: no native code, sensible versions, numbers that agree with the bindings."""

import errno
import subprocess
import sys

import pytest

from harness.process import run_program
from subduct.kernel import Advice, Feature, MapFlag, Prot, RegisterMode, RemapFlag, Seal
from subduct.model import (
    NEWEST,
    OLDEST,
    Access,
    AddressSpace,
    RefusedCall,
    Version,
    uapi,
)
from subduct.model.uapi import PAGE


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("5.10", (5, 10)),
        ("6.12.38-amd64", (6, 12)),
        ("v5.13-rc2", (5, 13)),
        ("6.18.44-fc-v769", (6, 18)),
        ("5.7", (5, 7)),
    ],
)
def test_versions_are_read_from_release_names(text: str, version: tuple[int, int]) -> None:
    assert Version.parse(text) == version
    assert Version.parse(str(Version.parse(text))) == version


@pytest.mark.parametrize("text", ["", "6", "six.one", "6.", "-6.1", "2025.1"])
def test_what_is_no_version(text: str) -> None:
    with pytest.raises(ValueError, match="not a kernel version"):
        Version.parse(text)


def test_versions_are_in_order() -> None:
    assert OLDEST < Version(5, 10) < Version(5, 13) < Version(6, 1) < NEWEST


def test_the_model_needs_no_native_code() -> None:
    done = run_program(
        """
        import sys
        sys.modules["subduct._native"] = None
        from subduct.model import AddressSpace, MapFlag, Prot
        space = AddressSpace("5.10")
        print(hex(space.mmap(1 << 40, 4096, Prot.READ, MapFlag.PRIVATE | MapFlag.ANONYMOUS)))
        assert "subduct.kernel" not in sys.modules
        try:
            from subduct import Heap
        except ImportError as error:
            assert "_native" in str(error)
        """
    )
    assert (done.stdout, done.stderr) == (f"{1 << 40:#x}\n", "")


def test_its_numbers_are_those_of_the_bindings() -> None:
    for name, theirs in (
        ("Advice", Advice),
        ("Feature", Feature),
        ("MapFlag", MapFlag),
        ("Prot", Prot),
        ("RegisterMode", RegisterMode),
        ("RemapFlag", RemapFlag),
        ("Seal", Seal),
    ):
        ours = getattr(uapi, name)
        assert {member.name: int(member) for member in ours}
        assert [member.name for member in ours if int(theirs[member.name]) != int(member)] == []


def test_versions_that_nobody_modelled() -> None:
    for version in ("5.6", "4.19", Version(2, 6)):
        with pytest.raises(ValueError, match=r"came with Linux 5\.7; nothing older is modelled"):
            AddressSpace(version)
    assert AddressSpace("5.7").version == OLDEST
    assert AddressSpace("6.12.3").version == Version(6, 12)
    assert AddressSpace("9.9").version == AddressSpace().version == NEWEST


def test_descriptors_are_chosen_once_and_known() -> None:
    space, fd, view = space_with_file()
    space.userfaultfd(4)
    for choose in (space.memfd_create, space.userfaultfd):
        for number in (fd, 4, -1):
            with pytest.raises(ValueError, match="cannot be chosen as a descriptor"):
                choose(number)
    for number, error in ((99, errno.EBADF), (-1, errno.EBADF), (fd, errno.ENOTTY)):
        with pytest.raises(RefusedCall) as raised:
            space.uffd_register(number, view, PAGE, RegisterMode.MISSING)
        assert raised.value.errno == error
        with pytest.raises(RefusedCall) as raised:
            space.uffd_unregister(number, view, PAGE)
        assert raised.value.errno == error


@pytest.mark.parametrize(("version", "error"), [("6.18", None), ("7.2", None), ("7.3", errno.EBUSY)])
def test_registering_again_without_write_protection(version: str, error: int | None) -> None:
    space = AddressSpace(version)
    view = space.mmap(0, 4 * PAGE, Prot.READ | Prot.WRITE, MapFlag.PRIVATE | MapFlag.ANONYMOUS)
    space.userfaultfd(4)
    space.uffd_register(4, view + PAGE, PAGE, RegisterMode.MISSING | RegisterMode.WP)
    if error is None:
        assert space.uffd_register(4, view, 4 * PAGE, RegisterMode.MISSING)
    else:
        with pytest.raises(RefusedCall) as raised:
            space.uffd_register(4, view, 4 * PAGE, RegisterMode.MISSING)
        assert (raised.value.errno, raised.value.rule.id) == (error, "uffd.register-keeps-wp")
        space.uffd_unregister(4, view, 4 * PAGE)
        assert space.uffd_register(4, view, 4 * PAGE, RegisterMode.MISSING)


@pytest.mark.parametrize(("version", "error"), [("7.0", errno.EINVAL), ("7.1", errno.EFAULT)])
def test_pages_beyond_the_file_cannot_be_continued(version: str, error: int) -> None:
    space = AddressSpace(version)
    fd = space.memfd_create(3)
    space.ftruncate(fd, PAGE)
    view = space.mmap(0, 2 * PAGE, Prot.READ | Prot.WRITE, MapFlag.SHARED, fd)
    space.userfaultfd(4)
    space.uffd_register(4, view, 2 * PAGE, RegisterMode.MINOR)
    with pytest.raises(RefusedCall) as raised:
        space.uffd_continue(view + PAGE, PAGE)
    assert raised.value.errno == error


@pytest.mark.parametrize(("version", "shared"), [("7.0", errno.EFAULT), ("7.1", errno.ENOMEM)])
def test_pages_beyond_the_file_cannot_be_filled(version: str, shared: int) -> None:
    for kind, error in ((MapFlag.SHARED, shared), (MapFlag.PRIVATE, errno.EFAULT)):
        space = AddressSpace(version)
        fd = space.memfd_create(3)
        space.ftruncate(fd, PAGE)
        view = space.mmap(0, 2 * PAGE, Prot.READ | Prot.WRITE, kind, fd)
        space.userfaultfd(4)
        space.uffd_register(4, view, 2 * PAGE, RegisterMode.MISSING)
        with pytest.raises(RefusedCall) as copied:
            space.uffd_copy(view + PAGE, [1])
        with pytest.raises(RefusedCall) as zeroed:
            space.uffd_zeropage(view + PAGE, PAGE)
        assert copied.value.errno == zeroed.value.errno == error


def space_with_file() -> tuple[AddressSpace, int, int]:
    """An address space of the newest version, a memfd of four pages in it, and where that is mapped."""
    space = AddressSpace()
    fd = space.memfd_create(3)
    space.ftruncate(fd, 4 * PAGE)
    return space, fd, space.mmap(0, 4 * PAGE, Prot.READ | Prot.WRITE, MapFlag.SHARED, fd)


def test_a_mapping_goes_where_there_is_room() -> None:
    space, fd, first = space_with_file()
    second = space.mmap(0, PAGE, Prot.READ, MapFlag.SHARED, fd, 0)
    assert second == first - PAGE
    assert space.mmap(first + 1, PAGE, Prot.READ, MapFlag.SHARED, fd, 0) < second


def test_accesses_end_as_in_the_kernel() -> None:
    space, fd, view = space_with_file()
    assert space.write(view, 5) is Access.OK
    assert space.read(view) == 5
    assert space.read(view + 4 * PAGE) is Access.SEGV
    space.mprotect(view, PAGE, Prot.READ)
    assert space.write(view, 6) is Access.SEGV
    space.ftruncate(fd, 2 * PAGE)
    assert space.touch(view + 2 * PAGE) is Access.BUS
    assert space.read(view) == 5


def test_faults_of_a_registered_range() -> None:
    space, fd, view = space_with_file()
    other = space.mmap(0, 4 * PAGE, Prot.READ | Prot.WRITE, MapFlag.SHARED, fd)
    uffd = space.userfaultfd(4)
    space.uffd_register(uffd, view, 4 * PAGE, RegisterMode.MISSING | RegisterMode.MINOR)
    space.write(other, 9)
    assert space.read(view) is Access.BUS
    assert space.uffd_continue(view, PAGE) == PAGE
    assert space.read(view) == 9
    with pytest.raises(RefusedCall) as raised:
        space.uffd_continue(view + PAGE, PAGE)
    assert raised.value.errno == errno.EFAULT
    assert "page cache" in str(raised.value)
    assert space.uffd_copy(view + PAGE, [1, 2]) == 2 * PAGE
    assert space.read(other + 2 * PAGE) == 2


@pytest.mark.parametrize("version", ["5.13", "5.14"])
def test_minor_faults_on_shared_memory_came_in_5_14(version: str) -> None:
    space = AddressSpace(version)
    view = space.mmap(0, PAGE, Prot.READ | Prot.WRITE, MapFlag.SHARED | MapFlag.ANONYMOUS)
    space.userfaultfd(4)
    if version == "5.14":
        assert space.uffd_register(4, view, PAGE, RegisterMode.MINOR)
        return
    with pytest.raises(RefusedCall) as raised:
        space.uffd_register(4, view, PAGE, RegisterMode.MINOR)
    assert raised.value.rule.id == "uffd.minor-shmem"


@pytest.mark.parametrize(("version", "pages"), [("6.3", [2, 1, 1]), ("6.4", [2, 2])])
def test_what_is_registered_inside_a_mapping_joins_what_is_behind_it_since_6_4(version: str, pages: list[int]) -> None:
    space = AddressSpace(version)
    view = space.mmap(0, 4 * PAGE, Prot.READ | Prot.WRITE, MapFlag.SHARED | MapFlag.ANONYMOUS)
    space.userfaultfd(4)
    space.uffd_register(4, view + 3 * PAGE, PAGE, RegisterMode.MISSING)
    space.uffd_register(4, view + 2 * PAGE, PAGE, RegisterMode.MISSING)
    assert [mapping.pages for mapping in space.mappings] == pages


def test_the_example_of_the_package() -> None:
    import subduct.model

    assert subduct.model.__doc__ is not None
    source = "\n".join(
        line for line in subduct.model.__doc__.splitlines() if line.startswith("    ") or not line.strip()
    )
    done = run_program(source)
    assert done.stderr == ""
    assert done.stdout.startswith(f"{errno.EINVAL} mremap.dontunmap-shared ")


def test_the_comparison_imports_hypothesis_only_when_it_runs() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "import sys, subduct.model.differential.__main__; print('hypothesis' in sys.modules)"],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout == "False\n"
