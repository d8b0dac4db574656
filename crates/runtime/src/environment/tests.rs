use base::ports::Logging;
use base::{Cause, RequestId, Uuid};

use super::*;

const ID: &str = "00000000-0000-0000-0000-000000000001";

/// An environment with its clock in milliseconds, and what it has commanded.
struct Bench {
    environment: Environment,
    now: Timestamp,
    out: Vec<Command>,
    /// Types of the platform's events, and what programs wrote.
    told: Vec<String>,
}

impl Bench {
    fn new() -> Bench {
        Bench::with(&[])
    }

    /// With these files in `/opt/extensions`.
    fn with(extensions: &[&str]) -> Bench {
        let extensions = extensions.iter().map(|name| (*name).to_owned()).collect();
        let logging = Logging { group: "g".into(), is_json: false, application_level: None, system_level: None };
        let writer = Writer {
            function_name: "f".into(),
            version: "$LATEST".into(),
            runtime_version: "python:3.13".into(),
            runtime_version_arn: "ARN".into(),
            memory_mb: 128,
            logging,
            instance: "stream".into(),
        };
        Bench {
            environment: Environment::new(Duration::from_secs(3), writer, extensions),
            now: Timestamp::from_secs(1_000),
            out: vec![],
            told: vec![],
        }
    }

    fn after(&mut self, millis: u64) -> &mut Bench {
        self.now = self.now.plus(Duration::from_millis(millis));
        self
    }

    /// Steps, and shows the commands in short.
    fn step(&mut self, event: Event) -> String {
        self.environment.step(self.now, event, &mut self.out);
        let mut shown = Vec::new();
        for command in self.out.drain(..) {
            match command {
                Command::Tell(Told { what: What::Platform(kind, _), .. }) => self.told.push(kind.to_owned()),
                Command::Tell(Told { what: What::Function(text) | What::Extension(text), .. }) => self.told.push(text),
                Command::CloseTelemetry | Command::Flush => {}
                other => shown.push(show(other)),
            }
        }
        shown.join("\n")
    }

    fn said(&mut self, said: Said) -> String {
        self.step(Event::Said(said))
    }

    fn warm() -> Bench {
        let mut bench = Bench::new();
        bench.step(Event::Begin);
        bench.after(50).said(Said::Ready);
        bench
    }

    fn respond(&mut self, body: &[u8]) -> String {
        [self.said(Said::Bytes(body.to_vec())), self.said(Said::Done), self.said(Said::Next)].concat()
    }
}

fn show(command: Command) -> String {
    match command {
        Command::Hand { time_left, .. } => format!("Hand {}", time_left.as_millis()),
        Command::Log(text) => format!("Log {}", text.trim_end_matches('\n').replace('\t', "|")),
        Command::Answer(Answer::Whole { function_error, body, log_tail, .. }) => {
            let tail = log_tail.map(|tail| format!(" tail {:?}", String::from_utf8(tail).unwrap()));
            format!("Whole {function_error:?} {}{}", String::from_utf8_lossy(&body), tail.unwrap_or_default())
        }
        Command::Answer(Answer::Piece(bytes)) => format!("Piece {}", String::from_utf8_lossy(&bytes)),
        Command::Answer(Answer::End { log_tail, error }) => format!("End {} {error:?}", log_tail.is_some()),
        Command::StartExtension(name) => format!("StartExtension {name}"),
        Command::Reply(ticket, Reply::Registered { .. }) => format!("{ticket} registered"),
        Command::Reply(ticket, Reply::Invoke(invoke)) => format!("{ticket} INVOKE {}", invoke.time_left.as_millis()),
        Command::Reply(ticket, Reply::Shutdown { reason, time_left }) => {
            format!("{ticket} SHUTDOWN {} {}", reason.word(), time_left.as_millis())
        }
        Command::Reply(ticket, Reply::Refused { status, kind, message }) => {
            format!("{ticket} {status} {kind}: {message}")
        }
        other => format!("{other:?}"),
    }
}

