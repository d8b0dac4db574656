//! Random walks through the control plane: every answer is the one that the model foretells, everything that is listed
//! is what the model holds, and what was acknowledged survives `kill -9`, to the last byte.
//!
//! `LAMP_SEED` repeats a walk. A walk that fails is cut down to the steps that it takes to fail.

use std::collections::BTreeMap;
use std::time::Duration;

use aws_sdk_lambda::Client;
use aws_sdk_lambda::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_lambda::types::{
    AliasRoutingConfiguration, FunctionCode, FunctionConfiguration, LayerVersionContentInput, Runtime,
};
use e2e::Lamp;
use tempfile::TempDir;

use super::model::{
    CONCURRENCY_MAX, Function, LAYERS_MAX, Model, NOT_FOUND, Revision, Step, TAGS_MAX, Target, UNRESERVED_MIN,
    version_name,
};
use super::{Codes, Dice, ROLE, blobs_held, is_torture, sdk, seed};

const FUNCTIONS: usize = 2;
const ALIASES: usize = 2;
const LAYERS: usize = 7;
const CODES: usize = 4;
const GRANTS: usize = 3;
/// After a call, what it was about is looked at; after so many calls, everything is.
const THOROUGH_EVERY: usize = 8;
/// Walks that the search for a shorter one may take.
const SHRINKS_MAX: usize = 60;

