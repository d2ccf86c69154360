//! Records as programs keep them: dicts of four fields, one of them a string of its own.

use subduct_heap::object::{Key, Ref, Scalar, Value, dict};
use subduct_heap::{Handle, Heap, Op, Retry};

use crate::error::{Progress, Result, step};
use crate::graph::Objects;
use crate::random::Random;

/// Length of a record's string in bytes: too long to be shared with equal ones.
const TEXT_BYTES: usize = 48;

/// Makes record `number` anew and puts it into the table.
///
/// # Errors
/// [`Retry`]; the table has not changed then.
pub fn replace(op: &mut Op<'_>, records: &Objects, number: usize, version: u64) -> std::result::Result<(), Retry> {
    let record = dict::new(op, 4)?;
    let record = op.handle_new(record)?;
    let filled = fill(op, record, number, version);
    let object = op.handle_get(record);
    op.handle_drop(record);
    filled?;
    let table = op.handle_get(records.table);
    op.store(table, number, Value::reference(object));
    Ok(())
}

fn fill(op: &mut Op<'_>, record: Handle, number: usize, version: u64) -> std::result::Result<(), Retry> {
    let mut text = [b' '; TEXT_BYTES];
    text[..8].copy_from_slice(&(number as u64).to_be_bytes().map(|byte| byte & 0x7f));
    let fields: [(&[u8], Scalar<'_>); 4] = [
        (b"number", Scalar::Int(number as i64)),
        (b"text", Scalar::Str(&text)),
        (b"score", Scalar::Float(number as f64 / 2.0)),
        (b"version", Scalar::Int(version as i64)),
    ];
    for (key, value) in &fields {
        let object = op.handle_get(record);
        dict::insert(op, object, &Key::Str(key), value)?;
    }
    Ok(())
}

/// Whether a record is the one that the table should have there.
///
/// # Errors
/// [`Retry`] when another thread is using it.
pub fn check(op: &mut Op<'_>, records: &Objects, number: usize) -> std::result::Result<bool, Retry> {
    let Some(record) = records.get(op, number) else { return Ok(false) };
    let found = field(op, record, b"number")?;
    Ok(found == Value::small_int(number as i64))
}

fn field(op: &mut Op<'_>, record: Ref, name: &[u8]) -> std::result::Result<Option<Value>, Retry> {
    dict::get(op, record, &Key::Str(name))
}

/// Makes `count` records.
///
/// # Errors
/// As [`Heap::run`]; [`crate::Error::Stopped`].
pub fn make(heap: &Heap, count: usize, progress: &mut Progress<'_>) -> Result<Objects> {
    let records = Objects::new(heap, count)?;
    for number in 0..count {
        heap.run(|op| replace(op, &records, number, 0))?;
        if number % (1 << 16) == 0 {
            step(progress, "")?;
        }
    }
    Ok(records)
}

/// Reads a record, or replaces it, by turns at random. Whether the record was right.
///
/// # Errors
/// As [`Heap::run`].
pub fn operate(heap: &Heap, records: &Objects, random: &mut Random, version: u64) -> Result<bool> {
    let number = random.below(records.count);
    if random.below(2) == 0 {
        return Ok(heap.run(|op| check(op, records, number))?);
    }
    heap.run(|op| replace(op, records, number, version))?;
    Ok(true)
}
