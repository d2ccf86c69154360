//! The result, as the one line of JSON that every peer prints.

use std::fmt::Write;

use subduct_heap::Stats;

use crate::args::Args;
use crate::latency::Histogram;
use crate::workload::Counts;

/// What a run found.
pub struct Report {
    /// What the shards did.
    pub counts: Counts,
    /// Of all records alive at the end.
    pub digest: u64,
    /// How long operations took.
    pub operations: Histogram,
    /// How late the sleeper was.
    pub sleeper: Histogram,
    /// Until the churn began.
    pub fill_ns: u64,
    /// Of the thread that took longest.
    pub churn_ns: u64,
    /// Long operations that are not in the file.
    pub dropped: u64,
}

impl Report {
    /// One line of JSON. `stats` of a subduct heap go with it.
    pub fn json(&self, args: &Args, stats: Option<&Stats>) -> String {
        let c = &self.counts;
        let runtime = if stats.is_some() { "subduct-heap, native" } else { "Rust, no collector" };
        let mut json = format!(
            r#"{{"runtime":"{runtime}","records":{},"operations":{},"threads":{},"seed":{},"digest":"{:016x}""#,
            args.records, args.operations, args.threads, args.seed, self.digest
        );
        let counts = [
            ("hits", c.hits),
            ("misses", c.misses),
            ("inserts", c.inserts),
            ("replacements", c.replacements),
            ("evictions", c.evictions),
            ("checksum", c.checksum),
            ("live_records", c.live_records),
            ("live_payload_bytes", c.live_payload_bytes),
            ("fill_ns", self.fill_ns),
            ("churn_ns", self.churn_ns),
            ("stalls_dropped", self.dropped),
        ];
        for (name, value) in counts {
            put(&mut json, name, &value.to_string());
        }
        put(&mut json, "operation", &histogram(&self.operations));
        put(&mut json, "sleeper", &histogram(&self.sleeper));
        if let Some(stats) = stats {
            put(&mut json, "heap", &heap(stats));
        }
        json.push('}');
        json
    }
}

/// What the sleeper alone found.
pub fn control_json(sleeper: &Histogram) -> String {
    format!(r#"{{"sleeper":{}}}"#, histogram(sleeper))
}

fn put(json: &mut String, name: &str, value: &str) {
    let written = write!(json, r#","{name}":{value}"#);
    debug_assert!(written.is_ok(), "a String takes all that memory can hold");
}

fn histogram(histogram: &Histogram) -> String {
    let buckets: Vec<_> = histogram.buckets().map(|(bucket, count)| format!(r#""{bucket}":{count}"#)).collect();
    format!(r#"{{"max_ns":{},"buckets":{{{}}}}}"#, histogram.max_ns(), buckets.join(","))
}

fn heap(stats: &Stats) -> String {
    let pauses = &stats.pauses;
    format!(
        r#"{{"cycles":{},"moves":{},"faults":{},"delivery":"{}","live_bytes":{},"resident_bytes":{},"longest_operation_us":{:.1},"longest_stall_us":{:.1},"pauses":{{"p50":{:.1},"p99":{:.1},"max":{:.1},"count":{}}}}}"#,
        stats.cycles,
        stats.moves,
        stats.faults,
        stats.delivery,
        stats.live_bytes,
        stats.resident_bytes,
        stats.longest_operation_us,
        stats.longest_stall_us,
        pauses.p50_us,
        pauses.p99_us,
        pauses.max_us,
        pauses.count
    )
}
