//! The shell of a mapping's poller, and the function that it calls.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use base::Timestamp;
use engine::poller::{BATCH_BYTES_MAX, CALLS_MAX, Gather, Limits, Refused, Scale, report};
use engine::queue::{Fate, Group, Message, Order, Seq};
use serde_json::json;

use crate::bugs::Bug;
use crate::clients::Wish;
use crate::disk::{Body, By, Reply};
use crate::queues::{MAPPED, Rules};
use crate::world::{Step, World};

const MARGIN: Duration = Duration::from_secs(1);

pub struct Mapping {
    scale: Scale,
    gather: Gather<Held>,
    calls: BTreeMap<u64, Call>,
    is_reading: bool,
    polls_at: Option<Timestamp>,
}

/// A message that the mapping was given.
#[derive(Debug, Clone)]
struct Held {
    of: (Seq, u32),
    body: Body,
    group: Option<Group>,
    ours_until: Timestamp,
}

struct Call {
    events: Vec<Held>,
    refused: Refused,
    /// What it will be answered, while it runs.
    answer: Option<Answer>,
}

enum Answer {
    Error,
    Payload(String),
}

impl Mapping {
    pub fn new(now: Timestamp, rules: &Rules) -> Self {
        let limits = Limits { events: rules.batch, bytes: BATCH_BYTES_MAX, window: rules.window };
        Self {
            scale: Scale::new(now, rules.calls_max),
            gather: Gather::new(limits),
            calls: BTreeMap::new(),
            is_reading: false,
            polls_at: None,
        }
    }
}

fn bytes(body: Body) -> usize {
    1_000 + (body as usize % 4) * 1_000_000
}

/// The function fails with it, always.
fn is_poison(body: Body) -> bool {
    body.is_multiple_of(11)
}

impl World {
    fn poll_at(&mut self, due: Timestamp) {
        let wait = self.wait_until(due);
        let at = self.now.plus(wait);
        if self.mapping.polls_at.is_none_or(|known| known > at || known <= self.now) {
            self.mapping.polls_at = Some(at);
            self.after(wait, Step::Poll);
        }
    }

    /// Calls the function, or reads, or waits for whatever comes first.
    pub fn poll(&mut self) {
        loop {
            let (now, is_ordered) = (self.clock(), self.rules.orders[MAPPED] == Order::Fifo);
            let Mapping { scale, gather, calls, is_reading, .. } = &mut self.mapping;
            let has_room = calls.len() < scale.width && calls.len() < self.rules.calls_max.unwrap_or(CALLS_MAX);
            let rests = scale.rests_until > now;
            let ours_until = gather.events().map(|held| held.ours_until).min();
            let due = gather.due().map(|due| ours_until.map_or(due, |until| due.min(until.minus(MARGIN))));
            if has_room && !rests && due.is_some_and(|due| due <= now) {
                let events = gather.take();
                self.call(events);
                if is_ordered {
                    // What comes behind waits for how that ends.
                    self.give_back_gathered();
                }
                continue;
            }
            if gather.is_stale(now) {
                scale.is_late();
                self.give_back_gathered();
                continue;
            }
            if rests {
                let until = scale.rests_until;
                return self.poll_at(until);
            }
            if !has_room {
                scale.full(now);
            }
            let free = if has_room { scale.width - calls.len() } else { 0 };
            let room = if *is_reading { 0 } else { scale.room(gather, free, is_ordered) };
            self.live[MAPPED].queue.advance(now);
            if room > 0 && self.live[MAPPED].queue.has_waiting() {
                let (got, dead) = self.receive(By::Mapping, MAPPED, room);
                self.mapping.is_reading = got > 0;
                if got + dead > 0 {
                    continue;
                }
            }
            if !has_room {
                return self.poll_at(now.plus(Duration::from_secs(1)));
            }
            let next = due.into_iter().chain(self.live[MAPPED].queue.next_visible()).min();
            return self
                .poll_at(next.unwrap_or(Timestamp::from_micros(i64::MAX)).min(now.plus(Duration::from_secs(20))));
        }
    }

    fn give_back_gathered(&mut self) {
        for Held { of, body, .. } in self.mapping.gather.take_all() {
            self.wish(Wish::Hide { queue: MAPPED, of, body, secs: 0 });
        }
    }

    /// What was read is gathered.
    pub fn gather(&mut self, got: Vec<(Seq, Message, Body)>, is_written: bool) {
        self.mapping.is_reading = false;
        for (seq, message, body) in got.into_iter().filter(|_| is_written) {
            let of = (seq, message.receives);
            let held = Held { of, body, group: message.group, ours_until: message.visible_at };
            self.mapping.gather.add(self.clock(), held, bytes(body));
        }
        self.poll();
    }

