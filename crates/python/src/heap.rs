//! `_native.Heap`: one heap, its options in plain types.

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};
use subduct_heap::object::{dict, list};
use subduct_heap::{CycleReport, Delivery, Heap, Op, Options, Pauses, Recycle, Retry, Stats, VerifyReport};

use crate::copy_in::prepare;
use crate::dict::Dict;
use crate::errors::raised;
use crate::held::Held;
use crate::list::List;
use crate::open::Place;
use crate::run::{run, run_long};
use crate::tuple::{Tuple, items_of};

/// A heap, without the conveniences of `subduct.Heap`: sizes are bytes, reports are dicts. Closed when it and all its proxies are
/// gone.
#[pyclass(name = "Heap", module = "subduct._native", frozen, weakref)]
pub struct NativeHeap {
    core: Heap,
    _place: Place,
}

impl NativeHeap {
    /// The heap itself.
    pub fn core(&self) -> &Heap {
        &self.core
    }

    /// Runs an operation. See `crate::run::run`.
    pub fn run<T>(&self, py: Python<'_>, operation: impl FnMut(&mut Op<'_>) -> Result<T, Retry>) -> PyResult<T> {
        run(py, &self.core, operation)
    }

    /// Runs an operation that may take long. See `crate::run::run_long`.
    pub fn run_long<T: Send>(
        &self,
        py: Python<'_>,
        operation: impl FnMut(&mut Op<'_>) -> Result<T, Retry> + Send,
    ) -> PyResult<T> {
        run_long(py, &self.core, operation)
    }
}

impl Drop for NativeHeap {
    fn drop(&mut self) {
        // Closing waits for the collector. Without an interpreter to go back to, wait as we are.
        if Python::try_attach(|py| py.detach(|| self.core.close())).is_none() {
            self.core.close();
        }
    }
}

#[pymethods]
impl NativeHeap {
    /// A heap of at most budget_bytes resident bytes. O(1).
    ///
    /// Raises ValueError for a wrong option, Unsupported where this machine lacks what the delivery needs, KernelError where a system
    /// call fails.
    #[new]
    #[pyo3(signature = (budget_bytes, *, delivery=None, recycle="pool", verify=false, stress=None, name="subduct"))]
    fn new(
        py: Python<'_>,
        budget_bytes: u64,
        delivery: Option<&str>,
        recycle: &str,
        verify: bool,
        stress: Option<u64>,
        name: &str,
    ) -> PyResult<Self> {
        let delivery = delivery.map(|text| {
            option::<Delivery>(
                "delivery",
                text,
                "'sigbus', 'thread', 'software', 'pause' or None (what works best here)",
            )
        });
        let options = Options {
            budget_bytes,
            delivery: delivery.transpose()?,
            recycle: option::<Recycle>("recycle", recycle, "'keep', 'pool' or 'release'")?,
            verify,
            stress_bytes: stress,
            name: name.to_owned(),
        };
        let core = py.detach(|| Heap::new(options)).map_err(|error| raised(py, &error))?;
        let place = Place::new(&core);
        Ok(Self { core, _place: place })
    }

    /// The root: a Dict that always lives. O(1).
    #[getter]
    fn root(slf: &Bound<'_, Self>) -> PyResult<Dict> {
        let root = slf.get().core.root();
        Held::make(slf.py(), slf.as_unbound(), |op| Ok(op.handle_get(root))).map(Dict::new)
    }

    /// A new Dict, updated from mapping, that lives as long as something refers to it. O(size of mapping).
    #[pyo3(signature = (mapping, /))]
    fn dict(slf: &Bound<'_, Self>, mapping: &Bound<'_, PyAny>) -> PyResult<Dict> {
        let (py, heap) = (slf.py(), slf.as_unbound());
        if mapping.is_exact_instance_of::<PyDict>() {
            return prepare(py, heap, mapping)?.hold(py, heap).map(Dict::new);
        }
        let made = Dict::new(Held::make(py, heap, |op| dict::new(op, 0))?);
        made.merge(py, mapping)?;
        Ok(made)
    }

    /// A new List of what iterable yields, that lives as long as something refers to it. O(size of iterable).
    #[pyo3(signature = (iterable, /))]
    fn list(slf: &Bound<'_, Self>, iterable: &Bound<'_, PyAny>) -> PyResult<List> {
        let (py, heap) = (slf.py(), slf.as_unbound());
        if iterable.is_exact_instance_of::<PyList>() {
            return prepare(py, heap, iterable)?.hold(py, heap).map(List::new);
        }
        let made = List::new(Held::make(py, heap, |op| list::new(op, 0))?);
        made.append_all(py, iterable)?;
        Ok(made)
    }

