//! An expression's tokens as a tree. OR binds least, then AND, comparison, `+` and `-`, `*` and `/`, the sign, and `^`
//! most.

use super::DEPTH_MAX;
use super::token::{Token, tokens};

#[derive(Debug, Clone, PartialEq)]
pub enum Expression {
    Number(f64),
    Text(String),
    /// The id of a query: it begins with a small letter.
    Id(String),
    /// `ASC`, `REPEAT` and the like.
    Word(String),
    Negated(Box<Expression>),
    /// From left to right, so that a long sum is no deep tree.
    Chain(Box<Expression>, Vec<(Operator, Expression)>),
    List(Vec<Expression>),
    Call(String, Vec<Expression>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operator {
    Or,
    And,
    Equal,
    NotEqual,
    AtMost,
    AtLeast,
    Less,
    Greater,
    Add,
    Subtract,
    Multiply,
    Divide,
    Power,
}

impl Operator {
    /// NaN if it has no value.
    pub fn apply(self, left: f64, right: f64) -> f64 {
        let truth = |holds: bool| {
            if left.is_nan() || right.is_nan() { f64::NAN } else { f64::from(u8::from(holds)) }
        };
        match self {
            Operator::Or => truth(left != 0.0 || right != 0.0),
            Operator::And => truth(left != 0.0 && right != 0.0),
            Operator::Equal => truth(left == right),
            Operator::NotEqual => truth(left != right),
            Operator::AtMost => truth(left <= right),
            Operator::AtLeast => truth(left >= right),
            Operator::Less => truth(left < right),
            Operator::Greater => truth(left > right),
            Operator::Add => left + right,
            Operator::Subtract => left - right,
            Operator::Multiply => left * right,
            Operator::Divide => left / right,
            Operator::Power => left.powf(right),
        }
    }

    /// As messages show it.
    pub fn shown(self) -> &'static str {
        LEVELS.iter().copied().flatten().find(|(_, operator)| *operator == self).map_or("^", |(shown, _)| *shown)
    }
}

/// Those that bind alike, the weakest first.
const LEVELS: [&[(&str, Operator)]; 5] = [
    &[("OR", Operator::Or), ("||", Operator::Or)],
    &[("AND", Operator::And), ("&&", Operator::And)],
    &[
        ("==", Operator::Equal),
        ("!=", Operator::NotEqual),
        ("<=", Operator::AtMost),
        (">=", Operator::AtLeast),
        ("<", Operator::Less),
        (">", Operator::Greater),
    ],
    &[("+", Operator::Add), ("-", Operator::Subtract)],
    &[("*", Operator::Multiply), ("/", Operator::Divide)],
];

/// `None` if it is none: AWS does not say where.
pub fn parse(text: &str) -> Option<Expression> {
    let tokens = tokens(text)?;
    let mut parser = Parser { rest: &tokens };
    let whole = parser.chain(0, 0)?;
    parser.rest.is_empty().then_some(whole)
}

struct Parser<'a> {
    rest: &'a [Token],
}

impl<'a> Parser<'a> {
    fn next(&mut self) -> Option<&'a Token> {
        let (first, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(first)
    }

    fn is_next(&self, symbol: &str) -> bool {
        matches!(self.rest.first(), Some(Token::Symbol(found)) if *found == symbol)
    }

    fn take(&mut self, symbol: &str) -> Option<()> {
        if !self.is_next(symbol) {
            return None;
        }
        self.next().map(|_| ())
    }

    fn operator(&mut self, level: &[(&str, Operator)]) -> Option<Operator> {
        let shown = match self.rest.first()? {
            Token::Symbol(symbol) => *symbol,
            Token::Name(name) => name.as_str(),
            Token::Number(_) | Token::Text(_) => return None,
        };
        let (_, operator) = level.iter().find(|(known, _)| *known == shown)?;
        self.next();
        Some(*operator)
    }

    fn chain(&mut self, level: usize, depth: usize) -> Option<Expression> {
        let Some(operators) = LEVELS.get(level) else { return self.signed(depth) };
        let first = self.chain(level.saturating_add(1), depth)?;
        let mut rest = Vec::new();
        while let Some(operator) = self.operator(operators) {
            rest.push((operator, self.chain(level.saturating_add(1), depth)?));
        }
        Some(if rest.is_empty() { first } else { Expression::Chain(Box::new(first), rest) })
    }

