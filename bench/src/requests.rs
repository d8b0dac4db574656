//! Signed reads (`GetFunction`) and durable writes (`TagResource`) a second, and how long each takes.

use std::time::Duration;

use anyhow::Result;
use http::Method;

use crate::disk::Synced;
use crate::load::{self, Figures};
use crate::peer::Peer;

const ROUNDS: usize = 3;
const TIME: Duration = Duration::from_secs(2);
const CONNECTIONS: [usize; 3] = [1, 16, 64];

pub fn run() -> Result<()> {
    let peers = [Peer::lamp()?, Peer::floor()?, Peer::ministack()?, Peer::moto()?];
    for peer in peers.iter().filter(|peer| peer.name != "raw hyper") {
        peer.prepare()?;
    }
    Synced::print(&[Synced::measure()?]);
    let read = |peer: &Peer, number| peer.signed(Method::GET, &format!("/2015-03-31/functions/bench{number}"), "");
    compare("GetFunction", &peers, read)?;
    let write = |peer: &Peer, number| {
        let account = peer.account();
        let path = format!("/2017-03-31/tags/arn%3Aaws%3Alambda%3Aus-east-1%3A{account}%3Afunction%3Abench{number}");
        peer.signed(Method::POST, &path, r#"{"Tags":{"stage":"bench"}}"#)
    };
    compare("TagResource (durable)", &peers, write)
}

/// Measures all peers in turn, several rounds, and prints medians and their ratios to ours.
fn compare(title: &str, peers: &[Peer], request: impl Fn(&Peer, usize) -> Result<Vec<u8>>) -> Result<()> {
    println!(
        "\n{title}\n{:<12}{:>6}{:>12}{:>10}{:>10}{:>18}",
        "", "conns", "per second", "p50 us", "p99 us", "p50 / lamp's"
    );
    for connections in CONNECTIONS {
        let mut figures: Vec<Vec<Figures>> = vec![Vec::new(); peers.len()];
        for _ in 0..ROUNDS {
            for (peer, figures) in peers.iter().zip(&mut figures) {
                // A function for each connection: writers of one and the same wait for each other by nature.
                let requests = (0..connections).map(|number| request(peer, number)).collect::<Result<Vec<_>>>()?;
                figures.push(load::run(peer.port, &requests, TIME)?);
            }
        }
        let medians: Vec<Figures> = figures.iter().map(|rounds| Figures::medians(rounds)).collect();
        let ours = medians.first().map_or(f64::NAN, |figures| figures.p50_us);
        for (peer, figures) in peers.iter().zip(&medians) {
            println!(
                "{:<12}{connections:>6}{:>12.0}{:>10.1}{:>10.1}{:>18.2}",
                peer.name,
                figures.per_second,
                figures.p50_us,
                figures.p99_us,
                figures.p50_us / ours
            );
        }
    }
    Ok(())
}
