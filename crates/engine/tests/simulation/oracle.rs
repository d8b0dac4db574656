//! What was promised, and whether it is kept: known from what clients and the function were told, and from the disk.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use base::Timestamp;
use engine::events::retry::Attempt;
use engine::lineage::INVOCATIONS_MAX;
use engine::queue::{Counts, Message, Order, Seq, Taken, WINDOW};

use crate::courier::EVENT_BODIES;
use crate::disk::{Batch, Body, Key, Row};
use crate::queues::{DEAD, MAPPED, QUEUES, READ};
use crate::world::World;

#[derive(Default)]
pub struct Oracle {
    pub broken: Option<String>,
    pub next_body: Body,
    stories: BTreeMap<Body, Story>,
    events: BTreeMap<u32, EventStory>,
    /// When each of what is sent to FIFO queues was last kept as new.
    kept: BTreeMap<(usize, u128), Timestamp>,
    /// Since when somebody waits beside a message.
    waits_beside: Option<Timestamp>,
    /// The latest time from which the server's clock was moved: what had its time by then has it.
    latest: Timestamp,
}

/// What is known of a message.
#[derive(Debug, Default)]
pub struct Story {
    pub is_acknowledged: bool,
    /// Somebody has asked for its end, or the function is done with it.
    pub is_unwanted: bool,
    /// And was told that it has come.
    pub is_gone: bool,
    /// How often it was given, and until when to nobody else.
    count: u32,
    pub until: Option<Timestamp>,
    /// Receivings that nobody was told of.
    pub unanswered: u32,
    /// Receivings that were not written down; the queue has counted them all the same.
    pub refused: u32,
    /// How often it was kept as new: what is sent again after the window is another.
    kept: usize,
    is_dead: bool,
}

/// What is known of an asynchronous event.
#[derive(Debug, Default)]
pub struct EventStory {
    pub is_acknowledged: bool,
    pub is_poison: bool,
    pub goes_on: bool,
    /// How often its chain had invoked the function before.
    pub depth: u32,
    pub failures: u32,
    has_run: bool,
    /// How its last attempt ended that was written down, and when; how many failed so, and were held up since.
    pub last: Option<Attempt>,
    ended: Timestamp,
    written: (u32, u32),
    dead_letters: u32,
}

impl Oracle {
    pub fn broke(&mut self, what: String) {
        self.broken.get_or_insert(what);
    }

    pub fn saw(&mut self, clock: Timestamp) {
        self.latest = self.latest.max(clock);
    }

    pub fn new_message(&mut self, _queue: usize) {
        self.next_body += 1;
    }

    pub fn story(&mut self, body: Body) -> &mut Story {
        self.stories.entry(body).or_default()
    }

    /// An event of a chain that has invoked the function so often.
    pub fn new_event(&mut self, depth: u32) -> u32 {
        let id = u32::try_from(self.events.len()).unwrap();
        let goes_on = depth > 0 || id % 5 == 1;
        let story = EventStory { depth, goes_on, is_poison: !goes_on && id.is_multiple_of(3), ..EventStory::default() };
        self.events.insert(id, story);
        id
    }

    pub fn event(&mut self, id: u32) -> &mut EventStory {
        self.events.entry(id).or_default()
    }
}

impl World {
    /// Before a commit is there: what goes may go, and what comes may come.
    pub fn check_commit(&mut self, batch: &Batch) {
        let dies: BTreeSet<Body> = batch
            .iter()
            .filter_map(|row| match row {
                (Key::Place(DEAD, _), Some(Row::Place(_, body))) => Some(*body),
                _ => None,
            })
            .collect();
        for (key, row) in batch {
            match (*key, row, self.disk.get(key)) {
                (Key::Place(queue, _), None, Some(Row::Place(message, body))) if queue != DEAD => {
                    let (body, receives) = (*body, message.receives);
                    let Story { is_unwanted, refused, .. } = *self.oracle.story(body);
                    let counted = receives..=receives + refused;
                    if dies.contains(&body) && !counted.contains(&self.rules.receives_max) {
                        self.oracle.broke(format!("message {body} is dead after {receives} receivings"));
                    } else if !dies.contains(&body) && !is_unwanted {
                        self.oracle.broke(format!("message {body} goes that nobody is done with"));
                    }
                }
                (Key::Place(queue, _), Some(Row::Place(message, body)), None) => {
                    self.check_new(queue, *body, message.sent);
                }
                _ => {}
            }
        }
    }

