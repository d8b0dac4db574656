//! A queue's shell: what is decided is written down, and released when it is there.

use std::time::Duration;

use base::{Chance, Seeded, Timestamp, Uuid};
use engine::queue::{Claim, Fate, Group, Message, Order, Queue, Recent, Sent, Seq, Terms};

use crate::bugs::Bug;
use crate::disk::{Batch, Body, By, Change, Commit, Key, Reply, Row};
use crate::world::{Step, World};

/// What clients read, what the mapping reads, and where dead letters go.
pub const READ: usize = 0;
pub const MAPPED: usize = 1;
pub const DEAD: usize = 2;
pub const QUEUES: usize = 3;

/// What holds in one world.
#[derive(Debug, Clone, Copy)]
pub struct Rules {
    pub orders: [Order; QUEUES],
    pub hidden_for: Duration,
    pub receives_max: u32,
    pub batch: usize,
    pub window: Duration,
    pub calls_max: Option<usize>,
    pub age_max: Duration,
    /// Most calls of the function are over at once.
    pub is_quick: bool,
}

pub struct Live {
    pub queue: Queue,
    pub recent: Recent<u128>,
}

impl Rules {
    pub fn draw(chance: &Seeded) -> Self {
        let draw = |below: u64| chance.random_u64() % below;
        let order = || if chance.random_u64().is_multiple_of(2) { Order::Fifo } else { Order::Standard };
        let orders = [order(), order(), Order::Standard];
        let is_fifo = orders[MAPPED] == Order::Fifo;
        Self {
            orders,
            hidden_for: Duration::from_secs(20 + draw(20)),
            receives_max: 2 + draw(3) as u32,
            batch: 1 + draw(8) as usize,
            window: Duration::from_secs(if is_fifo { 0 } else { draw(4) }),
            calls_max: (draw(2) == 0).then(|| 2 + draw(4) as usize),
            age_max: Duration::from_secs([60, 600, 6 * 3600][draw(3) as usize]),
            is_quick: draw(2) == 0,
        }
    }
}

impl Live {
    pub fn all(rules: &Rules) -> [Self; QUEUES] {
        rules.orders.map(|order| Self { queue: Queue::new(order), recent: Recent::default() })
    }
}

impl World {
    pub fn restore(&mut self) {
        for (key, row) in self.disk.clone() {
            match (key, row) {
                (Key::Place(queue, seq), Row::Place(message, _)) => self.live[queue].queue.restore(seq, message),
                (Key::Recent(queue, twin), Row::Recent(sent)) if !self.has(Bug::DoesNotKnowAgain) => {
                    self.live[queue].recent.remember(twin, sent);
                }
                _ => {}
            }
        }
    }

    /// Sends a message, or finds that it was sent before.
    pub fn send(&mut self, queue: usize, group: Option<Group>, twin: Option<u128>, delay: Duration, body: Body) {
        let now = self.clock();
        if let Some(sent) = twin.and_then(|twin| self.live[queue].recent.find(now, &twin)) {
            // Who sends it again waits for what becomes of it, and is told no more than that.
            let is_kept = self.live[queue].queue.is_kept(sent.seq);
            return self.reply(Reply::Sent(body), is_kept);
        }
        let (change, batch) = self.admit(queue, group, twin, delay, body);
        self.commit(Commit { batch, changes: vec![change], reply: Reply::Sent(body) });
    }

    /// Gives a new message its place.
    pub fn admit(
        &mut self,
        queue: usize,
        group: Option<Group>,
        twin: Option<u128>,
        delay: Duration,
        body: Body,
    ) -> (Change, Batch) {
        let now = self.clock();
        let message =
            Message { sent: now, group, visible_at: now.plus(delay), receives: 0, forgiven: 0, first_received: None };
        let Live { queue: machine, recent } = &mut self.live[queue];
        let seq = machine.admit(now, message.clone());
        let mut batch = vec![(Key::Place(queue, seq), Some(Row::Place(message, body)))];
        if let Some(twin) = twin {
            let sent = Sent { at: now, seq, id: Uuid::NIL };
            recent.remember(twin, sent);
            batch.push((Key::Recent(queue, twin), Some(Row::Recent(sent))));
            let old = recent.take_old(now, 10);
            batch.extend(old.into_iter().map(|old| (Key::Recent(queue, old), None)));
        }
        (Change { queue, seq, fate: Fate::Stays, new: Some(twin) }, batch)
    }

