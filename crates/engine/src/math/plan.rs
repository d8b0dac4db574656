//! The queries of a request as one calculation: each is computed once, after those that it uses.

use std::collections::{BTreeMap, VecDeque};

use super::bind::{Binder, Bound, Fault, PERIOD_S};
use super::evaluate::Node;
use super::function::Type;
use super::parse::{Expression, parse};
use super::search::Search;
use super::select::{Select, is_select};
use super::{EXPRESSION_CHARS_MAX, QUERIES_MAX, Refused};

/// One query of a request.
#[derive(Debug, Clone, Copy)]
pub struct Query<'a> {
    pub id: &'a str,
    pub label: Option<&'a str>,
    pub asks: Asks<'a>,
    /// Whether its value is asked for, and not only used by others.
    pub is_returned: bool,
}

#[derive(Debug, Clone, Copy)]
pub enum Asks<'a> {
    Metric { period_s: u32 },
    Expression { text: &'a str, period_s: Option<u32> },
}

/// What must be fetched besides the metrics that are asked for by name.
#[derive(Debug, Clone, PartialEq)]
pub struct Need {
    /// Of the query that needs it.
    pub id: String,
    pub period_s: u32,
    pub wanted: Wanted,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Wanted {
    /// The series of all metrics that match, of which [`SERIES_MAX`](super::SERIES_MAX) are used.
    Search { search: Search, statistic: String },
    /// What [`Select::series`] makes of the metrics that match.
    Select(Select),
}

/// Queries that AWS takes, ready to be computed.
#[derive(Debug)]
pub struct Plan {
    /// As in the request.
    pub(super) queries: Vec<Planned>,
    /// Each behind those that it uses.
    pub(super) order: Vec<usize>,
    needs: Vec<Need>,
}

#[derive(Debug)]
pub(super) struct Planned {
    pub id: String,
    pub label: Option<String>,
    pub is_returned: bool,
    pub period_s: u32,
    /// `None` for a metric.
    pub node: Option<Node>,
    result: Type,
}

enum Parsed {
    Metric,
    Math(Expression),
    Select(Select),
}

impl Plan {
    pub fn new(queries: &[Query<'_>]) -> Result<Plan, Refused> {
        let places: BTreeMap<&str, usize> = (0..).zip(queries).map(|(place, query)| (query.id, place)).collect();
        if places.len() < queries.len() {
            return Err(Refused("The values for parameter id in MetricDataQueries are not unique.".into()));
        }
        if queries.len() > QUERIES_MAX {
            return Err(Refused(format!(
                "The collection MetricDataQueries must not have a size greater than {QUERIES_MAX}."
            )));
        }
        let parsed = all(queries, parsed)?;
        if parsed.iter().filter(|one| matches!(one, Parsed::Select(_))).count() > 1 {
            return Err(Refused("Maximum number of queries (1) exceeded".into()));
        }
        let uses: Vec<Vec<usize>> = parsed.iter().map(|one| one.uses(&places)).collect();
        let order = order(&uses).map_err(|place| {
            let fault = Fault::In("Expressions must not use each other in a circle".into());
            Refused(fault.message(queries.get(place).map_or("", |query| query.id)))
        })?;
        bound(queries, &parsed, &places, order)
    }

    /// What SEARCH and Metrics Insights ask for, in the order in which [`Plan::evaluate`] is given it.
    pub fn needs(&self) -> &[Need] {
        &self.needs
    }

    /// Whether the value of the query at this place of the request is an array of series.
    pub fn is_array(&self, place: usize) -> bool {
        self.queries.get(place).is_some_and(|query| query.result == Type::Array)
    }

    /// In seconds, of the query at this place: what an expression has from what it uses.
    pub fn period_s(&self, place: usize) -> u32 {
        self.queries.get(place).map_or(PERIOD_S, |query| query.period_s)
    }
}

/// Each query's, or all faults that they have.
fn all<T>(queries: &[Query<'_>], each: impl Fn(&Query<'_>) -> Result<T, Fault>) -> Result<Vec<T>, Refused> {
    let (mut done, mut faults) = (Vec::new(), Vec::new());
    for query in queries {
        match each(query) {
            Ok(one) => done.push(one),
            Err(fault) => faults.push(fault.message(query.id)),
        }
    }
    if faults.is_empty() { Ok(done) } else { Err(Refused(faults.join("\n"))) }
}

fn parsed(query: &Query<'_>) -> Result<Parsed, Fault> {
    let Asks::Expression { text, .. } = query.asks else { return Ok(Parsed::Metric) };
    if text.chars().nth(EXPRESSION_CHARS_MAX).is_some() {
        return Err(Fault::syntax());
    }
    if is_select(text) {
        return Select::parse(text).map(Parsed::Select).map_err(Fault::In);
    }
    parse(text).map(Parsed::Math).ok_or_else(Fault::syntax)
}

impl Parsed {
    /// The places of the queries that it uses, as often as it does. METRICS uses metrics alone, which use nothing.
    fn uses(&self, places: &BTreeMap<&str, usize>) -> Vec<usize> {
        let Parsed::Math(expression) = self else { return Vec::new() };
        let mut used = Vec::new();
        collect(expression, places, &mut used);
        used
    }
}

fn collect(expression: &Expression, places: &BTreeMap<&str, usize>, used: &mut Vec<usize>) {
    match expression {
        Expression::Number(_) | Expression::Text(_) | Expression::Word(_) => {}
        Expression::Id(id) => used.extend(places.get(id.as_str())),
        Expression::Negated(inner) => collect(inner, places, used),
        Expression::Chain(first, rest) => {
            collect(first, places, used);
            rest.iter().for_each(|(_, right)| collect(right, places, used));
        }
        Expression::List(items) | Expression::Call(_, items) => {
            items.iter().for_each(|item| collect(item, places, used));
        }
    }
}

/// All places, each behind those that it uses; or one that uses itself in the end.
fn order(uses: &[Vec<usize>]) -> Result<Vec<usize>, usize> {
    let mut users: Vec<Vec<usize>> = vec![Vec::new(); uses.len()];
    for (user, used) in uses.iter().enumerate() {
        for one in used {
            if let Some(users) = users.get_mut(*one) {
                users.push(user);
            }
        }
    }
    let mut waits_for: Vec<usize> = uses.iter().map(Vec::len).collect();
    let is_free = |(place, used): (usize, &Vec<usize>)| used.is_empty().then_some(place);
    let mut ready: VecDeque<usize> = uses.iter().enumerate().filter_map(is_free).collect();
    let mut order = Vec::new();
    while let Some(place) = ready.pop_front() {
        order.push(place);
        for user in users.get(place).into_iter().flatten() {
            if let Some(left) = waits_for.get_mut(*user) {
                *left = left.saturating_sub(1);
                ready.extend((*left == 0).then_some(*user));
            }
        }
    }
    waits_for.iter().position(|left| *left > 0).map_or(Ok(order), Err)
}

fn bound(
    queries: &[Query<'_>],
    parsed: &[Parsed],
    places: &BTreeMap<&str, usize>,
    order: Vec<usize>,
) -> Result<Plan, Refused> {
    let mut results = vec![Bound { result: Type::Series, period_s: PERIOD_S, node: None }; queries.len()];
    let (mut needs, mut faults) = (Vec::new(), BTreeMap::new());
    for place in &order {
        let (Some(query), Some(parsed)) = (queries.get(*place), parsed.get(*place)) else { continue };
        let mut binder = Binder { queries, places, results: &results, needs: &mut needs, period_s: None };
        let bound = match (parsed, query.asks) {
            (Parsed::Math(expression), Asks::Expression { period_s, .. }) => {
                binder.expression(query.id, expression, period_s, query.is_returned)
            }
            (Parsed::Select(select), Asks::Expression { period_s, .. }) => binder.select(query.id, select, period_s),
            (_, Asks::Metric { period_s }) => Ok(Bound { result: Type::Series, period_s, node: None }),
            (Parsed::Metric, Asks::Expression { .. }) => Err(Fault::syntax()),
        };
        match bound {
            Ok(bound) => {
                if let Some(result) = results.get_mut(*place) {
                    *result = bound;
                }
            }
            Err(fault) => {
                faults.insert(*place, fault.message(query.id));
            }
        }
    }
    if !faults.is_empty() {
        return Err(Refused(faults.into_values().collect::<Vec<_>>().join("\n")));
    }
    let planned = |(query, bound): (&Query<'_>, Bound)| Planned {
        id: query.id.into(),
        label: query.label.map(str::to_owned),
        is_returned: query.is_returned,
        period_s: bound.period_s,
        node: bound.node,
        result: bound.result,
    };
    Ok(Plan { queries: queries.iter().zip(results).map(planned).collect(), order, needs })
}
