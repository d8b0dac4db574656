//! Alarms on a metric or an expression, as a machine.
//!
//! The shell reads what [`Condition::range`] names, and steps the alarm with it at [`Condition::next_evaluation`]. What
//! SetAlarmState sets lasts until then: the evaluation does not know of it, and changes the state if it finds another.

use base::Timestamp;

use super::evaluate::{Condition, Datapoint};
use super::reason::{self, Source};
use super::{Actions, Command, Setting, Standing, change};

#[derive(Debug, Clone, PartialEq)]
pub struct Alarm {
    pub condition: Condition,
    pub source: Source,
    pub actions: Actions,
    pub standing: Standing,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// What is known of the periods in the range, in any order.
    Evaluate { points: Vec<Datapoint> },
    /// SetAlarmState.
    Set(Setting),
}

impl Alarm {
    pub fn step(&self, now: Timestamp, event: Event) -> Vec<Command> {
        let to = match event {
            Event::Set(setting) => Some(setting).filter(|to| to.state != self.standing.state),
            Event::Evaluate { points } => self.found(now, &points),
        };
        to.map(|to| change(now, &self.standing, Standing::changed(now, to), &self.actions)).unwrap_or_default()
    }

    /// The state that these points mean, if it is another one.
    fn found(&self, now: Timestamp, points: &[Datapoint]) -> Option<Setting> {
        let evaluated = self.condition.evaluated(now, points);
        let state = self.condition.verdict(&evaluated).filter(|state| *state != self.standing.state)?;
        Some(Setting {
            state,
            reason: reason::text(&self.condition, state, &evaluated),
            reason_data: Some(reason::data(now, &self.condition, &self.source, &evaluated)),
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::State;
    use super::super::evaluate::Missing;
    use super::super::evaluate::tests::{NOW, condition, points};
    use super::*;

    fn alarm(missing: Missing) -> Alarm {
        Alarm {
            condition: condition(1, 1, missing),
            source: Source { statistic: Some("Average".to_owned()), unit: None },
            actions: Actions {
                are_enabled: true,
                ok: vec!["arn:ok".to_owned()],
                alarm: vec!["arn:one".to_owned(), "arn:two".to_owned()],
                insufficient_data: Vec::new(),
            },
            standing: Standing::new(Timestamp::from_secs(0)),
        }
    }

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_secs(NOW + secs)
    }

    fn set(state: State) -> Event {
        Event::Set(Setting { state, reason: "testing".to_owned(), reason_data: Some(r#"{"x":1}"#.to_owned()) })
    }

    fn evaluate(alarm: &Alarm, drawn: &str) -> Event {
        Event::Evaluate { points: points(&alarm.condition, drawn) }
    }

    /// Carries the commands out as a shell does, and tells them in short.
    fn run(alarm: &mut Alarm, now: Timestamp, event: Event) -> String {
        let mut told = Vec::new();
        for command in alarm.step(now, event) {
            told.push(match command {
                Command::Become(standing) => {
                    alarm.standing = standing;
                    format!("become {}", alarm.standing.state.name())
                }
                Command::Record(item) => format!("record {}", item.summary),
                Command::Act { action } => format!("act {action}"),
            });
        }
        told.join("; ")
    }

    #[test]
    fn a_change_of_state_is_recorded_and_acted_on_once() {
        let mut alarm = alarm(Missing::NotBreaching);
        let breach = evaluate(&alarm, "x");
        assert_eq!(
            run(&mut alarm, at(0), breach.clone()),
            "become ALARM; record Alarm updated from INSUFFICIENT_DATA to ALARM; act arn:one; act arn:two"
        );
        assert_eq!((alarm.standing.updated, alarm.standing.transitioned), (at(0), at(0)));
        assert!(alarm.standing.reason.starts_with("Threshold Crossed: 1 out of the last 1 datapoints [1.0"));
        assert_eq!(run(&mut alarm, at(1), breach), "");
        assert_eq!(alarm.standing.updated, at(0));
        let quiet = evaluate(&alarm, "-");
        assert_eq!(run(&mut alarm, at(2), quiet), "become OK; record Alarm updated from ALARM to OK; act arn:ok");
    }

    #[test]
    fn what_is_set_lasts_until_the_next_evaluation() {
        let mut alarm = alarm(Missing::NotBreaching);
        assert_eq!(
            run(&mut alarm, at(0), set(State::Ok)),
            "become OK; record Alarm updated from INSUFFICIENT_DATA to OK; act arn:ok"
        );
        assert_eq!(alarm.standing.reason_data.as_deref(), Some(r#"{"x":1}"#));
        assert_eq!(run(&mut alarm, at(0), set(State::Ok)), "");
        run(&mut alarm, at(0), set(State::Alarm));
        let quiet = evaluate(&alarm, "-");
        assert_eq!(run(&mut alarm, at(60), quiet), "become OK; record Alarm updated from ALARM to OK; act arn:ok");
    }

    #[test]
    fn an_alarm_that_ignores_missing_data_stays_as_it_was_set() {
        let mut alarm = alarm(Missing::Ignore);
        run(&mut alarm, at(0), set(State::Alarm));
        let nothing = evaluate(&alarm, "-");
        assert_eq!(run(&mut alarm, at(60), nothing), "");
    }

    #[test]
    fn disabled_actions_are_not_taken_and_the_state_changes_all_the_same() {
        let mut alarm = alarm(Missing::NotBreaching);
        alarm.actions.are_enabled = false;
        assert_eq!(
            run(&mut alarm, at(0), set(State::Alarm)),
            "become ALARM; record Alarm updated from INSUFFICIENT_DATA to ALARM"
        );
    }

    /// When it happens, the points of an evaluation or else what is set, and whether actions are enabled.
    type Happening = (i64, Option<Vec<(i64, f64)>>, State, bool);

    fn happenings() -> impl Strategy<Value = Vec<Happening>> {
        let state = prop::sample::select(vec![State::Ok, State::Alarm, State::InsufficientData]);
        let point = (-900..100_i64, prop_oneof![Just(0.0), Just(1.0), any::<f64>()]);
        let points = prop::option::weighted(0.8, prop::collection::vec(point, 0..12));
        prop::collection::vec((0..10_000_i64, points, state, any::<bool>()), 0..40)
    }

    proptest! {
        #[test]
        fn an_alarm_changes_by_its_commands_alone(
            happenings in happenings(),
            period_s in prop::sample::select(vec![0, 10, 30, 60, 3_600, u32::MAX]),
            n in prop::sample::select(vec![0, 1, 3, 5, u32::MAX]),
            m in prop::option::of(prop::sample::select(vec![0, 1, 2, 9])),
            missing in prop::sample::select(vec![
                Missing::Missing, Missing::Ignore, Missing::Breaching, Missing::NotBreaching,
            ]),
        ) {
            let mut alarm = alarm(missing);
            alarm.condition.period_s = period_s;
            alarm.condition.evaluation_periods = n;
            alarm.condition.datapoints_to_alarm = m;
            for (secs, points, state, are_enabled) in happenings {
                alarm.actions.are_enabled = are_enabled;
                let now = at(secs);
                let point = |(ago, value): (i64, f64)| Datapoint { at: at(secs + ago), value, sample_count: 1.0 };
                let event = match points {
                    Some(points) => Event::Evaluate { points: points.into_iter().map(point).collect() },
                    None => set(state),
                };
                let before = alarm.clone();
                let commands = alarm.step(now, event);
                prop_assert_eq!(&before, &alarm);
                let acts = commands.iter().filter(|command| matches!(command, Command::Act { .. })).count();
                match &commands[..] {
                    [] => {}
                    [Command::Become(standing), Command::Record(item), ..] => {
                        prop_assert_ne!(standing.state, before.standing.state);
                        prop_assert_eq!((standing.updated, item.at), (now, now));
                        let due = if are_enabled { alarm.actions.of(standing.state).len() } else { 0 };
                        prop_assert_eq!(acts, due);
                        prop_assert_eq!(commands.len(), 2 + acts);
                        alarm.standing = standing.clone();
                    }
                    other => prop_assert!(false, "{:?}", other),
                }
                prop_assert!(alarm.condition.next_evaluation(now) > now);
            }
        }
    }
}
