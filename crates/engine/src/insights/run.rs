//! A query under way: events in, in any order and in as many parts as one likes, an answer out.

use std::cell::OnceCell;
use std::sync::Arc;

use super::expression::{Expr, Origin, Ref, Row};
use super::extract::Extract;
use super::groups::{Grouping, Groups};
use super::limits::ROWS_PER_EVENT_MAX;
use super::rows::{Order, Rows};
use super::stats::Moment;
use super::value::Value;
use super::{Answer, Event, Limits, Query, Window};

/// Commands that take a row each, and the cut that ends them, which sees all rows before it lets one go on.
#[derive(Debug, Clone)]
pub struct Pass {
    pub steps: Vec<Step>,
    /// How many values the steps make.
    pub made: usize,
    pub cut: Cut,
    /// What the next pass, or the answer, has of a row that the cut keeps. A count has its keys and outputs.
    pub keeps: Vec<Ref>,
}

#[derive(Debug, Clone)]
pub enum Step {
    Filter(Expr),
    Compute { expr: Expr, to: usize },
    Extract { from: Expr, by: Extract, to: Vec<usize> },
    Unnest { list: Expr, to: usize },
}

#[derive(Debug, Clone)]
pub enum Cut {
    Rows(Order),
    Groups(Grouping),
}

pub struct Run {
    query: Arc<Query>,
    window: Window,
    limits: Limits,
    kept: Kept,
    matched: u64,
}

/// What the cut of a pass has seen.
enum Kept {
    Rows(Rows),
    Groups(Groups),
}

impl Run {
    pub fn new(query: Arc<Query>, window: Window, limits: Limits) -> Run {
        let kept = Kept::new(&query.passes, &limits);
        Run { query, window, limits, kept, matched: 0 }
    }

    pub fn push(&mut self, event: &Event<'_>) {
        let Some(pass) = self.query.passes.first() else { return };
        let origin = Origin::Event { event, wanted: &self.query.wanted, found: OnceCell::new() };
        let moment = (event.timestamp_ms, event.ingestion_ms, event.pointer);
        let passed = Feed { pass, kept: &mut self.kept, moment, copies: 0, passed: 0 }.feed(&origin, &self.window);
        self.matched = self.matched.saturating_add(u64::from(passed > 0));
    }

    /// A run for some of the events, which this one will [merge](Run::merge). It does not keep what this one has no use for by
    /// now.
    pub fn part(&self) -> Run {
        let kept = match &self.kept {
            Kept::Rows(rows) => Kept::Rows(rows.part()),
            Kept::Groups(groups) => Kept::Groups(groups.part()),
        };
        Run { query: self.query.clone(), window: self.window, limits: self.limits, kept, matched: 0 }
    }

    /// Takes over what another run of the same query has seen of other events.
    pub fn merge(&mut self, other: Run) {
        self.matched = self.matched.saturating_add(other.matched);
        if let Some(pass) = self.query.passes.first() {
            self.kept.join(pass, other.kept);
        }
    }

    /// The query takes any rows, and has enough: more events need not be looked at.
    pub fn is_satisfied(&self) -> bool {
        match (self.query.passes.first().map(|pass| &pass.cut), &self.kept) {
            (Some(Cut::Rows(order)), Kept::Rows(rows)) => rows.is_enough(order),
            _ => false,
        }
    }

    pub fn finish(self) -> Answer {
        let Run { query, window, limits, mut kept, matched } = self;
        let mut is_cut = false;
        let mut passes = query.passes.as_slice();
        let mut rows = Vec::new();
        while let Some((pass, rest)) = passes.split_first() {
            is_cut |= kept.is_short();
            rows = kept.finish(pass, &window);
            kept = Kept::new(rest, &limits);
            passes = rest;
            if let Some(next) = rest.first() {
                for (place, row) in (0_i64..).zip(&rows) {
                    // The first row counts as the newest.
                    let moment = (place.saturating_neg(), 0, 0);
                    let feed = Feed { pass: next, kept: &mut kept, moment, copies: 0, passed: 0 };
                    feed.feed(&Origin::Kept(row), &window);
                }
            }
        }
        let cells = |row: Vec<Value<'static>>| {
            let cells = query.columns.iter().zip(row);
            cells.filter_map(|(name, value)| Some((name.clone(), value.shown()?))).collect()
        };
        Answer { rows: rows.into_iter().map(cells).collect(), matched, is_cut }
    }
}

impl Kept {
    /// For the first of these passes; the last one makes the answer.
    fn new(passes: &[Pass], limits: &Limits) -> Kept {
        match passes.split_first().map(|(pass, rest)| (&pass.cut, rest.is_empty())) {
            Some((Cut::Groups(_), _)) => Kept::Groups(Groups::new(limits)),
            Some((Cut::Rows(order), is_last)) => Kept::Rows(Rows::new(order, limits, is_last)),
            None => Kept::Rows(Rows::new(&Order::default(), limits, true)),
        }
    }

