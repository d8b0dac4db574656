//! What clients of a queue were told, and whether a queue that keeps its promises could have told them that.
//!
//! A client notes when it asked and when it was answered; what the queue decided, it decided in between. A call that was
//! never answered may have happened or not. The checker forgives only what that allows.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Since the history began.
pub type At = Duration;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Happened {
    pub began: At,
    pub ended: At,
    /// Whether the answer came.
    pub answered: bool,
    pub what: What,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// A message was sent; its id, if the answer came.
    Sent {
        body: String,
        id: String,
    },
    /// A queue was asked for messages, and gave these, in this order.
    Received {
        is_dead: bool,
        given: Vec<Given>,
        hidden_for: Duration,
    },
    /// It is to be hidden from now on for so long.
    Hidden {
        body: String,
        by: Duration,
    },
    Deleted {
        body: String,
    },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Given {
    pub body: String,
    pub id: String,
    pub count: u32,
}

/// What the queue promises.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Promise {
    /// After so many times a message goes to the dead letters.
    pub receives_max: u32,
    /// Bodies are `group-number`, sent in that order, and come in that order.
    pub is_ordered: bool,
    /// Messages that one call may receive.
    pub batch_max: usize,
}

/// A message's part of a history.
#[derive(Default)]
struct Life<'a> {
    sends: Vec<&'a Happened>,
    gives: Vec<(&'a Happened, &'a Given, bool, Duration)>,
    hides: Vec<(&'a Happened, Duration)>,
    deletes: Vec<&'a Happened>,
}

/// All that is wrong with a history at whose end nothing was left in the queues.
pub fn check(history: &[Happened], promise: Promise) -> Vec<String> {
    let mut lives: BTreeMap<&str, Life> = BTreeMap::new();
    let mut unanswered: Vec<&Happened> = Vec::new();
    for happened in history {
        match &happened.what {
            What::Sent { body, .. } => lives.entry(body).or_default().sends.push(happened),
            What::Hidden { body, by } => lives.entry(body).or_default().hides.push((happened, *by)),
            What::Deleted { body } => lives.entry(body).or_default().deletes.push(happened),
            What::Received { .. } if !happened.answered => unanswered.push(happened),
            What::Received { is_dead, given, hidden_for } => {
                for one in given {
                    lives.entry(&one.body).or_default().gives.push((happened, one, *is_dead, *hidden_for));
                }
            }
        }
    }
    let mut wrong = Vec::new();
    let mut missing = 0;
    for (body, life) in &mut lives {
        life.gives.sort_by_key(|(_, given, ..)| given.count);
        wrong.extend(life.wrong(promise).into_iter().map(|fault| format!("{body}: {fault}")));
        missing += life.uncounted(&unanswered, &mut wrong, body);
    }
    let missing_max = unanswered.len() * promise.batch_max;
    if missing > missing_max {
        wrong.push(format!("{missing} receives were counted that nobody saw; {missing_max} could have been"));
    }
    if promise.is_ordered {
        wrong.extend(out_of_order(history, &lives));
    }
    wrong
}

impl Life<'_> {
    fn wrong(&self, promise: Promise) -> Vec<String> {
        let mut wrong = Vec::new();
        if self.sends.is_empty() {
            wrong.push("nobody sent it".into());
        }
        let answered = self.sends.iter().filter(|sent| sent.answered).filter_map(|sent| match &sent.what {
            What::Sent { id, .. } => Some(id),
            _ => None,
        });
        let ids: BTreeSet<&String> = answered.chain(self.gives.iter().map(|(_, given, ..)| &given.id)).collect();
        if ids.len() > 1 {
            wrong.push(format!("it is there {} times", ids.len()));
        }
        if self.sends.iter().any(|sent| sent.answered) && self.deletes.is_empty() {
            wrong.push(format!("it is lost, given {} times", self.gives.len()));
        }
        if let Some(deleted) = self.deletes.iter().find(|deleted| deleted.answered)
            && self.gives.iter().any(|(give, ..)| give.began > deleted.ended)
        {
            wrong.push("it was given after it was deleted".into());
        }
        for (_, given, is_dead, _) in &self.gives {
            if *is_dead != (given.count > promise.receives_max) {
                let place = if *is_dead { "a dead letter" } else { "given" };
                wrong.push(format!("it was {place} as it was received for the {}. time", given.count));
            }
        }
        for pair in self.gives.windows(2) {
            let ((before, .., hidden_for), (after, ..)) = (&pair[0], &pair[1]);
            if let Some(until) = self.hidden_until(before, *hidden_for, after)
                && after.ended < until
            {
                let early = until.saturating_sub(after.ended);
                wrong.push(format!("it was given {early:?} too early: {:?}, then {:?}", before, after));
            }
        }
        wrong
    }

    /// Until when a message is hidden at least that was given, at the time when it was given the next time. Unknown where a
    /// change may have come so late that it was of the next time.
    fn hidden_until(&self, given: &Happened, hidden_for: Duration, next: &Happened) -> Option<At> {
        let mut until = given.began + hidden_for;
        let mut changes: Vec<_> = self.hides.iter().filter(|(hide, _)| hide.began >= given.ended).collect();
        changes.sort_by_key(|(hide, _)| hide.began);
        for (hide, by) in changes.into_iter().filter(|(hide, _)| hide.began < next.ended) {
            if hide.ended > given.began + hidden_for {
                return None;
            }
            let wanted = hide.began + *by;
            until = if hide.answered { wanted } else { until.min(wanted) };
        }
        Some(until)
    }

    /// Receives that were counted and that nobody saw: an unanswered call must have been there for each.
    fn uncounted(&self, unanswered: &[&Happened], wrong: &mut Vec<String>, body: &str) -> usize {
        let (mut last, mut since, mut missing) = (0, At::ZERO, 0);
        for (give, given, ..) in &self.gives {
            let unseen = given.count.saturating_sub(last + 1) as usize;
            let could = unanswered.iter().filter(|call| call.began < give.ended && call.ended > since).count();
            if given.count <= last {
                wrong.push(format!("{body}: it was received for the {}. time twice", given.count));
            }
            if unseen > could {
                wrong.push(format!("{body}: {unseen} receives too many were counted before the {}.", given.count));
            }
            (last, since, missing) = (given.count, give.began, missing + unseen);
        }
        missing
    }
}

