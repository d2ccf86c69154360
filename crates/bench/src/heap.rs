//! Records in a subduct heap: a list with a dict for each record, as the Python peers have them.

use subduct_heap::object::{Key, Ref, Scalar, View, dict, list};
use subduct_heap::{Error, Handle, Heap, Op, Retry};

use crate::workload::{Record, Table};

const ID: Key<'_> = Key::Str(b"id");
const VISITS: Key<'_> = Key::Str(b"visits");
const TIMES: Key<'_> = Key::Str(b"times");
const SIZE: Key<'_> = Key::Str(b"size");
const PAYLOAD: Key<'_> = Key::Str(b"payload");

/// A list of dicts.
pub struct HeapTable<'h> {
    heap: &'h Heap,
    first_id: u64,
    records: Handle,
}

impl<'h> HeapTable<'h> {
    /// An empty table with a place for each of `keys`; ids begin at `first_id`.
    ///
    /// # Errors
    /// Those of [`Heap::run`].
    pub fn new(heap: &'h Heap, first_id: u64, keys: usize) -> Result<Self, Error> {
        let records = heap.run(|op| {
            let records = list::new(op, keys)?;
            op.handle_new(records)
        })?;
        for _ in 0..keys {
            heap.run(|op| list::push(op, op.handle_get(records), &Scalar::None))?;
        }
        Ok(Self { heap, first_id, records })
    }
}

/// Runs `f` with a handle to the record at `key`, if there is one.
fn with_record<T>(
    op: &mut Op<'_>,
    records: Handle,
    key: usize,
    f: impl FnOnce(&mut Op<'_>, Handle) -> Result<T, Retry>,
) -> Result<Option<T>, Retry> {
    let found = list::get(op, op.handle_get(records), key)?.and_then(|value| value.as_ref());
    let Some(record) = found else { return Ok(None) };
    let record = op.handle_new(record)?;
    let result = f(op, record);
    op.handle_drop(record);
    result.map(Some)
}

fn int(op: &mut Op<'_>, record: Handle, key: &Key<'_>) -> Result<u64, Retry> {
    match dict::get(op, op.handle_get(record), key)?.map(|value| value.view()) {
        Some(View::Int(value)) => Ok(value.cast_unsigned()),
        other => panic!("{key:?} is an int, not {other:?}"),
    }
}

fn set(op: &mut Op<'_>, record: Handle, key: &Key<'_>, value: u64) -> Result<(), Retry> {
    dict::insert(op, op.handle_get(record), key, &Scalar::Int(value.cast_signed())).map(drop)
}

/// The list of times, until the operation polls.
fn times(op: &mut Op<'_>, record: Handle) -> Result<Ref, Retry> {
    let times = dict::get(op, op.handle_get(record), &TIMES)?.and_then(|value| value.as_ref());
    Ok(times.expect("a record has times"))
}

fn time(op: &mut Op<'_>, record: Handle, i: usize) -> Result<u64, Retry> {
    let times = times(op, record)?;
    match list::get(op, times, i)?.map(|value| value.view()) {
        Some(View::Int(value)) => Ok(value.cast_unsigned()),
        other => panic!("a time is an int, not {other:?}"),
    }
}

fn set_time(op: &mut Op<'_>, record: Handle, i: usize, value: u64) -> Result<(), Retry> {
    let times = times(op, record)?;
    list::set(op, times, i, &Scalar::Int(value.cast_signed())).map(drop)
}

fn with_payload<T>(op: &mut Op<'_>, record: Handle, f: impl FnOnce(&[u8]) -> T) -> Result<T, Retry> {
    let payload = dict::get(op, op.handle_get(record), &PAYLOAD)?.and_then(|value| value.as_ref());
    Ok(f(op.raw(payload.expect("a payload is a long string"))))
}

/// A new record, not stored yet: running this again after a [`Retry`] does no harm.
fn make(op: &mut Op<'_>, id: u64, now: u64, payload: &[u8]) -> Result<Handle, Retry> {
    let record = dict::new(op, 5)?;
    let record = op.handle_new(record)?;
    let fill = |op: &mut Op<'_>| {
        set(op, record, &ID, id)?;
        set(op, record, &VISITS, 0)?;
        let times = list::new(op, 2)?;
        let times = op.handle_new(times)?;
        let made = dict::insert(op, op.handle_get(record), &TIMES, &Scalar::Object(times));
        op.handle_drop(times);
        made?;
        for _ in 0..2 {
            let times = self::times(op, record)?;
            list::push(op, times, &Scalar::Int(now.cast_signed()))?;
        }
        set(op, record, &SIZE, payload.len() as u64)?;
        dict::insert(op, op.handle_get(record), &PAYLOAD, &Scalar::Str(payload)).map(|_| record)
    };
    let filled = fill(op);
    if filled.is_err() {
        op.handle_drop(record);
    }
    filled
}

