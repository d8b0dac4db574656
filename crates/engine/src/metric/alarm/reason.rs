//! Why a metric alarm is in its state: `StateReason` in AWS's words, and `StateReasonData` as its JSON.
//!
//! With an explicit `DatapointsToAlarm` the words tell M and N, else how many points crossed; five points and more are
//! told by the newest five. The forms where some points are missing are those that AWS's customers quote.

use std::time::Duration;

use base::Timestamp;
use serde_json::{Map, Value, json};
use time::OffsetDateTime;
use time::format_description::FormatItem;
use time::macros::format_description;

use super::super::number;
use super::State;
use super::evaluate::{Condition, Datapoint, Evaluated, Missing, Operator};

/// So many points and more are not told within the sentence; so many are told behind it.
const RECENT: usize = 5;

/// Of the JSON's lists, which would be longer than `StateReasonData` may be.
const LISTED_MAX: usize = 25;

const MOMENT: &[FormatItem<'_>] = format_description!("[day]/[month]/[year repr:last_two] [hour]:[minute]:[second]");

/// What an alarm reads, as its JSON names it. Alarms on expressions have neither.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Source {
    pub statistic: Option<String>,
    pub unit: Option<String>,
}

/// `StateReason` of a state that the evaluation gave.
pub fn text(condition: &Condition, state: State, evaluated: &Evaluated) -> String {
    let Evaluated { points, missing } = evaluated;
    if state == State::InsufficientData {
        return format!("Insufficient Data: {} unknown.", were(*missing, "datapoint"));
    }
    let crossed: Vec<&Datapoint> = match state {
        State::Alarm => condition.breaching(evaluated).collect(),
        _ => condition.good(evaluated).collect(),
    };
    let treated = match condition.missing {
        Missing::Breaching if *missing > 0 => format!(" and {} treated as [Breaching]", missing_were(*missing)),
        Missing::NotBreaching if *missing > 0 => {
            format!(" and {} treated as [NonBreaching]", missing_were(*missing))
        }
        _ => String::new(),
    };
    if !crossed.is_empty() {
        let sentence = sentence(condition, state, &crossed);
        return format!("Threshold Crossed: {sentence}{treated}{}.", minimum(condition, state));
    }
    let received = match points.len() {
        0 => "no datapoints were".to_owned(),
        count => were(u32::try_from(count).unwrap_or(u32::MAX), "datapoint"),
    };
    format!("Threshold Crossed: {received} received for {}{treated}.", count(condition.n(), "period"))
}

/// `StateReasonData`.
pub fn data(now: Timestamp, condition: &Condition, source: &Source, evaluated: &Evaluated) -> String {
    let mut data = Map::new();
    let mut put = |member: &str, value: Value| {
        data.insert(member.to_owned(), value);
    };
    put("version", json!("1.0"));
    put("queryDate", json!(now.lambda()));
    if let Some((_, oldest)) = evaluated.points.last() {
        put("startDate", json!(oldest.at.lambda()));
    }
    if let Some(unit) = &source.unit {
        put("unit", json!(unit));
    }
    if let Some(statistic) = &source.statistic {
        put("statistic", json!(statistic));
    }
    put("period", json!(condition.period_s));
    let recent: Vec<f64> = evaluated.points.iter().take(LISTED_MAX).map(|(_, point)| point.value).rev().collect();
    put("recentDatapoints", json!(recent));
    put("threshold", json!(condition.threshold));
    put("evaluatedDatapoints", listed(now, condition, source, evaluated));
    Value::Object(data).to_string()
}

/// Every period that was evaluated, the newest first. Of a missing one there is only the time.
fn listed(now: Timestamp, condition: &Condition, source: &Source, evaluated: &Evaluated) -> Value {
    let range = condition.range(now);
    let period = Duration::from_secs(u64::from(condition.period_s.max(1)));
    let mut points = evaluated.points.iter().peekable();
    let mut missing = evaluated.missing;
    let mut listed = Vec::new();
    for age in 1..=range.periods {
        if listed.len() >= LISTED_MAX {
            break;
        }
        if let Some((_, point)) = points.next_if(|(of, _)| *of <= age) {
            let mut told = Map::new();
            told.insert("timestamp".to_owned(), json!(point.at.lambda()));
            if source.statistic.is_some() {
                told.insert("sampleCount".to_owned(), json!(point.sample_count));
            }
            told.insert("value".to_owned(), json!(point.value));
            listed.push(Value::Object(told));
        } else if missing > 0 {
            missing = missing.saturating_sub(1);
            listed.push(json!({ "timestamp": range.end.minus(period.saturating_mul(age)).lambda() }));
        }
    }
    Value::Array(listed)
}