/// What happens in a walk.
#[derive(Clone, Debug)]
enum Event {
    Call(Step),
    /// The server is killed between two calls.
    Kill,
    /// The server is killed while it works on a call, after so many milliseconds.
    KillDuring(Step, u64),
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_walk_finds_what_aws_promises() {
    let (walks, length) = if is_torture() { (12, 500) } else { (2, 200) };
    let codes = Codes::new(CODES);
    let mut dice = Dice(seed());
    for _ in 0..walks {
        let seed = dice.0;
        let events: Vec<Event> = (0..length).map(|_| event(&mut dice)).collect();
        if let Err((at, why)) = walk(&codes, &events).await {
            let (shorter, why_now) = shrink(&codes, events[..=at].to_vec(), why.clone()).await;
            let steps: Vec<String> = shorter.iter().map(|event| format!("    {event:?}\n")).collect();
            panic!("LAMP_SEED={seed}: step {at}: {why}\ncut down to\n{}{why_now}", steps.concat());
        }
    }
}

fn event(dice: &mut Dice) -> Event {
    if dice.one_in(25) {
        return Event::Kill;
    }
    let step = step(dice);
    if dice.one_in(25) { Event::KillDuring(step, dice.next() % 12) } else { Event::Call(step) }
}

fn step(dice: &mut Dice) -> Step {
    let function = dice.below(FUNCTIONS);
    let code = dice.below(CODES);
    let alias = dice.below(ALIASES);
    let revision = match dice.below(6) {
        0 => Revision::Outdated,
        1 | 2 => Revision::Current,
        _ => Revision::Any,
    };
    match dice.below(32) {
        0..=3 => Step::Create { function, code, publish: dice.one_in(2) },
        4..=6 => Step::UpdateCode { function, code, publish: dice.one_in(2), revision },
        7..=8 => Step::UpdateConfiguration { function, description: format!("as {}", dice.below(3)), revision },
        9..=13 => {
            let description = dice.one_in(2).then(|| format!("published as {}", dice.below(3)));
            Step::Publish { function, description, revision }
        }
        14 => Step::Delete { function },
        15..=16 => Step::DeleteVersion { function, version: version(dice).max(1) },
        17..=18 => Step::CreateAlias { function, alias, target: target(dice) },
        19..=20 => Step::UpdateAlias { function, alias, target: target(dice), revision },
        21 => Step::DeleteAlias { function, alias },
        22..=23 => Step::Reserve { function, executions: 150 * dice.below(7) as i32 },
        24 => Step::Unreserve { function },
        25 => Step::Tag { function, first: dice.below(60), count: 1 + dice.below(30) },
        26 => Step::Untag { function, first: dice.below(60), count: 1 + dice.below(30) },
        27 => Step::PublishLayer { layer: dice.below(LAYERS), code },
        28 => Step::Grant { function, statement: dice.below(GRANTS) },
        29 => Step::Revoke { function, statement: dice.below(GRANTS) },
        30 => Step::DeleteLayer { layer: dice.below(LAYERS), version: 1 + dice.next() % 2 },
        _ => {
            let first = dice.below(LAYERS);
            let layers = (0..dice.below(LAYERS_MAX + 2)).map(|place| ((first + place) % LAYERS, 1 + dice.next() % 2));
            Step::UseLayers { function, layers: layers.collect() }
        }
    }
}

fn version(dice: &mut Dice) -> u64 {
    // Low numbers are rather there, so they are asked for more.
    dice.next() % (1 + dice.next() % 5)
}

fn target(dice: &mut Dice) -> Target {
    Target { version: version(dice), second: dice.one_in(3).then(|| version(dice)) }
}

/// Tries the walk without ever smaller parts of it, and keeps whatever still fails, with why it does.
async fn shrink(codes: &Codes, mut events: Vec<Event>, mut why: String) -> (Vec<Event>, String) {
    let mut tries = 0;
    let mut part = events.len() / 2;
    while part > 0 && tries < SHRINKS_MAX {
        let mut start = 0;
        while start < events.len() && tries < SHRINKS_MAX {
            let mut without = events.clone();
            without.drain(start..(start + part).min(events.len()));
            tries += 1;
            match walk(codes, &without).await {
                Err((at, why_now)) => (events, why) = (without[..=at].to_vec(), why_now),
                Ok(()) => start += part,
            }
        }
        part /= 2;
    }
    (events, why)
}

/// Walks on a fresh server; tells at which event it went wrong, and how.
async fn walk(codes: &Codes, events: &[Event]) -> Result<(), (usize, String)> {
    let mut walker = Walker::new(codes);
    for (at, event) in events.iter().enumerate() {
        walker.go(event).await.map_err(|why| (at, format!("{event:?}: {why}")))?;
    }
    let end = events.len().saturating_sub(1);
    walker.leave().await.map_err(|why| (end, format!("at the end: {why}")))
}

/// What a call came to.
enum Answer {
    Done(Option<String>),
    Refused(String),
    /// The connection broke: it may have happened or not.
    Lost,
}

struct Walker<'a> {
    codes: &'a Codes,
    dir: TempDir,
    lamp: Lamp,
    client: Client,
    model: Model,
    calls: usize,
    /// Every revision that a function or an alias has had, the current one last. A function's go by its name alone.
    revisions: BTreeMap<(usize, Option<usize>), Vec<String>>,
    /// Published versions as they were first shown.
    published: BTreeMap<(usize, String), String>,
}

/// Fails the walk with a sentence.
macro_rules! ensure {
    ($condition:expr, $($why:tt)+) => {
        if !$condition {
            return Err(format!($($why)+));
        }
    };
}

impl<'a> Walker<'a> {
    fn new(codes: &'a Codes) -> Self {
        let dir = tempfile::tempdir().expect("make a directory");
        let lamp = Lamp::start_on(&dir.path().join("data"), &[]);
        let client = sdk(&lamp);
        Self {
            codes,
            dir,
            lamp,
            client,
            model: Model::default(),
            calls: 0,
            revisions: BTreeMap::new(),
            published: BTreeMap::new(),
        }
    }

