//! The dispatcher of the server, `engine::dispatch`, in virtual time.
//!
//! `cargo xtask sim DIR` replays a day of the Azure Functions 2019 trace with each keep-alive policy on hosts of several
//! sizes (`docs/decisions/0009-keep-alive.md`); `cargo run --release -p sim -- cost` shows what a decision costs with
//! few functions and with many. The same options give the same numbers, to the last digit of their hash.

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use engine::dispatch::KeepAlive;
use sim::{Plan, cost, host, report, trace};

const USAGE: &str = "\
usage: sim trace DIR [--json] [OPTION VALUE]...
       sim cost

DIR holds inv1350.csv, run1350.csv and mem1350.csv, or others of their form:
invocations a minute, percentiles of durations and of memory, a function a line.
  --memory 4,8,16     sizes of the host in GiB; 0 is one without end
  --policies NAMES    of fixed, least-recent, greedy-dual, histogram, predictive, with the
                      minutes that they keep behind a slash: fixed/10
  --cold MILLIS       what a start usually takes (200); functions differ by up to four times
  --every NUMBER      only each so many-th function (1: all)
  --hours COUNT       how much of the day (24)
  --seed NUMBER       another spread of arrivals, durations and sizes (1)
";

const POLICIES: &str =
    "fixed/10,fixed/60,least-recent,greedy-dual/10,greedy-dual/60,histogram/10,predictive/10,predictive/60";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let result = match args.as_slice() {
        ["trace", dir, options @ ..] => plan(options).and_then(|plan| replay(Path::new(dir), &plan)),
        ["cost"] => {
            cost::run();
            Ok(())
        }
        _ => {
            eprint!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("sim: failed to {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn replay(dir: &Path, plan: &Plan) -> Result<()> {
    let trace: Vec<_> = trace::read(dir)?.into_iter().step_by(plan.every).collect();
    let mut rows = Vec::new();
    for gib in &plan.memory_gib {
        for (name, keep_alive) in &plan.policies {
            eprintln!("sim: {name}, {gib} GiB");
            rows.push(host::run(&trace, name, *keep_alive, *gib, plan));
        }
    }
    if plan.is_json {
        println!("{}", serde_json::to_string_pretty(&rows)?);
    } else {
        report::print(&rows);
    }
    Ok(())
}

fn plan(options: &[&str]) -> Result<Plan> {
    let mut plan = Plan {
        memory_gib: vec![4, 8, 16, 32, 0],
        policies: policies(POLICIES)?,
        cold: Duration::from_millis(200),
        minutes: 24 * 60,
        every: 1,
        seed: 1,
        is_json: false,
    };
    let mut options = options.iter();
    while let Some(option) = options.next() {
        if *option == "--json" {
            plan.is_json = true;
            continue;
        }
        let value = options.next().with_context(|| format!("read the value of {option}"))?;
        let number = || value.parse::<u64>().with_context(|| format!("read the number {value}"));
        match *option {
            "--memory" => {
                let sizes = value.split(',').map(str::parse).collect::<Result<_, _>>();
                plan.memory_gib = sizes.with_context(|| format!("read the sizes {value}"))?;
            }
            "--policies" => plan.policies = policies(value)?,
            "--cold" => plan.cold = Duration::from_millis(number()?),
            "--hours" => plan.minutes = usize::try_from(number()?)?.saturating_mul(60),
            "--every" => plan.every = usize::try_from(number()?)?.max(1),
            "--seed" => plan.seed = number()?,
            _ => bail!("find an option {option}\n{USAGE}"),
        }
    }
    Ok(plan)
}

fn policies(names: &str) -> Result<Vec<(String, KeepAlive)>> {
    names.split(',').map(|name| Ok((name.to_owned(), sim::policy(name)?))).collect()
}

#[cfg(test)]
mod tests {
    use engine::dispatch::Policy;
    use sim::trace::{Percentiles, Traced};

    use super::*;

    fn trace() -> Vec<Traced> {
        let function = |number: u32| Traced {
            minutes: (0..120).map(|minute| if minute % (number + 1) == 0 { number % 7 + 1 } else { 0 }).collect(),
            millis: Percentiles::new(&[(0, 1.0), (50, 40.0 * f64::from(number)), (100, 90_000.0)]),
            mib: Percentiles::new(&[(1, 50.0), (100, 200.0)]),
        };
        (0..60).map(function).collect()
    }

    #[test]
    fn the_same_seed_gives_the_same_day() {
        let plan = plan(&["--hours", "2", "--cold", "300"]).unwrap();
        let other = Plan { seed: 2, ..self::plan(&["--hours", "2"]).unwrap() };
        for (name, keep_alive) in &plan.policies {
            let one = host::run(&trace(), name, *keep_alive, 4, &plan);
            assert_eq!(one, host::run(&trace(), name, *keep_alive, 4, &plan));
            assert_ne!(one.hash, host::run(&trace(), name, *keep_alive, 4, &other).hash);
            assert_eq!(one.asked, one.warm + one.cold + one.throttled);
            assert!(one.asked > 1_000 && one.warm > 0 && one.cold > 0 && one.memory_peak_gib <= 4.0, "{one:?}");
        }
    }

    #[test]
    fn options_are_read() {
        assert!(plan(&["--memory", "4,x"]).is_err() && plan(&["--colder", "1"]).is_err() && plan(&["--seed"]).is_err());
        let plan = plan(&["--memory", "4,0", "--policies", "histogram/30", "--json"]).unwrap();
        assert_eq!((plan.memory_gib, plan.is_json), (vec![4, 0], true));
        assert_eq!(plan.policies[0].1, KeepAlive { policy: Policy::Histogram, keep: Duration::from_secs(1_800) });
    }
}