/// `2 datapoints [21.5 (03/01/24 11:36:00), ..] were greater than the threshold (21.0)`, the newest first.
fn sentence(condition: &Condition, state: State, crossed: &[&Datapoint]) -> String {
    let total = u32::try_from(crossed.len()).unwrap_or(u32::MAX);
    let subject = match condition.datapoints_to_alarm {
        Some(_) => format!("{total} out of the last {} datapoints", condition.n()),
        None => count(total, "datapoint"),
    };
    let points: Vec<String> = crossed.iter().take(RECENT).map(|point| shown(point)).collect();
    let points = format!("[{}]", points.join(", "));
    let verb = if total == 1 { "was" } else { "were" };
    let not = if state == State::Alarm { "" } else { "not " };
    let relation = match condition.operator {
        Operator::GreaterThan => "greater than",
        Operator::GreaterThanOrEqualTo => "greater than or equal to",
        Operator::LessThan => "less than",
        Operator::LessThanOrEqualTo => "less than or equal to",
    };
    let compared = format!("{verb} {not}{relation} the threshold ({})", number::java(condition.threshold));
    if crossed.len() < RECENT {
        return format!("{subject} {points} {compared}");
    }
    let which = if state == State::Alarm { " which crossed the threshold" } else { "" };
    format!("{subject} {compared}. The most recent datapoints{which}: {points}")
}

/// `(minimum 1 datapoint for OK -> ALARM transition)`, where M was said.
fn minimum(condition: &Condition, state: State) -> String {
    let needed = match (condition.datapoints_to_alarm, state) {
        (None, _) => return String::new(),
        (Some(_), State::Alarm) => (condition.m(), "OK -> ALARM"),
        (Some(_), _) => (condition.n().saturating_sub(condition.m()).saturating_add(1), "ALARM -> OK"),
    };
    format!(" (minimum {} for {} transition)", count(needed.0, "datapoint"), needed.1)
}

fn shown(point: &Datapoint) -> String {
    let moment = OffsetDateTime::from_unix_timestamp(point.at.as_secs()).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    format!("{} ({})", number::java(point.value), moment.format(MOMENT).unwrap_or_default())
}

