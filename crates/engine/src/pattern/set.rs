//! Many patterns, of which those are found that an event holds without trying each.
//!
//! Each branch of a pattern is looked up by one of its fields, its *anchor*: one that has to have a value, and of whose
//! comparisons each says something that all its values show ([`Sign`]). An event shows the signs of its values; the patterns
//! whose anchors are among them are tried, and those in which some branch has no anchor. Of a branch's fields the one
//! serves that the fewest others are looked up by so far.
//!
//! **Invariant:** who holds an event is tried. A sign that two values share, or two paths with one hash, costs a try more.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::Pattern;
use super::branch::Branch;
use super::limits::EVENT_DEPTH_MAX;
use super::sign::{Sign, Signs};

/// So many are tried sooner than looked up.
const FEW: usize = 4;

/// The place of a pattern in its set.
type Place = u32;

/// Patterns, each with what it stands for.
#[derive(Debug)]
pub struct Set<K> {
    patterns: Vec<(K, Pattern)>,
    /// By the hash of a path.
    anchors: BTreeMap<u64, Signs<Place>>,
    /// Those that nothing is known of.
    always: Vec<Place>,
}

impl<K> FromIterator<(K, Pattern)> for Set<K> {
    fn from_iter<I: IntoIterator<Item = (K, Pattern)>>(patterns: I) -> Self {
        let mut set = Self { patterns: patterns.into_iter().collect(), anchors: BTreeMap::new(), always: Vec::new() };
        for (place, (_, pattern)) in (0..).zip(&set.patterns) {
            let anchors: Option<Vec<_>> = pattern.branches.iter().map(|branch| anchor(&set.anchors, branch)).collect();
            match anchors {
                None => set.always.push(place),
                Some(anchors) => {
                    for (path, signs) in anchors {
                        signs.into_iter().for_each(|sign| set.anchors.entry(path).or_default().add(sign, place));
                    }
                }
            }
        }
        set
    }
}

impl<K> Set<K> {
    pub fn is_empty(&self) -> bool {
        self.patterns.is_empty()
    }

    /// What the patterns stand for that an event holds, in their order.
    pub fn matching<'s>(&'s self, event: &'s Value) -> impl Iterator<Item = &'s K> {
        let is_few = self.patterns.len() <= FEW;
        let all = if is_few { 0..self.patterns.len() } else { 0..0 };
        let likely = if is_few { BTreeSet::new() } else { self.likely(event) };
        let likely = likely.into_iter().filter_map(|place| usize::try_from(place).ok());
        let patterns = all.chain(likely).filter_map(|place| self.patterns.get(place));
        patterns.filter(|(_, pattern)| pattern.matches(event)).map(|(key, _)| key)
    }

    fn likely(&self, event: &Value) -> BTreeSet<Place> {
        let mut found: Vec<Place> = self.always.clone();
        if let Value::Object(members) = event {
            members.iter().for_each(|(name, value)| self.look(value, path::of(name), 0, &mut found));
        }
        found.into_iter().collect()
    }

    /// Looks up what a value shows, or what is in it.
    fn look(&self, value: &Value, path: u64, depth: usize, found: &mut Vec<Place>) {
        let deeper = depth.saturating_add(1);
        match value {
            _ if depth > EVENT_DEPTH_MAX => {}
            Value::Object(members) => {
                members.iter().for_each(|(name, value)| self.look(value, path::below(path, name), deeper, found));
            }
            Value::Array(elements) => elements.iter().for_each(|element| self.look(element, path, deeper, found)),
            value => {
                if let Some(signs) = self.anchors.get(&path) {
                    signs.shown_by(value).for_each(|places| found.extend_from_slice(places));
                }
            }
        }
    }
}

/// The field of a branch that it is looked up by, if there is one: its path, and what its values show.
fn anchor(anchors: &BTreeMap<u64, Signs<Place>>, branch: &Branch) -> Option<(u64, Vec<Sign>)> {
    let fields = branch.iter().filter_map(|(path, alternatives)| {
        let signs: Vec<Sign> = alternatives.iter().map(Sign::of).collect::<Option<Vec<_>>>()?.concat();
        let path = path::of(path);
        let known = anchors.get(&path);
        let tries =
            |sign: &Sign| sign.breadth().saturating_mul(known.map_or(0, |known| known.count(sign)).saturating_add(1));
        Some((signs.iter().map(tries).fold(0, usize::saturating_add), (path, signs)))
    });
    fields.min_by_key(|(tries, _)| *tries).map(|(_, anchor)| anchor)
}

/// Paths as their hashes (FNV-1a), which grow with each step: the names in a path are read once, however many values are
/// below. It is the same wherever the points in a path come from.
mod path {
    const BEGIN: u64 = 0xcbf2_9ce4_8422_2325;
    const FACTOR: u64 = 0x0100_0000_01b3;

    pub fn of(path: &str) -> u64 {
        go_on(BEGIN, path)
    }

    pub fn below(path: u64, name: &str) -> u64 {
        go_on(go_on(path, "."), name)
    }

