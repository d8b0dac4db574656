//! Events that are tried on patterns, as a bus tries them on its rules: on one thread.

use std::time::Duration;

use anyhow::{Result, bail};
use engine::pattern::{Pattern, Set};
use serde_json::Value;

use crate::rounds::{median, rounds, timed, undisturbed};

const ROUNDS: usize = 5;
const TIME: Duration = Duration::from_millis(500);
const RULES: [usize; 3] = [1, 100, 10_000];
/// Events that are tried in turn, of so many kinds. Each matches one rule where there is one for its kind.
const EVENTS: usize = 1_000;
const KINDS: usize = 100;
/// With one simple rule, and reading the event.
const GOAL: f64 = 140_000.0;

type Rule = fn(usize) -> String;
const SETS: [(&str, Rule); 2] = [("simple", simple), ("mixed", mixed)];

pub fn run() -> Result<()> {
    let texts: Vec<String> = (0..EVENTS).map(event).collect();
    let events = texts.iter().map(|text| Ok(serde_json::from_str(text)?)).collect::<Result<Vec<Value>>>()?;
    let length = texts.iter().map(String::len).sum::<usize>() / EVENTS;
    let read = figure(&texts, |text| Ok(usize::from(serde_json::from_str::<Value>(text)?.is_object())))?;
    println!("reading an event of {length} bytes as JSON: {read:.0} a second");
    println!("{:<10}{:>8}{:>14}{:>20}{:>16}", "rules", "count", "events/s", "and read as JSON", "ns for a rule");
    for (kind, rule) in SETS {
        for count in RULES {
            let rules = (0..count).map(|number| Ok((number, parse(&rule(number))?))).collect::<Result<Vec<_>>>()?;
            let rules: Set<usize> = rules.into_iter().collect();
            check(&rules, count.min(KINDS), &events)?;
            let alone = figure(&events, |event| Ok(matched(&rules, event)))?;
            let whole = figure(&texts, |text| Ok(matched(&rules, &serde_json::from_str(text)?)))?;
            println!("{kind:<10}{count:>8}{alone:>14.0}{whole:>20.0}{:>16.0}", 1e9 / alone / count as f64);
        }
    }
    println!("(goal: {GOAL:.0} a second with one simple rule)");
    Ok(())
}

fn parse(rule: &str) -> Result<Pattern> {
    Pattern::parse(rule).map_err(|malformed| anyhow::anyhow!("parse a rule: {malformed}"))
}

fn matched(rules: &Set<usize>, event: &Value) -> usize {
    rules.matching(event).count()
}

/// Fails unless rules match what they are to match.
fn check(rules: &Set<usize>, wanted: usize, events: &[Value]) -> Result<()> {
    let found: usize = events.iter().take(KINDS).map(|event| matched(rules, event)).sum();
    if found != wanted {
        bail!("try events on {wanted} rules: {found} matched, and each is to match one event of its kind");
    }
    Ok(())
}

/// How many of `inputs` are tried a second, one after another and again from the first: the median of several rounds.
fn figure<I>(inputs: &[I], mut try_one: impl FnMut(&I) -> Result<usize>) -> Result<f64> {
    let mut rates = Vec::new();
    for _ in 0..rounds(ROUNDS) {
        rates.push(undisturbed(|| rate(inputs, &mut try_one))?);
    }
    Ok(median(rates))
}

fn rate<I>(inputs: &[I], try_one: &mut impl FnMut(&I) -> Result<usize>) -> Result<f64> {
    let (mut tried, mut took_ms, mut inputs) = (0.0, 0.0, inputs.iter().cycle());
    while took_ms < TIME.as_secs_f64() * 1e3 {
        let (count, ms) = timed(|| {
            let mut count = 0_u32;
            // Long enough that looking at the clock does not count.
            for input in inputs.by_ref().take(10) {
                std::hint::black_box(try_one(input)?);
                count += 1;
            }
            Ok(count)
        })?;
        (tried, took_ms) = (tried + f64::from(count), took_ms + ms);
    }
    Ok(tried / took_ms * 1e3)
}

/// As EventBridge gives them out, of an instance that changes its state.
fn event(number: usize) -> String {
    let kind = number % KINDS;
    format!(
        r#"{{"version":"0","id":"ee376907-2647-4179-9203-{number:012}","detail-type":"EC2 Instance State-change Notification","source":"shop.orders.{kind}","account":"123456789012","time":"2026-11-22T11:54:08Z","region":"us-east-1","resources":["arn:aws:ec2:us-east-1:123456789012:instance/i-{number:08}"],"detail":{{"instance-id":"i-{number:08}","state":"running","total":{kind},"customer":{{"name":"customer-{kind}","city":"Zürich"}},"items":[{{"sku":"a-{kind}","count":1}},{{"sku":"b-{number}","count":2}}]}}}}"#
    )
}

/// One field that is equal to one of two texts.
fn simple(number: usize) -> String {
    format!(r#"{{"source":["shop.orders.{number}","rule-{number}"]}}"#)
}

/// Several fields, with the comparisons that there are.
fn mixed(number: usize) -> String {
    let more = match number % 5 {
        0 => r#""customer":{"city":[{"prefix":"Z"}]}"#.to_owned(),
        1 => format!(
            r#""customer":{{"name":[{{"wildcard":"customer-*"}}],"city":[{{"anything-but":"rule-{number}"}}]}}"#
        ),
        2 => format!(r#""items":{{"sku":["a-{number}","rule-{number}"],"count":[1]}}"#),
        3 => r#""state":[{"equals-ignore-case":"RUNNING"}],"gone":[{"exists":false}]"#.to_owned(),
        _ => r#""instance-id":[{"suffix":"x"},{"prefix":"i-"}]"#.to_owned(),
    };
    format!(r#"{{"detail":{{"total":[{{"numeric":[">=",{number},"<",{}]}}],{more}}}}}"#, number + 1)
}
