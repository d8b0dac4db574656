//! What DescribeAlarmHistory tells: an item for each change of an alarm's state or configuration, and for each action.

use base::Timestamp;
use serde_json::{Value, json};

use super::{Standing, State};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    pub at: Timestamp,
    pub kind: Kind,
    /// `HistorySummary`.
    pub summary: String,
    /// `HistoryData`: JSON.
    pub data: String,
}

/// `HistoryItemType`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    ConfigurationUpdate,
    StateUpdate,
    Action,
}

/// What was done to an alarm.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    Created,
    Updated,
    Deleted,
}

/// What became of an action.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// What was published, if the target is told by a message.
    Succeeded {
        message: Option<String>,
    },
    Failed {
        error: String,
    },
}

const VERSION: &str = "1.0";

impl Kind {
    pub const fn name(self) -> &'static str {
        match self {
            Self::ConfigurationUpdate => "ConfigurationUpdate",
            Self::StateUpdate => "StateUpdate",
            Self::Action => "Action",
        }
    }
}

impl Item {
    pub(super) fn state_update(at: Timestamp, from: &Standing, to: &Standing) -> Item {
        Item {
            at,
            kind: Kind::StateUpdate,
            summary: format!("Alarm updated from {} to {}", from.state.name(), to.state.name()),
            data: json!({ "version": VERSION, "oldState": state(from), "newState": state(to) }).to_string(),
        }
    }

    /// `alarm` is its description in JSON, as AWS writes one into its history.
    pub fn configuration(at: Timestamp, name: &str, change: Change, alarm: Value) -> Item {
        let (done, kind, member) = match change {
            Change::Created => ("created", "Create", "createdAlarm"),
            Change::Updated => ("updated", "Update", "updatedAlarm"),
            Change::Deleted => ("deleted", "Delete", "deletedAlarm"),
        };
        Item {
            at,
            kind: Kind::ConfigurationUpdate,
            summary: format!("Alarm \"{name}\" {done}"),
            data: json!({ "version": VERSION, "type": kind, member: alarm }).to_string(),
        }
    }

    /// An action that followed the state that the alarm has had since `since`.
    pub fn action(at: Timestamp, since: Timestamp, action: &str, outcome: &Outcome) -> Item {
        let (is_done, message) = match outcome {
            Outcome::Succeeded { message } => ("Succeeded", message.as_deref()),
            Outcome::Failed { .. } => ("Failed", None),
        };
        let mut data = json!({
            "actionState": is_done,
            "stateUpdateTimestamp": since.as_millis(),
            "notificationResource": action,
            "publishedMessage": message,
        });
        let summary = match outcome {
            Outcome::Succeeded { .. } => format!("Successfully executed action {action}"),
            Outcome::Failed { error } => {
                if let Some(data) = data.as_object_mut() {
                    data.insert("error".to_owned(), json!(error));
                }
                format!("Failed to execute action {action}. Received error: \"{error}\"")
            }
        };
        Item { at, kind: Kind::Action, summary, data: data.to_string() }
    }
}

fn state(standing: &Standing) -> Value {
    let Standing { state, reason, reason_data, .. } = standing;
    let mut told = json!({ "stateValue": State::name(*state), "stateReason": reason });
    // It is JSON: SetAlarmState refuses all else, and what evaluations write is ours.
    let data = reason_data.as_deref().and_then(|data| serde_json::from_str::<Value>(data).ok());
    if let (Some(told), Some(data)) = (told.as_object_mut(), data) {
        told.insert("stateReasonData".to_owned(), data);
    }
    told
}

#[cfg(test)]
mod tests {
    use super::*;

    fn standing(state: State, reason_data: Option<&str>) -> Standing {
        let reason_data = reason_data.map(str::to_owned);
        Standing { state, reason: "why".to_owned(), reason_data, ..Standing::new(Timestamp::from_secs(0)) }
    }

    #[test]
    fn a_change_of_state_is_told_with_both_states() {
        let data = r#"{"version":"1.0","threshold":21.0}"#;
        let (from, to) = (standing(State::InsufficientData, None), standing(State::Alarm, Some(data)));
        let item = Item::state_update(Timestamp::from_secs(9), &from, &to);
        assert_eq!(
            (item.kind.name(), item.summary.as_str()),
            ("StateUpdate", "Alarm updated from INSUFFICIENT_DATA to ALARM")
        );
        assert_eq!(
            item.data,
            r#"{"version":"1.0","oldState":{"stateValue":"INSUFFICIENT_DATA","stateReason":"why"},"newState":{"stateValue":"ALARM","stateReason":"why","stateReasonData":{"version":"1.0","threshold":21.0}}}"#
        );
    }

    #[test]
    fn a_change_of_configuration_names_the_alarm() {
        let table = [
            (Change::Created, r#"Alarm "a" created"#, r#"{"version":"1.0","type":"Create","createdAlarm":{"x":1}}"#),
            (Change::Updated, r#"Alarm "a" updated"#, r#"{"version":"1.0","type":"Update","updatedAlarm":{"x":1}}"#),
            (Change::Deleted, r#"Alarm "a" deleted"#, r#"{"version":"1.0","type":"Delete","deletedAlarm":{"x":1}}"#),
        ];
        for (change, summary, data) in table {
            let item = Item::configuration(Timestamp::from_secs(9), "a", change, json!({ "x": 1 }));
            assert_eq!((item.summary.as_str(), item.data.as_str()), (summary, data));
        }
    }

    #[test]
    fn an_action_is_told_with_its_outcome() {
        let told = |outcome| Item::action(Timestamp::from_secs(9), Timestamp::from_millis(8_500), "arn:x", &outcome);
        let done = told(Outcome::Succeeded { message: Some("hello".to_owned()) });
        assert_eq!(done.summary, "Successfully executed action arn:x");
        assert_eq!(
            done.data,
            r#"{"actionState":"Succeeded","stateUpdateTimestamp":8500,"notificationResource":"arn:x","publishedMessage":"hello"}"#
        );
        let failed = told(Outcome::Failed { error: "denied".to_owned() });
        assert_eq!(failed.summary, r#"Failed to execute action arn:x. Received error: "denied""#);
        assert_eq!(
            failed.data,
            r#"{"actionState":"Failed","stateUpdateTimestamp":8500,"notificationResource":"arn:x","publishedMessage":null,"error":"denied"}"#
        );
    }
}
