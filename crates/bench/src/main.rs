//! A native mutator: the workload of `bench/peers` on a subduct heap without Python, or without a collector at all.

mod args;
mod crc;
mod heap;
mod latency;
mod malloc;
mod report;
mod sleeper;
mod workload;

use std::error::Error;
use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::panic::resume_unwind;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::ScopedJoinHandle;
use std::time::{Duration, Instant};

use subduct_heap::object::{Key, Scalar, dict};
use subduct_heap::{Heap, Options, Recycle};

use args::{Args, USAGE};
use heap::HeapTable;
use latency::{Histogram, Recorder};
use malloc::BoxTable;
use report::{Report, control_json};
use workload::{Counts, DIGEST_BASIS, Shard, Table, text};

fn main() -> ExitCode {
    let args = match Args::parse(std::env::args().skip(1)) {
        Ok(args) => args,
        Err(error) => {
            eprintln!("churn: {error}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    if let Err(error) = run(&args, print_and_wait) {
        eprintln!("churn: {error}");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

/// Prints the line and lets the caller look at this process's memory before everything in it goes.
fn print_and_wait(json: &str) -> io::Result<()> {
    println!("{json}");
    io::stdin().read_to_end(&mut Vec::new()).map(drop)
}

/// Runs what was asked for and hands the result to `show` while all records are still there.
fn run(args: &Args, show: impl FnOnce(&str) -> io::Result<()>) -> Result<(), Box<dyn Error>> {
    if let Some(seconds) = args.control_seconds {
        return Ok(show(&control_json(&control(Duration::from_secs_f64(seconds))))?);
    }
    let keys = (2 * (args.records / args.threads)) as usize;
    if !args.is_subduct {
        let tables = (0..args.threads).map(|shard| BoxTable::new(shard * keys as u64, keys)).collect();
        return churn(args, tables, || {}, |report| show(&report.json(args, None)));
    }
    let heap = Heap::new(Options {
        budget_bytes: args.budget_bytes,
        delivery: args.delivery,
        recycle: Recycle::Pool,
        name: "peers".to_owned(),
        ..Options::default()
    })?;
    let beacon = Key::Str(b"beacon");
    heap.run(|op| dict::insert(op, op.handle_get(heap.root()), &beacon, &Scalar::Int(1)).map(drop))?;
    let tables = (0..args.threads).map(|shard| HeapTable::new(&heap, shard * keys as u64, keys));
    let tables = tables.collect::<Result<Vec<_>, _>>()?;
    let look = || {
        let seen = heap.run(|op| dict::get(op, op.handle_get(heap.root()), &beacon));
        assert!(matches!(seen, Ok(Some(_))), "the beacon is there: {seen:?}");
    };
    let show = |report: &Report| show(&report.json(args, Some(&heap.stats().map_err(io::Error::other)?)));
    churn(args, tables, look, show)
}

/// The sleeper alone.
fn control(time: Duration) -> Histogram {
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let sleeper = scope.spawn(|| sleeper::sleep_until(&stop, || {}));
        std::thread::sleep(time);
        stop.store(true, Ordering::Relaxed);
        sleeper.join().expect("a sleeper only sleeps")
    })
}

/// What a mutator thread hands back.
struct Done<'t, T> {
    shard: Shard<'t, T>,
    recorder: Recorder,
    /// When the last record was stored that is there at the start, in nanoseconds.
    filled_ns: u64,
}

/// Fills and churns a shard for each table, with a sleeper that does `look` each time it wakes; `show` comes last.
fn churn<T: Table>(
    args: &Args,
    tables: Vec<T>,
    look: impl Fn() + Send,
    show: impl FnOnce(&Report) -> io::Result<()>,
) -> Result<(), Box<dyn Error>> {
    let text = &text(args.seed)[..];
    let stop = &AtomicBool::new(false);
    let began = Instant::now();
    let (ended, sleeper) = std::thread::scope(|scope| {
        let sleeper = scope.spawn(|| sleeper::sleep_until(stop, look));
        let mutators: Vec<_> = tables
            .into_iter()
            .enumerate()
            .map(|(i, table)| scope.spawn(move || mutate(args, i as u64, table, text, began)))
            .collect();
        let ended: Vec<_> = mutators.into_iter().map(ScopedJoinHandle::join).collect();
        // Also where a mutator panicked: the scope waits for the sleeper.
        stop.store(true, Ordering::Relaxed);
        (ended, sleeper.join().unwrap_or_else(|panic| resume_unwind(panic)))
    });
    let mut done = Vec::new();
    for ended in ended {
        done.push(ended.unwrap_or_else(|panic| resume_unwind(panic))?);
    }
    if let Some(path) = &args.stalls {
        let mut file = BufWriter::new(File::create(path)?);
        for (thread, done) in done.iter().enumerate() {
            done.recorder.write_stalls(thread as u64, &mut file)?;
        }
        file.flush()?;
    }
    Ok(show(&add_up(&mut done, sleeper)?)?)
}

fn mutate<'t, T: Table>(
    args: &Args,
    number: u64,
    table: T,
    text: &'t [u8],
    began: Instant,
) -> Result<Done<'t, T>, subduct_heap::Error> {
    let records = args.records / args.threads;
    let mut shard = Shard::new(table, text, args.seed, number, records);
    let mut recorder = Recorder::start(began);
    for _ in 0..records {
        shard.fill()?;
        recorder.note();
    }
    let filled_ns = recorder.last_ns();
    for _ in 0..args.operations / args.threads {
        shard.step()?;
        recorder.note();
    }
    Ok(Done { shard, recorder, filled_ns })
}

