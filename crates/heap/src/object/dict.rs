//! Dicts: insertion ordered, with Python's semantics.
//!
//! ```text
//! Dict         slots: [entries, index]        words: [lock, len | used << 32, layout generation]
//! DictEntries  slots: [key, value] x capacity, in insertion order; the first `used` of them are in use or removed
//! DictIndex    words: hash << 32 | entry + 1, or 0; only where more than 8 entries are used
//! ```
//!
//! A removed entry leaves a gap (`table`) until the entries are copied (`rebuild`), which happens when there is no
//! room behind them, and when three quarters of them have become useless. A small table is searched entry by entry, a
//! larger one by its index (`find`, `index`). An empty dict may have neither entries nor index.
//!
//! Every function here takes the dict's lock, so threads may share a dict, and what a function does is whole for others; those that say
//! so may poll, after which the caller's references are no longer valid. The values they return are, until the operation
//! polls again or ends. Copies and merges only claim the dict: others read it meanwhile, and change it afterwards.

mod find;
mod index;
mod merge;
mod rebuild;
mod table;

use super::header::Kind;
use super::key::Key;
use super::list;
use super::pieces::in_pieces;
use super::scalar::Scalar;
use super::value::{Ref, Value};
use crate::mutator::{Op, Retry};
use find::{Probe, find};
use table::Table;

pub use merge::Merge;

/// Most entries that are used without an index.
const SMALL_MAX: usize = 8;

/// Most entries of a dict whose string keys take a place among the interned keys: the names in records recur, the keys
/// of a large dict would only displace them.
const SHARING_MAX: usize = 128;

/// A new empty dict with room for exactly `capacity` entries. O(capacity).
///
/// # Errors
/// [`Retry`] when there is no room.
pub fn new(op: &mut Op<'_>, capacity: usize) -> Result<Ref, Retry> {
    let dict = op.alloc(Kind::Dict, 2, 24)?;
    if capacity > 0 {
        let entries = rebuild::allocate_entries(op, capacity)?;
        table::install(op, dict, Some(entries), None, 0, 0);
    }
    Ok(dict)
}

/// Number of entries. O(1).
///
/// # Errors
/// [`Retry`] when another thread is using the dict.
pub fn len(op: &mut Op<'_>, mut dict: Ref) -> Result<usize, Retry> {
    op.reading(&mut dict, |op, dict| Ok(Table::of(op, *dict).len))
}

/// Number of entries, layout generation, and entries in use or removed: the position to give [`previous`] first. The
/// generation changes whenever entries change their positions. O(1).
///
/// # Errors
/// [`Retry`] when another thread is using the dict.
pub fn shape(op: &mut Op<'_>, mut dict: Ref) -> Result<(usize, u64, usize), Retry> {
    op.reading(&mut dict, |op, dict| {
        let table = Table::of(op, *dict);
        Ok((table.len, table::generation(op, *dict), table.used))
    })
}

/// Bytes of the dict, of the room for its entries and of its index. O(1).
///
/// # Errors
/// [`Retry`] when another thread is using the dict.
pub fn bytes(op: &mut Op<'_>, mut dict: Ref) -> Result<usize, Retry> {
    op.locked(&mut dict, |op, dict| {
        let table = Table::of(op, *dict);
        let parts = [Some(*dict), table.entries, table.index];
        Ok(parts.into_iter().flatten().map(|part| op.header(part).bytes() as usize).sum())
    })
}

/// The value of `key`. O(1) expected.
///
/// # Errors
/// [`Retry`] when another thread is using the dict.
pub fn get(op: &mut Op<'_>, mut dict: Ref, key: &Key<'_>) -> Result<Option<Value>, Retry> {
    op.reading(&mut dict, |op, dict| {
        let table = Table::of(op, *dict);
        Ok(find(op, &table, &Probe::new(key)).map(|found| table.value(op, found.entry)))
    })
}