fn call() -> Box<Call> {
    let mut id = [0; 16];
    id[15] = 1;
    Box::new(Call {
        request_id: RequestId(Uuid::from_bytes(id)),
        invoked_arn: "arn".into(),
        payload: b"{}".to_vec(),
        client_context: None,
        trace_header: None,
        tenant_id: None,
        wants_log_tail: false,
        is_streamed: false,
        cause: Cause::origin(Uuid::NIL),
    })
}

fn invoke() -> Event {
    Event::Invoke(call())
}

fn exit(code: i32) -> Event {
    Event::Exited(Exit { status: Status::Code(code), out_of_memory: false })
}

fn killed(signal: i32, out_of_memory: bool) -> Event {
    Event::Exited(Exit { status: Status::Signal(signal), out_of_memory })
}

const INIT_START: &str = "Log INIT_START Runtime Version: python:3.13|Runtime Version ARN: ARN";

#[test]
fn a_cold_invocation_and_a_warm_one() {
    let mut bench = Bench::new();
    assert_eq!(bench.step(invoke()), format!("{INIT_START}\nStart"));
    assert_eq!(bench.environment.deadline(), Some(bench.now.plus(INIT_TIMEOUT)));
    bench.after(96);
    assert_eq!(bench.said(Said::Ready), format!("Log START RequestId: {ID} Version: $LATEST\nHand 3000"));
    bench.environment.note_memory(Some(37 * 1024 * 1024));
    bench.after(2);
    assert_eq!(bench.said(Said::Bytes(b"{\"a\"".to_vec())), "");
    assert_eq!(bench.said(Said::Bytes(b":1}".to_vec())), "");
    assert_eq!(bench.said(Said::Done), "Whole None {\"a\":1}");
    bench.after(1);
    assert_eq!(
        bench.said(Said::Next),
        format!(
            "Log END RequestId: {ID}\nLog REPORT RequestId: {ID}|Duration: 3.00 ms|Billed Duration: 99 ms|\
             Memory Size: 128 MB|Max Memory Used: 37 MB|Init Duration: 96.00 ms|\nIdle"
        )
    );
    assert_eq!(bench.environment.deadline(), None);
    assert_eq!(bench.step(invoke()), format!("Log START RequestId: {ID} Version: $LATEST\nHand 3000"));
    let answer = bench.respond(b"2");
    assert!(answer.starts_with("Whole None 2Log END"), "{answer}");
    assert!(!answer.contains("Init Duration") && answer.ends_with("Idle"), "{answer}");
}

#[test]
fn the_tail_comes_with_the_end_of_the_log() {
    let mut bench = Bench::new();
    bench.step(Event::Begin);
    assert_eq!(bench.step(Event::Output(Source::Function, "in init\n".into())), "Log in init");
    assert_eq!(bench.said(Said::Ready), "Idle");
    let mut wanted = call();
    wanted.wants_log_tail = true;
    bench.step(Event::Invoke(wanted));
    assert_eq!(bench.step(Event::Output(Source::Function, "hello\n".into())), "Log hello");
    assert_eq!(bench.said(Said::Done), "");
    let over = bench.said(Said::Next);
    let tail = format!(
        "Whole None  tail \"START RequestId: {ID} Version: $LATEST\\nhello\\nEND RequestId: {ID}\\nREPORT RequestId: {ID}\\t"
    );
    assert!(over.contains(&tail), "{over}");
    assert!(over.ends_with("\\t\\n\"\nIdle"), "{over}");
}

#[test]
fn a_handler_that_fails_leaves_the_instance_alone() {
    let mut bench = Bench::warm();
    bench.step(invoke());
    bench.said(Said::Bytes(b"half".to_vec()));
    let failed = bench.said(Said::Failed { kind: "Exception".into(), body: b"{\"errorType\":\"Exception\"}".to_vec() });
    assert_eq!(failed, "Whole Some(\"Unhandled\") {\"errorType\":\"Exception\"}");
    assert!(bench.said(Said::Next).ends_with("Idle"));
}

