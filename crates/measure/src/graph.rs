//! What the measured heaps hold.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

use subduct_heap::object::{Kind, Ref, Value, tuple};
use subduct_heap::{Delivery, Handle, Heap, Op, Options, Recycle, Retry};

use crate::error::{Progress, Result, step};
use crate::random::Random;

/// Slots of a block: with the header it has 32 KiB, so that blocks fill regions without a gap.
pub const BLOCK_SLOTS: usize = 4095;
/// Bytes of a block.
pub const BLOCK_BYTES: usize = 8 * (BLOCK_SLOTS + 1);
/// Slots of a node that may refer to others.
pub const NODE_REFERENCES: usize = 4;
/// Slots of a node: four for references, one for the chain, two ints.
const NODE_SLOTS: usize = 7;
/// Bytes of a node: 64 of them, with 256 references, fill an OS page of 4 KiB.
pub const NODE_BYTES: usize = 8 * (NODE_SLOTS + 1);
/// Slot of a node that keeps the one before it alive.
const CHAIN: usize = NODE_REFERENCES;
/// Nodes made in one operation: some ten microseconds.
const BATCH: usize = 64;

/// How a measured heap differs from another.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    /// Hard limit on resident bytes.
    pub budget_bytes: u64,
    /// How faults are caught.
    pub delivery: Option<Delivery>,
    /// What becomes of freed memory.
    pub recycle: Recycle,
    /// Whether a cycle moves everything that can move.
    pub move_all: bool,
}

/// A heap under a name of its own, so that its file can be found.
///
/// # Errors
/// As [`Heap::new`].
pub fn heap(wanted: Wanted) -> Result<(Heap, String)> {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let name = format!("subduct-bench-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    let options = Options {
        budget_bytes: wanted.budget_bytes,
        delivery: wanted.delivery,
        recycle: wanted.recycle,
        // Never due by itself within a measurement.
        stress_bytes: wanted.move_all.then_some(1 << 50),
        name: name.clone(),
        ..Options::default()
    };
    Ok((Heap::new(options)?, name))
}

/// Objects of one kind, reached through a table.
#[derive(Clone, Copy, Debug)]
pub struct Objects {
    /// A tuple of references to all.
    pub table: Handle,
    /// How many.
    pub count: usize,
}

impl Objects {
    /// A table of `count` slots, still without objects.
    ///
    /// # Errors
    /// As [`Heap::run`].
    pub fn new(heap: &Heap, count: usize) -> Result<Self> {
        let table = heap.run(|op| tuple::new(op, count).and_then(|table| op.handle_new(table)))?;
        Ok(Self { table, count })
    }

    /// Object `i`, if it is there.
    #[inline]
    #[must_use]
    pub fn get(&self, op: &Op<'_>, i: usize) -> Option<Ref> {
        op.load(op.handle_get(self.table), i).as_ref()
    }

    /// Gives up the table, and keeps the last object, which keeps all others if they are chained.
    ///
    /// # Errors
    /// As [`Heap::run`].
    pub fn keep_last(self, heap: &Heap) -> Result<()> {
        heap.run(|op| {
            if let Some(last) = self.get(op, self.count - 1) {
                op.handle_new(last)?;
            }
            op.handle_drop(self.table);
            Ok(())
        })?;
        Ok(())
    }
}

/// At least `bytes` of tuples of small ints: a heap in which nothing refers to anything but the table.
///
/// # Errors
/// As [`Heap::run`]; [`crate::Error::Stopped`].
pub fn blocks(heap: &Heap, bytes: u64, progress: &mut Progress<'_>) -> Result<Objects> {
    let blocks = Objects::new(heap, (bytes as usize).div_ceil(BLOCK_BYTES))?;
    for i in 0..blocks.count {
        heap.run(|op| {
            let block = tuple::new(op, BLOCK_SLOTS)?;
            let table = op.handle_get(blocks.table);
            op.store(table, i, Value::reference(block));
            Ok(())
        })?;
        if i % 4096 == 0 {
            step(progress, "")?;
        }
    }
    Ok(blocks)
}

/// Which nodes a node refers to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Those that come after one another in memory.
    Local,
    /// Any, uniformly.
    Random,
}

/// What nodes are like.
#[derive(Clone, Copy, Debug)]
pub struct Nodes<'t> {
    /// What they refer to besides nodes of their own kind.
    pub others: Option<&'t Objects>,
    /// How many of their four references lead to others.
    pub to_others: usize,
    /// Which of either.
    pub reach: Reach,
    /// Only every so many nodes are referred to: the rest die with the table.
    pub stride: usize,
    /// Whether each node also refers to the one before it.
    pub is_chained: bool,
}

