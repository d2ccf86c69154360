//! The workload of `bench/peers/README.md`: the same operations, in the same order, as in every other language.

use std::ops::AddAssign;

use subduct_heap::Error;

use crate::crc::crc32;

/// Payload bytes that stay alive for each record that was asked for.
const PAYLOAD_MEAN: u64 = 240;
/// Shortest payload in bytes, without drift.
const PAYLOAD_MIN: u64 = 128;
/// How far the drift lengthens payloads, in bytes.
const DRIFT_MAX: u64 = 96;
/// Starting points of payloads in the text.
const TEXT_STARTS: usize = 1 << 16;
/// Longest payload, rounded up.
const TEXT_EXTRA: usize = 1 << 10;
/// Where a digest begins, and what it is multiplied by: FNV-1a, a record at a time.
pub const DIGEST_BASIS: u64 = 0xcbf2_9ce4_8422_2325;
const DIGEST_PRIME: u64 = 0x100_0000_01b3;

/// Random numbers: a linear congruential generator whose high half is folded onto its low one.
pub struct Random(u64);

impl Random {
    /// Numbers of one shard.
    pub fn of_shard(seed: u64, shard: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(shard.wrapping_mul(0xd1b5_4a32_d192_ed03)))
    }

    /// The next 64 bits.
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0 ^ (self.0 >> 33)
    }
}

/// The text that payloads are cut from: lower-case letters.
pub fn text(seed: u64) -> Vec<u8> {
    let mut random = Random(seed);
    let letter = |bits: u64| b'a' + (((bits >> 32 & 0xffff) * 26) >> 16) as u8;
    (0..TEXT_STARTS + TEXT_EXTRA).map(|_| letter(random.next())).collect()
}

/// A record, copied out.
#[derive(Default)]
pub struct Record {
    /// Number among the records of all shards.
    pub id: u64,
    /// How often it was found.
    pub visits: u64,
    /// When it was made and when it was used last, in operations of its shard.
    pub times: [u64; 2],
    /// Its text.
    pub payload: Vec<u8>,
}

/// Where a shard keeps its records: a table with a place for each key. What fails has changed nothing.
pub trait Table: Send {
    /// Uses the record now: one more visit. Its size and the last byte of its payload, added up.
    fn get(&mut self, key: usize, now: u64) -> Result<Option<u64>, Error>;
    /// Stores a new record, or a new payload in the one that is there, whose old size is returned.
    fn put(&mut self, key: usize, now: u64, payload: &[u8]) -> Result<Option<u64>, Error>;
    /// Removes the record if it was used last at that time, and returns its size.
    fn evict(&mut self, key: usize, time: u64) -> Result<Option<u64>, Error>;
    /// Copies the record out.
    fn read(&mut self, key: usize, into: &mut Record) -> Result<bool, Error>;
}

/// What a shard did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Look-ups that found something.
    pub hits: u64,
    /// Look-ups that did not.
    pub misses: u64,
    /// New records.
    pub inserts: u64,
    /// New payloads in records that were there.
    pub replacements: u64,
    /// Records that made room.
    pub evictions: u64,
    /// What look-ups returned, added up.
    pub checksum: u64,
    /// Records alive.
    pub live_records: u64,
    /// Bytes of their payloads.
    pub live_payload_bytes: u64,
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.hits += other.hits;
        self.misses += other.misses;
        self.inserts += other.inserts;
        self.replacements += other.replacements;
        self.evictions += other.evictions;
        self.checksum += other.checksum;
        self.live_records += other.live_records;
        self.live_payload_bytes += other.live_payload_bytes;
    }
}

/// A thread's share of the records: which operation comes next, and which record has been unused for longest.
pub struct Shard<'t, T> {
    table: T,
    text: &'t [u8],
    random: Random,
    /// Records that were asked for.
    records: u64,
    /// Time, in operations.
    now: u64,
    /// Oldest time at which a record alive may have been used last.
    oldest: u64,
    /// The key used at each time, or -1: a ring.
    history: Vec<i32>,
    counts: Counts,
}

impl<'t, T: Table> Shard<'t, T> {
    /// An empty shard. Its table has a place for each of `2 * records` keys.
    pub fn new(table: T, text: &'t [u8], seed: u64, number: u64, records: u64) -> Self {
        let history = vec![-1; (4 * records).next_power_of_two() as usize];
        let random = Random::of_shard(seed, number);
        Self { table, text, random, records, now: 0, oldest: 0, history, counts: Counts::default() }
    }

