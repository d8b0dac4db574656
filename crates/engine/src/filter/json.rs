//! `{ … }`: conditions on the fields of a message that is one JSON value.
//!
//! A message that is anything else does not match, whatever the condition. A condition on a field that is not there
//! holds only if it is `NOT EXISTS`: `!=` does not, nor does `IS NULL`. An object, an array and null are like nothing
//! and unlike nothing; true and false are like the text of their names. With a wildcard in its selector, a condition
//! holds if it does for any of the fields, and what is extracted is the first of them.

use super::Malformed;
use super::comparison::Comparison;
use super::cursor::{Cursor, is_name, is_word};
use super::logic::Logic;
use super::needle::Needles;
use super::scan::{Node, scan};

const WILDCARDS_PER_SELECTOR_MAX: usize = 1;
const WILDCARDS_PER_PATTERN_MAX: usize = 3;

#[derive(Debug, Clone)]
pub struct Json {
    /// Each once, in the order of the pattern.
    selectors: Vec<Selector>,
    conditions: Vec<Condition>,
    /// Of conditions, by their number.
    logic: Logic<usize>,
}

#[derive(Debug, Clone)]
struct Condition {
    selector: usize,
    test: Test,
}

#[derive(Debug, Clone)]
enum Test {
    Comparison(Comparison),
    Null,
    Bool(bool),
    Missing,
}

/// The way to a field, such as `$.users[*].name`.
#[derive(Debug, Clone)]
pub struct Selector {
    written: String,
    steps: Vec<Step>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    Name(String),
    Index(usize),
    AnyField,
    AnyElement,
}

impl Json {
    pub fn parse(cursor: &mut Cursor<'_>) -> Result<Json, Malformed> {
        let mut selectors = Vec::new();
        let mut conditions: Vec<Condition> = Vec::new();
        let mut wildcards = 0_usize;
        let logic = Logic::read(cursor, &mut |cursor| {
            let selector = Selector::read(cursor)?;
            wildcards = wildcards.saturating_add(selector.wildcards());
            let test = Test::read(cursor)?;
            conditions.push(Condition { selector: place(&mut selectors, selector), test });
            Ok(conditions.len().saturating_sub(1))
        })?;
        if !cursor.is_at_end() {
            return Err(cursor.unexpected());
        }
        if wildcards > WILDCARDS_PER_PATTERN_MAX {
            return Err(Malformed::Grammar);
        }
        Ok(Json { selectors, conditions, logic })
    }

    /// Extracts one more field, of which the pattern says nothing.
    pub fn watch(&mut self, selector: Selector) {
        place(&mut self.selectors, selector);
    }

    pub fn selectors(&self) -> &[Selector] {
        &self.selectors
    }

    pub fn matches(&self, message: &str) -> bool {
        let mut held = self.held_at_first();
        scan(message, &self.selectors, &mut |selector, node| self.meet(&mut held, selector, node)) && self.holds(&held)
    }

    pub fn extract(&self, message: &str) -> Option<Vec<(String, String)>> {
        let mut trial = Trial::new(self);
        let is_json = scan(message, &self.selectors, &mut |selector, node| trial.meet(selector, node));
        trial.finish().filter(|_| is_json)
    }

    /// Which conditions hold before any field was met.
    fn held_at_first(&self) -> Vec<bool> {
        self.conditions.iter().map(|condition| matches!(condition.test, Test::Missing)).collect()
    }

    fn meet(&self, held: &mut [bool], selector: usize, node: &Node<'_>) {
        for (condition, held) in self.conditions.iter().zip(held) {
            if condition.selector == selector {
                *held = condition.test.after(node, *held);
            }
        }
    }

    fn holds(&self, held: &[bool]) -> bool {
        self.logic.holds(&|condition| held.get(*condition) == Some(&true))
    }

    /// Any character of a name or a text may be written by its number, so that a message which has a `\u` somewhere
    /// has to be tried, too.
    pub fn needles(&self) -> Needles {
        let needles = self.logic.needles(&|condition| match self.conditions.get(*condition) {
            Some(condition) => self.condition_needles(condition),
            None => Needles::default(),
        });
        needles.or(Needles::name("\\u"))
    }

    fn condition_needles(&self, condition: &Condition) -> Needles {
        let value = match &condition.test {
            Test::Missing => return Needles::default(),
            Test::Null => "null",
            Test::Bool(true) => "true",
            Test::Bool(false) => "false",
            Test::Comparison(comparison) if comparison.is_number() => "",
            Test::Comparison(comparison) => comparison.literal().map(plain).unwrap_or_default(),
        };
        let names = self.selectors.get(condition.selector).map(Selector::needles).unwrap_or_default();
        Needles::all([names, Needles::value(value)].into_iter())
    }
}

/// A pattern on its way through a message.
pub struct Trial<'j> {
    json: &'j Json,
    held: Vec<bool>,
    /// The first of what each selector leads to.
    values: Vec<Option<String>>,
}

