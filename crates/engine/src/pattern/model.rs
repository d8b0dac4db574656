//! What patterns mean, by trying everything: slow, and with nothing of the engine in it. Five thousand patterns and events,
//! always the same, get the same verdict from both.

use std::collections::BTreeMap;

use serde_json::{Map, json};

use super::*;

/// A value of an event: its path, the arrays and elements around it, and itself.
pub struct Place {
    path: String,
    elements: BTreeMap<usize, usize>,
    value: Value,
}

/// All values of an event, as AWS describes its engine: arrays are numbered, and what lies in objects of an array
/// belongs to its element.
pub fn places(node: &Value, path: &str, elements: &BTreeMap<usize, usize>, arrays: &mut usize, all: &mut Vec<Place>) {
    match node {
        Value::Object(members) => {
            for (name, value) in members {
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                places(value, &path, elements, arrays, all);
            }
        }
        Value::Array(list) => {
            let array = *arrays;
            *arrays += 1;
            for (at, element) in list.iter().enumerate() {
                let mut inner = elements.clone();
                if element.is_object() || element.is_array() {
                    inner.insert(array, at);
                }
                places(element, path, &inner, arrays, all);
            }
        }
        value => all.push(Place { path: path.to_owned(), elements: elements.clone(), value: value.clone() }),
    }
}

/// The elements so far together with those of a place, unless they differ.
fn joined(so_far: &BTreeMap<usize, usize>, place: &Place) -> Option<BTreeMap<usize, usize>> {
    let mut joined = so_far.clone();
    for (array, element) in &place.elements {
        if *joined.entry(*array).or_insert(*element) != *element {
            return None;
        }
    }
    Some(joined)
}