fn count(number: u32, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

fn were(number: u32, noun: &str) -> String {
    format!("{} {}", count(number, noun), if number == 1 { "was" } else { "were" })
}

fn missing_were(number: u32) -> String {
    were(number, "missing datapoint")
}

#[cfg(test)]
mod tests {
    use super::super::evaluate::tests::{NOW, condition, points};
    use super::*;

    fn now() -> Timestamp {
        Timestamp::from_secs(NOW)
    }

    fn told(condition: &Condition, drawn: &str) -> String {
        let evaluated = condition.evaluated(now(), &points(condition, drawn));
        text(condition, condition.verdict(&evaluated).unwrap(), &evaluated)
    }

    fn unsaid(n: u32, missing: Missing) -> Condition {
        Condition { datapoints_to_alarm: None, ..condition(n, n, missing) }
    }

    #[test]
    fn points_that_crossed_are_told() {
        let mut one = unsaid(1, Missing::Ignore);
        one.threshold = 21.0;
        let point =
            Datapoint { at: Timestamp::parse_iso8601("2024-01-03T11:35:00Z").unwrap(), value: 21.5, sample_count: 2.0 };
        let evaluated = one.evaluated(now(), &[point]);
        assert_eq!(
            text(&one, State::Alarm, &evaluated),
            "Threshold Crossed: 1 datapoint [21.5 (03/01/24 11:35:00)] was greater than the threshold (21.0)."
        );
        one.datapoints_to_alarm = Some(1);
        assert_eq!(
            text(&one, State::Alarm, &evaluated),
            "Threshold Crossed: 1 out of the last 1 datapoints [21.5 (03/01/24 11:35:00)] was greater than the \
             threshold (21.0) (minimum 1 datapoint for OK -> ALARM transition)."
        );
        assert_eq!(
            told(&condition(3, 5, Missing::Missing), "0x0x0"),
            "Threshold Crossed: 3 out of the last 5 datapoints [0.0 (03/01/24 11:35:00), 0.0 (03/01/24 11:33:00), 0.0 \
             (03/01/24 11:31:00)] were not greater than the threshold (0.5) (minimum 3 datapoints for ALARM -> OK \
             transition)."
        );
    }

    #[test]
    fn many_points_are_told_by_the_newest() {
        let newest = "1.0 (03/01/24 11:35:00), 1.0 (03/01/24 11:34:00), 1.0 (03/01/24 11:33:00), 1.0 (03/01/24 \
                      11:32:00), 1.0 (03/01/24 11:31:00)";
        assert_eq!(
            told(&condition(6, 6, Missing::Missing), "xxxxxx"),
            format!(
                "Threshold Crossed: 6 out of the last 6 datapoints were greater than the threshold (0.5). The most \
                 recent datapoints which crossed the threshold: [{newest}] (minimum 6 datapoints for OK -> ALARM \
                 transition)."
            )
        );
        let mut low = unsaid(5, Missing::Missing);
        low.threshold = 2e9;
        assert_eq!(
            told(&low, "xxxxx"),
            format!(
                "Threshold Crossed: 5 datapoints were not greater than the threshold (2.0E9). The most recent \
                 datapoints: [{newest}]."
            )
        );
    }

    #[test]
    fn missing_points_are_told_as_they_were_treated() {
        let table = [
            (
                unsaid(2, Missing::Breaching),
                "----",
                "Threshold Crossed: no datapoints were received for 2 periods and \
              2 missing datapoints were treated as [Breaching].",
            ),
            (
                unsaid(1, Missing::NotBreaching),
                "---",
                "Threshold Crossed: no datapoints were received for 1 period and \
              1 missing datapoint was treated as [NonBreaching].",
            ),
            (
                unsaid(2, Missing::Breaching),
                "---0",
                "Threshold Crossed: 1 datapoint [0.0 (03/01/24 11:35:00)] was not \
              greater than the threshold (0.5) and 1 missing datapoint was treated as [Breaching].",
            ),
            (
                condition(2, 3, Missing::Breaching),
                "----0",
                "Threshold Crossed: 1 datapoint was received for 3 periods \
              and 2 missing datapoints were treated as [Breaching].",
            ),
            (unsaid(1, Missing::Missing), "---", "Insufficient Data: 1 datapoint was unknown."),
            (unsaid(3, Missing::Missing), "----x", "Insufficient Data: 2 datapoints were unknown."),
        ];
        for (condition, drawn, expected) in table {
            assert_eq!(told(&condition, drawn), expected);
        }
    }

    #[test]
    fn the_json_is_awss() {
        let source = Source { statistic: Some("Average".to_owned()), unit: Some("Seconds".to_owned()) };
        let two = unsaid(2, Missing::Breaching);
        let of = |drawn: &str, source: &Source| data(now(), &two, source, &two.evaluated(now(), &points(&two, drawn)));
        assert_eq!(
            of("0x", &source),
            concat!(
                r#"{"version":"1.0","queryDate":"2024-01-03T11:36:20.000+0000","#,
                r#""startDate":"2024-01-03T11:34:00.000+0000","unit":"Seconds","statistic":"Average","period":60,"#,
                r#""recentDatapoints":[0.0,1.0],"threshold":0.5,"evaluatedDatapoints":["#,
                r#"{"timestamp":"2024-01-03T11:35:00.000+0000","sampleCount":2.0,"value":1.0},"#,
                r#"{"timestamp":"2024-01-03T11:34:00.000+0000","sampleCount":2.0,"value":0.0}]}"#
            )
        );
        assert_eq!(
            of("x-", &Source::default()),
            concat!(
                r#"{"version":"1.0","queryDate":"2024-01-03T11:36:20.000+0000","#,
                r#""startDate":"2024-01-03T11:34:00.000+0000","period":60,"#,
                r#""recentDatapoints":[1.0],"threshold":0.5,"evaluatedDatapoints":["#,
                r#"{"timestamp":"2024-01-03T11:35:00.000+0000"},"#,
                r#"{"timestamp":"2024-01-03T11:34:00.000+0000","value":1.0}]}"#
            )
        );
        let nothing: Value = serde_json::from_str(&of("", &source)).unwrap();
        assert_eq!((nothing.get("startDate"), &nothing["recentDatapoints"]), (None, &json!([])));
        assert_eq!(nothing["evaluatedDatapoints"].as_array().unwrap().len(), 2);
    }

    #[test]
    fn the_json_stays_within_what_aws_keeps() {
        let long = Condition { threshold: -1.0, ..unsaid(8_640, Missing::Missing) };
        let mut points = points(&long, &"x".repeat(8_000));
        points.iter_mut().for_each(|point| point.value = 1e-100 / 3.0);
        let source = Source { statistic: Some("Average".to_owned()), unit: Some("Kilobytes/Second".to_owned()) };
        let data = data(now(), &long, &source, &long.evaluated(now(), &points));
        assert!(data.len() < 4_000, "{}", data.len());
        assert!(text(&long, State::Alarm, &long.evaluated(now(), &points)).len() < 1_024);
    }
}