impl<'j> Trial<'j> {
    pub fn new(json: &'j Json) -> Trial<'j> {
        Trial { json, held: json.held_at_first(), values: vec![None; json.selectors.len()] }
    }

    /// One of the selectors leads there.
    pub fn meet(&mut self, selector: usize, node: &Node<'_>) {
        self.json.meet(&mut self.held, selector, node);
        if let Some(value) = self.values.get_mut(selector).filter(|value| value.is_none()) {
            *value = node.scalar().map(|scalar| scalar.text.to_owned());
        }
    }

    /// What was found, if it matches. Whether the message is JSON is the caller's to know.
    pub fn finish(self) -> Option<Vec<(String, String)>> {
        let named = self.json.selectors.iter().zip(self.values);
        let named = named.filter_map(|(selector, value)| Some((selector.written.clone(), value?)));
        self.json.holds(&self.held).then(|| named.collect())
    }
}

/// The longest part of a text that is written as it is, but for `\u`.
fn plain(text: &str) -> &str {
    let is_escaped = |c: char| matches!(c, '"' | '\\' | '/') || c.is_control();
    text.split(is_escaped).max_by_key(|part| part.len()).unwrap_or_default()
}

/// The number of a selector among those that there are, where it comes to stand if it is a new one.
pub fn place(selectors: &mut Vec<Selector>, selector: Selector) -> usize {
    selectors.iter().position(|other| other.written == selector.written).unwrap_or_else(|| {
        selectors.push(selector);
        selectors.len().saturating_sub(1)
    })
}

impl Test {
    fn read(cursor: &mut Cursor<'_>) -> Result<Test, Malformed> {
        cursor.blanks();
        let verb = cursor.take(is_word).to_ascii_uppercase();
        if verb.is_empty() {
            return Comparison::read(cursor).map(Test::Comparison);
        }
        cursor.blanks();
        let object = cursor.take(is_word).to_ascii_uppercase();
        match (&*verb, &*object) {
            ("IS", "NULL") => Ok(Test::Null),
            ("IS", "TRUE") => Ok(Test::Bool(true)),
            ("IS", "FALSE") => Ok(Test::Bool(false)),
            ("NOT", "EXISTS") => Ok(Test::Missing),
            _ => Err(Malformed::Grammar),
        }
    }

    /// Whether it holds once a field was met, if it did or did not before.
    fn after(&self, node: &Node<'_>, held: bool) -> bool {
        match self {
            Test::Missing => false,
            Test::Null => held || *node == Node::Null,
            Test::Bool(wanted) => held || *node == Node::Bool(*wanted),
            Test::Comparison(comparison) => held || node.scalar().is_some_and(|scalar| comparison.holds(scalar)),
        }
    }
}

impl Selector {
    /// One that stands alone.
    pub fn parse(text: &str) -> Option<Selector> {
        let mut cursor = Cursor::new(text);
        Selector::read(&mut cursor).ok().filter(|_| cursor.is_at_end())
    }

    fn read(cursor: &mut Cursor<'_>) -> Result<Selector, Malformed> {
        let start = *cursor;
        if !cursor.eat("$") {
            return Err(cursor.unexpected());
        }
        let mut steps = Vec::new();
        while cursor.is_at(".") || cursor.is_at("[") {
            steps.push(Step::read(cursor)?);
        }
        let selector = Selector { written: cursor.since(&start).to_owned(), steps };
        if selector.steps.is_empty() || selector.wildcards() > WILDCARDS_PER_SELECTOR_MAX {
            return Err(Malformed::Grammar);
        }
        Ok(selector)
    }

    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    fn wildcards(&self) -> usize {
        self.steps.iter().filter(|step| matches!(step, Step::AnyField | Step::AnyElement)).count()
    }

    fn needles(&self) -> Needles {
        Needles::all(self.steps.iter().map(|step| match step {
            Step::Name(name) if plain(name) == name => Needles::name(&format!("\"{name}\"")),
            Step::Name(name) => Needles::name(plain(name)),
            _ => Needles::default(),
        }))
    }
}

impl Step {
    fn read(cursor: &mut Cursor<'_>) -> Result<Step, Malformed> {
        if cursor.eat(".['") || cursor.eat("['") {
            let name = cursor.until('\'').ok_or(Malformed::Grammar)?;
            return if cursor.eat("]") { Ok(Step::Name(name.to_owned())) } else { Err(cursor.unexpected()) };
        }
        if cursor.eat(".*") {
            return Ok(Step::AnyField);
        }
        if cursor.eat("[*]") {
            return Ok(Step::AnyElement);
        }
        if cursor.eat("[") {
            let index = cursor.take(|c| c.is_ascii_digit()).parse().map_err(|_| Malformed::Grammar)?;
            return if cursor.eat("]") { Ok(Step::Index(index)) } else { Err(cursor.unexpected()) };
        }
        cursor.eat(".");
        match cursor.take(is_name) {
            "" => Err(cursor.invalid()),
            name => Ok(Step::Name(name.to_owned())),
        }
    }
}
