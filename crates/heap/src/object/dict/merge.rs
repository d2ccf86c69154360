//! One dict merged into another, or both into a new one: whole for everybody else.
//!
//! Both dicts are claimed, so that they stay as they are while others read them. First it is counted how many keys are new, then
//! there is room made for all that is needed, and from there on nothing can fail. New entries go behind the used ones, where
//! nobody looks yet, or into larger entries beside the old ones; then one step shows them all.

use super::find::find_stored;
use super::rebuild::{self, Ranks};
use super::table::{self, Table};
use super::{SMALL_MAX, copy, index};
use crate::mutator::{Handle, Op, Retry};
use crate::object::header::Kind;
use crate::object::key;
use crate::object::pieces::in_pieces_of;
use crate::object::value::{Ref, Value};

/// Most entries that are merged where they replace values that others see: readers wait for it. For more, the entries are copied.
const IN_PLACE_MAX: usize = 1024;

/// Entries searched for between two safepoints.
const PIECE: usize = 32;

/// A merge, and what earlier attempts at it found out.
pub struct Merge {
    left: Handle,
    right: Handle,
    /// How many keys of `right` are not in `left`, and how often both had been changed when that was counted.
    counted: Option<(usize, [u64; 2])>,
}

/// What is going to be used.
struct Plan {
    /// Entries that there are afterwards.
    len: usize,
    /// Where the first new one goes.
    first: usize,
    /// Room of new entries, or none where the old ones have room.
    capacity: Option<usize>,
    index: Index,
    has_gaps: bool,
}

/// What index the result has.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Index {
    None,
    /// The left dict's.
    Old,
    /// A new one with so many slots.
    New(usize),
}

impl Merge {
    /// Of the second dict into the first, or of both into a new one with the first one's entries in front.
    #[must_use]
    pub fn new(left: Handle, right: Handle) -> Self {
        Self { left, right, counted: None }
    }

    /// Sets all that `right` holds in `left`. May poll. O(len of right) expected, and O(len of left) where it has to grow.
    ///
    /// # Errors
    /// [`Retry`] when there is no room or another thread is using one of the dicts; no user sees a change then.
    pub fn update(&mut self, op: &mut Op<'_>) -> Result<(), Retry> {
        if op.same(self.left, self.right) || merge_few(op, self.left, self.right)? {
            return Ok(());
        }
        self.merge(op, false).map(drop)
    }

    /// A new dict with all that `left` and then `right` hold. May poll. O(len of both) expected.
    ///
    /// # Errors
    /// [`Retry`] when there is no room or another thread is using one of the dicts.
    pub fn union(&mut self, op: &mut Op<'_>) -> Result<Ref, Retry> {
        let left = op.handle_get(self.left);
        if op.same(self.left, self.right) { copy(op, left) } else { self.merge(op, true) }
    }

    fn merge(&mut self, op: &mut Op<'_>, makes_new: bool) -> Result<Ref, Retry> {
        let mut left = op.handle_get(self.left);
        let mut right = op.handle_get(self.right);
        op.claimed(&mut left, |op, left| {
            op.claimed(&mut right, |op, right| {
                let mut refs = [*left, *right];
                let merged = self.merge_claimed(op, &mut refs, makes_new);
                [*left, *right] = refs;
                merged
            })
        })
    }

    fn merge_claimed(&mut self, op: &mut Op<'_>, dicts: &mut [Ref; 2], makes_new: bool) -> Result<Ref, Retry> {
        let [left, right] = dicts.map(|dict| Table::of(op, dict));
        // An entry costs a search: about as much as eight slots.
        op.about_to_touch(8 * right.used)?;
        let new = self.count(op, dicts);
        let plan = Plan::of(op, &left, &right, new, makes_new);
        if plan.capacity.is_some() {
            op.about_to_touch(4 * left.used)?;
        }
        let made = if makes_new { super::new(op, 0)? } else { dicts[0] };
        let (entries, index) = plan.allocate(op)?;
        let mut refs = [dicts[0], entries.unwrap_or(dicts[0]), dicts[1], index.unwrap_or(dicts[0]), made];
        let ranks = plan.lay_out(op, &mut refs)?;
        plan.fill(op, &mut refs, ranks.as_ref());
        let [left, _, right, _, made] = if makes_new {
            plan.install(op, &refs);
            refs
        } else {
            op.commit(&mut refs, |op, refs| plan.show(op, refs));
            refs
        };
        *dicts = [left, right];
        Ok(made)
    }

