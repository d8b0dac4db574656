//! What a plan comes to.

use std::sync::Arc;

use super::bind::PERIOD_S;
use super::function::{Fold, Function};
use super::label::{self, Place};
use super::parse::Operator;
use super::plan::{Planned, Wanted};
use super::{POINTS_MAX, Plan, Point, Refused, SERIES_MAX, Series, Source, Value, Window, count, series};

/// A part of an expression, of types that go together.
#[derive(Debug, Clone)]
pub enum Node {
    Number(f64),
    /// The value of the query at this place of the request.
    Query(usize),
    /// The metrics with this in their id.
    Metrics(String),
    /// What was found for the need of this number.
    Found {
        found: usize,
        is_array: bool,
    },
    Negated(Box<Node>),
    Chain(Box<Node>, Vec<(Operator, Node)>),
    List(Vec<Node>),
    Call(Function, Vec<Node>),
    Fill(Box<Node>, Filler),
    Sort {
        sorted: Box<Node>,
        by: Fold,
        is_descending: bool,
        limit: Option<Box<Node>>,
    },
}

/// What FILL puts where there is no point.
#[derive(Debug, Clone)]
pub enum Filler {
    With(Box<Node>),
    Repeat,
    Linear,
}

/// More points, or more series side by side, than are computed.
#[derive(Debug)]
struct TooMuch;

impl Plan {
    /// The value of each query, in the order of the request. `metrics` has what was fetched for each that asks for a
    /// metric, at its place; `found` what was fetched for each of the plan's needs.
    pub fn evaluate(
        &self,
        window: Window,
        place: &Place<'_>,
        mut metrics: Vec<Option<Series>>,
        found: Vec<Vec<Series>>,
    ) -> Result<Vec<Value>, Refused> {
        let found = found.into_iter().zip(self.needs()).map(|(mut found, need)| {
            if let Wanted::Search { .. } = need.wanted {
                found = label::arranged(found);
            }
            found.truncate(SERIES_MAX);
            found
        });
        let found = found.collect();
        let defaults = self.default_labels(&metrics);
        let values = vec![Value::Array(Vec::new()); self.queries.len()];
        let places = self.queries.iter().zip(0..).filter(|(query, _)| query.node.is_none());
        let places = places.map(|(query, place)| (query.id.as_str(), place)).collect();
        let mut evaluation =
            Evaluation { window, period_s: PERIOD_S, metrics: places, values, found, points_left: POINTS_MAX };
        for at in &self.order {
            let Some(query) = self.queries.get(*at) else { continue };
            evaluation.period_s = query.period_s;
            let value = match &query.node {
                Some(node) => evaluation.value(node).map_err(|TooMuch| {
                    Refused(format!(
                        "Error in expression '{}': It needs more data points than can be computed",
                        query.id
                    ))
                })?,
                None => {
                    let fetched = metrics.get_mut(*at).and_then(Option::take);
                    Value::Series(fetched.unwrap_or_else(|| evaluation.series(Vec::new(), query.period_s)))
                }
            };
            let default = defaults.get(*at).and_then(Option::as_deref).unwrap_or(&query.id);
            let value = label::labelled(value, default, query.label.as_deref(), place);
            if let Some(slot) = evaluation.values.get_mut(*at) {
                *slot = value;
            }
        }
        Ok(evaluation.values)
    }

    /// Of the metrics: those that are shown under no given label are told apart.
    fn default_labels(&self, metrics: &[Option<Series>]) -> Vec<Option<String>> {
        let source = |metric: &Option<Series>| metric.as_ref().and_then(|series| series.source.clone());
        let sources: Vec<Option<Arc<Source>>> = metrics.iter().map(source).collect();
        let is_shown = |query: &Planned| query.is_returned && query.label.as_deref().unwrap_or_default().is_empty();
        let both = || self.queries.iter().zip(&sources);
        let shown = both().filter(|(query, _)| is_shown(query)).filter_map(|(_, source)| source.as_deref());
        let mut told_apart = label::defaults(&shown.collect::<Vec<_>>()).into_iter();
        let labels = both().map(|(query, source)| match source {
            Some(_) if is_shown(query) => told_apart.next(),
            Some(source) => Some(source.metric.name.clone()),
            None => None,
        });
        labels.collect()
    }
}

struct Evaluation<'a> {
    window: Window,
    /// Of the query that is being computed.
    period_s: u32,
    /// The ids and places of those that ask for a metric.
    metrics: Vec<(&'a str, usize)>,
    /// Those that are computed.
    values: Vec<Value>,
    found: Vec<Vec<Series>>,
    points_left: usize,
}