/// What one alternative of a field asks for.
#[derive(Debug, Clone, PartialEq)]
pub enum Want {
    Is(Value),
    /// `prefix`, `suffix`, `equals-ignore-case`, `wildcard`.
    Text(&'static str, String),
    Between(f64, f64),
    Below(f64),
    /// The first bits of four bytes.
    Block([u8; 4], usize),
    Except(Vec<Value>),
    ExceptText(&'static str, String),
    Any,
    None,
}

impl Want {
    pub fn written(&self) -> Value {
        match self {
            Want::Is(value) => value.clone(),
            Want::Text(how, text) => json!({ *how: text }),
            Want::Between(from, to) => json!({ "numeric": [">=", from, "<", to] }),
            Want::Below(bound) => json!({ "numeric": ["<", bound] }),
            Want::Block([a, b, c, d], bits) => json!({ "cidr": format!("{a}.{b}.{c}.{d}/{bits}") }),
            Want::Except(values) => json!({ "anything-but": values }),
            Want::ExceptText(how, text) => json!({ "anything-but": { *how: text } }),
            Want::Any => json!({ "exists": true }),
            Want::None => json!({ "exists": false }),
        }
    }

    fn fits(&self, value: &Value) -> bool {
        match self {
            Want::Is(own) => own == value,
            Want::Text(how, own) => value.as_str().is_some_and(|text| text_fits(how, own, text)),
            Want::Between(from, to) => value.as_f64().is_some_and(|number| number >= *from && number < *to),
            Want::Below(bound) => value.as_f64().is_some_and(|number| number < *bound),
            Want::Block(own, bits) => value.as_str().and_then(address_bits).is_some_and(|text| {
                let own: String = own.iter().map(|byte| format!("{byte:08b}")).collect();
                own[..*bits] == text[..*bits]
            }),
            Want::Except(values) => !values.contains(value),
            Want::ExceptText(how, own) => !value.as_str().is_some_and(|text| text_fits(how, own, text)),
            Want::Any => true,
            Want::None => false,
        }
    }
}

fn text_fits(how: &str, own: &str, text: &str) -> bool {
    let chars = |text: &str| text.chars().collect::<Vec<_>>();
    match how {
        "prefix" => text.len() >= own.len() && text[..own.len()] == *own,
        "suffix" => chars(text).ends_with(&chars(own)),
        "equals-ignore-case" => text.eq_ignore_ascii_case(own),
        _ => wildcard_fits(&chars(own), &chars(text)),
    }
}

pub fn wildcard_fits(pattern: &[char], text: &[char]) -> bool {
    match pattern.split_first() {
        None => text.is_empty(),
        Some(('*', rest)) => (0..=text.len()).any(|taken| wildcard_fits(rest, &text[taken..])),
        Some((c, rest)) => text.first() == Some(c) && wildcard_fits(rest, &text[1..]),
    }
}

fn address_bits(text: &str) -> Option<String> {
    let octets: Vec<u8> = text.split('.').map(|part| part.parse().ok()).collect::<Option<_>>()?;
    (octets.len() == 4).then(|| octets.iter().map(|octet| format!("{octet:08b}")).collect())
}

/// Fields by their paths, each with its alternatives.
pub type Fields = BTreeMap<String, Vec<Want>>;

/// Tries each choice of places for the fields, in their order.
pub fn holds(fields: &Fields, event: &Value) -> bool {
    let mut all = Vec::new();
    places(event, "", &BTreeMap::new(), &mut 0, &mut all);
    choose(&fields.iter().collect::<Vec<_>>(), &BTreeMap::new(), &all)
}

fn choose(fields: &[(&String, &Vec<Want>)], so_far: &BTreeMap<usize, usize>, all: &[Place]) -> bool {
    let Some(((path, wants), rest)) = fields.split_first() else { return true };
    let here =
        || all.iter().filter(|place| place.path == **path).filter_map(|place| Some((place, joined(so_far, place)?)));
    let is_absent = wants.contains(&Want::None) && here().next().is_none() && choose(rest, so_far, all);
    let fits = |place: &Place| wants.iter().any(|want| want.fits(&place.value));
    is_absent || here().any(|(place, joined)| fits(place) && choose(rest, &joined, all))
}

/// The fields as a pattern has them: objects within objects. Nothing if one field lies within another.
pub fn written(fields: &Fields) -> Option<Map<String, Value>> {
    let mut pattern = Map::new();
    for (path, wants) in fields {
        let mut object = &mut pattern;
        let (names, last) = path.rsplit_once('.').map_or((None, path.as_str()), |(names, last)| (Some(names), last));
        for name in names.into_iter().flat_map(|names| names.split('.')) {
            object = object.entry(name).or_insert_with(|| json!({})).as_object_mut()?;
        }
        let wants = wants.iter().map(Want::written).collect();
        if object.insert(last.to_owned(), Value::Array(wants)).is_some() {
            return None;
        }
    }
    Some(pattern)
}

/// Numbers that look like chance, always the same.
struct Dice(u64);

impl Dice {
    fn below(&mut self, count: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % count
    }

    fn one<T: Clone>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())].clone()
    }
}

const TEXTS: [&str; 9] = ["a", "ab", "aba", "Ab", "b", "", "10.0.0.1", "10.0.1.7", "192.168.0.9"];
const NUMBERS: [i64; 5] = [-3, 0, 1, 2, 10];

fn leaf(dice: &mut Dice) -> Value {
    match dice.below(8) {
        0 => Value::Null,
        1 => json!(dice.below(2) == 0),
        2..=4 => json!(dice.one(&NUMBERS)),
        _ => json!(dice.one(&TEXTS)),
    }
}

fn node(dice: &mut Dice, depth: usize) -> Value {
    match dice.below(if depth == 0 { 3 } else { 6 }) {
        0 | 1 => leaf(dice),
        2 => (0..dice.below(4)).map(|_| leaf(dice)).collect(),
        3 => (0..dice.below(4)).map(|_| node(dice, depth - 1)).collect(),
        _ => object(dice, depth - 1),
    }
}

fn object(dice: &mut Dice, depth: usize) -> Value {
    (0..=dice.below(3))
        .map(|_| (dice.one(&["a", "b", "c"]).to_owned(), node(dice, depth)))
        .collect::<Map<_, _>>()
        .into()
}