#[test]
fn a_timeout_resets_and_init_repeats_within_the_next_invocation() {
    let mut bench = Bench::warm();
    bench.step(invoke());
    assert_eq!(bench.after(2_999).step(Event::Tick), "");
    let over = bench.after(2).step(Event::Tick);
    let body = format!(
        "{{\"errorType\":\"Sandbox.Timedout\",\"errorMessage\":\"RequestId: {ID} Error: Task timed out after 3.00 seconds\"}}"
    );
    assert!(over.contains("|Duration: 3000.00 ms|Billed Duration: 3050 ms|"), "{over}");
    assert!(over.ends_with(&format!("Status: timeout\nWhole Some(\"Unhandled\") {body}\nClear")), "{over}");
    assert_eq!(bench.step(killed(9, false)), "");
    assert_eq!(bench.step(Event::Cleared), "Idle");
    assert_eq!(bench.step(invoke()), format!("Log START RequestId: {ID} Version: $LATEST\nStart"));
    // Init uses up the invocation's own time, and the report does not tell of it.
    assert_eq!(bench.after(1_000).said(Said::Ready), "Hand 2000");
    let answer = bench.after(10).respond(b"1");
    assert!(answer.contains("|Duration: 1010.00 ms|") && !answer.contains("Init"), "{answer}");
}

#[test]
fn exits_are_told_in_aws_s_words() {
    for (event, words, kind) in [
        (exit(0), "Runtime exited without providing a reason", "Runtime.ExitError"),
        (exit(127), "Runtime exited with error: exit status 127", "Runtime.ExitError"),
        (killed(9, false), "Runtime exited with error: signal: killed", "Runtime.ExitError"),
        (killed(9, true), "Runtime exited with error: signal: killed", "Runtime.OutOfMemory"),
        (killed(64, false), "Runtime exited with error: signal: signal 64", "Runtime.ExitError"),
    ] {
        let mut bench = Bench::warm();
        bench.step(invoke());
        let over = bench.step(event);
        let body = format!(
            "{{\"errorType\":\"Runtime.ExitError\",\"errorMessage\":\"RequestId: {ID} Error: {words}\"}}\nClear"
        );
        assert!(over.ends_with(&body), "{over}");
        assert!(over.contains(&format!("Status: error|Error Type: {kind}\n")), "{over}");
    }
}

#[test]
fn an_init_that_fails_is_tried_again_on_the_invocation_s_time() {
    let error = || Said::InitError { kind: "Runtime.ImportModuleError".into(), body: b"{\"why\":1}".to_vec() };
    let mut bench = Bench::new();
    bench.step(invoke());
    let report = bench.after(80).said(error());
    let told = "Status: error|Error Type: Runtime.ImportModuleError";
    assert_eq!(report, format!("Log INIT_REPORT Init Duration: 80.00 ms|Phase: init|{told}\nClear"));
    assert_eq!(bench.step(exit(1)), "");
    assert_eq!(bench.step(Event::Cleared), format!("Log START RequestId: {ID} Version: $LATEST\nStart"));
    let over = bench.after(70).said(error());
    assert!(over.starts_with("Log INIT_REPORT Init Duration: 70.00 ms|Phase: invoke|"), "{over}");
    assert!(over.ends_with(&format!("{told}\nWhole Some(\"Unhandled\") {{\"why\":1}}\nClear")), "{over}");
    assert_eq!(bench.step(Event::Cleared), "Idle");
}

#[test]
fn an_init_over_ten_seconds_is_repeated_and_may_take_the_function_s_time() {
    let mut bench = Bench::new();
    bench.step(invoke());
    let report = bench.after(10_000).step(Event::Tick);
    assert_eq!(report, "Log INIT_REPORT Init Duration: 10000.00 ms|Phase: init|Status: timeout\nClear");
    bench.step(Event::Cleared);
    let over = bench.after(3_000).step(Event::Tick);
    assert!(over.contains("Sandbox.Timedout") && over.contains("after 3.00 seconds"), "{over}");
}

