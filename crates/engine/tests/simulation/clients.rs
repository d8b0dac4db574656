//! Those who send and receive: over crashes they go on, ask again where they were not answered, and ask twice at times.

use std::time::Duration;

use base::Timestamp;
use engine::queue::{Fate, Group, Message, Order, Seq};

use crate::bugs::Bug;
use crate::disk::{Body, By, Reply};
use crate::queues::{MAPPED, READ};
use crate::world::{Step, World};

const MESSAGES: u32 = 12;
const GROUPS: u64 = 3;
const EVENTS: u32 = 10;
/// How long a client waits for an answer, and for messages.
const PATIENCE: Duration = Duration::from_secs(6);
const LOOKS_AGAIN_AFTER: Duration = Duration::from_secs(20);

#[derive(Debug)]
pub struct Client {
    pub queue: usize,
    role: Role,
}

#[derive(Debug)]
enum Role {
    /// What it sends now, and how many come after that.
    Producer { sends: Option<(Body, u64)>, left: u32 },
    /// How it is known while it waits, and whether somebody has woken it.
    Consumer { waits: Option<(u64, bool)> },
}

/// What is asked of a message, or that it be sent once more.
#[derive(Debug, Clone, Copy)]
pub enum Wish {
    Delete { queue: usize, of: (Seq, u32), body: Body },
    Hide { queue: usize, of: (Seq, u32), body: Body, secs: u64 },
    SendAgain { queue: usize, body: Body, group: u64 },
}

impl World {
    pub fn begin_clients(&mut self) {
        let producer = |queue| Client { queue, role: Role::Producer { sends: None, left: MESSAGES } };
        let consumer = || Client { queue: READ, role: Role::Consumer { waits: None } };
        self.clients = vec![producer(READ), producer(READ), producer(MAPPED), producer(MAPPED), consumer(), consumer()];
        for client in 0..self.clients.len() {
            let step = if self.is_consumer(client) { Step::Consume(client) } else { Step::Produce(client) };
            self.after(Duration::ZERO, step);
        }
        for _ in 0..EVENTS {
            let (wait, id) = (self.micros(300_000_000), self.oracle.new_event(0));
            self.after(wait, Step::SendEvent(id, "Root=1-2-3".to_owned()));
        }
    }

    fn is_consumer(&self, client: usize) -> bool {
        matches!(self.clients[client].role, Role::Consumer { .. })
    }

    pub fn clients_lost_the_server(&mut self) {
        for client in 0..self.clients.len() {
            if let Role::Consumer { waits } = &mut self.clients[client].role {
                *waits = None;
                self.after(Duration::from_secs(1), Step::Consume(client));
            }
        }
    }

    /// Sends the next message, or the same one again if nobody has answered.
    pub fn produce(&mut self, client: usize) {
        let queue = self.clients[client].queue;
        let (is_fifo, group) = (self.rules.orders[queue] == Order::Fifo, self.draw(GROUPS));
        let is_new = self.oracle.next_body;
        let Role::Producer { sends, left } = &mut self.clients[client].role else { return };
        let (body, group) = match *sends {
            Some(same) if is_fifo => same,
            None if *left == 0 => return,
            before => {
                *left -= u32::from(before.is_none());
                *sends.insert((is_new, group))
            }
        };
        if body == is_new {
            self.oracle.new_message(queue);
        }
        self.after(PATIENCE, Step::Produce(client));
        if self.is_up {
            self.send_body(queue, body, group);
        }
    }

    fn send_body(&mut self, queue: usize, body: Body, group: u64) {
        let is_fifo = self.rules.orders[queue] == Order::Fifo;
        let group = (is_fifo || group > 0).then(|| Group::from(format!("g{group}")));
        let delay = if !is_fifo && self.draws(5) { Duration::from_secs(self.draw(20)) } else { Duration::ZERO };
        self.send(queue, group, is_fifo.then_some(body.into()), delay, body);
    }

    pub fn consume(&mut self, client: usize) {
        if !self.is_up {
            return self.after(Duration::from_secs(1), Step::Consume(client));
        }
        let wait = self.name();
        if let Role::Consumer { waits } = &mut self.clients[client].role {
            *waits = Some((wait, true));
            self.look(client, wait);
        }
    }

    /// Receives what there is; waits if that is nothing.
    pub fn look(&mut self, client: usize, wait: u64) {
        let queue = self.clients[client].queue;
        let Role::Consumer { waits } = &mut self.clients[client].role else { return };
        if waits.is_none_or(|(name, _)| name != wait) {
            return;
        }
        *waits = None;
        let most = 1 + self.draw(10) as usize;
        let (got, dead) = self.receive(By::Client(client), queue, most);
        if got > 0 {
            // Who goes may have been the only one to know when there is more.
            return self.wake(queue);
        }
        let Role::Consumer { waits } = &mut self.clients[client].role else { return };
        *waits = Some((wait, dead > 0));
        if dead > 0 {
            return self.after(Duration::ZERO, Step::Look(client, wait));
        }
        let next = self.live[queue].queue.next_visible();
        let next = next.map_or(LOOKS_AGAIN_AFTER, |next| next.since(self.clock()).min(LOOKS_AGAIN_AFTER));
        self.after(next, Step::Look(client, wait));
    }

