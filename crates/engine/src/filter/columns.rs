//! `[ … ]`: a message's fields by their places, parted by blanks.
//!
//! A field that begins with `"` or `[` goes to the next `"` or `]` and is what lies between, unless there is none. A
//! column is a name, a condition on that name, or nothing. `...` stands for any number of fields, and the columns behind
//! it count from the end. Without it, the last column takes all that is left of the line, as it is written. `[]` has
//! every message match.

use super::Malformed;
use super::comparison::{Comparison, Scalar};
use super::cursor::{Cursor, is_name};
use super::logic::Logic;
use super::needle::Needles;

#[derive(Debug, Clone, Default)]
pub struct Columns {
    columns: Vec<Column>,
    /// How many of them stand before `...`, if there is one.
    before: Option<usize>,
}

#[derive(Debug, Clone)]
struct Column {
    name: Option<String>,
    condition: Option<Logic<Comparison>>,
}

impl Columns {
    pub fn parse(cursor: &mut Cursor<'_>) -> Result<Columns, Malformed> {
        let mut all = Columns::default();
        cursor.blanks();
        if cursor.is_at_end() {
            return Ok(Columns { before: Some(0), ..all });
        }
        loop {
            cursor.blanks();
            if !cursor.eat("...") {
                all.columns.push(Column::read(cursor)?);
            } else if all.before.replace(all.columns.len()).is_some() {
                return Err(Malformed::Grammar);
            }
            cursor.blanks();
            if cursor.is_at_end() {
                return Ok(all);
            }
            if !cursor.eat(",") {
                return Err(cursor.unexpected());
            }
        }
    }

    pub fn matches(&self, message: &str) -> bool {
        self.matching(message).is_some()
    }

    pub fn extract(&self, message: &str) -> Option<Vec<(String, String)>> {
        let fields = self.matching(message)?;
        let names = (0..fields.len()).map(|index| self.name(index, fields.len()));
        Some(names.zip(&fields).map(|(name, field)| (name, (*field).to_owned())).collect())
    }

    pub fn needles(&self) -> Needles {
        let conditions = self.columns.iter().filter_map(|column| column.condition.as_ref());
        let literal = |comparison: &Comparison| comparison.literal().map(Needles::value).unwrap_or_default();
        Needles::all(conditions.map(|condition| condition.needles(&literal)))
    }

    /// The fields, if they match.
    fn matching<'m>(&self, message: &'m str) -> Option<Vec<&'m str>> {
        let fields = self.fields(message)?;
        let holds =
            |(index, field): (usize, &&str)| self.column(index, fields.len()).is_none_or(|column| column.holds(field));
        fields.iter().enumerate().all(holds).then_some(fields)
    }

    /// What the columns and `...` stand for, if there are fields enough.
    fn fields<'m>(&self, message: &'m str) -> Option<Vec<&'m str>> {
        let mut split = Split { message, at: 0, has_no_quote: false, has_no_bracket: false };
        if self.before.is_some() {
            let fields: Vec<&str> = split.map(|field| field.text).collect();
            return (fields.len() >= self.columns.len()).then_some(fields);
        }
        let mut fields = Vec::with_capacity(self.columns.len());
        let mut last = 0;
        for _ in &self.columns {
            let field = split.next()?;
            last = field.start;
            fields.push(field.text);
        }
        if split.next().is_some() {
            *fields.last_mut()? = message.get(last..)?.trim_ascii_end();
        }
        Some(fields)
    }

    /// Which column is this one of so many fields, unless `...` took it.
    fn column(&self, index: usize, count: usize) -> Option<&Column> {
        let Some(before) = self.before else { return self.columns.get(index) };
        if index < before {
            return self.columns.get(index);
        }
        let taken = count.saturating_sub(self.columns.len());
        let column = index.checked_sub(taken).filter(|column| *column >= before)?;
        self.columns.get(column)
    }

    fn name(&self, index: usize, count: usize) -> String {
        match self.column(index, count).and_then(|column| column.name.as_ref()) {
            Some(name) => format!("${name}"),
            None => format!("${}", index.saturating_add(1)),
        }
    }
}

impl Column {
    fn read(cursor: &mut Cursor<'_>) -> Result<Column, Malformed> {
        let mut ahead = *cursor;
        let name = ahead.take(is_name);
        ahead.blanks();
        if ahead.is_at_end() || ahead.is_at(",") {
            *cursor = ahead;
            return Ok(Column { name: (!name.is_empty()).then(|| name.to_owned()), condition: None });
        }
        let mut named: Option<String> = None;
        let condition = Logic::read(cursor, &mut |cursor| {
            let name = cursor.take(is_name);
            if name.is_empty() {
                return Err(cursor.unexpected());
            }
            // A column's condition is on that column alone.
            if *named.get_or_insert_with(|| name.to_owned()) != name {
                return Err(Malformed::Grammar);
            }
            Comparison::read(cursor)
        })?;
        Ok(Column { name: named, condition: Some(condition) })
    }

    fn holds(&self, field: &str) -> bool {
        let scalar = Scalar { text: field, is_number: false };
        self.condition.as_ref().is_none_or(|condition| condition.holds(&|comparison| comparison.holds(scalar)))
    }
}

/// A message's fields, one after the other.
struct Split<'m> {
    message: &'m str,
    at: usize,
    /// There is none to close a field with any more, so that it need not be looked for again.
    has_no_quote: bool,
    has_no_bracket: bool,
}

struct Field<'m> {
    /// Where it begins, its delimiter included.
    start: usize,
    text: &'m str,
}

impl<'m> Iterator for Split<'m> {
    type Item = Field<'m>;

    fn next(&mut self) -> Option<Field<'m>> {
        let rest = self.message.get(self.at..)?.trim_ascii_start();
        if rest.is_empty() {
            return None;
        }
        let start = self.message.len().saturating_sub(rest.len());
        let (text, length) = match self.enclosed(rest) {
            Some(text) => (text, text.len().saturating_add(2)),
            None => {
                let length = rest.bytes().position(|byte| byte.is_ascii_whitespace()).unwrap_or(rest.len());
                (rest.get(..length)?, length)
            }
        };
        self.at = start.saturating_add(length);
        Some(Field { start, text })
    }
}

impl<'m> Split<'m> {
    fn enclosed(&mut self, text: &'m str) -> Option<&'m str> {
        let (behind, close, has_none) = if let Some(behind) = text.strip_prefix('"') {
            (behind, '"', &mut self.has_no_quote)
        } else {
            (text.strip_prefix('[')?, ']', &mut self.has_no_bracket)
        };
        if *has_none {
            return None;
        }
        let inner = behind.split_once(close).map(|(inner, _)| inner);
        *has_none = inner.is_none();
        inner
    }
}