    fn go_on(hash: u64, text: &str) -> u64 {
        text.bytes().fold(hash, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(FACTOR))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn set(patterns: &[Value]) -> Set<usize> {
        patterns.iter().map(|pattern| Pattern::parse(&pattern.to_string()).unwrap()).enumerate().collect()
    }

    fn found(set: &Set<usize>, event: &Value) -> Vec<usize> {
        set.matching(event).copied().collect()
    }

    #[test]
    fn what_an_event_holds_is_found() {
        let patterns = [
            json!({"a": ["x"]}),
            json!({"a": ["x", "y"], "b": [{"numeric": [">", 5]}]}),
            json!({"a": [{"exists": false}]}),
            json!({"$or": [{"c": [true]}, {"c.d": [null]}]}),
            json!({"b": [{"anything-but": 7}]}),
            json!({"c": {"d": [{"prefix": "pre"}, {"suffix": "fix"}, {"wildcard": "w*d"}]}}),
            json!({"c": [{"cidr": "10.0.0.0/8"}, 12_345_678_901_234_567_890_u64]}),
        ];
        let set = set(&patterns);
        assert_eq!(found(&set, &json!({"a": ["z", "x"], "b": 6})), [0, 1, 4]);
        assert_eq!(found(&set, &json!({"c": {"d": null}})), [2, 3]);
        assert_eq!(found(&set, &json!({"c.d": "prefix", "c": true})), [2, 3, 5]);
        assert_eq!(found(&set, &json!({"c": [{"d": "wild"}, {"d": "afix"}, "10.1.2.3"]})), [2, 5, 6]);
        assert_eq!(found(&set, &json!([])), Vec::<usize>::new());
    }

    /// Or they would all be tried.
    #[test]
    fn of_many_patterns_few_are_likely() {
        let patterns = |number: usize| {
            [
                json!({"kind": ["common"], "id": [format!("id-{number}")]}),
                json!({"kind": ["common"], "size": [{"numeric": [">=", number, "<", number + 1]}]}),
                json!({"kind": [{"anything-but": "common"}], "id": [{"prefix": format!("{number:04}")}]}),
            ]
        };
        let set = set(&(0..1_000).flat_map(patterns).collect::<Vec<_>>());
        let likely = |event: Value| set.likely(&event).len();
        // What all have in common is looked up by until it is too many.
        let common = likely(json!({"kind": "common", "id": "id-77", "size": 77.5}));
        assert!((2..20).contains(&common), "{common}");
        assert_eq!(likely(json!({"kind": "other", "id": "0077", "size": -1})), 1);
        assert_eq!(likely(json!({"size": 1_000})), 0, "an open end of a range is not in it");
    }

    fn value() -> impl Strategy<Value = Value> {
        let plain = prop_oneof![
            Just(json!(null)),
            any::<bool>().prop_map(|value| json!(value)),
            (-3..4_i32).prop_map(|value| json!(value)),
            prop::sample::select(vec![0.5, -0.0, 1e300, -2.5, 9_007_199_254_740_993.0]).prop_map(|value| json!(value)),
            "[ab]{0,3}".prop_map(|value| json!(value)),
        ];
        plain.prop_recursive(3, 20, 3, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..3).prop_map(Value::Array),
                prop::collection::btree_map("[ab]|a\\.b|", inner, 0..3)
                    .prop_map(|members| members.into_iter().collect()),
            ]
        })
    }

    fn comparison() -> impl Strategy<Value = Value> {
        let text = "[ab]{1,2}";
        prop_oneof![
            value().prop_filter("of one value", |value| !value.is_object() && !value.is_array()),
            text.prop_map(|text| json!({ "prefix": text })),
            text.prop_map(|text| json!({ "suffix": text })),
            "[ab]?\\*[ab]?".prop_map(|text| json!({ "wildcard": text })),
            text.prop_map(|text| json!({ "equals-ignore-case": text.to_uppercase() })),
            text.prop_map(|text| json!({ "anything-but": text })),
            any::<bool>().prop_map(|exists| json!({ "exists": exists })),
            (-3..3_i32, 1..3_i32).prop_map(|(low, more)| json!({"numeric": [">=", low, "<", low + more]})),
            (-3..3_i32).prop_map(|low| json!({"numeric": ["<", low]})),
        ]
    }

    fn pattern() -> impl Strategy<Value = Value> {
        let field = prop::collection::vec(comparison(), 1..3).prop_map(Value::Array);
        let object = prop::collection::btree_map("[ab](\\.[ab]){0,2}", field, 1..3);
        let object = object.prop_map(|fields| fields.into_iter().collect::<Value>()).boxed();
        prop_oneof![3 => object.clone(), 1 => (object.clone(), object).prop_map(|(a, b)| json!({"$or": [a, b]}))]
    }

    proptest! {
        #[test]
        fn looking_up_finds_what_trying_all_finds(
            patterns in prop::collection::vec(pattern(), 5..12),
            event in prop::collection::btree_map("[ab]|a\\.b|", value(), 0..4),
        ) {
            let event: Value = event.into_iter().collect();
            let set = set(&patterns);
            let tried: Vec<usize> = (0..).zip(&set.patterns).filter(|(_, (_, it))| it.matches(&event)).map(|(at, _)| at).collect();
            prop_assert_eq!(found(&set, &event), tried);
        }
    }
}