/// Sets the value of `key` and returns the old one. An equal key that is there keeps its place and its form. May poll.
/// O(1) expected and amortised.
///
/// # Errors
/// [`Retry`] when there is no room or another thread is using the dict; its content has not changed then.
pub fn insert(op: &mut Op<'_>, mut dict: Ref, key: &Key<'_>, value: &Scalar<'_>) -> Result<Option<Value>, Retry> {
    op.locked(&mut dict, |op, dict| {
        let table = Table::of(op, *dict);
        let probe = Probe::new(key);
        if let Some(found) = find(op, &table, &probe) {
            let value = value.materialise(op)?;
            return Ok(Some(table.replace(op, found.entry, value)));
        }
        append(op, dict, &probe, value)?;
        Ok(None)
    })
}

/// The value of `key`, which is `default` from now on if there was none. May poll. O(1) expected and amortised.
///
/// # Errors
/// [`Retry`] when there is no room or another thread is using the dict; its content has not changed then.
pub fn get_or_insert(op: &mut Op<'_>, mut dict: Ref, key: &Key<'_>, default: &Scalar<'_>) -> Result<Value, Retry> {
    op.locked(&mut dict, |op, dict| {
        let table = Table::of(op, *dict);
        let probe = Probe::new(key);
        match find(op, &table, &probe) {
            Some(found) => Ok(table.value(op, found.entry)),
            None => append(op, dict, &probe, default),
        }
    })
}

/// Adds an entry for a key that is not there, and returns its value.
///
/// Making room is complete in itself and changes nothing that a user can see, so it may be done before the last
/// allocation.
fn append(op: &mut Op<'_>, dict: &mut Ref, probe: &Probe<'_, '_>, value: &Scalar<'_>) -> Result<Value, Retry> {
    rebuild::make_room(op, dict)?;
    let mut table = Table::of(op, *dict);
    let hash = if table.index.is_some() { probe.hash(op) } else { None };
    let key = probe.key.materialise(op, table.len < SHARING_MAX)?;
    let value = value.materialise(op)?;
    table.append(op, hash, key, value);
    Ok(value)
}

/// Removes `key` and returns its value. May poll. O(1) expected and amortised.
///
/// # Errors
/// [`Retry`] when another thread is using the dict; removing needs no room.
pub fn remove(op: &mut Op<'_>, dict: Ref, key: &Key<'_>) -> Result<Option<Value>, Retry> {
    remove_if(op, dict, key, |_, _, _| Ok(true))
}

