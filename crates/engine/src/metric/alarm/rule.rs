//! The rule of a composite alarm: `(ALARM(cpu) OR ALARM("disk, full")) AND NOT OK(deployment)`.
//!
//! | piece | holds if |
//! |---|---|
//! | `ALARM(x)`, `OK(x)`, `INSUFFICIENT_DATA(x)` | the alarm of that name or ARN is in that state |
//! | `AT_LEAST(2, NOT OK, (x, y, z))`, `AT_LEAST(50%, ALARM, (x, y))` | so many of them are, or are not |
//! | `TRUE`, `FALSE` | always, never |
//! | `NOT`, `AND`, `OR` | as usual, the first binding strongest |
//!
//! A rule is kept as its steps in postfix order, so neither parsing nor evaluating calls itself, however deep the
//! parentheses are. An alarm that is not there is in no state.
//!
//! Follows PutCompositeAlarm. The words for what is too much are ours; those for what does not parse are AWS's.

use std::iter::Peekable;
use std::str::CharIndices;

use super::State;

pub const CHARS_MAX: usize = 10_240;
pub const CHILDREN_MAX: usize = 100;

/// Alarms, constants, and pairs of parentheses.
pub const ELEMENTS_MAX: usize = 500;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    steps: Vec<Step>,
    /// Names and ARNs as they are written, each once.
    children: Vec<String>,
}

/// What AWS says of a rule that it does not take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleError(pub String);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    Constant(bool),
    AtLeast { needed: usize, test: Test, children: Vec<usize> },
    Not,
    And,
    Or,
}

/// What is asked of an alarm.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Test {
    state: State,
    is_negated: bool,
}

/// What waits for its right side, the weakest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Pending {
    Parenthesis,
    Or,
    And,
    Not,
}

impl Rule {
    pub fn parse(text: &str) -> Result<Rule, RuleError> {
        if text.chars().count() > CHARS_MAX {
            return Err(too_many(CHARS_MAX, "characters"));
        }
        let mut parser = Parser::new(text);
        loop {
            parser.operand()?;
            if !parser.operator()? {
                return Ok(Rule { steps: parser.steps, children: parser.children });
            }
        }
    }

    /// The alarms that it names, in their order.
    pub fn children(&self) -> &[String] {
        &self.children
    }

    /// Whether it holds while the alarms are in those states.
    pub fn holds(&self, state_of: impl Fn(&str) -> Option<State>) -> bool {
        let states: Vec<Option<State>> = self.children.iter().map(|child| state_of(child)).collect();
        let mut stack: Vec<bool> = Vec::new();
        for step in &self.steps {
            let value = match step {
                Step::Constant(value) => *value,
                Step::AtLeast { needed, test, children } => {
                    let passing = children.iter().filter(|child| {
                        let state = states.get(**child).copied().flatten();
                        state.is_some_and(|state| test.passes(state))
                    });
                    passing.count() >= *needed
                }
                Step::Not => !stack.pop().unwrap_or_default(),
                Step::And => stack.pop().unwrap_or_default() & stack.pop().unwrap_or_default(),
                Step::Or => stack.pop().unwrap_or_default() | stack.pop().unwrap_or_default(),
            };
            stack.push(value);
        }
        stack.pop().unwrap_or_default()
    }
}

impl Test {
    fn passes(self, state: State) -> bool {
        (state == self.state) != self.is_negated
    }
}

const OPERAND: &str = "'(', 'NOT', AT_LEAST, TRUE or FALSE, ALARM, OK, or INSUFFICIENT_DATA";
const STATE: &str = "ALARM, OK, or INSUFFICIENT_DATA";

struct Parser<'a> {
    tokens: Tokens<'a>,
    pending: Vec<Pending>,
    /// Parentheses among them.
    depth: usize,
    elements: usize,
    steps: Vec<Step>,
    children: Vec<String>,
}

