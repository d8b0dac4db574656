//! The world: virtual time, what is to happen when, and the nemesis.

use std::collections::BTreeMap;
use std::time::Duration;

use base::{Chance, Seeded, Timestamp};

use crate::bugs::Bug;
use crate::clients::{Client, Wish};
use crate::courier::{Courier, Outcome};
use crate::disk::{Commit, Disk, Key, Stage};
use crate::mapping::Mapping;
use crate::oracle::Oracle;
use crate::queues::{Live, QUEUES, Rules};

/// How long the nemesis rages, and how long all may take to end after that.
const RAGES: Duration = Duration::from_secs(400);
const RESTS: Duration = Duration::from_secs(40 * 60);
/// Steps of one run, at most.
const STEPS_MAX: usize = 200_000;

pub struct World {
    pub now: Timestamp,
    /// How far the server's clock is from that.
    offset: i64,
    agenda: BTreeMap<(Timestamp, u64), Step>,
    names: u64,
    chance: Seeded,
    pub is_hostile: bool,
    pub bug: Option<Bug>,
    pub disk: Disk,
    pub rules: Rules,
    pub oracle: Oracle,
    pub clients: Vec<Client>,
    /// When clocks were steady again, and those who wait have looked once.
    pub steady_from: Timestamp,
    trace: u64,
    is_told: bool,

    // What a crash takes away.
    pub is_up: bool,
    pub commits: BTreeMap<u64, Commit>,
    pub live: [Live; QUEUES],
    pub mapping: Mapping,
    pub courier: Courier,
}

#[derive(Debug, Clone)]
pub enum Step {
    Commit(u64, Stage),
    Produce(usize),
    Consume(usize),
    /// Somebody who waits for messages looks again.
    Look(usize, u64),
    Wish(Wish),
    SendEvent(u32, String),
    Poll,
    /// A call of the mapping ends, or is tried again.
    Call(u64),
    Carry,
    Looked {
        found: Vec<Key>,
    },
    Attempt(Key, Outcome),
    Crash,
    Start,
    ClockMoves,
    Peace,
}

impl World {
    pub fn new(seed: u64, bug: Option<Bug>, is_told: bool) -> Self {
        let chance = Seeded::new(seed);
        let rules = Rules::draw(&chance);
        let now = Timestamp::from_secs(1_000_000);
        let mut world = Self {
            now,
            offset: 0,
            agenda: BTreeMap::new(),
            names: 0,
            chance,
            is_hostile: true,
            bug,
            disk: Disk::new(),
            live: Live::all(&rules),
            mapping: Mapping::new(now, &rules),
            courier: Courier::new(now),
            rules,
            oracle: Oracle::default(),
            clients: Vec::new(),
            steady_from: now,
            trace: 0xcbf2_9ce4_8422_2325,
            is_told,
            is_up: true,
            commits: BTreeMap::new(),
        };
        world.begin_clients();
        for secs in [20_000_000, 90_000_000, 200_000_000, 390_000_000] {
            let at = world.micros(secs);
            world.after(at, Step::Crash);
            let at = world.micros(secs);
            world.after(at, Step::ClockMoves);
        }
        world.after(RAGES, Step::Peace);
        world
    }

    /// Lives through it all. Says what was broken, if anything was, and a hash of all that happened.
    pub fn run(mut self) -> (Option<String>, u64) {
        let end = self.now.plus(RAGES).plus(RESTS);
        for _ in 0..STEPS_MAX {
            let Some(((at, _), step)) = self.agenda.pop_first().filter(|((at, _), _)| *at <= end) else { break };
            self.now = self.now.max(at);
            self.note(&step);
            self.step(step);
            if self.is_up {
                self.check_wakes();
            }
            if self.oracle.broken.is_some() {
                return (self.oracle.broken, self.trace);
            }
        }
        self.check_end();
        (self.oracle.broken, self.trace)
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Crash => self.crash(),
            Step::Start => self.start(),
            Step::ClockMoves => {
                self.oracle.saw(self.clock());
                self.offset += i64::try_from(self.draw(20_000_000)).unwrap() - 8_000_000;
                self.steady_from = self.now.plus(Duration::from_secs(21));
            }
            Step::Peace => self.is_hostile = false,
            Step::Produce(client) => self.produce(client),
            Step::Consume(client) => self.consume(client),
            Step::SendEvent(id, header) => self.send_event(id, header),
            _ if !self.is_up => {}
            Step::Commit(id, stage) => self.on_commit(id, stage),
            Step::Look(client, wait) => self.look(client, wait),
            Step::Wish(wish) => self.wish(wish),
            Step::Poll => self.poll(),
            Step::Call(id) => self.on_call(id),
            Step::Carry => self.carry(),
            Step::Looked { found } => self.on_looked(&found),
            Step::Attempt(key, outcome) => self.on_attempt(key, outcome),
        }
    }

    /// All that is not on the disk is gone, and nobody who asked hears of it.
    fn crash(&mut self) {
        if !self.is_up || !self.is_hostile {
            return;
        }
        self.is_up = false;
        self.commits.clear();
        self.live = Live::all(&self.rules);
        self.agenda.retain(|_, step| {
            matches!(
                step,
                Step::Produce(_)
                    | Step::Consume(_)
                    | Step::SendEvent(..)
                    | Step::Wish(Wish::SendAgain { .. })
                    | Step::ClockMoves
                    | Step::Crash
                    | Step::Peace
            )
        });
        self.clients_lost_the_server();
        let away = self.micros(5_000_000);
        self.after(away, Step::Start);
    }

    fn start(&mut self) {
        self.is_up = true;
        self.restore();
        (self.mapping, self.courier) = (Mapping::new(self.clock(), &self.rules), Courier::new(self.clock()));
        self.after(Duration::ZERO, Step::Poll);
        self.look_everywhere();
    }

    /// The server's clock.
    pub fn clock(&self) -> Timestamp {
        Timestamp::from_micros(self.now.as_micros() + self.offset)
    }

    pub fn after(&mut self, wait: Duration, step: Step) {
        let name = self.name();
        self.agenda.insert((self.now.plus(wait), name), step);
    }

    /// How long a shell sleeps until a time by the server's clock, which may be moved meanwhile.
    pub fn wait_until(&self, due: Timestamp) -> Duration {
        due.since(self.clock()).clamp(Duration::from_millis(1), Duration::from_secs(20))
    }

    pub fn name(&mut self) -> u64 {
        self.names += 1;
        self.names
    }

    pub fn draw(&self, below: u64) -> u64 {
        self.chance.random_u64() % below.max(1)
    }

    /// Once in so many times.
    pub fn draws(&self, in_so_many: u64) -> bool {
        self.draw(in_so_many) == 0
    }

    pub fn micros(&self, at_most: u64) -> Duration {
        Duration::from_micros(1 + self.draw(at_most))
    }

    pub fn has(&self, bug: Bug) -> bool {
        self.bug == Some(bug)
    }

    fn note(&mut self, step: &Step) {
        let line = format!("{} {step:?}", self.now.as_micros());
        self.trace =
            line.bytes().fold(self.trace, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
        self.tell(|| line);
    }

    pub fn tell(&self, what: impl FnOnce() -> String) {
        if self.is_told {
            println!("{}", what());
        }
    }
}