    async fn go(&mut self, event: &Event) -> Result<(), String> {
        match event {
            Event::Call(step) => {
                let answer = self.call(step).await;
                ensure!(!matches!(answer, Answer::Lost), "the connection broke");
                self.judge(step, answer)?;
                self.calls += 1;
                match self.model.clone() {
                    model if self.calls.is_multiple_of(THOROUGH_EVERY) => self.look(&model).await,
                    model => match model.functions.get(&step.function()) {
                        Some(expected) => self.look_at(step.function(), expected).await,
                        None => Ok(()),
                    },
                }
            }
            Event::Kill => {
                let before = self.everything().await?;
                self.restart();
                let after = self.everything().await?;
                ensure!(before == after, "the kill changed what is there\nfrom {before}\nto   {after}");
                self.look(&self.model.clone()).await
            }
            Event::KillDuring(step, milliseconds) => self.kill_during(step, *milliseconds).await,
        }
    }

    /// Deletes everything: then no code is kept, whatever kills have interrupted.
    async fn leave(mut self) -> Result<(), String> {
        let functions = self.model.functions.keys().map(|function| Step::Delete { function: *function });
        let layers = self.model.layers.iter().flat_map(|(layer, found)| {
            found.versions.keys().map(|version| Step::DeleteLayer { layer: *layer, version: *version })
        });
        for step in functions.chain(layers).collect::<Vec<_>>() {
            self.go(&Event::Call(step)).await?;
        }
        self.look(&self.model.clone()).await?;
        self.lamp.kill();
        let held = blobs_held(&self.dir.path().join("data"), &self.dir.path().join("backup"));
        ensure!(held.is_empty(), "code that nothing has: {held:?}");
        Ok(())
    }

    fn restart(&mut self) {
        self.lamp.kill();
        self.lamp = Lamp::start_on(&self.dir.path().join("data"), &[]);
        self.client = sdk(&self.lamp);
    }

    /// A call that was answered happened; one that was not, happened as a whole or not at all.
    async fn kill_during(&mut self, step: &Step, milliseconds: u64) -> Result<(), String> {
        let answer = {
            let call = self.call(step);
            tokio::pin!(call);
            tokio::select! {
                answer = &mut call => answer,
                () = tokio::time::sleep(Duration::from_millis(milliseconds)) => Answer::Lost,
            }
        };
        self.restart();
        if !matches!(answer, Answer::Lost) {
            self.judge(step, answer)?;
            return self.look(&self.model.clone()).await;
        }
        let mut after = self.model.clone();
        let done = after.apply(step).is_ok();
        let Err(not_before) = self.look(&self.model.clone()).await else { return Ok(()) };
        ensure!(done, "{not_before}");
        let looked = self.look(&after).await;
        looked.map_err(|not_after| format!("neither before nor after: {not_before}; {not_after}"))?;
        self.forget(step);
        self.model = after;
        Ok(())
    }

    /// Compares the answer with what the model foretells, and lets the model follow.
    fn judge(&mut self, step: &Step, answer: Answer) -> Result<(), String> {
        match (self.model.apply(step), answer) {
            (Ok(expected), Answer::Done(version)) => {
                ensure!(version == expected, "version {version:?}, not {expected:?}");
                self.forget(step);
            }
            (Err(expected), Answer::Refused(code)) => {
                ensure!(expected.contains(&code.as_str()), "refused with {code}, not {expected:?}");
            }
            (Ok(_), Answer::Refused(code)) => return Err(format!("refused with {code}, which is none of it")),
            (Err(expected), Answer::Done(_)) => return Err(format!("done, not refused with {expected:?}")),
            (_, Answer::Lost) => {}
        }
        Ok(())
    }

    /// What goes with a thing that is deleted may be another's later.
    fn forget(&mut self, step: &Step) {
        match step {
            Step::Delete { function } => {
                self.revisions.retain(|(owner, _), _| owner != function);
                self.published.retain(|(owner, _), _| owner != function);
            }
            Step::DeleteVersion { function, version } => {
                self.published.remove(&(*function, version.to_string()));
            }
            Step::DeleteAlias { function, alias } => {
                self.revisions.remove(&(*function, Some(*alias)));
            }
            _ => {}
        }
    }

