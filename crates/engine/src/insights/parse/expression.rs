//! Reading an expression: `or` is the weakest, then `and`, `not`, comparisons, sums, products, powers, signs, parts.

use regex::{Regex, RegexBuilder};

use super::super::expression::{Comparison, Expr, Operator, Part, Pattern, Ref};
use super::super::function;
use super::super::lex::{Malformed, Span, Token};
use super::super::limits::{PATTERN_BYTES_MAX, PATTERNS_MAX};
use super::super::moment::Period;
use super::super::stats::Kind;
use super::super::value::{self, Value};
use super::Parser;
use super::scope::edge;

/// From here on a number is kept as its text, which tells whole numbers apart that doubles do not.
const EXACT_BELOW: f64 = 9_007_199_254_740_992.0;

const COMPARISONS: &[(&str, Comparison)] = &[
    ("=", Comparison::Equal),
    ("==", Comparison::Equal),
    ("!=", Comparison::NotEqual),
    ("<", Comparison::Less),
    ("<=", Comparison::LessOrEqual),
    (">", Comparison::Greater),
    (">=", Comparison::GreaterOrEqual),
];

impl Parser<'_> {
    pub(super) fn expression(&mut self) -> Result<Expr, Malformed> {
        let mut any = vec![self.and()?];
        while self.take_word("or")? {
            any.push(self.and()?);
        }
        Ok(one_or(any, Expr::Or))
    }

    fn and(&mut self) -> Result<Expr, Malformed> {
        let mut all = vec![self.not()?];
        while self.take_word("and")? {
            all.push(self.not()?);
        }
        Ok(one_or(all, Expr::And))
    }

    fn not(&mut self) -> Result<Expr, Malformed> {
        if self.take_word("not")? {
            return Ok(Expr::Not(Box::new(self.nested(Self::not)?)));
        }
        self.comparison()
    }

    fn comparison(&mut self) -> Result<Expr, Malformed> {
        let left = self.sum()?;
        if self.take_word("not")? {
            return Ok(Expr::Not(Box::new(self.membership(left)?)));
        }
        if self.is_word("like") || self.is_word("in") {
            return self.membership(left);
        }
        if self.take("=~")? {
            return Ok(Expr::Like(Box::new(left), Pattern::Regex(self.regex()?)));
        }
        let Some((_, comparison)) = COMPARISONS.iter().find(|(symbol, _)| self.is_symbol(symbol)) else {
            return Ok(left);
        };
        self.advance()?;
        self.node()?;
        Ok(Expr::Compare(Box::new(left), *comparison, Box::new(self.sum()?)))
    }

    fn membership(&mut self, left: Expr) -> Result<Expr, Malformed> {
        self.node()?;
        if self.take_word("like")? {
            let pattern = match &self.token {
                Token::Text(text) => {
                    let pattern = Pattern::text(text);
                    self.advance()?;
                    pattern
                }
                _ => Pattern::Regex(self.regex()?),
            };
            return Ok(Expr::Like(Box::new(left), pattern));
        }
        if !self.take_word("in")? {
            return Err(self.unexpected());
        }
        self.expect("[")?;
        let mut list = Vec::new();
        while !self.take("]")? {
            if !list.is_empty() {
                self.expect(",")?;
            }
            list.push(self.nested(Self::sum)?);
        }
        Ok(Expr::In(Box::new(left), list))
    }

    /// Between slashes, or as a string.
    pub(super) fn regex(&mut self) -> Result<Regex, Malformed> {
        let (pattern, span) = match &self.token {
            Token::Symbol("/") => {
                let (pattern, span) = self.lexer.regex(self.span.start)?;
                self.span = span;
                (pattern, span)
            }
            Token::Text(text) => (text.clone(), self.span),
            _ => return Err(self.unexpected()),
        };
        self.advance()?;
        self.patterns = self.patterns.saturating_add(1);
        if self.patterns > PATTERNS_MAX {
            return Err(self.lexer.refused(span, "Query cannot be compiled: too many regular expressions"));
        }
        let mut builder = RegexBuilder::new(&pattern);
        builder.size_limit(PATTERN_BYTES_MAX).nest_limit(100);
        builder.build().map_err(|_| self.lexer.refused(span, "Query cannot be compiled: invalid regular expression"))
    }

    fn sum(&mut self) -> Result<Expr, Malformed> {
        self.chain(Self::product, &[("+", Operator::Add), ("-", Operator::Subtract)])
    }

    fn product(&mut self) -> Result<Expr, Malformed> {
        let operators = [("*", Operator::Multiply), ("/", Operator::Divide), ("%", Operator::Modulo)];
        self.chain(Self::power, &operators)
    }

    fn power(&mut self) -> Result<Expr, Malformed> {
        self.chain(Self::sign, &[("^", Operator::Power)])
    }

    /// What is joined by operators of one strength.
    fn chain(
        &mut self,
        read: fn(&mut Self) -> Result<Expr, Malformed>,
        operators: &[(&str, Operator)],
    ) -> Result<Expr, Malformed> {
        let first = read(self)?;
        let mut rest = Vec::new();
        while let Some((_, operator)) = operators.iter().find(|(symbol, _)| self.is_symbol(symbol)) {
            self.advance()?;
            rest.push((*operator, read(self)?));
        }
        Ok(if rest.is_empty() { first } else { Expr::Arithmetic(Box::new(first), rest) })
    }

    fn sign(&mut self) -> Result<Expr, Malformed> {
        if self.take("-")? {
            return Ok(Expr::Negative(Box::new(self.nested(Self::sign)?)));
        }
        self.part()
    }

    /// A value, and parts of it by index and key.
    pub(super) fn part(&mut self) -> Result<Expr, Malformed> {
        let whole = self.primary()?;
        let mut parts = Vec::new();
        loop {
            if self.take("[")? {
                parts.push(Part::Index(self.nested(Self::sum)?));
                self.expect("]")?;
            } else if self.take(".")? {
                parts.push(Part::Key(self.word()?));
            } else {
                return Ok(if parts.is_empty() { whole } else { Expr::Part(Box::new(whole), parts) });
            }
        }
    }

    fn primary(&mut self) -> Result<Expr, Malformed> {
        self.node()?;
        let span = self.span;
        match self.token.clone() {
            Token::Number(digits) => {
                self.advance()?;
                let number = value::number(digits).filter(|number| *number < EXACT_BELOW);
                let value = number.map_or_else(|| Value::text(digits.to_owned()), Value::Number);
                Ok(Expr::Constant(value))
            }
            Token::Text(text) => {
                self.advance()?;
                Ok(Expr::Constant(Value::text(text)))
            }
            Token::Symbol("(") => {
                self.advance()?;
                let inner = self.nested(Self::expression)?;
                self.expect(")")?;
                Ok(inner)
            }
            Token::Word { name, is_quoted } => {
                self.advance()?;
                if !is_quoted && self.take("(")? {
                    let call = self.nested(|parser| parser.call(&name, span))?;
                    self.expect(")")?;
                    return Ok(call);
                }
                if !is_quoted && ["true", "false"].contains(&name.as_ref()) {
                    return Ok(Expr::Constant(Value::truth(name == "true")));
                }
                self.field(&name, span)
            }
            Token::Symbol(_) | Token::End => Err(self.unexpected()),
        }
    }

    /// What stands between the parentheses.
    fn call(&mut self, name: &str, span: Span) -> Result<Expr, Malformed> {
        if let Some(kind) = Kind::find(name) {
            return self.aggregation(kind);
        }
        match name.to_ascii_lowercase().as_str() {
            "bin" => self.bin(span),
            "datefloor" => {
                let moment = Box::new(self.expression()?);
                self.expect(",")?;
                Ok(Expr::Floor { moment, period: self.period()?, offset_ms: 0 })
            }
            "dateceil" => {
                let moment = Box::new(self.expression()?);
                self.expect(",")?;
                Ok(Expr::Ceil { moment, period: self.period()? })
            }
            "regexreplace" => {
                let text = Box::new(self.expression()?);
                self.expect(",")?;
                let regex = self.regex()?;
                self.expect(",")?;
                Ok(Expr::Replace(text, regex, Box::new(self.expression()?)))
            }
            _ => {
                if let Some(edge) = edge(name) {
                    return Ok(Expr::Field(Ref::Window(edge)));
                }
                let function = function::find(name).ok_or_else(|| self.lexer.unexpected(span))?;
                let arguments = self.arguments()?;
                let arity = function.arguments_min..=function.arguments_max;
                if arity.contains(&arguments.len()) {
                    return Ok(Expr::Call(function, arguments));
                }
                let message = format!("Invalid number of arguments for {}", function.name);
                Err(self.lexer.refused(Span { start: span.start, end: self.span.end }, &message))
            }
        }
    }

    fn arguments(&mut self) -> Result<Vec<Expr>, Malformed> {
        let mut arguments = Vec::new();
        while !self.is_symbol(")") {
            if !arguments.is_empty() {
                self.expect(",")?;
            }
            arguments.push(self.expression()?);
        }
        Ok(arguments)
    }

    /// Of the event's time, or of another one that comes first.
    fn bin(&mut self, span: Span) -> Result<Expr, Malformed> {
        let moment = if matches!(self.token, Token::Number(_)) {
            self.field("@timestamp", span)?
        } else {
            let moment = self.expression()?;
            self.expect(",")?;
            moment
        };
        Ok(Expr::Floor { moment: Box::new(moment), period: self.period()?, offset_ms: 0 })
    }

    /// `5m`: to the lexer a number and a name.
    pub(super) fn period(&mut self) -> Result<Period, Malformed> {
        let count = self.count()?;
        let Token::Word { name, .. } = &self.token else { return Err(self.unexpected()) };
        let period = Period::new(count, name).ok_or_else(|| self.unexpected())?;
        self.advance()?;
        Ok(period)
    }
}

fn one_or(mut exprs: Vec<Expr>, many: fn(Vec<Expr>) -> Expr) -> Expr {
    match exprs.pop() {
        Some(only) if exprs.is_empty() => only,
        Some(last) => {
            exprs.push(last);
            many(exprs)
        }
        None => many(exprs),
    }
}