    /// Wakes one of those who wait.
    pub fn wake(&mut self, queue: usize) {
        let waiting = self.clients.iter_mut().enumerate().find_map(|(number, client)| match &mut client.role {
            Role::Consumer { waits: Some((wait, woken @ false)) } if client.queue == queue => {
                *woken = true;
                Some((number, *wait))
            }
            _ => None,
        });
        if let Some((client, wait)) = waiting {
            self.after(Duration::ZERO, Step::Look(client, wait));
        }
    }

    /// Whether somebody waits, and nobody of them has been told to look.
    pub fn all_wait(&self, queue: usize) -> bool {
        let waits =
            |client: &&Client| client.queue == queue && matches!(client.role, Role::Consumer { waits: Some(_) });
        let woken = |client: &Client| matches!(client.role, Role::Consumer { waits: Some((_, true)) });
        let mut waiting = self.clients.iter().filter(waits).peekable();
        waiting.peek().is_some() && !waiting.any(woken)
    }

    pub fn reply(&mut self, reply: Reply, is_written: bool) {
        self.tell(|| format!("{reply:?} {is_written}"));
        match reply {
            Reply::Nobody => {}
            Reply::Sent(body) => self.sent(body, is_written),
            Reply::Received { by, queue, got } => self.received(by, queue, got, is_written),
            Reply::Deleted(body) if is_written => self.oracle.story(body).is_gone = true,
            Reply::Hidden(body, until) if is_written => self.oracle.story(body).until = Some(until),
            Reply::Deleted(_) | Reply::Hidden(..) => {}
            Reply::EventKept(id) => self.oracle.event(id).is_acknowledged |= is_written,
            Reply::Attempted(key) => self.attempted(key, is_written),
        }
    }

    fn sent(&mut self, body: Body, is_written: bool) {
        if !is_written {
            return;
        }
        self.oracle.story(body).is_acknowledged = true;
        let is_its =
            |client: &Client| matches!(client.role, Role::Producer { sends: Some((own, _)), .. } if own == body);
        let Some(client) = self.clients.iter().position(is_its) else { return };
        let Role::Producer { sends, .. } = &mut self.clients[client].role else { return };
        let Some((_, group)) = sends.take() else { return };
        let queue = self.clients[client].queue;
        if self.rules.orders[queue] == Order::Fifo && self.draws(3) {
            let wait = self.micros(280_000_000);
            self.after(wait, Step::Wish(Wish::SendAgain { queue, body, group }));
        }
        let pause = self.micros(20_000_000);
        self.after(pause, Step::Produce(client));
    }

    fn received(&mut self, by: By, queue: usize, got: Vec<(Seq, Message, Body)>, is_written: bool) {
        if is_written {
            got.iter().for_each(|(_, message, body)| self.check_given(queue, *body, message));
        }
        if !is_written {
            got.iter().for_each(|(_, _, body)| self.oracle.story(*body).refused += 1);
        }
        let By::Client(client) = by else { return self.gather(got, is_written) };
        let pause = self.micros(3_000_000);
        self.after(pause, Step::Consume(client));
        for (seq, message, body) in got.into_iter().filter(|_| is_written) {
            let of = (seq, message.receives);
            let (delete, hide) = (Wish::Delete { queue, of, body }, |secs| Wish::Hide { queue, of, body, secs });
            let wait = self.micros(if self.draws(8) { 60_000_000 } else { 5_000_000 });
            let wishes = match self.draw(if self.is_hostile { 12 } else { 5 }) {
                0..5 => vec![delete],
                5 => vec![delete, delete],
                6 => vec![hide(0)],
                7 => vec![hide(2 + self.draw(60))],
                8 | 9 => vec![hide(self.draw(9)), delete],
                _ => vec![],
            };
            wishes.into_iter().for_each(|wish| self.after(wait, Step::Wish(wish)));
        }
    }

    pub fn wish(&mut self, wish: Wish) {
        let now: Timestamp = self.clock();
        let is_begun = match wish {
            Wish::SendAgain { queue, body, group } => {
                self.send_body(queue, body, group);
                true
            }
            Wish::Delete { queue, of, body } => {
                self.oracle.story(body).is_unwanted |= queue == READ;
                self.change(queue, of, Fate::Removed, Reply::Deleted(body))
            }
            Wish::Hide { queue, of, body, secs } => {
                let until = now.plus(Duration::from_secs(secs));
                let story = self.oracle.story(body);
                story.until = story.until.map(|known| known.min(until));
                self.change(queue, of, Fate::Hidden(until), Reply::Hidden(body, until))
            }
        };
        if !is_begun && !self.has(Bug::ReleasesBeforeItIsWritten) {
            self.after(Duration::from_millis(5), Step::Wish(wish));
        }
    }
}