    fn check_new(&mut self, queue: usize, body: Body, sent: Timestamp) {
        if queue == DEAD {
            self.oracle.story(body).is_dead = true;
            if let Some(id) = body.checked_sub(EVENT_BODIES) {
                self.oracle.event(id).dead_letters += 1;
            }
            return;
        }
        if self.rules.orders[queue] == Order::Fifo {
            let before = self.oracle.kept.insert((queue, body.into()), sent);
            if before.is_some_and(|before| sent < before.plus(WINDOW)) {
                self.oracle.broke(format!("message {body} was taken twice within five minutes"));
            }
            // After that it is another.
            let story = self.oracle.story(body);
            (story.is_gone, story.kept) = (false, story.kept + 1);
        }
    }

    /// What a queue gives: in a FIFO queue what comes first in its group, of dead letters those that were given enough.
    pub fn check_taken(&mut self, queue: usize, taken: &Taken) {
        let max = self.rules.receives_max;
        for (seq, message) in taken.dead.iter().filter(|(_, message)| message.receives != max) {
            self.oracle.broke(format!("{seq} dies after {} receivings", message.receives));
        }
        for (seq, message) in taken.received.iter().filter(|(_, message)| queue != DEAD && message.receives > max) {
            self.oracle.broke(format!("{seq} is given for the {}th time", message.receives));
        }
        if self.rules.orders[queue] != Order::Fifo {
            return;
        }
        let all: Vec<&(Seq, Message)> = taken.received.iter().chain(&taken.dead).collect();
        let given: BTreeSet<Seq> = all.iter().map(|(seq, _)| *seq).collect();
        let is_passed = |(key, row): (&Key, &Row)| match (key, row) {
            (Key::Place(_, seq), Row::Place(message, _)) if !given.contains(seq) => all
                .iter()
                .find(|(later, other)| later > seq && other.group == message.group)
                .map(|(later, _)| (*seq, *later)),
            _ => None,
        };
        let passed = self.disk.range(Key::Place(queue, 0)..=Key::Place(queue, Seq::MAX)).find_map(is_passed);
        if let Some((seq, later)) = passed {
            self.oracle.broke(format!("{later} is given before {seq} of its group"));
        }
    }

    /// Somebody was given a message.
    pub fn check_given(&mut self, queue: usize, body: Body, message: &Message) {
        let at = message.visible_at.minus(self.rules.hidden_for).max(self.oracle.latest);
        let story = self.oracle.story(body);
        let (before, unanswered) = (story.count, std::mem::take(&mut story.unanswered).saturating_sub(1));
        let (until, is_gone) = (story.until.replace(message.visible_at), story.is_gone);
        story.count = message.receives;
        if queue == DEAD {
            return;
        }
        if is_gone {
            self.oracle.broke(format!("message {body} is given, whose end was told"));
        }
        if until.is_some_and(|until| at < until) {
            self.oracle.broke(format!("message {body} is given twice within its time"));
        }
        // A new message after the window begins anew.
        let is_new = message.receives <= 1 + unanswered && message.sent > Timestamp::from_secs(1_000_000).plus(WINDOW);
        if !is_new && (message.receives <= before || message.receives > before + 1 + unanswered) {
            self.oracle.broke(format!("message {body} counts {} after {before} and {unanswered}", message.receives));
        }
    }

