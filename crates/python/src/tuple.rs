//! `Tuple`: an immutable sequence in the heap.

use pyo3::exceptions::{PyIndexError, PyRecursionError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::pyclass::CompareOp;
use pyo3::types::{PyGenericAlias, PyTuple, PyType};
use subduct_heap::object::list::Slice;
use subduct_heap::object::tuple;

use crate::compare;
use crate::copy_in::prepare;
use crate::copy_out;
use crate::cpython::{self, type_name};
use crate::heap::NativeHeap;
use crate::held::{self, Held};
use crate::index::{self, Index, Span, resolve};
use crate::iterate::SequenceIterator;
use crate::list::List;
use crate::outgoing::Read;
use crate::pickle;
use crate::repr;
use crate::search;
use crate::transfer;
use crate::turn;

/// Deepest nesting of tuples that can be hashed: hashing recurses.
const DEPTH_MAX: usize = 100;

/// A tuple in a heap: a sequence that behaves as the builtin does, errors included; what it refers to may change. Hashable if all it
/// holds is. heap.tuple() makes one.
#[pyclass(module = "subduct", sequence, frozen, weakref)]
pub struct Tuple {
    held: Held,
}

impl Tuple {
    /// The proxy of this tuple.
    pub fn new(held: Held) -> Self {
        Self { held }
    }

    /// What it stands for.
    pub fn held(&self) -> &Held {
        &self.held
    }

    /// The elements of a list, as they are in one moment.
    pub fn of_list(py: Python<'_>, list: &List) -> PyResult<Self> {
        let copy = list.shallow_copy(py, Slice::ALL)?;
        let whole = Span { start: 0, step: 1, count: copy.len(py)? };
        assembled(py, list.held().heap(), &[(copy.held(), whole)])
    }

    /// Its length.
    fn len(&self, py: Python<'_>) -> PyResult<usize> {
        self.held.run(py, |op, object| Ok(tuple::len(op, object)))
    }

    fn item<'py>(&self, py: Python<'py>, i: usize) -> PyResult<Option<Bound<'py, PyAny>>> {
        let mut found = None;
        self.held.run(py, |op, object| match tuple::get(op, object, i) {
            Some(value) => Read::into_slot(op, value, &mut found),
            None => Ok(()),
        })?;
        found.map(|value| value.into_object(py, self.held.heap())).transpose()
    }

    /// The equal Python tuple, with Python tuples in it, if all of it is hashable.
    ///
    /// # Errors
    /// TypeError for what is not, RecursionError where it nests too deep.
    pub fn to_hashable<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        // The tuples in which this one is nested: the proxy of each but the outermost, which is `self`, and its items so far.
        let mut outer: Vec<Open<'py>> = Vec::new();
        let mut proxy: Option<Bound<'py, Self>> = None;
        let mut items = Vec::new();
        loop {
            let tuple = proxy.as_ref().map_or(self, |proxy| proxy.get());
            let Some(item) = tuple.item(py, items.len())? else {
                let done = cpython::tuple(py, items.into_iter())?;
                let Some(open) = outer.pop() else { return Ok(done) };
                (proxy, items) = (open.proxy, open.items);
                turn::push(&mut items, done.into_any())?;
                continue;
            };
            if held::of_proxy(&item).is_none() {
                turn::push(&mut items, item)?;
                continue;
            }
            let Ok(inner) = item.cast_exact::<Self>() else {
                return Err(PyTypeError::new_err(format!("unhashable type: '{}'", type_name(&item))));
            };
            if outer.len() + 1 == DEPTH_MAX {
                let refusal = format!("more than {DEPTH_MAX} tuples one in the other are not hashed");
                return Err(PyRecursionError::new_err(refusal));
            }
            let open = Open { proxy: proxy.replace(inner.clone()), items: std::mem::take(&mut items) };
            turn::push(&mut outer, open)?;
        }
    }

    fn assembled(&self, py: Python<'_>, parts: &[(&Held, Span)]) -> PyResult<Self> {
        assembled(py, self.held.heap(), parts)
    }
}

/// A tuple of which not all items are known yet.
struct Open<'py> {
    proxy: Option<Bound<'py, Tuple>>,
    items: Vec<Bound<'py, PyAny>>,
}

/// A new tuple made of pieces of others: how many elements, from where, and which of them. Nobody changes any of them.
fn assembled(py: Python<'_>, heap: &Py<NativeHeap>, parts: &[(&Held, Span)]) -> PyResult<Tuple> {
    let total = parts.iter().map(|(_, span)| span.count).sum();
    let made = Held::make(py, heap, |op| tuple::new(op, total))?;
    let mut next = 0;
    for (from, span) in parts {
        transfer::fill(py, &made, next, from, *span)?;
        next += span.count;
    }
    Ok(Tuple::new(made))
}

/// What an iterable yields, as a tuple.
///
/// # Errors
/// TypeError for what is not iterable, what the iterator raises.
pub fn items_of<'py>(iterable: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyTuple>> {
    Ok(iterable.py().get_type::<PyTuple>().call1((iterable,))?.cast_into::<PyTuple>()?)
}

/// Whether `+` takes it.
fn is_tuple(value: &Bound<'_, PyAny>) -> bool {
    value.is_instance_of::<PyTuple>() || value.is_exact_instance_of::<Tuple>()
}

