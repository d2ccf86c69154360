//! `List`: a mutable sequence in the heap.

use pyo3::exceptions::{PyIndexError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::pyclass::CompareOp;
use pyo3::types::{PyGenericAlias, PyList, PyTuple, PyType};
use subduct_heap::Retry;
use subduct_heap::object::Kind;
use subduct_heap::object::list::{self, Slice};

use crate::compare;
use crate::copy_in::prepare;
use crate::copy_out;
use crate::cpython::{self, type_name};
use crate::held::{self, Held};
use crate::index::{self, Index, Position, resolve};
use crate::iterate::SequenceIterator;
use crate::outgoing::Read;
use crate::pickle;
use crate::removal;
use crate::repr;
use crate::search;
use crate::slice;
use crate::sort::{self, Reverse};
use crate::transfer;

/// A list in a heap: a mutable sequence that behaves as the builtin does, errors included. What is stored is copied in, what comes
/// back are scalars as Python values, and proxies of containers. heap.list() makes one.
#[pyclass(module = "subduct", sequence, frozen, weakref)]
pub struct List {
    held: Held,
}

impl List {
    /// The proxy of this list.
    pub fn new(held: Held) -> Self {
        Self { held }
    }

    /// What it stands for.
    pub fn held(&self) -> &Held {
        &self.held
    }

    /// Its length.
    pub fn len(&self, py: Python<'_>) -> PyResult<usize> {
        self.held.run(py, list::len)
    }

    /// Appends what `iterable` yields. From a list or tuple all of it or nothing; from another iterable what it yielded before an error.
    ///
    /// # Errors
    /// TypeError for what is not iterable or cannot be stored, what the iterator raises, HeapFull.
    pub fn append_all(&self, py: Python<'_>, iterable: &Bound<'_, PyAny>) -> PyResult<()> {
        if let Some(elements) = self.elements_of(py, iterable)? {
            return self.append_elements(py, &elements);
        }
        // One by one: an iterator may look at the list that it is about to extend.
        let mut items = iterable.try_iter()?;
        // As list does, which makes room: whoever says how many there are may fail.
        cpython::length_hint(iterable)?;
        items.try_for_each(|item| self.append(py, &item?))
    }

    /// Appends the elements of a list or tuple of the heap.
    fn append_elements(&self, py: Python<'_>, from: &Held) -> PyResult<()> {
        transfer::append(py, &self.held, from)
    }

    /// A list or tuple of the heap with the elements of a list or tuple, copied in if they are Python's; `None` for other iterables.
    pub fn elements_of(&self, py: Python<'_>, iterable: &Bound<'_, PyAny>) -> PyResult<Option<Held>> {
        let heap = self.held.heap();
        if iterable.is_exact_instance_of::<PyList>() || iterable.is_exact_instance_of::<PyTuple>() {
            return prepare(py, heap, iterable)?.hold(py, heap).map(Some);
        }
        match held::of_proxy(iterable) {
            Some((Kind::List | Kind::Tuple, other)) if other.is_in(heap) => {
                Held::make(py, heap, |op| Ok(op.handle_get(other.handle()))).map(Some)
            }
            _ => Ok(None),
        }
    }

    /// Has the elements of a list or tuple of the heap instead of its own; none if they are its own, which the builtin drops first.
    fn replace_all(&self, py: Python<'_>, elements: &Held) -> PyResult<()> {
        let replaced = self.held.run_long(py, |op, object| {
            if op.handle_get(elements.handle()) == object {
                return list::clear(op, object).map(Ok);
            }
            list::assign_slice(op, object, Slice::ALL, elements.handle())
        })?;
        debug_assert!(replaced.is_ok(), "a slice without a step takes any number of elements");
        Ok(())
    }

    /// A new list with the elements of a slice.
    pub fn shallow_copy(&self, py: Python<'_>, slice: Slice) -> PyResult<Self> {
        let held = Held::make(py, self.held.heap(), |op| {
            let object = op.handle_get(self.held.handle());
            list::copy_slice(op, object, slice)
        })?;
        Ok(Self::new(held))
    }

    /// The elements of a list or tuple, and then those of another.
    fn concat(py: Python<'_>, left: &Held, right: &Held) -> PyResult<Self> {
        Held::make(py, left.heap(), |op| list::concat(op, left.handle(), right.handle())).map(Self::new)
    }

    /// A new list with `times` times the elements of this one. O(len * times).
    fn repeated(&self, py: Python<'_>, times: usize) -> PyResult<Self> {
        let made = self.shallow_copy(py, Slice::ALL)?;
        transfer::repeated_len(made.len(py)?, times)?;
        made.repeat(py, times)?;
        Ok(made)
    }

    fn repeat(&self, py: Python<'_>, times: usize) -> PyResult<()> {
        self.held.run_long(py, |op, _| list::repeat(op, self.held.handle(), times))
    }
}

/// Whether `+` takes it.
fn is_list(value: &Bound<'_, PyAny>) -> bool {
    value.is_instance_of::<PyList>() || value.is_exact_instance_of::<List>()
}

fn out_of_range(what: &str) -> PyErr {
    PyIndexError::new_err(format!("{what} out of range"))
}

#[pymethods]
impl List {
    fn __len__(&self, py: Python<'_>) -> PyResult<usize> {
        self.len(py)
    }

    fn __getitem__<'py>(&self, index: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let py = index.py();
        match index::parse(index, "list")? {
            Index::At(at) => {
                let mut found = None;
                self.held.run(py, |op, object| {
                    let is_relative = at < 0;
                    let at = if is_relative { resolve(at, list::len(op, object)?) } else { usize::try_from(at).ok() };
                    let Some(at) = at else { return Ok(()) };
                    match list::get(op, object, at)? {
                        Some(value) => Read::into_slot(op, value, &mut found),
                        // Another thread made it shorter in between.
                        None if is_relative => Err(Retry::Busy),
                        None => Ok(()),
                    }
                })?;
                found.ok_or_else(|| out_of_range("list index"))?.into_object(py, self.held.heap())
            }
            Index::Slice(slice) => {
                let slice = slice::unpack(&slice)?;
                Ok(Bound::new(py, self.shallow_copy(py, slice)?)?.into_any())
            }
        }
    }

    fn __setitem__(&self, index: &Bound<'_, PyAny>, value: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = index.py();
        match index::parse(index, "list")? {
            Index::At(at) => {
                let value = prepare(py, self.held.heap(), value)?;
                let is_set = self.held.run(py, |op, object| {
                    let Some(at) = resolve(at, list::len(op, object)?) else { return Ok(false) };
                    value.place(op, |op, value| {
                        let object = op.handle_get(self.held.handle());
                        // If not, another thread made the list shorter in between.
                        if list::set(op, object, at, value)? { Ok(true) } else { Err(Retry::Busy) }
                    })
                })?;
                is_set.then_some(()).ok_or_else(|| out_of_range("list assignment index"))
            }
            Index::Slice(slice) => slice::assign(py, self, &slice, value),
        }
    }

    fn __delitem__(&self, index: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = index.py();
        match index::parse(index, "list")? {
            Index::At(at) => {
                let removed = self.held.run_long(py, |op, object| {
                    let Some(at) = resolve(at, list::len(op, object)?) else { return Ok(None) };
                    // If not, another thread made the list shorter in between.
                    list::remove(op, object, at)?.map_or(Err(Retry::Busy), |_| Ok(Some(())))
                })?;
                removed.ok_or_else(|| out_of_range("list assignment index"))
            }
            Index::Slice(slice) => slice::delete(py, self, &slice),
        }
    }

    fn __contains__(&self, value: &Bound<'_, PyAny>) -> PyResult<bool> {
        Ok(search::find(value.py(), &self.held, value, 0, isize::MAX)?.is_some())
    }

    fn __iter__(slf: &Bound<'_, Self>) -> SequenceIterator {
        SequenceIterator::forward(slf.as_any())
    }

    fn __reversed__(slf: &Bound<'_, Self>) -> PyResult<SequenceIterator> {
        let len = slf.get().len(slf.py())?;
        Ok(SequenceIterator::backward(slf.as_any(), len))
    }

    fn __richcmp__<'py>(
        slf: &Bound<'py, Self>,
        other: &Bound<'py, PyAny>,
        operator: CompareOp,
    ) -> PyResult<Bound<'py, PyAny>> {
        compare::order(slf.as_any(), other, operator)
    }

    /// `+`, of lists only. There is no `__radd__`: for `list += List` CPython would call it before `list.__iadd__`, and the name
    /// would stand for a new List instead of the list that was to grow.
    fn __concat__(&self, other: &Bound<'_, PyAny>) -> PyResult<Self> {
        let py = other.py();
        if !is_list(other) {
            let name = type_name(other);
            return Err(PyTypeError::new_err(format!("can only concatenate list (not \"{name}\") to list")));
        }
        if let Some(elements) = self.elements_of(py, other)? {
            return Self::concat(py, &self.held, &elements);
        }
        let made = self.shallow_copy(py, Slice::ALL)?;
        made.append_all(py, other)?;
        Ok(made)
    }

    fn __inplace_concat__<'py>(slf: &Bound<'py, Self>, other: &Bound<'py, PyAny>) -> PyResult<Bound<'py, Self>> {
        slf.get().append_all(slf.py(), other)?;
        Ok(slf.clone())
    }

    fn __repeat__(&self, py: Python<'_>, times: isize) -> PyResult<Self> {
        self.repeated(py, usize::try_from(times).unwrap_or(0))
    }

    fn __inplace_repeat__<'py>(slf: &Bound<'py, Self>, times: isize) -> PyResult<Bound<'py, Self>> {
        let (py, list, times) = (slf.py(), slf.get(), usize::try_from(times).unwrap_or(0));
        transfer::repeated_len(list.len(py)?, times)?;
        list.repeat(py, times)?;
        Ok(slf.clone())
    }

    fn __repr__(&self, py: Python<'_>) -> String {
        repr::sequence(py, "List", &self.held)
    }

    /// Replaces the elements by what iterable yields, as the builtin's does when it is called again: by those of a list or tuple in one
    /// step, or by none of them.
    #[pyo3(signature = (*iterable))]
    fn __init__(&self, py: Python<'_>, iterable: &Bound<'_, PyTuple>) -> PyResult<()> {
        if iterable.len() > 1 {
            let given = iterable.len();
            return Err(PyTypeError::new_err(format!("list expected at most 1 argument, got {given}")));
        }
        let Some(iterable) = iterable.iter().next() else { return self.clear(py) };
        if let Some(elements) = self.elements_of(py, &iterable)? {
            return self.replace_all(py, &elements);
        }
        self.clear(py)?;
        self.append_all(py, &iterable)
    }

    /// For pickle: a copy of the content as a list.
    fn __reduce__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        pickle::reduced(&self.to_python(py)?)
    }

    /// Bytes of the proxy and of the list itself, without what it refers to.
    fn __sizeof__(slf: &Bound<'_, Self>) -> PyResult<usize> {
        Ok(held::proxy_bytes(slf.as_any())? + slf.get().held.run(slf.py(), list::bytes)?)
    }

    fn __copy__(&self, py: Python<'_>) -> PyResult<Self> {
        self.shallow_copy(py, Slice::ALL)
    }

    fn __deepcopy__(&self, py: Python<'_>, _memo: &Bound<'_, PyAny>) -> PyResult<Self> {
        let outside = copy_out::to_python(py, &self.held)?;
        prepare(py, self.held.heap(), &outside)?.hold(py, self.held.heap()).map(Self::new)
    }

    #[classmethod]
    fn __class_getitem__<'py>(
        class: &Bound<'py, PyType>,
        item: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyGenericAlias>> {
        PyGenericAlias::new(class.py(), class.as_any(), item)
    }

    /// Adds value at the end. O(1), and the copy of value.
    #[pyo3(signature = (value, /))]
    fn append(&self, py: Python<'_>, value: &Bound<'_, PyAny>) -> PyResult<()> {
        let value = prepare(py, self.held.heap(), value)?;
        self.held.run_long(py, |op, _| {
            value.place(op, |op, value| {
                let object = op.handle_get(self.held.handle());
                list::push(op, object, value)
            })
        })
    }

    /// Adds all that iterable yields at the end: from a list or tuple all or nothing, in one step for other threads. O(size of it).
    #[pyo3(signature = (iterable, /))]
    fn extend(&self, py: Python<'_>, iterable: &Bound<'_, PyAny>) -> PyResult<()> {
        self.append_all(py, iterable)
    }

    /// Inserts value before index. O(len - index), and the copy of value.
    #[pyo3(signature = (index, value, /))]
    fn insert(&self, py: Python<'_>, index: Position, value: &Bound<'_, PyAny>) -> PyResult<()> {
        let value = prepare(py, self.held.heap(), value)?;
        self.held.run_long(py, |op, _| {
            value.place(op, |op, value| {
                let object = op.handle_get(self.held.handle());
                list::insert_at(op, object, index.0, value)
            })
        })
    }

    /// Removes the element at index and returns it; IndexError if there is none. O(len - index).
    #[pyo3(signature = (index=Position(-1), /), text_signature = "($self, index=-1, /)")]
    fn pop<'py>(&self, py: Python<'py>, index: Position) -> PyResult<Bound<'py, PyAny>> {
        let mut len = 0;
        let taken = removal::remove(
            &self.held,
            py,
            |op, object, look| {
                len = list::len(op, object)?;
                let Some(at) = resolve(index.0, len) else { return Ok(()) };
                if at + 1 == len {
                    return list::remove_if(op, object, at, |op, list, item| look.at(op, list, item)).map(drop);
                }
                // Moving what is behind it down may take long: that is for an operation without the GIL.
                let changes = op.changes(object);
                // If not, another thread made the list shorter in between.
                let item = list::get(op, object, at)?.ok_or(Retry::Busy)?;
                look.only(op, changes, None, item)
            },
            |op, object, found| {
                let Some(at) = resolve(index.0, list::len(op, object)?) else { return Ok(None) };
                list::remove_if(op, object, at, |op, list, item| Ok(found.is(op, list, item)))
            },
        )?;
        match taken {
            Some(taken) => Ok(taken.value),
            None if len == 0 => Err(PyIndexError::new_err("pop from empty list")),
            None => Err(out_of_range("pop index")),
        }
    }

    /// Removes the first element equal to value; ValueError if there is none. O(len).
    #[pyo3(signature = (value, /))]
    fn remove(&self, py: Python<'_>, value: &Bound<'_, PyAny>) -> PyResult<()> {
        let removed = search::remove(py, &self.held, value)?;
        removed.then_some(()).ok_or_else(|| PyValueError::new_err("list.remove(x): x not in list"))
    }

    /// The position of the first element equal to value, in [start, stop); ValueError if there is none. O(len).
    #[pyo3(signature = (value, /, *bounds), text_signature = "($self, value, start=0, stop=sys.maxsize, /)")]
    fn index(&self, py: Python<'_>, value: &Bound<'_, PyAny>, bounds: &Bound<'_, PyTuple>) -> PyResult<usize> {
        let (start, stop) = index::bounds(bounds)?;
        match search::find(py, &self.held, value, start, stop)? {
            Some(at) => Ok(at),
            None => Err(PyValueError::new_err(format!("{} is not in list", value.repr()?))),
        }
    }

    /// How many elements equal value. O(len).
    #[pyo3(signature = (value, /))]
    fn count(&self, py: Python<'_>, value: &Bound<'_, PyAny>) -> PyResult<usize> {
        search::count(py, &self.held, value)
    }

    /// Removes all elements. O(1) seen from outside.
    fn clear(&self, py: Python<'_>) -> PyResult<()> {
        self.held.run(py, list::clear)
    }

    /// A new List with the same elements. O(len).
    fn copy(&self, py: Python<'_>) -> PyResult<Self> {
        self.shallow_copy(py, Slice::ALL)
    }

    /// Reverses the order of the elements. O(len).
    fn reverse(&self, py: Python<'_>) -> PyResult<()> {
        self.held.run_long(py, list::reverse)
    }

    /// Sorts the elements, stably, by what key makes of them. When comparing or key raises, nothing has changed. ValueError when the
    /// list changes meanwhile. O(len log len).
    #[pyo3(signature = (*, key=None, reverse=Reverse::default()), text_signature = "($self, *, key=None, reverse=False)")]
    fn sort(&self, py: Python<'_>, key: Option<&Bound<'_, PyAny>>, reverse: Reverse) -> PyResult<()> {
        sort::sort(py, self, key, reverse.is_set(py)?)
    }

    /// A list with copies of everything in this one; shared references and cycles are kept. O(size of the content).
    fn to_python<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        copy_out::to_python(py, &self.held)
    }
}