impl<'a> Parser<'a> {
    fn new(text: &'a str) -> Parser<'a> {
        let tokens = Tokens { text, chars: text.char_indices().peekable(), at: 0 };
        Parser { tokens, pending: Vec::new(), depth: 0, elements: 0, steps: Vec::new(), children: Vec::new() }
    }

    /// All up to and with one constant or function.
    fn operand(&mut self) -> Result<(), RuleError> {
        loop {
            let token = self.tokens.take();
            match token.word() {
                "NOT" => self.pending.push(Pending::Not),
                "(" => {
                    self.element()?;
                    self.pending.push(Pending::Parenthesis);
                    self.depth = self.depth.saturating_add(1);
                }
                "TRUE" | "FALSE" => {
                    self.element()?;
                    self.steps.push(Step::Constant(token.text == "TRUE"));
                    return Ok(());
                }
                "AT_LEAST" => return self.at_least(),
                word => {
                    let state = State::parse(word).ok_or_else(|| token.unsupported(OPERAND))?;
                    self.tokens.expect("(")?;
                    let child = self.child()?;
                    self.tokens.expect(")")?;
                    let test = Test { state, is_negated: false };
                    self.steps.push(Step::AtLeast { needed: 1, test, children: vec![child] });
                    return Ok(());
                }
            }
        }
    }

    /// All behind an operand up to and with `AND` or `OR`; `false` if the rule ends there.
    fn operator(&mut self) -> Result<bool, RuleError> {
        loop {
            let token = self.tokens.take();
            let is_nested = self.depth > 0;
            match token.word() {
                "AND" => {
                    self.finish(Pending::And);
                    self.pending.push(Pending::And);
                    return Ok(true);
                }
                "OR" => {
                    self.finish(Pending::Or);
                    self.pending.push(Pending::Or);
                    return Ok(true);
                }
                ")" if is_nested => {
                    self.finish(Pending::Or);
                    self.pending.pop();
                    self.depth = self.depth.saturating_sub(1);
                }
                "" if token.is_end() && !is_nested => {
                    self.finish(Pending::Or);
                    return Ok(false);
                }
                _ if is_nested => return Err(token.unsupported("')', 'AND', 'OR'")),
                _ => return Err(token.unsupported("<EOF>, 'AND', 'OR'")),
            }
        }
    }

    /// What binds at least as strongly has its right side now.
    fn finish(&mut self, strength: Pending) {
        while let Some(pending) = self.pending.pop_if(|pending| *pending >= strength) {
            self.steps.extend(match pending {
                Pending::Not => Some(Step::Not),
                Pending::And => Some(Step::And),
                Pending::Or => Some(Step::Or),
                Pending::Parenthesis => None,
            });
        }
    }

    /// `(2, NOT OK, (x, y))`
    fn at_least(&mut self) -> Result<(), RuleError> {
        self.tokens.expect("(")?;
        let threshold = self.tokens.take();
        let (number, is_percent) = match threshold.word().strip_suffix('%') {
            Some(number) => (number, true),
            None => (threshold.word(), false),
        };
        let number = number.parse::<usize>().ok().filter(|number| *number > 0 && !(is_percent && *number > 100));
        let number = number.ok_or_else(|| threshold.unsupported("a number or a percentage"))?;
        self.tokens.expect(",")?;
        let mut token = self.tokens.take();
        let is_negated = token.word() == "NOT";
        if is_negated {
            token = self.tokens.take();
        }
        let state = State::parse(token.word()).ok_or_else(|| token.unsupported(STATE))?;
        self.tokens.expect(",")?;
        self.tokens.expect("(")?;
        let mut children = Vec::new();
        loop {
            children.push(self.child()?);
            let token = self.tokens.take();
            match token.word() {
                "," => {}
                ")" => break,
                _ => return Err(token.unsupported("',', ')'")),
            }
        }
        self.tokens.expect(")")?;
        let needed = if is_percent { number.saturating_mul(children.len()).div_ceil(100) } else { number };
        self.steps.push(Step::AtLeast { needed, test: Test { state, is_negated }, children });
        Ok(())
    }

    /// A name or an ARN, quoted or not.
    fn child(&mut self) -> Result<usize, RuleError> {
        let token = self.tokens.take();
        if token.is_end() || token.text.is_empty() || ["(", ")", ","].contains(&token.word()) {
            return Err(token.unsupported("an alarm name or ARN"));
        }
        self.element()?;
        if let Some(known) = self.children.iter().position(|child| *child == token.text) {
            return Ok(known);
        }
        if self.children.len() >= CHILDREN_MAX {
            return Err(too_many(CHILDREN_MAX, "child alarms"));
        }
        self.children.push(token.text);
        Ok(self.children.len().saturating_sub(1))
    }

    fn element(&mut self) -> Result<(), RuleError> {
        self.elements = self.elements.saturating_add(1);
        if self.elements > ELEMENTS_MAX { Err(too_many(ELEMENTS_MAX, "elements")) } else { Ok(()) }
    }
}

fn too_many(most: usize, what: &str) -> RuleError {
    RuleError(format!("AlarmRule must not have more than {most} {what}"))
}

struct Tokens<'a> {
    text: &'a str,
    chars: Peekable<CharIndices<'a>>,
    /// Characters that are read.
    at: usize,
}

/// A word, a parenthesis, a comma, a quoted name, or the end.
struct Token {
    text: String,
    kind: Kind,
    at: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Word,
    Quoted,
    End,
}