impl Evaluation<'_> {
    fn value(&mut self, node: &Node) -> Result<Value, TooMuch> {
        match node {
            Node::Number(value) => Ok(Value::Scalar(*value)),
            Node::Query(place) => {
                let value = self.values.get(*place).cloned().unwrap_or(Value::Scalar(f64::NAN));
                if let Value::Array(array) = &value {
                    self.charge(array.len())?;
                }
                Ok(value)
            }
            Node::Metrics(part) => {
                self.charge(self.metrics.len())?;
                let places = self.metrics.iter().filter(|(id, _)| id.contains(part)).map(|(_, place)| *place);
                array(places.filter_map(|place| self.values.get(place).cloned()).collect())
            }
            Node::Found { found, is_array } => {
                let found = self.found.get(*found).cloned().unwrap_or_default();
                self.charge(found.len())?;
                if *is_array {
                    return Ok(Value::Array(found));
                }
                let first = found.into_iter().next();
                Ok(Value::Series(first.unwrap_or_else(|| self.series(Vec::new(), self.period_s))))
            }
            Node::Negated(inner) => {
                let value = self.value(inner)?;
                self.each(value, |value| -value)
            }
            Node::Chain(first, rest) => {
                let first = self.value(first)?;
                rest.iter().try_fold(first, |left, (operator, right)| {
                    let right = self.value(right)?;
                    self.operate(*operator, left, right)
                })
            }
            Node::List(items) => {
                let values: Result<Vec<Value>, TooMuch> = items.iter().map(|item| self.value(item)).collect();
                array(values?)
            }
            Node::Call(function, arguments) => {
                let values: Result<Vec<Value>, TooMuch> = arguments.iter().map(|item| self.value(item)).collect();
                self.call(*function, &values?)
            }
            Node::Fill(filled, filler) => self.fill(filled, filler),
            Node::Sort { sorted, by, is_descending, limit } => {
                let (sorted, limit) =
                    (self.value(sorted)?, limit.as_deref().map(|limit| self.value(limit)).transpose()?);
                let limit = limit.map_or(SERIES_MAX, |limit| whole(&limit));
                Ok(Value::Array(ranked(members(sorted), *by, *is_descending, limit)))
            }
        }
    }

    fn charge(&mut self, points: usize) -> Result<(), TooMuch> {
        // A series without points costs something too.
        self.points_left = self.points_left.checked_sub(points.saturating_add(1)).ok_or(TooMuch)?;
        Ok(())
    }

    /// A series of its own, whose name is not known here.
    fn series(&self, points: Vec<Point>, period_s: u32) -> Series {
        Series { label: String::new(), source: None, period_s, points: points.into() }
    }

    fn constant(&mut self, value: f64) -> Result<Series, TooMuch> {
        self.charge(self.window.periods(self.period_s))?;
        let points = self.window.moments(self.period_s).map(|at| (at, value));
        Ok(self.series(points.filter(|(_, value)| value.is_finite()).collect(), self.period_s))
    }

    /// The same done with each series, which keeps its label.
    fn all(
        &mut self,
        value: Value,
        mut change: impl FnMut(&mut Self, &Series) -> Result<Vec<Point>, TooMuch>,
    ) -> Result<Value, TooMuch> {
        let mut changed = |series: Series| -> Result<Series, TooMuch> {
            self.charge(series.points.len())?;
            let points = change(self, &series)?.into();
            Ok(Series { points, ..series })
        };
        match value {
            Value::Scalar(_) => Ok(value),
            Value::Series(series) => changed(series).map(Value::Series),
            Value::Array(array) => array.into_iter().map(changed).collect::<Result<_, _>>().map(Value::Array),
        }
    }

    fn each(&mut self, value: Value, change: impl Fn(f64) -> f64) -> Result<Value, TooMuch> {
        match value {
            Value::Scalar(value) => Ok(Value::Scalar(change(value))),
            _ => self.all(value, |_, series| Ok(series::map(&series.points, &change))),
        }
    }

    fn operate(&mut self, operator: Operator, left: Value, right: Value) -> Result<Value, TooMuch> {
        match (left, right) {
            (Value::Scalar(left), right) => self.each(right, |right| operator.apply(left, right)),
            (left, Value::Scalar(right)) => self.each(left, |left| operator.apply(left, right)),
            (Value::Series(left), Value::Series(right)) => {
                let both = Series { source: None, period_s: left.period_s.min(right.period_s), ..left.clone() };
                self.all(Value::Series(both), |this, _| this.side_by_side(operator, &left, &right))
            }
            (left, Value::Series(right)) => self.all(left, |this, left| this.side_by_side(operator, left, &right)),
            (Value::Series(left), right) => self.all(right, |this, right| this.side_by_side(operator, &left, right)),
            (Value::Array(_), Value::Array(_)) => Ok(Value::Array(Vec::new())),
        }
    }

    /// What one lacks where the other has a point counts as 0.
    fn side_by_side(&mut self, operator: Operator, left: &Series, right: &Series) -> Result<Vec<Point>, TooMuch> {
        self.charge(left.points.len().saturating_add(right.points.len()))?;
        let apply = |left: Option<f64>, right: Option<f64>| {
            Some(operator.apply(left.unwrap_or_default(), right.unwrap_or_default()))
        };
        Ok(series::merge(&left.points, &right.points, apply))
    }

    fn call(&mut self, function: Function, arguments: &[Value]) -> Result<Value, TooMuch> {
        let scalar = |value| Ok(Value::Scalar(value));
        match (function, arguments) {
            (Function::Each(each), [value]) => self.each(value.clone(), |value| each.of(value)),
            (Function::Walk(walk), [value]) => self.all(value.clone(), |_, series| Ok(walk.along(&series.points))),
            (Function::Fold(fold), [Value::Series(series)]) => {
                self.charge(series.points.len())?;
                scalar(fold.of(&series.points, 0))
            }
            (Function::Fold(fold), [Value::Array(array)]) => self.across(fold, array),
            (Function::Clock(clock), [value @ Value::Series(_)]) => self.all(value.clone(), |this, series| {
                this.charge(this.window.periods(series.period_s))?;
                let moments = this.window.moments(series.period_s);
                Ok(moments.filter_map(|at| Some((at, clock.shows(at)?))).collect())
            }),
            (Function::Period, [Value::Series(series)]) => scalar(f64::from(series.period_s)),
            (Function::MetricCount, [Value::Array(array)]) => scalar(count(array.len())),
            (Function::TimeSeries, [Value::Scalar(value)]) => self.constant(*value).map(Value::Series),
            (Function::First, [Value::Array(array)]) => Ok(Value::Series(self.or_empty(array.first()))),
            (Function::Last, [Value::Array(array)]) => Ok(Value::Series(self.or_empty(array.last()))),
            (Function::RemoveEmpty, [Value::Array(array)]) => {
                let left = array.iter().filter(|series| !series.points.is_empty());
                Ok(Value::Array(left.cloned().collect()))
            }
            (Function::Slice, [Value::Array(array), from, to @ ..]) => {
                let to = to.first().map_or(SERIES_MAX, whole);
                Ok(Value::Array(array.iter().take(to).skip(whole(from)).cloned().collect()))
            }
            (Function::If, [condition, yes, no @ ..]) => self.choose(condition, yes, no.first()),
            // The types are checked before: nothing else comes here.
            _ => scalar(f64::NAN),
        }
    }

    fn or_empty(&self, series: Option<&Series>) -> Series {
        series.cloned().unwrap_or_else(|| self.series(Vec::new(), self.period_s))
    }

    fn across(&mut self, fold: Fold, array: &[Series]) -> Result<Value, TooMuch> {
        let points = array.iter().map(|series| series.points.len()).fold(array.len(), usize::saturating_add);
        self.charge(points)?;
        let points = series::across(array.iter().map(|series| &*series.points), fold);
        let period_s = array.iter().map(|series| series.period_s).min().unwrap_or(self.period_s);
        Ok(Value::Series(self.series(points, period_s)))
    }

    fn fill(&mut self, filled: &Node, filler: &Filler) -> Result<Value, TooMuch> {
        let filled = self.value(filled)?;
        let with = match filler {
            Filler::With(node) => Some(self.value(node)?),
            Filler::Repeat | Filler::Linear => None,
        };
        self.all(filled, |this, series| {
            this.charge(this.window.periods(series.period_s))?;
            let points = &series.points;
            let filler = |at| match (filler, &with) {
                (Filler::Repeat, _) => series::previous(points, at),
                (Filler::Linear, _) => series::between(points, at),
                (Filler::With(_), Some(Value::Scalar(value))) => Some(*value),
                (Filler::With(_), Some(Value::Series(with))) => series::at(&with.points, at),
                (Filler::With(_), _) => None,
            };
            Ok(series::fill(points, this.window.moments(series.period_s), filler))
        })
    }

    /// IF, once for each series of the array among its arguments if there is one.
    fn choose(&mut self, condition: &Value, yes: &Value, no: Option<&Value>) -> Result<Value, TooMuch> {
        let arguments = [Some(condition), Some(yes), no];
        let Some(Value::Array(array)) = arguments.into_iter().flatten().find(|value| matches!(value, Value::Array(_)))
        else {
            return self.choose_one(condition, yes, no);
        };
        let mut chosen = Vec::new();
        for series in array {
            let one = Value::Series(series.clone());
            let no = no.map(|no| single(no, &one));
            let value = self.choose_one(single(condition, &one), single(yes, &one), no)?;
            chosen.extend(members(value).into_iter().map(|found| Series { points: found.points, ..series.clone() }));
        }
        Ok(Value::Array(chosen))
    }

    fn choose_one(&mut self, condition: &Value, yes: &Value, no: Option<&Value>) -> Result<Value, TooMuch> {
        match condition {
            Value::Series(series) => {
                self.charge(series.points.len())?;
                let points = series.points.iter().filter_map(|(at, holds)| {
                    // Where it holds and there is nothing to show, AWS shows 0; where it does not, nothing.
                    let value =
                        if *holds == 0.0 { value_at(no?, *at)? } else { value_at(yes, *at).unwrap_or_default() };
                    Some((*at, value)).filter(|(_, value)| value.is_finite())
                });
                let period_s =
                    [Some(yes), no].into_iter().flatten().filter_map(period_s).fold(series.period_s, u32::min);
                Ok(Value::Series(self.series(points.collect(), period_s)))
            }
            Value::Scalar(holds) => {
                let branch = if holds.is_nan() {
                    None
                } else if *holds == 0.0 {
                    no
                } else {
                    Some(yes)
                };
                let is_scalar = [Some(yes), no].into_iter().flatten().all(|value| matches!(value, Value::Scalar(_)));
                match branch {
                    Some(Value::Scalar(value)) if !is_scalar => self.constant(*value).map(Value::Series),
                    Some(value) => Ok(value.clone()),
                    None if is_scalar => Ok(Value::Scalar(f64::NAN)),
                    None => Ok(Value::Series(self.series(Vec::new(), self.period_s))),
                }
            }
            Value::Array(_) => Ok(Value::Array(Vec::new())),
        }
    }
}

