//! Reading `stats`: its aggregations, the expressions around them, and what they are grouped by.

use super::super::expression::{Expr, Ref};
use super::super::groups::Grouping;
use super::super::lex::{Malformed, Token};
use super::super::limits::STATS_MAX;
use super::super::rows::Order;
use super::super::run::Cut;
use super::super::stats::{Aggregate, Kind};
use super::super::value::{self, Value};
use super::scope::By;
use super::{Column, Parser};

/// What is read of a `stats`.
#[derive(Default)]
pub struct Counting {
    aggregates: Vec<Aggregate>,
    /// Inside an aggregation or a key: here a name means a field of the row, elsewhere nothing.
    pub is_inside: bool,
}

impl Parser<'_> {
    pub(super) fn stats(&mut self) -> Result<(), Malformed> {
        self.stats_count = self.stats_count.saturating_add(1);
        if self.stats_count > STATS_MAX || self.stats_count > 1 && self.is_ordered {
            return Err(self.unexpected());
        }
        self.advance()?;
        self.counting = Some(Counting::default());
        let (mut names, mut outputs) = (Vec::new(), Vec::new());
        loop {
            let (name, output) = self.named()?;
            names.push(name);
            outputs.push(output);
            if !self.take(",")? {
                break;
            }
        }
        let (mut keys, mut key_names) = (Vec::new(), Vec::new());
        if self.take_word("by")? {
            self.set_inside(true);
            loop {
                let (name, key) = self.named()?;
                key_names.push(name);
                keys.push(key);
                if !self.take(",")? {
                    break;
                }
            }
        }
        let Some(counting) = self.counting.take() else { return Ok(()) };
        let is_newest_first = matches!(keys.first(), Some(Expr::Floor { .. } | Expr::Ceil { .. }));
        self.cut(Cut::Groups(Grouping { keys, aggregates: counting.aggregates, outputs, is_newest_first }));
        let names: Vec<String> = key_names.into_iter().chain(names).collect();
        self.scope.count(names.iter().cloned());
        let column = |name: String| Some(Column { at: self.scope.place(&name)?, name });
        self.shown = names.into_iter().filter_map(column).collect();
        self.displayed = None;
        self.order = Order::default();
        self.is_ordered = false;
        self.clouded.clear();
        Ok(())
    }

    /// An output or a key, with the name that it will have.
    fn named(&mut self) -> Result<(String, Expr), Malformed> {
        let first = (self.token.clone(), self.span);
        let mut expr = self.expression()?;
        let mut name = self.text_since(&first);
        for _ in 0..2 {
            if self.take_word("offset")? {
                let by = self.period()?.as_millis();
                match &mut expr {
                    Expr::Floor { offset_ms, .. } => *offset_ms = by,
                    _ => return Err(self.unexpected()),
                }
            }
            if self.take_word("as")? {
                name = self.word()?;
                if self.scope.name(&name).is_some_and(|known| known.by != By::Text) {
                    return Err(self.refused(&format!("Ephemeral field is already defined: {name}")));
                }
            }
        }
        Ok((name, expr))
    }

    pub(super) fn aggregation(&mut self, mut kind: Kind) -> Result<Expr, Malformed> {
        let was_inside = self.counting.as_ref().is_some_and(|counting| counting.is_inside);
        if was_inside {
            return Err(self.unexpected());
        }
        self.set_inside(true);
        let of = match &self.token {
            Token::Symbol(")") if kind == Kind::Count => None,
            Token::Symbol("*") if kind == Kind::Count => {
                self.advance()?;
                None
            }
            _ => Some(self.expression()?),
        };
        if let Kind::Percentile(percent) = &mut kind
            && percent.is_nan()
        {
            self.expect(",")?;
            let Token::Number(digits) = self.token else { return Err(self.unexpected()) };
            *percent = value::number(digits).filter(|percent| *percent <= 100.0).ok_or_else(|| self.unexpected())?;
            self.advance()?;
        }
        self.set_inside(false);
        let Some(counting) = &mut self.counting else {
            // The whole command is read before it is refused, as its text is part of the error.
            self.is_stray = true;
            return Ok(Expr::Constant(Value::Missing));
        };
        counting.aggregates.push(Aggregate { kind, of });
        Ok(Expr::Field(Ref::Kept(counting.aggregates.len().saturating_sub(1))))
    }

    fn set_inside(&mut self, is_inside: bool) {
        if let Some(counting) = &mut self.counting {
            counting.is_inside = is_inside;
        }
    }
}
