//! Composite alarms, as a machine: the states of other alarms in, one state out, and a suppressor that holds back what
//! is done about it.
//!
//! A change of state waits `WaitPeriod` for the suppressor to go into `ALARM`. If it does, actions are held back for as
//! long as it stays there and for `ExtensionPeriod` after it. Then they are taken, for the state that the alarm has. A
//! change meanwhile begins anew; AWS's six examples are tests below.
//!
//! The shell steps an alarm when one that its rule names has changed, when its suppressor has, and when
//! [`Alarm::next_wakeup`] has passed. More calls change nothing. An alarm that hangs on itself is not to be stepped:
//! [`depends_on_itself`] says so, for AWS takes such rules and stops evaluating them.
//!
//! Follows PutCompositeAlarm and "Suppressing composite alarm actions".

use std::collections::BTreeSet;
use std::time::Duration;

use base::Timestamp;
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::FormatItem;
use time::macros::format_description;

use super::rule::Rule;
use super::{Actions, Command, Setting, Standing, State, change};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alarm {
    pub arn: String,
    pub rule: Rule,
    pub actions: Actions,
    pub suppressor: Option<Suppressor>,
    pub standing: Standing,
}

/// `ActionsSuppressor`: how long its state is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Suppressor {
    pub wait_s: u32,
    pub extension_s: u32,
}

/// Why the actions of a state are held back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Suppression {
    pub by: SuppressedBy,
    /// When they are taken if nothing happens.
    pub until: Option<Timestamp>,
}

/// `ActionsSuppressedBy`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SuppressedBy {
    Alarm,
    WaitPeriod,
    ExtensionPeriod,
}

/// An alarm that a rule names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Child {
    pub arn: String,
    pub state: State,
    /// When it changed last.
    pub since: Timestamp,
}

/// The other alarms, as they are now.
pub struct Others<'a> {
    /// By name or ARN, as the rule has it; `None` if there is no such alarm.
    pub child: &'a dyn Fn(&str) -> Option<Child>,
    /// The suppressor's state, if there is one.
    pub suppressor: Option<State>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    Created,
    /// Its rule may be another one.
    Updated,
    /// A child is in another state now.
    Changed(Child),
    /// SetAlarmState.
    Set(Setting),
    /// The suppressor is in another state, or time has passed.
    Tick,
}

/// What `StateReasonData` may hold.
const REASON_DATA_MAX: usize = 4_000;
const FRAME: &str = r#"{"triggeringAlarms":[]}"#;

/// Alarms that are followed to see whether one hangs on itself.
const FOLLOWED_MAX: usize = 10_000;

const MOMENT: &[FormatItem<'_>] =
    format_description!("[weekday] [day] [month repr:long], [year] [hour]:[minute]:[second] UTC");

impl SuppressedBy {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Alarm => "Alarm",
            Self::WaitPeriod => "WaitPeriod",
            Self::ExtensionPeriod => "ExtensionPeriod",
        }
    }
}

impl Suppression {
    /// `ActionsSuppressedReason`.
    pub fn reason(&self) -> String {
        format!("Actions suppressed by {}", self.by.name())
    }

    /// None, if it would last no time.
    fn lasting(now: Timestamp, by: SuppressedBy, secs: u32) -> Option<Suppression> {
        let until = now.plus(Duration::from_secs(u64::from(secs)));
        (secs > 0).then_some(Suppression { by, until: Some(until) })
    }
}

impl Alarm {
    pub fn step(&self, now: Timestamp, event: Event, others: &Others<'_>) -> Vec<Command> {
        match event {
            Event::Created => self.evaluate(now, others, &Why::Evaluated("created")),
            Event::Updated => self.evaluate(now, others, &Why::Evaluated("updated")),
            Event::Changed(child) => self.evaluate(now, others, &Why::Changed(child)),
            Event::Set(setting) => self.go(now, setting, others),
            Event::Tick => self.release(now, others),
        }
    }

    pub fn next_wakeup(&self) -> Option<Timestamp> {
        self.standing.suppressed?.until
    }

