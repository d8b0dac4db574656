//! How many run at once, counted by the functions themselves and not by the server (Q4 to Q6).

use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use e2e::{Lamp, answer, ask, invoke, make_python, send, wait_for};

/// Answers when it ran, in nanoseconds of the machine's clock.
const FUNCTION: &str = "
import os, time
def handler(event, context):
    begin = time.monotonic_ns()
    time.sleep(event['seconds'])
    if 'crash' in event:
        os._exit(1)
    return [begin, time.monotonic_ns()]
";

const RESERVED: usize = 5;
const TOO_MANY: &str = r#""Reason":"ReservedFunctionConcurrentInvocationLimitExceeded""#;

fn is_full_run() -> bool {
    std::env::var_os("LAMP_TORTURE").is_some()
}

fn code(dir: &Path) -> PathBuf {
    let code = dir.join("app.py");
    std::fs::write(&code, FUNCTION).unwrap();
    code
}

fn reserve(lamp: &Lamp, function: &str) {
    let body = format!(r#"{{"ReservedConcurrentExecutions":{RESERVED}}}"#);
    let answer = send(lamp, "PUT", &format!("/2017-10-31/functions/{function}/concurrency"), &body);
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
}

/// When an invocation ran that was answered. Fails for any answer but that and 429.
fn span(answer: &str) -> Option<(u64, u64)> {
    if answer.starts_with("HTTP/1.1 429 ") {
        return None;
    }
    let (_, body) = answer.rsplit_once("\r\n\r\n").expect("a head and a body");
    let numbers = body.strip_prefix('[').and_then(|body| body.strip_suffix(']')).unwrap_or_else(|| panic!("{answer}"));
    let (begin, end) = numbers.split_once(", ").expect("two numbers");
    Some((begin.parse().unwrap(), end.parse().unwrap()))
}

fn most_at_once(spans: &[(u64, u64)]) -> usize {
    let begins = spans.iter().map(|(begin, _)| (*begin, 1));
    let mut changes: Vec<(u64, isize)> = begins.chain(spans.iter().map(|(_, end)| (*end, -1))).collect();
    changes.sort_unstable();
    let running = changes.iter().scan(0, |running, (_, change)| {
        *running += change;
        Some(*running)
    });
    running.max().unwrap_or(0).try_into().unwrap()
}

/// Calls again and again, from so many callers, until so many answers are there, of which enough are not refusals: these come fast
/// where starts are slow. What was answered with 200.
fn storm(lamp: &Lamp, function: &str, callers: usize, answers: usize, event: &str) -> Vec<(u64, u64)> {
    const RAN_MIN: usize = 60;
    let (answered, ran) = (AtomicUsize::new(0), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        let caller = || {
            let mut spans = Vec::new();
            while answered.fetch_add(1, Ordering::Relaxed) < answers || ran.load(Ordering::Relaxed) < RAN_MIN {
                let span = span(&invoke(lamp, function, event));
                ran.fetch_add(usize::from(span.is_some()), Ordering::Relaxed);
                spans.extend(span);
            }
            spans
        };
        let callers: Vec<_> = (0..callers).map(|_| scope.spawn(caller)).collect();
        callers.into_iter().flat_map(|caller| caller.join().unwrap()).collect()
    })
}

