use proptest::prelude::*;
use proptest::sample::select;

use super::*;

/// What a query is made of; numbers have exact sums.
fn query() -> impl Strategy<Value = String> {
    let filter = select(vec![
        "fields n",
        "filter n > 3",
        "filter ispresent(k)",
        "filter k like /a|b/",
        "fields n * 2 as m",
        r#"parse @message "k*n" as p"#,
        "unnest jsonParse(@message).l into e",
    ]);
    let cut = select(vec![
        "limit 5",
        "sort n | limit 4",
        "sort k desc, n | tail 3",
        "sort n desc | dedup k",
        "dedup k, n | limit 3",
        "fields @timestamp",
        "stats count(*) as c, sum(n) as s, avg(n), min(n), max(n), pct(n, 75), count_distinct(n) by k",
        "stats latest(n) as a, earliest(k) as b, stddev(0) as d, values(k) by bin(1s)",
        "stats sum(n) as s by k, bin(1s) as t | stats max(s) as m, count(*) as c by t",
        "limit 6 | filter n < 5 | stats count(*) as c, sum(n) by k | sort c desc, k",
    ]);
    (prop::collection::vec(filter, 0..3), cut).prop_map(|(mut commands, cut)| {
        commands.sort_unstable();
        commands.dedup();
        commands.push(cut);
        commands.join(" | ")
    })
}