    /// The revision that a call is to name.
    fn revision(&self, revision: Revision, function: usize, alias: Option<usize>) -> Option<String> {
        let seen = self.revisions.get(&(function, alias)).map_or(&[][..], Vec::as_slice);
        match revision {
            Revision::Any => None,
            Revision::Current => seen.last().cloned(),
            Revision::Outdated => match seen {
                [.., outdated, _] => Some(outdated.clone()),
                _ => Some("00000000-0000-0000-0000-000000000000".into()),
            },
        }
    }

    async fn call(&self, step: &Step) -> Answer {
        let client = &self.client;
        match step {
            Step::Create { function, code, publish } => {
                let sent = client
                    .create_function()
                    .function_name(name(*function))
                    .runtime(Runtime::Python313)
                    .handler("app.handler")
                    .role(ROLE)
                    .code(FunctionCode::builder().zip_file(self.codes.zip(*code)).build())
                    .publish(*publish);
                answer(sent.send().await, |made| made.version)
            }
            Step::UpdateCode { function, code, publish, revision } => {
                let sent = client.update_function_code().function_name(name(*function)).zip_file(self.codes.zip(*code));
                let sent = sent.publish(*publish).set_revision_id(self.revision(*revision, *function, None));
                answer(sent.send().await, |updated| updated.version)
            }
            Step::UpdateConfiguration { function, description, revision } => {
                let sent =
                    client.update_function_configuration().function_name(name(*function)).description(description);
                let sent = sent.set_revision_id(self.revision(*revision, *function, None));
                answer(sent.send().await, |updated| updated.version)
            }
            Step::UseLayers { function, layers } => {
                let layers = layers.iter().map(|(layer, version)| layer_arn(*layer, *version)).collect();
                let sent =
                    client.update_function_configuration().function_name(name(*function)).set_layers(Some(layers));
                answer(sent.send().await, |updated| updated.version)
            }
            Step::Publish { function, description, revision } => {
                let sent = client.publish_version().function_name(name(*function)).set_description(description.clone());
                let sent = sent.set_revision_id(self.revision(*revision, *function, None));
                answer(sent.send().await, |published| published.version)
            }
            Step::Delete { function } => {
                answer(client.delete_function().function_name(name(*function)).send().await, |_| None)
            }
            Step::DeleteVersion { function, version } => {
                let sent = client.delete_function().function_name(name(*function)).qualifier(version.to_string());
                answer(sent.send().await, |_| None)
            }
            Step::CreateAlias { .. } | Step::UpdateAlias { .. } | Step::DeleteAlias { .. } => {
                self.call_alias(step).await
            }
            Step::PublishLayer { .. } | Step::DeleteLayer { .. } => self.call_layer(step).await,
            _ => self.call_setting(step).await,
        }
    }

    async fn call_alias(&self, step: &Step) -> Answer {
        let client = &self.client;
        match step {
            Step::CreateAlias { function, alias, target } => {
                let sent = client.create_alias().function_name(name(*function)).name(alias_name(*alias));
                let sent = sent.function_version(target.version()).set_routing_config(routing(target));
                answer(sent.send().await, |alias| alias.function_version)
            }
            Step::UpdateAlias { function, alias, target, revision } => {
                let sent = client.update_alias().function_name(name(*function)).name(alias_name(*alias));
                let none = AliasRoutingConfiguration::builder().set_additional_version_weights(Some([].into())).build();
                let sent = sent.function_version(target.version()).routing_config(routing(target).unwrap_or(none));
                let sent = sent.set_revision_id(self.revision(*revision, *function, Some(*alias)));
                answer(sent.send().await, |alias| alias.function_version)
            }
            Step::DeleteAlias { function, alias } => {
                let sent = client.delete_alias().function_name(name(*function)).name(alias_name(*alias));
                answer(sent.send().await, |_| None)
            }
            other => unreachable!("no step of an alias: {other:?}"),
        }
    }