/// Messages that were given before those ahead of them in their group were deleted.
fn out_of_order(history: &[Happened], lives: &BTreeMap<&str, Life>) -> Vec<String> {
    let mut groups: BTreeMap<&str, BTreeMap<u32, &str>> = BTreeMap::new();
    for body in lives.keys() {
        if let Some((group, number)) = body.rsplit_once('-') {
            groups.entry(group).or_default().insert(number.parse().unwrap_or(u32::MAX), body);
        }
    }
    // When each was on its way out for good; what nobody ever saw may never have been.
    let gone = |body: &str| lives[body].deletes.iter().map(|deleted| deleted.began).min().unwrap_or(At::MAX);
    let mut wrong = Vec::new();
    for happened in history.iter().filter(|happened| happened.answered) {
        let What::Received { given, .. } = &happened.what else { continue };
        let mut seen = BTreeSet::new();
        for one in given {
            let Some((group, number)) = one.body.rsplit_once('-') else { continue };
            let number = number.parse().unwrap_or(u32::MAX);
            let ahead = groups[group].range(..number).map(|(_, body)| *body);
            let mut ahead = ahead.filter(|body| lives[body].sends.iter().any(|sent| sent.answered));
            if let Some(left) = ahead.find(|body| gone(body) > happened.ended && !seen.contains(body)) {
                wrong.push(format!("{} was given before {left} was done with", one.body));
            }
            seen.insert(one.body.as_str());
        }
    }
    wrong
}

/// The checker must be able to fail.
mod tests {
    use super::*;

    const ORDERLY: Promise = Promise { receives_max: 3, is_ordered: false, batch_max: 10 };
    const HIDDEN: Duration = Duration::from_millis(100);

    fn at(began: u64, ended: u64, what: What) -> Happened {
        let (began, ended) = (Duration::from_millis(began), Duration::from_millis(ended));
        Happened { began, ended, answered: true, what }
    }

    fn unanswered(happened: Happened) -> Happened {
        Happened { answered: false, ..happened }
    }

    fn sent(time: u64, body: &str) -> Happened {
        at(time, time + 1, What::Sent { body: body.into(), id: format!("id of {body}") })
    }

    fn given(time: u64, bodies: &[(&str, u32)]) -> Happened {
        from(false, time, bodies)
    }

    fn from(is_dead: bool, time: u64, bodies: &[(&str, u32)]) -> Happened {
        let given = bodies.iter().map(|(body, count)| {
            let (body, id) = ((*body).to_owned(), format!("id of {body}"));
            Given { body, id, count: *count }
        });
        at(time, time + 1, What::Received { is_dead, given: given.collect(), hidden_for: HIDDEN })
    }

    fn hidden(time: u64, body: &str, by: u64) -> Happened {
        at(time, time + 1, What::Hidden { body: body.into(), by: Duration::from_millis(by) })
    }

    fn deleted(time: u64, body: &str) -> Happened {
        at(time, time + 1, What::Deleted { body: body.into() })
    }

    #[track_caller]
    fn finds(word: &str, promise: Promise, history: &[Happened]) {
        let wrong = check(history, promise);
        assert!(!wrong.is_empty() && wrong.iter().all(|fault| fault.contains(word)), "wanted {word:?}: {wrong:?}");
    }

    #[track_caller]
    fn is_right(promise: Promise, history: &[Happened]) {
        assert_eq!(check(history, promise), Vec::<String>::new());
    }

