//! The calls into CPython that PyO3 has no safe form for.

use std::ffi::CStr;
use std::mem::MaybeUninit;

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::sync::critical_section::with_critical_section;
use pyo3::types::{PyBytes, PyCFunction, PyDict, PyInt, PyList, PySlice, PyTuple};

/// Reads up to `most` entries of a dict into `keys` and `values`, from `position` on, which starts at 0 and is moved along. Safe if
/// the dict changes between two calls; what is read then may miss entries or have some twice.
pub fn read_dict<'py>(
    dict: &Bound<'py, PyDict>,
    position: &mut isize,
    most: usize,
    keys: &mut Vec<Bound<'py, PyAny>>,
    values: &mut Vec<Bound<'py, PyAny>>,
) {
    let py = dict.py();
    with_critical_section(dict, || {
        for _ in 0..most {
            let mut key = std::ptr::null_mut();
            let mut value = std::ptr::null_mut();
            // SAFETY: `dict` is a dict and we are attached; the three out pointers are valid. Any `position` is checked against
            // the dict's bounds.
            if unsafe { ffi::PyDict_Next(dict.as_ptr(), position, &raw mut key, &raw mut value) } == 0 {
                return;
            }
            // SAFETY: PyDict_Next found an entry, so both are objects that the dict keeps alive; nothing ran since that could
            // have removed them: we hold the GIL, or the dict's lock.
            let (key, value) =
                unsafe { (Borrowed::from_ptr(py, key).to_owned(), Borrowed::from_ptr(py, value).to_owned()) };
            keys.push(key);
            values.push(value);
        }
    });
}

/// Start, stop and step of a slice, as far as an isize goes.
///
/// # Errors
/// TypeError for what is no int, ValueError for a step of 0, what an `__index__` raises.
pub fn unpack_slice(slice: &Bound<'_, PySlice>) -> PyResult<(isize, isize, isize)> {
    let (mut start, mut stop, mut step) = (0, 0, 0);
    // SAFETY: `slice` is a slice and we are attached; the three out pointers are valid.
    if unsafe { ffi::PySlice_Unpack(slice.as_ptr(), &raw mut start, &raw mut stop, &raw mut step) } == -1 {
        return Err(PyErr::fetch(slice.py()));
    }
    Ok((start, stop, step))
}

/// How many references to an object there are. Of use only where few enough mean that nobody else can have one.
pub fn reference_count(object: &Bound<'_, PyAny>) -> isize {
    // SAFETY: `object` is alive and we are attached.
    unsafe { ffi::Py_REFCNT(object.as_ptr()) }
}

/// The int's value, if it fits 64 bits.
pub fn small_int(int: &Bound<'_, PyInt>) -> Option<i64> {
    let mut overflow = 0;
    // SAFETY: `int` is an int and we are attached. For an int the call cannot fail but for overflow, which it reports without an
    // exception.
    let value = unsafe { ffi::PyLong_AsLongLongAndOverflow(int.as_ptr(), &raw mut overflow) };
    (overflow == 0).then_some(value)
}

/// The int that a value is, or that its `__index__` gives.
///
/// # Errors
/// TypeError for what is neither, what `__index__` raises.
pub fn index<'py>(value: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyInt>> {
    // SAFETY: `value` is alive and we are attached; the call returns a new reference to an int, or null with an exception set.
    let int = unsafe { Bound::from_owned_ptr_or_err(value.py(), ffi::PyNumber_Index(value.as_ptr()))? };
    Ok(int.cast_into::<PyInt>()?)
}

/// Whether a value's type has `__index__`.
pub fn has_index(value: &Bound<'_, PyAny>) -> bool {
    // SAFETY: `value` is alive and we are attached.
    unsafe { ffi::PyIndex_Check(value.as_ptr()) != 0 }
}

/// The name of a value's type as CPython's messages have it: `Fraction` of a class written in Python, `array.array` of most others,
/// and no more than 200 bytes of it.
pub fn type_name(value: &Bound<'_, PyAny>) -> String {
    const SHOWN_BYTES: usize = 200;
    // SAFETY: a ready type has a name that ends with a NUL. It lives until the type is renamed, for which a thread has to be attached;
    // nothing runs here before it is copied.
    let name = unsafe { CStr::from_ptr((*ffi::Py_TYPE(value.as_ptr())).tp_name) }.to_bytes();
    String::from_utf8_lossy(&name[..name.len().min(SHOWN_BYTES)]).into_owned()
}