    fn signed(&mut self, depth: usize) -> Option<Expression> {
        if depth >= DEPTH_MAX {
            return None;
        }
        let deeper = depth.saturating_add(1);
        if self.take("-").is_some() {
            return Some(Expression::Negated(Box::new(self.signed(deeper)?)));
        }
        let base = self.operand(deeper)?;
        if self.take("^").is_none() {
            return Some(base);
        }
        let exponent = self.signed(deeper)?;
        Some(Expression::Chain(Box::new(base), vec![(Operator::Power, exponent)]))
    }

    fn operand(&mut self, depth: usize) -> Option<Expression> {
        match self.next()?.clone() {
            Token::Number(value) => Some(Expression::Number(value)),
            Token::Text(text) => Some(Expression::Text(text)),
            Token::Name(name) if self.take("(").is_some() => {
                let arguments = if self.is_next(")") { Vec::new() } else { self.list(depth)? };
                self.take(")")?;
                Some(Expression::Call(name, arguments))
            }
            Token::Name(name) if name.starts_with(|first: char| first.is_ascii_lowercase()) => {
                Some(Expression::Id(name))
            }
            Token::Name(name) => Some(Expression::Word(name)),
            Token::Symbol("(") => {
                let inner = self.chain(0, depth)?;
                self.take(")")?;
                Some(inner)
            }
            Token::Symbol("[") => {
                let items = self.list(depth)?;
                self.take("]")?;
                Some(Expression::List(items))
            }
            Token::Symbol(_) => None,
        }
    }

    fn list(&mut self, depth: usize) -> Option<Vec<Expression>> {
        let mut items = vec![self.chain(0, depth)?];
        while self.take(",").is_some() {
            items.push(self.chain(0, depth)?);
        }
        Some(items)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// With every parenthesis that precedence implies.
    fn shown(expression: &Expression) -> String {
        let list = |items: &[Expression]| items.iter().map(shown).collect::<Vec<_>>().join(", ");
        match expression {
            Expression::Number(value) => value.to_string(),
            Expression::Text(text) => format!("'{text}'"),
            Expression::Id(name) | Expression::Word(name) => name.clone(),
            Expression::Negated(inner) => format!("(-{})", shown(inner)),
            Expression::Chain(first, rest) => rest.iter().fold(shown(first), |left, (operator, right)| {
                format!("({left} {} {})", operator.shown(), shown(right))
            }),
            Expression::List(items) => format!("[{}]", list(items)),
            Expression::Call(name, arguments) => format!("{name}({})", list(arguments)),
        }
    }

    #[test]
    fn operators_bind_as_documented() {
        for (text, expected) in [
            ("m1+m2*m3", "(m1 + (m2 * m3))"),
            ("m1-m2-m3", "((m1 - m2) - m3)"),
            ("m1/m2*m3", "((m1 / m2) * m3)"),
            ("-m1^2", "(-(m1 ^ 2))"),
            ("2^-1", "(2 ^ (-1))"),
            ("2^m1^2", "(2 ^ (m1 ^ 2))"),
            ("-5*m1", "((-5) * m1)"),
            ("m1>15 AND m2>15", "((m1 > 15) AND (m2 > 15))"),
            ("m1 || m2 && m3", "(m1 OR (m2 AND m3))"),
            ("a OR b AND c == d+1", "(a OR (b AND (c == (d + 1))))"),
            ("(m1+m2)*100", "((m1 + m2) * 100)"),
            ("SUM(100/[m1, m2])", "SUM((100 / [m1, m2]))"),
            ("SORT(METRICS(), AVG, DESC, 10)", "SORT(METRICS(), AVG, DESC, 10)"),
            ("SUM(METRICS(\"errors\"))", "SUM(METRICS('errors'))"),
        ] {
            assert_eq!(parse(text).map(|tree| shown(&tree)).as_deref(), Some(expected), "{text}");
        }
    }

    #[test]
    fn what_is_no_expression_is_refused() {
        for text in ["", "m1+", "(m1", "m1)", "m1 m2", "[]", "[m1", "SUM(m1,)", "*m1", "AND m1", "SUM(,m1)", "m1,m2"] {
            assert_eq!(parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn nesting_is_bounded_and_length_is_not_depth() {
        let nested = |open: &str, close: &str, depth: usize| format!("{}m1{}", open.repeat(depth), close.repeat(depth));
        for (open, close) in [("(", ")"), ("-", ""), ("ABS(", ")"), ("[", "]"), ("2^", "")] {
            assert!(parse(&nested(open, close, DEPTH_MAX - 1)).is_some(), "{open}");
            assert!(parse(&nested(open, close, DEPTH_MAX)).is_none(), "{open}");
            assert!(parse(&nested(open, close, 4_000)).is_none(), "{open}");
        }
        assert!(parse(&["m1*m1"; 3_000].join("+")).is_some());
    }
}