    /// How many keys are new. O(len of right) expected.
    fn count(&mut self, op: &mut Op<'_>, dicts: &mut [Ref; 2]) -> usize {
        let changes = dicts.map(|dict| op.changes(dict));
        if let Some((new, when)) = self.counted
            && when == changes
        {
            return new;
        }
        let right = Table::of(op, dicts[1]);
        let mut new = right.len;
        if Table::of(op, dicts[0]).len > 0 {
            new = 0;
            in_pieces_of(PIECE, op, dicts, right.used, |op, dicts, piece| {
                let [left, right] = dicts.map(|dict| Table::of(op, dict));
                let keys = piece.map(|entry| right.key(op, entry)).filter(|key| *key != Value::DELETED);
                new += keys.filter(|key| find_stored(op, &left, *key, key::hash_stored(op, *key)).is_none()).count();
            });
        }
        self.counted = Some((new, changes));
        new
    }
}

/// Merges few entries into a dict that has room for them, whichever are new: false if it has not, or they are not few.
fn merge_few(op: &mut Op<'_>, left: Handle, right: Handle) -> Result<bool, Retry> {
    let (mut left, mut right) = (op.handle_get(left), op.handle_get(right));
    if Table::of(op, right).used > PIECE {
        return Ok(false);
    }
    op.locked(&mut left, |op, left| {
        op.reading(&mut right, |op, right| {
            let (mut left, right) = (Table::of(op, *left), Table::of(op, *right));
            let slots = left.index.map_or(0, |index| index::slots(op, index));
            let used = left.used + right.len;
            let fits =
                used <= left.capacity(op) && (used <= SMALL_MAX || slots >= index::slots_for(left.len + right.len));
            if !fits || right.used > PIECE {
                return Ok(false);
            }
            for entry in 0..right.used {
                let (key, value) = (right.key(op, entry), right.value(op, entry));
                if key == Value::DELETED {
                    continue;
                }
                let hash = if left.index.is_some() { key::hash_stored(op, key) } else { None };
                match find_stored(op, &left, key, hash) {
                    Some(found) => {
                        left.replace(op, found, value);
                    }
                    None => left.append(op, hash, key, value),
                }
            }
            Ok(true)
        })
    })
}

impl Plan {
    fn of(op: &Op<'_>, left: &Table, right: &Table, new: usize, makes_new: bool) -> Self {
        let len = left.len + new;
        let replaces_many = right.used > IN_PLACE_MAX && new < right.len;
        let fits = !makes_new && !replaces_many && left.used + new <= left.capacity(op);
        let capacity = match (fits, left.len) {
            (true, _) => None,
            (_, 0) => Some(len),
            _ if makes_new => Some(len),
            _ => Some(rebuild::roomier(len, left.has_gaps())),
        };
        let first = if fits { left.used } else { left.len };
        let room = capacity.unwrap_or_else(|| left.capacity(op));
        // New entries without the gaps have other numbers.
        let keeps_index = !makes_new && (fits || !left.has_gaps());
        let index = match left.index.filter(|_| keeps_index) {
            Some(old) if index::slots(op, old) >= index::slots_for(len) => Index::Old,
            _ if first + new > SMALL_MAX => Index::New(index::slots_for(room)),
            _ => Index::None,
        };
        Self { len, first, capacity, index, has_gaps: left.has_gaps() }
    }

    /// The new entries and the new index, as far as they are needed.
    fn allocate(&self, op: &mut Op<'_>) -> Result<(Option<Ref>, Option<Ref>), Retry> {
        let entries = self.capacity.filter(|capacity| *capacity > 0).map(|capacity| capacity.saturating_mul(2));
        let bytes = if let Index::New(slots) = self.index { Some(slots * 8) } else { None };
        // Large ones are asked for one at a time, and none is taken before both are there.
        op.is_prepared(Kind::DictEntries, entries.unwrap_or(0), 0)?;
        op.is_prepared(Kind::DictIndex, 0, bytes.unwrap_or(0))?;
        let entries = entries.map(|slots| op.alloc(Kind::DictEntries, slots, 0)).transpose()?;
        let index = bytes.map(|bytes| op.alloc(Kind::DictIndex, 0, bytes)).transpose()?;
        Ok((entries, index))
    }

