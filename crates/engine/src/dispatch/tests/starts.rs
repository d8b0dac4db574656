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

#[test]
fn who_is_in_line_holds_no_memory_and_waits_for_what_those_before_hold() {
    let places = Places { most: 2, ahead_max: 2, long_max: 2 };
    check(
        Settings { instances_max: 100, places, ..settings() },
        "memory 250 1000
         ask 1 f -> start 1 for 1
         ask 2 g
         ask 3 h
         ask 4 i
         free 1 1 10 20 -> start 2 for 2
         free 2 2 10 20 -> start 3 for 3
         free 3 3 10 40 -> end 1, end 2, start 4 for 4
         free 4 4 10 20",
    );
}

#[test]
fn where_nothing_gets_free_who_has_its_turn_is_refused() {
    let places = Places { most: 2, ahead_max: 2, long_max: 2 };
    let mut bench = Bench::new(Settings { instances_max: 100, places, ..settings() });
    check_with(
        &mut bench,
        "memory 250 1000
         ask 1 f -> start 1 for 1
         ask 2 g
         provide h 1
         ask 3 i
         after 2999
         after 1 -> throttle 2 by Host, forget g, throttle 3 by Host, forget i
         ask 4 g
         ready 1 -> throttle 4 by Host, forget g
         ask 5 g -> throttle 5 by Host, forget g
         free 1 1 10 20
         after 1000 -> start 2 of h, Provisioned
         ready 2",
    );
    assert!(bench.dispatch.line.is_empty());
}

#[test]
fn who_goes_makes_room_once_it_is_gone_unless_there_is_memory_for_both() {
    let script = "memory 300 1000
         ask 1 f -> start 1 for 1
         ask 2 g -> start 2 for 2
         free 1 1 10 100
         free 2 2 10 100
         memory 150 1000";
    let limited = "ask 3 h -> end 1
         after 20
         ask 4 i
         ended 1 -> forget f, start 3 for 3, end 2
         after 2999
         after 1 -> start 4 for 4
         ended 2 -> forget g";
    let mut bench = Bench::new(Settings { instances_max: 100, ..settings() });
    bench.free_bytes = Some(50 * MIB);
    check_with(&mut bench, script);
    check_with(&mut bench, limited);
    let unlimited = "ask 3 h -> end 1, start 3 for 3";
    let mut bench = Bench::new(Settings { instances_max: 100, ..settings() });
    check_with(&mut bench, script);
    check_with(&mut bench, unlimited);
}

#[test]
fn what_happens_while_somebody_looks_is_not_taken_for_seen() {
    let mut bench = Bench::new(Settings { instances_max: 100, ..settings() });
    bench.looking = Duration::from_millis(5);
    check_with(
        &mut bench,
        "memory 300 1000
         ask 1 f -> start 1 for 1
         ask 2 g -> start 2 for 2
         after 10
         free 1 1 10 100
         after 10
         free 2 2 10 100
         after 2
         memory 200 1000
         ask 3 h -> end 1, start 3 for 3",
    );
}

#[test]
fn who_needs_much_does_not_keep_those_waiting_who_need_little() {
    check(
        Settings { instances_max: 100, ..settings() },
        "memory 400 1000
         ask 1 large -> start 1 for 1
         spent 1 1 10 150 -> end 1
         ended 1 -> forget large
         ask 2 small -> start 2 for 2
         spent 2 2 10 20 -> end 2
         ended 2 -> forget small
         ask 3 f -> start 3 for 3
         ask 4 g -> start 4 for 4
         ask 5 large
         ask 6 small -> start 5 for 6
         after 3000 -> throttle 5 by Host, forget large",
    );
}

#[test]
fn one_that_broke_takes_memory_again_when_it_is_called() {
    check(
        Settings { instances_max: 100, ..settings() },
        "memory 350 1000
         ask 1 f -> start 1 for 1
         ask 2 g -> start 2 for 2
         broke 1 1 10 110
         weighed 1 5
         free 2 2 10 110
         memory 200 1000
         ask 3 f -> end 2, lend 1 to 3
         ended 2 -> forget g
         broke 1 3 10 110
         weighed 1 5
         memory 150 1000
         ask 4 f -> throttle 4 by Host",
    );
}
