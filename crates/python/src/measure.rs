//! Measurements of the heap and of the kernel beside it, for `subduct bench`: raw samples as JSON text. The GIL is released; `progress` is
//! called with what happens next, and signals are noticed between steps.

use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use subduct_heap::{Delivery, Recycle};
use subduct_measure::{Error, Progress, churn, fault, mark, moving, pause};

use crate::errors::raised;

/// Runs a measurement with the GIL released.
fn run<T: ToString>(
    py: Python<'_>,
    progress: &Py<PyAny>,
    measure: impl FnOnce(&mut Progress<'_>) -> Result<T, Error> + Send,
) -> PyResult<String> {
    let mut interrupted = None;
    let result = py.detach(|| {
        let mut step = |next: &str| {
            let asked = Python::attach(|py| {
                py.check_signals()?;
                if next.is_empty() { Ok(()) } else { progress.call1(py, (next,)).map(drop) }
            });
            asked.map_err(|error| interrupted = Some(error)).is_ok()
        };
        measure(&mut step).map(|found| found.to_string())
    });
    result.map_err(|error| match error {
        Error::Heap(error) => raised(py, &error),
        Error::Kernel(error) => raised(py, &error.into()),
        Error::Stopped => {
            interrupted.unwrap_or_else(|| PyRuntimeError::new_err("a thread of the measurement ended early"))
        }
    })
}

fn named<T: std::str::FromStr<Err = String>>(name: &str) -> PyResult<T> {
    name.parse().map_err(PyValueError::new_err)
}

/// Flips a heap with size_bytes alive, threads using it, and beside each flip does the bare system calls to a twin of its window; marks
/// full cycles and repetitions of each alternative.
#[pyfunction]
#[pyo3(signature = (size_bytes, *, flips, threads, marks, repetitions, progress))]
pub fn measure_pause(
    py: Python<'_>,
    size_bytes: u64,
    flips: usize,
    threads: usize,
    marks: usize,
    repetitions: usize,
    progress: Py<PyAny>,
) -> PyResult<String> {
    let wanted = pause::Pause { size_bytes, flips, threads, marks, repetitions };
    run(py, &progress, |progress| pause::measure(&wanted, progress))
}

/// Touches pages that are not ready, after each of the flips of a heap with size_bytes alive, and beside it with a handler that only
/// continues.
#[pyfunction]
#[pyo3(signature = (size_bytes, *, flips, delivery, progress))]
pub fn measure_fault(
    py: Python<'_>,
    size_bytes: u64,
    flips: usize,
    delivery: &str,
    progress: Py<PyAny>,
) -> PyResult<String> {
    let wanted = fault::Fault { size_bytes, flips, delivery: named::<Delivery>(delivery)? };
    run(py, &progress, |progress| fault::measure(&wanted, progress))
}

/// Has the worker make pages ready: work is "install", "build_local", "build_random", "fix_local" or "fix_random".
#[pyfunction]
#[pyo3(signature = (work, size_bytes, *, cycles, progress))]
pub fn measure_worker(
    py: Python<'_>,
    work: &str,
    size_bytes: u64,
    cycles: usize,
    progress: Py<PyAny>,
) -> PyResult<String> {
    let Some(work) = moving::Work::named(work) else {
        return Err(PyValueError::new_err(format!("there is no work named {work:?}")));
    };
    run(py, &progress, |progress| moving::worker(work, size_bytes, cycles, progress))
}

/// Has one mutator walk a random graph while it moves, in cycles heaps one after the other.
#[pyfunction]
#[pyo3(signature = (size_bytes, *, cycles, progress))]
pub fn measure_mutator(py: Python<'_>, size_bytes: u64, cycles: usize, progress: Py<PyAny>) -> PyResult<String> {
    run(py, &progress, |progress| moving::mutator(size_bytes, cycles, progress))
}

/// Churns a share of a dense heap, and collects.
#[pyfunction]
#[pyo3(signature = (size_bytes, share, *, everywhere, progress))]
pub fn measure_churned(
    py: Python<'_>,
    size_bytes: u64,
    share: f64,
    everywhere: bool,
    progress: Py<PyAny>,
) -> PyResult<String> {
    if !(0.0..=1.0).contains(&share) {
        return Err(PyValueError::new_err(format!("a share is between 0 and 1, not {share}")));
    }
    let churned = if everywhere { moving::Churned::Everywhere } else { moving::Churned::Part };
    run(py, &progress, |progress| moving::churned(size_bytes, share, churned, progress))
}

/// Marks a graph of that many objects, cycles times; each refers to four others, at random or beside it.
#[pyfunction]
#[pyo3(signature = (objects, *, random, cycles, progress))]
pub fn measure_mark(
    py: Python<'_>,
    objects: usize,
    random: bool,
    cycles: usize,
    progress: Py<PyAny>,
) -> PyResult<String> {
    let reach = if random { mark::Reach::Random } else { mark::Reach::Local };
    run(py, &progress, |progress| mark::measure(objects, reach, cycles, progress))
}

/// Has threads read and replace records for some seconds while the heap collects at its own pace.
#[pyfunction]
#[pyo3(signature = (records, *, threads, seconds, delivery, recycle, progress))]
pub fn measure_churn(
    py: Python<'_>,
    records: usize,
    threads: usize,
    seconds: f64,
    delivery: Option<&str>,
    recycle: &str,
    progress: Py<PyAny>,
) -> PyResult<String> {
    let delivery = delivery.map(named::<Delivery>).transpose()?;
    let wanted = churn::Churn { records, threads, seconds, delivery, recycle: named::<Recycle>(recycle)? };
    run(py, &progress, |progress| churn::measure(&wanted, progress))
}

/// Looks at the private memory that a heap with size_bytes alive takes beside its file, after a cycle that moved everything, or nothing.
#[pyfunction]
#[pyo3(signature = (size_bytes, *, move_all, progress))]
pub fn measure_side_tables(py: Python<'_>, size_bytes: u64, move_all: bool, progress: Py<PyAny>) -> PyResult<String> {
    run(py, &progress, |progress| churn::side_tables(size_bytes, move_all, progress))
}

/// Adds the measurements to the module.
pub fn add_to(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(measure_pause, module)?)?;
    module.add_function(wrap_pyfunction!(measure_fault, module)?)?;
    module.add_function(wrap_pyfunction!(measure_worker, module)?)?;
    module.add_function(wrap_pyfunction!(measure_mutator, module)?)?;
    module.add_function(wrap_pyfunction!(measure_churned, module)?)?;
    module.add_function(wrap_pyfunction!(measure_mark, module)?)?;
    module.add_function(wrap_pyfunction!(measure_churn, module)?)?;
    module.add_function(wrap_pyfunction!(measure_side_tables, module)?)
}
