//! What SnapStart changes in an environment's life.
//!
//! The one that a snapshot is taken of has an init of its own, without the ten seconds, and ends when it is taken. Those that
//! begin with the snapshot are `Starting` in the phase `Restore`: their runtime goes on where the snapshot was taken, runs
//! the hooks that wait for that, and is ready. Where there is no snapshot to begin with, all of the init runs in that phase,
//! and its time tells so. None of them has a second life: the next instance is restored anew.
//!
//! Its caller hears in AWS's words of a snapshot that was not restored. An init that fails where a snapshot of it once
//! succeeded fails the invocation, as any init does.

use std::time::Duration;

use base::Timestamp;
use base::record::{Failure, Kind};
use sandbox::{Exit, Status};

use super::failure::Breakage;
use super::lines::{Line, Phase};
use super::{Answer, Command, Environment, SIGKILL, State};
use crate::limits::{INIT_TIMEOUT, INIT_TIMEOUT_PROVISIONED, MEMORY_PEAK_SLACK_BYTES, RESTORE_TIMEOUT};

/// The error's type of a hook that was to run after a snapshot is restored.
const AFTER_RESTORE: &str = "Runtime.AfterRestoreError";

/// Whether one that was killed for memory has held all that it may at some time. If not, it was killed for what all
/// sandboxes hold together.
pub fn had_all(peak_bytes: u64, own_bytes: u64) -> bool {
    peak_bytes.saturating_add(MEMORY_PEAK_SLACK_BYTES) >= own_bytes
}

/// What an environment's life begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Beginning {
    /// An init, and more of them after a reset.
    Init,
    /// An init, of which a snapshot is taken.
    Snapshot,
    /// A snapshot, which took so long to be there.
    Restored(Duration),
    /// What would be a snapshot, of which there is none.
    Anew,
}

/// What the init came to of which a snapshot was to be taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Its sandbox was gone before it was loaded, or it was told to end.
    Gone,
    Loaded,
    Failed {
        error_type: String,
    },
    /// By its own doing, by its limit of memory, or because the host had no more for all.
    Killed {
        error_type: String,
        out_of_memory: bool,
        memory_peak_bytes: Option<u64>,
    },
}

impl Environment {
    pub(super) fn first_phase(&self) -> Phase {
        match self.beginning {
            Beginning::Init | Beginning::Snapshot => Phase::Init,
            Beginning::Restored(_) | Beginning::Anew => Phase::Restore,
        }
    }

    /// How long its first phase may take.
    pub(super) fn first_timeout(&self) -> Duration {
        let patient = INIT_TIMEOUT_PROVISIONED.max(self.timeout);
        match self.beginning {
            Beginning::Init if self.writer.origin.kind == Kind::OnDemand => INIT_TIMEOUT,
            Beginning::Init | Beginning::Snapshot => patient,
            Beginning::Restored(_) => RESTORE_TIMEOUT,
            Beginning::Anew => patient.saturating_add(RESTORE_TIMEOUT),
        }
    }

    /// The runtime has loaded its function and waits.
    pub(super) fn loaded(&mut self, now: Timestamp, phase: Phase, out: &mut Vec<Command>) {
        if std::mem::replace(&mut self.is_loaded, true) {
            return self.out_of_turn(now, out);
        }
        match self.beginning {
            Beginning::Snapshot => self.runtime_ready(now, phase, out),
            Beginning::Anew => {
                self.deadline = Some(now.plus(RESTORE_TIMEOUT));
                out.push(Command::Restore);
            }
            Beginning::Init | Beginning::Restored(_) => self.out_of_turn(now, out),
        }
    }

