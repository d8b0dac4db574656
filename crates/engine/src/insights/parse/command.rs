//! Reading a command, but for `stats`.

use super::super::expression::Expr;
use super::super::extract::Extract;
use super::super::lex::{Malformed, Span, Token};
use super::super::limits::LIMIT_MAX;
use super::super::rows::Sort;
use super::super::run::Step;
use super::scope::By;
use super::{Column, Parser};

/// Commands of AWS's that are refused rather than misunderstood.
const NOT_YET: &[&str] = &[
    "source",
    "pattern",
    "anomaly",
    "addtotals",
    "lookup",
    "join",
    "autoregress",
    "logcompare",
    "filldown",
    "fillmissing",
    "cidrlookup",
    "outlier",
    "accum",
    "appendcols",
    "sessionize",
    "countfrequent",
    "relevantfields",
    "expand",
];

impl Parser<'_> {
    pub(super) fn command(&mut self) -> Result<(), Malformed> {
        let Token::Word { name, is_quoted: false } = &self.token else { return Err(self.unexpected()) };
        let name = name.to_ascii_lowercase();
        if self.is_deduplicated && !matches!(name.as_str(), "limit" | "head") {
            return Err(self.unexpected());
        }
        if self.is_cut {
            self.cut_rows();
        }
        match name.as_str() {
            "fields" => self.fields(),
            "display" => self.display(),
            "filter" | "where" | "search" | "filterindex" => self.filter(),
            "stats" => self.stats(),
            "sort" | "order" => self.sort(),
            "limit" | "head" => self.limit(false),
            "tail" => self.limit(true),
            "parse" => self.parse(),
            "dedup" => self.dedup(),
            "unnest" => self.unnest(),
            "unmask" => {
                self.advance()?;
                self.words().map(drop)
            }
            "diff" => {
                self.advance()?;
                Err(self.refused("Diff compilation Failed : Diff operation has to be used after Pattern"))
            }
            name if NOT_YET.contains(&name) => {
                self.advance()?;
                Err(self.refused(&format!("The command {name} is not supported yet")))
            }
            _ => Err(self.unexpected()),
        }
    }

    fn filter(&mut self) -> Result<(), Malformed> {
        self.advance()?;
        let filter = self.expression()?;
        self.steps.push(Step::Filter(filter));
        Ok(())
    }

    fn fields(&mut self) -> Result<(), Malformed> {
        self.advance()?;
        loop {
            let column = self.column(true)?;
            self.show(column);
            if !self.take(",")? {
                return Ok(());
            }
        }
    }

    fn display(&mut self) -> Result<(), Malformed> {
        self.advance()?;
        let mut columns: Vec<Column> = Vec::new();
        loop {
            let column = self.column(false)?;
            if columns.iter().all(|known| known.name != column.name) {
                columns.push(column);
            }
            if !self.take(",")? {
                self.displayed = Some(columns);
                return Ok(());
            }
        }
    }

    /// A field as it is, or an expression, which is computed here and has a name from now on.
    fn column(&mut self, is_definition: bool) -> Result<Column, Malformed> {
        let first = (self.token.clone(), self.span);
        let expr = self.expression()?;
        let text = self.text_since(&first);
        if self.take_word("as")? {
            let name = self.word()?;
            if self.shown.iter().any(|column| column.name == name) {
                self.clouded.push(name.clone());
            }
            let to = self.define(&name, By::Alias)?;
            return Ok(self.compute(expr, name, to));
        }
        if is_definition && self.scope.name(&text).is_some_and(|known| known.by == By::Parse) {
            return Err(self.refused(&format!("Ephemeral field is already defined: {text}")));
        }
        if let Some(at) = self.scope.place_of(&expr) {
            return Ok(Column { name: text, at });
        }
        let to = self.scope.define(&text, By::Text);
        Ok(self.compute(expr, text, to))
    }

    fn compute(&mut self, expr: Expr, name: String, to: usize) -> Column {
        self.steps.push(Step::Compute { expr, to });
        Column { at: self.scope.at(to), name }
    }

    /// A name may be given once.
    fn define(&mut self, name: &str, by: By) -> Result<usize, Malformed> {
        if self.scope.name(name).is_some_and(|known| known.by != By::Text) {
            return Err(self.refused(&format!("Ephemeral field is already defined: {name}")));
        }
        Ok(self.scope.define(name, by))
    }

    fn show(&mut self, column: Column) {
        match self.shown.iter_mut().find(|known| known.name == column.name) {
            Some(known) => known.at = column.at,
            None => self.shown.push(column),
        }
    }

    /// The text of an expression as it is written; of a name alone, the name without its quotes.
    pub(super) fn text_since(&self, first: &(Token<'_>, Span)) -> String {
        match first {
            (Token::Word { name, .. }, span) if span.end == self.end => name.clone().into_owned(),
            (_, span) => self.lexer.slice(Span { start: span.start, end: self.end }).to_owned(),
        }
    }

    fn sort(&mut self) -> Result<(), Malformed> {
        self.advance()?;
        let mut sort = Vec::new();
        loop {
            let span = self.span;
            let name = self.word()?;
            if self.is_symbol("(") {
                return Err(self.unexpected());
            }
            let by = self.field(&name, span)?;
            let is_descending = self.take_word("desc")?;
            if !is_descending {
                self.take_word("asc")?;
            }
            sort.push(Sort { by, is_descending });
            if !self.take(",")? {
                break;
            }
        }
        // What was sorted before decides where this leaves a choice.
        sort.append(&mut self.order.sort);
        self.order.sort = sort;
        self.is_ordered = true;
        Ok(())
    }

    fn limit(&mut self, is_tail: bool) -> Result<(), Malformed> {
        self.advance()?;
        self.order.is_any = !is_tail && self.take_word("any")?;
        self.order.is_tail = is_tail;
        let place = self.unexpected();
        let limit = usize::try_from(self.count()?).ok().filter(|limit| (1..=LIMIT_MAX).contains(limit));
        self.order.limit = Some(limit.ok_or(place)?);
        self.is_cut = true;
        self.is_ordered = true;
        Ok(())
    }

    fn dedup(&mut self) -> Result<(), Malformed> {
        self.advance()?;
        loop {
            let span = self.span;
            let name = self.word()?;
            let field = self.field(&name, span)?;
            self.order.dedup.push(field);
            if !self.take(",")? {
                self.is_deduplicated = true;
                return Ok(());
            }
        }
    }

    fn unnest(&mut self) -> Result<(), Malformed> {
        self.advance()?;
        let list = self.part()?;
        if !self.take_word("into")? && !self.take_word("as")? {
            return Err(self.unexpected());
        }
        let name = self.word()?;
        let to = self.define(&name, By::Alias)?;
        self.steps.push(Step::Unnest { list, to });
        self.show(Column { at: self.scope.at(to), name });
        Ok(())
    }

    fn parse(&mut self) -> Result<(), Malformed> {
        self.advance()?;
        let from = match self.token {
            Token::Text(_) | Token::Symbol("/") => self.field("@message", self.span)?,
            _ => self.part()?,
        };
        let (by, names) = match &self.token {
            Token::Text(pattern) => {
                let pattern = pattern.clone();
                self.advance()?;
                if !self.take_word("as")? {
                    return Err(self.unexpected());
                }
                let names = self.words()?;
                if pattern.matches('*').count() != names.len() {
                    return Err(self.refused("Number of wildcards and of names in parse are not the same"));
                }
                (Extract::glob(&pattern), names)
            }
            _ => self.parse_regex()?,
        };
        let mut to = Vec::new();
        for name in names {
            let place = self.define(&name, By::Parse)?;
            to.push(place);
            self.show(Column { at: self.scope.at(place), name });
        }
        self.steps.push(Step::Extract { from, by, to });
        Ok(())
    }

    fn parse_regex(&mut self) -> Result<(Extract, Vec<String>), Malformed> {
        let regex = self.regex()?;
        let mut is_multi = self.take_word("multi")?;
        let named = regex.capture_names().enumerate().filter_map(|(group, name)| Some((group, name?.to_owned())));
        let (mut groups, mut names): (Vec<usize>, Vec<String>) = named.unzip();
        if self.take_word("as")? {
            let unnamed = regex.capture_names().enumerate().skip(1).filter(|(_, name)| name.is_none());
            let unnamed: Vec<usize> = unnamed.map(|(group, _)| group).collect();
            let aliases = self.words()?;
            if unnamed.len() != aliases.len() {
                return Err(self.refused("Number of groups and of names in parse are not the same"));
            }
            groups.extend(unnamed);
            names.extend(aliases);
        }
        is_multi |= self.take_word("multi")?;
        if names.is_empty() {
            return Err(self.refused("No named group in the regular expression of parse"));
        }
        Ok((Extract::Regex { regex, groups, is_multi }, names))
    }
}
