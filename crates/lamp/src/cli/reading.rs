//! The commands that read what functions do, of a server that runs.

use std::str::FromStr;
use std::time::Duration;

use base::{AccountId, Region, Timestamp};
use clap::Args;

use super::Place;
use crate::usage::By;

/// Whose things are meant.
#[derive(Args)]
pub struct Whose {
    /// The region; else what AWS_REGION or AWS_DEFAULT_REGION says, else us-east-1
    #[arg(long, value_name = "NAME")]
    pub region: Option<Region>,
    /// The account
    #[arg(long, value_name = "ID", default_value = "000000000000")]
    pub account: AccountId,
}

/// What commands take that show things of one account and region, or of all.
#[derive(Args)]
pub struct Of {
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub whose: Whose,
    #[command(flatten)]
    pub place: Place,
}

#[derive(Args)]
pub struct Logs {
    /// A function, or a log group: that begins with `/`
    pub name: String,
    /// From when on: 90s, 5m, 2h, 1d ago, or a time such as 2026-01-31T12:00:00Z
    #[arg(long, value_name = "TIME", default_value = "10m")]
    pub since: Since,
    /// Go on with what comes, until Ctrl-C
    #[arg(long, short)]
    pub follow: bool,
    /// Only what this filter pattern of CloudWatch Logs finds, such as ERROR or '{ $.level = "error" }'
    #[arg(long, value_name = "PATTERN", default_value = "", hide_default_value = true)]
    pub filter: String,
    #[command(flatten)]
    pub of: Of,
}

#[derive(Args)]
pub struct Cost {
    /// The month, such as 2026-11; else this one
    #[arg(long, value_name = "MONTH")]
    pub month: Option<String>,
    /// What a line is about
    #[arg(long, value_enum, default_value_t = By::Function)]
    pub by: By,
    #[command(flatten)]
    pub of: Of,
}

#[derive(Args)]
pub struct Top {
    /// Print once what there is now, and leave
    #[arg(long)]
    pub once: bool,
    /// Print a JSON object a second
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub place: Place,
}

/// A moment, as people say it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Since {
    Ago(Duration),
    At(Timestamp),
}

impl Since {
    pub fn moment(self, now: Timestamp) -> Timestamp {
        match self {
            Since::Ago(ago) => now.minus(ago),
            Since::At(at) => at,
        }
    }
}

impl FromStr for Since {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
        let seconds = match text.get(digits.len()..) {
            Some("s") => Some(1),
            Some("m") => Some(60),
            Some("h") => Some(3_600),
            Some("d") => Some(86_400),
            _ => None,
        };
        if let (Ok(count), Some(seconds)) = (digits.parse::<u32>(), seconds) {
            return Ok(Since::Ago(Duration::from_secs(u64::from(count) * seconds)));
        }
        // A day is its beginning, and who names no zone means UTC.
        let forms = [text.to_owned(), format!("{text}Z"), format!("{text}T00:00:00Z")];
        let at = forms.iter().find_map(|form| Timestamp::parse_iso8601(form).ok());
        at.map(Since::At).ok_or_else(|| "it takes 90s, 5m, 2h or 1d, or a time such as 2026-01-31T12:00:00Z".into())
    }
}

impl Whose {
    /// The region that is given, or that AWS's tools would take.
    pub fn region(&self) -> Region {
        let of = |name: &str| std::env::var(name).ok()?.parse().ok();
        self.region.clone().or_else(|| of("AWS_REGION")).or_else(|| of("AWS_DEFAULT_REGION")).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_so_long_ago_or_a_time() {
        let day = Timestamp::parse_iso8601("2026-01-31T00:00:00Z").unwrap();
        for (text, expected) in [
            ("0s", Since::Ago(Duration::ZERO)),
            ("90s", Since::Ago(Duration::from_secs(90))),
            ("5m", Since::Ago(Duration::from_secs(300))),
            ("2h", Since::Ago(Duration::from_secs(7_200))),
            ("1d", Since::Ago(Duration::from_secs(86_400))),
            ("2026-01-31", Since::At(day)),
            ("2026-01-31T00:00:00", Since::At(day)),
            ("2026-01-31T01:00:00+01:00", Since::At(day)),
        ] {
            assert_eq!(text.parse(), Ok(expected), "{text}");
        }
        for text in ["", "5", "m", "-5m", "5w", "soon", "99999999999d", "2026-13-01"] {
            assert!(text.parse::<Since>().is_err(), "{text}");
        }
    }
}