    /// Nobody waits beside what there is to receive.
    pub fn check_wakes(&mut self) {
        let clock = self.clock();
        self.live[READ].queue.advance(clock);
        let is_beside = self.now > self.steady_from && self.live[READ].queue.has_waiting() && self.all_wait(READ);
        let since = *self.oracle.waits_beside.get_or_insert(self.now);
        if !is_beside {
            self.oracle.waits_beside = None;
        } else if self.now.since(since) > Duration::from_secs(1) {
            self.oracle.broke("somebody waits beside a message".to_owned());
        }
    }

    /// An attempt begins: not before its time.
    pub fn check_attempt(&mut self, id: u32, due: Timestamp) {
        let (now, event) = (self.clock(), self.oracle.event(id));
        let (failures, hold_ups) = event.written;
        let wait = match event.last.take() {
            Some(Attempt::Failed) => {
                event.written = (failures + 1, 0);
                60 * u64::from(failures + 1)
            }
            Some(Attempt::HeldUp) => {
                event.written = (failures, hold_ups + 1);
                2_u64.pow(hold_ups.min(9)).min(300)
            }
            _ => 0,
        };
        let first = event.ended.plus(Duration::from_secs(wait));
        if now < due || (wait > 0 && now < first) {
            self.oracle.broke(format!("event {id} is tried {:?} too early", first.max(due).since(now)));
        }
    }

    /// The function ran for an event. Says how often its chain had run it before.
    pub fn check_ran(&mut self, id: u32, attempt: Attempt) -> u32 {
        let event = self.oracle.event(id);
        event.failures += u32::from(attempt == Attempt::Failed);
        event.has_run |= attempt == Attempt::Succeeded;
        let depth = event.depth;
        if depth >= INVOCATIONS_MAX {
            self.oracle.broke(format!("the {depth}th invocation of a chain"));
        }
        depth
    }

    pub fn attempt_ended(&mut self, id: u32) {
        let now = self.clock();
        self.oracle.event(id).ended = now;
    }

    /// All has come to rest: what was acknowledged has come to its end, and nothing is forgotten.
    pub fn check_end(&mut self) {
        let mut there: BTreeMap<Body, usize> = BTreeMap::new();
        for row in self.disk.values() {
            if let Row::Place(_, body) = row {
                *there.entry(*body).or_default() += 1;
            }
        }
        let mut broken = Vec::new();
        for (body, story) in &self.oracle.stories {
            match there.get(body).copied().unwrap_or_default() {
                0 if story.is_acknowledged && !story.is_unwanted => broken.push(format!("message {body} is lost")),
                0 => {}
                _ if story.is_gone && !story.is_dead => broken.push(format!("message {body} is back")),
                count if story.is_dead && count <= story.kept.max(1) => {}
                1 => broken.push(format!("message {body} is left")),
                count => broken.push(format!("message {body} is there {count} times")),
            }
        }
        for (id, event) in &self.oracle.events {
            let (is_done, letters) = (event.has_run || event.dead_letters > 0, event.dead_letters);
            if letters > 1 || (event.is_acknowledged && !is_done) {
                broken.push(format!("event {id} has {letters} dead letters"));
            }
        }
        if self.disk.keys().any(|key| matches!(key, Key::Event(..))) {
            broken.push("an event is left".to_owned());
        }
        self.check_counts();
        broken.into_iter().for_each(|what| self.oracle.broke(what));
    }

    fn check_counts(&mut self) {
        let now = self.clock();
        for queue in [READ, MAPPED, DEAD].into_iter().take(QUEUES) {
            let kept = self.disk.range(Key::Place(queue, 0)..=Key::Place(queue, Seq::MAX)).count();
            let Counts { waiting, delayed, in_flight } = self.live[queue].queue.advance(now);
            if waiting + delayed + in_flight != kept {
                self.oracle.broke(format!("queue {queue} counts {waiting}, {delayed}, {in_flight} of {kept}"));
            }
        }
    }
}
