//! Marking: a graph of many small objects that refer to neighbours, or to others at random, so that every step misses the caches.

use serde_json::{Value, json};
use subduct_heap::{Delivery, Recycle};

use crate::error::{Progress, Result, step};
use crate::graph::{self, NODE_BYTES, NODE_REFERENCES, Nodes, Wanted};

pub use crate::graph::Reach;

/// Marks a graph of `objects` nodes with four references each, `cycles` times, no mutator running. Returns `mark_us` for each, and
/// `live_objects`, `live_bytes`, `references`.
///
/// # Errors
/// Those of the heap and the kernel; [`crate::Error::Stopped`].
pub fn measure(objects: usize, reach: Reach, cycles: usize, progress: &mut Progress<'_>) -> Result<Value> {
    let (heap, _) = graph::heap(Wanted {
        budget_bytes: (objects * (NODE_BYTES + 8)) as u64 * 2 + (128 << 20),
        delivery: Some(Delivery::Sigbus),
        recycle: Recycle::Pool,
        move_all: false,
    })?;
    step(progress, "filling")?;
    let nodes = Nodes::alike(reach).make(&heap, objects, progress)?;
    step(progress, "marking")?;
    let (mut mark_us, mut live) = (Vec::new(), (0, 0));
    for _ in 0..cycles {
        step(progress, "")?;
        let report = heap.collect()?;
        mark_us.push(report.mark_ms * 1e3);
        live = (report.live_objects, report.live_bytes);
    }
    heap.drop_handle(nodes.table);
    // Each node is referred to by the table, and refers to four.
    let references = objects * (1 + NODE_REFERENCES);
    Ok(json!({ "mark_us": mark_us, "live_objects": live.0, "live_bytes": live.1, "references": references }))
}
