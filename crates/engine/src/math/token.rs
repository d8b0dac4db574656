//! An expression's text as tokens.

/// What expressions are made of.
#[derive(Debug, Clone, PartialEq)]
pub enum Token {
    Number(f64),
    /// An id, a function, or a word such as `ASC`.
    Name(String),
    /// What stood between quotation marks of either kind.
    Text(String),
    Symbol(&'static str),
}

/// Longer ones first, so that `<=` is not taken for `<`.
const SYMBOLS: [&str; 18] =
    ["&&", "||", "==", "!=", "<=", ">=", "<", ">", "+", "-", "*", "/", "^", "(", ")", "[", "]", ","];

/// `None` if something is no token.
pub fn tokens(text: &str) -> Option<Vec<Token>> {
    let mut found = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let (token, after) = match first {
            '\'' | '"' => quoted(rest)?,
            '0'..='9' | '.' => number(rest)?,
            'a'..='z' | 'A'..='Z' | '_' => name(rest)?,
            _ => symbol(rest)?,
        };
        found.push(token);
        rest = after.trim_start();
    }
    Some(found)
}

/// A backslash keeps a quotation mark inside. Before anything else it stays, as the language of SEARCH has escapes of
/// its own.
fn quoted(text: &str) -> Option<(Token, &str)> {
    let mut chars = text.chars();
    let quote = chars.next()?;
    let mut content = String::new();
    loop {
        match chars.next()? {
            found if found == quote => return Some((Token::Text(content), chars.as_str())),
            '\\' => {
                let escaped = chars.next()?;
                if escaped != quote {
                    content.push('\\');
                }
                content.push(escaped);
            }
            found => content.push(found),
        }
    }
}

fn number(text: &str) -> Option<(Token, &str)> {
    let mantissa = text.trim_start_matches(|found: char| found.is_ascii_digit() || found == '.');
    let rest = after_exponent(mantissa).unwrap_or(mantissa);
    let value = before(text, rest)?.parse().ok().filter(|value: &f64| value.is_finite())?;
    Some((Token::Number(value), rest))
}

fn after_exponent(text: &str) -> Option<&str> {
    let after = text.strip_prefix(['e', 'E'])?;
    let digits = after.strip_prefix(['+', '-']).unwrap_or(after);
    let rest = digits.trim_start_matches(|found: char| found.is_ascii_digit());
    (rest.len() < digits.len()).then_some(rest)
}

fn name(text: &str) -> Option<(Token, &str)> {
    let rest = text.trim_start_matches(|found: char| found.is_ascii_alphanumeric() || found == '_');
    Some((Token::Name(before(text, rest)?.into()), rest))
}

fn symbol(text: &str) -> Option<(Token, &str)> {
    SYMBOLS.iter().find_map(|symbol| Some((Token::Symbol(symbol), text.strip_prefix(*symbol)?)))
}

/// The part of `text` that `rest`, its end, leaves.
fn before<'a>(text: &'a str, rest: &str) -> Option<&'a str> {
    text.get(..text.len().saturating_sub(rest.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotation_marks_of_either_kind_hold_the_other_and_themselves_escaped() {
        let text = |text: &str| match tokens(text).as_deref() {
            Some([Token::Text(found)]) => Some(found.clone()),
            _ => None,
        };
        for (written, expected) in [
            (r#"'a "b" c'"#, r#"a "b" c"#),
            (r#""it's""#, "it's"),
            (r"'zone\'one'", "zone'one"),
            (r#""a \"b\"""#, r#"a "b""#),
            (r#"'"Europe\\France \(N\)"'"#, r#""Europe\\France \(N\)""#),
            (r"'ends in \\'", r"ends in \\"),
        ] {
            assert_eq!(text(written).as_deref(), Some(expected), "{written}");
        }
        assert_eq!(tokens("'open"), None);
        assert_eq!(tokens(r"'open\'"), None);
    }

    #[test]
    fn numbers_and_names_end_where_they_must() {
        let name = |text: &str| Token::Name(text.into());
        assert_eq!(
            tokens("2.5*m1<=.5e-1+1e3"),
            Some(vec![
                Token::Number(2.5),
                Token::Symbol("*"),
                name("m1"),
                Token::Symbol("<="),
                Token::Number(0.05),
                Token::Symbol("+"),
                Token::Number(1000.0),
            ])
        );
        assert_eq!(tokens(" 1e "), Some(vec![Token::Number(1.0), name("e")]));
        for wrong in ["1.2.3", ".", "1e999", "m1 % 2", "ä", "m1 = 2", "!m1"] {
            assert_eq!(tokens(wrong), None, "{wrong}");
        }
    }
}
