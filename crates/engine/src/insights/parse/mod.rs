//! From a query's text to the passes that answer it.
//!
//! One reading from the left to the right: each command adds its steps to the pass at hand, and `limit`, `tail` and
//! `stats` end a pass. Errors are AWS's where its words are known. Follows "Supported commands" of Logs Insights' user
//! guide.

mod command;
mod expression;
mod scope;
mod stats;

use super::expression::{Expr, Ref};
use super::lex::{Lexer, Malformed, Span, Token};
use super::limits::{COMMANDS_MAX, NESTING_MAX, NODES_MAX, QUERY_CHARS_MAX};
use super::rows::Order;
use super::run::{Cut, Pass, Step};
use super::{Query, needle};
use scope::{Place, Scope};
use stats::Counting;

pub struct Parser<'q> {
    lexer: Lexer<'q>,
    token: Token<'q>,
    span: Span,
    /// Where the token before ended.
    end: usize,
    /// Where the command at hand begins.
    command: usize,
    depth: usize,
    nodes: usize,
    patterns: usize,
    scope: Scope,
    /// While a `stats` is read.
    counting: Option<Counting>,
    /// An aggregation was read where none may be.
    is_stray: bool,
    passes: Vec<Pass>,
    steps: Vec<Step>,
    order: Order,
    /// A `limit` has ended the pass, but nothing came after it yet.
    is_cut: bool,
    /// A `dedup` came: only `limit` may come now.
    is_deduplicated: bool,
    /// Rows were sorted or cut since the last `stats`.
    is_ordered: bool,
    stats_count: usize,
    /// Names that were shown as the event's own and then made anew: `stats` knows them no more.
    clouded: Vec<String>,
    shown: Vec<Column>,
    /// What the last `display` shows, instead.
    displayed: Option<Vec<Column>>,
}

struct Column {
    name: String,
    at: Place,
}

pub fn query(text: &str) -> Result<Query, Malformed> {
    let mut lexer = Lexer::new(text);
    let all = Span { start: 0, end: text.len() };
    if text.chars().count() > QUERY_CHARS_MAX {
        return Err(lexer.failed(all, "Query cannot be compiled"));
    }
    let (token, span) = lexer.token()?;
    Parser::new(lexer, token, span).query()
}

