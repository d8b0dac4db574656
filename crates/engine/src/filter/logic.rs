//! `&&`, `||` and parentheses between conditions, for JSON and for columns.

use super::Malformed;
use super::cursor::Cursor;
use super::needle::Needles;

/// Parentheses within parentheses.
const NESTING_MAX: usize = 64;

#[derive(Debug, Clone)]
pub enum Logic<T> {
    Leaf(T),
    All(Vec<Logic<T>>),
    Any(Vec<Logic<T>>),
}

type Leaf<'a, T> = &'a mut dyn FnMut(&mut Cursor<'_>) -> Result<T, Malformed>;

impl<T> Logic<T> {
    /// Reads conditions by `leaf`, as far as they go. `&&` binds closer than `||`.
    pub fn read(cursor: &mut Cursor<'_>, leaf: Leaf<'_, T>) -> Result<Logic<T>, Malformed> {
        Logic::any(cursor, NESTING_MAX, leaf)
    }

    fn any(cursor: &mut Cursor<'_>, nesting: usize, leaf: Leaf<'_, T>) -> Result<Logic<T>, Malformed> {
        let mut parts = vec![Logic::all(cursor, nesting, leaf)?];
        while cursor.eat("||") {
            parts.push(Logic::all(cursor, nesting, leaf)?);
        }
        Ok(Logic::Any(parts))
    }

    fn all(cursor: &mut Cursor<'_>, nesting: usize, leaf: Leaf<'_, T>) -> Result<Logic<T>, Malformed> {
        let mut parts = vec![Logic::one(cursor, nesting, leaf)?];
        while cursor.eat("&&") {
            parts.push(Logic::one(cursor, nesting, leaf)?);
        }
        Ok(Logic::All(parts))
    }

    fn one(cursor: &mut Cursor<'_>, nesting: usize, leaf: Leaf<'_, T>) -> Result<Logic<T>, Malformed> {
        cursor.blanks();
        let one = if cursor.eat("(") {
            let inner = Logic::any(cursor, nesting.checked_sub(1).ok_or(Malformed::Grammar)?, leaf)?;
            if !cursor.eat(")") {
                return Err(cursor.unexpected());
            }
            inner
        } else {
            Logic::Leaf(leaf(cursor)?)
        };
        cursor.blanks();
        Ok(one)
    }

    pub fn holds(&self, leaf: &dyn Fn(&T) -> bool) -> bool {
        match self {
            Logic::Leaf(condition) => leaf(condition),
            Logic::All(parts) => parts.iter().all(|part| part.holds(leaf)),
            Logic::Any(parts) => parts.iter().any(|part| part.holds(leaf)),
        }
    }

    pub fn needles(&self, leaf: &dyn Fn(&T) -> Needles) -> Needles {
        match self {
            Logic::Leaf(condition) => leaf(condition),
            Logic::All(parts) => Needles::all(parts.iter().map(|part| part.needles(leaf))),
            Logic::Any(parts) => Needles::any(parts.iter().map(|part| part.needles(leaf))),
        }
    }
}