/// How many items an iterable says that it has.
///
/// # Errors
/// What its `__len__` or `__length_hint__` raises, and TypeError, ValueError or OverflowError where that is no size.
pub fn length_hint(iterable: &Bound<'_, PyAny>) -> PyResult<usize> {
    // SAFETY: `iterable` is alive and we are attached.
    let hint = unsafe { ffi::PyObject_LengthHint(iterable.as_ptr(), 0) };
    usize::try_from(hint).map_err(|_| PyErr::fetch(iterable.py()))
}

/// Whether this code runs in the interpreter that the process began with.
pub fn is_main_interpreter(_py: Python<'_>) -> bool {
    // SAFETY: we are attached, so there is a current interpreter, and with it the main one.
    unsafe { ffi::PyInterpreterState_Get() == ffi::PyInterpreterState_Main() }
}

/// A new tuple whose items [`set_tuple_item`] sets before anybody else sees it. CPython's collector knows such tuples: an item that
/// is not set is skipped, and keeps the tuple from being taken for one without references.
pub fn new_tuple(py: Python<'_>, len: usize) -> PyResult<Bound<'_, PyTuple>> {
    let len = isize::try_from(len)?;
    // SAFETY: we are attached; the call returns a new reference to a tuple, or null with an exception set.
    let tuple = unsafe { Bound::from_owned_ptr_or_err(py, ffi::PyTuple_New(len))? };
    Ok(tuple.cast_into::<PyTuple>()?)
}

/// Sets item `index` of a tuple from [`new_tuple`] that only the caller knows.
///
/// # Panics
/// When there is no such item, or it was set before.
pub fn set_tuple_item(tuple: &Bound<'_, PyTuple>, index: usize, item: Bound<'_, PyAny>) {
    assert!(index < tuple.len(), "no item {index}");
    let index = index.cast_signed();
    // SAFETY: `tuple` is a tuple and the index is within it.
    let before = unsafe { ffi::PyTuple_GET_ITEM(tuple.as_ptr(), index) };
    assert!(before.is_null(), "item {index} is set");
    // SAFETY: as above. The slot is empty, so nothing leaks, and it takes over our reference to `item`. The tuple has not been
    // given to Python code yet, so nobody relies on it not changing, and its hash was not taken.
    unsafe { ffi::PyTuple_SET_ITEM(tuple.as_ptr(), index, item.into_ptr()) };
}

unsafe extern "C" {
    fn PyInstanceMethod_New(function: *mut ffi::PyObject) -> *mut ffi::PyObject;
}

/// A function of a native module as the method of a class written in Python, which is given the instance first.
pub fn method<'py>(function: &Bound<'py, PyCFunction>) -> PyResult<Bound<'py, PyAny>> {
    // SAFETY: `function` is alive and we are attached; the call returns a new reference, or null with an exception set.
    unsafe { Bound::from_owned_ptr_or_err(function.py(), PyInstanceMethod_New(function.as_ptr())) }
}

/// Has a function called when the interpreter has ended. It may not use Python. False if there are too many such functions.
pub fn at_exit(_py: Python<'_>, function: extern "C" fn()) -> bool {
    // SAFETY: we are attached, and the function lives as long as the process: CPython never unloads an extension module.
    unsafe { ffi::Py_AtExit(Some(function)) == 0 }
}

// Making objects where there may be no memory: PyO3 panics, these raise MemoryError.

