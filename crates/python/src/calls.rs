//! The calls into CPython below which the interpreter may end this thread, and what happens then.
//!
//! Whatever may run Python code, collect garbage or drop objects may hand the GIL over. If the interpreter ends meanwhile, CPython
//! before 3.14 does not come back from such a call: it ends the thread by unwinding its stack. Frames of Rust do not survive that,
//! and the process aborts; frames that did would drop objects of Python without the GIL. So a thread that is unwound stops for ever in
//! the frame above the call, with all it has left as it is. CPython 3.14 does the same by itself.
//!
//! The linker has every call of a function in the table, from PyO3 as from this crate, call its stand-in here (`build.rs`). PyO3 does
//! the same with the two calls that only wait for the GIL, `PyEval_RestoreThread` and `PyGILState_Ensure`.

use std::ffi::{c_char, c_int, c_long, c_longlong, c_ulonglong, c_void};

use pyo3::ffi::{
    Py_buffer, Py_hash_t, Py_ssize_t, PyCompilerFlags, PyGILState_STATE, PyMethodDef, PyObject, PyType_Spec,
    PyTypeObject,
};

/// An object, or a place for one.
type Object = *mut PyObject;
/// Objects in a row.
type Objects = *const *mut PyObject;
/// A C string.
type Text = *const c_char;

/// Stops the thread for ever when its stack is unwound.
struct Stop;

impl Drop for Stop {
    fn drop(&mut self) {
        loop {
            std::thread::park();
        }
    }
}