impl Tokens<'_> {
    fn take(&mut self) -> Token {
        while self.take_if(char::is_whitespace).is_some() {}
        let at = self.at;
        let Some((from, first)) = self.take_if(|_| true) else {
            return Token { text: String::new(), kind: Kind::End, at };
        };
        if first == '"' {
            return Token { text: self.quoted(), kind: Kind::Quoted, at };
        }
        if !is_mark(first) {
            while self.take_if(|c| !c.is_whitespace() && !is_mark(c)).is_some() {}
        }
        let to = self.chars.peek().map_or(self.text.len(), |(to, _)| *to);
        Token { text: self.text.get(from..to).unwrap_or_default().to_owned(), kind: Kind::Word, at }
    }

    /// Up to the closing quote, or the end. A backslash takes what follows as it is.
    fn quoted(&mut self) -> String {
        let mut name = String::new();
        while let Some((_, c)) = self.take_if(|c| c != '"') {
            let escaped = if c == '\\' { self.take_if(|_| true) } else { None };
            name.push(escaped.map_or(c, |(_, c)| c));
        }
        self.take_if(|_| true);
        name
    }

    fn take_if(&mut self, is_wanted: impl Fn(char) -> bool) -> Option<(usize, char)> {
        let taken = self.chars.next_if(|(_, c)| is_wanted(*c))?;
        self.at = self.at.saturating_add(1);
        Some(taken)
    }

    fn expect(&mut self, mark: &str) -> Result<(), RuleError> {
        let token = self.take();
        if token.word() == mark { Ok(()) } else { Err(token.unsupported(&format!("'{mark}'"))) }
    }
}

impl Token {
    /// Nothing, if it is quoted: a name is no keyword then.
    fn word(&self) -> &str {
        if self.kind == Kind::Word { &self.text } else { "" }
    }

    fn is_end(&self) -> bool {
        self.kind == Kind::End
    }

    fn unsupported(&self, wanted: &str) -> RuleError {
        let text = if self.is_end() { "<EOF>" } else { &self.text };
        RuleError(format!("Error in AlarmRule [Unsupported token '{text}' at char {}, must be: {wanted}]", self.at))
    }
}