    #[test]
    fn a_good_history_is_good() {
        let dead =
            [given(2, &[("a", 1)]), given(110, &[("a", 2)]), given(220, &[("a", 3)]), from(true, 330, &[("a", 4)])];
        let history = [&[sent(0, "a")], &dead[..], &[deleted(334, "a")]].concat();
        is_right(ORDERLY, &history);
        // An answer that never came may have been any of these.
        let receive = unanswered(given(50, &[]));
        is_right(ORDERLY, &[sent(0, "a"), receive, given(200, &[("a", 2)]), deleted(210, "a")]);
        is_right(ORDERLY, &[unanswered(sent(0, "a"))]);
        let may_be = unanswered(deleted(4, "a"));
        is_right(ORDERLY, &[sent(0, "a"), given(2, &[("a", 1)]), may_be.clone()]);
        is_right(ORDERLY, &[sent(0, "a"), given(2, &[("a", 1)]), may_be, given(110, &[("a", 2)]), deleted(112, "a")]);
        // One that was let go comes at once.
        is_right(
            ORDERLY,
            &[sent(0, "a"), given(2, &[("a", 1)]), hidden(4, "a", 0), given(6, &[("a", 2)]), deleted(8, "a")],
        );
    }

    #[test]
    fn what_is_lost_doubled_or_back_again_is_found() {
        finds("lost", ORDERLY, &[sent(0, "a")]);
        finds("lost", ORDERLY, &[sent(0, "a"), given(2, &[("a", 1)])]);
        finds("nobody sent", ORDERLY, &[given(2, &[("a", 1)]), deleted(4, "a")]);
        let mut twice = [sent(0, "a"), given(2, &[("a", 1)]), given(110, &[("a", 2)]), deleted(120, "a")];
        if let What::Received { given, .. } = &mut twice[2].what {
            given[0].id = "another".into();
        }
        finds("there 2 times", ORDERLY, &twice);
        finds(
            "after it was deleted",
            ORDERLY,
            &[sent(0, "a"), given(2, &[("a", 1)]), deleted(4, "a"), given(110, &[("a", 2)])],
        );
    }

    #[test]
    fn what_is_given_too_early_is_found() {
        let ends = |middle: &[Happened], again: u64| {
            let begin = [sent(0, "a"), given(2, &[("a", 1)])];
            [&begin, middle, &[given(again, &[("a", 2)]), deleted(900, "a")]].concat()
        };
        finds("too early", ORDERLY, &ends(&[], 50));
        finds("too early", ORDERLY, &ends(&[hidden(50, "a", 300)], 200));
        finds("too early", ORDERLY, &ends(&[hidden(50, "a", 20), hidden(60, "a", 300)], 300));
        is_right(ORDERLY, &ends(&[hidden(50, "a", 300)], 350));
        // It may not have been hidden for longer, but was for as long as it was given for.
        finds("too early", ORDERLY, &ends(&[unanswered(hidden(50, "a", 300))], 90));
        is_right(ORDERLY, &ends(&[unanswered(hidden(50, "a", 300))], 110));
    }

    #[test]
    fn a_receive_that_is_counted_wrong_is_found() {
        let ends = |count| [sent(0, "a"), given(2, &[("a", 1)]), given(110, &[("a", count)]), deleted(120, "a")];
        is_right(ORDERLY, &ends(2));
        finds("were counted", ORDERLY, &ends(3));
        finds("twice", ORDERLY, &ends(1));
        // One call can have received ten messages, and no more.
        let bodies: Vec<String> = (0..11).map(|number| format!("m{number}")).collect();
        let of = |count: usize| {
            let mut history = vec![unanswered(given(50, &[]))];
            for body in &bodies[..count] {
                history.extend([sent(0, body), given(200, &[(body, 2)]), deleted(210, body)]);
            }
            history
        };
        is_right(ORDERLY, &of(10));
        finds("that nobody saw", ORDERLY, &of(11));
    }

    #[test]
    fn a_dead_letter_before_its_time_or_behind_it_is_found() {
        let early = [sent(0, "a"), given(2, &[("a", 1)]), from(true, 110, &[("a", 2)]), deleted(120, "a")];
        finds("a dead letter as", ORDERLY, &early);
        let all = [given(2, &[("a", 1)]), given(110, &[("a", 2)]), given(220, &[("a", 3)]), given(330, &[("a", 4)])];
        let late = [&[sent(0, "a")], &all[..], &[deleted(340, "a")]].concat();
        finds("given as", ORDERLY, &late);
    }

    #[test]
    fn a_group_out_of_order_is_found() {
        let promise = Promise { is_ordered: true, ..ORDERLY };
        let both = [sent(0, "g-1"), sent(1, "g-2")];
        let deletes = [deleted(20, "g-1"), deleted(22, "g-2")];
        let with = |middle: &[Happened]| [&both, middle, &deletes].concat();
        is_right(promise, &with(&[given(2, &[("g-1", 1), ("g-2", 1)])]));
        finds("before g-1 was done", promise, &with(&[given(2, &[("g-2", 1), ("g-1", 1)])]));
        finds("before g-1 was done", promise, &with(&[given(2, &[("g-1", 1)]), given(4, &[("g-2", 1)])]));
        let other = [sent(0, "g-1"), sent(1, "h-2"), given(2, &[("h-2", 1)]), deleted(4, "h-2")];
        is_right(promise, &[&other[..], &[given(6, &[("g-1", 1)]), deleted(8, "g-1")]].concat());
    }
}
