//! An expression's tree with ids looked up and types checked: what evaluation walks.

use std::collections::BTreeMap;

use super::evaluate::{Filler, Node};
use super::function::{Fold, Function, Type, WITHOUT, together};
use super::parse::Expression;
use super::plan::{Asks, Need, Query, Wanted};
use super::search::Search;
use super::select::Select;

/// What is wrong with a query: most texts of AWS say which query it is.
#[derive(Debug)]
pub enum Fault {
    In(String),
    Plain(String),
}

impl Fault {
    pub fn syntax() -> Fault {
        Fault::In("Invalid syntax".into())
    }

    fn operands(of: &str, types: &[Type]) -> Fault {
        let types: Vec<String> = types.iter().map(Type::to_string).collect();
        Fault::In(format!("Unsupported operand type(s) for {of}: '[{}]'", types.join(", ")))
    }

    pub fn message(&self, id: &str) -> String {
        match self {
            Fault::In(text) => format!("Error in expression '{id}': {text}"),
            Fault::Plain(text) => text.clone(),
        }
    }
}

/// A query that is ready.
#[derive(Debug, Clone)]
pub struct Bound {
    pub result: Type,
    pub period_s: u32,
    pub node: Option<Node>,
}

/// Binds one query.
pub struct Binder<'a> {
    pub queries: &'a [Query<'a>],
    pub places: &'a BTreeMap<&'a str, usize>,
    /// Of those that are bound already, by place.
    pub results: &'a [Bound],
    pub needs: &'a mut Vec<Need>,
    /// The shortest of what it uses.
    pub period_s: Option<u32>,
}

/// What an expression has for a period if neither it nor anything that it uses has one.
pub const PERIOD_S: u32 = 60;
/// How many searches a request has, as a dashboard's graph on AWS.
const NEEDS_MAX: usize = 100;

impl Binder<'_> {
    pub fn expression(
        &mut self,
        id: &str,
        expression: &Expression,
        given_s: Option<u32>,
        is_returned: bool,
    ) -> Result<Bound, Fault> {
        let (node, result) = self.bind(Context { id, given_s }, expression)?;
        if result < Type::Scalar {
            return Err(Fault::syntax());
        }
        if result == Type::Scalar && is_returned {
            return Err(Fault::In("The result must be a time series or an array of time series".into()));
        }
        let period_s = self.period_s.or(given_s).unwrap_or(PERIOD_S);
        Ok(Bound { result, period_s, node: Some(node) })
    }

    /// Metrics Insights sees no shorter periods than a minute.
    pub fn select(&mut self, id: &str, select: &Select, given_s: Option<u32>) -> Result<Bound, Fault> {
        let missing = || Fault::Plain("Period is a required field when using query within an expression".into());
        let period_s = admitted(given_s.ok_or_else(missing)?)?.max(60);
        let (found, is_array) = (self.needs.len(), select.is_grouped());
        self.needs.push(Need { id: id.into(), period_s, wanted: Wanted::Select(select.clone()) });
        let result = if is_array { Type::Array } else { Type::Series };
        Ok(Bound { result, period_s, node: Some(Node::Found { found, is_array }) })
    }

    fn bind(&mut self, context: Context<'_>, expression: &Expression) -> Result<(Node, Type), Fault> {
        match expression {
            Expression::Number(value) => Ok((Node::Number(*value), Type::Scalar)),
            // Functions that take these read them from the expression; all else is refused for the type.
            Expression::Text(_) => Ok((Node::Number(f64::NAN), Type::Text)),
            Expression::Word(_) => Ok((Node::Number(f64::NAN), Type::Word)),
            Expression::Id(id) => {
                let missing = || Fault::In(format!("ID '{id}' not found"));
                let place = *self.places.get(id.as_str()).ok_or_else(missing)?;
                Ok((Node::Query(place), self.uses(place)))
            }
            Expression::Negated(inner) => match self.bind(context, inner)? {
                (_, refused @ (Type::Text | Type::Word)) => Err(Fault::operands("-", &[refused])),
                (node, result) => Ok((Node::Negated(Box::new(node)), result)),
            },
            Expression::Chain(first, rest) => {
                let (first, mut result) = self.bind(context, first)?;
                let mut bound = Vec::new();
                for (operator, right) in rest {
                    let (right, right_type) = self.bind(context, right)?;
                    let types = [result, right_type];
                    result = together(&types).ok_or_else(|| Fault::operands(operator.shown(), &types))?;
                    bound.push((*operator, right));
                }
                Ok((Node::Chain(Box::new(first), bound), result))
            }
            Expression::List(items) => {
                let (nodes, types) = self.bind_all(context, items)?;
                if types.iter().any(|one| *one < Type::Series) {
                    return Err(Fault::operands("[]", &types));
                }
                Ok((Node::List(nodes), Type::Array))
            }
            Expression::Call(name, arguments) => self.call(context, name, arguments),
        }
    }

    fn bind_all(&mut self, context: Context<'_>, items: &[Expression]) -> Result<(Vec<Node>, Vec<Type>), Fault> {
        let bound: Result<Vec<(Node, Type)>, Fault> = items.iter().map(|item| self.bind(context, item)).collect();
        Ok(bound?.into_iter().unzip())
    }

    fn uses(&mut self, place: usize) -> Type {
        let Some(bound) = self.results.get(place) else { return Type::Series };
        self.sees(bound.period_s);
        bound.result
    }

    fn sees(&mut self, period_s: u32) {
        self.period_s = Some(self.period_s.map_or(period_s, |shortest| shortest.min(period_s)));
    }

    fn call(&mut self, context: Context<'_>, name: &str, arguments: &[Expression]) -> Result<(Node, Type), Fault> {
        let Some(function) = Function::named(name) else {
            let why = if WITHOUT.contains(&name) { "is not supported" } else { "not found" };
            return Err(Fault::In(format!("Function '{name}' {why}")));
        };
        let (nodes, types) = self.bind_all(context, arguments)?;
        let refused = || Fault::operands(name, &types);
        let result = function.of(&types).ok_or_else(refused)?;
        let node = match function {
            Function::Search => self.search(context, arguments)?,
            Function::Metrics => self.metrics(arguments.first()),
            Function::Fill => fill(nodes, arguments).ok_or_else(refused)?,
            Function::Sort => sort(nodes, arguments).ok_or_else(refused)?,
            _ => Node::Call(function, nodes),
        };
        Ok((node, result))
    }

    /// All metrics of the request, or those with a part in their id.
    fn metrics(&mut self, part: Option<&Expression>) -> Node {
        let part = if let Some(Expression::Text(part)) = part { part.as_str() } else { "" };
        let periods =
            self.queries.iter().filter(|query| query.id.contains(part)).filter_map(|query| match query.asks {
                Asks::Metric { period_s } => Some(period_s),
                Asks::Expression { .. } => None,
            });
        if let Some(shortest) = periods.min() {
            self.sees(shortest);
        }
        Node::Metrics(part.into())
    }

    fn search(&mut self, context: Context<'_>, arguments: &[Expression]) -> Result<Node, Fault> {
        let wrong = || Fault::Plain("SEARCH arguments must be '[String, String, Positive Number]'".into());
        let missing =
            || Fault::Plain("Period is a required field when using SEARCH function within an expression".into());
        let [Expression::Text(body), Expression::Text(statistic), period @ ..] = arguments else {
            return Err(wrong());
        };
        let period_s = match period.first() {
            None => context.given_s.ok_or_else(missing)?,
            // What is not whole is no multiple of 60 either, and nor is this.
            Some(Expression::Number(value)) if *value > 0.0 => value.to_string().parse().unwrap_or(u32::MAX),
            Some(_) => return Err(wrong()),
        };
        let period_s = admitted(period_s)?;
        let search = Search::parse(body).ok_or_else(|| Fault::Plain(format!("Invalid SEARCH parameter: {body}")))?;
        let found = self.needs.len();
        if found >= NEEDS_MAX {
            return Err(Fault::Plain(format!("Maximum number of searches ({NEEDS_MAX}) exceeded")));
        }
        let wanted = Wanted::Search { search, statistic: statistic.clone() };
        self.needs.push(Need { id: context.id.into(), period_s, wanted });
        self.sees(period_s);
        Ok(Node::Found { found, is_array: true })
    }
}

