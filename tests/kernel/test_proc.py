"""What /proc says, read."""

import os
from pathlib import Path

import pytest

from subduct.kernel import PAGE_SIZE, Mapping, Memfd, Page, Prot, maps, pagemap, smaps
from subduct.kernel._proc import parse_maps, parse_smaps

SMAPS = """\
7f1d42a4c000-7f1d42c4c000 rw-s 00001000 00:01 1031                       /memfd:a name\\012with  more (deleted)
Size:               2048 kB
KernelPageSize:        4 kB
Rss:                   8 kB
Pss:                   4 kB
ProtectionKey:         0
VmFlags: rd wr sh mr mw me ms um ui
7ffc0a1f2000-7ffc0a213000 ---p 00000000 00:00 0 \n\
Rss:                   0 kB
Pss:                   0 kB
VmFlags: mr mw me
ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0                  [vsyscall]
"""


def test_an_smaps_file() -> None:
    first, second, third = parse_smaps(SMAPS)
    assert (first.start, first.end, first.length) == (0x7F1D42A4C000, 0x7F1D42C4C000, 2 << 20)
    assert (first.prot, first.shared) == (Prot.READ | Prot.WRITE, True)
    assert (first.offset, first.device, first.inode) == (4096, "00:01", 1031)
    assert first.path == "/memfd:a name\\012with  more (deleted)"
    assert (first.rss_bytes, first.pss_bytes, first.figures["ProtectionKey"]) == (8192, 4096, 0)
    assert {"um", "ui"} <= first.vm_flags
    assert (second.prot, second.shared, second.path) == (Prot.NONE, False, "")
    assert (third.path, third.prot, third.vm_flags) == ("[vsyscall]", Prot.EXEC, frozenset())


@pytest.mark.parametrize("line", ["nonsense", "1-2 rw-p 0 00:01", "Rss: many kB"])
def test_what_is_no_such_file_is_refused(line: str) -> None:
    with pytest.raises(ValueError, match="not a line"):
        list(parse_maps(line))
    with pytest.raises(ValueError, match="not a line"):
        list(parse_smaps(line))


def test_every_line_of_this_process_is_read() -> None:
    lines = Path("/proc/self/maps").read_text().count("\n")
    entries = maps()
    assert abs(len(entries) - lines) <= 2, "reading may map a buffer"
    assert entries == sorted(entries, key=lambda entry: entry.start)
    assert any(entry.path == "[stack]" for entry in entries)
    assert any("_native" in entry.path and Prot.EXEC in entry.prot for entry in entries)
    assert {entry.start for entry in maps(process=os.getpid())} & {entry.start for entry in entries}
    detailed = smaps()
    assert sum(entry.rss_bytes for entry in detailed) > 0
    assert all("Rss" in entry.figures for entry in detailed if entry.path != "[vsyscall]")


@pytest.mark.parametrize("odd", [b"a\rb", b"a\r", b"\r\xff\x85", b"a\x0b\x0c\x1c b"])
def test_odd_names_of_mapped_files(tmp_path: Path, odd: bytes) -> None:
    name = os.fsencode(tmp_path / os.fsdecode(odd))
    (tmp_path / os.fsdecode(odd)).write_bytes(bytes(PAGE_SIZE))
    file = os.open(name, os.O_RDWR)
    try:
        with Mapping.file(file, PAGE_SIZE) as mapping:
            for found in (maps, smaps):
                (entry,) = found(address=mapping.address, length=mapping.length)
                assert os.fsencode(entry.path) == name
    finally:
        os.close(file)


def test_a_mapping_is_found_by_its_range() -> None:
    with Memfd(2 * PAGE_SIZE, name="found") as file, file.map() as mapping:
        mapping.write(0, b"x")
        for found in (maps, smaps):
            (entry,) = found(address=mapping.address, length=mapping.length)
            assert entry.path.startswith("/memfd:found")
            assert entry.shared
            assert entry.inode == os.fstat(file.fileno()).st_ino
        mapping.protect(Prot.READ)
        assert maps(address=mapping.address, length=1)[0].prot == Prot.READ


def test_a_process_that_is_not_there() -> None:
    with pytest.raises(FileNotFoundError):
        maps(process=2**22 + 1)


def test_pagemap() -> None:
    with Mapping.anonymous(3 * PAGE_SIZE) as mapping:
        mapping.write(PAGE_SIZE, b"x")
        absent, present, _ = pagemap(mapping.address, mapping.length)
        assert present.present
        assert present.exclusive
        assert not present.file_or_shared
        assert not present.swapped
        assert not absent.present
        assert (absent.entry, absent.frame) == (0, 0)
        assert (present.frame != 0) is (os.geteuid() == 0)
        for address, length in (
            (mapping.address + 1, PAGE_SIZE),
            (mapping.address, 0),
            (2**64 - PAGE_SIZE, 2 * PAGE_SIZE),
        ):
            with pytest.raises(ValueError):
                pagemap(address, length)


def test_the_bits_of_a_page() -> None:
    assert Page(1 << 63 | 5).frame == 5
    assert Page(1 << 62 | 5).frame == 0
    bits = {62: "swapped", 61: "file_or_shared", 58: "guard", 57: "write_protected", 56: "exclusive", 55: "soft_dirty"}
    for bit, name in bits.items():
        page = Page(1 << bit)
        assert [other for other in bits.values() if getattr(page, other)] == [name]