fn is_mark(c: char) -> bool {
    matches!(c, '(' | ')' | ',')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Alarms by the first letter of their names.
    fn state_of(name: &str) -> Option<State> {
        match name.chars().next()? {
            'a' => Some(State::Alarm),
            'o' => Some(State::Ok),
            'i' => Some(State::InsufficientData),
            _ => None,
        }
    }

    fn holds(text: &str) -> bool {
        Rule::parse(text).unwrap_or_else(|error| panic!("{text}: {}", error.0)).holds(state_of)
    }

    fn refusal(text: &str) -> String {
        Rule::parse(text).unwrap_err().0
    }

    #[test]
    fn rules_hold_as_they_are_written() {
        let table = [
            ("TRUE", true),
            ("FALSE", false),
            ("ALARM(a)", true),
            ("ALARM(o)", false),
            ("OK(o) AND INSUFFICIENT_DATA(i)", true),
            ("ALARM(gone)", false),
            ("NOT ALARM(gone)", true),
            ("ALARM(\"a b(c),d\")", true),
            (r#"ALARM("a\"b")"#, true),
            ("ALARM ( a )", true),
            ("  NOT NOT TRUE\n", true),
            ("NOT FALSE AND FALSE", false),
            ("NOT (FALSE AND FALSE)", true),
            ("TRUE OR FALSE AND FALSE", true),
            ("(TRUE OR FALSE) AND FALSE", false),
            ("FALSE AND FALSE OR TRUE", true),
            ("(ALARM(a1) OR ALARM(o1)) AND NOT ALARM(o2)", true),
            ("((((TRUE))))", true),
            ("AT_LEAST(2, ALARM, (a1, a2, o))", true),
            ("AT_LEAST(3, ALARM, (a1, a2, o))", false),
            ("AT_LEAST(50%, OK, (o1, o2, a, i))", true),
            ("AT_LEAST(51%, OK, (o1, o2, a, i))", false),
            ("AT_LEAST(2, NOT OK, (a, i, o)) AND TRUE", true),
            ("AT_LEAST(1, NOT OK, (gone, o))", false),
        ];
        for (text, expected) in table {
            assert_eq!(holds(text), expected, "{text}");
        }
    }

    #[test]
    fn children_are_told_once_and_in_their_order() {
        let arn = "arn:aws:cloudwatch:us-east-1:000000000000:alarm:b";
        let rule = Rule::parse(&format!("OK(z) OR ALARM({arn}) OR AT_LEAST(1, OK, (z, \"a b\")) OR ALARM(\"ALARM\")"))
            .unwrap();
        assert_eq!(rule.children(), ["z", arn, "a b", "ALARM"]);
    }

    #[test]
    fn what_does_not_parse_is_refused_in_awss_words() {
        let unsupported = |text: &str| {
            let refusal = refusal(text);
            let inner = refusal.strip_prefix("Error in AlarmRule [Unsupported token ").unwrap();
            inner.strip_suffix(']').unwrap().to_owned()
        };
        let operand = "must be: '(', 'NOT', AT_LEAST, TRUE or FALSE, ALARM, OK, or INSUFFICIENT_DATA";
        let table = [
            ("true", format!("'true' at char 0, {operand}")),
            ("", format!("'<EOF>' at char 0, {operand}")),
            ("TRUE AND", format!("'<EOF>' at char 8, {operand}")),
            ("\"TRUE\"", format!("'TRUE' at char 0, {operand}")),
            ("é é", format!("'é' at char 0, {operand}")),
            ("()", format!("')' at char 1, {operand}")),
            ("TRUE and TRUE", "'and' at char 5, must be: <EOF>, 'AND', 'OR'".to_owned()),
            ("TRUE)", "')' at char 4, must be: <EOF>, 'AND', 'OR'".to_owned()),
            ("TRUE \"\"", "'' at char 5, must be: <EOF>, 'AND', 'OR'".to_owned()),
            ("(TRUE", "'<EOF>' at char 5, must be: ')', 'AND', 'OR'".to_owned()),
            ("ALARM a", "'a' at char 6, must be: '('".to_owned()),
            ("ALARM()", "')' at char 6, must be: an alarm name or ARN".to_owned()),
            ("ALARM(\"\")", "'' at char 6, must be: an alarm name or ARN".to_owned()),
            ("ALARM(a b)", "'b' at char 8, must be: ')'".to_owned()),
            ("AT_LEAST(0, OK, (a))", "'0' at char 9, must be: a number or a percentage".to_owned()),
            ("AT_LEAST(101%, OK, (a))", "'101%' at char 9, must be: a number or a percentage".to_owned()),
            ("AT_LEAST(1, GOOD, (a))", "'GOOD' at char 12, must be: ALARM, OK, or INSUFFICIENT_DATA".to_owned()),
        ];
        for (text, expected) in table {
            assert_eq!(unsupported(text), expected, "{text}");
        }
    }

    #[test]
    fn rules_have_their_limits() {
        let children = |count: usize| (0..count).map(|n| format!("OK(o{n})")).collect::<Vec<_>>().join(" AND ");
        assert!(holds(&children(CHILDREN_MAX)));
        assert_eq!(refusal(&children(CHILDREN_MAX + 1)), "AlarmRule must not have more than 100 child alarms");
        let nested = |depth: usize| format!("{}TRUE{}", "(".repeat(depth), ")".repeat(depth));
        assert!(holds(&nested(ELEMENTS_MAX - 1)));
        assert_eq!(refusal(&nested(ELEMENTS_MAX)), "AlarmRule must not have more than 500 elements");
        let long = "NOT ".repeat(CHARS_MAX / 4 - 1) + "TRUE";
        assert!(!holds(&long));
        assert_eq!(refusal(&(long + " ")), "AlarmRule must not have more than 10240 characters");
    }

    /// A rule, and what it is worth, built side by side.
    fn rules() -> impl Strategy<Value = (String, bool)> {
        let leaf = prop_oneof![
            Just(("TRUE".to_owned(), true)),
            Just(("FALSE".to_owned(), false)),
            Just(("ALARM(a)".to_owned(), true)),
            Just(("OK(\"a\")".to_owned(), false)),
            Just(("AT_LEAST(2, OK, (o1, a, o2))".to_owned(), true)),
        ];
        leaf.prop_recursive(6, 60, 2, |inner| {
            prop_oneof![
                inner.clone().prop_map(|(text, value)| (format!("NOT ({text})"), !value)),
                (inner.clone(), inner.clone()).prop_map(|(a, b)| (format!("({}) AND ({})", a.0, b.0), a.1 && b.1)),
                (inner.clone(), inner).prop_map(|(a, b)| (format!("({})OR({})", a.0, b.0), a.1 || b.1)),
            ]
        })
    }

    proptest! {
        #[test]
        fn nested_rules_hold_as_their_parts_do((text, value) in rules()) {
            prop_assert_eq!(holds(&text), value, "{}", text);
        }

        #[test]
        fn no_text_is_too_odd(
            words in prop::collection::vec(prop::sample::select(vec![
                "TRUE", "NOT ", " AND ", " OR ", "(", ")", ",", "ALARM(", "AT_LEAST(", "50%", "OK", "\"", "\\", "é", "x",
            ]), 0..40),
        ) {
            if let Ok(rule) = Rule::parse(&words.concat()) {
                rule.holds(state_of);
            }
        }
    }
}