#[test]
fn a_fault_in_a_repeated_init_is_a_timeout() {
    let mut bench = Bench::new();
    bench.step(invoke());
    assert!(bench.step(killed(11, false)).contains("INIT_REPORT"));
    bench.step(Event::Cleared);
    assert_eq!(bench.step(killed(11, false)), "");
    assert!(bench.after(3_000).step(Event::Tick).contains("Sandbox.Timedout"));
}

#[test]
fn a_program_that_cannot_start_is_an_invalid_entrypoint() {
    let mut bench = Bench::new();
    bench.step(invoke());
    bench.step(Event::NotStarted("no bootstrap".into()));
    bench.step(Event::Cleared);
    let over = bench.step(Event::NotStarted("no bootstrap".into()));
    let body = format!(
        "{{\"errorType\":\"Runtime.InvalidEntrypoint\",\"errorMessage\":\"RequestId: {ID} Error: no bootstrap\"}}"
    );
    assert!(over.contains(&body), "{over}");
}

#[test]
fn too_large_a_response_is_an_error_and_the_rest_of_it_is_dropped() {
    let mut bench = Bench::warm();
    bench.step(invoke());
    let half = vec![b'x'; 6_291_556 / 2];
    assert_eq!(bench.said(Said::Bytes(half.clone())), "");
    assert_eq!(bench.said(Said::Bytes(half)), "");
    assert_eq!(
        bench.said(Said::Bytes(b"x".to_vec())),
        "Whole Some(\"Unhandled\") {\"errorMessage\":\"Response payload size exceeded maximum allowed payload size \
         (6291556 bytes).\",\"errorType\":\"Function.ResponseSizeTooLarge\"}"
    );
    assert_eq!(bench.said(Said::Bytes(b"x".to_vec())), "");
    assert_eq!(bench.said(Said::Done), "");
    assert!(bench.said(Said::Next).ends_with("Idle"));
}

#[test]
fn a_stream_goes_out_as_it_comes() {
    let mut streamed = call();
    streamed.is_streamed = true;
    let mut bench = Bench::warm();
    bench.step(Event::Invoke(streamed.clone()));
    let head = Said::Head { content_type: Some("text/plain".into()), is_streamed: true };
    assert_eq!(bench.said(head.clone()), "Answer(Begin { content_type: Some(\"text/plain\") })");
    assert_eq!(bench.said(Said::Bytes(b"one".to_vec())), "Piece one");
    assert_eq!(bench.said(Said::Done), "End false None");
    assert!(bench.said(Said::Next).ends_with("Idle"));
    bench.step(Event::Invoke(streamed.clone()));
    bench.said(head);
    let failed = bench.said(Said::Failed { kind: "Error".into(), body: b"{}".to_vec() });
    assert_eq!(failed, "End false Some((\"Error\", \"{}\"))");
    bench.said(Said::Next);
    // Nothing of the response was there yet.
    bench.step(Event::Invoke(streamed));
    let over = bench.step(exit(1));
    assert!(over.contains("Answer(Begin") && over.contains("End false Some((\"Runtime.ExitError\""), "{over}");
}

#[test]
fn what_breaks_after_the_answer_is_not_told_again() {
    let mut bench = Bench::warm();
    bench.step(invoke());
    assert!(bench.said(Said::Done).starts_with("Whole None"));
    let over = bench.after(3_000).step(Event::Tick);
    assert!(!over.contains("Whole") && over.contains("Status: timeout") && over.ends_with("Clear"), "{over}");
}

#[test]
fn what_dies_while_idle_is_started_anew_by_the_next_invocation() {
    let mut bench = Bench::warm();
    assert_eq!(bench.step(exit(1)), "Clear");
    assert_eq!(bench.step(invoke()), "");
    assert_eq!(bench.step(Event::Cleared), format!("Log START RequestId: {ID} Version: $LATEST\nStart"));
}

