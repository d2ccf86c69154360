//! What the tests of objects share: heaps, and plain copies of what a heap holds.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, Ordering};

use super::dict;
use super::header::Kind;
use super::key::Key;
use super::outgoing::{Outgoing, outgoing};
use super::scalar::Scalar;
use super::tuple;
use super::value::{Ref, Value};
use crate::mutator::{Handle, Op, Retry};
use crate::{Heap, Options, Recycle};

/// A heap that nothing disturbs.
pub(super) fn calm_heap() -> Heap {
    heap_with(None)
}

/// A heap that moves all it can in every collection, and checks itself afterwards.
pub(super) fn stressed_heap() -> Heap {
    heap_with(Some(64 << 10))
}

/// Runs `work` while another thread collects without a break.
pub(super) fn while_collecting(heap: &Heap, work: impl FnOnce()) {
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                heap.collect().expect("a collection");
            }
        });
        // Also when the work panics, so that the thread ends and the panic is seen.
        let worked = catch_unwind(AssertUnwindSafe(work));
        done.store(true, Ordering::Relaxed);
        worked.unwrap_or_else(|panic| resume_unwind(panic));
    });
    heap.collect().expect("a collection");
    assert!(heap.stats().expect("an open heap").moves > 0, "nothing was moved");
}

fn heap_with(stress_bytes: Option<u64>) -> Heap {
    let options = Options { stress_bytes, verify: stress_bytes.is_some(), ..options() };
    Heap::new(options).expect("a heap for a test")
}

/// Options of a heap that nothing disturbs.
pub(super) fn options() -> Options {
    Options {
        budget_bytes: 1 << 30,
        delivery: None,
        recycle: Recycle::Pool,
        verify: false,
        stress_bytes: None,
        name: String::from("objects"),
    }
}

/// Makes an object and keeps it.
pub(super) fn keep(heap: &Heap, mut make: impl FnMut(&mut Op<'_>) -> Result<Ref, Retry>) -> Handle {
    let handle = heap.run(|op| {
        let object = make(op)?;
        op.handle_new(object)
    });
    handle.expect("room for a test's object")
}

/// Runs an operation on an object that is kept.
pub(super) fn on<T>(heap: &Heap, handle: Handle, mut run: impl FnMut(&mut Op<'_>, Ref) -> Result<T, Retry>) -> T {
    let result = heap.run(|op| {
        let object = op.handle_get(handle);
        run(op, object)
    });
    result.expect("room for a test's operation")
}

/// A value outside the heap, in the form that it has there. Floats are bits: -0.0 is not 0.0 here, and NaN is itself.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Plain {
    None,
    Bool(bool),
    Int(i64),
    Big(Vec<u8>),
    Float(u64),
    Str(Vec<u8>),
    Bytes(Vec<u8>),
    Tuple(Vec<Plain>),
    Other(Kind),
}

impl Plain {
    pub(super) fn float(value: f64) -> Self {
        Self::Float(value.to_bits())
    }

    pub(super) fn str(text: &str) -> Self {
        Self::Str(text.as_bytes().to_vec())
    }

    /// The int as users give it: narrow if it fits.
    pub(super) fn int(value: i128) -> Self {
        i64::try_from(value)
            .map_or_else(|_| Self::Big(super::number::shortest(&value.to_le_bytes()).to_vec()), Self::Int)
    }

    pub(super) fn scalar(&self) -> Scalar<'_> {
        match self {
            Self::None => Scalar::None,
            Self::Bool(value) => Scalar::Bool(*value),
            Self::Int(value) => Scalar::Int(*value),
            Self::Big(bytes) => Scalar::Big(bytes),
            Self::Float(bits) => Scalar::Float(f64::from_bits(*bits)),
            Self::Str(bytes) => Scalar::Str(bytes),
            Self::Bytes(bytes) => Scalar::Bytes(bytes),
            Self::Tuple(_) | Self::Other(_) => panic!("{self:?} is no scalar"),
        }
    }

    pub(super) fn key(&self) -> Key<'_> {
        match self {
            Self::None => Key::None,
            Self::Bool(value) => Key::Bool(*value),
            Self::Int(value) => Key::Int(*value),
            Self::Big(bytes) => Key::Big(bytes),
            Self::Float(bits) => Key::Float(f64::from_bits(*bits)),
            Self::Str(bytes) => Key::Str(bytes),
            Self::Bytes(bytes) => Key::Bytes(bytes),
            Self::Tuple(items) => {
                let items: Vec<_> = items.iter().map(Self::key).collect();
                Key::tuple(&items).expect("memory for a test's key")
            }
            Self::Other(kind) => panic!("{kind:?} is no key"),
        }
    }

    /// What a heap holds.
    pub(super) fn read(op: &mut Op<'_>, value: Value) -> Result<Self, Retry> {
        if let Some(object) = value.as_ref().filter(|object| op.header(*object).kind() == Kind::Tuple) {
            let items = (0..tuple::len(op, object)).map(|i| {
                let item = tuple::get(op, object, i).expect("an item below the length");
                Self::read(op, item)
            });
            return items.collect::<Result<_, _>>().map(Self::Tuple);
        }
        Ok(match outgoing(op, value)? {
            Outgoing::None => Self::None,
            Outgoing::Bool(value) => Self::Bool(value),
            Outgoing::Int(value) => Self::Int(value),
            Outgoing::Big(bytes) => Self::Big(bytes.to_vec()),
            Outgoing::Float(value) => Self::float(value),
            Outgoing::Str(bytes) => Self::Str(bytes.to_vec()),
            Outgoing::Bytes(bytes) => Self::Bytes(bytes.to_vec()),
            Outgoing::Container(kind, handle) => {
                op.handle_drop(handle);
                Self::Other(kind)
            }
        })
    }

    pub(super) fn read_some(op: &mut Op<'_>, value: Option<Value>) -> Result<Option<Self>, Retry> {
        value.map(|value| Self::read(op, value)).transpose()
    }
}

/// All entries of a dict in order, each read in an operation of its own.
pub(super) fn entries(heap: &Heap, dict: Handle) -> Vec<(Plain, Plain)> {
    let mut entries = Vec::new();
    let mut position = 0;
    while let Some((next, key, value)) = on(heap, dict, |op, object| {
        let Some((next, key, value)) = dict::next(op, object, position)? else { return Ok(None) };
        Ok(Some((next, Plain::read(op, key)?, Plain::read(op, value)?)))
    }) {
        entries.push((key, value));
        position = next;
    }
    entries
}