    fn add<'a>(&mut self, pass: &'a Pass, row: &Row<'_, 'a>, moment: Moment) {
        match (self, &pass.cut) {
            (Kept::Rows(rows), Cut::Rows(order)) => rows.add(order, &pass.keeps, row, moment),
            (Kept::Groups(groups), Cut::Groups(grouping)) => groups.add(grouping, row, moment),
            // Each is made for its pass.
            _ => {}
        }
    }

    fn join(&mut self, pass: &Pass, other: Kept) {
        match (self, other, &pass.cut) {
            (Kept::Rows(rows), Kept::Rows(others), _) => rows.join(others),
            (Kept::Groups(groups), Kept::Groups(others), Cut::Groups(grouping)) => groups.join(grouping, others),
            // Both are of one query.
            _ => {}
        }
    }

    fn is_short(&self) -> bool {
        match self {
            Kept::Rows(rows) => rows.is_short(),
            Kept::Groups(groups) => groups.is_short(),
        }
    }

    fn finish(self, pass: &Pass, window: &Window) -> Vec<Vec<Value<'static>>> {
        match (self, &pass.cut) {
            (Kept::Rows(rows), Cut::Rows(order)) => rows.finish(order),
            (Kept::Groups(groups), Cut::Groups(grouping)) => groups.finish(grouping, window),
            _ => Vec::new(),
        }
    }
}

/// One event, or one row of the pass before, on its way through a pass.
struct Feed<'p> {
    pass: &'p Pass,
    kept: &'p mut Kept,
    moment: (i64, i64, u128),
    /// Rows made beside the one that came.
    copies: usize,
    /// Rows that came to the end.
    passed: u32,
}

impl<'p> Feed<'p> {
    /// Says how many rows came to the end.
    fn feed<'a>(mut self, origin: &Origin<'a>, window: &'a Window) -> u32
    where
        'p: 'a,
    {
        let made = vec![Value::Missing; self.pass.made];
        self.walk(0, Row { origin, window, made });
        self.passed
    }

    /// From this step on. Recurses where a step makes several rows of one, so no deeper than there are steps.
    fn walk<'a>(&mut self, from: usize, mut row: Row<'_, 'a>)
    where
        'p: 'a,
    {
        let pass: &'p Pass = self.pass;
        for (index, step) in pass.steps.iter().enumerate().skip(from) {
            match step {
                Step::Filter(expr) if !expr.is_true(&row) => return,
                Step::Filter(_) => {}
                Step::Compute { expr, to } => {
                    let value = expr.value(&row);
                    row.set(*to, value);
                }
                Step::Extract { from, by, to } => {
                    let text = from.value(&row);
                    let matches = text.as_text().map_or(Vec::new(), |text| by.matches(&text));
                    self.split(index, &mut row, matches, |row, values| {
                        for (to, value) in to.iter().zip(values) {
                            row.set(*to, value);
                        }
                    });
                }
                Step::Unnest { list, to } => {
                    let elements = elements(list.value(&row));
                    self.split(index, &mut row, elements, |row, value| row.set(*to, value));
                }
            }
        }
        let (time, ingestion, pointer) = self.moment;
        // The first row of an event comes first, as if it were the newest.
        let moment = (time, ingestion, pointer, u32::MAX.saturating_sub(self.passed));
        self.passed = self.passed.saturating_add(1);
        self.kept.add(pass, &row, moment);
    }

    /// Sends a copy of the row down the rest of its way for each part but the last, which becomes the row's own.
    fn split<'a, P>(&mut self, step: usize, row: &mut Row<'_, 'a>, parts: Vec<P>, set: impl Fn(&mut Row<'_, 'a>, P))
    where
        'p: 'a,
    {
        let mut parts = parts.into_iter().peekable();
        while let Some(part) = parts.next() {
            if parts.peek().is_none() || self.copies >= ROWS_PER_EVENT_MAX {
                return set(row, part);
            }
            self.copies = self.copies.saturating_add(1);
            let mut copy = Row { origin: row.origin, window: row.window, made: row.made.clone() };
            set(&mut copy, part);
            self.walk(step.saturating_add(1), copy);
        }
    }
}

/// What is no list is its own only element.
fn elements(list: Value<'_>) -> Vec<Value<'_>> {
    let elements = match &list {
        Value::Json(json) => json.as_array(),
        _ => None,
    };
    match elements {
        Some(elements) => elements.iter().take(ROWS_PER_EVENT_MAX).map(Value::of).collect(),
        None => vec![list],
    }
}

impl<'a> Row<'_, 'a> {
    fn set(&mut self, to: usize, value: Value<'a>) {
        if let Some(place) = self.made.get_mut(to) {
            *place = value;
        }
    }
}