    fn evaluate(&self, now: Timestamp, others: &Others<'_>, why: &Why) -> Vec<Command> {
        let holds = self.rule.holds(|name| (others.child)(name).map(|child| child.state));
        let state = if holds { State::Alarm } else { State::Ok };
        if state == self.standing.state {
            return Vec::new();
        }
        let (reason, triggering) = match why {
            Why::Evaluated(done) => {
                let children = self.rule.children().iter().filter_map(|name| (others.child)(name)).collect();
                (format!("{} was {done} and its alarm rule evaluates to {}", self.arn, state.name()), children)
            }
            Why::Changed(child) => {
                let reason = format!("{} transitioned to {} at {}", child.arn, child.state.name(), shown(child.since));
                (reason, vec![child.clone()])
            }
        };
        self.go(now, Setting { state, reason, reason_data: Some(data(&triggering)) }, others)
    }

    fn go(&self, now: Timestamp, to: Setting, others: &Others<'_>) -> Vec<Command> {
        if to.state == self.standing.state {
            return Vec::new();
        }
        let suppressed = self.suppressor.and_then(|suppressor| match others.suppressor {
            Some(State::Alarm) => Some(Suppression { by: SuppressedBy::Alarm, until: None }),
            _ => Suppression::lasting(now, SuppressedBy::WaitPeriod, suppressor.wait_s),
        });
        let to = Standing { suppressed, ..Standing::changed(now, to) };
        change(now, &self.standing, to, &self.actions)
    }

    /// Whether what is held back still is.
    fn release(&self, now: Timestamp, others: &Others<'_>) -> Vec<Command> {
        let Some(held) = self.standing.suppressed else { return Vec::new() };
        let is_suppressing = self.suppressor.is_some() && others.suppressor == Some(State::Alarm);
        let suppressed = match held.by {
            SuppressedBy::Alarm if is_suppressing => Some(held),
            _ if is_suppressing => Some(Suppression { by: SuppressedBy::Alarm, until: None }),
            SuppressedBy::Alarm => self.suppressor.and_then(|suppressor| {
                Suppression::lasting(now, SuppressedBy::ExtensionPeriod, suppressor.extension_s)
            }),
            _ => Some(held).filter(|held| self.suppressor.is_some() && held.until.is_some_and(|until| now < until)),
        };
        let mut to = Standing { suppressed, ..self.standing.clone() };
        match suppressed {
            Some(now_held) if now_held == held => Vec::new(),
            Some(_) => vec![Command::Become(to)],
            None => {
                // AWS counts it as an update of the state, not as a transition.
                to.updated = now;
                let acts: Vec<Command> = self.actions.commands(to.state).collect();
                [Command::Become(to)].into_iter().chain(acts).collect()
            }
        }
    }
}

/// What made a rule be evaluated.
enum Why {
    Evaluated(&'static str),
    Changed(Child),
}

/// Whether an alarm's rule leads back to it. `children_of` tells the alarms that a composite one names, by the same
/// kind of name as `alarm`.
pub fn depends_on_itself(alarm: &str, children_of: &dyn Fn(&str) -> Vec<String>) -> bool {
    let mut followed = BTreeSet::new();
    let mut next = children_of(alarm);
    while let Some(name) = next.pop() {
        // Where so many hang together, nobody can tell in time: it is as if one did.
        if name == alarm || followed.len() >= FOLLOWED_MAX {
            return true;
        }
        if !followed.contains(&name) {
            next.extend(children_of(&name));
            followed.insert(name);
        }
    }
    false
}

fn data(triggering: &[Child]) -> String {
    let mut told = Vec::new();
    let mut length = 0_usize;
    for Child { arn, state, since } in triggering {
        let child = json!({ "arn": arn, "state": { "value": state.name(), "timestamp": since.lambda() } });
        length = length.saturating_add(child.to_string().len()).saturating_add(1);
        if length.saturating_add(FRAME.len()) > REASON_DATA_MAX {
            break;
        }
        told.push(child);
    }
    json!({ "triggeringAlarms": Value::Array(told) }).to_string()
}

fn shown(at: Timestamp) -> String {
    let moment = OffsetDateTime::from_unix_timestamp(at.as_secs()).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    moment.format(MOMENT).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: i64 = 1_658_505_465;

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_secs(NOW + secs)
    }

