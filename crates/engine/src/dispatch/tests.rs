mod starts;

use std::collections::BTreeMap;

use super::*;

/// A machine, a clock, and short names for what it numbers.
struct Bench {
    dispatch: Dispatch,
    now: Timestamp,
    instances: BTreeMap<u64, InstanceId>,
    pools: BTreeMap<String, PoolId>,
    shape: Shape,
    /// What the kernel lets instances take, if that is not more than they will.
    free_bytes: Option<u64>,
    /// How long it takes to look what memory there is.
    looking: Duration,
}

const MIB: u64 = 1 << 20;

/// Whatever is to be started is started at once.
const MANY: Places = Places { most: 10_000, ahead_max: 10_000, long_max: 10_000 };

fn settings() -> Settings {
    let keep_alive = KeepAlive { policy: Policy::Fixed, keep: Duration::from_secs(60) };
    Settings { instances_max: 5, keep_alive, places: MANY, ..Settings::new(1) }
}

impl Bench {
    fn new(settings: Settings) -> Bench {
        Bench {
            dispatch: Dispatch::new(settings),
            now: Timestamp::from_secs(1_000),
            instances: BTreeMap::new(),
            pools: BTreeMap::new(),
            shape: Shape { slots: 1, bytes: 100 * MIB, is_kept: true },
            free_bytes: None,
            looking: Duration::ZERO,
        }
    }

    /// `FUNCTION[:RELEASE][@TENANT]`
    fn pool(&mut self, name: &str) -> PoolId {
        let (rest, tenant) =
            name.split_once('@').map_or((name, None), |(rest, tenant)| (rest, Some(tenant.to_owned())));
        let (function, release) =
            rest.split_once(':').map_or((rest, 1), |(rest, release)| (rest, release.parse().unwrap()));
        let wanted = Wanted {
            scope: (World(0), AccountId::ZERO, Region::default()),
            function: function.into(),
            version: "$LATEST".into(),
            release: Uuid::from_bytes([release; 16]),
            tenant,
        };
        let pool = self.dispatch.pool(&wanted, self.shape);
        self.pools.insert(name.to_owned(), pool);
        pool
    }

    /// One line of a script, such as `ask 1 f shared 10`, and the commands that follow from it.
    fn step(&mut self, line: &str) -> String {
        let words: Vec<&str> = line.split_whitespace().collect();
        let number = |at: usize| words[at].parse::<u64>().unwrap();
        let event = match words[0] {
            "after" => {
                self.now = self.now.plus(Duration::from_millis(number(1)));
                Event::Tick
            }
            "ask" => {
                let count = words.get(4).map_or(10, |count| count.parse().unwrap());
                let limit = match words.get(3) {
                    Some(&"reserved") => Concurrency::Reserved(count),
                    _ => Concurrency::Shared(count),
                };
                let is_async = words.last() == Some(&"async");
                Event::Ask { ask: AskId(number(1)), pool: self.pool(words[2]), limit, is_async }
            }
            "waits" => Event::Waits { instance: self.instances[&number(1)] },
            "ready" => Event::Ready { instance: self.instances[&number(1)] },
            "free" | "spent" | "broke" => {
                let wall = Duration::from_millis(words.get(3).map_or(100, |wall| wall.parse().unwrap()));
                let bytes = words.get(4).map(|mib| mib.parse::<u64>().unwrap() * MIB);
                let thousandths = words.get(5).map(|count| count.parse().unwrap());
                let cpu = thousandths.map(|thousandths| CpuShare { thousandths, over: Duration::from_millis(50) });
                let freed = Freed { wall, cpu, bytes, is_spent: words[0] == "spent", is_cold: words[0] == "broke" };
                Event::Free { instance: self.instances[&number(1)], ask: AskId(number(2)), freed }
            }
            "ended" => {
                let failure = words.get(2).map(|word| (*word).to_owned());
                Event::Ended { instance: self.instances[&number(1)], failure }
            }
            "provide" => Event::Provide { pool: self.pool(words[1]), count: number(2).try_into().unwrap() },
            "memory" => {
                // Then pairs of an instance that starts, and what of it the host shows.
                let numbers: Vec<u64> = (3..words.len()).map(number).collect();
                let shown = numbers.chunks(2).map(|pair| (self.instances[&pair[0]], pair[1] * MIB)).collect();
                let available_bytes = number(1) * MIB;
                let free_bytes = self.free_bytes.unwrap_or(available_bytes + 1_000 * MIB);
                let told = Told {
                    since: self.now.minus(self.looking),
                    available_bytes,
                    free_bytes,
                    total_bytes: number(2) * MIB,
                };
                Event::Memory { told, shown }
            }
            "weighed" => Event::Weighed { instance: self.instances[&number(1)], bytes: number(2) * MIB },
            "cores" => Event::Cores { are_full: words[1] == "full" },
            "drain" => Event::Drain,
            other => panic!("{other}?"),
        };
        let mut out = Vec::new();
        self.dispatch.step(self.now, event, &mut out);
        let shown: Vec<String> = out.iter().map(|command| self.show(*command)).collect();
        shown.join(", ")
    }

