//! The messages of one queue, without their bodies: which may be received next, and which are hidden until when.
//!
//! Its shell asks for a decision, writes it down, and says [`Queue::release`] when it is on the disk. In between, a
//! message is *busy*: nobody else is given it, so what is decided of one message is written down in that order. A message
//! counts as what it will be from the decision on, so a write whose end nobody heard of does no harm: what was received
//! stays hidden until its time is over. What is known not to have been written down is taken back.
//!
//! A message is *waiting* when its time has come, *delayed* before it was ever received, and *in flight* after that.
//! Which of the waiting ones is next is decided by [`lines`]; what was sent before is known to [`recent`].
//!
//! **Invariants.** No message is handed out twice within the time it is hidden for. Each time that it is handed out
//! counts one. What is counted as waiting, delayed or in flight is so.

mod lines;
#[cfg(test)]
mod property;
mod recent;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use base::Timestamp;

use lines::Lines;
pub use recent::{Recent, Sent, WINDOW};

/// Where a message stands in its queue: greater for the later.
pub type Seq = u64;

/// Which messages belong together: to one tenant, or in one order.
pub type Group = Arc<str>;

/// Messages that may be in flight at once.
pub const IN_FLIGHT_MAX: usize = 120_000;

/// Low bits of a sequence number that count the messages of one millisecond.
const COUNT_BITS: u32 = 20;

/// Whether messages of a group come one after the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    Standard,
    Fifo,
}

/// A message, as far as its queue cares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    pub sent: Timestamp,
    pub group: Option<Group>,
    /// Nobody receives it before that.
    pub visible_at: Timestamp,
    /// How often it was received.
    pub receives: u32,
    /// How many of these do not count against it: before it was here, or for nobody to see.
    pub forgiven: u32,
    pub first_received: Option<Timestamp>,
}

/// What holds for a receiving.
#[derive(Debug, Clone, Copy)]
pub struct Terms {
    /// How long what is received is hidden from others.
    pub hidden_for: Duration,
    /// How often a message may be received before it goes to the dead letters.
    pub receives_max: Option<u32>,
}

/// What a receiving comes to. All of it is busy.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Taken {
    pub received: Vec<(Seq, Message)>,
    /// What has been received too often already.
    pub dead: Vec<(Seq, Message)>,
}

/// Too much is in flight.
#[derive(Debug, PartialEq, Eq)]
pub struct OverLimit;

/// What comes of the wish to change a message.
#[derive(Debug, PartialEq, Eq)]
pub enum Claim {
    /// It is not there any more.
    Gone,
    /// Somebody else's decision on it is being written down; ask again.
    Busy,
    /// It is busy with this.
    Granted(Message),
}

/// What became of a busy message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It is as it was decided.
    Stays,
    /// It was to be received, and will not have been: nobody is given it.
    NotReceived,
    /// Nobody receives it before that.
    Hidden(Timestamp),
    /// Who received it has shown it to nobody: it can be received again.
    Unseen(Timestamp),
    Removed,
}

/// How many messages there are, by what one may do with them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    pub waiting: usize,
    pub delayed: usize,
    pub in_flight: usize,
}

pub struct Queue {
    entries: BTreeMap<Seq, Entry>,
    lines: Lines,
    /// By when they can be received. Not the busy ones.
    hidden: BTreeSet<(Timestamp, Seq)>,
    /// By when they were sent.
    ages: BTreeSet<(Timestamp, Seq)>,
    counts: Counts,
    last: Seq,
}

struct Entry {
    message: Message,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// It was never written down.
    New,
    Busy,
    Waiting,
    Hidden,
}

impl Queue {
    pub fn new(order: Order) -> Self {
        Self {
            entries: BTreeMap::new(),
            lines: Lines::new(order),
            hidden: BTreeSet::new(),
            ages: BTreeSet::new(),
            counts: Counts::default(),
            last: 0,
        }
    }

    pub fn order(&self) -> Order {
        self.lines.order
    }

    /// Takes in a message that was written down before this queue was in memory.
    pub fn restore(&mut self, seq: Seq, message: Message) {
        self.last = self.last.max(seq);
        self.enter(seq, message);
        self.release(seq, Fate::Stays);
    }

    /// Gives a new message its place. It is busy until it is written down, and in a FIFO queue holds up those of its
    /// group that come behind it.
    pub fn admit(&mut self, now: Timestamp, message: Message) -> Seq {
        let first_of_now = u64::try_from(now.as_millis()).unwrap_or_default().saturating_mul(1 << COUNT_BITS);
        self.last = self.last.saturating_add(1).max(first_of_now);
        self.enter(self.last, message);
        self.last
    }

    /// Sees to it that what can be received by now is, and answers how much there is.
    pub fn advance(&mut self, now: Timestamp) -> Counts {
        while let Some((visible_at, seq)) = self.hidden.first().copied()
            && visible_at <= now
        {
            self.hidden.pop_first();
            self.set_state(seq, State::Waiting);
        }
        self.counts
    }

    /// When the next message can be received that cannot be yet.
    pub fn next_visible(&self) -> Option<Timestamp> {
        self.hidden.first().map(|(visible_at, _)| *visible_at)
    }

    /// Of how many groups messages are in flight.
    pub fn groups_in_flight(&self) -> usize {
        self.lines.in_flight()
    }

    /// When the oldest message was sent.
    pub fn oldest(&self) -> Option<Timestamp> {
        self.ages.first().map(|(sent, _)| *sent)
    }