    /// A composite alarm, its child `a` and its suppressor, as a shell keeps them.
    struct World {
        alarm: Alarm,
        child: State,
        suppressor: State,
    }

    impl World {
        fn new(suppressor: Option<Suppressor>) -> World {
            let actions = Actions {
                are_enabled: true,
                ok: vec!["arn:ok".to_owned()],
                alarm: vec!["arn:alarm".to_owned()],
                insufficient_data: Vec::new(),
            };
            let alarm = Alarm {
                arn: "arn:main".to_owned(),
                rule: Rule::parse("ALARM(a) OR ALARM(b)").unwrap(),
                actions,
                suppressor,
                standing: Standing { state: State::Ok, ..Standing::new(at(0)) },
            };
            World { alarm, child: State::Ok, suppressor: State::Ok }
        }

        fn commands(&self, now: Timestamp, event: Event) -> Vec<Command> {
            let child = |name: &str| {
                let state = if name == "a" { self.child } else { State::Ok };
                Some(Child { arn: format!("arn:{name}"), state, since: at(0) })
            };
            let others = Others { child: &child, suppressor: self.alarm.suppressor.map(|_| self.suppressor) };
            self.alarm.step(now, event, &others)
        }

        /// Carries the commands out; what was done is the answer.
        fn run(&mut self, now: Timestamp, event: Event) -> Vec<String> {
            let mut acts = Vec::new();
            for command in self.commands(now, event) {
                match command {
                    Command::Become(standing) => self.alarm.standing = standing,
                    Command::Act { action } => acts.push(action),
                    Command::Record(_) => {}
                }
            }
            acts
        }

        fn change(&mut self, now: Timestamp, child: State) -> Vec<String> {
            self.child = child;
            self.run(now, Event::Changed(Child { arn: "arn:a".to_owned(), state: child, since: now }))
        }