    /// Instances are numbered as they are started.
    fn show(&mut self, command: Command) -> String {
        let name = |instance| self.instances.iter().find(|(_, id)| **id == instance).unwrap().0;
        match command {
            Command::Lend { ask, instance } => format!("lend {} to {}", name(instance), ask.0),
            Command::Start { instance, pool, ask, why } => {
                let number = self.instances.len() as u64 + 1;
                self.instances.insert(number, instance);
                let pool = self.pools.iter().find(|(_, id)| **id == pool).unwrap().0;
                match ask {
                    Some(ask) => format!("start {number} for {}", ask.0),
                    None => format!("start {number} of {pool}, {why:?}"),
                }
            }
            Command::Throttle { ask, reason } => format!("throttle {} by {reason:?}", ask.0),
            Command::End { instance } => format!("end {}", name(instance)),
            Command::Forget { pool } => {
                let (name, _) = self.pools.iter().find(|(_, id)| **id == pool).unwrap();
                format!("forget {name}")
            }
        }
    }
}

/// Each line is an event, and behind `->` what is commanded; nothing, if there is none.
fn check(settings: Settings, script: &str) {
    check_with(&mut Bench::new(settings), script);
}

fn check_with(bench: &mut Bench, script: &str) {
    for line in script.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let (event, expected) = line.split_once(" -> ").unwrap_or((line, ""));
        assert_eq!(bench.step(event), expected, "{line}");
    }
}

#[test]
fn the_last_used_instance_comes_first() {
    check(
        settings(),
        "ask 1 f -> start 1 for 1
         ask 2 f -> start 2 for 2
         free 2 2
         free 1 1
         free 1 1
         ask 3 f -> lend 1 to 3
         ask 4 f@tenant -> start 3 for 4
         ask 5 g -> start 4 for 5
         ask 6 f -> lend 2 to 6",
    );
}

#[test]
fn another_release_takes_over() {
    check(
        settings(),
        "ask 1 f:1 -> start 1 for 1
         ask 2 f:1 -> start 2 for 2
         free 1 1
         ask 3 f:2 -> end 1, start 3 for 3
         free 2 2 -> end 2
         ended 1
         ended 2 -> forget f:1
         free 3 3
         ask 4 f:2 -> lend 3 to 4",
    );
}

#[test]
fn limits_hold_and_are_given_back() {
    check(
        settings(),
        "ask 1 zero reserved 0 -> throttle 1 by ReservedConcurrency, forget zero
         ask 2 one reserved 1 -> start 1 for 2
         ask 3 one reserved 1 -> throttle 3 by ReservedConcurrency
         ask 4 f shared 2 -> start 2 for 4
         ask 5 g shared 2 -> start 3 for 5
         ask 6 h shared 2 -> throttle 6 by Concurrency, forget h
         ended 2 -> forget f
         ask 7 h shared 2 -> start 4 for 7",
    );
}

