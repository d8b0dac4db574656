//! What is under way right now: invocations that run, messages that pollers hold, moves of messages.
//!
//! Kept in memory only, for those who want to see it or to wait until it is over. What waits for its time lies in the
//! store; see [`idle`](crate::idle) for how both come to one answer.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use base::{Uuid, trace};
use parking_lot::Mutex;
use store::Scope;

/// All of this server.
#[derive(Default)]
pub struct UnderWay(Arc<Steps>);

#[derive(Default)]
struct Steps {
    begun: AtomicU64,
    running: Mutex<HashMap<u64, Step>>,
}

/// Something that goes on.
#[derive(Debug, Clone)]
pub struct Step {
    pub scope: Scope,
    pub kind: Kind,
    /// The function's or queue's name.
    pub name: Arc<str>,
    /// The header that says which trace it belongs to.
    pub trace_header: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Invocation,
    /// An attempt of the event with this id.
    Attempt(Uuid),
    /// Of messages that a poller has taken.
    Batch,
    /// Of messages from one queue to others.
    Move,
}

/// Goes on as long as this is held.
pub struct Going {
    steps: Arc<Steps>,
    number: u64,
}

impl UnderWay {
    pub fn begin(&self, step: Step) -> Going {
        let number = self.0.begun.fetch_add(1, Ordering::SeqCst);
        self.0.running.lock().insert(number, step);
        Going { steps: self.0.clone(), number }
    }

    /// Something is about to be handed on that goes on by itself from then on, such as a message.
    pub fn hand_on(&self) {
        self.0.begun.fetch_add(1, Ordering::SeqCst);
    }

    /// How much has begun so far. Where it is the same before and after a look, nothing moved on behind the look's back.
    pub fn begun(&self) -> u64 {
        self.0.begun.load(Ordering::SeqCst)
    }

    pub fn steps(&self, is_meant: impl Fn(&Step) -> bool) -> Vec<Step> {
        self.0.running.lock().values().filter(|step| is_meant(step)).cloned().collect()
    }
}

impl Step {
    pub fn is_of(&self, trace: &str) -> bool {
        is_of(self.trace_header.as_deref(), trace)
    }
}

/// Whether a header says that something belongs to a trace: that with this root, or that which began with the request that
/// has this id.
pub fn is_of(trace_header: Option<&str>, trace: &str) -> bool {
    let Some(root) = trace_header.and_then(|header| trace::field(header, "Root")) else { return false };
    let begins_with = |id: Uuid| root.rsplit('-').next() == Some(&digits(id, 24));
    root == trace || trace.parse().is_ok_and(begins_with)
}

/// The first so many hexadecimal digits of an id: of a request's, the trace that begins with it has 24.
pub fn digits(id: Uuid, count: usize) -> String {
    id.to_string().chars().filter(char::is_ascii_hexdigit).take(count).collect()
}

impl Drop for Going {
    fn drop(&mut self) {
        self.steps.running.lock().remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_on_is_seen_until_it_is_let_go() {
        let under_way = UnderWay::default();
        let scope = Scope { world: base::World::default(), account: base::AccountId::ZERO, region: None };
        let step = |root: &str| Step {
            scope: scope.clone(),
            kind: Kind::Invocation,
            name: "f".into(),
            trace_header: Some(format!("Root={root};Sampled=0")),
        };
        let (one, other) = (under_way.begin(step("1-a")), under_way.begin(step("1-b")));
        assert_eq!(under_way.steps(|step| step.is_of("1-a")).len(), 1);
        drop(one);
        assert_eq!(under_way.steps(|step| step.is_of("1-a")).len(), 0);
        assert_eq!((under_way.steps(|_| true).len(), under_way.begun()), (1, 2));
        under_way.hand_on();
        let id: Uuid = "01234567-89ab-cdef-0123-456789abcdef".parse().unwrap();
        let header = format!("Root=1-00000000-{};Parent=0", digits(id, 24));
        assert!(is_of(Some(&header), &id.to_string()) && !is_of(Some(&header), "1-00000000") && !is_of(None, ""));
        drop(other);
        assert_eq!((under_way.steps(|_| true).len(), under_way.begun()), (0, 3));
    }
}
