//! Where in a Python value something is. Only errors need to know, so it is found out when there is one.

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyString, PyType, PyTypeMethods};
use rustc_hash::FxHashSet;

use crate::constant::name;
use crate::errors::HeapClosed;
use crate::held;
use crate::incoming::container;
use crate::reader::{Reader, Source};
use crate::turn;

/// Steps shown at either end of a long path.
const STEPS_SHOWN: usize = 4;
/// Characters of a key that are shown.
const KEY_SHOWN: usize = 40;

struct Visit<'py> {
    source: Source<'py>,
    /// Its parent in the list of visits, and how it is reached from there; `None` for the top.
    from: Option<(usize, String)>,
}

/// How `sought` is reached from `top`: `['a'][3]`; empty when it is `top`, or is not found any more. Keys that are `sought` count as
/// their dict; also empty where there is no memory to search. O(size of `top`).
pub fn find(top: &Bound<'_, PyAny>, sought: &Bound<'_, PyAny>) -> String {
    search(top, sought).unwrap_or_default()
}

fn search(top: &Bound<'_, PyAny>, sought: &Bound<'_, PyAny>) -> PyResult<String> {
    let mut seen = FxHashSet::default();
    let mut visits: Vec<Visit<'_>> = Vec::new();
    if let Some(source) = container(top) {
        turn::push(&mut visits, Visit { source, from: None })?;
    }
    let mut next = 0;
    while let Some(source) = visits.get(next).map(|visit| visit.source.clone()) {
        let items = Reader::new(source).read(usize::MAX)?;
        for (i, value) in items.values.iter().enumerate() {
            let key = items.keys.get(i);
            if key.is_some_and(|key| key.is(sought)) {
                return Ok(spelled(&visits, Some(next), Vec::new()));
            }
            let found = value.is(sought);
            turn::grow(top.py(), (seen.len(), seen.capacity()), 1, |more| seen.try_reserve(more).is_ok())?;
            let deeper = container(value).filter(|_| seen.insert(value.as_ptr() as usize));
            if found || deeper.is_some() {
                let step = key.map_or_else(|| format!("[{i}]"), shown);
                if found {
                    return Ok(spelled(&visits, Some(next), vec![step]));
                }
                if let Some(source) = deeper {
                    turn::push(&mut visits, Visit { source, from: Some((next, step)) })?;
                }
            }
        }
        next += 1;
    }
    Ok(String::new())
}

/// The steps down to visit `at`, and then `steps`, in reading order.
fn spelled(visits: &[Visit<'_>], mut at: Option<usize>, mut steps: Vec<String>) -> String {
    while let Some((parent, step)) = at.and_then(|at| visits.get(at)).and_then(|visit| visit.from.as_ref()) {
        steps.push(step.clone());
        at = Some(*parent);
    }
    steps.reverse();
    if steps.len() <= 2 * STEPS_SHOWN {
        return steps.concat();
    }
    let hidden = steps.len() - 2 * STEPS_SHOWN;
    let tail = steps.split_off(steps.len() - STEPS_SHOWN);
    steps.truncate(STEPS_SHOWN);
    format!("{} ...{hidden} more... {}", steps.concat(), tail.concat())
}

fn shown(key: &Bound<'_, PyAny>) -> String {
    let text = key.repr().map_or_else(|_| "...".to_owned(), |text| text.to_string_lossy().into_owned());
    match text.char_indices().nth(KEY_SHOWN) {
        None => format!("[{text}]"),
        Some((cut, _)) => format!("[{}...]", &text[..cut]),
    }
}

/// `collections.OrderedDict`, `int`: the type's name as a person would write it.
pub fn qualified_type_name(value: &Bound<'_, PyAny>) -> String {
    let name = fully_qualified_name(&value.get_type());
    name.unwrap_or_else(|_| "an object".to_owned())
}

/// As PyO3's of this name, which would fill cells: see [`crate::constant`].
fn fully_qualified_name(class: &Bound<'_, PyType>) -> PyResult<String> {
    let module = class.getattr(name!(class.py(), "__module__"))?.cast_into::<PyString>()?;
    let name = class.qualname()?;
    let (module, name) = (module.to_string_lossy(), name.to_string_lossy());
    Ok(if module == "builtins" || module == "__main__" { name.into_owned() } else { format!("{module}.{name}") })
}

fn at(top: &Bound<'_, PyAny>, sought: &Bound<'_, PyAny>, word: &str) -> String {
    let path = find(top, sought);
    if path.is_empty() { path } else { format!(" {word} {path}") }
}

/// The exception for a value in `top` that cannot be stored.
pub fn unstorable(top: &Bound<'_, PyAny>, value: &Bound<'_, PyAny>) -> PyErr {
    let (name, place) = (qualified_type_name(value), at(top, value, "at"));
    PyTypeError::new_err(format!(
        "cannot store {name}{place}: a heap holds None, bool, int, float, str, bytes, dict, list and tuple, \
         exactly these types and no subclasses, and its own Dict, List and Tuple"
    ))
}

/// The exception for a proxy of another heap in `top`. What a closed heap held cannot be copied out any more.
pub fn foreign(top: &Bound<'_, PyAny>, value: &Bound<'_, PyAny>) -> PyErr {
    let py = value.py();
    let (name, place) = (qualified_type_name(value), at(top, value, "at"));
    let Some((_, held)) = held::of_proxy(value) else { return unstorable(top, value) };
    match held.run(py, |_, _| Ok(())) {
        Ok(()) => PyTypeError::new_err(format!(
            "cannot store {name} of another heap{place}: copy it out with to_python() first"
        )),
        Err(closed) if closed.is_instance_of::<HeapClosed>(py) => HeapClosed::new_err(format!(
            "cannot store {name} of another heap{place}: {}; its content can be copied out with to_python() only while its \
             heap is open, in the process that opened it",
            closed.value(py)
        )),
        Err(error) => error,
    }
}

/// The exception for a key in `top` that cannot be stored.
pub fn unstorable_key(top: &Bound<'_, PyAny>, key: &Bound<'_, PyAny>) -> PyErr {
    crate::keys::refused(key, &at(top, key, "in"))
}
