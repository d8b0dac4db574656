//! Alarms: what state one is in, and what follows when that changes.
//!
//! A shell reads an alarm and calls [`metric::Alarm::step`] or [`composite::Alarm::step`] with what happened: an
//! evaluation is due (`next_evaluation`, `next_wakeup`), SetAlarmState was called, another alarm changed. It writes the
//! commands' states and history in one commit, and carries out the actions after it. What became of an action is told
//! by [`history::Item::action`].
//!
//! | file | concept |
//! |---|---|
//! | `metric` | alarms on a metric or an expression |
//! | `evaluate` | which state a metric's datapoints mean |
//! | `reason` | AWS's words for that, and its JSON |
//! | `rule` | the rule of a composite alarm: parsed and evaluated |
//! | `composite` | alarms on alarms, and what suppresses their actions |
//! | `history` | what DescribeAlarmHistory tells |
//!
//! **Invariants.** A step changes nothing: the alarm's state is what [`Command::Become`] said last. There is one item
//! of history for each change of state. Actions follow a change of state only, and none does while they are disabled.

pub mod composite;
pub mod evaluate;
pub mod history;
pub mod metric;
pub mod reason;
pub mod rule;

use base::Timestamp;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    Ok,
    Alarm,
    InsufficientData,
}

/// What an alarm is, and since when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    pub state: State,
    /// `StateReason`.
    pub reason: String,
    /// `StateReasonData`: JSON, absent until it was evaluated.
    pub reason_data: Option<String>,
    /// `StateUpdatedTimestamp`.
    pub updated: Timestamp,
    /// `StateTransitionedTimestamp`.
    pub transitioned: Timestamp,
    /// Why the actions of this state have not been taken yet. Only composite alarms wait.
    pub suppressed: Option<composite::Suppression>,
}

/// What is done in each state, as ARNs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Actions {
    /// `ActionsEnabled`.
    pub are_enabled: bool,
    pub ok: Vec<String>,
    pub alarm: Vec<String>,
    pub insufficient_data: Vec<String>,
}

/// SetAlarmState.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    pub state: State,
    pub reason: String,
    pub reason_data: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// The alarm is this from now on.
    Become(Standing),
    Record(history::Item),
    /// Tell the target that the alarm is what `Become` said.
    Act {
        action: String,
    },
}

impl State {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ok => "OK",
            Self::Alarm => "ALARM",
            Self::InsufficientData => "INSUFFICIENT_DATA",
        }
    }

    pub fn parse(name: &str) -> Option<State> {
        [Self::Ok, Self::Alarm, Self::InsufficientData].into_iter().find(|state| state.name() == name)
    }
}

impl Standing {
    /// Of an alarm that is new.
    pub fn new(now: Timestamp) -> Standing {
        Standing {
            state: State::InsufficientData,
            reason: "Unchecked: Initial alarm creation".to_owned(),
            reason_data: None,
            updated: now,
            transitioned: now,
            suppressed: None,
        }
    }

    /// What it is after a setting or an evaluation has changed its state.
    fn changed(now: Timestamp, to: Setting) -> Standing {
        let Setting { state, reason, reason_data } = to;
        Standing { state, reason, reason_data, updated: now, transitioned: now, suppressed: None }
    }
}

impl Actions {
    pub fn of(&self, state: State) -> &[String] {
        match state {
            State::Ok => &self.ok,
            State::Alarm => &self.alarm,
            State::InsufficientData => &self.insufficient_data,
        }
    }

    fn commands(&self, state: State) -> impl Iterator<Item = Command> {
        let actions = if self.are_enabled { self.of(state) } else { &[] };
        actions.iter().map(|action| Command::Act { action: action.clone() })
    }
}

/// The one place where states change.
fn change(now: Timestamp, from: &Standing, to: Standing, actions: &Actions) -> Vec<Command> {
    let record = Command::Record(history::Item::state_update(now, from, &to));
    let acts: Vec<Command> = match to.suppressed {
        Some(_) => Vec::new(),
        None => actions.commands(to.state).collect(),
    };
    [Command::Become(to), record].into_iter().chain(acts).collect()
}
