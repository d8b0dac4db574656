//! Names, URLs and ARNs of queues.

use base::{AccountId, Arn, Region};

use crate::Ctx;

const NAME_CHARS_MAX: usize = 80;
const FIFO_END: &str = ".fifo";

/// A queue as somebody names it.
#[derive(Debug, PartialEq, Eq)]
pub struct Address<'a> {
    pub account: AccountId,
    pub name: &'a str,
}

impl<'a> Address<'a> {
    /// In all its shapes (`https://sqs.REGION.amazonaws.com/ACCOUNT/NAME`, `http://HOST/ACCOUNT/NAME`,
    /// `http://HOST/queue/REGION/ACCOUNT/NAME`) a queue's URL ends alike.
    pub fn parse(url: &'a str) -> Option<Self> {
        let mut parts = url.rsplit('/');
        let (name, account) = (parts.next()?, parts.next()?.parse().ok()?);
        is_name(name).then_some(Self { account, name })
    }
}

pub fn is_fifo(name: &str) -> bool {
    name.ends_with(FIFO_END)
}

/// Whether a queue may have this name, be it a FIFO queue or not.
pub fn is_name(name: &str) -> bool {
    let stem = name.strip_suffix(FIFO_END).unwrap_or(name);
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    !stem.is_empty() && name.len() <= NAME_CHARS_MAX && stem.bytes().all(is_allowed)
}

/// The URL of the caller's queue, at the address under which the caller sees this server. Queues of two regions have two.
pub fn url(ctx: &Ctx, name: &str) -> String {
    let (endpoint, region, account) = (&ctx.cx.endpoint, &ctx.cx.region, ctx.cx.account.as_str());
    match *region == Region::default() {
        true => format!("{endpoint}/{account}/{name}"),
        false => format!("{endpoint}/queue/{}/{account}/{name}", region.as_str()),
    }
}

pub fn arn(ctx: &Ctx, name: &str) -> String {
    let region = &ctx.cx.region;
    format!("arn:{}:sqs:{}:{}:{name}", region.partition(), region.as_str(), ctx.cx.account.as_str())
}

/// The queue that an ARN names, if it is one of this region.
pub fn of_arn(ctx: &Ctx, arn: &str) -> Option<(AccountId, String)> {
    let arn: Arn = arn.parse().ok()?;
    let is_here = arn.service == "sqs" && arn.region == ctx.cx.region.as_str() && is_name(&arn.resource);
    is_here.then_some((arn.account.parse().ok()?, arn.resource))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queue_has_many_urls() {
        let expected = Some(Address { account: AccountId::ZERO, name: "q.fifo" });
        for url in [
            "https://sqs.eu-west-1.amazonaws.com/000000000000/q.fifo",
            "http://localhost:4566/000000000000/q.fifo",
            "http://localhost:4566/queue/eu-west-1/000000000000/q.fifo",
            "https://eu-west-1.queue.amazonaws.com/000000000000/q.fifo",
        ] {
            assert_eq!(Address::parse(url), expected, "{url}");
        }
        for url in ["", "q", "http://h/q", "http://h/1/q", "http://h/000000000000/", "http://h/000000000000/a b"] {
            assert_eq!(Address::parse(url), None, "{url}");
        }
    }

    #[test]
    fn names_are_checked() {
        assert!(is_name("a") && is_name("a-B_9.fifo") && is_name(&"a".repeat(80)));
        assert!(!is_name("") && !is_name(".fifo") && !is_name("a.b") && !is_name(&"a".repeat(81)));
    }
}
