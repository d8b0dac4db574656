//! A queue against a list that is as slow as it is simple.

use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone)]
enum Step {
    Send {
        group: u8,
        delay: u64,
    },
    Receive {
        most: usize,
        hidden_for: u64,
    },
    /// Of the message at this place, counted from the first, round and round.
    Delete(usize),
    Hide {
        which: usize,
        by: u64,
    },
    /// It was shown to nobody.
    GiveBack(usize),
    /// What is being written down gets there.
    Written,
    /// The disk takes nothing of it.
    Refused,
    Wait(u64),
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..4_u8, prop_oneof![3 => Just(0), 1 => 0..20_u64]).prop_map(|(group, delay)| Step::Send { group, delay }),
        4 => (1..11_usize, 0..30_u64).prop_map(|(most, hidden_for)| Step::Receive { most, hidden_for }),
        2 => any::<usize>().prop_map(Step::Delete),
        1 => (any::<usize>(), 0..30_u64).prop_map(|(which, by)| Step::Hide { which, by }),
        1 => any::<usize>().prop_map(Step::GiveBack),
        4 => Just(Step::Written),
        1 => Just(Step::Refused),
        3 => (1..20_u64).prop_map(Step::Wait),
        1 => Just(Step::Restart),
    ]
}

/// What a shell and a disk hold.
struct Bed {
    queue: Queue,
    order: Order,
    now: Timestamp,
    /// As on the disk.
    kept: BTreeMap<Seq, Message>,
    /// On their way there.
    writing: Vec<(Seq, Option<Message>, Fate)>,
}

const RECEIVES_MAX: u32 = 3;

impl Bed {
    fn new(order: Order) -> Self {
        let (kept, writing) = (BTreeMap::new(), Vec::new());
        Self { queue: Queue::new(order), order, now: Timestamp::from_secs(1_000), kept, writing }
    }

    fn apply(&mut self, step: &Step) {
        match step {
            Step::Send { group, delay } => self.send(*group, *delay),
            Step::Receive { most, hidden_for } => self.receive(*most, *hidden_for),
            Step::Delete(which) => self.change(*which, Fate::Removed),
            Step::Hide { which, by } => {
                let until = self.now.plus(Duration::from_secs(*by));
                self.change(*which, Fate::Hidden(until));
            }
            Step::GiveBack(which) => self.change(*which, Fate::Unseen(self.now)),
            Step::Written => self.write(),
            Step::Refused => self.refuse(),
            Step::Wait(secs) => self.now = self.now.plus(Duration::from_secs(*secs)),
            Step::Restart => {
                // What was being written is lost.
                self.writing.clear();
                self.queue = Queue::new(self.order);
                self.kept.iter().for_each(|(seq, message)| self.queue.restore(*seq, message.clone()));
            }
        }
        self.check();
    }

    fn send(&mut self, group: u8, delay: u64) {
        let group = (group > 0 || self.order == Order::Fifo).then(|| Group::from(group.to_string()));
        let visible_at = self.now.plus(Duration::from_secs(delay));
        let message = Message { sent: self.now, group, visible_at, receives: 0, forgiven: 0, first_received: None };
        let seq = self.queue.admit(self.now, message.clone());
        assert!(self.kept.last_key_value().is_none_or(|(last, _)| *last < seq));
        self.writing.push((seq, Some(message), Fate::Stays));
    }

    fn receive(&mut self, most: usize, hidden_for: u64) {
        let terms = Terms { hidden_for: Duration::from_secs(hidden_for), receives_max: Some(RECEIVES_MAX) };
        let could: Vec<Seq> = self.could_be_received();
        let taken = self.queue.take(self.now, most, terms).unwrap();
        let got: BTreeSet<Seq> =
            taken.received.iter().map(|(seq, _)| *seq).chain(taken.dead.iter().map(|(seq, _)| *seq)).collect();
        assert!(got.len() == most.min(could.len()), "it gave {got:?} of {could:?}");
        assert!(got.iter().all(|seq| could.contains(seq)), "it gave {got:?} of {could:?}");
        if self.order == Order::Fifo {
            self.check_order(&got);
        }
        for (seq, message) in taken.received {
            let before = &self.kept[&seq];
            assert_eq!(message.receives, before.receives + 1);
            assert_eq!(message.first_received, before.first_received.or(Some(self.now)));
            self.writing.push((seq, Some(message), Fate::Stays));
        }
        for (seq, _) in taken.dead {
            assert_eq!(self.kept[&seq].receives - self.kept[&seq].forgiven, RECEIVES_MAX);
            self.writing.push((seq, None, Fate::Removed));
        }
    }

