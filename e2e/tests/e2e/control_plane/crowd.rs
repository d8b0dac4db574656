//! Many clients change the same few functions at once. What they were told and what is left must fit one order of
//! their calls, whatever it was.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use aws_sdk_lambda::Client;
use aws_sdk_lambda::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_lambda::types::{
    AliasConfiguration, AliasRoutingConfiguration, FunctionCode, FunctionConfiguration, FunctionUrlAuthType, Runtime,
};
use e2e::Lamp;
use tokio::task::JoinSet;

use super::{Codes, Dice, ROLE, blobs_held, is_torture, sdk, seed};

const CLIENTS: u64 = 64;
const NAMES: &[&str] = &["orders", "invoices", "returns"];
const ALIASES: &[&str] = &["live", "next"];
const CODES: usize = 6;

/// What one client was told.
#[derive(Default)]
struct Told {
    /// By name: functions made less functions deleted.
    balance: BTreeMap<&'static str, i64>,
    /// The marks of the functions that were made.
    made: BTreeSet<String>,
    versions: Vec<Version>,
    /// Answers that nobody should ever get.
    wrong: Vec<String>,
}

/// A published version as it was told of: by its function's mark and its number, what must never change.
struct Version {
    mark: String,
    number: u64,
    content: (String, String),
}

/// Everything that is listed.
#[derive(Debug, PartialEq)]
struct Listed {
    functions: Vec<FunctionConfiguration>,
    releases: Vec<FunctionConfiguration>,
    aliases: BTreeMap<String, Vec<AliasConfiguration>>,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crowd_leaves_what_some_order_explains() {
    let calls = if is_torture() { 200 } else { 15 };
    let codes = Arc::new(Codes::new(CODES));
    let seed = seed();
    println!("LAMP_SEED={seed}");
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let mut lamp = Lamp::start_on(&data, &[]);

    let mut crowd = JoinSet::new();
    for number in 0..CLIENTS {
        let (client, codes) = (sdk(&lamp), codes.clone());
        crowd.spawn(async move { Visitor::new(client, codes, seed, number).visit(calls).await });
    }
    let told = crowd.join_all().await;
    let wrong: Vec<&String> = told.iter().flat_map(|told| &told.wrong).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");

    let listed = list(&sdk(&lamp)).await;
    check_functions(&told, &listed);
    check_versions(&told, &listed, &codes);
    check_aliases(&listed);
    check_usage(&sdk(&lamp), &listed).await;
    lamp.kill();
    assert_eq!(blobs_held(&data, &dir.path().join("first")), hashes(&listed, &codes), "the code that is kept");

    let mut lamp = Lamp::start_on(&data, &[]);
    let client = sdk(&lamp);
    assert_eq!(list(&client).await, listed, "a kill changes nothing");
    for function in &listed.functions {
        client.delete_function().function_name(function.function_name().unwrap()).send().await.unwrap();
    }
    let nothing = list(&client).await;
    assert_eq!(nothing.releases, []);
    check_usage(&client, &nothing).await;
    assert!(lamp.stop());
    assert_eq!(blobs_held(&data, &dir.path().join("second")), BTreeSet::new(), "code that nothing has");
}

/// One of the crowd.
struct Visitor {
    client: Client,
    codes: Arc<Codes>,
    dice: Dice,
    number: u64,
    told: Told,
}

impl Visitor {
    fn new(client: Client, codes: Arc<Codes>, seed: u64, number: u64) -> Self {
        Self { client, codes, dice: Dice(seed.wrapping_add(number << 32)), number, told: Told::default() }
    }

    async fn visit(mut self, calls: usize) -> Told {
        for call in 0..calls {
            let name = NAMES[self.dice.below(NAMES.len())];
            match self.dice.below(24) {
                0..=3 => self.create(name, call).await,
                4..=6 => self.update_code(name).await,
                7..=8 => self.update_configuration(name).await,
                9..=12 => self.publish(name).await,
                13 => self.delete(name).await,
                14 => self.delete_version(name).await,
                15..=17 => self.point_alias(name).await,
                18 => self.delete_alias(name).await,
                19 => self.reserve(name).await,
                _ => self.hang_on(name).await,
            }
        }
        self.told
    }

    /// Notes a failure that is nobody's fault but the server's. A refusal is an answer like any other.
    fn hear<T, E>(&mut self, sent: Result<T, SdkError<E>>) -> Option<T>
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
    {
        let error = match sent {
            Ok(done) => return Some(done),
            Err(error) => error,
        };
        let refused = error.raw_response().is_some_and(|response| response.status().as_u16() < 500);
        if !refused || error.code().is_none() {
            let seed = self.number;
            self.told.wrong.push(format!("client {seed}: {}", aws_sdk_lambda::error::DisplayErrorContext(error)));
        }
        None
    }