fn messages() -> impl Strategy<Value = Vec<(i64, String)>> {
    let field = |name: &'static str, values: &[&'static str]| {
        prop::option::of(select(values.to_vec()))
            .prop_map(move |value| value.map(|value| format!(r#""{name}":{value}"#)))
    };
    let message = (
        field("k", &[r#""a""#, r#""b""#, r#""abc""#, r#""xabcx""#, "12"]),
        field("n", &["1", "2", "3", "4", "5.5", "7"]),
        field("l", &["[1,2]", "[]", r#"["x",{"k":2},3]"#]),
    );
    let message =
        message.prop_map(|(k, n, l)| format!("{{{}}}", [k, n, l].into_iter().flatten().collect::<Vec<_>>().join(",")));
    prop::collection::vec((0..3_000_i64, message), 0..60)
}

fn pushed(query: &Arc<Query>, limits: Limits, events: &[Event<'_>]) -> Run {
    let mut run = Run::new(Arc::clone(query), WINDOW, limits);
    events.iter().for_each(|event| run.push(event));
    run
}

fn events(messages: &[(i64, String)]) -> Vec<Event<'_>> {
    (0..)
        .zip(messages)
        .map(|(pointer, (time, message))| Event { message, timestamp_ms: START + time, pointer, ..app()[0] })
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn runs_merge_to_what_one_run_says(
        text in query(),
        messages in messages(),
        parts in prop::collection::vec(0..3_usize, 60),
        rows_max in 1..20_usize,
        groups_max in 1..8_usize,
    ) {
        let query = Arc::new(Query::parse(&text).unwrap());
        let limits = Limits { rows_max, groups_max, ..LIMITS };
        let events = events(&messages);
        let whole = pushed(&query, limits, &events).finish();
        let part = |part: usize| {
            let those = events.iter().zip(&parts).filter(|(_, of)| **of == part).map(|(event, _)| *event);
            pushed(&query, limits, &those.rev().collect::<Vec<_>>())
        };
        let mut run = part(2);
        run.merge(part(0));
        run.merge(part(1));
        prop_assert_eq!(run.finish(), whole, "{}", text);
    }

    #[test]
    fn parts_of_a_run_merge_to_what_it_would_say_alone(
        text in query(),
        messages in messages(),
        length in 1..9_usize,
        behind in 0..4_usize,
        rows_max in 1..20_usize,
        groups_max in 1..8_usize,
    ) {
        let query = Arc::new(Query::parse(&text).unwrap());
        let limits = Limits { rows_max, groups_max, ..LIMITS };
        let events = events(&messages);
        let mut run = Run::new(Arc::clone(&query), WINDOW, limits);
        // Some parts begin before those in front of them are merged.
        let mut parts = std::collections::VecDeque::new();
        for some in events.chunks(length) {
            let mut part = run.part();
            some.iter().for_each(|event| part.push(event));
            parts.push_back(part);
            if parts.len() > behind {
                run.merge(parts.pop_front().unwrap());
            }
        }
        parts.into_iter().for_each(|part| run.merge(part));
        prop_assert_eq!(run.finish(), pushed(&query, limits, &events).finish(), "{}", text);
    }

    #[test]
    fn a_needle_is_in_all_that_matches(
        messages in messages(),
        field in select(vec!["@message", "k"]),
        text in select(vec!["abc", "xabcx", "abcx", "\"abc\"", "k\":\"abc", "12", "zzz"]),
    ) {
        let events = events(&messages);
        for filter in [format!("filter {field} like {text:?}"), format!("filter {field} = {text:?}")] {
            let query = Arc::new(Query::parse(&filter).unwrap());
            let is_there = |event: &&Event<'_>| query.needle().is_none_or(|needle| event.message.contains(&needle.text));
            let those: Vec<Event<'_>> = events.iter().filter(is_there).copied().collect();
            prop_assert_eq!(
                pushed(&query, LIMITS, &those).finish().matched,
                pushed(&query, LIMITS, &events).finish().matched
            );
        }
    }

    #[test]
    fn the_first_rows_are_those_of_a_sorted_log(messages in messages(), limit in 1..9_usize) {
        let text = format!("fields n | sort n | limit {limit}");
        let events = events(&messages);
        let query = Arc::new(Query::parse(&text).unwrap());
        let rows = pushed(&query, LIMITS, &events).finish().rows;
        let shown: Vec<String> = rows.iter().map(|row| if row.len() > 1 { row[0].1.clone() } else { "-".into() }).collect();
        let number = |message: &str| -> Option<String> {
            let json: serde_json::Value = serde_json::from_str(message).unwrap();
            json.get("n").map(ToString::to_string)
        };
        let mut expected: Vec<String> =
            messages.iter().map(|(_, message)| number(message).unwrap_or_else(|| "-".into())).collect();
        // Digits sort as texts, and the sign for a missing one comes last here, too.
        expected.sort_by_key(|text| if text == "-" { "9".to_owned() } else { text.clone() });
        expected.truncate(limit);
        prop_assert_eq!(shown, expected);
    }

    #[test]
    fn counts_are_those_of_a_naive_count(messages in messages()) {
        let events = events(&messages);
        let query = Arc::new(Query::parse("stats count(*) as c, sum(n) as s by k").unwrap());
        let mut expected: std::collections::BTreeMap<Option<String>, (u32, f64, bool)> = Default::default();
        for (_, message) in &messages {
            let json: serde_json::Value = serde_json::from_str(message).unwrap();
            let key = json.get("k").map(|key| key.as_str().map_or_else(|| key.to_string(), str::to_owned));
            let group = expected.entry(key).or_default();
            let number = json.get("n").and_then(serde_json::Value::as_f64);
            *group = (group.0 + 1, group.1 + number.unwrap_or(0.0), group.2 || number.is_some());
        }
        let find = |row: &[(String, String)], name: &str| {
            row.iter().find(|(cell, _)| cell == name).map(|(_, value)| value.clone())
        };
        let rows = pushed(&query, LIMITS, &events).finish().rows;
        prop_assert_eq!(rows.len(), expected.len());
        for row in rows {
            let (count, sum, has_sum) = expected[&find(&row, "k")];
            prop_assert_eq!(find(&row, "c"), Some(count.to_string()));
            prop_assert_eq!(find(&row, "s"), has_sum.then(|| sum.to_string()));
        }
    }

    #[test]
    fn no_text_harms_the_parser(
        words in prop::collection::vec(select(vec![
            "fields", "filter", "stats", "sort", "limit", "parse", "dedup", "unnest", "display", "by", "as", "into", "and",
            "or", "not", "like", "in", "bin", "count", "avg", "pct", "(", ")", "[", "]", ",", "|", "|", "=", "-", "*", "/",
            "^", ".", "5m", "1", "2.5", "a", "b.c", "@message", "`x y`", "\"s*\"", "'q", "/r(?<n>.)/", "#", "\n", "é", "now",
            "jsonParse", "offset", "multi", "desc", "concat", "regexReplace",
        ]), 0..40),
        raw in any::<String>(),
    ) {
        let text = words.join(" ");
        for text in [text, raw.clone(), format!("fields {raw}"), format!("filter a like /{raw}/")] {
            match Query::parse(&text) {
                Ok(query) => {
                    let answer = pushed(&Arc::new(query), LIMITS, &app()).finish();
                    prop_assert!(answer.matched <= 5);
                }
                Err(refused) => prop_assert!(refused.start <= refused.end && refused.end <= text.chars().count()),
            }
        }
    }

    #[test]
    fn no_message_harms_a_query(message in "[A-Z:{}\\[\\]\",.0-9a-c\t ]{0,80}") {
        let event = Event { message: &message, ..lambda()[0] };
        let query = Query::parse("fields a, @type, @duration, jsonParse(@message).a[0] as x | filter b = 1 or 1 = 1").unwrap();
        prop_assert_eq!(pushed(&Arc::new(query), LIMITS, &[event]).finish().rows.len(), 1);
        discover::all(&event);
    }
}