/// A new int.
pub fn int(py: Python<'_>, value: i64) -> PyResult<Bound<'_, PyAny>> {
    // SAFETY: we are attached; the call returns a new reference, or null with an exception set.
    unsafe { Bound::from_owned_ptr_or_err(py, ffi::PyLong_FromLongLong(value)) }
}

/// A new float.
pub fn float(py: Python<'_>, value: f64) -> PyResult<Bound<'_, PyAny>> {
    // SAFETY: as for `int`.
    unsafe { Bound::from_owned_ptr_or_err(py, ffi::PyFloat_FromDouble(value)) }
}

/// A new str from UTF-8.
pub fn text<'py>(py: Python<'py>, text: &str) -> PyResult<Bound<'py, PyAny>> {
    let length = isize::try_from(text.len())?;
    // SAFETY: as for `int`; the pointer is valid for the length.
    unsafe { Bound::from_owned_ptr_or_err(py, ffi::PyUnicode_FromStringAndSize(text.as_ptr().cast(), length)) }
}

/// New bytes.
pub fn bytes<'py>(py: Python<'py>, bytes: &[u8]) -> PyResult<Bound<'py, PyBytes>> {
    let length = isize::try_from(bytes.len())?;
    // SAFETY: as for `text`.
    let made =
        unsafe { Bound::from_owned_ptr_or_err(py, ffi::PyBytes_FromStringAndSize(bytes.as_ptr().cast(), length))? };
    Ok(made.cast_into::<PyBytes>()?)
}

/// A new tuple of these items.
pub fn tuple<'py>(
    py: Python<'py>,
    items: impl ExactSizeIterator<Item = Bound<'py, PyAny>>,
) -> PyResult<Bound<'py, PyTuple>> {
    let made = new_tuple(py, items.len())?;
    items.enumerate().for_each(|(index, item)| set_tuple_item(&made, index, item));
    Ok(made)
}

/// New bytes of a known length, which `fill` hands over piece after piece, without the GIL.
///
/// # Errors
/// MemoryError; the inner error is that of `fill`.
///
/// # Panics
/// When `fill` gives more, or returns without an error and gave fewer.
pub fn bytes_from<E: Send>(
    py: Python<'_>,
    length: usize,
    fill: impl FnOnce(&mut dyn FnMut(&[u8])) -> Result<(), E> + Send,
) -> PyResult<Result<Bound<'_, PyAny>, E>> {
    let size = isize::try_from(length)?;
    // SAFETY: as for `int`. Without a source the content is not initialised: see below.
    let made = unsafe { Bound::from_owned_ptr_or_err(py, ffi::PyBytes_FromStringAndSize(std::ptr::null(), size))? };
    // SAFETY: `made` is a bytes object that only this function knows, and has room for `length` bytes, of which nobody expects a value:
    // they are only written here. It is not given away unless all were.
    let mut rest: &mut [MaybeUninit<u8>] =
        unsafe { std::slice::from_raw_parts_mut(ffi::PyBytes_AS_STRING(made.as_ptr()).cast_mut().cast(), length) };
    let filled = py.detach(|| {
        let filled = fill(&mut |piece| {
            let (now, later) = std::mem::take(&mut rest).split_at_mut(piece.len());
            // SAFETY: both are as long; a piece of Rust's cannot overlap what only this function refers to.
            unsafe { std::ptr::copy_nonoverlapping(piece.as_ptr(), now.as_mut_ptr().cast(), piece.len()) };
            rest = later;
        });
        filled.map(|()| rest.is_empty())
    });
    Ok(match filled {
        Ok(is_full) => {
            assert!(is_full, "fewer than {length} bytes");
            Ok(made)
        }
        Err(error) => Err(error),
    })
}

/// A new empty dict.
pub fn dict(py: Python<'_>) -> PyResult<Bound<'_, PyDict>> {
    // SAFETY: as for `int`.
    Ok(unsafe { Bound::from_owned_ptr_or_err(py, ffi::PyDict_New())? }.cast_into::<PyDict>()?)
}

/// A new empty list.
pub fn list(py: Python<'_>) -> PyResult<Bound<'_, PyList>> {
    // SAFETY: as for `int`.
    Ok(unsafe { Bound::from_owned_ptr_or_err(py, ffi::PyList_New(0))? }.cast_into::<PyList>()?)
}

/// A new tuple of two.
pub fn pair<'py>(first: Bound<'py, PyAny>, second: Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    let tuple = new_tuple(first.py(), 2)?;
    set_tuple_item(&tuple, 0, first);
    set_tuple_item(&tuple, 1, second);
    Ok(tuple.into_any())
}