    async fn call_layer(&self, step: &Step) -> Answer {
        match step {
            Step::PublishLayer { layer, code } => {
                let content = LayerVersionContentInput::builder().zip_file(self.codes.zip(*code)).build();
                let sent = self.client.publish_layer_version().layer_name(layer_name(*layer)).content(content);
                answer(sent.send().await, |published| Some(published.version.to_string()))
            }
            Step::DeleteLayer { layer, version } => {
                let sent = self.client.delete_layer_version().layer_name(layer_name(*layer));
                answer(sent.version_number(*version as i64).send().await, |_| None)
            }
            other => unreachable!("no step of a layer: {other:?}"),
        }
    }

    async fn call_setting(&self, step: &Step) -> Answer {
        let client = &self.client;
        match step {
            Step::Reserve { function, executions } => {
                let sent = client.put_function_concurrency().function_name(name(*function));
                answer(sent.reserved_concurrent_executions(*executions).send().await, |_| None)
            }
            Step::Unreserve { function } => {
                answer(client.delete_function_concurrency().function_name(name(*function)).send().await, |_| None)
            }
            Step::Tag { function, first, count } => {
                let tags = (*first..first + count).map(|key| (tag_key(key), format!("of {first}"))).collect();
                answer(client.tag_resource().resource(arn(*function)).set_tags(Some(tags)).send().await, |_| None)
            }
            Step::Untag { function, first, count } => {
                let keys = (*first..first + count).map(tag_key).collect();
                answer(client.untag_resource().resource(arn(*function)).set_tag_keys(Some(keys)).send().await, |_| None)
            }
            Step::Grant { function, statement } => {
                let sent = client.add_permission().function_name(name(*function)).statement_id(sid(*statement));
                let sent = sent.action("lambda:InvokeFunction").principal("s3.amazonaws.com");
                answer(sent.send().await, |_| None)
            }
            Step::Revoke { function, statement } => {
                let sent = client.remove_permission().function_name(name(*function)).statement_id(sid(*statement));
                answer(sent.send().await, |_| None)
            }
            other => unreachable!("no setting: {other:?}"),
        }
    }

    /// Compares everything that is listed with what a model holds.
    async fn look(&mut self, model: &Model) -> Result<(), String> {
        let functions = listed(self.client.list_functions().into_paginator().items().send().collect().await)?;
        let names: Vec<&str> = functions.iter().filter_map(|function| function.function_name()).collect();
        let expected: Vec<String> = model.functions.keys().map(|function| name(*function)).collect();
        ensure!(names == expected, "functions {names:?}, not {expected:?}");
        let layers = model.layers.values().flat_map(|layer| layer.versions.values());
        let mut code_size: i64 = layers.map(|code| self.codes.size(*code)).sum();
        for (function, expected) in &model.functions {
            self.look_at(*function, expected).await?;
            let releases = std::iter::once(&expected.latest).chain(expected.versions.values());
            code_size += releases.map(|release| self.codes.size(release.code)).sum::<i64>();
        }
        self.look_at_layers(model).await?;
        let settings = self.client.get_account_settings().send().await.map_err(|error| format!("{error:?}"))?;
        let (limit, usage) =
            (settings.account_limit().ok_or("no limits")?, settings.account_usage().ok_or("no usage")?);
        ensure!(usage.function_count() == model.functions.len() as i64, "counted {usage:?}");
        ensure!(usage.total_code_size() == code_size, "{usage:?}, but what is there has {code_size}");
        let unreserved = limit.unreserved_concurrent_executions().unwrap_or_default();
        ensure!(unreserved == CONCURRENCY_MAX - model.reserved(), "{unreserved} unreserved with {}", model.reserved());
        ensure!(unreserved >= UNRESERVED_MIN, "only {unreserved} unreserved");
        Ok(())
    }