    // The functions below work on references of which the first is the left dict, the second the new entries, the third the right
    // dict and the fourth the new index.

    /// Copies the left dict to what is new. Where its entries get other numbers, tells which.
    ///
    /// # Errors
    /// [`Retry::Refused`].
    fn lay_out(&self, op: &mut Op<'_>, refs: &mut [Ref; 5]) -> Result<Option<Ranks>, Retry> {
        let used = Table::of(op, refs[0]).used;
        let ranks = match self.capacity {
            Some(_) if self.has_gaps => Some(rebuild::copy_live_entries(op, refs, used)?),
            Some(_) => {
                rebuild::copy_entries(op, refs, used);
                None
            }
            None => None,
        };
        if let Index::New(_) = self.index {
            if Table::of(op, refs[0]).index.is_some() {
                refs.swap(1, 3);
                rebuild::carry_index(op, refs, |entry| ranks.as_ref().map_or(entry, |ranks| ranks.of(entry)));
                refs.swap(1, 3);
            } else if let Some(entries) = self.entries(op, refs) {
                rebuild::hash_entries(op, entries, self.first, refs[3]);
            }
        }
        Ok(ranks)
    }

    /// The entries that are to be the left dict's.
    fn entries(&self, op: &Op<'_>, refs: &[Ref; 5]) -> Option<Ref> {
        match self.capacity {
            Some(0) => None,
            Some(_) => Some(refs[1]),
            None => Table::of(op, refs[0]).entries,
        }
    }

    /// The index that is to be the left dict's.
    fn index(&self, op: &Op<'_>, refs: &[Ref; 5]) -> Option<Ref> {
        match self.index {
            Index::None => None,
            Index::Old => Table::of(op, refs[0]).index,
            Index::New(_) => Some(refs[3]),
        }
    }

    /// Stores the right dict's entries where nobody sees them yet: all that are new, and in new entries the others as well.
    fn fill(&self, op: &mut Op<'_>, refs: &mut [Ref; 5], ranks: Option<&Ranks>) {
        let mut next = self.first;
        let used = Table::of(op, refs[2]).used;
        in_pieces_of(PIECE, op, refs, used, |op, refs, piece| {
            let (left, right) = (Table::of(op, refs[0]), Table::of(op, refs[2]));
            let (Some(entries), index) = (self.entries(op, refs), self.index(op, refs)) else { return };
            for entry in piece {
                let (key, value) = (right.key(op, entry), right.value(op, entry));
                if key == Value::DELETED {
                    continue;
                }
                let hash = key::hash_stored(op, key);
                if let Some(found) = find_stored(op, &left, key, hash) {
                    if self.capacity.is_some() {
                        let entry = ranks.map_or(found, |ranks| ranks.of(found));
                        op.store(entries, 2 * entry + 1, value);
                    }
                    continue;
                }
                op.store(entries, 2 * next, key);
                op.store(entries, 2 * next + 1, value);
                if let (Some(index), Some(hash)) = (index, hash) {
                    index::insert(op, index, index::tag(hash), next);
                }
                next += 1;
            }
        });
    }

    /// Makes the merge visible.
    fn show(&self, op: &mut Op<'_>, refs: &mut [Ref; 5]) {
        let (left, right) = (Table::of(op, refs[0]), Table::of(op, refs[2]));
        let replaces = self.capacity.is_none() && self.len < left.len + right.len;
        in_pieces_of(PIECE, op, refs, if replaces { right.used } else { 0 }, |op, refs, piece| {
            let (left, right) = (Table::of(op, refs[0]), Table::of(op, refs[2]));
            for entry in piece {
                let key = right.key(op, entry);
                if key != Value::DELETED
                    && let Some(found) = find_stored(op, &left, key, key::hash_stored(op, key))
                {
                    left.replace(op, found, right.value(op, entry));
                }
            }
        });
        if self.capacity.is_some() && self.has_gaps {
            table::bump_generation(op, refs[0]);
        }
        self.install(op, refs);
    }

    fn install(&self, op: &mut Op<'_>, refs: &[Ref; 5]) {
        let (entries, index) = (self.entries(op, refs), self.index(op, refs));
        let used = self.first + (self.len - Table::of(op, refs[0]).len);
        table::install(op, refs[4], entries, index, self.len, used);
    }
}