impl Table for HeapTable<'_> {
    fn get(&mut self, key: usize, now: u64) -> Result<Option<u64>, Error> {
        let records = self.records;
        self.heap.run(|op| {
            with_record(op, records, key, |op, record| {
                let visits = int(op, record, &VISITS)?;
                set(op, record, &VISITS, visits + 1)?;
                set_time(op, record, 1, now)?;
                let last = with_payload(op, record, |payload| payload.last().copied().map_or(0, u64::from))?;
                Ok(int(op, record, &SIZE)? + last)
            })
        })
    }

    fn put(&mut self, key: usize, now: u64, payload: &[u8]) -> Result<Option<u64>, Error> {
        let (records, id) = (self.records, self.first_id + key as u64);
        self.heap.run(|op| {
            let replaced = with_record(op, records, key, |op, record| {
                let old = int(op, record, &SIZE)?;
                // The only step that can lack memory comes first: what follows cannot be run twice.
                dict::insert(op, op.handle_get(record), &PAYLOAD, &Scalar::Str(payload))?;
                set(op, record, &SIZE, payload.len() as u64)?;
                set_time(op, record, 1, now)?;
                Ok(old)
            })?;
            if replaced.is_none() {
                let record = make(op, id, now, payload)?;
                let stored = list::set(op, op.handle_get(records), key, &Scalar::Object(record));
                op.handle_drop(record);
                assert!(stored?, "there is a place for every key");
            }
            Ok(replaced)
        })
    }

    fn evict(&mut self, key: usize, time: u64) -> Result<Option<u64>, Error> {
        let records = self.records;
        let size = self.heap.run(|op| {
            let size = with_record(op, records, key, |op, record| {
                Ok((self::time(op, record, 1)? == time).then_some(int(op, record, &SIZE)?))
            })?;
            if let Some(Some(_)) = size {
                list::set(op, op.handle_get(records), key, &Scalar::None)?;
            }
            Ok(size)
        })?;
        Ok(size.flatten())
    }

    fn read(&mut self, key: usize, into: &mut Record) -> Result<bool, Error> {
        let records = self.records;
        let read = self.heap.run(|op| {
            with_record(op, records, key, |op, record| {
                into.id = int(op, record, &ID)?;
                into.visits = int(op, record, &VISITS)?;
                into.times = [time(op, record, 0)?, time(op, record, 1)?];
                with_payload(op, record, |payload| {
                    into.payload.clear();
                    into.payload.extend_from_slice(payload);
                })
            })
        })?;
        Ok(read.is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::malloc::BoxTable;
    use crate::workload::{DIGEST_BASIS, Shard, text};
    use subduct_heap::Options;

    #[test]
    fn a_heap_holds_what_boxes_hold() {
        let (seed, records) = (3, 2_000);
        let heap = Heap::new(Options { budget_bytes: 16 << 20, verify: true, ..Options::default() }).unwrap();
        let text = text(seed);
        let keys = 2 * records as usize;
        let mut ours = Shard::new(HeapTable::new(&heap, 5, keys).unwrap(), &text, seed, 1, records);
        let mut theirs = Shard::new(BoxTable::new(5, keys), &text, seed, 1, records);
        for _ in 0..records {
            ours.fill().unwrap();
            theirs.fill().unwrap();
        }
        for _ in 0..20 * records {
            ours.step().unwrap();
            theirs.step().unwrap();
        }
        assert_eq!(ours.counts(), theirs.counts());
        assert_eq!(ours.digest(DIGEST_BASIS).unwrap(), theirs.digest(DIGEST_BASIS).unwrap());
        assert!(heap.stats().unwrap().moves > 0, "{:?}", heap.stats());
    }
}