    /// Compares one function, with all that belongs to it.
    async fn look_at(&mut self, function: usize, expected: &Function) -> Result<(), String> {
        let versions = self.client.list_versions_by_function().function_name(name(function));
        let versions = listed(versions.into_paginator().items().send().collect().await)?;
        let numbers: Vec<&str> = versions.iter().filter_map(|version| version.version()).collect();
        let mut wanted = vec!["$LATEST".to_owned()];
        wanted.extend(expected.versions.keys().map(u64::to_string));
        ensure!(numbers == wanted, "{}: versions {numbers:?}, not {wanted:?}", name(function));
        let releases = std::iter::once(&expected.latest).chain(expected.versions.values());
        for (shown, release) in versions.iter().zip(releases) {
            let layers: Vec<&str> = shown.layers().iter().filter_map(|layer| layer.arn()).collect();
            let wanted: Vec<String> =
                release.layers.iter().map(|(layer, version)| layer_arn(*layer, *version)).collect();
            ensure!(shown.code_sha256() == Some(self.codes.hash(release.code)), "another code: {shown:?}");
            ensure!(shown.description() == Some(&release.description), "not {:?}: {shown:?}", release.description);
            ensure!(layers == wanted, "layers {layers:?}, not {wanted:?}: {shown:?}");
        }
        self.look_at_versions(function, &versions)?;
        self.look_beside(function, expected).await
    }

    /// A version never changes, and `$LATEST` moves its revision with every change.
    fn look_at_versions(&mut self, function: usize, versions: &[FunctionConfiguration]) -> Result<(), String> {
        for version in versions {
            let number = version.version().unwrap_or_default();
            if number == "$LATEST" {
                self.note_revision(function, None, version.revision_id().unwrap_or_default())?;
                continue;
            }
            let shown = format!("{version:?}");
            let first = self.published.entry((function, number.to_owned())).or_insert_with(|| shown.clone());
            ensure!(*first == shown, "version {number} changed\nfrom {first}\nto   {shown}");
        }
        Ok(())
    }

    fn note_revision(&mut self, function: usize, alias: Option<usize>, now: &str) -> Result<(), String> {
        let seen = self.revisions.entry((function, alias)).or_default();
        if seen.last().is_none_or(|last| last != now) {
            ensure!(!seen.iter().any(|seen| seen == now), "revision {now} came back");
            seen.push(now.to_owned());
        }
        Ok(())
    }

    /// Aliases, tags, what is granted, and what is reserved.
    async fn look_beside(&mut self, function: usize, expected: &Function) -> Result<(), String> {
        let aliases = self.client.list_aliases().function_name(name(function));
        let aliases = listed(aliases.into_paginator().items().send().collect().await)?;
        let shown = aliases.iter().map(|alias| {
            let weights = alias.routing_config().and_then(|routing| routing.additional_version_weights());
            let seconds: Vec<String> = weights.into_iter().flatten().map(|(version, _)| version.clone()).collect();
            (
                alias.name().unwrap_or_default().to_owned(),
                alias.function_version().unwrap_or_default().to_owned(),
                seconds,
            )
        });
        let wanted = expected.aliases.iter().map(|(alias, target)| {
            (alias_name(*alias), target.version(), target.second.map(version_name).into_iter().collect())
        });
        let (shown, wanted): (Vec<_>, Vec<_>) = (shown.collect(), wanted.collect());
        ensure!(shown == wanted, "{}: aliases {shown:?}, not {wanted:?}", name(function));
        for (alias, shown) in expected.aliases.keys().zip(&aliases) {
            self.note_revision(function, Some(*alias), shown.revision_id().unwrap_or_default())?;
        }
        let tags =
            self.client.list_tags().resource(arn(function)).send().await.map_err(|error| format!("{error:?}"))?;
        let tags: BTreeMap<String, String> = tags.tags.unwrap_or_default().into_iter().collect();
        let wanted: BTreeMap<String, String> =
            expected.tags.iter().map(|(key, value)| (tag_key(*key), value.clone())).collect();
        ensure!(tags == wanted && tags.len() <= TAGS_MAX, "{}: tags {tags:?}, not {wanted:?}", name(function));
        let policy = match self.client.get_policy().function_name(name(function)).send().await {
            Ok(found) => found.policy.unwrap_or_default(),
            Err(error) if error.code() == Some(NOT_FOUND) => String::new(),
            Err(error) => return Err(format!("{error:?}")),
        };
        let granted: Vec<String> = (0..GRANTS).map(sid).filter(|sid| policy.contains(&format!("{sid:?}"))).collect();
        let wanted: Vec<String> = expected.grants.iter().copied().map(sid).collect();
        ensure!(granted == wanted, "{}: granted {granted:?}, not {wanted:?}: {policy}", name(function));
        let reserved = self.client.get_function_concurrency().function_name(name(function)).send().await;
        let reserved = reserved.map_err(|error| format!("{error:?}"))?.reserved_concurrent_executions;
        ensure!(
            reserved == expected.reserved,
            "{}: {reserved:?}, not {:?} reserved",
            name(function),
            expected.reserved
        );
        Ok(())
    }