/// The query that an expression, or part of one, is of.
#[derive(Clone, Copy)]
struct Context<'a> {
    id: &'a str,
    given_s: Option<u32>,
}

/// The period, if AWS has it.
fn admitted(period_s: u32) -> Result<u32, Fault> {
    match period_s {
        1 | 5 | 10 | 20 | 30 => Ok(period_s),
        0..60 => Err(Fault::In("The parameter Period must be a value in the set [ 1, 5, 10, 20, 30 ].".into())),
        _ if period_s.is_multiple_of(60) => Ok(period_s),
        _ => Err(Fault::In("The parameter Period must be a multiple of 60.".into())),
    }
}

fn fill(nodes: Vec<Node>, arguments: &[Expression]) -> Option<Node> {
    let mut nodes = nodes.into_iter();
    let (filled, with) = (nodes.next()?, nodes.next()?);
    let filler = match arguments.get(1)? {
        Expression::Word(word) if word == "REPEAT" => Filler::Repeat,
        Expression::Word(word) if word == "LINEAR" => Filler::Linear,
        Expression::Word(_) => return None,
        _ => Filler::With(Box::new(with)),
    };
    Some(Node::Fill(Box::new(filled), filler))
}

fn sort(nodes: Vec<Node>, arguments: &[Expression]) -> Option<Node> {
    let [_, Expression::Word(by), Expression::Word(direction), ..] = arguments else { return None };
    let by = match Function::named(by)? {
        Function::Fold(by @ (Fold::Average | Fold::Maximum | Fold::Minimum | Fold::Sum)) => by,
        _ => return None,
    };
    let is_descending = match direction.as_str() {
        "ASC" => false,
        "DESC" => true,
        _ => return None,
    };
    let mut nodes = nodes.into_iter();
    let sorted = Box::new(nodes.next()?);
    let limit = nodes.nth(2).map(Box::new);
    Some(Node::Sort { sorted, by, is_descending, limit })
}
