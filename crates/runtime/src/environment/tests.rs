use base::record::{Ended, Failure, Origin, Record};
use base::{Cause, RequestId, Uuid};
use engine::platform;

use super::*;
use crate::limits::INIT_TIMEOUT;
use crate::telemetry::Api;

const ID: &str = "00000000-0000-0000-0000-000000000001";

/// An environment with its clock in milliseconds, and what it has commanded.
pub struct Bench {
    pub environment: Environment,
    now: Timestamp,
    out: Vec<Command>,
    /// Types of the platform's events, and what programs wrote.
    pub told: Vec<String>,
    /// What became of its invocations.
    pub records: Vec<Record>,
}

impl Bench {
    fn new() -> Bench {
        Bench::with(&[])
    }

    /// With these files in `/opt/extensions`.
    fn with(extensions: &[&str]) -> Bench {
        Bench::beginning(Beginning::Init, extensions)
    }

    pub fn beginning(beginning: Beginning, extensions: &[&str]) -> Bench {
        let extensions = extensions.iter().map(|name| (*name).to_owned()).collect();
        let writer = Writer {
            origin: Origin {
                function: "f".into(),
                version: "$LATEST".into(),
                memory_mb: 128,
                kind: match beginning {
                    Beginning::Init => Kind::OnDemand,
                    _ => Kind::SnapStart,
                },
                ..Origin::default()
            },
            runtime_version: "python:3.13".into(),
            runtime_version_arn: "ARN".into(),
            application_level: None,
            instance: "stream".into(),
        };
        Bench {
            environment: Environment::new(Duration::from_secs(3), writer, extensions, beginning),
            now: Timestamp::from_secs(1_000),
            out: vec![],
            told: vec![],
            records: vec![],
        }
    }

    pub fn after(&mut self, millis: u64) -> &mut Bench {
        self.now = self.now.plus(Duration::from_millis(millis));
        self
    }

    /// Steps, and shows the commands in short.
    pub fn step(&mut self, event: Event) -> String {
        self.environment.step(self.now, event, &mut self.out);
        let mut shown = Vec::new();
        for command in self.out.drain(..) {
            match command {
                Command::Tell(Told { what: What::Platform(kind, _), .. }) => self.told.push(kind.to_owned()),
                Command::Tell(Told { what: What::Function(text) | What::Extension(text), .. }) => self.told.push(text),
                Command::CloseTelemetry | Command::Flush => {}
                Command::Record(record) => {
                    let lines = platform::lines(&self.environment.writer.origin, self.now, &record);
                    shown.extend(lines.into_iter().map(|line| show(Command::Log(line))));
                    self.records.push(*record);
                }
                other => shown.push(show(other)),
            }
        }
        shown.join("\n")
    }

    pub fn said(&mut self, said: Said) -> String {
        self.step(Event::Said(said))
    }

    fn warm() -> Bench {
        let mut bench = Bench::new();
        bench.step(Event::Begin);
        bench.after(50).said(Said::Ready);
        bench
    }

    /// What the last invocation came to.
    fn ended(&self) -> &Ended {
        let Some(Record::Ended(ended)) = self.records.last() else { panic!("{:?}", self.records) };
        ended
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

pub fn call() -> Box<Call> {
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
        concurrency: base::ports::Concurrency::Shared(1),
        allocated: 0,
        is_async: false,
        cause: Cause::origin(Uuid::NIL),
    })
}

pub fn invoke() -> Event {
    Event::Invoke(call())
}

pub fn exit(code: i32) -> Event {
    Event::Exited(Exit { status: Status::Code(code), out_of_memory: false })
}

fn killed(signal: i32, out_of_memory: bool) -> Event {
    Event::Exited(Exit { status: Status::Signal(signal), out_of_memory })
}

const INIT_START: &str = "Log INIT_START Runtime Version: python:3.13|Runtime Version ARN: ARN";

