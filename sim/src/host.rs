//! A host in virtual time: what the trace asks for, instances that start, run and end, and memory.
//!
//! What is not modelled: CPU. An invocation takes as long as the trace says, however many run beside it.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::time::Duration;

use base::ports::Concurrency;
use base::{AccountId, Region, Timestamp, Uuid, World};
use engine::dispatch::{
    AskId, Command, Dispatch, Event, Freed, InstanceId, KeepAlive, PoolId, Settings, Shape, Told, Wanted, Why,
};

use crate::Plan;
use crate::chance::Chance;
use crate::report::Row;
use crate::trace::Traced;

/// What a sandbox is taken to need to stop.
const END: Duration = Duration::from_millis(5);
/// How often the shell tells what the host has free.
const TELL_EACH: Duration = Duration::from_millis(200);
/// Limits of accounts are not the question here.
const CONCURRENCY: u32 = 1_000_000;
const MINUTE: Duration = Duration::from_secs(60);
const MIB: f64 = 1_048_576.0;

/// What happens later.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Later {
    Ready(InstanceId),
    Done(InstanceId, AskId, Duration),
    Gone(InstanceId),
}

struct Instance {
    bytes: u64,
    is_busy: bool,
    /// It holds its memory: that comes by the end of its start.
    is_ready: bool,
    /// Started ahead, and not asked for yet.
    is_expected: bool,
}

struct Host<'a> {
    functions: &'a [Traced],
    wanted: Vec<Wanted>,
    colds: Vec<Duration>,
    dispatch: Dispatch,
    now: Timestamp,
    total_bytes: Option<u64>,
    later: BinaryHeap<Reverse<(Timestamp, u64, Later)>>,
    turns: u64,
    /// Chance of durations and sizes, a function each, so that no policy changes what another function draws.
    chances: Vec<Chance>,
    instances: BTreeMap<InstanceId, Instance>,
    /// How long what was asked will take.
    asks: BTreeMap<AskId, Duration>,
    pools: BTreeMap<PoolId, usize>,
    used_bytes: u64,
    idle_bytes: u64,
    out: Vec<Command>,
    sums: Sums,
    row: Row,
    /// Of everything that was decided.
    hash: u64,
}

/// Over time.
#[derive(Default)]
struct Sums {
    until: Timestamp,
    seconds: f64,
    instances: f64,
    bytes: f64,
    idle_bytes: f64,
}

pub fn run(functions: &[Traced], policy: &str, keep_alive: KeepAlive, gib: u64, plan: &Plan) -> Row {
    let mut host = Host::new(functions, policy, keep_alive, gib, plan);
    let start = host.now;
    let mut arrivals = Vec::new();
    for minute in 0..plan.minutes {
        let begin = start.plus(MINUTE.saturating_mul(u32::try_from(minute).unwrap_or(u32::MAX)));
        arrivals.clear();
        for (number, function) in functions.iter().enumerate() {
            let within = function.arrivals(number, minute, plan.seed);
            arrivals.extend(within.map(|after| (begin.plus(after), number)));
        }
        arrivals.sort_unstable();
        let mut arriving = arrivals.iter().copied().peekable();
        for turn in 0..300 {
            let tell_at = begin.plus(TELL_EACH.saturating_mul(turn));
            host.pass(tell_at);
            host.tell();
            while let Some((at, function)) = arriving.next_if(|(at, _)| *at < tell_at.plus(TELL_EACH)) {
                host.pass(at);
                host.ask(function);
            }
        }
    }
    host.finish()
}

