"""Every call of the native module below which the interpreter may end a thread has its stand-in (crates/python/src/calls.rs)."""

import re
import struct
import sys
from pathlib import Path

import pytest

from subduct import _native

# What runs no Python code, collects no garbage, drops no object and, called as it is here, raises nothing.
QUIET = {
    "PyBuffer_IsContiguous",
    "PyBytes_FromStringAndSize",
    "PyCapsule_GetName",
    "PyCapsule_GetPointer",
    "PyCapsule_New",
    "PyDict_Next",
    "PyErr_ExceptionMatches",
    "PyErr_Fetch",
    "PyErr_GetRaisedException",
    "PyErr_GivenExceptionMatches",
    "PyErr_Occurred",
    "PyEval_GetBuiltins",
    "PyEval_SaveThread",
    "PyException_GetTraceback",
    "PyFloat_FromDouble",
    "PyIndex_Check",
    "PyInterpreterState_Get",
    "PyInterpreterState_Main",
    "PyList_Append",
    "PyList_GetItem",
    "PyList_GetItemRef",
    "PyLong_FromLong",
    "PyLong_FromLongLong",
    "PyLong_FromSsize_t",
    "PyLong_FromUnsignedLongLong",
    "PyModuleDef_Init",
    "PyObject_GC_UnTrack",
    "PySequence_Check",
    "PySlice_AdjustIndices",
    "PyThreadState_Get",
    "PyTuple_GetItem",
    "PyType_IsSubtype",
    "PyUnicode_EqualToUTF8AndSize",
    "PyUnicode_InternInPlace",
    "Py_AddPendingCall",
    "Py_AtExit",
    "Py_IsFinalizing",
    "Py_IsInitialized",
}
# PyO3 has stand-ins of its own for these.
STOPPED_BY_PYO3 = {"PyEval_RestoreThread", "PyGILState_Ensure"}

SECTION_DYNAMIC_SYMBOLS = 11


def dynamic_symbols(path: Path) -> tuple[set[str], set[str]]:
    """Return the names that a 64-bit little-endian ELF library takes from others, and those it defines."""
    data = path.read_bytes()
    assert data[:6] == b"\x7fELF\x02\x01"
    (sections,) = struct.unpack_from("<Q", data, 0x28)
    size, count = struct.unpack_from("<HH", data, 0x3A)
    headers = [struct.unpack_from("<IIQQQQIIQQ", data, sections + i * size) for i in range(count)]
    (table,) = [header for header in headers if header[1] == SECTION_DYNAMIC_SYMBOLS]
    texts = headers[table[6]][4]
    undefined: set[str] = set()
    defined: set[str] = set()
    for place in range(table[4], table[4] + table[5], table[9]):
        name, _, _, section = struct.unpack_from("<IBBH", data, place)
        start = texts + name
        text = data[start : data.index(b"\0", start)].decode()
        (defined if section else undefined).add(text)
    return undefined, defined


@pytest.mark.skipif(sys.version_info >= (3, 14), reason="this CPython unwinds no thread")
def test_no_call_is_forgotten() -> None:
    assert _native.__file__ is not None
    undefined, defined = dynamic_symbols(Path(_native.__file__))
    functions = {
        name for name in undefined if re.match(r"_?Py", name) and not re.search(r"^PyExc_|_Type$|Struct$", name)
    }
    stopped = {name.removeprefix("__wrap_") for name in defined if name.startswith("__wrap_")}
    assert "PyObject_GetIter" in functions & stopped
    assert functions - stopped - STOPPED_BY_PYO3 <= QUIET
    assert not stopped & (QUIET | STOPPED_BY_PYO3)