#[test]
fn what_a_copy_took_that_its_caller_waited_for_is_init() {
    let mut bench = Bench::new();
    bench.environment = bench.environment.copied_in(Duration::from_millis(11));
    bench.step(invoke());
    bench.after(2).said(Said::Ready);
    bench.said(Said::Done);
    let done = bench.said(Said::Next);
    assert!(done.contains("|Init Duration: 13.00 ms|"), "{done}");
}

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
fn a_record_tells_what_an_invocation_came_to() {
    let mut bench = Bench::new();
    let mut first = call();
    first.invoked_arn = "arn:aws:lambda:us-east-1:000000000000:function:f:live".into();
    first.tenant_id = Some("blue".into());
    first.trace_header = Some("Root=1-2-3;Parent=4;Sampled=1".into());
    bench.step(Event::Invoke(first));
    bench.after(96).said(Said::Ready);
    let began = bench.now;
    let [Record::Started(started)] = &bench.records[..] else { panic!("{:?}", bench.records) };
    assert_eq!((started.request_id.to_string(), started.tenant_id.as_deref()), (ID.to_owned(), Some("blue")));
    bench.environment.note_memory(Some(77));
    bench.after(3).respond(b"1");
    let ended = bench.ended();
    let millis = Duration::from_millis;
    assert_eq!((ended.began, ended.took, ended.init), (began, millis(3), Some(millis(96))));
    assert_eq!((ended.qualifier.as_str(), ended.is_cold, ended.memory_peak_bytes), ("live", true, Some(77)));
    assert_eq!(ended.trace.as_ref().map(|trace| trace.root.as_str()), Some("1-2-3"));
    assert_eq!((&ended.failure, ended.extensions, ended.billed_millis()), (&None, None, 99));

    bench.step(invoke());
    bench.said(Said::Failed { kind: "Exception".into(), body: b"{}".to_vec() });
    bench.said(Said::Next);
    let ended = bench.ended();
    assert_eq!((ended.qualifier.as_str(), ended.is_cold, ended.init, &ended.trace), ("", false, None, &None));
    assert_eq!(ended.failure, Some(Failure::Handler("Exception".into())));

    bench.step(invoke());
    bench.after(3_001).step(Event::Tick);
    assert_eq!((&bench.ended().failure, bench.ended().took), (&Some(Failure::Timeout), millis(3_000)));
    bench.step(Event::Cleared);
    bench.step(invoke());
    bench.after(50).said(Said::Ready);
    bench.respond(b"1");
    let again = bench.ended();
    assert_eq!((again.is_cold, again.init, again.took), (true, None, millis(50)), "its init is its own time");
    assert_eq!(bench.records.len(), 8);
}

#[test]
fn who_comes_while_it_is_loaded_ahead_finds_nothing_ready() {
    for (ready_first, is_cold) in [(true, false), (false, true)] {
        let mut bench = Bench::new();
        bench.step(Event::Begin);
        if ready_first {
            bench.said(Said::Ready);
        }
        bench.step(invoke());
        if !ready_first {
            bench.said(Said::Ready);
        }
        bench.respond(b"1");
        assert_eq!(bench.ended().is_cold, is_cold);
    }
}

