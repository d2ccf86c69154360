//! `Dict`: a mapping in the heap.

use pyo3::exceptions::{PyKeyError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::pyclass::CompareOp;
use pyo3::types::{PyDict, PyGenericAlias, PyString, PyTuple, PyType};
use subduct_heap::object::dict;

use crate::compare;
use crate::constant::{Constant, name};
use crate::copy_in::prepare;
use crate::copy_out;
use crate::cpython;
use crate::held::{self, Held};
use crate::incoming;
use crate::iterate::{DictIterator, Part};
use crate::keys;
use crate::outgoing::{Read, proxy};
use crate::pickle;
use crate::removal;
use crate::repr;
use crate::transfer;

/// A dict in a heap: a mapping that behaves as the builtin does, errors included. What is stored is copied in, what comes back are
/// scalars as Python values, and proxies of containers. Keys are None, bool, int, float, str, bytes and tuples of these; a key that
/// is or holds a NaN is never found. heap.dict() makes one.
#[pyclass(module = "subduct", mapping, frozen, weakref)]
pub struct Dict {
    held: Held,
}

impl Dict {
    /// The proxy of this dict.
    pub fn new(held: Held) -> Self {
        Self { held }
    }

    /// What it stands for.
    pub fn held(&self) -> &Held {
        &self.held
    }

    fn find<'py>(&self, py: Python<'py>, key: &Bound<'py, PyAny>) -> PyResult<Option<Bound<'py, PyAny>>> {
        let mut found = None;
        keys::look_up(key, |key| {
            self.held.run(py, |op, object| match dict::get(op, object, key)? {
                Some(value) => Read::into_slot(op, value, &mut found),
                None => Ok(()),
            })
        })?;
        found.map(|value| value.into_object(py, self.held.heap())).transpose()
    }

    fn take<'py>(&self, py: Python<'py>, key: &Bound<'py, PyAny>) -> PyResult<Option<Bound<'py, PyAny>>> {
        // The builtin does not hash a key to take it out of an empty dict.
        if keys::plain(key).is_none() && self.held.run(py, dict::len)? == 0 {
            return Ok(None);
        }
        let taken = keys::look_up(key, |key| {
            removal::remove(
                &self.held,
                py,
                |op, dict, look| dict::remove_if(op, dict, key, |op, dict, value| look.at(op, dict, value)).map(drop),
                |op, dict, found| dict::remove_if(op, dict, key, |op, dict, value| Ok(found.is(op, dict, value))),
            )
        })?;
        Ok(taken.flatten().map(|taken| taken.value))
    }

    fn insert(&self, py: Python<'_>, key: &Bound<'_, PyAny>, value: &Bound<'_, PyAny>) -> PyResult<()> {
        keys::store(key, |key| {
            let value = prepare(py, self.held.heap(), value)?;
            self.held.run(py, |op, _| {
                value.place(op, |op, value| {
                    let object = op.handle_get(self.held.handle());
                    dict::insert(op, object, key, value).map(drop)
                })
            })
        })
    }

    /// Updates from a mapping, an object with keys(), or an iterable of pairs.
    ///
    /// # Errors
    /// As `dict.update`. From a dict or Dict all of it or nothing, in one step for other threads.
    pub fn merge(&self, py: Python<'_>, other: &Bound<'_, PyAny>) -> PyResult<()> {
        if let Some(entries) = self.entries_of(py, other)? {
            return transfer::merge(py, &self.held, &entries);
        }
        if other.hasattr(name!(py, "keys"))? {
            for key in other.call_method0(name!(py, "keys"))?.try_iter()? {
                let key = key?;
                self.insert(py, &key, &other.get_item(&key)?)?;
            }
            return Ok(());
        }
        for (i, pair) in other.try_iter()?.enumerate() {
            let (key, value) = pair_of(&pair?, i)?;
            self.insert(py, &key, &value)?;
        }
        Ok(())
    }

    /// Updates from the arguments of update() or of what is called like it.
    fn merge_arguments(
        &self,
        py: Python<'_>,
        name: &str,
        other: &Bound<'_, PyTuple>,
        keywords: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<()> {
        if other.len() > 1 {
            let given = other.len();
            return Err(PyTypeError::new_err(format!("{name} expected at most 1 argument, got {given}")));
        }
        let Some(keywords) = keywords.filter(|keywords| !keywords.is_empty()) else {
            return other.iter().try_for_each(|other| self.merge(py, &other));
        };
        if keywords.keys().iter().any(|key| !key.is_instance_of::<PyString>()) {
            return Err(PyTypeError::new_err("keywords must be strings"));
        }
        match other.iter().next() {
            None => self.merge(py, keywords.as_any()),
            Some(other) => self.merge_both(py, &other, keywords),
        }
    }

    /// Updates from an argument of update() and from keywords: from both or neither where the argument is a dict or Dict.
    fn merge_both(&self, py: Python<'_>, other: &Bound<'_, PyAny>, keywords: &Bound<'_, PyDict>) -> PyResult<()> {
        let Some(entries) = self.entries_of(py, other)? else {
            self.merge(py, other)?;
            return self.merge(py, keywords.as_any());
        };
        let entries = Self::new(entries);
        // The copy of a dict is ours to change; a Dict is its owner's.
        let both = if other.is_exact_instance_of::<PyDict>() { entries } else { Self::new(entries.shallow_copy(py)?) };
        both.merge(py, keywords.as_any())?;
        transfer::merge(py, &self.held, &both.held)
    }

    fn shallow_copy(&self, py: Python<'_>) -> PyResult<Held> {
        Held::make(py, self.held.heap(), |op| {
            let object = op.handle_get(self.held.handle());
            dict::copy(op, object)
        })
    }

    /// A dict of this heap with what `other` holds: itself, or a copy of a builtin one; `None` for what is none.
    fn entries_of(&self, py: Python<'_>, other: &Bound<'_, PyAny>) -> PyResult<Option<Held>> {
        let heap = self.held.heap();
        if other.is_exact_instance_of::<PyDict>() {
            return prepare(py, heap, other)?.hold(py, heap).map(Some);
        }
        match other.cast_exact::<Self>() {
            Ok(other) if other.get().held.is_in(heap) => {
                let other = other.get().held.handle();
                Held::make(py, heap, |op| Ok(op.handle_get(other))).map(Some)
            }
            _ => Ok(None),
        }
    }

    fn view<'py>(slf: &Bound<'py, Self>, class: &str) -> PyResult<Bound<'py, PyAny>> {
        static VIEWS: Constant<PyModule> = Constant::new();
        let py = slf.py();
        let views = VIEWS.get(py, || py.import("subduct._views").map(Bound::unbind))?;
        views.getattr(class)?.call1((slf,))
    }
}