impl<'a> Host<'a> {
    fn new(functions: &'a [Traced], policy: &str, keep_alive: KeepAlive, gib: u64, plan: &Plan) -> Host<'a> {
        let settings = Settings { instances_max: 1_000_000, keep_alive, ..Settings::new(64) };
        let wanted = |number: usize| Wanted {
            scope: (World(0), AccountId::ZERO, Region::default()),
            function: format!("function-{number}"),
            version: "$LATEST".into(),
            release: Uuid::from_bytes([1; 16]),
            tenant: None,
        };
        let streams = 0..functions.len() as u64;
        let start = Timestamp::from_secs(1_000_000);
        let colds = streams.clone().map(|stream| {
            // From a quarter to four times what is usual.
            let factor = 2_f64.powf(Chance::new(plan.seed, stream | 1 << 60).fraction() * 4.0 - 2.0);
            plan.cold.mul_f64(factor)
        });
        Host {
            functions,
            wanted: (0..functions.len()).map(wanted).collect(),
            colds: colds.collect(),
            dispatch: Dispatch::new(settings),
            now: start,
            total_bytes: (gib > 0).then_some(gib << 30),
            later: BinaryHeap::new(),
            turns: 0,
            chances: streams.map(|stream| Chance::new(plan.seed, stream | 1 << 61)).collect(),
            instances: BTreeMap::new(),
            asks: BTreeMap::new(),
            pools: BTreeMap::new(),
            used_bytes: 0,
            idle_bytes: 0,
            out: Vec::new(),
            sums: Sums { until: start, ..Sums::default() },
            row: Row { policy: policy.to_owned(), memory_gib: gib, ..Row::default() },
            hash: 0xcbf2_9ce4_8422_2325,
        }
    }

    /// Everything up to a moment, in its order.
    fn pass(&mut self, until: Timestamp) {
        loop {
            let later = self.later.peek().map(|Reverse((at, _, _))| *at);
            let wakeup = self.dispatch.next_wakeup().map(|at| at.max(self.now));
            let Some(at) = later.into_iter().chain(wakeup).min().filter(|at| *at <= until) else { break };
            self.until(at);
            if later != Some(at) {
                self.step(Event::Tick);
            } else if let Some(Reverse((_, _, later))) = self.later.pop() {
                self.happens(later);
            }
        }
        self.until(until);
    }

    /// Time passes in which nothing changes.
    fn until(&mut self, at: Timestamp) {
        let seconds = at.since(self.sums.until).as_secs_f64();
        self.sums.until = at;
        self.sums.seconds += seconds;
        self.sums.instances += seconds * self.instances.len() as f64;
        self.sums.bytes += seconds * self.used_bytes as f64;
        self.sums.idle_bytes += seconds * self.idle_bytes as f64;
        self.now = at;
    }

    fn ask(&mut self, function: usize) {
        let Some(wanted) = self.wanted.get(function) else { return };
        let pool = self.dispatch.pool(wanted, Shape { slots: 1, bytes: 150 << 20, is_kept: true });
        self.pools.insert(pool, function);
        let ask = AskId(self.row.asked);
        self.row.asked += 1;
        let millis = self.draw(function, |traced| &traced.millis);
        self.asks.insert(ask, Duration::from_secs_f64(millis.max(1.0) / 1_000.0));
        self.step(Event::Ask { ask, pool, limit: Concurrency::Shared(CONCURRENCY), is_async: true });
    }

    fn draw(&mut self, function: usize, of: fn(&Traced) -> &crate::trace::Percentiles) -> f64 {
        let drawn = self.functions.get(function).zip(self.chances.get_mut(function));
        drawn.map_or(0.0, |(traced, chance)| of(traced).draw(chance))
    }

    fn tell(&mut self) {
        if let Some(total_bytes) = self.total_bytes {
            let available_bytes = total_bytes.saturating_sub(self.used_bytes);
            let told = Told { since: self.now, available_bytes, free_bytes: available_bytes, total_bytes };
            self.step(Event::Memory { told, shown: Vec::new() });
        }
    }

    fn happens(&mut self, later: Later) {
        match later {
            Later::Ready(instance) => {
                let Some(found) = self.instances.get_mut(&instance) else { return };
                found.is_ready = true;
                self.used_bytes += found.bytes;
                self.idle_bytes += if found.is_busy { 0 } else { found.bytes };
                self.row.memory_peak_gib = self.row.memory_peak_gib.max(self.used_bytes as f64 / MIB / 1_024.0);
                self.step(Event::Ready { instance });
            }
            Later::Done(instance, ask, wall) => {
                let Some(found) = self.instances.get_mut(&instance) else { return };
                found.is_busy = false;
                self.idle_bytes += found.bytes;
                let freed = Freed { wall, bytes: Some(found.bytes), ..Freed::default() };
                self.step(Event::Free { instance, ask, freed });
            }
            Later::Gone(instance) => {
                if let Some(found) = self.instances.remove(&instance) {
                    self.used_bytes -= if found.is_ready { found.bytes } else { 0 };
                    self.row.expected_wasted += u64::from(found.is_expected);
                }
                self.step(Event::Ended { instance, failure: None });
            }
        }
    }

    fn step(&mut self, event: Event) {
        let mut out = std::mem::take(&mut self.out);
        self.dispatch.step(self.now, event, &mut out);
        for command in out.drain(..) {
            self.note(&command);
            self.obey(command);
        }
        self.out = out;
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Lend { ask, instance } => {
                self.row.warm += 1;
                if let Some(found) = self.instances.get_mut(&instance) {
                    self.row.expected_used += u64::from(std::mem::replace(&mut found.is_expected, false));
                    found.is_busy = true;
                    self.idle_bytes -= found.bytes;
                }
                self.runs(instance, ask, Duration::ZERO);
            }
            Command::Start { instance, pool, ask, why } => self.starts(instance, pool, ask, why),
            Command::Throttle { ask, .. } => {
                self.row.throttled += 1;
                self.asks.remove(&ask);
            }
            Command::End { instance } => {
                if let Some(found) = self.instances.get(&instance) {
                    self.idle_bytes -= found.bytes;
                }
                self.after(END, Later::Gone(instance));
            }
            Command::Forget { pool } => {
                self.pools.remove(&pool);
            }
        }
    }