impl<'q> Parser<'q> {
    fn new(lexer: Lexer<'q>, token: Token<'q>, span: Span) -> Parser<'q> {
        Parser {
            lexer,
            token,
            span,
            end: 0,
            command: 0,
            depth: 0,
            nodes: 0,
            patterns: 0,
            scope: Scope::default(),
            counting: None,
            is_stray: false,
            passes: Vec::new(),
            steps: Vec::new(),
            order: Order::default(),
            is_cut: false,
            is_deduplicated: false,
            is_ordered: false,
            stats_count: 0,
            clouded: Vec::new(),
            shown: Vec::new(),
            displayed: None,
        }
    }

    fn query(mut self) -> Result<Query, Malformed> {
        self.take("|")?;
        for _ in 0..COMMANDS_MAX {
            self.command = self.span.start;
            self.command()?;
            if self.is_stray {
                let text: String = self.lexer.slice(self.whole()).split_whitespace().collect();
                return Err(self.refused(&format!("No aggregation function expression allowed: {text}")));
            }
            if self.token == Token::End {
                return Ok(self.finish());
            }
            if !self.take("|")? {
                return Err(self.unexpected());
            }
        }
        Err(self.refused("Query cannot be compiled"))
    }

    fn finish(mut self) -> Query {
        let is_aggregate = self.scope.is_counted;
        let mut columns = self.displayed.take().unwrap_or_else(|| std::mem::take(&mut self.shown));
        if columns.is_empty() && !is_aggregate {
            let names = ["@timestamp", "@message"].into_iter();
            columns
                .extend(names.filter_map(|name| Some(Column { name: name.to_owned(), at: self.scope.place(name)? })));
        }
        // Each row of the log has its pointer, at its end.
        columns.retain(|column| is_aggregate || column.name != "@ptr");
        let pointer = self.scope.place("@ptr").filter(|_| !is_aggregate);
        columns.extend(pointer.map(|at| Column { name: "@ptr".to_owned(), at }));
        let keeps: Vec<Ref> = columns.iter().map(|column| self.scope.bring(column.at)).collect();
        self.cut_rows();
        self.scope.keeps.pop();
        self.scope.keeps.push(keeps);
        for (pass, keeps) in self.passes.iter_mut().zip(self.scope.keeps) {
            pass.keeps = keeps;
        }
        let needle = needle::of(&self.passes, &self.scope.wanted);
        let columns = columns.into_iter().map(|column| column.name).collect();
        Query { passes: self.passes, wanted: self.scope.wanted, columns, is_aggregate, needle }
    }

    /// Ends the pass at hand by what keeps rows.
    fn cut_rows(&mut self) {
        let cut = Cut::Rows(std::mem::take(&mut self.order));
        self.cut(cut);
        self.scope.cut();
    }

    fn cut(&mut self, cut: Cut) {
        let steps = std::mem::take(&mut self.steps);
        self.passes.push(Pass { steps, made: self.scope.made, cut, keeps: Vec::new() });
        self.is_cut = false;
    }

    fn advance(&mut self) -> Result<(), Malformed> {
        self.end = self.span.end;
        (self.token, self.span) = self.lexer.token()?;
        Ok(())
    }

    fn unexpected(&self) -> Malformed {
        self.lexer.unexpected(self.span)
    }

    /// The command so far.
    fn whole(&self) -> Span {
        Span { start: self.command, end: self.end }
    }

    fn refused(&self, message: &str) -> Malformed {
        self.lexer.refused(self.whole(), message)
    }

    fn is_symbol(&self, symbol: &str) -> bool {
        matches!(self.token, Token::Symbol(found) if found == symbol)
    }

    fn is_word(&self, word: &str) -> bool {
        matches!(&self.token, Token::Word { name, is_quoted: false } if name.eq_ignore_ascii_case(word))
    }

    /// Takes the symbol if it comes next.
    fn take(&mut self, symbol: &str) -> Result<bool, Malformed> {
        let is_there = self.is_symbol(symbol);
        if is_there {
            self.advance()?;
        }
        Ok(is_there)
    }

    fn take_word(&mut self, word: &str) -> Result<bool, Malformed> {
        let is_there = self.is_word(word);
        if is_there {
            self.advance()?;
        }
        Ok(is_there)
    }

    fn expect(&mut self, symbol: &str) -> Result<(), Malformed> {
        if self.take(symbol)? { Ok(()) } else { Err(self.unexpected()) }
    }

    /// Any name.
    fn word(&mut self) -> Result<String, Malformed> {
        let Token::Word { name, .. } = &self.token else { return Err(self.unexpected()) };
        let name = name.clone().into_owned();
        self.advance()?;
        Ok(name)
    }

    /// Whole and not negative.
    fn count(&mut self) -> Result<i64, Malformed> {
        let Token::Number(digits) = self.token else { return Err(self.unexpected()) };
        let count = digits.parse().map_err(|_| self.unexpected())?;
        self.advance()?;
        Ok(count)
    }

    /// Names with commas between.
    fn words(&mut self) -> Result<Vec<String>, Malformed> {
        let mut words = vec![self.word()?];
        while self.take(",")? {
            words.push(self.word()?);
        }
        Ok(words)
    }

    /// One level deeper.
    fn nested<T>(&mut self, read: impl FnOnce(&mut Self) -> Result<T, Malformed>) -> Result<T, Malformed> {
        if self.depth >= NESTING_MAX {
            return Err(self.unexpected());
        }
        self.depth = self.depth.saturating_add(1);
        let read = read(self);
        self.depth = self.depth.saturating_sub(1);
        read
    }

    /// One more part of an expression.
    fn node(&mut self) -> Result<(), Malformed> {
        self.nodes = self.nodes.saturating_add(1);
        if self.nodes > NODES_MAX { Err(self.refused("Query cannot be compiled")) } else { Ok(()) }
    }

    /// What a name is worth here.
    fn field(&mut self, name: &str, span: Span) -> Result<Expr, Malformed> {
        let is_between = self.counting.as_ref().is_some_and(|counting| !counting.is_inside);
        let is_clouded = self.counting.is_some() && self.clouded.iter().any(|clouded| clouded == name);
        let value = if is_between || is_clouded { None } else { self.scope.value(name) };
        value.ok_or_else(|| self.lexer.failed(span, &format!("Unknown symbols found in or after stats: {name}")))
    }
}