/// What all threads found, and the digest of what they left.
fn add_up<T: Table>(done: &mut [Done<'_, T>], sleeper: Histogram) -> Result<Report, subduct_heap::Error> {
    let fill_ns = done.iter().map(|done| done.filled_ns).max().unwrap_or(0);
    let churn_ns = done.iter().map(|done| done.recorder.last_ns() - done.filled_ns).max().unwrap_or(0);
    let mut operations = Histogram::new();
    let (mut counts, mut digest, mut dropped) = (Counts::default(), DIGEST_BASIS, 0);
    for done in done {
        operations.merge(&done.recorder.histogram);
        dropped += done.recorder.dropped;
        counts += done.shard.counts();
        digest = done.shard.digest(digest)?;
    }
    Ok(Report { counts, digest, operations, sleeper, fill_ns, churn_ns, dropped })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The check value that the definition of the workload gives.
    #[test]
    fn both_tables_end_with_the_digest_that_every_language_has() {
        let definition = include_str!("../../../bench/peers/README.md");
        for heap in ["subduct", "malloc"] {
            let line = format!("--heap {heap} --records 4000 --operations 40000 --budget 33554432");
            let args = Args::parse(line.split(' ').map(str::to_owned)).unwrap();
            let mut json = String::new();
            run(&args, |line| {
                json.push_str(line);
                Ok(())
            })
            .unwrap();
            let value = |name: &str| {
                let start = json.find(&format!("\"{name}\":")).unwrap() + name.len() + 3;
                json[start..].split([',', '}']).next().unwrap().trim_matches('"').to_owned()
            };
            let check = format!("digest `{}`, checksum `{}`", value("digest"), value("checksum"));
            assert!(definition.contains(&check), "{heap}: {check}");
            assert_eq!(json.contains("\"pauses\""), heap == "subduct");
        }
    }

    #[test]
    fn a_heap_that_is_too_small_is_an_error_and_not_the_end() {
        let line = "--heap subduct --records 200000 --operations 0 --budget 8388608";
        let args = Args::parse(line.split(' ').map(str::to_owned)).unwrap();
        let error = run(&args, |_| panic!("it cannot fit")).unwrap_err();
        assert!(error.to_string().contains("8388608"), "{error}");
    }

    #[test]
    fn a_sleeper_counts_each_time_it_woke() {
        let (stop, mut woken) = (AtomicBool::new(false), 0);
        let late = sleeper::sleep_until(&stop, || {
            woken += 1;
            stop.store(woken == 3, Ordering::Relaxed);
        });
        assert_eq!(late.buckets().map(|(_, count)| count).sum::<u64>(), 3);
        control(Duration::ZERO);
    }
}