    async fn create(&mut self, name: &'static str, call: usize) {
        // Nothing changes a handler here, so it marks this function, and tells it from the next of its name.
        let mark = format!("by{}-{call}.handler", self.number);
        let code = FunctionCode::builder().zip_file(self.codes.zip(self.dice.below(CODES))).build();
        let sent = self.client.create_function().function_name(name).runtime(Runtime::Python313).handler(&mark);
        let sent = sent.role(ROLE).code(code).publish(self.dice.one_in(2)).send().await;
        if let Some(made) = self.hear(sent) {
            *self.told.balance.entry(name).or_default() += 1;
            self.told.made.insert(mark);
            self.note(made.handler, made.version, made.code_sha256, made.description);
        }
    }

    async fn update_code(&mut self, name: &str) {
        let zip = self.codes.zip(self.dice.below(CODES));
        let sent = self.client.update_function_code().function_name(name).zip_file(zip).publish(self.dice.one_in(2));
        let sent = sent.send().await;
        if let Some(updated) = self.hear(sent) {
            self.note(updated.handler, updated.version, updated.code_sha256, updated.description);
        }
    }

    async fn update_configuration(&mut self, name: &str) {
        let description = format!("as {}", self.dice.below(4));
        let sent = self.client.update_function_configuration().function_name(name).description(description);
        let sent = sent.send().await;
        self.hear(sent);
    }

    async fn publish(&mut self, name: &str) {
        let sent = self.client.publish_version().function_name(name).send().await;
        if let Some(version) = self.hear(sent) {
            self.note(version.handler, version.version, version.code_sha256, version.description);
        }
    }

    fn note(
        &mut self,
        mark: Option<String>,
        number: Option<String>,
        code: Option<String>,
        description: Option<String>,
    ) {
        let number = number.and_then(|number| number.parse().ok());
        let (Some(mark), Some(number), Some(code)) = (mark, number, code) else { return };
        self.told.versions.push(Version { mark, number, content: (code, description.unwrap_or_default()) });
    }

    async fn delete(&mut self, name: &'static str) {
        let sent = self.client.delete_function().function_name(name).send().await;
        if self.hear(sent).is_some() {
            *self.told.balance.entry(name).or_default() -= 1;
        }
    }

    async fn delete_version(&mut self, name: &str) {
        let number = 1 + self.dice.below(8);
        let sent = self.client.delete_function().function_name(name).qualifier(number.to_string()).send().await;
        self.hear(sent);
    }

    async fn point_alias(&mut self, name: &str) {
        let alias = ALIASES[self.dice.below(ALIASES.len())];
        let (version, second) = (1 + self.dice.below(8), 1 + self.dice.below(8));
        let routing = AliasRoutingConfiguration::builder().additional_version_weights(second.to_string(), 0.5).build();
        let routing = self.dice.one_in(3).then_some(routing);
        if self.dice.one_in(2) {
            let sent = self.client.create_alias().function_name(name).name(alias).set_routing_config(routing);
            let sent = sent.function_version(version.to_string()).send().await;
            self.hear(sent);
        } else {
            let sent = self.client.update_alias().function_name(name).name(alias).set_routing_config(routing);
            let sent = sent.function_version(version.to_string()).send().await;
            self.hear(sent);
        }
    }

    async fn delete_alias(&mut self, name: &str) {
        let alias = ALIASES[self.dice.below(ALIASES.len())];
        let sent = self.client.delete_alias().function_name(name).name(alias).send().await;
        self.hear(sent);
    }

    async fn reserve(&mut self, name: &str) {
        let executions = 200 * self.dice.below(5) as i32;
        let sent = self.client.put_function_concurrency().function_name(name);
        let sent = sent.reserved_concurrent_executions(executions).send().await;
        self.hear(sent);
    }