/// Defines the stand-ins of functions, given as C declares them.
macro_rules! stand_in {
    ($($(#[$condition:meta])? fn $name:ident($($argument:ident: $type:ty),*) $(-> $result:ty)?;)+) => {
        $(
            $(#[$condition])?
            const _: () = {
                unsafe extern "C-unwind" {
                    #[link_name = concat!("__real_", stringify!($name))]
                    fn real($($argument: $type),*) $(-> $result)?;
                }
                #[unsafe(export_name = concat!("__wrap_", stringify!($name)))]
                unsafe extern "C" fn stand_in($($argument: $type),*) $(-> $result)? {
                    let stop = Stop;
                    // SAFETY: the caller promises what the function itself asks for. It ends this thread by a forced unwind, which runs
                    // destructors, as Rust's runtime and PyO3 rely on; the first of them does not return.
                    let result = unsafe { real($($argument),*) };
                    std::mem::forget(stop);
                    result
                }
            };
        )+
    };
}

// Calls and attributes.
stand_in! {
    fn PyObject_Call(callable: Object, arguments: Object, keywords: Object) -> Object;
    fn PyObject_CallNoArgs(callable: Object) -> Object;
    #[cfg(Py_3_12)]
    fn PyObject_CallOneArg(callable: Object, argument: Object) -> Object;
    fn PyObject_Vectorcall(callable: Object, arguments: Objects, count: usize, keywords: Object) -> Object;
    fn PyObject_VectorcallDict(callable: Object, arguments: Objects, count: usize, keywords: Object) -> Object;
    fn PyObject_VectorcallMethod(name: Object, arguments: Objects, count: usize, keywords: Object) -> Object;
    #[cfg(not(Py_3_12))]
    fn _PyObject_MakeTpCall(thread: *mut c_void, callable: Object, arguments: Objects, count: Py_ssize_t, keywords: Object) -> Object;
    #[cfg(not(Py_3_12))]
    fn _Py_CheckFunctionResult(thread: *mut c_void, callable: Object, result: Object, place: Text) -> Object;
    fn PyObject_GetAttr(object: Object, name: Object) -> Object;
    #[cfg(Py_3_13)]
    fn PyObject_HasAttrWithError(object: Object, name: Object) -> c_int;
    fn PyObject_SetAttr(object: Object, name: Object, value: Object) -> c_int;
    fn PyObject_SetAttrString(object: Object, name: Text, value: Object) -> c_int;
    fn PyObject_GenericGetDict(object: Object, closure: *mut c_void) -> Object;
    fn PyObject_GenericSetDict(object: Object, value: Object, closure: *mut c_void) -> c_int;
}

// Protocols.
stand_in! {
    fn PyObject_GetIter(object: Object) -> Object;
    fn PyIter_Next(iterator: Object) -> Object;
    fn PyObject_GetItem(object: Object, key: Object) -> Object;
    fn PyObject_SetItem(object: Object, key: Object, value: Object) -> c_int;
    fn PyObject_DelItem(object: Object, key: Object) -> c_int;
    fn PyObject_Size(object: Object) -> Py_ssize_t;
    fn PyObject_LengthHint(object: Object, unknown: Py_ssize_t) -> Py_ssize_t;
    fn PyObject_Hash(object: Object) -> Py_hash_t;
    fn PyObject_IsTrue(object: Object) -> c_int;
    fn PyObject_RichCompare(left: Object, right: Object, operation: c_int) -> Object;
    fn PyObject_Repr(object: Object) -> Object;
    fn PyObject_Str(object: Object) -> Object;
    fn PyNumber_Index(object: Object) -> Object;
    fn PyLong_AsLong(object: Object) -> c_long;
    fn PyLong_AsLongLongAndOverflow(object: Object, overflow: *mut c_int) -> c_longlong;
    fn PyLong_AsUnsignedLongLong(object: Object) -> c_ulonglong;
    fn PyFloat_AsDouble(object: Object) -> f64;
    fn PySlice_Unpack(slice: Object, start: *mut Py_ssize_t, stop: *mut Py_ssize_t, step: *mut Py_ssize_t) -> c_int;
    fn PyUnicode_AsEncodedString(text: Object, encoding: Text, errors: Text) -> Object;
    fn PyUnicode_FromEncodedObject(object: Object, encoding: Text, errors: Text) -> Object;
    fn PyUnicode_AsUTF8AndSize(text: Object, size: *mut Py_ssize_t) -> Text;
    fn PyUnicode_FromStringAndSize(text: Text, size: Py_ssize_t) -> Object;
    fn PyObject_GetBuffer(object: Object, view: *mut Py_buffer, flags: c_int) -> c_int;
    fn PyBuffer_FillInfo(view: *mut Py_buffer, object: Object, start: *mut c_void, len: Py_ssize_t, readonly: c_int, flags: c_int) -> c_int;
    fn PyBuffer_Release(view: *mut Py_buffer);
}

// Objects that are made, which may collect garbage, or go, which runs their finalizers.
stand_in! {
    fn _Py_Dealloc(object: Object);
    fn PyObject_ClearWeakRefs(object: Object);
    fn PyList_New(len: Py_ssize_t) -> Object;
    fn PyTuple_New(len: Py_ssize_t) -> Object;
    fn PyTuple_GetSlice(tuple: Object, start: Py_ssize_t, stop: Py_ssize_t) -> Object;
    fn PyDict_New() -> Object;
    fn PyDict_Clear(dict: Object);
    fn PyDict_Keys(dict: Object) -> Object;
    fn PyDict_GetItemWithError(dict: Object, key: Object) -> Object;
    #[cfg(Py_3_13)]
    fn PyDict_GetItemRef(dict: Object, key: Object, value: *mut Object) -> c_int;
    #[cfg(Py_3_13)]
    fn PyDict_SetDefaultRef(dict: Object, key: Object, default: Object, value: *mut Object) -> c_int;
    fn PyDict_SetItem(dict: Object, key: Object, value: Object) -> c_int;
    fn PyDictProxy_New(mapping: Object) -> Object;
    fn PyInstanceMethod_New(function: Object) -> Object;
    fn PyCMethod_New(method: *mut PyMethodDef, receiver: Object, module: Object, class: *mut PyTypeObject) -> Object;
    fn PyType_FromSpec(spec: *mut PyType_Spec) -> Object;
    fn PyType_Modified(class: *mut PyTypeObject);
    fn PyType_GetName(class: *mut PyTypeObject) -> Object;
    fn PyType_GetQualName(class: *mut PyTypeObject) -> Object;
    #[cfg(Py_3_13)]
    fn PyType_GetFullyQualifiedName(class: *mut PyTypeObject) -> Object;
    #[cfg(Py_3_13)]
    fn PyType_GetModuleName(class: *mut PyTypeObject) -> Object;
    fn Py_GenericAlias(origin: Object, arguments: Object) -> Object;
    fn PyGILState_Release(before: PyGILState_STATE);
}

// Exceptions, signals and modules.
stand_in! {
    fn PyErr_CheckSignals() -> c_int;
    fn PyErr_Clear();
    fn PyErr_NewExceptionWithDoc(name: Text, doc: Text, base: Object, dict: Object) -> Object;
    fn PyErr_NormalizeException(class: *mut Object, value: *mut Object, traceback: *mut Object);
    fn PyErr_PrintEx(sets_last: c_int);
    fn PyErr_Restore(class: Object, value: Object, traceback: Object);
    fn PyErr_SetObject(class: Object, value: Object);
    #[cfg(Py_3_12)]
    fn PyErr_SetRaisedException(exception: Object);
    fn PyErr_SetString(class: Object, text: Text);
    fn PyErr_WriteUnraisable(object: Object);
    fn PyException_SetCause(exception: Object, cause: Object);
    fn PyException_SetTraceback(exception: Object, traceback: Object) -> c_int;
    fn PyTraceBack_Print(traceback: Object, file: Object) -> c_int;
    fn PyImport_AddModule(name: Text) -> Object;
    #[cfg(Py_3_13)]
    fn PyImport_AddModuleRef(name: Text) -> Object;
    fn PyImport_Import(name: Object) -> Object;
    fn PyModule_GetNameObject(module: Object) -> Object;
    fn Py_CompileStringExFlags(source: Text, file: Text, start: c_int, flags: *mut PyCompilerFlags, level: c_int) -> Object;
    fn PyEval_EvalCode(code: Object, globals: Object, locals: Object) -> Object;
}

/// The one way past the table: PyO3 asks for the function behind a callable, and calls that.
#[cfg(not(Py_3_12))]
mod vectorcall {
    use pyo3::ffi::{PyObject_Vectorcall, vectorcallfunc};

    use super::Object;

    unsafe extern "C" {
        #[link_name = "__real_PyVectorcall_Function"]
        fn real(callable: Object) -> Option<vectorcallfunc>;
    }

    /// That of any callable is the stand-in for a call.
    #[unsafe(export_name = "__wrap_PyVectorcall_Function")]
    #[allow(non_snake_case)]
    unsafe extern "C" fn PyVectorcall_Function(callable: Object) -> Option<vectorcallfunc> {
        // SAFETY: the caller promises what the function itself asks for.
        unsafe { real(callable) }.map(|_| PyObject_Vectorcall as vectorcallfunc)
    }
}
