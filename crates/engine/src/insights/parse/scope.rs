//! What a name of a query means at a place of it.
//!
//! Names of commands come before the event's own fields, and what is neither is looked for in the event. A cut lets
//! only go on what a later command, or the answer, names: asking for something of before the cut makes the cut keep it.
//! After a `stats` there is nothing but what it made.

use super::super::discover::Wanted;
use super::super::expression::{Edge, Expr, Part, Ref, System};

#[derive(Default)]
pub struct Scope {
    names: Vec<Name>,
    pub wanted: Wanted,
    /// What each pass hands on, the one at hand the last.
    pub keeps: Vec<Vec<Ref>>,
    /// How many values the steps of the pass at hand make.
    pub made: usize,
    /// A `stats` came before, and hides the event.
    pub is_counted: bool,
}

pub struct Name {
    pub name: String,
    at: Place,
    pub by: By,
}

/// What made a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    Parse,
    Alias,
    /// The text of an expression that has no alias, or an output of `stats`: neither minds another one.
    Text,
}

/// A value of a pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    pass: usize,
    at: Ref,
}

impl Scope {
    pub fn name(&self, name: &str) -> Option<&Name> {
        self.names.iter().rev().find(|known| known.name == name)
    }

    /// A name for something that a step of the pass at hand makes, and the number of that.
    pub fn define(&mut self, name: &str, by: By) -> usize {
        let to = self.made;
        self.names.push(Name { name: name.to_owned(), at: self.at(to), by });
        self.made = to.saturating_add(1);
        to
    }

    pub fn at(&self, made: usize) -> Place {
        Place { pass: self.pass(), at: Ref::Made(made) }
    }

    /// A pass ends here, and the next one begins.
    pub fn cut(&mut self) {
        self.keeps.push(Vec::new());
        self.made = 0;
    }

    /// A `stats` ends here, which made these; the next pass begins.
    pub fn count(&mut self, names: impl Iterator<Item = String>) {
        self.cut();
        let pass = self.pass();
        let names = names.enumerate();
        self.names =
            names.map(|(index, name)| Name { name, at: Place { pass, at: Ref::Kept(index) }, by: By::Text }).collect();
        self.is_counted = true;
    }

    /// What the name is worth in the pass at hand; `None` if nothing can have that name.
    pub fn value(&mut self, name: &str) -> Option<Expr> {
        if let Some(place) = self.place(name) {
            return Some(Expr::Field(self.bring(place)));
        }
        // A part of something made; what is nearest to the whole name counts.
        for (dot, _) in name.rmatch_indices('.') {
            let (whole, part) = (name.get(..dot).unwrap_or_default(), name.get(dot.saturating_add(1)..));
            if let (Some(known), Some(part)) = (self.name(whole).map(|known| known.at), part) {
                let whole = Expr::Field(self.bring(known));
                return Some(Expr::Part(Box::new(whole), vec![Part::Key(part.to_owned())]));
            }
        }
        let place = self.event(name)?;
        Some(Expr::Field(self.bring(place)))
    }

    /// Where the very name is, unless it is only a part of something.
    pub fn place(&self, name: &str) -> Option<Place> {
        let system = match name {
            "@timestamp" => System::Timestamp,
            "@ingestionTime" => System::IngestionTime,
            "@message" => System::Message,
            "@logStream" => System::Stream,
            "@log" => System::Log,
            "@ptr" => System::Pointer,
            _ => return self.name(name).map(|known| known.at),
        };
        let known = self.name(name).map(|known| known.at);
        known.or((!self.is_counted).then_some(Place { pass: 0, at: Ref::System(system) }))
    }

    /// A field that is looked for in the event.
    fn event(&mut self, name: &str) -> Option<Place> {
        if self.is_counted {
            return None;
        }
        let names = &mut self.wanted.names;
        let known = names.iter().position(|known| known == name);
        let index = known.unwrap_or_else(|| {
            names.push(name.to_owned());
            names.len().saturating_sub(1)
        });
        Some(Place { pass: 0, at: Ref::Found(index) })
    }

    /// Where the value is in the pass at hand: each cut between keeps it.
    pub fn bring(&mut self, place: Place) -> Ref {
        let mut at = place.at;
        for keeps in self.keeps.iter_mut().skip(place.pass) {
            let known = keeps.iter().position(|kept| *kept == at);
            at = Ref::Kept(known.unwrap_or_else(|| {
                keeps.push(at);
                keeps.len().saturating_sub(1)
            }));
        }
        at
    }

    /// The field's place, if the expression is nothing but a field.
    pub fn place_of(&self, expr: &Expr) -> Option<Place> {
        match expr {
            Expr::Field(at) => Some(Place { pass: self.pass(), at: *at }),
            _ => None,
        }
    }

    /// How many cuts came before.
    fn pass(&self) -> usize {
        self.keeps.len()
    }
}

/// A function that is worth the same for each row of a query.
pub fn edge(name: &str) -> Option<Edge> {
    let edges = [
        ("now", Edge::Now),
        ("queryStartTime", Edge::Start),
        ("queryEndTime", Edge::End),
        ("queryTimeRange", Edge::Length),
    ];
    edges.into_iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, edge)| edge)
}
