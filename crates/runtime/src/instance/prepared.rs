//! What was prepared of a version's code, as an instance sees it: it loads its function with it, doubts it when that fails,
//! or makes it for later ones.

use sandbox::{Exit, Status};
use tokio::time::Instant;

use super::Instance;
use crate::environment::{Said, Who};
use crate::languages::forget_archive;
use crate::limits::PREPARE_BEFORE_FREEZE_MAX;
use crate::prepare::Handover;

/// How far a runtime is that can make something for later instances of its version.
pub enum Preparing {
    /// It is asked when it has nothing else to do, unless another of its version has been.
    Wanted,
    /// Until then it is waited for, whatever it does meanwhile: others wait for their turn.
    Asked(Handover, Option<Instant>),
    Over,
}

impl Preparing {
    pub fn until(&self) -> Option<Instant> {
        match self {
            Preparing::Asked(_, until) => *until,
            Preparing::Wanted | Preparing::Over => None,
        }
    }
}

impl Instance {
    /// Asks for what later instances start sooner with, once, when nothing else is to be done. Whether it was asked.
    pub(super) fn prepares(&mut self) -> bool {
        if !matches!(self.preparing, Preparing::Wanted) || !self.environment.is_ready() {
            self.forgo();
            return false;
        }
        let Some(handover) = self.home.hand_over() else { return false };
        let is_asked = self.transport.prepare();
        let until = Instant::now().checked_add(PREPARE_BEFORE_FREEZE_MAX);
        self.preparing = if is_asked { Preparing::Asked(handover, until) } else { Preparing::Over };
        is_asked
    }

    /// Does without what it was asked for.
    pub(super) fn forgo(&mut self) {
        if matches!(std::mem::replace(&mut self.preparing, Preparing::Over), Preparing::Asked(..)) {
            self.transport.forgo();
        }
    }

    /// Its function is loaded: what was prepared of it has done no harm, but may have been of no use.
    pub(super) fn check_prepared(&mut self, said: &Said) {
        let is_loaded = *said == Said::Ready && std::mem::take(&mut self.trusts_prepared);
        if is_loaded && self.transport.has_rejected() {
            self.home.reject_prepared();
        }
    }

    /// Its life ends. Whoever does not live to load its function with what was prepared of it does without from now on, and
    /// so does its version.
    pub(super) fn doubt_prepared(&mut self) {
        self.forgo();
        if std::mem::take(&mut self.trusts_prepared) && !self.is_retiring {
            self.start.prepared.path = None;
            forget_archive(&mut self.start.argv);
            self.home.reject_prepared();
        }
    }

    /// Code that was compiled wrong may do its harm only when it is called.
    pub(super) fn doubt_prepared_after(&mut self, who: &Who, exit: Exit) {
        // SIGILL, SIGTRAP, SIGABRT, SIGBUS, SIGFPE, SIGSEGV.
        let is_crash = *who == Who::Runtime && matches!(exit.status, Status::Signal(4..=8 | 11));
        if is_crash && self.template.is_none() && self.start.prepared.path.take().is_some() {
            forget_archive(&mut self.start.argv);
            self.home.reject_prepared();
        }
    }

    pub(super) fn take_prepared(&mut self, prepared: Vec<u8>) {
        // Nobody is believed who was not asked.
        if let Preparing::Asked(handover, _) = std::mem::replace(&mut self.preparing, Preparing::Over)
            && !prepared.is_empty()
        {
            self.home.keep(handover, prepared);
        }
    }
}
