//! Whatever pattern and message: matchers that follow the rules by brute force agree.

use proptest::prelude::*;
use proptest::sample::Index;
use serde_json::{Map, Value};

use super::*;

/// Whether a text fits a pattern with stars.
fn fits(pattern: &[char], text: &[char]) -> bool {
    match pattern.split_first() {
        None => text.is_empty(),
        Some(('*', rest)) => (0..=text.len()).any(|taken| fits(rest, &text[taken..])),
        Some((c, rest)) => text.first() == Some(c) && fits(rest, &text[1..]),
    }
}

fn fits_text(pattern: &str, text: &str) -> bool {
    fits(&pattern.chars().collect::<Vec<_>>(), &text.chars().collect::<Vec<_>>())
}

#[derive(Debug, Clone)]
struct Term {
    sign: &'static str,
    text: String,
    is_quoted: bool,
}

fn terms() -> impl Strategy<Value = Vec<Term>> {
    let text = prop_oneof![("[abA]{1,2}", Just(false)), ("[abA ]{1,3}", Just(true))];
    let sign = prop_oneof![Just(""), Just("-"), Just("?")];
    let term = (sign, text).prop_map(|(sign, (text, is_quoted))| Term { sign, text, is_quoted });
    prop::collection::vec(term, 1..5)
}

fn terms_match(terms: &[Term], message: &str) -> bool {
    let occurs = |term: &&Term| term.text.trim().is_empty() || message.contains(&term.text);
    let signed = |sign: &'static str| terms.iter().filter(move |term| term.sign == sign);
    if terms.iter().all(|term| term.sign == "?") {
        return signed("?").any(|term| occurs(&term));
    }
    signed("").all(|term| occurs(&term)) && !signed("-").any(|term| occurs(&term))
}

#[derive(Debug, Clone)]
enum Column {
    Unnamed,
    Named,
    Rest,
    Like { value: String, is_equal: bool },
    Above(u8),
}

impl Column {
    fn holds(&self, field: &str) -> bool {
        match self {
            Column::Unnamed | Column::Named | Column::Rest => true,
            Column::Like { value, is_equal } => fits_text(value, field) == *is_equal,
            Column::Above(least) => field.parse::<f64>().is_ok_and(|field| field > f64::from(*least)),
        }
    }

    fn write(&self, index: usize) -> String {
        match self {
            Column::Unnamed => String::new(),
            Column::Named => format!("c{index}"),
            Column::Rest => "...".into(),
            Column::Like { value, is_equal: true } => format!("c{index}=\"{value}\""),
            Column::Like { value, is_equal: false } => format!(" (c{index} != \"{value}\" ) "),
            Column::Above(least) => format!("c{index} > {least}"),
        }
    }
}

/// One `...` at most.
fn columns() -> impl Strategy<Value = Vec<Column>> {
    let column = prop_oneof![
        Just(Column::Unnamed),
        Just(Column::Named),
        ("[ab1*]{0,3}", any::<bool>()).prop_map(|(value, is_equal)| Column::Like { value, is_equal }),
        (0..12_u8).prop_map(Column::Above),
    ];
    let rest = prop::option::of(any::<Index>());
    (prop::collection::vec(column, 1..4), rest).prop_map(|(mut columns, rest)| {
        if let Some(place) = rest {
            columns.insert(place.index(columns.len() + 1), Column::Rest);
        }
        columns
    })
}

/// A field as it is written, and what it holds.
fn field() -> impl Strategy<Value = (String, String)> {
    prop_oneof![
        "[ab1]{1,3}".prop_map(|text| (text.clone(), text)),
        "[ab1 ]{0,3}".prop_map(|text| (format!("\"{text}\""), text)),
        "[ab1 ]{0,3}".prop_map(|text| (format!("[{text}]"), text)),
    ]
}

