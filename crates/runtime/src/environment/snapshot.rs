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

use super::failure::Breakage;
use super::lines::{Failure, Line, Phase, Restored};
use super::{Answer, Command, Environment, State};
use crate::limits::{INIT_TIMEOUT, INIT_TIMEOUT_PROVISIONED, RESTORE_TIMEOUT};

/// The error's type of a hook that was to run after a snapshot is restored.
const AFTER_RESTORE: &str = "Runtime.AfterRestoreError";

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
            Beginning::Init if self.writer.initialization == super::Initialization::OnDemand => INIT_TIMEOUT,
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
    pub(super) fn first_report<'a>(&mut self, phase: Phase, took: Duration, failure: Option<Failure<'a>>) -> Line<'a> {
        match (phase, self.beginning) {
            (Phase::Restore, beginning) => {
                let before = if let Beginning::Restored(before) = beginning { before } else { Duration::ZERO };
                let restored = Restored { took: before.saturating_add(took), billed: took };
                self.restored = failure.is_none().then_some(restored);
                Line::RestoreReport { took: restored.took, failure }
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
        out.push(Command::Snapshot);
    }

    /// The type of the error by which its init failed, of which there was to be a snapshot.
    pub fn failed_by(&self) -> Option<&str> {
        self.failed_by.as_deref()
    }
}