#[test]
fn ten_synchronous_requests_a_second_for_each_unit() {
    let mut bench = Bench::new(settings());
    assert_eq!(bench.step("ask 0 f reserved 1"), "start 1 for 0");
    for ask in 1..10 {
        bench.step("free 1 0");
        bench.step(&format!("free 1 {}", ask - 1));
        assert_eq!(bench.step(&format!("ask {ask} f reserved 1")), format!("lend 1 to {ask}"));
    }
    check_with(
        &mut bench,
        "free 1 9
         ask 10 f reserved 1 -> throttle 10 by ReservedRate
         ask 11 f reserved 1 async -> lend 1 to 11
         free 1 11
         after 100
         ask 12 f reserved 1 -> lend 1 to 12
         free 1 12
         ask 13 f reserved 1 -> throttle 13 by ReservedRate
         ask 14 f shared 1 -> lend 1 to 14",
    );
}

#[test]
fn a_function_grows_by_its_rate() {
    let growth = Rate { burst: 2, per_second: 1 };
    check(
        Settings { growth, ..settings() },
        "ask 1 f -> start 1 for 1
         ask 2 f -> start 2 for 2
         ask 3 f -> throttle 3 by Rate
         ask 4 g -> start 3 for 4
         free 1 1
         ask 5 f -> lend 1 to 5
         after 1000
         ask 6 f reserved 9 -> start 4 for 6
         ask 7 f reserved 9 -> throttle 7 by ReservedRate",
    );
}

/// Lambda's own figures, with five thousand callers of one function at once.
#[test]
fn a_flood_starts_a_thousand_and_then_a_hundred_a_second() {
    let mut bench = Bench::new(Settings { places: MANY, ..Settings::new(2) });
    let mut asks = 0;
    let mut flood = |bench: &mut Bench, function: &str, count: u64| {
        let mut started = 0;
        for _ in 0..count {
            asks += 1;
            let (ask, pool) = (AskId(asks), bench.pool(function));
            let limit = Concurrency::Shared(100_000);
            let mut out = Vec::new();
            bench.dispatch.step(bench.now, Event::Ask { ask, pool, limit, is_async: false }, &mut out);
            started += out.iter().filter(|command| matches!(command, Command::Start { .. })).count();
        }
        started
    };
    assert_eq!(flood(&mut bench, "f", 5_000), 1_000);
    assert_eq!(flood(&mut bench, "g", 10), 10, "another function has a rate of its own");
    for _ in 0..20 {
        bench.now = bench.now.plus(Duration::from_millis(250));
        assert_eq!(flood(&mut bench, "f", 100), 25);
    }
    bench.now = bench.now.plus(Duration::from_secs(3_600));
    assert_eq!(flood(&mut bench, "f", 5_000), 1_000, "what was not used is not saved");
}

#[test]
fn an_idle_instance_ends_when_its_time_is_over() {
    check(
        settings(),
        "ask 1 f -> start 1 for 1
         ready 1
         free 1 1
         after 59000
         ask 2 f -> lend 1 to 2
         free 1 2
         after 59999
         after 1 -> end 1
         ask 3 f -> start 2 for 3
         ended 1
         spent 2 3 -> end 2
         ended 2 -> forget f",
    );
}

#[test]
fn a_full_server_ends_what_was_idle_longest() {
    check(
        Settings { instances_max: 2, ..settings() },
        "ask 1 a -> start 1 for 1
         ask 2 b -> start 2 for 2
         ask 3 c -> throttle 3 by Host, forget c
         free 2 2
         free 1 1
         ask 4 b -> lend 2 to 4
         free 2 4
         ask 5 c -> end 1, start 3 for 5
         drain -> end 2
         free 3 5 -> end 3
         ask 6 c -> throttle 6 by Concurrency",
    );
}

#[test]
fn a_tenth_of_the_memory_stays_free() {
    check(
        settings(),
        "memory 420 1000
         ask 1 f -> start 1 for 1
         ask 2 f -> start 2 for 2
         ask 3 f -> start 3 for 3
         ask 4 f
         after 3000 -> throttle 4 by Host
         free 1 1
         ask 5 g -> end 1, start 4 for 5
         ended 1
         ask 6 g
         after 3000 -> throttle 6 by Host
         free 2 2 100 10
         ready 3
         ready 4
         memory 140 1000
         ask 7 f -> lend 2 to 7
         free 2 7
         memory 95 1000 -> end 2
         ended 2
         memory 105 1000
         ask 8 f -> throttle 8 by Host",
    );
}

