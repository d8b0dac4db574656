//! In which order messages are received: by age within a line, and line by line.
//!
//! Each group is a line, and so are the messages that have none. In a FIFO queue a line stands still while its first
//! message cannot be received, then comes to the back, and one receiving takes as much of a line as it may. In a standard queue the waiting ones
//! of a group that has many messages in flight come behind those of the others, so a tenant with a backlog does not
//! hold up the rest.

use std::collections::{BTreeMap, BTreeSet};

use super::{Group, Order, Seq};

/// What a group may have in flight before others go first.
const QUIET_MAX: u32 = 9;

pub struct Lines {
    pub order: Order,
    lines: BTreeMap<Option<Group>, Line>,
    /// Of every line that moves: its turn and its first message.
    heads: BTreeSet<(Turn, Seq, Option<Group>)>,
    /// Lines of a FIFO queue that came to the back, ever.
    turns: u64,
    /// The line that is being received from, and how far.
    drawn: Option<(Option<Group>, Seq)>,
}

/// The least is next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Turn {
    /// In a standard queue, how far a line comes behind others; the older message goes first then.
    Behind(u32),
    /// In a FIFO queue, since when it moves.
    Since(u64),
}

#[derive(Default)]
struct Line {
    /// Whether they wait. In a standard queue only those that do.
    messages: BTreeMap<Seq, bool>,
    in_flight: u32,
    head: Option<(Turn, Seq)>,
}

impl Lines {
    pub fn new(order: Order) -> Self {
        Self { order, lines: BTreeMap::new(), heads: BTreeSet::new(), turns: 0, drawn: None }
    }

    /// A message has its place from now on.
    pub fn enter(&mut self, seq: Seq, group: Option<&Group>) {
        if self.order == Order::Fifo {
            self.lines.entry(group.cloned()).or_default().messages.insert(seq, false);
            self.show(group);
        }
    }

    /// A message has gone that did not wait any more.
    pub fn leave(&mut self, seq: Seq, group: Option<&Group>) {
        if let Some(line) = self.lines.get_mut(&group.cloned()) {
            line.messages.remove(&seq);
        }
        self.show(group);
    }

    /// A message waits now, or does not; it was in flight before or not, and is now or not.
    pub fn changed(&mut self, seq: Seq, group: Option<&Group>, is_waiting: bool, (flew, flies): (bool, bool)) {
        let line = self.lines.entry(group.cloned()).or_default();
        match self.order {
            Order::Standard if !is_waiting => line.messages.remove(&seq),
            Order::Standard | Order::Fifo => line.messages.insert(seq, is_waiting),
        };
        line.in_flight = line.in_flight.saturating_add(flies.into()).saturating_sub(flew.into());
        self.show(group);
    }

    /// The next message to receive. It will be told what became of it before it is asked again.
    pub fn next(&mut self) -> Option<Seq> {
        let (group, seq) = match self.following() {
            Some(following) => following,
            None => self.heads.first().map(|(_, seq, group)| (group.clone(), *seq))?,
        };
        self.drawn = Some((group, seq));
        Some(seq)
    }

    /// Nothing more is received this time.
    pub fn rest(&mut self) {
        self.drawn = None;
    }

    /// How many lines have messages in flight.
    pub fn in_flight(&self) -> usize {
        self.lines.values().filter(|line| line.in_flight > 0).count()
    }

    pub fn has_next(&self) -> bool {
        !self.heads.is_empty()
    }

    /// In a FIFO queue: the message behind the one that was received last.
    fn following(&self) -> Option<(Option<Group>, Seq)> {
        let (group, seq) = self.drawn.as_ref().filter(|_| self.order == Order::Fifo)?;
        let line = self.lines.get(group)?;
        let (next, waits) = line.messages.range(seq.saturating_add(1)..).next()?;
        waits.then(|| (group.clone(), *next))
    }

    /// Puts a line where it belongs now.
    fn show(&mut self, group: Option<&Group>) {
        let key = group.cloned();
        let Some(line) = self.lines.get_mut(&key) else { return };
        let first = line.messages.first_key_value().filter(|(_, waits)| **waits);
        let turn = match (self.order, line.head) {
            (Order::Standard, _) => Turn::Behind(behind(group, line.in_flight)),
            (Order::Fifo, Some((turn, _))) => turn,
            // It stood still: it comes to the back.
            (Order::Fifo, None) => Turn::Since(self.turns),
        };
        let head = first.map(|(seq, _)| (turn, *seq));
        if head != line.head {
            self.turns = self.turns.saturating_add(1);
            if let Some((turn, seq)) = line.head {
                self.heads.remove(&(turn, seq, key.clone()));
            }
            self.heads.extend(head.map(|(turn, seq)| (turn, seq, key.clone())));
            line.head = head;
        }
        if line.messages.is_empty() && line.in_flight == 0 {
            self.lines.remove(&key);
        }
    }
}

/// How far a line of a standard queue comes behind others.
fn behind(group: Option<&Group>, in_flight: u32) -> u32 {
    if group.is_none() || in_flight <= QUIET_MAX {
        return 0;
    }
    in_flight.checked_ilog2().unwrap_or_default()
}