    async fn look_at_layers(&self, model: &Model) -> Result<(), String> {
        for (layer, expected) in &model.layers {
            let versions = self.client.list_layer_versions().layer_name(layer_name(*layer));
            let versions = listed(versions.into_paginator().items().send().collect().await)?;
            let shown: Vec<u64> = versions.iter().map(|version| version.version() as u64).collect();
            let wanted: Vec<u64> = expected.versions.keys().rev().copied().collect();
            ensure!(shown == wanted, "{}: versions {shown:?}, not {wanted:?}", layer_name(*layer));
        }
        Ok(())
    }

    /// All that is there, as the client shows it.
    async fn everything(&self) -> Result<String, String> {
        let mut all = String::new();
        for function in self.model.functions.keys() {
            let versions = self.client.list_versions_by_function().function_name(name(*function));
            let aliases = self.client.list_aliases().function_name(name(*function));
            let versions: Vec<_> = listed(versions.into_paginator().items().send().collect().await)?;
            let aliases: Vec<_> = listed(aliases.into_paginator().items().send().collect().await)?;
            all += &format!("{versions:?}\n{aliases:?}\n");
        }
        Ok(all)
    }
}

fn answer<T, E: ProvideErrorMetadata>(
    sent: Result<T, SdkError<E>>,
    version: impl FnOnce(T) -> Option<String>,
) -> Answer {
    match sent {
        Ok(done) => Answer::Done(version(done)),
        Err(error) => error.code().map_or(Answer::Lost, |code| Answer::Refused(code.to_owned())),
    }
}

fn listed<T, E: std::fmt::Debug>(items: Result<Vec<T>, E>) -> Result<Vec<T>, String> {
    items.map_err(|error| format!("{error:?}"))
}

fn routing(target: &Target) -> Option<AliasRoutingConfiguration> {
    let second = version_name(target.second?);
    Some(AliasRoutingConfiguration::builder().additional_version_weights(second, 0.1).build())
}

fn name(function: usize) -> String {
    format!("function-{function}")
}

fn arn(function: usize) -> String {
    format!("arn:aws:lambda:us-east-1:000000000000:function:{}", name(function))
}

fn alias_name(alias: usize) -> String {
    format!("alias-{alias}")
}

fn layer_name(layer: usize) -> String {
    format!("layer-{layer}")
}

fn layer_arn(layer: usize, version: u64) -> String {
    format!("arn:aws:lambda:us-east-1:000000000000:layer:{}:{version}", layer_name(layer))
}

fn sid(statement: usize) -> String {
    format!("statement-{statement}")
}

fn tag_key(key: usize) -> String {
    format!("key-{key}")
}
