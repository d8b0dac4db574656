//! The flags of running functions, and how their values are written: the same in flags, variables and the file.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::{Args, ValueEnum};
use serde::Deserialize;

/// How functions run.
#[derive(Args, Default)]
#[command(next_help_heading = "Functions")]
pub struct FunctionFlags {
    /// What keeps functions apart: `auto` runs none where the host lends no sandboxes, `process` does not start there,
    /// `strict` is `process` with every instance made from nothing, `none` keeps nothing apart
    #[arg(long, env = "LAMP_ISOLATION", value_enum)]
    pub isolation: Option<Isolation>,
    /// Whether functions reach the internet; by default where the host can lead them there
    #[arg(long, env = "LAMP_NETWORK", value_enum)]
    pub network: Option<Network>,
    /// Private networks that functions may reach
    #[arg(long = "allow-network", env = "LAMP_ALLOWED_NETWORKS", value_delimiter = ',', value_name = "NETWORK")]
    pub allowed_networks: Vec<AllowedNetwork>,
    /// Name servers that functions ask, instead of the host's
    #[arg(long = "nameserver", env = "LAMP_NAMESERVERS", value_delimiter = ',', value_name = "ADDR")]
    pub nameservers: Vec<IpAddr>,
    /// Whether the server lets the host forward packets, for functions alone, while it runs; it may, unless told
    /// otherwise
    #[arg(long, env = "LAMP_MAY_FORWARD", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub may_forward: Option<bool>,
    /// A function's CPU: a `weight` against its neighbours, or AWS's hard `quota`
    #[arg(long, env = "LAMP_CPU", value_enum)]
    pub cpu: Option<Cpu>,
    /// Invocations at once in an account and region
    #[arg(long, env = "LAMP_CONCURRENCY", value_name = "COUNT")]
    pub concurrency: Option<u32>,
    /// Sandboxes and runtimes that are held ready, of each kind that was wanted lately; 0: none
    #[arg(long, env = "LAMP_PARKED", value_name = "COUNT")]
    pub parked: Option<u32>,
    /// How long an instance is kept that nobody calls, such as 10m
    #[arg(long, env = "LAMP_KEEP_ALIVE", value_name = "TIME")]
    pub keep_alive: Option<Span>,
    /// What the server and all that it runs may hold together, such as 4GB; without it, all that the host has
    #[arg(long, env = "LAMP_MEMORY", value_name = "SIZE")]
    pub memory: Option<Size>,
    #[command(flatten)]
    pub interpreters: InterpreterFlags,
}

/// What runs them: for the server, and for who asks what it would do.
#[derive(Args, Default)]
pub struct InterpreterFlags {
    /// What serves a runtime whose version is not on this machine: the `nearest` with a warning, or nothing
    #[arg(long, env = "LAMP_RUNTIME_MATCH", value_enum)]
    pub runtime_match: Option<RuntimeMatch>,
    /// An interpreter that is not where it is looked for: a runtime, and the folder that has its bin
    #[arg(long = "runtime", env = "LAMP_RUNTIMES", value_delimiter = ',', value_name = "NAME=DIR")]
    pub runtimes: Vec<NamedRuntime>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Isolation {
    Auto,
    Process,
    Strict,
    None,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Network {
    Egress,
    None,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Cpu {
    Weight,
    Quota,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RuntimeMatch {
    Nearest,
    Exact,
}

/// A private network: `10.1.0.0/16`, or one address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct AllowedNetwork {
    pub address: Ipv4Addr,
    pub prefix: u8,
}

/// A time as people write it: `90s`, `10m`, `1h`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Span(pub Duration);

/// Memory as people write it: `512MB`, `4GB`. As on AWS, a megabyte has 1,024 kilobytes of 1,024 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Size(pub u64);

/// `python3.13=/opt/python3.13`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedRuntime {
    pub runtime: String,
    pub folder: PathBuf,
}

impl FromStr for AllowedNetwork {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (address, prefix) = text.split_once('/').unwrap_or((text, "32"));
        let parsed = address.parse::<Ipv4Addr>().ok().zip(prefix.parse::<u8>().ok());
        let (address, prefix) = parsed
            .filter(|(_, prefix)| *prefix <= 32)
            .ok_or("it takes a network of IPv4, such as 10.1.0.0/16, or one address")?;
        let outside = u32::MAX.checked_shr(prefix.into()).unwrap_or(0);
        if address.to_bits() & outside != 0 {
            let network = Ipv4Addr::from_bits(address.to_bits() & !outside);
            return Err(format!("{text} is an address in a network: write {network}/{prefix}"));
        }
        Ok(Self { address, prefix })
    }
}

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
        let seconds = match text.get(digits.len()..) {
            Some("s") => Some(1),
            Some("m") => Some(60),
            Some("h") => Some(3600),
            _ => None,
        };
        let count = digits.parse::<u32>().ok().filter(|count| *count > 0);
        let span = count.zip(seconds).map(|(count, seconds)| Duration::from_secs(u64::from(count) * seconds));
        span.map(Self).ok_or_else(|| "it takes a time, such as 90s, 10m or 1h".into())
    }
}

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
        let bytes: Option<u64> = match text.get(digits.len()..) {
            Some("MB" | "MiB") => Some(1 << 20),
            Some("GB" | "GiB") => Some(1 << 30),
            _ => None,
        };
        let count = digits.parse::<u64>().ok().filter(|count| *count > 0);
        let size = count.zip(bytes).and_then(|(count, bytes)| count.checked_mul(bytes));
        size.map(Self).ok_or_else(|| "it takes a size, such as 512MB or 4GB".into())
    }
}

impl FromStr for NamedRuntime {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (runtime, folder) =
            text.split_once('=').ok_or("it takes a runtime and a folder, such as python3.13=/opt/python3.13")?;
        Ok(Self { runtime: runtime.to_owned(), folder: folder.into() })
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}s", self.0.as_secs())
    }
}

impl TryFrom<String> for AllowedNetwork {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl TryFrom<String> for Size {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl TryFrom<String> for Span {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_are_written_as_networks() {
        let network = |text: &str| text.parse::<AllowedNetwork>().map(|network| (network.address, network.prefix));
        assert_eq!(network("10.1.0.0/16"), Ok((Ipv4Addr::new(10, 1, 0, 0), 16)));
        assert_eq!(network("10.1.0.9"), Ok((Ipv4Addr::new(10, 1, 0, 9), 32)));
        assert_eq!(network("0.0.0.0/0"), Ok((Ipv4Addr::UNSPECIFIED, 0)));
        assert!(network("10.1.2.3/16").unwrap_err().ends_with("write 10.1.0.0/16"));
        for bad in ["10.1.0.0/33", "10.1", "::/0", ""] {
            assert!(network(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn times_have_units() {
        let seconds = |text: &str| text.parse::<Span>().map(|span| span.0.as_secs()).ok();
        assert_eq!(["90s", "10m", "1h"].map(seconds), [Some(90), Some(600), Some(3600)]);
        assert_eq!(["", "10", "0s", "-1s", "1d", "m", "99999999999s"].map(seconds), [None; 7]);
    }

    #[test]
    fn sizes_have_units() {
        let bytes = |text: &str| text.parse::<Size>().map(|size| size.0).ok();
        assert_eq!(["512MB", "4GB", "1GiB"].map(bytes), [Some(536_870_912), Some(4_294_967_296), Some(1_073_741_824)]);
        assert_eq!(["", "4", "0GB", "-1GB", "4gb", "1.5GB", "GB", "99999999999999GB"].map(bytes), [None; 8]);
    }
}