/// Element `i` of the argument of update(), as key and value.
fn pair_of<'py>(pair: &Bound<'py, PyAny>, i: usize) -> PyResult<(Bound<'py, PyAny>, Bound<'py, PyAny>)> {
    let py = pair.py();
    let items = crate::tuple::items_of(pair).map_err(|error| {
        if error.is_instance_of::<PyTypeError>(py) {
            PyTypeError::new_err(format!("cannot convert dictionary update sequence element #{i} to a sequence"))
        } else {
            error
        }
    })?;
    let len = items.len();
    if len != 2 {
        let text = format!("dictionary update sequence element #{i} has length {len}; 2 is required");
        return Err(PyValueError::new_err(text));
    }
    Ok((items.get_item(0)?, items.get_item(1)?))
}

/// Whether `|` takes it.
fn is_dict(value: &Bound<'_, PyAny>) -> bool {
    value.is_instance_of::<PyDict>() || value.is_exact_instance_of::<Dict>()
}

fn missing(key: &Bound<'_, PyAny>) -> PyErr {
    // In a tuple of its own: a key that is a tuple would be taken for all the arguments.
    PyKeyError::new_err((key.clone().unbind(),))
}

#[pymethods]
impl Dict {
    fn __len__(&self, py: Python<'_>) -> PyResult<usize> {
        self.held.run(py, dict::len)
    }

