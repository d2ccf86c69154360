//! Records in ordinary memory, each freed when it goes: what the workload costs without a collector.

use subduct_heap::Error;

use crate::workload::{Record, Table};

struct Boxed {
    id: u64,
    visits: u64,
    times: Box<[u64; 2]>,
    payload: Box<[u8]>,
}

/// A vector of boxes.
pub struct BoxTable {
    first_id: u64,
    records: Vec<Option<Box<Boxed>>>,
}

impl BoxTable {
    /// An empty table with a place for each of `keys`; ids begin at `first_id`.
    pub fn new(first_id: u64, keys: usize) -> Self {
        Self { first_id, records: std::iter::repeat_with(|| None).take(keys).collect() }
    }
}

impl Table for BoxTable {
    fn get(&mut self, key: usize, now: u64) -> Result<Option<u64>, Error> {
        Ok(self.records[key].as_mut().map(|record| {
            record.visits += 1;
            record.times[1] = now;
            record.payload.len() as u64 + record.payload.last().copied().map_or(0, u64::from)
        }))
    }

    fn put(&mut self, key: usize, now: u64, payload: &[u8]) -> Result<Option<u64>, Error> {
        if let Some(record) = self.records[key].as_mut() {
            let old = std::mem::replace(&mut record.payload, payload.into());
            record.times[1] = now;
            return Ok(Some(old.len() as u64));
        }
        let id = self.first_id + key as u64;
        self.records[key] = Some(Box::new(Boxed { id, visits: 0, times: Box::new([now; 2]), payload: payload.into() }));
        Ok(None)
    }

    fn evict(&mut self, key: usize, time: u64) -> Result<Option<u64>, Error> {
        let evicted = self.records[key].take_if(|record| record.times[1] == time);
        Ok(evicted.map(|record| record.payload.len() as u64))
    }

    fn read(&mut self, key: usize, into: &mut Record) -> Result<bool, Error> {
        let Some(record) = &self.records[key] else { return Ok(false) };
        (into.id, into.visits, into.times) = (record.id, record.visits, *record.times);
        into.payload.clear();
        into.payload.extend_from_slice(&record.payload);
        Ok(true)
    }
}