#[test]
fn what_the_host_shows_of_one_that_starts_is_not_counted_twice() {
    check(
        settings(),
        "memory 300 1000
         ask 1 f -> start 1 for 1
         memory 220 1000 1 80
         ask 2 g -> start 2 for 2
         ask 3 g
         after 3000 -> throttle 3 by Host
         ready 1
         ready 2
         ended 1 -> forget f
         memory 200 1000
         ask 4 f -> start 3 for 4
         memory 150 1000 3 150
         ask 5 f -> throttle 5 by Host
         ended 3 -> forget f
         ask 6 f -> start 4 for 6",
    );
}

#[test]
fn one_that_runs_for_the_first_time_has_not_taken_all_yet() {
    let script = "memory 300 1000
         ask 1 f -> start 1 for 1
         ready 1
         memory 290 1000 1 10
         ask 2 g -> start 2 for 2
         memory 290 1000 1 10
         ask 3 h
         memory 210 1000 1 90
         memory 290 1000 1 10
         after 1000
         memory 310 1000 1 10 -> start 3 for 3
         ended 3 -> forget h
         free 1 1 100 90
         memory 300 1000
         ask 4 h -> start 4 for 4";
    check(Settings { are_weighed: true, ..settings() }, script);
    // Where nobody weighs them, the host shows all of one that is ready.
    let weighed_by_nobody = "memory 300 1000
         ask 1 f -> start 1 for 1
         ready 1
         memory 290 1000
         ask 2 g -> start 2 for 2
         ready 2
         memory 280 1000
         ask 3 h -> start 3 for 3";
    check(settings(), weighed_by_nobody);
}

#[test]
fn what_ends_gives_back_what_it_held_when_it_stood_still() {
    check(
        Settings { instances_max: 10, ..settings() },
        "memory 1200 1000
         ask 1 f -> start 1 for 1
         ask 2 f -> start 2 for 2
         ask 3 f -> start 3 for 3
         free 1 1 100 300
         free 2 2 100 300
         free 3 3 100 300
         weighed 1 50
         weighed 2 50
         weighed 3 300
         memory 200 1000
         ask 4 g -> start 4 for 4
         ask 5 h -> end 1, end 2, start 5 for 5
         weighed 1 500
         ask 6 i -> end 3, start 6 for 6
         ask 7 j -> start 7 for 7
         ended 1
         ended 2
         ended 3 -> forget f
         ask 8 k -> start 8 for 8
         ask 9 l
         after 3000 -> throttle 9 by Host, forget l",
    );
}

#[test]
fn what_holds_most_when_it_stands_still_goes_first() {
    let keep_alive = KeepAlive { policy: Policy::GreedyDual, keep: Duration::from_secs(60) };
    check(
        Settings { keep_alive, ..settings() },
        "memory 1000 1000
         ask 1 f -> start 1 for 1
         ask 2 g -> start 2 for 2
         after 100
         ready 1
         ready 2
         free 1 1 100 200
         free 2 2 100 100
         memory 100 1000
         weighed 1 20
         memory 90 1000 -> end 2",
    );
}

#[test]
fn nobody_goes_for_one_that_does_not_fit_even_so() {
    check(
        settings(),
        "memory 420 1000
         ask 1 g -> start 1 for 1
         free 1 1
         ask 2 f -> start 2 for 2
         free 2 2 100 600
         ended 2 -> forget f
         memory 420 1000
         ask 3 f -> throttle 3 by Host, forget f
         ask 4 g -> lend 1 to 4
         free 1 4
         ask 5 f -> throttle 5 by Host, forget f
         ask 6 f -> throttle 6 by Host, forget f
         after 1000
         ask 7 f -> throttle 7 by Host, forget f
         after 1000
         ask 8 f -> throttle 8 by Host, forget f
         after 1000
         ask 9 f -> end 1, start 3 for 9",
    );
}

#[test]
fn a_provisioned_instance_that_ends_before_it_is_ready_has_failed() {
    check(
        settings(),
        "provide f 1 -> start 1 of f, Provisioned
         ended 1
         after 1000 -> start 2 of f, Provisioned",
    );
}

