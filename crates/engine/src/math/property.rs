//! Expressions against an evaluator that looks at one moment at a time.

use proptest::prelude::*;

use super::label::Place;
use super::parse::Operator;
use super::*;

const MOMENTS: usize = 5;
const METRICS: usize = 3;
const PLACE: Place<'_> = Place { account_id: "1", region: "r", now_s: 0, offset_s: 0 };

#[derive(Debug, Clone)]
enum Tree {
    Number(u8),
    Metric(usize),
    Negated(Box<Tree>),
    Both(Operator, Box<Tree>, Box<Tree>),
}

const OPERATORS: [Operator; 13] = [
    Operator::Or,
    Operator::And,
    Operator::Equal,
    Operator::NotEqual,
    Operator::AtMost,
    Operator::AtLeast,
    Operator::Less,
    Operator::Greater,
    Operator::Add,
    Operator::Subtract,
    Operator::Multiply,
    Operator::Divide,
    Operator::Power,
];

fn tree() -> impl Strategy<Value = Tree> {
    let leaf = prop_oneof![(0..4_u8).prop_map(Tree::Number), (0..METRICS).prop_map(Tree::Metric)];
    leaf.prop_recursive(5, 24, 2, |inner| {
        prop_oneof![
            1 => inner.clone().prop_map(|inner| Tree::Negated(Box::new(inner))),
            5 => (prop::sample::select(OPERATORS.to_vec()), inner.clone(), inner)
                .prop_map(|(operator, left, right)| Tree::Both(operator, Box::new(left), Box::new(right))),
        ]
    })
}

/// How strongly it binds.
fn level(tree: &Tree) -> u8 {
    match tree {
        Tree::Number(_) | Tree::Metric(_) => 7,
        Tree::Negated(_) => 5,
        Tree::Both(operator, _, _) => match operator {
            Operator::Or => 0,
            Operator::And => 1,
            Operator::Add | Operator::Subtract => 3,
            Operator::Multiply | Operator::Divide => 4,
            Operator::Power => 6,
            _ => 2,
        },
    }
}

/// With no more parentheses than needed.
fn written(tree: &Tree) -> String {
    let at_least = |least: u8, inner: &Tree| {
        if level(inner) >= least { written(inner) } else { format!("({})", written(inner)) }
    };
    match tree {
        Tree::Number(value) => value.to_string(),
        Tree::Metric(metric) => format!("m{metric}"),
        Tree::Negated(inner) => format!("-{}", at_least(5, inner)),
        Tree::Both(Operator::Power, base, exponent) => format!("{}^{}", at_least(7, base), at_least(5, exponent)),
        Tree::Both(operator, left, right) => {
            let own = level(tree);
            format!("{} {} {}", at_least(own, left), operator.shown(), at_least(own + 1, right))
        }
    }
}

/// Whether it is the same everywhere, and what it is at a moment.
type Naive = (bool, Option<f64>);

fn naive(tree: &Tree, here: &[Option<f64>]) -> Naive {
    match tree {
        Tree::Number(value) => (true, Some(f64::from(*value))),
        Tree::Metric(metric) => (false, here[*metric]),
        Tree::Negated(inner) => {
            let (is_scalar, value) = naive(inner, here);
            (is_scalar, value.map(|value| -value))
        }
        Tree::Both(operator, left, right) => {
            let (one, other) = (naive(left, here), naive(right, here));
            let both = |left, right| truth(*operator, left, right);
            match (one, other) {
                ((true, one), (true, other)) => (true, Some(both(one.unwrap(), other.unwrap()))),
                ((false, None), (false, None)) | ((true, _), (false, None)) | ((false, None), (true, _)) => {
                    (false, None)
                }
                ((_, one), (_, other)) => {
                    let value = both(one.unwrap_or(0.0), other.unwrap_or(0.0));
                    (false, Some(value).filter(|value| value.is_finite()))
                }
            }
        }
    }
}

fn truth(operator: Operator, left: f64, right: f64) -> f64 {
    let holds = match operator {
        Operator::Add => return left + right,
        Operator::Subtract => return left - right,
        Operator::Multiply => return left * right,
        Operator::Divide => return left / right,
        Operator::Power => return left.powf(right),
        _ if left.is_nan() || right.is_nan() => return f64::NAN,
        Operator::Or => left != 0.0 || right != 0.0,
        Operator::And => left != 0.0 && right != 0.0,
        Operator::Equal => left == right,
        Operator::NotEqual => left != right,
        Operator::AtMost => left <= right,
        Operator::AtLeast => left >= right,
        Operator::Less => left < right,
        Operator::Greater => left > right,
    };
    if holds { 1.0 } else { 0.0 }
}

/// A metric's values, moment by moment.
fn slots() -> impl Strategy<Value = Vec<Option<f64>>> {
    prop::collection::vec(prop::option::of((-3..4_i8).prop_map(f64::from)), MOMENTS)
}

fn points(slots: &[Option<f64>]) -> Vec<Point> {
    (0..).zip(slots).filter_map(|(slot, value)| Some((slot * 60, (*value)?))).collect()
}

fn fetched(slots: &[Option<f64>]) -> Option<Series> {
    let source = Source { metric: Metric::new("n", "m", vec![]), statistic: "Sum".into(), period_s: 60 };
    Some(Series::fetched(source, points(slots)))
}

const WINDOW: Window = Window { start_s: 0, end_s: 60 * MOMENTS as i64 };