    /// What the log is told of an init or a restore that is over.
    pub(super) fn first_report<'a>(&mut self, phase: Phase, took: Duration, failure: Option<&'a Failure>) -> Line<'a> {
        match (phase, self.beginning) {
            (Phase::Restore, beginning) => {
                let before = if let Beginning::Restored(before) = beginning { before } else { Duration::ZERO };
                // Not the snapshot's own restoring is billed, but what its runtime and its hooks did then.
                let (took, billed) = (before.saturating_add(took), took);
                self.restored = failure.is_none().then_some((took, billed));
                Line::RestoreReport { took, failure }
            }
            (Phase::Init | Phase::Invoke, _) => Line::InitReport { phase, took, failure },
        }
    }

    /// Answers the invocation that waited for it.
    pub(super) fn not_restored(&mut self, now: Timestamp, breakage: &Breakage, out: &mut Vec<Command>) {
        let is_late = matches!(breakage, Breakage::Timeout(_));
        let is_hook = matches!(breakage, Breakage::InitError { kind, .. } if kind == AFTER_RESTORE);
        if is_late || is_hook || self.beginning != Beginning::Anew {
            if self.in_hand.take().is_some() {
                out.push(Command::Answer(Answer::NotRestored { is_late }));
            }
        } else if self.in_hand.is_some() {
            self.begin(now, out);
            self.finish(now, Some(breakage), out);
        }
    }

    /// All processes of it are gone, and it has no other life.
    pub(super) fn gone_for_good(&mut self, out: &mut Vec<Command>) {
        if self.in_hand.take().is_some() {
            out.push(Command::Answer(Answer::Lost));
        }
        self.end(out);
    }

    /// A snapshot may be taken.
    pub(super) fn wait_for_snapshot(&mut self, out: &mut Vec<Command>) {
        self.state = State::Ready;
        self.deadline = None;
        self.outcome = Outcome::Loaded;
        out.push(Command::Snapshot);
    }

    pub(super) fn note_exit(&mut self, exit: Exit) {
        if exit.status == Status::Signal(SIGKILL) {
            self.killed_by = Some(exit);
        }
    }

    /// Whether the kernel killed a process of it for memory, and not at its own limit: others hold what all may together.
    pub fn is_killed_for_others(&self) -> bool {
        let own = u64::from(self.writer.origin.memory_mb).saturating_mul(1024 * 1024);
        let peak = self.memory_peak_bytes.unwrap_or(u64::MAX);
        self.killed_by.is_some_and(|exit| exit.out_of_memory) && !had_all(peak, own)
    }

    /// What an init came to that this ended.
    pub(super) fn failed(&self, breakage: &Breakage) -> Outcome {
        let error_type = breakage.kind().to_owned();
        match self.killed_by {
            Some(Exit { out_of_memory, .. })
                if !matches!(breakage, Breakage::InitError { .. } | Breakage::Timeout(_)) =>
            {
                Outcome::Killed { error_type, out_of_memory, memory_peak_bytes: self.memory_peak_bytes }
            }
            _ => Outcome::Failed { error_type },
        }
    }

    pub fn outcome(&self) -> &Outcome {
        &self.outcome
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Bench, exit, invoke};
    use super::super::{Event, Said};
    use super::*;

    const START: &str = "Log RESTORE_START Runtime Version: python:3.13|Runtime Version ARN: ARN";

    #[test]
    fn a_clone_is_restored_and_tells_how_long_it_took() {
        let mut bench = Bench::beginning(Beginning::Restored(Duration::from_millis(5)), &[]);
        assert_eq!(bench.step(invoke()), format!("{START}\nStart"));
        let begun = bench.after(20).said(Said::Ready);
        assert!(begun.starts_with("Log RESTORE_REPORT Restore Duration: 25.00 ms\nLog START "), "{begun}");
        assert!(begun.ends_with("Hand 3000"), "{begun}");
        assert_eq!(bench.told, ["restoreStart", "restoreRuntimeDone", "restoreReport"]);
        bench.after(7).said(Said::Done);
        let done = bench.said(Said::Next);
        let words = "Duration: 7.00 ms|Billed Duration: 7 ms|Memory Size: 128 MB|";
        assert!(done.contains(&format!("{words}Restore Duration: 25.00 ms|Billed Restore Duration: 20 ms|")), "{done}");
        bench.step(invoke());
        bench.said(Said::Done);
        assert!(!bench.said(Said::Next).contains("Restore"), "it is told once");
    }

    #[test]
    fn who_waits_hears_of_a_snapshot_that_is_not_restored() {
        let hook = || Said::InitError { kind: AFTER_RESTORE.into(), body: b"{}".to_vec() };
        let restored = Beginning::Restored(Duration::ZERO);
        for (beginning, broken, status, answer) in [
            (
                restored,
                Event::Said(hook()),
                "error|Error Type: Runtime.AfterRestoreError",
                "NotRestored { is_late: false }",
            ),
            (restored, exit(1), "error|Error Type: Runtime.ExitError", "NotRestored { is_late: false }"),
            (restored, Event::Tick, "timeout", "NotRestored { is_late: true }"),
            (Beginning::Anew, Event::Said(hook()), "error|Error Type: Runtime.AfterRestoreError", "is_late: false"),
            (
                Beginning::Anew,
                exit(1),
                "error|Error Type: Runtime.ExitError",
                "Whole Some(\"Unhandled\") {\"errorType\"",
            ),
        ] {
            let mut bench = Bench::beginning(beginning, &[]);
            bench.step(invoke());
            let broke = bench.after(10_000).step(broken);
            assert!(
                broke.contains(&format!("Log RESTORE_REPORT Restore Duration: 10000.00 ms|Status: {status}")),
                "{broke}"
            );
            assert!(broke.contains(answer) && broke.ends_with("Clear"), "{broke}");
            assert_eq!(bench.step(Event::Cleared), "End", "there is no second life");
        }
    }

    #[test]
    fn without_a_snapshot_all_of_init_is_in_the_restore() {
        let mut bench = Bench::beginning(Beginning::Anew, &[]);
        bench.step(invoke());
        assert_eq!(bench.after(60_000).step(Event::Tick), "", "it has the time of an init");
        assert_eq!(bench.said(Said::Loaded), "Restore");
        let done = bench.after(9_000).said(Said::Ready);
        assert!(done.starts_with("Log RESTORE_REPORT Restore Duration: 69000.00 ms\n"), "{done}");

        let mut late = Bench::beginning(Beginning::Anew, &[]);
        late.step(invoke());
        late.said(Said::Loaded);
        assert!(
            late.after(10_000).step(Event::Tick).contains("NotRestored { is_late: true }"),
            "hooks have ten seconds"
        );
    }

    #[test]
    fn an_init_that_is_killed_is_told_from_one_that_fails() {
        let killed = |out_of_memory| Exit { status: Status::Signal(SIGKILL), out_of_memory };
        for out_of_memory in [true, false] {
            let mut bench = Bench::beginning(Beginning::Snapshot, &[]);
            bench.step(Event::Begin);
            bench.environment.note_memory(Some(77));
            bench.step(Event::Exited(killed(out_of_memory)));
            let error_type = if out_of_memory { "Runtime.OutOfMemory" } else { "Runtime.ExitError" }.to_owned();
            let outcome = Outcome::Killed { error_type, out_of_memory, memory_peak_bytes: Some(77) };
            assert_eq!(bench.environment.outcome(), &outcome);
        }
        let mut extended = Bench::beginning(Beginning::Snapshot, &["logger"]);
        extended.step(Event::Begin);
        extended.step(Event::ExtensionExited { name: "logger".into(), exit: killed(true) });
        let outcome = extended.environment.outcome();
        assert!(
            matches!(outcome, Outcome::Killed { error_type, .. } if error_type == "Extension.Crash"),
            "{outcome:?}"
        );
    }

    #[test]
    fn a_snapshot_is_taken_of_one_that_is_loaded() {
        let mut bench = Bench::beginning(Beginning::Snapshot, &[]);
        assert!(bench.step(Event::Begin).starts_with("Log INIT_START "));
        let loaded = bench.after(30_000).said(Said::Loaded);
        assert_eq!(loaded, "Log INIT_REPORT Init Duration: 30000.00 ms|Phase: init|Status: success\nSnapshot");
        assert_eq!((bench.step(Event::Retire), bench.environment.outcome()), ("End".to_owned(), &Outcome::Loaded));

        let mut fails = Bench::beginning(Beginning::Snapshot, &[]);
        fails.step(Event::Begin);
        assert!(fails.step(exit(1)).contains("Status: error|Error Type: Runtime.ExitError"));
        assert_eq!(fails.step(Event::Cleared), "End");
        assert_eq!(fails.environment.outcome(), &Outcome::Failed { error_type: "Runtime.ExitError".into() });

        let mut gone = Bench::beginning(Beginning::Snapshot, &[]);
        gone.step(Event::Begin);
        assert!(gone.step(Event::Gone).ends_with("End"));
        assert_eq!(gone.environment.outcome(), &Outcome::Gone, "nobody knows whether it loads");

        let mut twice = Bench::beginning(Beginning::Anew, &[]);
        twice.step(Event::Begin);
        twice.said(Said::Loaded);
        assert!(twice.said(Said::Loaded).contains("RESTORE_REPORT") && twice.environment.in_hand.is_none());
    }
}