/// Whether as many run at once as are reserved, and no other one beside them.
fn is_exact(lamp: &Lamp, function: &str) -> bool {
    std::thread::scope(|scope| {
        let call = || invoke(lamp, function, r#"{"seconds": 1}"#);
        let calls: Vec<_> = (0..RESERVED).map(|_| scope.spawn(call)).collect();
        std::thread::sleep(Duration::from_millis(400));
        let beyond = call();
        let spans: Vec<_> = calls.into_iter().filter_map(|call| span(&call.join().unwrap())).collect();
        if most_at_once(&spans) < RESERVED {
            return false;
        }
        assert!(beyond.contains(TOO_MANY), "one more ran: {beyond}");
        true
    })
}

#[test]
#[expect(clippy::disallowed_methods, reason = "it says how long the machine took")]
fn no_more_run_than_are_reserved() {
    let dir = tempfile::tempdir().unwrap();
    let lamp = Lamp::start();
    make_python(&lamp, "reserved", 128, 60, &code(dir.path()));
    reserve(&lamp, "reserved");
    let answers = if is_full_run() { 100_000 } else { 3_000 };
    let spans = storm(&lamp, "reserved", 100, answers, r#"{"seconds": 0.15}"#);
    assert_eq!(most_at_once(&spans), RESERVED, "of {} that ran", spans.len());
    // What crashed has given back its place.
    std::thread::scope(|scope| {
        for _ in 0..RESERVED {
            scope.spawn(|| invoke(&lamp, "reserved", r#"{"seconds": 0.2, "crash": true}"#));
        }
    });
    let crashed = Instant::now();
    wait_for("places of the dead are free", || is_exact(&lamp, "reserved").then_some(()));
    println!("as many as are reserved ran {} ms after all had crashed", crashed.elapsed().as_millis());
}

#[test]
fn no_more_run_than_the_account_may() {
    const LIMIT: usize = 8;
    let dir = tempfile::tempdir().unwrap();
    let lamp = Lamp::start_with(&["--concurrency", &LIMIT.to_string()]);
    let code = code(dir.path());
    ["a", "b"].iter().for_each(|name| make_python(&lamp, name, 128, 60, &code));
    let answers = if is_full_run() { 50_000 } else { 1_000 };
    let spans: Vec<_> = std::thread::scope(|scope| {
        let storms = ["a", "b"].map(|name| {
            let lamp = &lamp;
            scope.spawn(move || storm(lamp, name, 30, answers, r#"{"seconds": 0.15}"#))
        });
        storms.into_iter().flat_map(|storm| storm.join().unwrap()).collect()
    });
    assert_eq!(most_at_once(&spans), LIMIT, "of {} that ran", spans.len());
}

/// One function is called by thousands at once, another one again and again meanwhile.
#[test]
#[expect(clippy::disallowed_methods, reason = "how much is allowed goes by the time that passes")]
fn a_flood_grows_as_lambda_lets_it_and_no_other_function_is_refused() {
    const GROWS: &str = r#""Reason":"FunctionInvocationRateLimitExceeded""#;
    const STACK_BYTES: usize = 128 * 1024;
    // As long as it is asked, no instance is free again.
    let (callers, held) = if is_full_run() { (5_000, 6) } else { (60, 2) };
    let dir = tempfile::tempdir().unwrap();
    let lamp = Lamp::start_with(&["--concurrency", "10000"]);
    let code = code(dir.path());
    ["flood", "quiet"].iter().for_each(|name| make_python(&lamp, name, 128, 90, &code));
    let is_over = AtomicBool::new(false);
    let event = format!(r#"{{"seconds": {held}}}"#);
    let began = Instant::now();
    let call = || (ask_patiently(&lamp, "flood", &event), began.elapsed());
    let (answers, quiet) = std::thread::scope(|scope| {
        let quiet = scope.spawn(|| {
            let mut answers = Vec::new();
            while !is_over.load(Ordering::Relaxed) {
                answers.push(invoke(&lamp, "quiet", r#"{"seconds": 0}"#));
            }
            answers
        });
        let start = |_| std::thread::Builder::new().stack_size(STACK_BYTES).spawn_scoped(scope, call).unwrap();
        let calls: Vec<_> = (0..callers).map(start).collect();
        let answers: Vec<_> = calls.into_iter().map(|call| call.join()).collect();
        is_over.store(true, Ordering::Relaxed);
        (answers.into_iter().map(Result::unwrap).collect::<Vec<_>>(), quiet.join().unwrap())
    });
    let (ran, refused): (Vec<_>, Vec<_>) = answers.iter().partition(|(answer, _)| span(answer).is_some());
    assert!(refused.iter().all(|(answer, _)| answer.contains(GROWS)), "{refused:?}");
    // Who is refused is told at once, up to the last.
    let asked_for = refused.iter().map(|(_, told)| *told).max().unwrap_or_default();
    let (ran, allowed) = (ran.len(), 1_000 + (asked_for.as_secs_f64() * 100.0).ceil() as usize);
    println!("{callers} callers in {} ms: {ran} ran, {allowed} may", asked_for.as_millis());
    assert!(ran >= callers.min(1_000) && ran <= allowed, "{ran} ran, {allowed} may");
    let refused = quiet.iter().find(|answer| span(answer).is_none());
    assert!(refused.is_none() && quiet.len() > 1, "{} calls, {refused:?}", quiet.len());
}

/// A caller that does not wait for the answer.
fn asked(lamp: &Lamp, function: &str, event: &str) -> TcpStream {
    ask(lamp, "POST", &format!("/2015-03-31/functions/{function}/invocations"), event)
}

/// A caller that waits for as long as a thousand starts take.
fn ask_patiently(lamp: &Lamp, function: &str, event: &str) -> String {
    let stream = asked(lamp, function, event);
    stream.set_read_timeout(Some(Duration::from_secs(300))).unwrap();
    answer(stream)
}

/// Time-outs, crashes, callers that hang up, and a server that is killed: nothing stays counted, nothing is uncounted
/// twice.
#[test]
fn the_counter_is_exact_when_all_is_over() {
    const SHORT: &str = r#"{"seconds": 0.3}"#;
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let mut lamp = Lamp::start_on(&data, &[]);
    make_python(&lamp, "counted", 128, 2, &code(dir.path()));
    reserve(&lamp, "counted");
    for round in 0..if is_full_run() { 100 } else { 3 } {
        std::thread::scope(|scope| {
            for event in [r#"{"seconds": 0.1}"#, r#"{"seconds": 0.1, "crash": true}"#, r#"{"seconds": 5}"#, "x"] {
                for _ in 0..3 {
                    scope.spawn(|| invoke(&lamp, "counted", event));
                }
            }
            for _ in 0..5 {
                scope.spawn(|| drop(asked(&lamp, "counted", SHORT)));
            }
        });
        wait_for(&format!("round {round}: all are free"), || is_exact(&lamp, "counted").then_some(()));
        if round % 3 == 1 {
            let running: Vec<_> = (0..RESERVED).map(|_| asked(&lamp, "counted", SHORT)).collect();
            std::thread::sleep(Duration::from_millis(100));
            lamp.kill();
            drop(running);
            lamp = Lamp::start_on(&data, &[]);
            wait_for("all are free after a restart", || is_exact(&lamp, "counted").then_some(()));
        }
    }
}