/// What an expression over metrics `m0`, `m1`, … comes to.
fn evaluated(text: &str, metrics: &[Vec<Option<f64>>]) -> Result<Value, Refused> {
    let ids: Vec<String> = (0..metrics.len()).map(|metric| format!("m{metric}")).collect();
    let metric = |id| Query { id, label: None, asks: Asks::Metric { period_s: 60 }, is_returned: false };
    let mut queries: Vec<Query<'_>> = ids.iter().map(|id| metric(id.as_str())).collect();
    queries.push(Query { asks: Asks::Expression { text, period_s: Some(60) }, ..metric("e") });
    let plan = Plan::new(&queries)?;
    let fetched = metrics.iter().map(|slots| fetched(slots)).collect();
    let found = vec![vec![]; plan.needs().len()];
    Ok(plan.evaluate(WINDOW, &PLACE, fetched, found)?.pop().unwrap())
}

fn points_of(text: &str, metrics: &[Vec<Option<f64>>]) -> Vec<Point> {
    match evaluated(text, metrics).unwrap() {
        Value::Series(series) => series.points.to_vec(),
        other => panic!("{text} is {other:?}"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn operators_do_the_same_moment_by_moment(
        tree in tree(), metrics in prop::collection::vec(slots(), METRICS),
    ) {
        let text = written(&tree);
        let at = |moment: usize| naive(&tree, &metrics.iter().map(|slots| slots[moment]).collect::<Vec<_>>());
        match evaluated(&text, &metrics).unwrap() {
            Value::Scalar(value) => {
                let (is_scalar, expected) = at(0);
                prop_assert!(is_scalar, "{}", text);
                prop_assert!(value == expected.unwrap() || value.is_nan() && expected.unwrap().is_nan(), "{}", text);
            }
            Value::Series(series) => {
                let expected: Vec<Option<f64>> = (0..MOMENTS).map(|moment| at(moment).1).collect();
                prop_assert_eq!(series.points.to_vec(), points(&expected), "{}", text);
            }
            Value::Array(_) => prop_assert!(false, "{}", text),
        }
    }

    #[test]
    fn folds_and_fillers_do_the_same_moment_by_moment(metrics in prop::collection::vec(slots(), METRICS)) {
        let everywhere = |each: &dyn Fn(&[f64]) -> f64| {
            let at = |moment: usize| {
                let here: Vec<f64> = metrics.iter().filter_map(|slots| slots[moment]).collect();
                if here.is_empty() { None } else { Some(each(&here)) }
            };
            points(&(0..MOMENTS).map(at).collect::<Vec<_>>())
        };
        let sum = |values: &[f64]| values.iter().sum::<f64>();
        prop_assert_eq!(points_of("SUM(METRICS())", &metrics), everywhere(&sum));
        prop_assert_eq!(points_of("AVG(METRICS())", &metrics), everywhere(&|values| sum(values) / METRICS as f64));
        prop_assert_eq!(points_of("DATAPOINT_COUNT(METRICS())", &metrics), everywhere(&|values| values.len() as f64));
        let largest = |values: &[f64]| values.iter().copied().reduce(f64::max).unwrap();
        prop_assert_eq!(points_of("MAX(METRICS())", &metrics), everywhere(&largest));

        let first = &metrics[0];
        let mut carried = None;
        let repeated: Vec<Option<f64>> = first.iter().map(|slot| { carried = slot.or(carried); carried }).collect();
        prop_assert_eq!(points_of("FILL(m0, REPEAT)", &metrics), points(&repeated));
        let zeroed: Vec<Option<f64>> = first.iter().map(|slot| slot.or(Some(0.0))).collect();
        prop_assert_eq!(points_of("FILL(m0, 0)", &metrics), points(&zeroed));
        // A line is what it was where it had points, and bends only there.
        let line = points_of("FILL(m0, LINEAR)", &metrics);
        let known = points(first);
        prop_assert!(known.iter().all(|point| line.contains(point)));
        for steps in line.windows(3).filter(|steps| !known.contains(&steps[1])) {
            prop_assert!((steps[2].1 - 2.0 * steps[1].1 + steps[0].1).abs() < 1e-9);
        }
    }

    /// Whatever is written, there is an answer, and every point of it is finite and in its order.
    #[test]
    fn no_text_makes_it_panic(
        parts in prop::collection::vec(prop::sample::select(vec![
            "m0", "m1", "e", "(", ")", "[", "]", ",", "+", "-", "*", "/", "^", "<", "AND", "0", "2.5", "'", "\"", "x",
            "60", "SUM(", "IF(", "FILL(", "REPEAT", "LINEAR", "METRICS()", "SORT(", "AVG", "ASC", "SLICE(", "FIRST(",
            "DIFF(", "YEAR(", "TIME_SERIES(", "SEARCH('x','Sum',60)", "SELECT AVG(m) FROM n ", "GROUP BY ", "LIMIT ",
            "\\", "ä",
        ]), 0..12),
        metrics in prop::collection::vec(slots(), 2),
    ) {
        let text: String = parts.concat();
        let series = match evaluated(&text, &metrics) {
            Ok(Value::Series(series)) => vec![series],
            Ok(Value::Array(array)) => array,
            Ok(Value::Scalar(_)) | Err(_) => vec![],
        };
        for one in series {
            prop_assert!(one.points.iter().all(|(_, value)| value.is_finite()));
            prop_assert!(one.points.windows(2).all(|pair| pair[0].0 < pair[1].0));
        }
    }
}
