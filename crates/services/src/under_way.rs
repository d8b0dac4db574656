//! What is under way right now: invocations that run, messages that pollers hold, moves of messages.
//!
//! Kept in memory only, for those who want to see it or to wait until it is over. What waits for its time lies in the
//! store; see [`idle`](crate::idle) for how both come to one answer.
//!
//! **Invariant.** Whatever passes from one place to another in one commit (an event that becomes a message, a message that
//! becomes a dead letter) is under way from before that commit until after it.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use base::{Uuid, trace};
use parking_lot::Mutex;
use store::Scope;

/// Steps that are remembered by those who look what began meanwhile.
const RECENT_MAX: usize = 1_024;

/// All of this server.
#[derive(Default)]
pub struct UnderWay(Arc<Mutex<Steps>>);

#[derive(Default)]
struct Steps {
    begun: u64,
    running: HashMap<u64, Arc<Step>>,
    /// What began last, whether it has ended or not.
    recent: VecDeque<Arc<Step>>,
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
    /// A poller looks what there is to take.
    Taking,
    /// Of messages from one queue to others.
    Move,
}

/// Goes on as long as this is held.
pub struct Going {
    steps: Arc<Mutex<Steps>>,
    number: u64,
}

impl UnderWay {
    pub fn begin(&self, step: Step) -> Going {
        let step = Arc::new(step);
        let mut steps = self.0.lock();
        let number = steps.begun;
        steps.begun = steps.begun.saturating_add(1);
        steps.running.insert(number, step.clone());
        if steps.recent.len() == RECENT_MAX {
            steps.recent.pop_front();
        }
        steps.recent.push_back(step);
        Going { steps: self.0.clone(), number }
    }

    /// How much has begun so far.
    pub fn begun(&self) -> u64 {
        self.0.lock().begun
    }

    /// Whether anything that is meant may have begun since so much had.
    pub fn began_since(&self, begun: u64, is_meant: impl Fn(&Step) -> bool) -> bool {
        let steps = self.0.lock();
        let new = usize::try_from(steps.begun.saturating_sub(begun)).unwrap_or(usize::MAX);
        new > RECENT_MAX || steps.recent.iter().rev().take(new).any(|step| is_meant(step))
    }

    pub fn steps(&self, is_meant: impl Fn(&Step) -> bool) -> Vec<Arc<Step>> {
        self.0.lock().running.values().filter(|step| is_meant(step)).cloned().collect()
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

/// A trace as [`is_of`] knows it, from what somebody has at hand: its root, a header that has it, or a request's id.
pub fn trace_of(text: &str) -> Option<String> {
    let root = trace::field(text, "Root").unwrap_or(text);
    let is_hex = |part: &str, len: usize| part.len() == len && part.bytes().all(|byte| byte.is_ascii_hexdigit());
    let is_root = match root.split('-').collect::<Vec<_>>().as_slice() {
        ["1", time, id] => is_hex(time, 8) && is_hex(id, 24),
        _ => false,
    };
    (is_root || root.parse::<Uuid>().is_ok()).then(|| root.to_owned())
}

/// The first so many hexadecimal digits of an id: of a request's, the trace that begins with it has 24.
pub fn digits(id: Uuid, count: usize) -> String {
    id.to_string().chars().filter(char::is_ascii_hexdigit).take(count).collect()
}

impl Drop for Going {
    fn drop(&mut self) {
        self.steps.lock().running.remove(&self.number);
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
        drop((one, other));
        assert_eq!((under_way.steps(|_| true).len(), under_way.begun()), (0, 2));
        assert!(
            under_way.began_since(0, |step| step.is_of("1-a")) && !under_way.began_since(1, |step| step.is_of("1-a"))
        );
        assert!(!under_way.began_since(2, |_| true));
        // Who looks for too long knows nothing.
        (0..RECENT_MAX).for_each(|_| drop(under_way.begin(step("1-b"))));
        assert!(under_way.began_since(1, |_| false) && !under_way.began_since(2, |_| false));
        let id: Uuid = "01234567-89ab-cdef-0123-456789abcdef".parse().unwrap();
        let header = format!("Root=1-00000000-{};Parent=0", digits(id, 24));
        assert!(is_of(Some(&header), &id.to_string()) && !is_of(Some(&header), "1-00000000") && !is_of(None, ""));
        let root = "1-5759e988-bd862e3fe1be46a994272793";
        assert_eq!(trace_of(&format!("Root={root};Parent=53995c3f42cd8ad8;Sampled=0")).as_deref(), Some(root));
        assert_eq!([root, &id.to_string()].map(|text| trace_of(text).is_some()), [true, true]);
        assert_eq!(["", "x", "1-5759e988", "Root=", "Self=1"].map(trace_of), [const { None }; 5]);
    }
}