    fn __getitem__<'py>(&self, key: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        self.find(key.py(), key)?.ok_or_else(|| missing(key))
    }

    fn __setitem__(&self, key: &Bound<'_, PyAny>, value: &Bound<'_, PyAny>) -> PyResult<()> {
        self.insert(key.py(), key, value)
    }

    fn __delitem__(&self, key: &Bound<'_, PyAny>) -> PyResult<()> {
        let removed = keys::look_up(key, |key_in| {
            self.held.run(key.py(), |op, object| Ok(dict::remove(op, object, key_in)?.is_some()))
        })?;
        removed.filter(|removed| *removed).map(drop).ok_or_else(|| missing(key))
    }

    fn __contains__(&self, key: &Bound<'_, PyAny>) -> PyResult<bool> {
        let found = keys::look_up(key, |key_in| {
            self.held.run(key.py(), |op, object| Ok(dict::get(op, object, key_in)?.is_some()))
        })?;
        Ok(found.unwrap_or(false))
    }

    fn __iter__(slf: &Bound<'_, Self>) -> PyResult<DictIterator> {
        DictIterator::new(slf, Part::Keys, false)
    }

    fn __reversed__(slf: &Bound<'_, Self>) -> PyResult<DictIterator> {
        DictIterator::new(slf, Part::Keys, true)
    }

    fn __richcmp__<'py>(
        slf: &Bound<'py, Self>,
        other: &Bound<'py, PyAny>,
        operator: CompareOp,
    ) -> PyResult<Bound<'py, PyAny>> {
        compare::equality(slf.as_any(), other, operator)
    }

    fn __or__<'py>(&self, other: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let py = other.py();
        if !is_dict(other) {
            return Ok(py.NotImplemented().into_bound(py));
        }
        if let Some(entries) = self.entries_of(py, other)? {
            return Ok(Bound::new(py, Self::new(transfer::union(py, &self.held, &entries)?))?.into_any());
        }
        let made = Self::new(self.shallow_copy(py)?);
        made.merge(py, other)?;
        Ok(Bound::new(py, made)?.into_any())
    }

    fn __ror__<'py>(&self, other: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let py = other.py();
        if !is_dict(other) {
            return Ok(py.NotImplemented().into_bound(py));
        }
        let made = Self::new(Held::make(py, self.held.heap(), |op| dict::new(op, 0))?);
        made.merge(py, other)?;
        transfer::merge(py, &made.held, &self.held)?;
        Ok(Bound::new(py, made)?.into_any())
    }

    fn __ior__(&self, other: &Bound<'_, PyAny>) -> PyResult<()> {
        self.merge(other.py(), other)
    }

    fn __repr__(&self, py: Python<'_>) -> String {
        repr::dict(py, &self.held)
    }

    /// Updates as update() does: so does the builtin's when it is called again.
    #[pyo3(signature = (*other, **keywords))]
    fn __init__(
        &self,
        py: Python<'_>,
        other: &Bound<'_, PyTuple>,
        keywords: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<()> {
        self.merge_arguments(py, "dict", other, keywords)
    }

    /// For pickle: a copy of the content as a dict.
    fn __reduce__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        pickle::reduced(&self.to_python(py)?)
    }

    /// Bytes of the proxy and of the dict itself with its table, without its keys and values.
    fn __sizeof__(slf: &Bound<'_, Self>) -> PyResult<usize> {
        Ok(held::proxy_bytes(slf.as_any())? + slf.get().held.run(slf.py(), dict::bytes)?)
    }

    fn __copy__(&self, py: Python<'_>) -> PyResult<Self> {
        self.shallow_copy(py).map(Self::new)
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

    /// The value of key, or default where there is none. O(1).
    #[pyo3(signature = (key, default=None, /))]
    fn get<'py>(
        &self,
        py: Python<'py>,
        key: &Bound<'py, PyAny>,
        default: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        Ok(self.find(py, key)?.or(default))
    }

    /// Removes key and returns its value; without it returns default, or raises KeyError if there is no default. O(1).
    #[pyo3(signature = (key, /, *default), text_signature = "($self, key, default=..., /)")]
    fn pop<'py>(&self, key: &Bound<'py, PyAny>, default: &Bound<'py, PyTuple>) -> PyResult<Bound<'py, PyAny>> {
        if default.len() > 1 {
            let given = default.len() + 1;
            return Err(PyTypeError::new_err(format!("pop expected at most 2 arguments, got {given}")));
        }
        match self.take(key.py(), key)? {
            Some(value) => Ok(value),
            None => default.get_item(0).map_err(|_| missing(key)),
        }
    }

    /// Removes the entry that was inserted last and returns it as (key, value); KeyError if there is none. O(1).
    fn popitem<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        // First: nothing is removed if there is no memory for it.
        let pair = cpython::new_tuple(py, 2)?;
        let taken = removal::remove(
            &self.held,
            py,
            |op, dict, look| dict::pop_last_if(op, dict, |op, dict, entry| look.at_entry(op, dict, entry)).map(drop),
            |op, dict, found| dict::pop_last_if(op, dict, |op, dict, (_, value)| Ok(found.is(op, dict, value))),
        )?;
        let taken = taken.ok_or_else(|| PyKeyError::new_err("popitem(): dictionary is empty"))?;
        cpython::set_tuple_item(&pair, 0, taken.key.expect("an entry has a key"));
        cpython::set_tuple_item(&pair, 1, taken.value);
        Ok(pair)
    }

    /// The value of key, which is set to default first where there is none. O(1), and the copy of default.
    #[pyo3(signature = (key, default=None, /))]
    fn setdefault<'py>(
        &self,
        py: Python<'py>,
        key: &Bound<'py, PyAny>,
        default: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        if let Some(found) = self.find(py, key)? {
            return Ok(found);
        }
        let default = default.unwrap_or_else(|| py.None().into_bound(py));
        let value = keys::store(key, |key| {
            let default = prepare(py, self.held.heap(), &default)?;
            self.held.run(py, |op, _| {
                default.place(op, |op, default| {
                    let object = op.handle_get(self.held.handle());
                    let value = dict::get_or_insert(op, object, key, default)?;
                    Read::of(op, value)
                })
            })
        })?;
        value.into_object(py, self.held.heap())
    }

    /// Updates from a mapping or an iterable of pairs, and from keywords. From a dict or Dict and from the keywords all of it or nothing,
    /// in one step for other threads; of anything else, what was set before an error stays. O(size of them).
    #[pyo3(signature = (*other, **keywords), text_signature = "($self, other=(), /, **keywords)")]
    fn update(&self, py: Python<'_>, other: &Bound<'_, PyTuple>, keywords: Option<&Bound<'_, PyDict>>) -> PyResult<()> {
        self.merge_arguments(py, "update", other, keywords)
    }

    /// A new Dict of the same heap with the keys that iterable yields, all with the one value. O(size of it).
    #[pyo3(signature = (iterable, value=None, /))]
    fn fromkeys(&self, iterable: &Bound<'_, PyAny>, value: Option<Bound<'_, PyAny>>) -> PyResult<Self> {
        let (py, heap) = (iterable.py(), self.held.heap());
        let mut value = value.unwrap_or_else(|| py.None().into_bound(py));
        if let Some(source) = incoming::container(&value) {
            // Copied once, so that it is one value for all.
            value = proxy(py, source.kind(), prepare(py, heap, &value)?.hold(py, heap)?)?;
        }
        let made = Self::new(Held::make(py, heap, |op| dict::new(op, 0))?);
        iterable.try_iter()?.try_for_each(|key| made.insert(py, &key?, &value))?;
        Ok(made)
    }

    /// Removes all entries. O(1) seen from outside.
    fn clear(&self, py: Python<'_>) -> PyResult<()> {
        self.held.run(py, dict::clear)
    }

    /// A new Dict with the same keys and values. O(len).
    fn copy(&self, py: Python<'_>) -> PyResult<Self> {
        self.shallow_copy(py).map(Self::new)
    }

    /// A set-like view of the keys.
    fn keys<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        Self::view(slf, "DictKeys")
    }

    /// A view of the values.
    fn values<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        Self::view(slf, "DictValues")
    }

    /// A set-like view of the entries as (key, value).
    fn items<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        Self::view(slf, "DictItems")
    }

    /// Iterates over the values, against the order of insertion.
    fn _reversed_values(slf: &Bound<'_, Self>) -> PyResult<DictIterator> {
        DictIterator::new(slf, Part::Values, true)
    }

    /// Iterates over the entries as (key, value), against the order of insertion.
    fn _reversed_items(slf: &Bound<'_, Self>) -> PyResult<DictIterator> {
        DictIterator::new(slf, Part::Items, true)
    }

    /// A dict with copies of everything in this one; shared references and cycles are kept. O(size of the content).
    fn to_python<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        copy_out::to_python(py, &self.held)
    }
}