fn columns_match(columns: &[Column], fields: &[&str]) -> bool {
    match columns.split_first() {
        None => fields.is_empty(),
        Some((Column::Rest, behind)) => (0..=fields.len()).any(|taken| columns_match(behind, &fields[taken..])),
        Some((column, behind)) => {
            fields.split_first().is_some_and(|(field, rest)| column.holds(field) && columns_match(behind, rest))
        }
    }
}

fn value() -> impl Strategy<Value = Value> {
    let scalar = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (0..10_i64).prop_map(Value::from),
        "[ab\"/\\\\\né😀 ]{0,3}".prop_map(Value::from),
    ];
    let value = scalar.prop_recursive(3, 12, 3, |inner| {
        let object = prop::collection::vec((name(), inner.clone()), 0..3);
        prop_oneof![
            prop::collection::vec(inner, 0..3).prop_map(Value::from),
            object.prop_map(|fields| Value::Object(Map::from_iter(fields))),
        ]
    });
    value.prop_filter("only objects and arrays are messages", |value| value.is_object() || value.is_array())
}

fn name() -> impl Strategy<Value = String> {
    prop_oneof![Just("a"), Just("b"), Just("a.b"), Just("é/")].prop_map(str::to_owned)
}

/// JSON with spaces, and every character by its number if so wished.
fn spell(value: &Value, by_number: bool) -> String {
    let text = |text: &str| match by_number {
        true => format!("\"{}\"", text.encode_utf16().map(|unit| format!("\\u{unit:04x}")).collect::<String>()),
        false => Value::from(text).to_string(),
    };
    match value {
        Value::Array(items) => {
            let items: Vec<_> = items.iter().map(|item| spell(item, by_number)).collect();
            format!("[ {} ]", items.join(" ,"))
        }
        Value::Object(fields) => {
            let fields: Vec<_> =
                fields.iter().map(|(name, value)| format!("{} : {}", text(name), spell(value, by_number))).collect();
            format!("{{{}\n}}", fields.join(", "))
        }
        Value::String(string) => text(string),
        other => other.to_string(),
    }
}

#[derive(Debug, Clone)]
enum Step {
    Name(String),
    Index(usize),
    AnyField,
    AnyElement,
}

/// One wildcard at most.
fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![3 => name().prop_map(Step::Name), 2 => (0..3_usize).prop_map(Step::Index)];
    let wildcard = prop_oneof![Just(Step::AnyField), Just(Step::AnyElement)];
    let wildcard = prop::option::of((any::<Index>(), wildcard));
    (prop::collection::vec(step, 1..3), wildcard).prop_map(|(mut steps, wildcard)| {
        if let Some((place, wildcard)) = wildcard {
            steps.insert(place.index(steps.len() + 1), wildcard);
        }
        steps
    })
}

fn write(steps: &[Step]) -> String {
    let step = |step: &Step| match step {
        Step::Name(name) if name.len() == 1 => format!(".{name}"),
        Step::Name(name) => format!(".['{name}']"),
        Step::Index(index) => format!("[{index}]"),
        Step::AnyField => ".*".into(),
        Step::AnyElement => "[*]".into(),
    };
    steps.iter().fold("$".into(), |text: String, it| text + &step(it))
}

fn resolve<'v>(value: &'v Value, steps: &[Step]) -> Vec<&'v Value> {
    let Some((step, rest)) = steps.split_first() else { return vec![value] };
    let inner: Vec<&Value> = match step {
        Step::Name(name) => value.get(name).into_iter().collect(),
        Step::Index(index) => value.get(index).into_iter().collect(),
        Step::AnyField => value.as_object().into_iter().flat_map(Map::values).collect(),
        Step::AnyElement => value.as_array().into_iter().flatten().collect(),
    };
    inner.into_iter().flat_map(|inner| resolve(inner, rest)).collect()
}

fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::Null | Value::Array(_) | Value::Object(_) => None,
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    }
}