/// The value, with one series in the place of an array.
fn single<'a>(value: &'a Value, one: &'a Value) -> &'a Value {
    if let Value::Array(_) = value { one } else { value }
}

fn value_at(value: &Value, at: i64) -> Option<f64> {
    match value {
        Value::Scalar(value) => Some(*value),
        Value::Series(series) => series::at(&series.points, at),
        Value::Array(_) => None,
    }
}

fn period_s(value: &Value) -> Option<u32> {
    if let Value::Series(series) = value { Some(series.period_s) } else { None }
}

fn members(value: Value) -> Vec<Series> {
    match value {
        Value::Scalar(_) => Vec::new(),
        Value::Series(series) => vec![series],
        Value::Array(array) => array,
    }
}

fn array(values: Vec<Value>) -> Result<Value, TooMuch> {
    let array: Vec<Series> = values.into_iter().flat_map(members).collect();
    if array.len() > SERIES_MAX { Err(TooMuch) } else { Ok(Value::Array(array)) }
}

/// As a number of series: whole, not negative, and no more than there may be.
fn whole(value: &Value) -> usize {
    let Value::Scalar(value) = value else { return 0 };
    (1..=SERIES_MAX).take_while(|number| count(*number) <= *value).count()
}

/// In order, those without points last; and numbered, as AWS shows them.
fn ranked(array: Vec<Series>, by: Fold, is_descending: bool, limit: usize) -> Vec<Series> {
    let key = |series: Series| (Some(by.of(&series.points, 0)).filter(|_| !series.points.is_empty()), series);
    let mut keyed: Vec<(Option<f64>, Series)> = array.into_iter().map(key).collect();
    keyed.sort_by(|(one, _), (other, _)| match (one, other) {
        (Some(one), Some(other)) if is_descending => other.total_cmp(one),
        (Some(one), Some(other)) => one.total_cmp(other),
        (one, other) => one.is_none().cmp(&other.is_none()),
    });
    let numbered = (1_usize..).zip(keyed).take(limit);
    numbered.map(|(rank, (_, series))| Series { label: format!("{rank} - {}", series.label), ..series }).collect()
}