#[test]
fn short_invocations_wait_for_each_other() {
    let prelude = "ask 1 f -> start 1 for 1
         ask 2 f -> start 2 for 2
         ask 3 f -> start 3 for 3
         after 50
         ready 1
         ready 2
         ready 3
         free 1 1 1
         free 2 2 1
         free 3 3 1
         ask 4 f -> lend 3 to 4
         ask 5 f -> lend 2 to 5
         cores full";
    check(
        settings(),
        &format!(
            "{prelude}
             ask 6 f
             ask 7 f
             ask 8 slow -> start 4 for 8
             free 2 5 1 -> lend 2 to 6
             after 100 -> lend 1 to 7
             ask 9 f
             free 2 6 1
             free 3 4 1 -> lend 3 to 9"
        ),
    );
    // Who waits counts as running, and is answered when there is no more.
    check(
        Settings { instances_max: 3, ..settings() },
        &format!(
            "{prelude}
             ask 6 f
             ask 7 f shared 3 -> throttle 7 by Concurrency
             ask 8 f
             after 100 -> lend 1 to 6, throttle 8 by Host"
        ),
    );
    check(settings(), &format!("{prelude}\nask 6 f\ndrain -> throttle 6 by Concurrency, end 1"));
    // Whoever runs waits for something else than the CPU.
    check(settings(), &format!("{prelude}\ncores free\nask 6 f -> lend 1 to 6"));
    // It would wait for longer than for a new one.
    let line: String = (6..105).map(|ask| format!("ask {ask} f shared 200\n")).collect();
    check(settings(), &format!("{prelude}\n{line}ask 105 f shared 200 -> lend 1 to 105"));
    // Two at once take twice as long on a full core, and are no longer ones for that.
    let turns: String = (6..60)
        .map(|ask| {
            let (instance, before) = (if ask % 2 == 0 { 3 } else { 2 }, ask - 2);
            format!("ask {ask} f\nfree {instance} {before} 30 -> lend {instance} to {ask}\n")
        })
        .collect();
    check(settings(), &format!("{prelude}\n{turns}"));
    // It slept.
    for (cpu, expected) in [(100, ""), (20, " -> lend 1 to 7")] {
        check(
            settings(),
            &format!("{prelude}\nafter 60\nfree 2 5 10 1 {cpu}\nask 6 f -> lend 2 to 6\nask 7 f{expected}"),
        );
    }
    check(settings(), &format!("{prelude}\nask 6 f\nfree 3 4 900 -> lend 3 to 6\nask 7 f -> lend 1 to 7"));
}

#[test]
fn provisioned_instances_are_there_before_anybody_asks() {
    let mut bench = Bench::new(settings());
    let provided = |bench: &Bench| {
        let provided = bench.dispatch.provided(bench.pools["f"]).unwrap();
        (provided.requested, provided.allocated, provided.available, provided.failure)
    };
    check_with(
        &mut bench,
        "provide f 2 -> start 1 of f, Provisioned, start 2 of f, Provisioned
         ready 1",
    );
    assert_eq!(provided(&bench), (2, 2, 1, None));
    check_with(
        &mut bench,
        "ask 1 f shared 1 -> lend 1 to 1
         ask 2 f shared 1 -> start 3 for 2
         ask 3 f shared 1 -> throttle 3 by Concurrency
         ready 2
         ask 4 f shared 1 -> lend 2 to 4
         free 2 4
         after 3600000
         ended 2 -> start 4 of f, Provisioned
         ended 4 broken",
    );
    assert_eq!(provided(&bench), (2, 1, 1, Some("broken".into())));
    check_with(
        &mut bench,
        "after 999
         after 1 -> start 5 of f, Provisioned
         ended 5 broken
         after 1999
         after 1 -> start 6 of f, Provisioned
         ready 6",
    );
    assert_eq!(provided(&bench), (2, 2, 2, None));
    // Fewer: the idle one goes first; what runs goes on, on demand.
    check_with(
        &mut bench,
        "provide f 1 -> end 6
         ended 6
         provide f 0
         ask 5 f shared 2 -> throttle 5 by Concurrency
         free 1 1 -> end 1
         ask 6 f shared 2 -> start 7 for 6",
    );
}