const TOKENS: &[&str] = &[
    "{",
    "}",
    "[",
    "]",
    "$.a",
    "$",
    "=",
    "!=",
    ">",
    "\"x\"",
    "\"",
    "%a|b%",
    "%",
    "&&",
    "||",
    "(",
    ")",
    ",",
    "...",
    "a",
    "b",
    "-",
    "?",
    "4*",
    "1e3",
    " ",
    " ",
    "é",
    " IS NULL",
    " NOT EXISTS",
    "$.*",
    "$[0]",
    "\\",
    "'",
    "\\u0061",
    ":",
    "\"a\":",
    "1",
];

fn soup() -> impl Strategy<Value = String> {
    let tokens = prop::collection::vec(prop::sample::select(TOKENS), 0..14);
    tokens.prop_flat_map(|tokens| {
        let text = tokens.concat();
        let (json, columns) = (format!("{{{text}}}"), format!("[{text}]"));
        prop_oneof![Just(text), Just(json), Just(columns), ".{0,20}"]
    })
}

/// What is put behind a character, or instead of it if it is nothing. Too little to write numbers that are too large.
const EDITS: &[&str] =
    &["", "", "{", "}", "[", "]", "\"", ",", ":", "\\", "u", "0", "1", "e", ".", "-", "t", " ", "\n"];

/// Those that a caller finds who has all messages in one block.
fn found_in_block(filter: &Filter, messages: &[String]) -> Vec<usize> {
    let block = messages.concat();
    let ends: Vec<usize> = messages
        .iter()
        .scan(0, |end, message| {
            Some({
                *end += message.len();
                *end
            })
        })
        .collect();
    let mut candidates = filter.candidates(block.as_bytes());
    let (mut found, mut at) = (Vec::new(), 0);
    while let Some(place) = candidates.next_from(at) {
        let index = ends.partition_point(|end| *end <= place);
        assert!(place >= at && ends[index] > at, "further and further on");
        if filter.matches(&messages[index]) {
            found.push(index);
        }
        at = ends[index];
    }
    found
}

