//! Who starts when, and who need not.

use super::*;

#[test]
fn one_functions_starts_do_not_keep_anothers_waiting() {
    let places = Places { most: 3, ahead_max: 1, long_max: 1 };
    check(
        Settings { instances_max: 100, places, ..settings() },
        "ask 1 f -> start 1 for 1
         ask 2 f -> start 2 for 2
         ask 3 f
         ask 4 f
         ask 5 h -> start 3 for 5
         ask 6 g
         ready 1 -> start 4 for 6
         waits 2 -> start 5 for 3
         waits 2
         waits 4
         after 150
         ready 3
         waits 5 -> start 6 for 4
         provide g 2 -> start 7 of g, Provisioned
         waits 7 -> start 8 of g, Provisioned
         ended 8 broken",
    );
}

#[test]
fn who_waits_for_a_start_takes_what_becomes_free_sooner() {
    let mut bench = Bench::new(Settings { places: Places { most: 2, ahead_max: 2, long_max: 1 }, ..settings() });
    check_with(
        &mut bench,
        "ask 1 f -> start 1 for 1
         ready 1
         ask 2 g -> start 2 for 2
         ask 3 h -> start 3 for 3
         ask 4 f
         ask 5 f
         ask 6 f shared 5 -> throttle 6 by Concurrency
         free 1 1 -> lend 1 to 4
         free 1 4 -> lend 1 to 5
         spent 1 5 -> end 1
         ended 1 -> forget f
         ask 7 f
         drain
         ended 2 -> forget g, start 4 for 7
         free 4 7 -> end 4
         ended 4 -> forget f
         ended 3 -> forget h",
    );
    assert!(bench.dispatch.line.is_empty());
}

#[test]
fn a_start_is_measured_from_when_it_has_its_place() {
    let mut bench = Bench::new(Settings { places: Places { most: 1, ahead_max: 1, long_max: 1 }, ..settings() });
    check_with(&mut bench, "ask 1 f -> start 1 for 1\nask 2 g\nafter 100\nended 1 -> forget f, start 2 for 2");
    check_with(&mut bench, "after 30\nready 2");
    let function = bench.dispatch.pools[bench.pools["g"]].function;
    assert_eq!(bench.dispatch.functions[function].cold.get(), Some(Duration::from_millis(30)));
}

#[test]
fn what_is_in_line_and_not_wanted_any_more_is_never_started() {
    let growth = Rate { burst: 3, per_second: 1 };
    let mut bench =
        Bench::new(Settings { places: Places { most: 3, ahead_max: 1, long_max: 1 }, growth, ..settings() });
    check_with(
        &mut bench,
        "provide f:1 3 -> start 1 of f:1, Provisioned
         provide f:1 1
         provide f:1 3
         ask 1 f:2 -> start 2 for 1
         ready 1 -> end 1
         ended 1",
    );
    assert_eq!(bench.dispatch.counts().instances, 1);
}