    /// A new Tuple of what iterable yields, that lives as long as something refers to it. O(size of iterable).
    #[pyo3(signature = (iterable, /))]
    fn tuple(slf: &Bound<'_, Self>, iterable: &Bound<'_, PyAny>) -> PyResult<Tuple> {
        let (py, heap) = (slf.py(), slf.as_unbound());
        if let Ok(list) = iterable.cast_exact::<List>()
            && list.get().held().is_in(heap)
        {
            return Tuple::of_list(py, list.get());
        }
        prepare(py, heap, items_of(iterable)?.as_any())?.hold(py, heap).map(Tuple::new)
    }

    /// Runs a full cycle and waits for its end. Returns the fields of subduct.CycleReport.
    fn collect<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let report = py.detach(|| self.core.collect()).map_err(|error| raised(py, &error))?;
        cycle_report(py, &report)
    }

    /// The figures now. Returns the fields of subduct.Stats, pauses as a dict. O(1).
    fn stats<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        stats(py, &py.detach(|| self.core.stats()).map_err(|error| raised(py, &error))?)
    }

    /// Traces the heap with the second tracer and checks it. Returns the fields of subduct.VerifyReport. O(live objects).
    fn verify<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let VerifyReport { objects, bytes, edges, digest } =
            py.detach(|| self.core.verify()).map_err(|error| raised(py, &error))?;
        let fields = PyDict::new(py);
        for (name, value) in [("objects", objects), ("bytes", bytes), ("edges", edges), ("digest", digest)] {
            fields.set_item(name, value)?;
        }
        Ok(fields)
    }

    /// Gives all memory back; proxies raise HeapClosed from then on. Closing twice is allowed.
    fn close(&self, py: Python<'_>) {
        py.detach(|| self.core.close());
    }

    /// Whether the heap was closed.
    #[getter]
    fn closed(&self) -> bool {
        self.core.is_closed()
    }
}

/// An option from its text.
fn option<T: std::str::FromStr>(name: &str, text: &str, accepted: &str) -> PyResult<T> {
    text.parse().map_err(|_| PyValueError::new_err(format!("{name} must be {accepted}, not {text:?}")))
}

/// Sets each named field of a struct as an item of a dict.
macro_rules! set_fields {
    ($into:ident, $from:ident, $($field:ident),+ $(,)?) => {
        $($into.set_item(stringify!($field), $from.$field)?;)+
    };
}

fn cycle_report<'py>(py: Python<'py>, report: &CycleReport) -> PyResult<Bound<'py, PyDict>> {
    let fields = PyDict::new(py);
    set_fields!(
        fields,
        report,
        cycle,
        full,
        pause_us,
        mark_start_us,
        mark_end_us,
        mark_ms,
        plan_ms,
        move_ms,
        finish_ms,
        live_bytes,
        live_objects,
        resident_bytes,
        regions_evacuated,
        bytes_evacuated,
        pages_fixed,
        pages_built,
        pages_installed,
        faults,
        verified,
    );
    fields.set_item("delivery", report.delivery.to_string())?;
    fields.set_item("fallback", report.fallback.as_deref())?;
    Ok(fields)
}

fn stats<'py>(py: Python<'py>, stats: &Stats) -> PyResult<Bound<'py, PyDict>> {
    let fields = PyDict::new(py);
    set_fields!(
        fields,
        stats,
        budget_bytes,
        window_unit_bytes,
        resident_bytes,
        live_bytes,
        live_objects,
        live_estimate_bytes,
        live_bytes_max,
        allocated_bytes,
        handles,
        cycles,
        moves,
        faults,
        worker_pages,
        pages_fixed,
        pages_built,
        pages_installed,
        bytes_evacuated,
        longest_operation_us,
        longest_stall_us,
        stalls,
        rest_ms,
        held_back_ms,
    );
    let Pauses { p50_us, p99_us, max_us, count } = stats.pauses;
    let pauses = PyDict::new(py);
    for (name, value) in [("p50", p50_us), ("p99", p99_us), ("max", max_us)] {
        pauses.set_item(name, value)?;
    }
    pauses.set_item("count", count)?;
    fields.set_item("pauses", pauses)?;
    let fallbacks = PyDict::new(py);
    let counts = &stats.fallbacks;
    set_fields!(
        fallbacks,
        counts,
        flips_in_pause,
        installs_again,
        runs_unregistered,
        descriptors_lost,
        handlers_restored,
        shadows_left,
    );
    fields.set_item("fallbacks", fallbacks)?;
    fields.set_item("delivery", stats.delivery.to_string())?;
    Ok(fields)
}