proptest! {
    #[test]
    fn terms_are_substrings(terms in terms(), message in "[abA ]{0,6}") {
        let written = |term: &Term| match term.is_quoted {
            true => format!("{}\"{}\"", term.sign, term.text),
            false => format!("{}{}", term.sign, term.text),
        };
        let pattern = terms.iter().map(written).collect::<Vec<_>>().join("  ");
        let filter = Filter::parse(&pattern).unwrap();
        prop_assert_eq!(filter.matches(&message), terms_match(&terms, &message), "{}", pattern);
    }

    #[test]
    fn columns_are_places(columns in columns(), fields in prop::collection::vec((field(), "[ \t]{1,2}"), 0..5)) {
        let written: Vec<_> = columns.iter().enumerate().map(|(index, column)| column.write(index)).collect();
        let pattern = format!("[{}]", written.join(","));
        // One column without a name is written as none at all, and that is another pattern.
        prop_assume!(!pattern.eq("[]"));
        let message: String = fields.iter().map(|((field, _), blank)| format!("{field}{blank}")).collect();
        let mut texts: Vec<&str> = fields.iter().map(|((_, text), _)| &**text).collect();
        let has_rest = columns.iter().any(|column| matches!(column, Column::Rest));
        let left: String = fields.iter().skip(columns.len() - 1).map(|((field, _), blank)| format!("{field}{blank}")).collect();
        if !has_rest && texts.len() > columns.len() {
            texts.truncate(columns.len() - 1);
            texts.push(left.trim_end());
        }
        let filter = Filter::parse(&pattern).unwrap();
        let expected = columns_match(&columns, &texts);
        prop_assert_eq!(filter.matches(&message), expected, "{} on {}", pattern, message);
        let extracted = filter.extract(&message).map(|fields| fields.into_iter().map(|(_, text)| text).collect::<Vec<_>>());
        prop_assert_eq!(extracted, expected.then(|| texts.iter().map(|text| (*text).to_owned()).collect()));
    }

    #[test]
    fn stars_are_any_run(pattern in "[ab*]{0,6}", text in "[ab]{0,8}") {
        prop_assert_eq!(comparison::Wildcard::new(&pattern).matches(&text), fits_text(&pattern, &text));
    }

    #[test]
    fn selectors_lead_where_they_say(value in value(), steps in steps(), by_number in any::<bool>()) {
        let (message, selector) = (spell(&value, by_number), write(&steps));
        let nodes = resolve(&value, &steps);
        let first = nodes.iter().find_map(|node| scalar(node));
        let pattern = format!("{{ {selector} = * || {selector} NOT EXISTS || {selector} IS NULL }}");
        let has_null = nodes.iter().any(|node| node.is_null());
        let expected = (first.is_some() || nodes.is_empty() || has_null)
            .then(|| first.iter().map(|text| (selector.clone(), text.clone())).collect::<Vec<_>>());
        prop_assert_eq!(Filter::parse(&pattern).unwrap().extract(&message), expected, "{} on {}", pattern, message);
        if let Some(text) = first.filter(|text| !text.contains(['"', '\\', '\n'])) {
            let filter = Filter::parse(&format!("{{ {selector} = \"{text}\" }}")).unwrap();
            prop_assert!(filter.matches(&message), "{} = {} on {}", selector, text, message);
        }
    }

    #[test]
    fn patterns_say_together_what_each_says_alone(
        value in value(),
        ways in prop::collection::vec((steps(), 0..5_usize), 1..7),
        others in prop::collection::vec(soup(), 0..3),
        is_cut in any::<bool>(),
    ) {
        let mut message = spell(&value, false);
        if is_cut {
            message.pop();
        }
        let written = |(steps, kind): &(Vec<Step>, usize)| {
            let selector = write(steps);
            let tests = ["= *", "NOT EXISTS", "IS NULL", "= \"a\"", "!= 1"];
            format!("{{ {selector} {} || $.a = 1 }}", tests[*kind])
        };
        let patterns: Vec<String> = ways.iter().map(written).chain(others).collect();
        let filters: Vec<Filter> = patterns.iter().filter_map(|pattern| Filter::parse(pattern).ok()).collect();
        let alone: Vec<_> = filters.iter().map(|filter| filter.extract(&message)).collect();
        let together = Together::new(filters.iter()).extract(filters.iter(), &message);
        prop_assert_eq!(together, alone, "{:?} on {}", patterns, message);
    }

    #[test]
    fn json_is_what_json_is(
        value in value(),
        edits in prop::collection::vec((any::<Index>(), prop::sample::select(EDITS)), 0..4),
    ) {
        let mut text: Vec<String> = spell(&value, false).chars().map(String::from).collect();
        for (place, piece) in edits {
            let place = place.index(text.len());
            if piece.is_empty() {
                text[place].clear();
            } else {
                text[place].push_str(piece);
            }
        }
        let text = text.concat();
        let expected = serde_json::from_str::<Value>(&text).is_ok_and(|value| value.is_object() || value.is_array());
        prop_assert_eq!(scan::scan(&text, &[], &mut |_, _| ()), expected, "{}", text);
    }

    #[test]
    fn nothing_panics_and_needles_are_sound(pattern in soup(), messages in prop::collection::vec(soup(), 1..6)) {
        let Ok(filter) = Filter::parse(&pattern) else { return Ok(()) };
        let expected: Vec<usize> = (0..messages.len()).filter(|index| filter.matches(&messages[*index])).collect();
        for (index, message) in messages.iter().enumerate() {
            prop_assert_eq!(filter.extract(message).is_some(), expected.contains(&index), "{} on {}", pattern, message);
        }
        let expected: Vec<usize> = expected.into_iter().filter(|index| !messages[*index].is_empty()).collect();
        prop_assert_eq!(found_in_block(&filter, &messages), expected, "{} on {:?}", pattern, messages);
    }
}
