"""Packed files: known by their content, read as what they hold, and refused in words when they are damaged."""

import bz2
import gzip
import io
import json
import lzma
import os
import re
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from random import Random

import pytest

from harness.data_files import zstd
from harness.process import Footprint
from subduct.load import LoadError, open_source

# More than fits into any buffer, and hard to pack.
RECORDS = [{"n": number, "text": Random(number).randbytes(40).hex()} for number in range(5_000)]
LINES = "".join(json.dumps(record) + "\n" for record in RECORDS).encode()

PACK: dict[str, Callable[[bytes], bytes]] = {"gzip": gzip.compress, "zstd": zstd.compress}


def write(folder: Path, name: str, content: bytes) -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


def refusal(path: Path) -> str:
    with pytest.raises(LoadError) as caught, open_source(path) as source:
        list(source.documents())
    message = str(caught.value)
    assert message.startswith(f"{path}: "), "the file is not named"
    assert "\n" not in message
    return message.removeprefix(f"{path}: ")


@pytest.mark.parametrize("packed", PACK)
@pytest.mark.parametrize("name", ["data.ndjson", "data.json", "data.ndjson.gz", "data.zst", "data"])
def test_packed_data_are_read_whatever_the_name(tmp_path: Path, packed: str, name: str) -> None:
    with open_source(write(tmp_path, name, PACK[packed](LINES))) as source:
        assert source.notes == [f"{packed} data, unpacked into a temporary file in {tempfile.gettempdir()}"]
        assert list(source.documents()) == RECORDS
        assert source.bytes_read == len(LINES)
        for number in (4_999, 0, 2_500):
            assert source.rebuild(number) == RECORDS[number]


@pytest.mark.parametrize("packed", PACK)
def test_data_in_several_pieces(tmp_path: Path, packed: str) -> None:
    """As `cat a.gz b.gz` makes them, and programs that pack in parallel."""
    half = LINES.index(b"\n", len(LINES) // 2) + 1
    pieces = PACK[packed](LINES[:half]) + PACK[packed](LINES[half:])
    if packed == "zstd":
        pieces = b"\x5a\x2a\x4d\x18\x03\x00\x00\x00abc" + pieces
    with open_source(write(tmp_path, "data", pieces)) as source:
        assert list(source.documents()) == RECORDS


def test_zstd_data_with_a_long_window(tmp_path: Path) -> None:
    """As `zstd --long=28` makes them of what comes through a pipe: the library's own limit is 27. One raw block."""
    frame = b"\x28\xb5\x2f\xfd" + bytes([0, (28 - 10) << 3]) + bytes([4 << 3 | 1, 0, 0]) + b"[1]\n"
    with open_source(write(tmp_path, "data.json.zst", frame)) as source:
        assert list(source.documents()) == [1]


@pytest.mark.parametrize("packed", PACK)
def test_documents_can_be_made_again_while_others_are_read(tmp_path: Path, packed: str) -> None:
    with open_source(write(tmp_path, "data", PACK[packed](LINES))) as source:
        for number, document in enumerate(islice(source.documents(), 3_000)):
            if number % 100 == 0:
                assert source.rebuild(number // 2) == RECORDS[number // 2]
            assert source.rebuild(number) == document


@pytest.mark.parametrize("packed", PACK)
def test_a_packed_file_that_changed_is_noticed(tmp_path: Path, packed: str) -> None:
    path = write(tmp_path, "data", PACK[packed](LINES))
    with open_source(path) as source:
        list(source.documents())
        write(tmp_path, "data", PACK[packed](LINES + b"1\n"))
        with pytest.raises(LoadError, match="changed on disk"):
            source.rebuild(0)


@pytest.mark.parametrize("packed", PACK)
def test_nothing_is_left_open(tmp_path: Path, packed: str) -> None:
    path = write(tmp_path, "data", PACK[packed](LINES))
    before = Footprint.now().descriptors
    with open_source(path) as source:
        list(source.documents())
    write(tmp_path, "data", PACK[packed](b"no documents"))
    with pytest.raises(LoadError, match="unknown kind of file"):
        open_source(path)
    assert Footprint.now().descriptors == before


@pytest.mark.parametrize("packed", PACK)
@pytest.mark.parametrize("share", [0.0, 0.5, 0.999])
def test_data_that_were_cut_off(tmp_path: Path, packed: str, share: float) -> None:
    data = PACK[packed](LINES)
    cut = data[: max(5, int(len(data) * share))]
    pattern = rf"the {packed} data end too early: the file was cut off; ([\d,]+) bytes could be unpacked"
    said = re.fullmatch(pattern, refusal(write(tmp_path, "data.ndjson", cut)))
    assert said
    assert (said[1] == "0") is (share == 0)


def test_a_short_file_that_was_cut_off_says_how_much_it_had(tmp_path: Path) -> None:
    path = write(tmp_path, "data.json.gz", gzip.compress(b'[{"a": 1}]')[:-3])
    assert refusal(path) == "the gzip data end too early: the file was cut off; 10 bytes could be unpacked"


@pytest.mark.parametrize("place", [0.2, 0.5, 0.9])
@pytest.mark.parametrize("packed", PACK)
def test_damaged_data(tmp_path: Path, packed: str, place: float) -> None:
    """Not what the damage made of the text, but that there is damage."""
    options = {zstd.CompressionParameter.checksum_flag: 1}
    data = bytearray(gzip.compress(LINES) if packed == "gzip" else zstd.compress(LINES, options=options))
    data[int(len(data) * place)] ^= 0x10
    message = refusal(write(tmp_path, "data.ndjson", bytes(data)))
    assert re.match(
        rf"the {packed} data are damaged after [\d,]+ unpacked bytes: \w|the {packed} data end too early", message
    )


@pytest.mark.parametrize("packed", PACK)
def test_what_follows_packed_data(tmp_path: Path, packed: str) -> None:
    for content in (LINES, LINES[:-1], b"[1]\n"):
        message = refusal(write(tmp_path, "my data", PACK[packed](content) + b"and more"))
        assert message == (
            f"behind the {packed} data, {len(content):,} bytes unpacked, comes something else; "
            f"leave it away by: {packed} -dc 'my data' > NEW"
        )


def test_zstd_without_its_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd", None)
    message = refusal(write(tmp_path, "my data.zst", zstd.compress(LINES)))
    assert message.startswith("zstd data, which this Python has no module for; ")
    assert message.endswith("unpack it first: zstd -d 'my data.zst'")
    assert ("pip install 'subduct[zstd]'" in message) == (sys.version_info < (3, 14))
    with open_source(write(tmp_path, "data.gz", gzip.compress(LINES))) as source:
        assert len(list(source.documents())) == len(RECORDS)


def test_no_room_to_unpack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path, "data", gzip.compress(LINES))
    full = Path("/dev/full")
    monkeypatch.setattr(tempfile, "TemporaryFile", lambda **_: full.open("r+b", buffering=0))
    message = refusal(path)
    assert message.startswith(f"no room to unpack it in {tempfile.gettempdir()}: No space left on device; ")
    assert "TMPDIR" in message


def test_no_folder_to_unpack_into(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "missing"))
    message = refusal(write(tmp_path, "data", gzip.compress(LINES)))
    assert message == "no temporary file to unpack it into: No such file or directory; name a folder in TMPDIR"