    /// Stores the next of the records that are there at the start.
    ///
    /// # Errors
    /// Those of the table.
    pub fn fill(&mut self) -> Result<(), Error> {
        let bits = self.random.next();
        self.put((2 * self.now + (bits & 1)) as usize, bits)?;
        self.now += 1;
        Ok(())
    }

    /// Does the next operation.
    ///
    /// # Errors
    /// Those of the table.
    pub fn step(&mut self) -> Result<(), Error> {
        let bits = self.random.next();
        let key = (((bits >> 32) * 2 * self.records) >> 32) as usize;
        if bits & 3 == 0 {
            self.get(key)?;
        } else {
            self.put(key, bits)?;
        }
        self.now += 1;
        Ok(())
    }

    fn place(&self, time: u64) -> usize {
        time as usize & (self.history.len() - 1)
    }

    fn get(&mut self, key: usize) -> Result<(), Error> {
        let place = self.place(self.now);
        match self.table.get(key, self.now)? {
            Some(sum) => {
                self.counts.hits += 1;
                self.counts.checksum += sum;
                self.history[place] = key as i32;
            }
            None => {
                self.counts.misses += 1;
                self.history[place] = -1;
            }
        }
        Ok(())
    }

    fn put(&mut self, key: usize, bits: u64) -> Result<(), Error> {
        let phase = self.now % (4 * self.records);
        let height = phase.min(4 * self.records - phase);
        let size = PAYLOAD_MIN + height * DRIFT_MAX / (2 * self.records) + (bits >> 8 & 0x7f);
        let start = (bits >> 16) as usize & (TEXT_STARTS - 1);
        let text = self.text;
        match self.table.put(key, self.now, &text[start..start + size as usize])? {
            Some(old) => {
                self.counts.replacements += 1;
                self.counts.live_payload_bytes -= old;
            }
            None => {
                self.counts.inserts += 1;
                self.counts.live_records += 1;
            }
        }
        self.counts.live_payload_bytes += size;
        let place = self.place(self.now);
        self.history[place] = key as i32;
        self.evict()
    }

    fn evict(&mut self) -> Result<(), Error> {
        while self.counts.live_payload_bytes > PAYLOAD_MEAN * self.records {
            let key = self.history[self.place(self.oldest)];
            let evicted = if key < 0 { None } else { self.table.evict(key as usize, self.oldest)? };
            if let Some(size) = evicted {
                self.counts.evictions += 1;
                self.counts.live_records -= 1;
                self.counts.live_payload_bytes -= size;
            }
            self.oldest += 1;
        }
        assert!(self.now - self.oldest < self.history.len() as u64, "the history is too short");
        Ok(())
    }

    /// What was done so far.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Continues a digest with every record alive, in the order of their keys.
    ///
    /// # Errors
    /// Those of the table.
    ///
    /// # Panics
    /// When the records are not those that the shard counted.
    pub fn digest(&mut self, mut digest: u64) -> Result<u64, Error> {
        let mut record = Record::default();
        let (mut records, mut bytes) = (0, 0);
        for key in 0..2 * self.records as usize {
            if self.table.read(key, &mut record)? {
                let [made, used] = record.times;
                let content = u64::from(crc32(&record.payload));
                for word in [used << 32 | content, record.id << 32 | record.visits, made] {
                    digest = (digest ^ word).wrapping_mul(DIGEST_PRIME);
                }
                records += 1;
                bytes += record.payload.len() as u64;
            }
        }
        assert_eq!((records, bytes), (self.counts.live_records, self.counts.live_payload_bytes), "records were lost");
        Ok(digest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::malloc::BoxTable;

    #[test]
    fn bytes_alive_stay_within_their_bound_and_records_near_their_number() {
        let (seed, records) = (7, 4096);
        let text = text(seed);
        let mut shard = Shard::new(BoxTable::new(0, 2 * records as usize), &text, seed, 0, records);
        (0..records).for_each(|_| shard.fill().unwrap());
        assert_eq!(shard.counts().inserts, records);
        for _ in 0..6 * records {
            shard.step().unwrap();
            let counts = shard.counts();
            assert!(counts.live_payload_bytes <= PAYLOAD_MEAN * records);
            assert!((records * 4 / 5..records * 5 / 4).contains(&counts.live_records), "{counts:?}");
        }
        let counts = shard.counts();
        assert!(counts.evictions > records && counts.replacements > records && counts.hits > counts.misses / 2);
        let digest = shard.digest(DIGEST_BASIS).unwrap();
        assert_eq!(shard.digest(DIGEST_BASIS).unwrap(), digest);
        shard.step().unwrap();
        assert_ne!(shard.digest(DIGEST_BASIS).unwrap(), digest);
    }
}
