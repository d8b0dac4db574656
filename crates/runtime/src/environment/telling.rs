//! What an environment tells of itself: lines for the log, the same for who subscribed to telemetry, and what becomes of
//! each invocation, from which its own lines are derived elsewhere.
//!
//! Invariant: an invocation that has begun is told of twice, when it begins and when it is over, and what its function
//! writes comes between.

use base::Timestamp;
use base::record::{AtOnce, Ended, Failure, Record, Started};
use engine::platform;

use super::failure::Breakage;
use super::invocation::Invocation;
use super::lines::{Line, Phase, Writer, told};
use super::{Command, Environment, extensions};

impl Environment {
    /// The invocation in hand begins.
    pub(super) fn tell_start(&mut self, now: Timestamp, out: &mut Vec<Command>) {
        let Some(invocation) = &mut self.in_hand else { return };
        let (tenant_id, trace) = (invocation.tenant_id.clone(), invocation.trace.clone());
        let started = Started { request_id: invocation.id, tenant_id, trace };
        if self.is_heard {
            out.push(Command::Tell(told(now, platform::start(&self.writer.origin, &started))));
        }
        record(&self.writer, now, Record::Started(started), invocation, out);
    }

    /// The invocation in hand is over: its report, and what the caller still has to get.
    pub(super) fn finish(&mut self, now: Timestamp, breakage: Option<&Breakage>, out: &mut Vec<Command>) {
        let failure = breakage.map(Breakage::failure);
        self.tell_runtime_done(now, failure.as_ref(), out);
        let Some(mut invocation) = self.in_hand.take() else { return };
        let ended = self.ended(now, &invocation, breakage, failure);
        if self.is_heard {
            let fault = breakage.and_then(|breakage| breakage.fault(&invocation.request_id));
            let fault = fault.map(|text| self.writer.tell(now, &Line::Fault { text }));
            let lines = [platform::end(&ended), platform::report(&self.writer.origin, &ended)];
            out.extend(fault.into_iter().chain(lines.map(|event| told(now, event))).map(Command::Tell));
        }
        record(&self.writer, now, Record::Ended(ended), &mut invocation, out);
        if let Some(breakage) = breakage {
            // Nobody waits for the log's end any more: it has been written.
            let body = breakage.body(&invocation.request_id);
            invocation.fail(breakage.kind(), body, out);
        }
        invocation.tell(out);
    }

    /// What an invocation has come to, and the init that it is told with.
    fn ended(
        &mut self,
        now: Timestamp,
        invocation: &Invocation,
        breakage: Option<&Breakage>,
        failure: Option<Failure>,
    ) -> Ended {
        let began = invocation.began.unwrap_or(now);
        let took = match breakage {
            // Not by how much the clock was read too late.
            Some(Breakage::Timeout(timeout)) => *timeout,
            _ => now.since(began),
        };
        let alone = invocation.runtime_done.filter(|_| self.extensions.is_any());
        Ended {
            request_id: invocation.id,
            qualifier: invocation.qualifier.clone(),
            began,
            took,
            init: self.init.take(),
            restored: self.restored.take(),
            is_cold: invocation.is_cold,
            memory_peak_bytes: self.memory_peak_bytes,
            cpu: None,
            failure: failure.or_else(|| invocation.failure.clone()),
            extensions: alone.map(|since| (since, now.since(since))),
            trace: invocation.trace.clone(),
            at_once: AtOnce::default(),
        }
    }

    pub(super) fn tell_extensions(&mut self, now: Timestamp, out: &mut Vec<Command>) {
        let standing = self.extensions.standing();
        let lines = standing.map(|extensions::Standing { name, state, events, error_type }| Line::Extension {
            name,
            state,
            events,
            error_type,
        });
        let texts: Vec<_> = lines.map(|line| self.tell(now, &line, out)).collect();
        texts.into_iter().for_each(|text| self.write(text, out));
    }

    /// Once, with the handler's error if there is no other.
    pub(super) fn tell_runtime_done(&mut self, now: Timestamp, failure: Option<&Failure>, out: &mut Vec<Command>) {
        match &mut self.in_hand {
            Some(invocation) if invocation.runtime_done.is_none() => invocation.runtime_done = Some(now),
            _ => return,
        }
        if !self.is_heard && !self.writer.origin.is_json {
            // Nobody would read it.
            return;
        }
        let text = self.in_hand.as_ref().and_then(|invocation| {
            let line = Line::RuntimeDone {
                request_id: invocation.id,
                tenant_id: invocation.tenant_id.as_deref(),
                took: invocation.runtime_took(),
                produced_bytes: invocation.produced_bytes,
                failure: failure.or(invocation.failure.as_ref()),
                spans: invocation.spans(),
                trace: invocation.trace.as_ref(),
            };
            self.tell(now, &line, out)
        });
        self.write(text, out);
    }

    pub(super) fn log(&mut self, now: Timestamp, line: &Line<'_>, out: &mut Vec<Command>) {
        let text = self.tell(now, line, out);
        self.write(text, out);
    }

    /// Tells subscribers. What the log gets is the caller's to write.
    fn tell(&self, now: Timestamp, line: &Line<'_>, out: &mut Vec<Command>) -> Option<String> {
        if self.is_heard {
            out.push(Command::Tell(self.writer.tell(now, line)));
        }
        self.writer.write(now, line)
    }

    pub(super) fn write(&mut self, text: Option<String>, out: &mut Vec<Command>) {
        let Some(text) = text else { return };
        if let Some(invocation) = &mut self.in_hand {
            invocation.note(&text);
        }
        out.push(Command::Log(text));
    }
}

/// Has it kept what became of an invocation. Its lines are written here only for callers that want the log's end.
fn record(writer: &Writer, now: Timestamp, record: Record, invocation: &mut Invocation, out: &mut Vec<Command>) {
    if invocation.hears_log() {
        platform::lines(&writer.origin, now, &record).iter().for_each(|line| invocation.note(line));
    }
    out.push(Command::Record(Box::new(record)));
}

/// The runtime is done with an init or a restore.
pub fn runtime_done(phase: Phase, failure: Option<&Failure>) -> Line<'_> {
    match phase {
        Phase::Restore => Line::RestoreRuntimeDone { failure },
        Phase::Init | Phase::Invoke => Line::InitRuntimeDone { phase, failure },
    }
}
