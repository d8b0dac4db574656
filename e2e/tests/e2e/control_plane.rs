//! The control plane against a model of what AWS promises: alone with kills in between, and in a crowd.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use aws_sdk_lambda::Client;
use aws_sdk_lambda::config::retry::RetryConfig;
use aws_sdk_lambda::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_lambda::primitives::Blob;
use e2e::{Lamp, binary, clients, python, run};

mod crowd;
mod model;
mod walk;

const ROLE: &str = "arn:aws:iam::000000000000:role/any";

/// Zips that functions are made of.
struct Codes(Vec<Zip>);

struct Zip {
    content: Vec<u8>,
    /// Its hash as AWS shows it, and in hexadecimal.
    hash: String,
    hex: String,
}

impl Codes {
    fn new(count: usize) -> Self {
        let dir = tempfile::tempdir().expect("make a directory");
        let mut command = Command::new(python());
        command.arg(clients().join("python/write_zips.py")).arg(dir.path()).arg(count.to_string());
        let hashes = run(command);
        let zip = |(number, line): (usize, &str)| {
            let (hash, hex) = line.split_once(' ').expect("two forms of a hash");
            let content = std::fs::read(dir.path().join(format!("{number}.zip"))).expect("read a zip");
            Zip { content, hash: hash.to_owned(), hex: hex.to_owned() }
        };
        Self(hashes.lines().enumerate().map(zip).collect())
    }

    fn zip(&self, code: usize) -> Blob {
        Blob::new(self.0[code].content.clone())
    }

    fn hash(&self, code: usize) -> &str {
        &self.0[code].hash
    }

    fn size(&self, code: usize) -> i64 {
        self.0[code].content.len() as i64
    }

    /// The one whose hash AWS would show so.
    fn by_hash(&self, hash: &str) -> Option<&Zip> {
        self.0.iter().find(|zip| zip.hash == hash)
    }
}

/// A client that tries each call once: what a kill does to it must show.
fn sdk(lamp: &Lamp) -> Client {
    let config = aws_sdk_lambda::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("us-east-1"))
        .endpoint_url(lamp.endpoint())
        .credentials_provider(Credentials::new("test", "test", None, None, "test"))
        .retry_config(RetryConfig::disabled())
        .http_client(aws_smithy_http_client::Builder::new().build_http())
        .build();
    Client::from_conf(config)
}

/// The hashes of the code that something in a data directory refers to, which is all that a backup takes along.
fn blobs_held(data: &Path, backup: &Path) -> BTreeSet<String> {
    let mut command = Command::new(binary());
    command.args(["backup", "--data-dir"]).arg(data).arg(backup);
    run(command);
    let shards = std::fs::read_dir(backup.join("blobs")).into_iter().flatten().flatten();
    let files = shards.flat_map(|shard| std::fs::read_dir(shard.path()).into_iter().flatten().flatten());
    files.map(|file| file.file_name().into_string().unwrap()).collect()
}

/// Chance from a seed, so that a failure can be repeated: SplitMix64.
#[derive(Clone)]
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }

    fn one_in(&mut self, count: usize) -> bool {
        self.below(count) == 0
    }
}

/// The seed to repeat, or one that no run had.
fn seed() -> u64 {
    use std::hash::{BuildHasher, Hasher};
    let fresh = || std::collections::hash_map::RandomState::new().build_hasher().finish();
    std::env::var("LAMP_SEED").ok().map_or_else(fresh, |seed| seed.parse().expect("LAMP_SEED is a number"))
}

fn is_torture() -> bool {
    std::env::var_os("LAMP_TORTURE").is_some()
}