    /// Something else that belongs to a function and goes with it.
    async fn hang_on(&mut self, name: &str) {
        let alias = ALIASES[self.dice.below(ALIASES.len())];
        match self.dice.below(5) {
            0 => {
                let sent = self.client.add_permission().function_name(name).qualifier(alias).statement_id("s3");
                let sent = sent.action("lambda:InvokeFunction").principal("s3.amazonaws.com").send().await;
                self.hear(sent);
            }
            1 => {
                let sent = self.client.create_function_url_config().function_name(name).qualifier(alias);
                let sent = sent.auth_type(FunctionUrlAuthType::AwsIam).send().await;
                self.hear(sent);
            }
            2 => {
                let executions = 1 + self.dice.below(300) as i32;
                let sent = self.client.put_provisioned_concurrency_config().function_name(name).qualifier(alias);
                let sent = sent.provisioned_concurrent_executions(executions).send().await;
                self.hear(sent);
            }
            3 => {
                let attempts = self.dice.below(3) as i32;
                let sent = self.client.put_function_event_invoke_config().function_name(name).qualifier(alias);
                let sent = sent.maximum_retry_attempts(attempts).send().await;
                self.hear(sent);
            }
            _ => {
                let arn = format!("arn:aws:lambda:us-east-1:000000000000:function:{name}");
                let sent = self.client.tag_resource().resource(arn).tags("by", self.number.to_string()).send().await;
                self.hear(sent);
            }
        }
    }
}

async fn list(client: &Client) -> Listed {
    let functions = client.list_functions().into_paginator().items().send().collect::<Result<Vec<_>, _>>();
    let functions = functions.await.unwrap();
    let all = client.list_functions().function_version(aws_sdk_lambda::types::FunctionVersion::All);
    let releases = all.into_paginator().items().send().collect::<Result<Vec<_>, _>>().await.unwrap();
    let mut aliases = BTreeMap::new();
    for function in &functions {
        let name = function.function_name().unwrap();
        let of_function = client.list_aliases().function_name(name).into_paginator().items().send();
        aliases.insert(name.to_owned(), of_function.collect::<Result<Vec<_>, _>>().await.unwrap());
    }
    Listed { functions, releases, aliases }
}

/// A name is had by one function at a time, so makings and deletings take turns.
fn check_functions(told: &[Told], listed: &Listed) {
    for name in NAMES {
        let balance: i64 = told.iter().filter_map(|told| told.balance.get(name)).sum();
        let there = listed.functions.iter().filter(|function| function.function_name() == Some(name)).count();
        assert_eq!(balance, there as i64, "{name}: functions made less functions deleted, and functions there");
    }
    let made: BTreeSet<&str> = told.iter().flat_map(|told| &told.made).map(String::as_str).collect();
    for function in &listed.functions {
        assert!(made.contains(function.handler().unwrap()), "nobody was told of {function:?}");
    }
}

/// Of each function that there ever was, the numbers of the versions go up without a gap, each is one version for
/// good, and what is listed is what somebody was told of and has code that somebody sent.
fn check_versions(told: &[Told], listed: &Listed, codes: &Codes) {
    let mut histories: BTreeMap<&str, BTreeMap<u64, &(String, String)>> = BTreeMap::new();
    for version in told.iter().flat_map(|told| &told.versions) {
        let history = histories.entry(&version.mark).or_default();
        let first = history.entry(version.number).or_insert(&version.content);
        assert_eq!(*first, &version.content, "version {} of {} is two", version.number, version.mark);
    }
    for (mark, history) in &histories {
        let numbers: Vec<u64> = history.keys().copied().collect();
        // They go on from those of the function that had the name before.
        let first = numbers.first().copied().unwrap_or(1);
        let last = first + numbers.len() as u64;
        assert_eq!(numbers, (first..last).collect::<Vec<_>>(), "{mark}: the numbers that were told");
    }
    for release in &listed.releases {
        let code = release.code_sha256().unwrap();
        let sent = codes.by_hash(code).map(|zip| zip.content.len() as i64);
        assert_eq!(sent, Some(release.code_size()), "code that nobody sent: {release:?}");
        let Ok(number) = release.version().unwrap().parse::<u64>() else { continue };
        let known = histories.get(release.handler().unwrap()).and_then(|history| history.get(&number));
        let shown = (code.to_owned(), release.description().unwrap_or_default().to_owned());
        assert_eq!(known, Some(&&shown), "{release:?}");
    }
}

fn check_aliases(listed: &Listed) {
    for (function, aliases) in &listed.aliases {
        let releases = listed.releases.iter().filter(|release| release.function_name() == Some(function));
        let versions: BTreeSet<&str> = releases.filter_map(FunctionConfiguration::version).collect();
        for alias in aliases {
            let weights = alias.routing_config().and_then(AliasRoutingConfiguration::additional_version_weights);
            let seconds = weights.into_iter().flatten().map(|(version, _)| version.as_str());
            for version in seconds.chain(alias.function_version()) {
                assert!(versions.contains(version), "{alias:?} points to none of {versions:?}");
            }
        }
    }
}

/// What the account is charged with is what is listed.
async fn check_usage(client: &Client, listed: &Listed) {
    let settings = client.get_account_settings().send().await.unwrap();
    let usage = settings.account_usage().unwrap();
    let code: i64 = listed.releases.iter().map(FunctionConfiguration::code_size).sum();
    assert_eq!((usage.function_count(), usage.total_code_size()), (listed.functions.len() as i64, code));
    let mut reserved = 0;
    for function in &listed.functions {
        let concurrency = client.get_function_concurrency().function_name(function.function_name().unwrap());
        reserved += concurrency.send().await.unwrap().reserved_concurrent_executions().unwrap_or_default();
    }
    let unreserved = settings.account_limit().unwrap().unreserved_concurrent_executions().unwrap();
    assert_eq!(unreserved, 1000 - reserved);
    assert!(unreserved >= 100);
}

fn hashes(listed: &Listed, codes: &Codes) -> BTreeSet<String> {
    let zips = listed.releases.iter().filter_map(|release| codes.by_hash(release.code_sha256()?));
    zips.map(|zip| zip.hex.clone()).collect()
}
