//! The language of SEARCH: `{Namespace,Dimension,…} terms`, and which metrics it finds.
//!
//! The schema finds metrics with exactly these dimensions. A term that stands alone is looked for in the namespace, the
//! name and the dimensions' names and values; one behind `Property=` in that alone. Quoted, it must be the whole text,
//! letter by letter. Otherwise both are cut into tokens, where small letters, capitals, digits and all else meet:
//! `CustomCount1` is `custom`, `count` and `1`. Each token of the term must be one or several whole tokens of the text,
//! side by side and in any case. Terms side by side must all match; NOT binds more than AND, AND more than OR.
//!
//! Follows "CloudWatch search expression syntax" of the CloudWatch user guide, and where AWS does otherwise, AWS:
//! `customcount` finds `CustomCount1`.

use super::{DEPTH_MAX, Metric};

/// AWS takes no longer one.
pub const SEARCH_CHARS_MAX: usize = 1_024;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Search {
    schema: Option<Schema>,
    /// Without one, all metrics of the schema match.
    term: Option<Term>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Schema {
    namespace: String,
    /// In order. One that is named twice is never matched, as on AWS.
    dimensions: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Term {
    All(Vec<Term>),
    Any(Vec<Term>),
    Not(Box<Term>),
    Is(Property, Pattern),
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Property {
    Anywhere,
    Namespace,
    MetricName,
    AccountId,
    Dimension(String),
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Pattern {
    Exact(String),
    Tokens(Vec<String>),
}

impl Search {
    /// `None` if it is none; AWS does not say why.
    pub fn parse(text: &str) -> Option<Search> {
        if text.chars().count() > SEARCH_CHARS_MAX {
            return None;
        }
        let text = text.trim();
        let (schema, terms) = match text.strip_prefix('{') {
            Some(inside) => {
                let (schema, rest) = schema(inside)?;
                let rest = rest.trim_start();
                (Some(schema), rest.strip_prefix(',').unwrap_or(rest))
            }
            None => (None, text),
        };
        let pieces = pieces(terms)?;
        let mut parser = Parser { rest: &pieces };
        let term = if pieces.is_empty() { None } else { Some(parser.any(&Property::Anywhere, 0)?) };
        parser.rest.is_empty().then_some(Search { schema, term })
    }

    /// Whose metrics alone can match, if that is known.
    pub fn namespace(&self) -> Option<&str> {
        self.schema.as_ref().map(|schema| schema.namespace.as_str())
    }

    /// `account_id` is whose metric it is; `LOCAL` in a search means it too.
    pub fn matches(&self, metric: &Metric, account_id: &str) -> bool {
        self.schema.as_ref().is_none_or(|schema| schema.matches(metric))
            && self.term.as_ref().is_none_or(|term| term.matches(metric, account_id))
    }
}

impl Schema {
    fn matches(&self, metric: &Metric) -> bool {
        let names = metric.dimensions.iter().map(|(name, _)| name);
        self.namespace == metric.namespace && self.dimensions.iter().eq(names)
    }
}

impl Term {
    fn matches(&self, metric: &Metric, account_id: &str) -> bool {
        match self {
            Term::All(terms) => terms.iter().all(|term| term.matches(metric, account_id)),
            Term::Any(terms) => terms.iter().any(|term| term.matches(metric, account_id)),
            Term::Not(term) => !term.matches(metric, account_id),
            Term::Is(Property::Namespace, pattern) => pattern.matches(&metric.namespace),
            Term::Is(Property::MetricName, pattern) => pattern.matches(&metric.name),
            Term::Is(Property::AccountId, pattern) => pattern.matches(account_id) || pattern.matches("LOCAL"),
            Term::Is(Property::Dimension(name), pattern) => {
                metric.dimension(name).is_some_and(|value| pattern.matches(value))
            }
            Term::Is(Property::Anywhere, pattern) => {
                let dimensions = metric.dimensions.iter().flat_map(|(name, value)| [name, value]);
                [&metric.namespace, &metric.name].into_iter().chain(dimensions).any(|text| pattern.matches(text))
            }
        }
    }
}

impl Pattern {
    fn matches(&self, text: &str) -> bool {
        match self {
            Pattern::Exact(exact) => exact == text,
            Pattern::Tokens(wanted) => {
                let tokens = tokens(text);
                let begins_at = |from| tokens.get(from..).is_some_and(|tokens| begins(tokens, wanted));
                !wanted.is_empty() && (0..tokens.len()).any(begins_at)
            }
        }
    }
}

/// Whether `tokens` begin with all that are `wanted`, each of which may be several of them.
fn begins(tokens: &[&str], wanted: &[String]) -> bool {
    let mut tokens = tokens.iter();
    wanted.iter().all(|whole| {
        let mut rest = whole.as_str();
        while !rest.is_empty() {
            let Some(token) = tokens.next() else { return false };
            match rest.split_at_checked(token.len()) {
                Some((same, after)) if same.eq_ignore_ascii_case(token) => rest = after,
                _ => return false,
            }
        }
        true
    })
}

#[derive(PartialEq, Eq, Clone, Copy)]
enum Class {
    Small,
    Capital,
    Digit,
    Neither,
}

fn class(letter: char) -> Class {
    match letter {
        _ if letter.is_numeric() => Class::Digit,
        _ if letter.is_uppercase() => Class::Capital,
        _ if letter.is_alphabetic() => Class::Small,
        _ => Class::Neither,
    }
}

fn tokens(text: &str) -> Vec<&str> {
    let mut cuts = vec![0];
    let mut previous: Option<(usize, Class)> = None;
    for (at, letter) in text.char_indices() {
        let class = class(letter);
        match previous {
            // The last of several capitals begins the word of the small letters behind it.
            Some((before, Class::Capital)) if class == Class::Small => cuts.push(before),
            Some((_, before)) if before != class => cuts.push(at),
            _ => {}
        }
        previous = Some((at, class));
    }
    cuts.push(text.len());
    let pieces = cuts.windows(2).filter_map(|pair| match pair {
        [from, to] => text.get(*from..*to),
        _ => None,
    });
    pieces.filter(|piece| piece.starts_with(|first: char| class(first) != Class::Neither)).collect()
}

/// What stands between braces, the first of which was read, and what is behind them.
fn schema(inside: &str) -> Option<(Schema, &str)> {
    let mut names = Vec::new();
    let mut rest = inside;
    loop {
        let (name, after) = match rest.trim_start().strip_prefix('"') {
            Some(quoted) => unquoted(quoted)?,
            None => {
                let end = rest.find([',', '}'])?;
                let (name, after) = rest.split_at_checked(end)?;
                (name.trim().to_owned(), after)
            }
        };
        if name.is_empty() {
            return None;
        }
        names.push(name);
        let after = after.trim_start();
        match after.strip_prefix(',') {
            Some(next) => rest = next,
            None => {
                let behind = after.strip_prefix('}')?;
                let namespace = names.remove(0);
                names.sort();
                return Some((Schema { namespace, dimensions: names }, behind));
            }
        }
    }
}

/// Up to the closing quotation mark. A backslash takes the character behind it as it is.
fn unquoted(quoted: &str) -> Option<(String, &str)> {
    let mut chars = quoted.chars();
    let mut text = String::new();
    loop {
        match chars.next()? {
            '"' => return Some((text, chars.as_str())),
            '\\' => text.push(chars.next()?),
            found => text.push(found),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Open,
    Close,
    Equals,
    Quoted(String),
    Word(String),
}

fn pieces(text: &str) -> Option<Vec<Piece>> {
    let mut found = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let behind = rest.get(first.len_utf8()..)?;
        let (piece, after) = match first {
            '(' => (Piece::Open, behind),
            ')' => (Piece::Close, behind),
            '=' => (Piece::Equals, behind),
            '"' => {
                let (text, after) = unquoted(behind)?;
                (Piece::Quoted(text), after)
            }
            _ => {
                let is_end = |letter: char| letter.is_whitespace() || matches!(letter, '(' | ')' | '=' | '"');
                let (word, after) = rest.split_at_checked(rest.find(is_end).unwrap_or(rest.len()))?;
                (Piece::Word(word.into()), after)
            }
        };
        found.push(piece);
        rest = after.trim_start();
    }
    Some(found)
}

struct Parser<'a> {
    rest: &'a [Piece],
}

impl Parser<'_> {
    fn is_next(&self, word: &str) -> bool {
        matches!(self.rest.first(), Some(Piece::Word(found)) if found == word)
    }

    fn take(&mut self, is_it: bool) -> bool {
        if is_it && let Some((_, rest)) = self.rest.split_first() {
            self.rest = rest;
        }
        is_it
    }

    fn any(&mut self, property: &Property, depth: usize) -> Option<Term> {
        let mut terms = vec![self.all(property, depth)?];
        while self.take(self.is_next("OR")) {
            terms.push(self.all(property, depth)?);
        }
        Some(Term::Any(terms))
    }

    fn all(&mut self, property: &Property, depth: usize) -> Option<Term> {
        let mut terms = vec![self.one(property, depth)?];
        while !self.is_next("OR") && !matches!(self.rest.first(), None | Some(Piece::Close)) {
            self.take(self.is_next("AND"));
            terms.push(self.one(property, depth)?);
        }
        Some(Term::All(terms))
    }

    fn one(&mut self, property: &Property, depth: usize) -> Option<Term> {
        if depth >= DEPTH_MAX {
            return None;
        }
        let deeper = depth.saturating_add(1);
        if self.take(self.is_next("NOT")) {
            return Some(Term::Not(Box::new(self.one(property, deeper)?)));
        }
        let (first, rest) = self.rest.split_first()?;
        self.rest = rest;
        let (text, pattern) = match first {
            Piece::Open => {
                let inner = self.any(property, deeper)?;
                return self.take(self.rest.first() == Some(&Piece::Close)).then_some(inner);
            }
            Piece::Close | Piece::Equals => return None,
            Piece::Word(word) if matches!(word.as_str(), "AND" | "OR") => return None,
            Piece::Word(word) => (word, Pattern::Tokens(tokens(word).into_iter().map(str::to_owned).collect())),
            Piece::Quoted(text) => (text, Pattern::Exact(text.clone())),
        };
        if !self.take(self.rest.first() == Some(&Piece::Equals)) {
            return Some(Term::Is(property.clone(), pattern));
        }
        // A property has a value, or several in parentheses, and these have no properties of their own.
        if *property != Property::Anywhere || matches!(self.rest.first(), Some(Piece::Word(word)) if word == "NOT") {
            return None;
        }
        let named = match text.as_str() {
            "Namespace" => Property::Namespace,
            "MetricName" => Property::MetricName,
            ":aws.AccountId" => Property::AccountId,
            dimension => Property::Dimension(dimension.into()),
        };
        self.one(&named, deeper)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn tokens_are_cut_as_documented() {
        for (text, expected) in [
            ("CustomCount1", vec!["Custom", "Count", "1"]),
            ("SDBFailure", vec!["SDB", "Failure"]),
            ("Project2-trial333", vec!["Project", "2", "trial", "333"]),
            ("Network-Errors_2", vec!["Network", "Errors", "2"]),
            ("couNT", vec!["cou", "NT"]),
            ("8c31d8", vec!["8", "c", "31", "d", "8"]),
            ("--", vec![]),
            ("", vec![]),
            ("Ä", vec!["Ä"]),
        ] {
            assert_eq!(tokens(text), expected, "{text}");
        }
    }

    /// One letter each, so that what a search finds is a word.
    fn metrics() -> Vec<(char, Metric)> {
        let metric = |letter, name: &str, dimensions: &[(&str, &str)]| {
            let dimensions = dimensions.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
            (letter, Metric::new("Probe/Project2-trial333", name, dimensions))
        };
        vec![
            metric('a', "CustomCount1", &[("ServiceName", "Project2-trial333"), ("Node", "blue")]),
            metric('b', "CustomCount1", &[("ServiceName", "Project2-trial333")]),
            metric('c', "CustomCount1", &[]),
            metric('d', "customcount1", &[("ServiceName", "Alpha"), ("Node", "lower")]),
            metric('e', "SDBFailure", &[("ServiceName", "Beta"), ("Node", "red")]),
            metric('f', "Network-Errors_2", &[("ServiceName", "Beta"), ("Node", "blue")]),
            metric('g', "NetworkErrors2", &[("ServiceName", "Gamma"), ("Node", "green")]),
            metric('h', "KeyWitness", &[("CustomCount1", "ExactValue")]),
            metric('i', "ValueWitness", &[("ServiceName", "CustomCount1")]),
            metric('j', "Europe\\France Traffic(Network)\"Quote", &[("Dimension@Name", "zone'one")]),
            metric('k', "CustomCount1", &[("ServiceName", "Alpha"), ("Node", "red"), ("Extra", "x")]),
            metric('l', "CustomCount1", &[("OtherKey", "Project2-trial333")]),
        ]
    }

    fn found(search: &str) -> Option<String> {
        let search = Search::parse(search)?;
        let found = metrics().into_iter().filter(|(_, metric)| search.matches(metric, "123456789012"));
        Some(found.map(|(letter, _)| letter).collect())
    }

    #[test]
    fn searches_find_what_aws_found() {
        for (search, expected) in [
            ("", "abcdefghijkl"),
            ("MetricName=\"CustomCount1\"", "abckl"),
            ("MetricName=\"customcount1\"", "d"),
            ("ServiceName=\"Project2-trial333\"", "ab"),
            ("ServiceName=trial", "ab"),
            ("servicename=trial", ""),
            ("\"CustomCount1\"", "abchikl"),
            ("\"OtherKey\"", "l"),
            ("\"ExactValue\"", "h"),
            ("\"Probe/Project2-trial333\"", "abcdefghijkl"),
            ("count", "abchikl"),
            ("COUNT", "abchikl"),
            ("couNT", ""),
            ("CustomCount", "abchikl"),
            ("customcount", "abcdhikl"),
            ("Count1", "abchikl"),
            ("count1", "abchikl"),
            ("sdb", "e"),
            ("SDBFailure", "e"),
            ("sdbfailure", "e"),
            ("333", "abcdefghijkl"),
            ("33", ""),
            ("network/errors", "fg"),
            ("\"Network-Errors_2\"", "f"),
            ("\"Network_Errors_2\"", ""),
            ("MetricName=\"CustomCount1\" Node=red", "k"),
            ("MetricName=\"CustomCount1\" AND Node=red", "k"),
            ("MetricName=\"CustomCount1\" and Node=red", ""),
            ("MetricName=\"SDBFailure\" OR MetricName=\"NetworkErrors2\"", "eg"),
            ("MetricName=\"CustomCount1\" NOT Node=red", "abcl"),
            ("NOT MetricName=\"CustomCount1\"", "defghij"),
            ("NOT NOT sdb", "e"),
            ("MetricName=\"SDBFailure\" OR MetricName=\"CustomCount1\" AND Node=blue", "ae"),
            ("(MetricName=\"SDBFailure\" OR MetricName=\"CustomCount1\") AND Node=blue", "a"),
            ("sdb OR (MetricName=\"CustomCount1\" AND (Node=blue OR Node=red))", "aek"),
            ("Node=(\"blue\" OR \"green\")", "afg"),
            ("{\"Probe/Project2-trial333\",\"Node\",\"ServiceName\"} \"Node\"=(\"blue\" OR \"green\")", "afg"),
            ("Node = ( blue OR green ) NOT trial", ""),
            ("{Probe/Project2-trial333}", "c"),
            ("{\"Probe/Project2-trial333\", ServiceName}", "bi"),
            ("{\"Probe/Project2-trial333\",Node,ServiceName} MetricName=count", "a"),
            ("{\"Probe/Project2-trial333\",ServiceName,Node,Extra}", "k"),
            ("{\"Probe/Project2-trial333\",Missing}", ""),
            ("{\"Probe/Project2-trial333\",servicename}", ""),
            ("{\"Probe/Project2-trial333\",\"Dimension@Name\"}", "j"),
            ("{\"Probe/Project2-trial333\",Node,Node}", ""),
            ("{Probe}", ""),
            ("{ \"Probe/Project2-trial333\" , ServiceName }, MetricName=\"ValueWitness\"", "i"),
            ("Namespace=\"probe/project2-trial333\"", ""),
            ("MetricName=\"Europe\\\\France Traffic\\(Network\\)\\\"Quote\"", "j"),
            ("MetricName=\"Europe\\\\France Traffic(Network)\\\"Quote\"", "j"),
            ("\"Dimension@Name\"=\"zone'one\"", "j"),
            (":aws.AccountId=123456789012 sdb", "e"),
            (":aws.AccountId=LOCAL sdb", "e"),
            (":aws.AccountId=\"LOCAL\" sdb", "e"),
            (":aws.AccountId='LOCAL' sdb", "e"),
            (":aws.AccountId=(111122223333 OR 123456789012) sdb", "e"),
            (":aws.AccountId=111122223333", ""),
            ("-", ""),
        ] {
            assert_eq!(found(search).as_deref(), Some(expected), "{search}");
        }
    }

    #[test]
    fn what_is_no_search_is_refused() {
        for wrong in [
            "{\"Probe\"",
            "{}",
            "{Probe,}",
            "{,Node}",
            "MetricName=\"CustomCount1\" AND",
            "((Node=blue OR Node=red)",
            "MetricName==\"CustomCount1\"",
            "MetricName=",
            "=x",
            "OR x",
            "x OR",
            "x AND AND y",
            "NOT",
            "()",
            "x)",
            "\"open",
            "Node=(Node=x)",
            "Node=NOT x",
            "A=B=C",
        ] {
            assert_eq!(Search::parse(wrong), None, "{wrong}");
        }
        assert!(Search::parse(&"x".repeat(SEARCH_CHARS_MAX)).is_some());
        assert!(Search::parse(&"x".repeat(SEARCH_CHARS_MAX + 1)).is_none());
    }

    #[test]
    fn nesting_is_bounded() {
        let nested = |depth: usize| format!("{}x{}", "(".repeat(depth), ")".repeat(depth));
        assert!(Search::parse(&nested(DEPTH_MAX - 1)).is_some());
        assert!(Search::parse(&nested(DEPTH_MAX)).is_none());
        assert!(Search::parse(&format!("{}x", "NOT ".repeat(DEPTH_MAX))).is_none());
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn no_text_makes_it_panic(text in "[(){}=\"\\\\, a-cA-C0-2'ä]{0,60}|.{0,60}") {
            found(&text);
        }

        /// A name is found by each of its tokens, by all of them, and as a whole.
        #[test]
        fn a_name_is_found_by_its_tokens(name in "[a-cA-C0-2_-]{1,12}") {
            let metric = Metric::new("n", &name, vec![]);
            for token in tokens(&name) {
                let search = Search::parse(&format!("MetricName={}", token.to_lowercase())).unwrap();
                prop_assert!(search.matches(&metric, ""));
            }
            let exact = Search::parse(&format!("MetricName=\"{name}\"")).unwrap();
            prop_assert!(exact.matches(&metric, ""));
            let whole = Search::parse(&format!("MetricName={name}")).unwrap();
            prop_assert_eq!(whole.matches(&metric, ""), !tokens(&name).is_empty());
        }
    }
}