impl Nodes<'_> {
    /// Nodes that refer to nodes like them.
    #[must_use]
    pub fn alike(reach: Reach) -> Self {
        Self { others: None, to_others: 0, reach, stride: 1, is_chained: false }
    }

    /// Makes `count` of them.
    ///
    /// # Errors
    /// As [`Heap::run`]; [`crate::Error::Stopped`].
    pub fn make(&self, heap: &Heap, count: usize, progress: &mut Progress<'_>) -> Result<Objects> {
        let made = Objects::new(heap, count)?;
        let mut random = Random::new(count as u64);
        for start in (0..count).step_by(BATCH) {
            self.replace(heap, &made, start..count.min(start + BATCH), &mut random)?;
            if start % (1024 * BATCH) == 0 {
                step(progress, "")?;
            }
        }
        Ok(made)
    }

    /// Makes the nodes with these numbers, anew where they are there; a few hundred at most.
    ///
    /// # Errors
    /// As [`Heap::run`].
    pub fn replace(&self, heap: &Heap, made: &Objects, numbers: Range<usize>, random: &mut Random) -> Result<()> {
        let mut next = numbers.start;
        // Run again after a shortage of room, it goes on where it was.
        heap.run(|op| {
            while next < numbers.end {
                self.add(op, made, next, random)?;
                next += 1;
            }
            Ok(())
        })?;
        Ok(())
    }

    fn add(
        &self,
        op: &mut Op<'_>,
        made: &Objects,
        number: usize,
        random: &mut Random,
    ) -> std::result::Result<(), Retry> {
        let node = op.alloc(Kind::Tuple, NODE_SLOTS, 0)?;
        for slot in 0..NODE_REFERENCES {
            let target = match self.others.filter(|_| slot < self.to_others) {
                // Spread evenly over the others, in their order.
                Some(others) if self.reach == Reach::Local => {
                    let nth = (number * NODE_REFERENCES + slot) as u128 * others.count as u128;
                    others.get(op, (nth / (made.count * NODE_REFERENCES) as u128) as usize)
                }
                Some(others) => others.get(op, random.below(others.count)),
                None if number < self.stride => None,
                None if self.reach == Reach::Local => made.get(op, self.referred(number.saturating_sub(1 + slot))),
                None => made.get(op, self.referred(random.below(number))),
            };
            op.store(node, slot, target.map_or(Value::NONE, Value::reference));
        }
        let before = number.checked_sub(1).filter(|_| self.is_chained).and_then(|before| made.get(op, before));
        op.store(node, CHAIN, before.map_or(Value::NONE, Value::reference));
        for slot in CHAIN + 1..NODE_SLOTS {
            op.store(node, slot, Value::small_int(number as i64).unwrap_or(Value::NONE));
        }
        let table = op.handle_get(made.table);
        op.store(table, number, Value::reference(node));
        Ok(())
    }

    /// The node at or before `number` that others may refer to.
    fn referred(&self, number: usize) -> usize {
        number - number % self.stride
    }
}

/// A table of every so many of the objects of another.
///
/// # Errors
/// As [`Heap::run`].
pub fn every(heap: &Heap, objects: &Objects, stride: usize) -> Result<Objects> {
    let chosen = Objects::new(heap, objects.count.div_ceil(stride))?;
    for start in (0..chosen.count).step_by(BATCH) {
        heap.run(|op| {
            let table = op.handle_get(chosen.table);
            for i in start..chosen.count.min(start + BATCH) {
                let object = objects.get(op, i * stride).map_or(Value::NONE, Value::reference);
                op.store(table, i, object);
            }
            Ok(())
        })?;
    }
    Ok(chosen)
}

/// Walks `hops` references from a node and checks the number of each node on the way: what a mutator does that uses a graph.
/// False where a node is not what it should be.
#[inline]
#[must_use]
pub fn walk(op: &Op<'_>, nodes: &Objects, hops: usize, random: &mut Random) -> bool {
    let Some(mut node) = nodes.get(op, random.below(nodes.count)) else { return true };
    for _ in 0..hops {
        let number = op.load(node, CHAIN + 1);
        if op.header(node).slots() != NODE_SLOTS || number != op.load(node, CHAIN + 2) {
            return false;
        }
        let Some(next) = op.load(node, random.below(NODE_REFERENCES)).as_ref() else { return true };
        node = next;
    }
    true
}