/// As [`remove`], if `wanted` says so, which gets the dict and the value and must not poll.
///
/// # Errors
/// As [`remove`], and those of `wanted`.
pub fn remove_if(
    op: &mut Op<'_>,
    mut dict: Ref,
    key: &Key<'_>,
    wanted: impl FnOnce(&mut Op<'_>, Ref, Value) -> Result<bool, Retry>,
) -> Result<Option<Value>, Retry> {
    op.locked_if(&mut dict, |op, dict| {
        rebuild::give_back(op, dict)?;
        let mut table = Table::of(op, *dict);
        let Some(found) = find(op, &table, &Probe::new(key)) else { return Ok(None) };
        let value = table.value(op, found.entry);
        if !wanted(op, *dict, value)? {
            return Ok(None);
        }
        table.erase(op, found);
        Ok(Some(value))
    })
}

/// Removes the entry inserted last and returns its key and value. May poll. O(1) expected and amortised.
///
/// # Errors
/// [`Retry`] when another thread is using the dict; removing needs no room.
pub fn pop_last(op: &mut Op<'_>, dict: Ref) -> Result<Option<(Value, Value)>, Retry> {
    pop_last_if(op, dict, |_, _, _| Ok(true))
}

/// As [`pop_last`], if `wanted` says so, which gets the dict, key and value and must not poll.
///
/// # Errors
/// As [`pop_last`], and those of `wanted`.
pub fn pop_last_if(
    op: &mut Op<'_>,
    mut dict: Ref,
    wanted: impl FnOnce(&mut Op<'_>, Ref, (Value, Value)) -> Result<bool, Retry>,
) -> Result<Option<(Value, Value)>, Retry> {
    op.locked_if(&mut dict, |op, dict| {
        rebuild::give_back(op, dict)?;
        let end = Table::of(op, *dict).used;
        let last = table::last_live_before(op, dict, end);
        let mut table = Table::of(op, *dict);
        let Some(entry) = last else { return Ok(None) };
        let (key, value) = (table.key(op, entry), table.value(op, entry));
        if !wanted(op, *dict, (key, value))? {
            return Ok(None);
        }
        let found = find::locate(op, &table, entry);
        table.pop(op, found);
        Ok(Some((key, value)))
    })
}

/// Removes all entries. O(1).
///
/// # Errors
/// [`Retry`] when another thread is using the dict.
pub fn clear(op: &mut Op<'_>, mut dict: Ref) -> Result<(), Retry> {
    op.locked(&mut dict, |op, dict| {
        table::install(op, *dict, None, None, 0, 0);
        table::bump_generation(op, *dict);
        Ok(())
    })
}

/// The first entry at `position` or behind it: the position to go on from, key and value. Start at 0. May poll. O(1)
/// amortised over an iteration; O(1) also where the entries in front were removed in order.
///
/// # Errors
/// [`Retry`] when another thread is using the dict.
pub fn next(op: &mut Op<'_>, mut dict: Ref, position: usize) -> Result<Option<(usize, Value, Value)>, Retry> {
    op.reading(&mut dict, |op, dict| {
        let entry = table::first_live_from(op, dict, position);
        let table = Table::of(op, *dict);
        Ok(entry.map(|entry| (entry + 1, table.key(op, entry), table.value(op, entry))))
    })
}

/// The last entry in front of `position`: the position to go on from, key and value. Start at the number of entries
/// used that [`shape`] tells. May poll. O(1) amortised over an iteration.
///
/// # Errors
/// [`Retry`] when another thread is using the dict.
pub fn previous(op: &mut Op<'_>, mut dict: Ref, position: usize) -> Result<Option<(usize, Value, Value)>, Retry> {
    op.reading(&mut dict, |op, dict| {
        let entry = table::last_live_before(op, dict, position);
        let table = Table::of(op, *dict);
        Ok(entry.map(|entry| (entry, table.key(op, entry), table.value(op, entry))))
    })
}

/// Which entries [`entries`] lists, and what of them.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    /// The position that they are behind, or in front of: as for [`next`] and [`previous`].
    pub position: usize,
    /// Those in front, from the last one on.
    pub backward: bool,
    /// Their keys.
    pub keys: bool,
    /// Their values.
    pub values: bool,
}

/// A new list of the entries behind a position, or in front of it: for each the position to go on from, and what is wanted of it; and how
/// often the dict was changed before. May poll. O(used).
///
/// # Errors
/// [`Retry`] when there is no room or another thread is using the dict.
pub fn entries(op: &mut Op<'_>, mut dict: Ref, wanted: Wanted) -> Result<(Ref, u64), Retry> {
    op.claimed(&mut dict, |op, dict| {
        let (table, changes) = (Table::of(op, *dict), op.changes(*dict));
        let position = wanted.position.min(table.used);
        let (first, count) = if wanted.backward { (0, position) } else { (position, table.used - position) };
        let width = 1 + usize::from(wanted.keys) + usize::from(wanted.values);
        op.about_to_touch(width * count)?;
        let list = list::new(op, count.min(table.len) * width)?;
        let Some(items) = list::items_of(op, list) else { return Ok((list, changes)) };
        let (mut refs, mut filled) = ([*dict, list, items], 0);
        in_pieces(op, &mut refs, count, |op, &[dict, _, items], piece| {
            let table = Table::of(op, dict);
            for i in piece {
                let entry = if wanted.backward { count - 1 - i } else { first + i };
                if !table.is_live(op, entry) {
                    continue;
                }
                let next = if wanted.backward { entry } else { entry + 1 };
                let position = Value::small_int(next as i64).expect("the length of a table fits a slot");
                let key = wanted.keys.then(|| table.key(op, entry));
                let value = wanted.values.then(|| table.value(op, entry));
                for item in [Some(position), key, value].into_iter().flatten() {
                    op.store(items, filled, item);
                    filled += 1;
                }
            }
        });
        let [source, list, _] = refs;
        *dict = source;
        list::set_filled(op, list, filled);
        Ok((list, changes))
    })
}

/// A new dict with the same keys and values, without gaps or spare room. May poll. O(len).
///
/// # Errors
/// [`Retry`] when there is no room or another thread is using the dict.
pub fn copy(op: &mut Op<'_>, mut dict: Ref) -> Result<Ref, Retry> {
    op.claimed(&mut dict, rebuild::copy)
}

#[cfg(test)]
mod tests;