    fn call(&mut self, events: Vec<Held>) {
        let now = self.clock();
        let events: Vec<Held> = events.into_iter().filter(|event| event.ours_until > now).collect();
        if events.is_empty() {
            return;
        }
        self.check_batch(&events);
        if self.has(Bug::DoneBeforeTheAnswer) {
            events.iter().for_each(|held| self.done(held));
        }
        let id = self.name();
        self.mapping.calls.insert(id, Call { events, refused: Refused::default(), answer: None });
        self.ask(id);
    }

    fn check_batch(&mut self, events: &[Held]) {
        let size: usize = events.iter().map(|held| bytes(held.body)).sum();
        let most = self.rules.calls_max.unwrap_or(CALLS_MAX);
        if events.len() > self.rules.batch || (size > BATCH_BYTES_MAX && events.len() > 1) {
            self.oracle.broke(format!("a batch of {} events and {size} bytes", events.len()));
        }
        if self.mapping.calls.len() >= most {
            self.oracle.broke(format!("more than {most} calls at once"));
        }
        let now = self.clock();
        let others = self.mapping.calls.values().flat_map(|call| &call.events).filter(|held| held.ours_until > now);
        let groups: BTreeSet<&Group> = others.filter_map(|held| held.group.as_ref()).collect();
        let twice = events.iter().filter_map(|held| held.group.as_ref()).find(|group| groups.contains(group));
        if let Some(group) = twice.filter(|_| self.rules.orders[MAPPED] == Order::Fifo) {
            self.oracle.broke(format!("two calls at once for group {group}"));
        }
    }

    /// Asks the function, which may refuse.
    fn ask(&mut self, id: u64) {
        let (now, is_refused) = (self.clock(), self.is_hostile && self.draws(5));
        let (is_error, is_odd) = (self.is_hostile && self.draws(6), self.is_hostile && self.draws(12));
        let Some(call) = self.mapping.calls.get_mut(&id) else { return };
        if is_refused {
            let ours_until = call.events.iter().map(|held| held.ours_until).min().unwrap();
            let again = call.refused.again_after(now, ours_until);
            let others = self.mapping.calls.len() - 1;
            self.mapping.scale.refused(now, others);
            match again {
                Some(wait) => self.after(wait, Step::Call(id)),
                None => self.call_ended(id, false),
            }
            return;
        }
        let failed = call.events.iter().filter(|held| is_poison(held.body));
        let failed: Vec<_> = failed.map(|held| json!({"itemIdentifier": held.body.to_string()})).collect();
        call.answer = Some(match (is_error, is_odd) {
            (true, _) => Answer::Error,
            (_, true) => Answer::Payload(r#"{"batchItemFailures": [{"itemIdentifier": "nobody"}]}"#.to_owned()),
            _ => Answer::Payload(json!({"batchItemFailures": failed}).to_string()),
        });
        let takes = self.micros(if self.rules.is_quick && !self.draws(8) { 20_000 } else { 6_000_000 });
        self.mapping.scale.took(takes);
        self.after(takes, Step::Call(id));
    }

    /// The function has answered, or is asked again.
    pub fn on_call(&mut self, id: u64) {
        let now = self.clock();
        let Some(call) = self.mapping.calls.get_mut(&id) else { return };
        match call.answer.take() {
            None if call.events.iter().all(|held| held.ours_until > now) => self.ask(id),
            None => self.call_ended(id, false),
            Some(Answer::Error) => self.call_ended(id, true),
            Some(Answer::Payload(answer)) => {
                let events = std::mem::take(&mut call.events);
                let ids: Vec<String> = events.iter().map(|held| held.body.to_string()).collect();
                let given = ids.iter().map(String::as_str).collect();
                if let Some(failed) = report::failed(answer.as_bytes(), &given) {
                    for held in events.iter().filter(|held| !failed.contains(held.body.to_string().as_str())) {
                        self.oracle.story(held.body).is_unwanted = true;
                        self.done(held);
                    }
                }
                self.call_ended(id, true);
            }
        }
    }

    fn done(&mut self, held: &Held) {
        if !self.change(MAPPED, held.of, Fate::Removed, Reply::Deleted(held.body)) {
            let wish = Wish::Delete { queue: MAPPED, of: held.of, body: held.body };
            self.after(Duration::from_millis(5), Step::Wish(wish));
        }
    }

    fn call_ended(&mut self, id: u64, taken: bool) {
        self.mapping.calls.remove(&id);
        if taken {
            self.mapping.scale.taken();
        }
        self.after(Duration::ZERO, Step::Poll);
    }
}