    fn starts(&mut self, instance: InstanceId, pool: PoolId, ask: Option<AskId>, why: Why) {
        let Some(function) = self.pools.get(&pool).copied() else { return };
        let cold = self.colds.get(function).copied().unwrap_or_default();
        let bytes = (self.draw(function, |traced| &traced.mib) * MIB) as u64;
        let is_expected = why == Why::Expected;
        self.instances.insert(instance, Instance { bytes, is_busy: ask.is_some(), is_ready: false, is_expected });
        self.row.instances_peak = self.row.instances_peak.max(self.instances.len());
        self.after(cold, Later::Ready(instance));
        match ask {
            Some(ask) => {
                self.row.cold += 1;
                self.row.cold_seconds += cold.as_secs_f64();
                self.runs(instance, ask, cold);
            }
            None => self.row.expected += 1,
        }
    }

    fn runs(&mut self, instance: InstanceId, ask: AskId, cold: Duration) {
        if let Some(wall) = self.asks.remove(&ask) {
            self.after(cold.saturating_add(wall), Later::Done(instance, ask, wall));
        }
    }

    fn after(&mut self, time: Duration, later: Later) {
        self.turns += 1;
        self.later.push(Reverse((self.now.plus(time), self.turns, later)));
    }

    /// FNV-1a over everything that was decided.
    fn note(&mut self, command: &Command) {
        let (kind, what) = match command {
            Command::Lend { ask, instance } => (1, ask.0 ^ instance.as_u64() << 20),
            Command::Start { instance, ask, .. } => (2, ask.map_or(0, |ask| ask.0) ^ instance.as_u64() << 20),
            Command::Throttle { ask, .. } => (3, ask.0),
            Command::End { instance } => (4, instance.as_u64()),
            Command::Forget { pool } => (5, pool.as_u64()),
        };
        for word in [kind, what, self.now.as_micros().unsigned_abs()] {
            self.hash = (self.hash ^ word).wrapping_mul(0x0100_0000_01b3);
        }
    }

    fn finish(mut self) -> Row {
        let Sums { seconds, instances, bytes, idle_bytes, .. } = self.sums;
        let gib = |bytes: f64| bytes / MIB / 1_024.0;
        self.row.instances_mean = instances / seconds;
        self.row.memory_mean_gib = gib(bytes / seconds);
        self.row.idle_gib_hours = gib(idle_bytes) / 3_600.0;
        self.row.hash = format!("{:016x}", self.hash);
        self.row.cold_percent = 100.0 * self.row.cold as f64 / (self.row.warm + self.row.cold).max(1) as f64;
        self.row
    }
}