#[test]
fn an_invocation_that_never_began_leaves_nothing() {
    let mut bench = Bench::new();
    bench.step(invoke());
    assert!(bench.step(Event::Gone).contains("Lost"));
    assert!(bench.records.is_empty());
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

fn id(number: u8) -> Uuid {
    Uuid::from_bytes([number; 16])
}

fn register(ticket: Ticket, name: &str, number: u8, events: &[&str]) -> Event {
    let events = events.iter().map(|event| (*event).to_owned()).collect();
    Event::Asked(ticket, Ask::Register { name: name.into(), events, id: id(number), wants_account: false })
}

fn next(ticket: Ticket, number: u8) -> Event {
    Event::Asked(ticket, Ask::Next { id: id(number) })
}

fn gone(name: &str, code: i32) -> Event {
    Event::ExtensionExited { name: name.into(), exit: Exit { status: Status::Code(code), out_of_memory: false } }
}

/// With two external extensions that are ready: one for all events, one for the end.
fn extended() -> Bench {
    let mut bench = Bench::with(&["all", "end"]);
    bench.step(Event::Begin);
    bench.step(register(1, "all", 1, &["SHUTDOWN", "INVOKE"]));
    bench.step(register(2, "end", 2, &["SHUTDOWN"]));
    for event in [next(3, 1), next(4, 2), Event::Said(Said::Ready)] {
        bench.step(event);
    }
    bench
}

#[test]
fn extensions_come_before_the_runtime_and_hold_init_and_invocations() {
    let mut bench = Bench::with(&["all", "end"]);
    assert_eq!(bench.step(invoke()), format!("{INIT_START}\nStartExtension all\nStartExtension end"));
    assert_eq!(bench.step(register(1, "all", 1, &["SHUTDOWN", "INVOKE"])), "1 registered");
    assert_eq!(bench.step(register(2, "end", 2, &["SHUTDOWN"])), "2 registered\nStart");
    assert_eq!(bench.step(next(3, 1)), "");
    assert_eq!(bench.after(80).said(Said::Ready), "");
    let refused = "9 403 Extension.RegistrationClosed: Extension registration closed already";
    assert_eq!(bench.step(register(9, "late", 9, &[])), refused);
    assert_eq!(
        bench.after(10).step(next(4, 2)),
        format!(
            "Log EXTENSION|Name: all|State: Ready|Events: [INVOKE,SHUTDOWN]\nLog EXTENSION|Name: end|State: Ready|Events: \
             [SHUTDOWN]\nLog START RequestId: {ID} Version: $LATEST\n3 INVOKE 3000\nHand 3000"
        )
    );
    assert_eq!(bench.said(Said::Bytes(b"1".to_vec())), "");
    assert_eq!(bench.after(5).said(Said::Done), "Whole None 1");
    // The response has left, and the invocation goes on.
    assert_eq!(bench.after(5).said(Said::Next), "");
    let over = bench.after(90).step(next(5, 1));
    assert!(over.contains("|Duration: 100.00 ms|Billed Duration: 190 ms|"), "{over}");
    assert!(over.starts_with("Log END") && over.ends_with("Init Duration: 90.00 ms|\nIdle"), "{over}");
    let told = ["initStart", "initRuntimeDone", "extension", "extension", "initReport"];
    assert_eq!(bench.told, told, "nobody subscribed");
}

#[test]
fn an_extension_that_goes_on_uses_up_the_function_s_time() {
    let mut bench = extended();
    bench.step(invoke());
    bench.said(Said::Done);
    assert_eq!(bench.said(Said::Next), "");
    let over = bench.after(3_000).step(Event::Tick);
    assert!(over.contains("Status: timeout\nSignal(Runtime, 15)") && !over.contains("Whole"), "{over}");
    assert_eq!(bench.after(100).step(exit(143)), "4 SHUTDOWN timeout 1900");
    assert_eq!(bench.after(100).step(next(6, 1)), "6 SHUTDOWN timeout 1800");
    assert_eq!(bench.step(gone("all", 0)), "");
    assert_eq!(bench.step(gone("end", 0)), "Clear");
    assert_eq!(bench.step(Event::Cleared), "Idle");
    assert_eq!(
        bench.step(invoke()),
        format!("Log START RequestId: {ID} Version: $LATEST\nStartExtension all\nStartExtension end")
    );
}

#[test]
fn an_environment_that_is_not_needed_ends_gently() {
    let mut bench = extended();
    assert_eq!(bench.step(Event::Retire), "Signal(Runtime, 15)");
    assert_eq!(bench.after(299).step(Event::Tick), "");
    let late = "Signal(Runtime, 9)\n3 SHUTDOWN spindown 1700\n4 SHUTDOWN spindown 1700";
    assert_eq!(bench.after(1).step(Event::Tick), late);
    assert_eq!(bench.step(killed(9, false)), "");
    assert_eq!(bench.step(gone("all", 0)), "");
    assert_eq!(bench.step(invoke()), "Answer(Lost)");
    assert_eq!(bench.after(1_700).step(Event::Tick), "Clear");
    assert_eq!(bench.step(Event::Cleared), "End");
    // Without extensions there is nothing gentle about it.
    assert_eq!(Bench::warm().step(Event::Retire), "End");
    assert_eq!(Bench::new().step(Event::Retire), "End");
}

#[test]
fn subscribers_get_what_is_left_before_they_hear_of_the_end() {
    for flushed in [Event::Flushed, Event::Tick] {
        let mut bench = Bench::with(&["x"]);
        bench.step(Event::Begin);
        bench.step(register(1, "x", 1, &["SHUTDOWN"]));
        let body = br#"{"types":["platform"],"destination":{"protocol":"TCP","port":5000}}"#.to_vec();
        bench.step(Event::Asked(2, Ask::Subscribe { id: id(1), api: Api::Logs, body }));
        bench.step(next(3, 1));
        bench.said(Said::Ready);
        assert_eq!(bench.step(Event::Flushed), "");
        bench.step(invoke());
        let over = bench.after(3_000).step(Event::Tick);
        assert!(over.ends_with("\nSignal(Runtime, 15)"), "{over}");
        assert_eq!(bench.step(exit(143)), "");
        assert_eq!(bench.after(499).step(Event::Tick), "");
        assert_eq!(bench.after(1).step(flushed), "3 SHUTDOWN timeout 1500");
        assert_eq!(bench.step(Event::Flushed), "");
        assert_eq!(bench.step(gone("x", 0)), "Clear");
    }
}

#[test]
fn one_that_does_not_want_to_know_of_the_end_is_killed() {
    let mut bench = Bench::with(&["x"]);
    bench.step(Event::Begin);
    bench.step(register(1, "x", 1, &["INVOKE"]));
    bench.step(next(2, 1));
    bench.said(Said::Ready);
    assert_eq!(bench.step(Event::Retire), "Signal(Runtime, 15)");
    assert_eq!(bench.step(exit(0)), "Signal(Extension(\"x\"), 9)");
    assert_eq!(bench.step(gone("x", 0)), "Clear");
}

#[test]
fn an_internal_extension_has_half_a_second() {
    let mut bench = Bench::new();
    bench.step(Event::Begin);
    assert_eq!(bench.step(register(1, "in", 1, &["INVOKE"])), "1 registered");
    bench.said(Said::Ready);
    assert!(bench.step(next(2, 1)).ends_with("\nIdle"));
    assert_eq!(bench.step(Event::Retire), "Signal(Runtime, 15)");
    assert_eq!(bench.after(499).step(Event::Tick), "");
    assert_eq!(bench.after(1).step(Event::Tick), "Signal(Runtime, 9)\nClear");
}

#[test]
fn what_an_extension_failed_by_is_told() {
    let mut bench = extended();
    bench.step(invoke());
    let failed = Ask::ExitError { id: id(1), kind: "Extension.ExitError".into() };
    assert_eq!(bench.step(Event::Asked(5, failed)), "Reply(5, Accepted)");
    let over = bench.step(gone("all", 2));
    let body =
        format!("{{\"errorType\":\"Extension.ExitError\",\"errorMessage\":\"RequestId: {ID} Error: exit status 2\"}}");
    assert!(over.contains("Error Type: Extension.ExitError\n") && over.contains(&body), "{over}");
    let mut bench = Bench::with(&["x"]);
    bench.step(invoke());
    let why = "fork/exec /opt/extensions/x: permission denied".to_owned();
    let report = bench.step(Event::ExtensionNotStarted { name: "x".into(), why, is_forbidden: true });
    assert_eq!(
        report,
        "Log EXTENSION|Name: x|State: LaunchError|Events: []|Error Type: PermissionDenied\nLog INIT_REPORT Init Duration: \
         0.00 ms|Phase: init|Status: error|Error Type: Extension.LaunchError\nClear"
    );
}

#[test]
fn requests_are_refused_in_aws_s_words() {
    let mut bench = extended();
    for (event, refusal) in [
        (
            next(5, 1),
            format!(
                "State transition from Ready to Ready failed for extension {}. Error: State transition is not allowed",
                id(1)
            ),
        ),
        (next(5, 7), format!("403 Extension.UnknownExtensionIdentifier: Unknown extension {}", id(7))),
        (register(5, "all", 8, &["OTHER"]), "403 Extension.InvalidEventType: OTHER: ErrorInvalidEventType".into()),
        (
            register(5, "all", 8, &[]),
            "403 Extension.InvalidExtensionState: State transition from Ready to Registered failed for extension all. \
             Error: State transition is not allowed"
                .into(),
        ),
        (
            Event::Asked(5, Ask::InitError { id: id(2), kind: "E".into() }),
            format!("State transition from Ready to InitError failed for extension {}. Error: ", id(2)),
        ),
    ] {
        let found = bench.step(event);
        assert!(found.starts_with("5 403 ") && found.contains(&refusal), "{found}");
    }
    let mut bench = Bench::new();
    bench.step(Event::Begin);
    for number in 0..10 {
        let name = format!("x{number}");
        assert_eq!(bench.step(register(1, &name, number, &[])), "1 registered");
    }
    let refused = "1 403 Extension.TooManyExtensions: Extension limit (10) reached";
    assert_eq!(bench.step(register(1, "x10", 10, &[])), refused);
}

#[test]
fn who_subscribes_hears_what_the_log_leaves_out() {
    let mut bench = Bench::new();
    bench.step(Event::Begin);
    bench.step(register(1, "in", 1, &[]));
    let body = br#"{"schemaVersion":"2022-12-13","types":["platform"],"destination":{"protocol":"TCP","port":5000}}"#;
    let subscribe =
        |ticket, api, body: &[u8]| Event::Asked(ticket, Ask::Subscribe { id: id(1), api, body: body.to_vec() });
    let done = bench.step(subscribe(2, Api::Telemetry, body));
    assert!(done.contains("Subscribe(") && done.contains("Log TELEMETRY|Name: in|State: Subscribed|Types: [Platform]"));
    assert_eq!(bench.step(subscribe(3, Api::Telemetry, body)), "Reply(3, Subscribed)");
    let other = br#"{"types":["platform"],"destination":{"protocol":"TCP","port":5000}}"#;
    let refused = bench.step(subscribe(4, Api::Logs, other));
    assert_eq!(refused, "4 400 Logs.ValidationError: the extension is subscribed by the Telemetry API already");
    bench.step(next(5, 1));
    bench.said(Said::Ready);
    let late = bench.step(subscribe(6, Api::Telemetry, body));
    assert_eq!(late, "6 403 Telemetry.SubscriptionClosed: Telemetry API subscription is closed");
    bench.told.clear();
    bench.step(invoke());
    bench.step(Event::Output(Source::Function, "line\n".into()));
    bench.respond(b"1");
    bench.step(Event::Dropped(Dropped { records: 1, bytes: 2 }));
    assert_eq!(bench.told, ["start", "line\n", "runtimeDone", "end", "report", "logsDropped"]);
}

/// Whatever comes in whatever order, with extensions or without: each invocation is answered once, no request twice,
/// and `Idle` is never said with an invocation in hand or while somebody works on one.
#[test]
fn any_order_of_events_answers_each_invocation_once() {
    use proptest::prelude::*;
    let external = prop::collection::vec(prop::sample::select(vec!["a", "b"]), 0..3);
    proptest!(|(
        mut external in external, kind in 0..4_u8, events in prop::collection::vec((0..31_u8, any::<bool>(), any::<bool>()), 0..90),
    )| {
        external.sort_unstable();
        external.dedup();
        let beginning = match kind {
            0 | 1 => Beginning::Init,
            2 => Beginning::Restored(Duration::from_millis(5)),
            _ => Beginning::Anew,
        };
        let mut bench = Bench::beginning(beginning, &external);
        let (mut open, mut asked, mut answered, mut tickets) = (false, 0, 0, 0);
        let mut waiting = std::collections::BTreeSet::new();
        for (event, wants_log_tail, is_streamed) in events {
            tickets += 1;
            let name = if wants_log_tail { "a" } else { "b" };
            let number = u8::from(wants_log_tail);
            let event = match event {
                0..=2 if open => continue,
                0..=2 => {
                    (open, asked) = (true, asked + 1);
                    Event::Invoke(Box::new(Call { wants_log_tail, is_streamed, ..*call() }))
                }
                3 => Event::Said(Said::Ready),
                4 => Event::Said(if is_streamed { Said::Loaded } else { Said::Ready }),
                5..=6 => Event::Said(Said::Bytes(b"x".to_vec())),
                7..=8 => Event::Said(Said::Done),
                9..=11 => Event::Said(Said::Next),
                12..=13 => Event::Cleared,
                14 => exit(1),
                15 => Event::Tick,
                16 => Event::Said(Said::Head { content_type: None, is_streamed: true }),
                17 => Event::Said(Said::Failed { kind: "E".into(), body: vec![] }),
                18 => Event::Said(Said::InitError { kind: "E".into(), body: vec![] }),
                19 => Event::NotStarted("no".into()),
                20..=22 => register(tickets, name, number, if is_streamed { &["INVOKE"] } else { &["INVOKE", "SHUTDOWN"] }),
                23..=26 => next(tickets, number),
                27 => gone(name, 0),
                28 => Event::Asked(tickets, Ask::ExitError { id: id(number), kind: "Extension.E".into() }),
                29 if !open => Event::Retire,
                _ => Event::Begin,
            };
            if let Event::Asked(ticket, _) = &event {
                waiting.insert(*ticket);
            }
            bench.after(700);
            bench.environment.step(bench.now, event, &mut bench.out);
            for command in bench.out.drain(..) {
                match command {
                    Command::Answer(
                        Answer::Whole { .. } | Answer::End { .. } | Answer::Lost | Answer::NotRestored { .. },
                    ) => answered += 1,
                    Command::Reply(ticket, _) => prop_assert!(waiting.remove(&ticket), "{} is answered twice", ticket),
                    Command::Idle => {
                        open = false;
                        prop_assert!(bench.environment.in_hand.is_none());
                        let is_cold = bench.environment.state == State::Cold;
                        prop_assert!(is_cold || bench.environment.is_runtime_quiet);
                        prop_assert!(is_cold || bench.environment.extensions.are_ready());
                    }
                    Command::End => open = false,
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