        fn suppressed_by(&self) -> &'static str {
            self.alarm.standing.suppressed.map_or("", |held| held.by.name())
        }
    }

    #[test]
    fn a_new_alarm_is_evaluated_at_once() {
        let mut world = World::new(None);
        world.alarm.standing = Standing::new(at(0));
        assert_eq!(world.run(at(1), Event::Created), ["arn:ok"]);
        let standing = &world.alarm.standing;
        assert_eq!(standing.reason, "arn:main was created and its alarm rule evaluates to OK");
        assert_eq!(
            standing.reason_data.as_deref().unwrap(),
            concat!(
                r#"{"triggeringAlarms":[{"arn":"arn:a","state":{"value":"OK","timestamp":"2022-07-22T15:57:45.000+0000"}},"#,
                r#"{"arn":"arn:b","state":{"value":"OK","timestamp":"2022-07-22T15:57:45.000+0000"}}]}"#
            )
        );
        assert_eq!(world.run(at(2), Event::Updated), [""; 0]);
    }

    #[test]
    fn the_child_that_made_it_change_is_told() {
        let mut world = World::new(None);
        assert_eq!(world.change(at(0), State::Alarm), ["arn:alarm"]);
        let standing = world.alarm.standing.clone();
        assert_eq!(standing.reason, "arn:a transitioned to ALARM at Friday 22 July, 2022 15:57:45 UTC");
        assert_eq!(
            standing.reason_data.as_deref().unwrap(),
            r#"{"triggeringAlarms":[{"arn":"arn:a","state":{"value":"ALARM","timestamp":"2022-07-22T15:57:45.000+0000"}}]}"#
        );
        // A second child's alarm changes nothing at all.
        let other = Child { arn: "arn:b".to_owned(), state: State::Alarm, since: at(5) };
        assert!(world.commands(at(5), Event::Changed(other)).is_empty());
    }

    #[test]
    fn what_is_set_is_acted_on() {
        let mut world = World::new(None);
        let setting = Setting { state: State::InsufficientData, reason: "testing".to_owned(), reason_data: None };
        world.alarm.actions.insufficient_data = vec!["arn:unknown".to_owned()];
        assert_eq!(world.run(at(0), Event::Set(setting.clone())), ["arn:unknown"]);
        assert_eq!(world.run(at(1), Event::Set(setting)), [""; 0]);
        assert_eq!(world.change(at(2), State::Ok), ["arn:ok"]);
    }

    /// AWS's six examples: a wait of two units, an extension of three. Each line is a moment, what changes then (`X`
    /// and `O` the alarm's child, `S` and `-` its suppressor), what holds actions back after it, and what is done.
    #[test]
    fn actions_are_suppressed_as_aws_documents_it() {
        let examples: [&[(i64, &str, &str, &str)]; 6] = [
            &[(2, "X", "WaitPeriod", ""), (3, "", "WaitPeriod", ""), (4, "", "", "arn:alarm")],
            &[(2, "X", "WaitPeriod", ""), (3, "S", "Alarm", ""), (4, "", "Alarm", ""), (9, "", "Alarm", "")],
            &[(2, "X", "WaitPeriod", ""), (3, "O", "WaitPeriod", ""), (4, "", "WaitPeriod", ""), (5, "", "", "arn:ok")],
            &[(1, "S", "", ""), (2, "X", "Alarm", ""), (9, "", "Alarm", "")],
            &[
                (2, "X", "WaitPeriod", ""),
                (3, "S", "Alarm", ""),
                (6, "-", "ExtensionPeriod", ""),
                (8, "", "ExtensionPeriod", ""),
                (9, "", "", "arn:alarm"),
            ],
            &[
                (2, "X", "WaitPeriod", ""),
                (3, "S", "Alarm", ""),
                (6, "-", "ExtensionPeriod", ""),
                (7, "O", "WaitPeriod", ""),
                (8, "", "WaitPeriod", ""),
                (9, "", "", "arn:ok"),
            ],
        ];
        for (number, example) in examples.into_iter().enumerate() {
            let mut world = World::new(Some(Suppressor { wait_s: 2, extension_s: 3 }));
            for (moment, happens, held, done) in example {
                let now = at(*moment);
                let acts = match *happens {
                    "X" => world.change(now, State::Alarm),
                    "O" => world.change(now, State::Ok),
                    mark => {
                        if !mark.is_empty() {
                            world.suppressor = if mark == "S" { State::Alarm } else { State::Ok };
                        }
                        world.run(now, Event::Tick)
                    }
                };
                assert_eq!(
                    (world.suppressed_by(), acts.concat().as_str()),
                    (*held, *done),
                    "{} at {moment}",
                    number + 1
                );
            }
        }
    }

    #[test]
    fn a_suppressor_that_comes_back_holds_on() {
        let mut world = World::new(Some(Suppressor { wait_s: 2, extension_s: 3 }));
        let mut held = vec![world.change(at(0), State::Alarm).concat()];
        for (moment, suppressor) in [(1, State::Alarm), (5, State::Ok), (7, State::Alarm), (20, State::Alarm)] {
            world.suppressor = suppressor;
            held.push(world.run(at(moment), Event::Tick).concat() + world.suppressed_by());
        }
        assert_eq!(held, ["", "Alarm", "ExtensionPeriod", "Alarm", "Alarm"]);
    }

    #[test]
    fn what_was_held_back_counts_as_an_update_of_the_state() {
        let mut world = World::new(Some(Suppressor { wait_s: 120, extension_s: 180 }));
        world.change(at(0), State::Alarm);
        assert_eq!(world.alarm.next_wakeup(), Some(at(120)));
        assert_eq!(world.alarm.standing.suppressed.unwrap().reason(), "Actions suppressed by WaitPeriod");
        assert_eq!(world.commands(at(120), Event::Tick).len(), 2);
        world.run(at(120), Event::Tick);
        let Standing { updated, transitioned, suppressed, .. } = world.alarm.standing.clone();
        assert_eq!((updated, transitioned, suppressed), (at(120), at(0), None));
        assert_eq!((world.alarm.next_wakeup(), world.run(at(999), Event::Tick)), (None, Vec::new()));
    }

    #[test]
    fn periods_of_no_length_hold_nothing_back() {
        let mut world = World::new(Some(Suppressor { wait_s: 0, extension_s: 0 }));
        assert_eq!(world.change(at(0), State::Alarm), ["arn:alarm"]);
        world.suppressor = State::Alarm;
        assert_eq!(world.change(at(1), State::Ok), [""; 0]);
        world.suppressor = State::Ok;
        assert_eq!(world.run(at(2), Event::Tick), ["arn:ok"]);
    }

    #[test]
    fn alarms_that_hang_on_themselves_are_found() {
        let children = |name: &str| -> Vec<String> {
            let children: &[&str] = match name {
                "loop" => &["metric", "inner"],
                "inner" => &["metric", "loop"],
                "self" => &["self"],
                "above" => &["loop"],
                "diamond" => &["left", "right"],
                "left" | "right" => &["metric"],
                "metric" => &[],
                number => return vec![(number.parse::<u32>().unwrap() + 1).to_string()],
            };
            children.iter().map(|child| (*child).to_owned()).collect()
        };
        let table = [("loop", true), ("self", true), ("above", false), ("diamond", false), ("0", true)];
        for (name, expected) in table {
            assert_eq!(depends_on_itself(name, &children), expected, "{name}");
        }
    }

    #[test]
    fn the_json_stays_within_what_aws_keeps() {
        let children: Vec<Child> = (0..100)
            .map(|n| Child { arn: format!("arn:{n}{}", "x".repeat(200)), state: State::Ok, since: at(n) })
            .collect();
        let text = data(&children);
        assert!((3_000..=REASON_DATA_MAX).contains(&text.len()), "{}", text.len());
        assert_eq!(data(&[]), FRAME);
    }

    proptest! {
        #[test]
        fn a_composite_alarm_changes_by_its_commands_alone(
            steps in prop::collection::vec((0..5_u8, 0..6_i64, any::<bool>()), 0..60),
            wait_s in 0..4_u32,
            extension_s in 0..4_u32,
        ) {
            let mut world = World::new(Some(Suppressor { wait_s, extension_s }));
            let mut secs = 0;
            // What the state was that actions were taken for last, and whether it changed since.
            let mut is_owed = false;
            for (kind, after, flag) in steps {
                secs += after;
                let now = at(secs);
                let event = match kind {
                    0 | 1 => {
                        world.child = if flag { State::Alarm } else { State::Ok };
                        Event::Changed(Child { arn: "arn:a".to_owned(), state: world.child, since: now })
                    }
                    2 => {
                        world.suppressor = if flag { State::Alarm } else { State::InsufficientData };
                        Event::Tick
                    }
                    3 => Event::Set(Setting { state: State::Alarm, reason: String::new(), reason_data: None }),
                    _ => Event::Tick,
                };
                let before = world.alarm.clone();
                let commands = world.commands(now, event);
                prop_assert_eq!(&before, &world.alarm);
                let records = commands.iter().filter(|command| matches!(command, Command::Record(_))).count();
                let acts = commands.iter().filter(|command| matches!(command, Command::Act { .. })).count();
                if let Some(Command::Become(standing)) = commands.first() {
                    world.alarm.standing = standing.clone();
                    prop_assert_ne!(standing, &before.standing);
                } else {
                    prop_assert_eq!(commands.len(), 0);
                }
                let standing = &world.alarm.standing;
                let has_changed = standing.state != before.standing.state;
                prop_assert_eq!(records, usize::from(has_changed));
                is_owed |= has_changed;
                // Actions are taken once for a change, and as soon as nothing holds them back.
                prop_assert_eq!(acts, usize::from(is_owed && standing.suppressed.is_none()));
                is_owed = is_owed && acts == 0;
                // What holds them back without the suppressor ends by itself.
                let by = standing.suppressed.map(|held| held.by);
                prop_assert_eq!(
                    world.alarm.next_wakeup().is_some(),
                    by.is_some_and(|by| by != SuppressedBy::Alarm)
                );
            }
        }
    }
}