    /// Receives what can be received. Says how much that is, and how many dead letters were in the way.
    pub fn receive(&mut self, by: By, queue: usize, most: usize) -> (usize, usize) {
        let now = self.clock();
        let late = u32::from(self.has(Bug::DiesOneTooLate));
        let receives_max = (queue != DEAD).then_some(self.rules.receives_max + late);
        let terms = Terms { hidden_for: self.rules.hidden_for, receives_max };
        self.forget_block(queue);
        let taken = self.live[queue].queue.take(now, most, terms).unwrap();
        if self.live[queue].queue.has_waiting() {
            self.wake(queue);
        }
        self.check_taken(queue, &taken);
        let dead = taken.dead.len();
        for (seq, message) in taken.dead {
            self.die(queue, seq, &message);
        }
        let (mut batch, mut changes, mut got) = (Batch::new(), Vec::new(), Vec::new());
        for (seq, message) in taken.received {
            let Some(Row::Place(_, body)) = self.disk.get(&Key::Place(queue, seq)).cloned() else {
                self.release(queue, seq, Fate::Stays);
                continue;
            };
            let mut kept = message.clone();
            if self.has(Bug::CountNotWritten) {
                kept.receives -= 1;
            }
            if self.has(Bug::HiddenInMemoryAlone) {
                kept.visible_at = now;
            }
            batch.push((Key::Place(queue, seq), Some(Row::Place(kept, body))));
            changes.push(Change { queue, seq, fate: Fate::Stays, new: None });
            got.push((seq, message, body));
            self.oracle.story(body).unanswered += 1;
        }
        let count = got.len();
        if count > 0 {
            self.begin(batch, changes, Reply::Received { by, queue, got });
        }
        (count, dead)
    }

    /// Writes down what was decided of messages that are there.
    fn begin(&mut self, batch: Batch, mut changes: Vec<Change>, reply: Reply) {
        if self.has(Bug::ReleasesBeforeItIsWritten) {
            for Change { queue, seq, fate, .. } in std::mem::take(&mut changes) {
                self.release(queue, seq, fate);
            }
        }
        self.commit(Commit { batch, changes, reply });
    }

    /// Where dead letters go, in the commit that takes the message from where it was.
    fn die(&mut self, queue: usize, seq: Seq, message: &Message) {
        let Some(Row::Place(_, body)) = self.disk.get(&Key::Place(queue, seq)).cloned() else { return };
        let (added, mut batch) = self.admit(DEAD, message.group.clone(), None, Duration::ZERO, body);
        batch.push((Key::Place(queue, seq), None));
        let removed = Change { queue, seq, fate: Fate::Removed, new: None };
        self.commit(Commit { batch, changes: vec![added, removed], reply: Reply::Nobody });
    }

    /// Changes or deletes a message; says whether that has begun, or is nothing to wait for.
    pub fn change(&mut self, queue: usize, (seq, receives): (Seq, u32), fate: Fate, reply: Reply) -> bool {
        let message = match self.live[queue].queue.claim(self.clock(), seq) {
            Claim::Gone => return true,
            Claim::Busy => return false,
            Claim::Granted(message) => message,
        };
        let (is_ours, removes) = (message.receives == receives, fate == Fate::Removed);
        let row = self.disk.get(&Key::Place(queue, seq)).cloned();
        let Some(Row::Place(_, body)) = row.filter(|_| is_ours || (removes && self.rules.orders[queue] != Order::Fifo))
        else {
            self.release(queue, seq, Fate::Stays);
            return true;
        };
        let place = match fate {
            Fate::Hidden(until) => Some(Row::Place(Message { visible_at: until, ..message }, body)),
            _ => None,
        };
        let changes = vec![Change { queue, seq, fate, new: None }];
        self.begin(vec![(Key::Place(queue, seq), place)], changes, reply);
        true
    }

    pub fn release(&mut self, queue: usize, seq: Seq, fate: Fate) {
        self.live[queue].queue.release(seq, fate);
        if !(self.has(Bug::WakesNobody) && matches!(fate, Fate::Hidden(_))) {
            self.wake(queue);
        }
        if queue == MAPPED {
            self.after(Duration::ZERO, Step::Poll);
        }
    }

    /// A new message was not kept.
    pub fn take_back(&mut self, queue: usize, seq: Seq, twin: Option<u128>) {
        twin.iter().for_each(|twin| self.live[queue].recent.forget(twin));
        self.release(queue, seq, Fate::Removed);
    }

    /// The planted bug: what is hidden in a FIFO queue is put behind what waits of its group.
    fn forget_block(&mut self, queue: usize) {
        if !self.has(Bug::ForgetsTheBlockOfAGroup) || self.rules.orders[queue] != Order::Fifo {
            return;
        }
        let now: Timestamp = self.clock();
        let hidden = self.disk.iter().find_map(|(key, row)| match (key, row) {
            (Key::Place(other, seq), Row::Place(message, _)) if *other == queue && message.visible_at > now => {
                Some((*seq, message.clone()))
            }
            _ => None,
        });
        let Some((seq, message)) = hidden else { return };
        if let Claim::Granted(_) = self.live[queue].queue.claim(now, seq) {
            self.live[queue].queue.release(seq, Fate::Removed);
            self.live[queue].queue.admit(now, message);
        }
    }
}