#[pymethods]
impl Tuple {
    fn __len__(&self, py: Python<'_>) -> PyResult<usize> {
        self.len(py)
    }

    fn __getitem__<'py>(&self, index: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let py = index.py();
        match index::parse(index, "tuple")? {
            Index::At(at) => {
                let at = resolve(at, self.len(py)?);
                let item = at.map_or(Ok(None), |at| self.item(py, at))?;
                item.ok_or_else(|| PyIndexError::new_err("tuple index out of range"))
            }
            Index::Slice(slice) => {
                let span = Span::of(&slice, self.len(py)?)?;
                Ok(Bound::new(py, self.assembled(py, &[(&self.held, span)])?)?.into_any())
            }
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

    fn __hash__(&self, py: Python<'_>) -> PyResult<isize> {
        self.to_hashable(py)?.hash()
    }

    /// `+`, after the other operand's `__radd__` was asked, as for the builtin.
    fn __concat__(&self, other: &Bound<'_, PyAny>) -> PyResult<Self> {
        let py = other.py();
        if !is_tuple(other) {
            let name = type_name(other);
            return Err(PyTypeError::new_err(format!("can only concatenate tuple (not \"{name}\") to tuple")));
        }
        let other = operand(py, self.held.heap(), other)?;
        self.assembled(py, &[(&self.held, whole(py, &self.held)?), (&other, whole(py, &other)?)])
    }

    fn __add__<'py>(&self, other: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let py = other.py();
        if !is_tuple(other) {
            return Ok(py.NotImplemented().into_bound(py));
        }
        Ok(Bound::new(py, self.__concat__(other)?)?.into_any())
    }

    fn __radd__<'py>(&self, other: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let py = other.py();
        if !is_tuple(other) {
            return Ok(py.NotImplemented().into_bound(py));
        }
        let other = operand(py, self.held.heap(), other)?;
        let made = self.assembled(py, &[(&other, whole(py, &other)?), (&self.held, whole(py, &self.held)?)])?;
        Ok(Bound::new(py, made)?.into_any())
    }

    fn __repeat__(&self, py: Python<'_>, times: isize) -> PyResult<Self> {
        let len = self.len(py)?;
        let total = transfer::repeated_len(len, usize::try_from(times).unwrap_or(0))?;
        let made = Held::make(py, self.held.heap(), |op| tuple::new(op, total))?;
        let mut done = 0;
        while done < total {
            // Once, and then all that is there, as long as so much is still to come.
            let (from, count) = if done == 0 { (&self.held, len) } else { (&made, done.min(total - done)) };
            transfer::fill(py, &made, done, from, Span { start: 0, step: 1, count })?;
            done += count;
        }
        Ok(Self::new(made))
    }

    fn __repr__(&self, py: Python<'_>) -> String {
        repr::sequence(py, "Tuple", &self.held)
    }

    /// For pickle: a copy of the content as a tuple.
    fn __reduce__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        pickle::reduced(&self.to_python(py)?)
    }

    /// Bytes of the proxy and of the tuple itself, without what it refers to.
    fn __sizeof__(slf: &Bound<'_, Self>) -> PyResult<usize> {
        let tuple = slf.get().held.run(slf.py(), |op, object| Ok(op.header(object).bytes()))?;
        Ok(held::proxy_bytes(slf.as_any())? + usize::try_from(tuple)?)
    }

    fn __copy__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    fn __deepcopy__<'py>(&self, py: Python<'py>, _memo: &Bound<'py, PyAny>) -> PyResult<Self> {
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

    /// The position of the first element equal to value, in [start, stop); ValueError if there is none. O(len).
    #[pyo3(signature = (value, /, *bounds), text_signature = "($self, value, start=0, stop=sys.maxsize, /)")]
    fn index(&self, py: Python<'_>, value: &Bound<'_, PyAny>, bounds: &Bound<'_, PyTuple>) -> PyResult<usize> {
        let (start, stop) = index::bounds(bounds)?;
        let found = search::find(py, &self.held, value, start, stop)?;
        found.ok_or_else(|| PyValueError::new_err("tuple.index(x): x not in tuple"))
    }

    /// How many elements equal value. O(len).
    #[pyo3(signature = (value, /))]
    fn count(&self, py: Python<'_>, value: &Bound<'_, PyAny>) -> PyResult<usize> {
        search::count(py, &self.held, value)
    }

    /// A tuple with copies of everything in this one; shared references and cycles are kept. O(size of the content).
    fn to_python<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        copy_out::to_python(py, &self.held)
    }
}

/// The elements of the other operand of `+`, in a tuple of the heap.
fn operand(py: Python<'_>, heap: &Py<NativeHeap>, other: &Bound<'_, PyAny>) -> PyResult<Held> {
    match held::of_proxy(other) {
        Some((_, held)) if held.is_in(heap) => Held::make(py, heap, |op| Ok(op.handle_get(held.handle()))),
        // An instance of a subclass becomes one of tuple itself.
        _ => prepare(py, heap, cpython::tuple(py, items_of(other)?.iter())?.as_any())?.hold(py, heap),
    }
}

fn whole(py: Python<'_>, held: &Held) -> PyResult<Span> {
    let count = held.run(py, |op, object| Ok(tuple::len(op, object)))?;
    Ok(Span { start: 0, step: 1, count })
}