#[test]
fn a_runtime_that_breaks_the_protocol_is_reset() {
    for said in [Said::Next, Said::Ready, Said::Broken("nonsense")] {
        let mut bench = Bench::warm();
        bench.step(invoke());
        let over = bench.said(said);
        assert!(over.contains("Runtime exited without providing a reason") && over.ends_with("Clear"), "{over}");
    }
    let mut bench = Bench::warm();
    assert_eq!(bench.said(Said::Bytes(b"unasked".to_vec())), "Clear");
}

#[test]
fn an_instance_whose_sandbox_is_gone_ends() {
    let mut bench = Bench::warm();
    bench.step(invoke());
    let over = bench.step(Event::Gone);
    assert!(over.contains("signal: killed") && over.ends_with("End"), "{over}");
    assert_eq!(bench.step(Event::Gone), "");
    assert_eq!(bench.step(invoke()), "Answer(Lost)");
}

#[test]
fn an_instance_that_crashes_for_ever_is_used_up() {
    let mut bench = Bench::warm();
    for _ in 1..STARTS_MAX {
        assert!(bench.step(exit(1)).ends_with("Clear"));
        assert_eq!(bench.step(Event::Cleared), "Idle");
        bench.step(invoke());
        bench.said(Said::Ready);
    }
    bench.step(exit(1));
    assert_eq!(bench.step(Event::Cleared), "End");
}

/// Whatever comes in whatever order: each invocation is answered once, and `Idle` is never said with one in hand.
#[test]
fn any_order_of_events_answers_each_invocation_once() {
    use proptest::prelude::*;
    let event = prop_oneof![
        3 => Just(0_u8), 2 => Just(1), 2 => Just(2), 2 => Just(3), 2 => Just(4), 2 => Just(5), 1 => Just(6), 1 => Just(7),
        2 => Just(8), 1 => Just(9), 1 => Just(10), 1 => Just(11), 1 => Just(12),
    ];
    proptest!(|(events in prop::collection::vec((event, any::<bool>(), any::<bool>()), 0..60))| {
        let mut bench = Bench::new();
        let (mut open, mut asked, mut answered) = (false, 0, 0);
        for (event, wants_log_tail, is_streamed) in events {
            let event = match event {
                0 if open => continue,
                0 => {
                    (open, asked) = (true, asked + 1);
                    Event::Invoke(Box::new(Call { wants_log_tail, is_streamed, ..*call() }))
                }
                1 => Event::Said(Said::Ready),
                2 => Event::Said(Said::Bytes(b"x".to_vec())),
                3 => Event::Said(Said::Done),
                4 => Event::Said(Said::Next),
                5 => Event::Cleared,
                6 => exit(1),
                7 => Event::Tick,
                8 => Event::Said(Said::Head { content_type: None, is_streamed: true }),
                9 => Event::Said(Said::Failed { kind: "E".into(), body: vec![] }),
                10 => Event::Said(Said::InitError { kind: "E".into(), body: vec![] }),
                11 => Event::NotStarted("no".into()),
                _ => Event::Begin,
            };
            bench.after(700);
            bench.environment.step(bench.now, event, &mut bench.out);
            for command in bench.out.drain(..) {
                match command {
                    Command::Answer(Answer::Whole { .. } | Answer::End { .. } | Answer::Lost) => answered += 1,
                    Command::Idle | Command::End => open = false,
                    _ => {}
                }
            }
            if bench.environment.in_hand.is_none() {
                prop_assert_eq!(asked, answered);
            }
            prop_assert!(answered <= asked);
        }
        bench.environment.step(bench.now, Event::Gone, &mut bench.out);
        let last = bench.out.iter().filter(|command| {
            matches!(command, Command::Answer(Answer::Whole { .. } | Answer::End { .. } | Answer::Lost))
        });
        prop_assert_eq!(asked, answered + last.count());
    });
}