/// What an alternative may ask of a value, be it that it has it, or by chance.
fn want(dice: &mut Dice, value: &Value) -> Want {
    let text = value.as_str().filter(|text| !text.is_empty()).unwrap_or("ab").to_owned();
    let number = value.as_f64().unwrap_or(1.0);
    match dice.below(16) {
        0..=3 => Want::Is(value.clone()),
        4 => Want::Is(leaf(dice)),
        5 => Want::Text("prefix", text[..1].to_owned()),
        6 => Want::Text("suffix", text[text.len() - 1..].to_owned()),
        7 => Want::Text("equals-ignore-case", text.to_uppercase()),
        8 => Want::Text("wildcard", dice.one(&["a*", "*a", "*b*", "1*.*.7", "a*a"]).to_owned()),
        9 => Want::Between(number, number + 1.0),
        10 => Want::Below(number + dice.below(2) as f64),
        11 => Want::Block(dice.one(&[[10, 0, 0, 0], [10, 0, 1, 0], [192, 168, 0, 0]]), dice.one(&[8, 16, 23, 24, 31])),
        12 => Want::Except((0..=dice.below(2)).map(|_| json!(dice.one(&TEXTS))).collect()),
        13 => Want::Except((0..=dice.below(2)).map(|_| json!(dice.one(&NUMBERS))).collect()),
        14 => Want::ExceptText(dice.one(&["prefix", "suffix", "equals-ignore-case"]), text),
        _ => dice.one(&[Want::Any, Want::None]),
    }
}

/// Fields of which most ask for something that is in the event.
fn fields(dice: &mut Dice, event: &Value) -> Fields {
    let mut all = Vec::new();
    places(event, "", &BTreeMap::new(), &mut 0, &mut all);
    let mut fields = Fields::new();
    for _ in 0..=dice.below(3) {
        let place = all.get(dice.below(all.len().max(1)));
        let (path, value) = match place.filter(|_| dice.below(6) > 0) {
            Some(place) => (place.path.clone(), place.value.clone()),
            None => (dice.one(&["a", "b.c", "a.b.c"]).to_owned(), leaf(dice)),
        };
        let wants = (0..=dice.below(2)).map(|_| want(dice, &value)).collect();
        fields.insert(path, wants);
    }
    fields
}

#[test]
fn five_thousand_patterns_mean_what_trying_everything_says() {
    let (mut dice, mut passed, mut count) = (Dice(1), 0, 0);
    while count < 5_000 {
        let event = object(&mut dice, 3);
        let common = fields(&mut dice, &event);
        let others: Vec<Fields> = match dice.below(4) {
            0 => (0..2).map(|_| fields(&mut dice, &event)).collect(),
            _ => Vec::new(),
        };
        // One field of each path, whether in all cases or in some.
        let is_twice = |other: &Fields| other.keys().any(|path| common.contains_key(path));
        let Some(mut pattern) = written(&common).filter(|_| !others.iter().any(is_twice)) else { continue };
        let expected = match others.as_slice() {
            [] => holds(&common, &event),
            others => {
                let Some(cases) = others.iter().map(written).collect::<Option<Vec<_>>>() else { continue };
                pattern.insert("$or".to_owned(), cases.into_iter().map(Value::Object).collect());
                others.iter().any(|other| {
                    let all: Fields =
                        common.iter().chain(other).map(|(path, wants)| (path.clone(), wants.clone())).collect();
                    holds(&all, &event)
                })
            }
        };
        let pattern = Value::Object(pattern);
        let parsed = Pattern::parse(&pattern.to_string()).unwrap_or_else(|error| panic!("{pattern}: {error}"));
        assert_eq!(parsed.matches(&event), expected, "{pattern} of {event}");
        (passed, count) = (passed + usize::from(expected), count + 1);
    }
    assert!((1_000..4_000).contains(&passed), "{passed} of {count} events pass: that tells little");
}