    fn change(&mut self, which: usize, fate: Fate) {
        let Some(seq) = self.kept.keys().nth(which % self.kept.len().max(1)).copied() else { return };
        match self.queue.claim(self.now, seq) {
            Claim::Gone => panic!("it has lost {seq}"),
            Claim::Busy => assert!(self.is_being_written(seq)),
            Claim::Granted(message) => {
                assert!(!self.is_being_written(seq) && message == self.kept[&seq]);
                let after = match fate {
                    Fate::Hidden(until) => Some(Message { visible_at: until, ..message }),
                    Fate::Unseen(now) => Some(Message { visible_at: now, forgiven: message.forgiven + 1, ..message }),
                    _ => None,
                };
                self.writing.push((seq, after, fate));
            }
        }
    }

    fn write(&mut self) {
        for (seq, message, fate) in std::mem::take(&mut self.writing) {
            match message {
                Some(message) => drop(self.kept.insert(seq, message)),
                None => drop(self.kept.remove(&seq)),
            }
            self.queue.release(seq, fate);
        }
    }

    fn refuse(&mut self) {
        for (seq, message, fate) in std::mem::take(&mut self.writing) {
            let fate = match (self.kept.get_mut(&seq), message, fate) {
                (None, ..) => Fate::Removed,
                (Some(kept), Some(_), Fate::Stays) => {
                    // Whenever its time came, it has.
                    kept.visible_at = kept.sent;
                    Fate::NotReceived
                }
                _ => Fate::Stays,
            };
            self.queue.release(seq, fate);
        }
    }

    fn is_being_written(&self, seq: Seq) -> bool {
        self.writing.iter().any(|(other, ..)| *other == seq)
    }

    /// By their group, what is known of messages, those on their way to the disk for the first time included.
    fn by_group(&self) -> BTreeMap<Option<Group>, BTreeMap<Seq, bool>> {
        let new = self.writing.iter().filter(|(seq, ..)| !self.kept.contains_key(seq));
        let new = new.filter_map(|(seq, message, _)| Some((*seq, message.as_ref()?)));
        let mut groups: BTreeMap<_, BTreeMap<_, _>> = BTreeMap::new();
        for (seq, message) in self.kept.iter().map(|(seq, message)| (*seq, message)).chain(new) {
            let can = !self.is_being_written(seq) && message.visible_at <= self.now;
            groups.entry(message.group.clone()).or_default().insert(seq, can);
        }
        groups
    }

    fn could_be_received(&self) -> Vec<Seq> {
        let of_group = |group: BTreeMap<Seq, bool>| match self.order {
            Order::Standard => group.into_iter().filter(|(_, can)| *can).collect::<Vec<_>>(),
            Order::Fifo => group.into_iter().take_while(|(_, can)| *can).collect(),
        };
        self.by_group().into_values().flat_map(of_group).map(|(seq, _)| seq).collect()
    }

    /// Of each group the first ones.
    fn check_order(&self, got: &BTreeSet<Seq>) {
        for group in self.by_group().into_values() {
            let given: Vec<bool> = group.keys().map(|seq| got.contains(seq)).collect();
            assert!(given.is_sorted_by(|before, after| before >= after), "{given:?}");
        }
    }

    fn check(&mut self) {
        let now = self.now;
        let counts = self.queue.advance(now);
        let still = |wanted: &dyn Fn(&Message) -> bool| {
            self.kept.iter().filter(|(seq, message)| !self.is_being_written(**seq) && wanted(message)).count()
        };
        let hidden = |message: &Message| message.visible_at > now;
        assert_eq!(counts.waiting, still(&|message| !hidden(message)));
        assert_eq!(counts.delayed, still(&|message| hidden(message) && message.receives == 0));
        let flying = still(&|message| hidden(message) && message.receives > 0);
        assert!((flying..=flying + self.writing.len()).contains(&counts.in_flight));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, ..ProptestConfig::default() })]

    #[test]
    fn a_queue_is_as_its_list(is_fifo: bool, steps in prop::collection::vec(step(), 1..120)) {
        let mut bed = Bed::new(if is_fifo { Order::Fifo } else { Order::Standard });
        steps.iter().for_each(|step| bed.apply(step));
    }
}