    /// Receives up to `most` messages.
    pub fn take(&mut self, now: Timestamp, most: usize, terms: Terms) -> Result<Taken, OverLimit> {
        self.advance(now);
        let mut taken = Taken::default();
        let room = IN_FLIGHT_MAX.saturating_sub(self.counts.in_flight);
        if room == 0 && self.counts.waiting > 0 {
            return Err(OverLimit);
        }
        while taken.received.len().saturating_add(taken.dead.len()) < most.min(room) {
            let Some(seq) = self.lines.next() else { break };
            let Some(entry) = self.entries.get_mut(&seq) else { break };
            let message = &mut entry.message;
            if terms.receives_max.is_some_and(|max| message.counted() >= max) {
                taken.dead.push((seq, message.clone()));
            } else {
                message.receives = message.receives.saturating_add(1);
                message.first_received.get_or_insert(now);
                message.visible_at = now.plus(terms.hidden_for);
                taken.received.push((seq, message.clone()));
            }
            self.set_state(seq, State::Busy);
        }
        self.lines.rest();
        Ok(taken)
    }

    /// Whether a message is on the disk, or was once.
    pub fn is_kept(&self, seq: Seq) -> bool {
        self.entries.get(&seq).is_none_or(|entry| entry.state != State::New)
    }

    /// Whether there is anything to take, and room for it in flight.
    pub fn has_waiting(&self) -> bool {
        self.counts.in_flight < IN_FLIGHT_MAX && self.lines.has_next()
    }

    /// Makes a message busy, to be changed or removed.
    pub fn claim(&mut self, now: Timestamp, seq: Seq) -> Claim {
        self.advance(now);
        let Some(entry) = self.entries.get(&seq) else { return Claim::Gone };
        if matches!(entry.state, State::Busy | State::New) {
            return Claim::Busy;
        }
        let message = entry.message.clone();
        self.hidden.remove(&(message.visible_at, seq));
        self.set_state(seq, State::Busy);
        Claim::Granted(message)
    }

    /// Claims messages that were sent before `expired`, the oldest first; they are to be removed.
    pub fn expire(&mut self, now: Timestamp, expired: Timestamp, most: usize) -> Vec<Seq> {
        let old: Vec<Seq> = self.ages.range(..(expired, 0)).map(|(_, seq)| *seq).take(most).collect();
        old.into_iter().filter(|seq| matches!(self.claim(now, *seq), Claim::Granted(_))).collect()
    }

    /// Says what became of a busy message, once it is written down.
    pub fn release(&mut self, seq: Seq, fate: Fate) {
        // Counted as what it was, before it is another.
        self.set_state(seq, State::New);
        let Some(entry) = self.entries.get_mut(&seq) else { return };
        match fate {
            Fate::Removed => return self.remove(seq),
            Fate::Hidden(until) => entry.message.visible_at = until,
            Fate::Unseen(now) => entry.message.unseen(now),
            Fate::NotReceived => entry.message.not_received(),
            Fate::Stays => {}
        }
        self.hidden.insert((entry.message.visible_at, seq));
        self.set_state(seq, State::Hidden);
    }

    fn enter(&mut self, seq: Seq, message: Message) {
        self.ages.insert((message.sent, seq));
        self.lines.enter(seq, message.group.as_ref());
        self.entries.insert(seq, Entry { message, state: State::New });
    }

    fn remove(&mut self, seq: Seq) {
        if let Some(Entry { message, .. }) = self.entries.remove(&seq) {
            self.ages.remove(&(message.sent, seq));
            self.lines.leave(seq, message.group.as_ref());
        }
    }

    fn set_state(&mut self, seq: Seq, state: State) {
        let Some(entry) = self.entries.get_mut(&seq) else { return };
        let flew = entry.is_in_flight();
        if let Some(count) = self.counts.of(entry) {
            *count = count.saturating_sub(1);
        }
        entry.state = state;
        if let Some(count) = self.counts.of(entry) {
            *count = count.saturating_add(1);
        }
        let change = (flew, entry.is_in_flight());
        self.lines.changed(seq, entry.message.group.as_ref(), state == State::Waiting, change);
    }
}

impl Message {
    /// How often it was received, as far as that counts against it.
    fn counted(&self) -> u32 {
        self.receives.saturating_sub(self.forgiven)
    }

    /// Forgives its last receiving.
    pub fn unseen(&mut self, now: Timestamp) {
        self.forgiven = self.forgiven.saturating_add(1);
        self.visible_at = now;
    }

    /// Takes back its last receiving. Its time had come.
    fn not_received(&mut self) {
        self.receives = self.receives.saturating_sub(1);
        self.visible_at = self.sent;
        if self.receives == 0 {
            self.first_received = None;
        }
    }
}

impl Entry {
    fn is_in_flight(&self) -> bool {
        matches!(self.state, State::Busy | State::Hidden) && self.message.receives > 0
    }
}

impl Counts {
    fn of(&mut self, entry: &Entry) -> Option<&mut usize> {
        match entry.state {
            State::New => None,
            State::Waiting => Some(&mut self.waiting),
            State::Busy | State::Hidden if entry.message.receives > 0 => Some(&mut self.in_flight),
            // Not received, and busy: it is on its way to somewhere else.
            State::Busy => None,
            State::Hidden => Some(&mut self.delayed),
        }
    }
}
