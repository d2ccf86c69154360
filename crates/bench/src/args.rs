//! The command line.

use std::fmt::Display;
use std::path::PathBuf;
use std::str::FromStr;

/// How to call it.
pub const USAGE: &str = "usage: churn [--heap subduct|malloc] [--records N] [--operations N] [--threads N] [--seed N]
             [--budget BYTES] [--delivery NAME] [--stalls FILE]
       churn --control SECONDS";

/// What to run, in which size.
pub struct Args {
    /// Records in a subduct heap, or in ordinary memory.
    pub is_subduct: bool,
    /// Records of all threads.
    pub records: u64,
    /// Operations of all threads.
    pub operations: u64,
    /// Mutator threads, with a shard each.
    pub threads: u64,
    /// Of the random numbers.
    pub seed: u64,
    /// Hard limit of the heap's memory.
    pub budget_bytes: u64,
    /// How the heap catches faults; chosen by it if `None`.
    pub delivery: Option<subduct_heap::Delivery>,
    /// Where the long operations go.
    pub stalls: Option<PathBuf>,
    /// Only sleep, for so many seconds.
    pub control_seconds: Option<f64>,
}

impl Args {
    /// Reads the arguments behind the program's name.
    ///
    /// # Errors
    /// What is wrong, for people.
    pub fn parse(mut words: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut args = Self {
            is_subduct: true,
            records: 4_000_000,
            operations: 12_000_000,
            threads: 2,
            seed: 1,
            budget_bytes: 5 << 30,
            delivery: None,
            stalls: None,
            control_seconds: None,
        };
        while let Some(name) = words.next() {
            let value = words.next().ok_or_else(|| format!("{name} needs a value"))?;
            match name.as_str() {
                "--heap" if value == "subduct" || value == "malloc" => args.is_subduct = value == "subduct",
                "--records" => args.records = read(&name, &value)?,
                "--operations" => args.operations = read(&name, &value)?,
                "--threads" => args.threads = read(&name, &value)?,
                "--seed" => args.seed = read(&name, &value)?,
                "--budget" => args.budget_bytes = read(&name, &value)?,
                "--delivery" => args.delivery = Some(read(&name, &value)?),
                "--stalls" => args.stalls = Some(PathBuf::from(value)),
                "--control" => args.control_seconds = Some(read(&name, &value)?),
                _ => return Err(format!("unknown argument: {name} {value}")),
            }
        }
        if args.threads == 0 || !(16..1 << 29).contains(&(args.records / args.threads)) {
            return Err("a thread needs between 16 and 536,870,911 records".to_owned());
        }
        Ok(args)
    }
}

fn read<T: FromStr>(name: &str, value: &str) -> Result<T, String>
where
    T::Err: Display,
{
    value.parse().map_err(|error| format!("{name} {value}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::Args;

    fn parse(line: &str) -> Result<Args, String> {
        Args::parse(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn values_are_read_and_wrong_ones_named() {
        let args = parse("--heap malloc --records 64 --threads 4 --seed 9").unwrap();
        assert!(!args.is_subduct && args.records == 64 && args.threads == 4 && args.seed == 9);
        for (line, named) in [("--records many", "many"), ("--heap pile", "pile"), ("--seed", "--seed")] {
            assert!(parse(line).err().is_some_and(|error| error.contains(named)), "{line}");
        }
        assert!(parse("--records 10").is_err() && parse("--threads 0").is_err());
    }
}