def archive(kind: str) -> bytes:
    file = io.BytesIO()
    if kind == "zip":
        with zipfile.ZipFile(file, "w") as packed:
            packed.writestr("data.json", "[1]")
    else:
        with tarfile.open(fileobj=file, mode="w") as packed:
            packed.addfile(tarfile.TarInfo("data.json"))
    return file.getvalue()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (gzip.compress(gzip.compress(LINES)), "gzip data in gzip data; unpack the file once"),
        (gzip.compress(zstd.compress(LINES)), "zstd data in gzip data; unpack the file once"),
        (bz2.compress(LINES), "bzip2 data, which is not read here; unpack it first: bunzip2 'my data'"),
        (lzma.compress(LINES), "xz data, which is not read here; unpack it first: unxz 'my data'"),
        (archive("zip"), "a zip archive, which is not read here; unpack it first: unzip 'my data'"),
        (archive("tar"), "a tar archive; unpack it first, and load one of its files: tar -xf 'my data'"),
        (gzip.compress(archive("tar")), "a tar archive in gzip data; unpack it first, and load one of its files"),
        ("[1]".encode("utf-16"), "UTF-16 text; convert text by: iconv -f UTF-16 -t UTF-8 'my data' > NEW"),
        (bytes(100_000), "no text: most of its first bytes are zero"),
        (bytes(1), "no text: most of its first bytes are zero"),
        (gzip.compress(bytes(600)), "no text in gzip data: most of its first bytes are zero"),
        ("[1]".encode("utf-16-be"), "every other byte is zero, as in UTF-16 text; convert text by: iconv"),
    ],
    # By what is said: packed data hold the time, and tests in two processes must have the same names.
    ids=lambda part: part if isinstance(part, str) else "data",
)
def test_what_is_not_read_is_named_with_the_remedy(tmp_path: Path, content: bytes, message: str) -> None:
    assert refusal(write(tmp_path, "my data", content)).startswith(message)


def test_a_folder_that_cannot_be_searched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(*_: object, **__: object) -> os.stat_result:
        raise PermissionError(13, "Permission denied")

    path = write(tmp_path, "data.json", b"[1]")
    monkeypatch.setattr(Path, "stat", denied)
    assert refusal(path) == "Permission denied"