#[test]
fn what_is_provisioned_is_let_go_before_it_is_ready_and_then_nothing_follows_from_how_it_ends() {
    let mut bench = Bench::new(settings());
    check_with(
        &mut bench,
        "provide f 3 -> start 1 of f, Provisioned, start 2 of f, Provisioned, start 3 of f, Provisioned
         ready 1
         provide f 2 -> end 2
         ended 2 broken
         ready 3
         provide f 1 -> end 1
         ended 1",
    );
    let provided = bench.dispatch.provided(bench.pools["f"]).unwrap();
    assert_eq!((provided.allocated, provided.available, provided.failure), (1, 1, None));
}

#[test]
fn provisioned_instances_that_are_lost_again_and_again_are_replaced_once_a_second() {
    check(
        settings(),
        "provide f 1 -> start 1 of f, Provisioned
         ready 1
         ended 1 -> start 2 of f, Provisioned
         ready 2
         after 10
         ended 2
         after 989
         after 1 -> start 3 of f, Provisioned
         ready 3
         ended 3 -> start 4 of f, Provisioned",
    );
}

#[test]
fn provisioned_instances_take_ten_a_second_and_follow_the_release() {
    let mut bench = Bench::new(settings());
    check_with(&mut bench, "provide f:1 1 -> start 1 of f:1, Provisioned\nready 1");
    for ask in 0..10 {
        assert_eq!(bench.step(&format!("ask {ask} f:1")), format!("lend 1 to {ask}"));
        bench.step(&format!("free 1 {ask}"));
    }
    check_with(
        &mut bench,
        "ask 10 f:1 -> start 2 for 10
         ask 11 f:1 async -> lend 1 to 11
         provide f:2 1 -> start 3 of f:2, Provisioned
         free 1 11 -> end 1
         ready 3
         ask 12 f:2 -> lend 3 to 12",
    );
}

#[test]
fn slots_are_lent_one_by_one() {
    let mut bench = Bench::new(settings());
    bench.shape.slots = 2;
    check_with(
        &mut bench,
        "ask 1 f -> start 1 for 1
         ask 2 f -> start 2 for 2
         ready 1
         ask 3 f -> lend 1 to 3
         ready 2
         ask 4 f -> lend 2 to 4
         ask 5 f -> start 3 for 5
         free 1 1
         ask 6 f -> lend 1 to 6
         spent 1 6
         ask 7 f -> start 4 for 7
         free 1 3 -> end 1",
    );
    // One that its owner holds.
    let mut bench = Bench::new(settings());
    bench.shape.is_kept = false;
    check_with(&mut bench, "ask 1 f@name -> start 1 for 1\nready 1\nafter 9999999\nfree 1 1 -> end 1");
}

#[test]
fn a_timers_function_is_ready_when_it_is_called() {
    let keep_alive = KeepAlive { policy: Policy::Histogram, keep: Duration::from_secs(60) };
    let mut bench = Bench::new(Settings { keep_alive, ..settings() });
    for ask in 1..=8 {
        let started = bench.step(&format!("ask {ask} f"));
        assert_eq!(started, format!("start {ask} for {ask}"));
        bench.step(&format!("free {ask} {ask}"));
        bench.step("after 1200000");
        bench.step(&format!("ended {ask}"));
    }
    check_with(
        &mut bench,
        "ask 9 f -> start 9 for 9
         free 9 9 -> end 9
         ended 9
         after 1079999
         after 1 -> start 10 of f, Expected
         ready 10
         after 120000
         ask 11 f -> lend 10 to 11
         free 10 11 -> end 10
         ended 10
         after 1080000 -> start 11 of f, Expected
         ready 11
         after 305999
         after 1 -> end 11
         ended 11 -> forget f",
    );
    let later = bench.dispatch.next_wakeup().unwrap().since(bench.now);
    assert_eq!(later, Duration::from_secs(4 * 60 * 60), "its history is forgotten then");
    bench.step("after 14400000");
    assert_eq!((bench.dispatch.counts().functions, bench.dispatch.next_wakeup()), (0, None));
}

#[test]
fn histories_are_bounded() {
    let mut bench = Bench::new(Settings { histories_max: 3, ..settings() });
    for function in 0..100 {
        bench.step(&format!("ask {function} f{function} reserved 0"));
        bench.step("after 1000");
    }
    assert!(bench.dispatch.counts().functions <= 4, "{:?}", bench.dispatch.counts());
}
