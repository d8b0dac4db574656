//! Function URLs: an address of its own for a function, or for one of its aliases.
//!
//! A URL has an id that nobody else's has in its region. A request for it names the id in its host, and nothing else
//! of what it is for, so beside the record under the function there is a [`Target`] under the id, written and removed
//! in the same commits. **Invariant:** a target leads to a record only while the function has the target's incarnation;
//! the target of a deleted function stays until its [`debris`](super::debris) is cleared.
//!
//! A URL outlives its alias, as on AWS: it is listed, but what may invoke it went with the alias. It is the URL of the
//! next alias of that name. Not there yet: answering requests for URLs.

use base::{AccountId, AwsError, Chance, Region, Timestamp, Uuid};
use serde::{Deserialize, Serialize};
use store::{Batch, Record, Scan, Scope, Table};

use super::function::{FUNCTIONS, Function, Named};
use super::name::FunctionRef;
use super::{alias, errors, paging};
use crate::{Ctx, Service};

/// What an id is made of; with five random bits a character, one of 32 has 160.
const ID_ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
/// The names whose subdomains are this machine wherever they are resolved.
const LOCAL_NAMES: [&str; 2] = ["localhost", "localhost.localstack.cloud"];

/// By the function's incarnation and the alias; empty for the function itself.
pub static URLS: Table<(Uuid, String), Url> = Table::large("lambda_urls");

/// By id, over all accounts: in the scope that [`of_all_accounts`] makes.
static TARGETS: Table<String, Target> = Table::new("lambda_url_targets");

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Url {
    id: String,
    auth_type: String,
    cors: Option<Cors>,
    /// Absent while nobody has said anything; it is `BUFFERED` then.
    invoke_mode: Option<String>,
    created: Timestamp,
    modified: Timestamp,
}

impl Record for Url {
    const VERSION: u8 = 1;
}

/// What the URL of an id is for.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Target {
    account: AccountId,
    function: String,
    incarnation: Uuid,
    qualifier: String,
}

impl Record for Target {
    const VERSION: u8 = 1;
}

/// Members are kept and shown as they were given.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default, deny_unknown_fields)]
pub struct Cors {
    allow_credentials: Option<bool>,
    allow_headers: Option<Vec<String>>,
    allow_methods: Option<Vec<String>>,
    allow_origins: Option<Vec<String>>,
    expose_headers: Option<Vec<String>>,
    max_age: Option<u32>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct CreateUrl {
    function_name: String,
    qualifier: Option<String>,
    auth_type: String,
    cors: Option<Cors>,
    invoke_mode: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct UpdateUrl {
    function_name: String,
    qualifier: Option<String>,
    auth_type: Option<String>,
    cors: Option<Cors>,
    invoke_mode: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct ListUrls {
    function_name: String,
    marker: Option<String>,
    max_items: Option<usize>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct UrlConfig {
    function_url: String,
    function_arn: String,
    auth_type: String,
    cors: Option<Cors>,
    creation_time: String,
    last_modified_time: Option<String>,
    invoke_mode: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct UrlList {
    function_url_configs: Vec<UrlConfig>,
    next_marker: Option<String>,
}

pub fn operations(service: Service) -> Service {
    service
        .operation("CreateFunctionUrlConfig", create)
        .operation("DeleteFunctionUrlConfig", delete)
        .operation("GetFunctionUrlConfig", get)
        .operation("ListFunctionUrlConfigs", list)
        .operation("UpdateFunctionUrlConfig", update)
}

pub async fn create(ctx: Ctx, input: CreateUrl) -> Result<UrlConfig, AwsError> {
    let asked = FunctionRef::parse(&ctx, "CreateFunctionUrlConfig", &input.function_name, input.qualifier.as_deref())?;
    let cors = input.cors.and_then(Cors::enabled);
    check_cors(cors.as_ref())?;
    let (scope, now) = (ctx.scope(), ctx.cx.now());
    let mut edit = ctx.edit(&FUNCTIONS, &scope, &asked.name).await;
    loop {
        let (found, batch) = edit.read().await?;
        let function = found.ok_or_else(errors::no_function_for_url)?;
        check_alias(&ctx, &function, &asked).await?;
        let key = (function.incarnation, qualifier(&asked));
        if URLS.get(&ctx.cloud.store, &scope, key).await?.is_some() {
            return Err(errors::url_exists(&asked.arn(&ctx)));
        }
        let url = Url {
            id: id(ctx.cx.random()),
            auth_type: input.auth_type.clone(),
            cors: cors.clone(),
            invoke_mode: input.invoke_mode.clone(),
            created: now,
            modified: now,
        };
        let target = Target {
            account: ctx.cx.account,
            function: function.name.clone(),
            incarnation: function.incarnation,
            qualifier: qualifier(&asked).to_owned(),
        };
        let batch = batch
            .put(&URLS, &scope, key, &url)
            .expect_absent(&TARGETS, &of_all_accounts(&scope), &url.id)
            .put(&TARGETS, &of_all_accounts(&scope), &url.id, &target)
            .put(&FUNCTIONS, &scope, &asked.name, &function);
        if edit.commit(batch).await? {
            // Of a new URL, AWS does not say when it was last modified.
            return Ok(UrlConfig { last_modified_time: None, ..url.show(&ctx, asked.arn(&ctx)) });
        }
    }
}

/// Changes the members that are given; CORS as a whole, and empty CORS is none.
pub async fn update(ctx: Ctx, input: UpdateUrl) -> Result<UrlConfig, AwsError> {
    let asked = FunctionRef::parse(&ctx, "UpdateFunctionUrlConfig", &input.function_name, input.qualifier.as_deref())?;
    let cors = input.cors.map(Cors::enabled);
    check_cors(cors.as_ref().and_then(Option::as_ref))?;
    let scope = ctx.scope();
    let mut edit = ctx.edit(&FUNCTIONS, &scope, &asked.name).await;
    loop {
        let (found, batch) = edit.read().await?;
        let function = found.ok_or_else(errors::no_function_for_url)?;
        check_alias(&ctx, &function, &asked).await?;
        let key = (function.incarnation, qualifier(&asked));
        let found = URLS.get(&ctx.cloud.store, &scope, key).await?;
        let mut url = found.ok_or_else(errors::requested_resource_not_found)?.value;
        url.auth_type = input.auth_type.clone().unwrap_or(url.auth_type);
        url.invoke_mode = input.invoke_mode.clone().or(url.invoke_mode);
        url.cors = cors.clone().unwrap_or(url.cors);
        url.modified = ctx.cx.now();
        let batch = batch.put(&URLS, &scope, key, &url).put(&FUNCTIONS, &scope, &asked.name, &function);
        if edit.commit(batch).await? {
            return Ok(url.show(&ctx, asked.arn(&ctx)));
        }
    }
}

pub async fn get(ctx: Ctx, input: Named) -> Result<UrlConfig, AwsError> {
    let asked = FunctionRef::parse(&ctx, "GetFunctionUrlConfig", &input.function_name, input.qualifier.as_deref())?;
    let found = FUNCTIONS.get_shared(&ctx.cloud.store, &ctx.scope(), &asked.name).await?;
    let function = found.ok_or_else(errors::requested_resource_not_found)?;
    let key = (function.incarnation, qualifier(&asked));
    let found = URLS.get_shared(&ctx.cloud.store, &ctx.scope(), key).await?;
    let url = found.ok_or_else(errors::requested_resource_not_found)?;
    Ok(url.show_settled(&ctx, asked.arn(&ctx)))
}

pub async fn delete(ctx: Ctx, input: Named) -> Result<(), AwsError> {
    let asked = FunctionRef::parse(&ctx, "DeleteFunctionUrlConfig", &input.function_name, input.qualifier.as_deref())?;
    let scope = ctx.scope();
    let mut edit = ctx.edit(&FUNCTIONS, &scope, &asked.name).await;
    loop {
        let (found, batch) = edit.read().await?;
        let function = found.ok_or_else(errors::requested_resource_not_found)?;
        let key = (function.incarnation, qualifier(&asked));
        let found = URLS.get(&ctx.cloud.store, &scope, key).await?;
        let url = found.ok_or_else(errors::requested_resource_not_found)?.value;
        let batch = url.forget_target(batch, &scope).delete(&URLS, &scope, key);
        if edit.commit(batch.put(&FUNCTIONS, &scope, &asked.name, &function)).await? {
            return Ok(());
        }
    }
}

pub async fn list(ctx: Ctx, input: ListUrls) -> Result<UrlList, AwsError> {
    const OPERATION: &str = "lambda:ListFunctionUrlConfigs";
    let name = FunctionRef::parse(&ctx, "ListFunctionUrlConfigs", &input.function_name, None)?.name;
    let found = FUNCTIONS.get_shared(&ctx.cloud.store, &ctx.scope(), &name).await?;
    let function = found.ok_or_else(errors::no_function_for_url)?;
    let scan = Scan::all(paging::size(input.max_items)).under::<Uuid>(function.incarnation);
    let (rows, next_marker) = paging::page(&ctx, OPERATION, &URLS, scan, input.marker.as_deref()).await?;
    let arn = |alias: String| {
        let qualifier = Some(alias).filter(|alias| !alias.is_empty());
        FunctionRef { name: name.clone(), qualifier }.arn(&ctx)
    };
    Ok(UrlList {
        next_marker,
        function_url_configs: rows.into_iter().map(|row| row.value.show_settled(&ctx, arn(row.key.1))).collect(),
    })
}

/// The model lets no version and no `$LATEST` through.
fn qualifier(asked: &FunctionRef) -> &str {
    asked.qualifier.as_deref().unwrap_or_default()
}

/// The alias asked for, if any, is there.
async fn check_alias(ctx: &Ctx, function: &Function, asked: &FunctionRef) -> Result<(), AwsError> {
    match asked.qualifier.as_deref() {
        Some(name) if alias::get_shared(ctx, function, name).await?.is_none() => Err(errors::no_function_for_url()),
        _ => Ok(()),
    }
}

fn check_cors(cors: Option<&Cors>) -> Result<(), AwsError> {
    match cors {
        Some(cors) if cors.allow_origins.as_ref().is_none_or(Vec::is_empty) => {
            Err(errors::invalid_parameter("You can't leave AllowOrigins as empty when Cors is enabled."))
        }
        _ => Ok(()),
    }
}

/// Where ids are kept that no two accounts may share: under none of the accounts in particular.
fn of_all_accounts(scope: &Scope) -> Scope {
    Scope { account: AccountId::ZERO, ..scope.clone() }
}

fn id(chance: &dyn Chance) -> String {
    let mut bytes = [0; 32];
    chance.fill(&mut bytes);
    bytes.iter().filter_map(|byte| ID_ALPHABET.get(usize::from(byte % 32))).map(|byte| char::from(*byte)).collect()
}

/// The URL of an id, for a client that reached us at `endpoint`.
///
/// It is below the name that the client used, which is a name that it can resolve. Who used an address has no name for
/// us: for it, as for every local client, the URL is below `localhost`. Who takes us for AWS gets AWS's own form.
fn address(endpoint: &str, region: &Region, id: &str) -> String {
    let (scheme, authority) = endpoint.split_once("://").unwrap_or(("http", endpoint));
    let (name, port) = match authority.rsplit_once(':') {
        Some((name, port)) if !port.ends_with(']') => (name, format!(":{port}")),
        _ => (authority, String::new()),
    };
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    let is_below = |base: &str| name.strip_suffix(base).is_some_and(|head| head.is_empty() || head.ends_with('.'));
    let is_address = name.starts_with('[') || name.parse::<std::net::Ipv4Addr>().is_ok();
    let base = match LOCAL_NAMES.into_iter().find(|local| is_below(local)) {
        Some(local) => local,
        None if is_address => "localhost",
        None if is_below("amazonaws.com") || is_below("amazonaws.com.cn") => "on.aws",
        None => &name,
    };
    format!("{scheme}://{id}.lambda-url.{region}.{base}{port}/")
}

impl Cors {
    /// Without any member, CORS is not enabled.
    fn enabled(self) -> Option<Self> {
        Some(self).filter(|cors| *cors != Self::default())
    }
}

impl Url {
    /// Lets `batch` remove what leads to this URL.
    pub fn forget_target(&self, batch: Batch, scope: &Scope) -> Batch {
        batch.delete(&TARGETS, &of_all_accounts(scope), &self.id)
    }

    fn show(&self, ctx: &Ctx, function_arn: String) -> UrlConfig {
        UrlConfig {
            function_url: address(&ctx.cx.endpoint, &ctx.cx.region, &self.id),
            function_arn,
            auth_type: self.auth_type.clone(),
            cors: self.cors.clone(),
            creation_time: self.created.iso8601_millis(),
            last_modified_time: Some(self.modified.iso8601_millis()),
            invoke_mode: self.invoke_mode.clone(),
        }
    }

    /// With what nobody has said, which AWS leaves out of its answers to changes.
    fn show_settled(&self, ctx: &Ctx, function_arn: String) -> UrlConfig {
        let shown = self.show(ctx, function_arn);
        UrlConfig { invoke_mode: shown.invoke_mode.or_else(|| Some("BUFFERED".into())), ..shown }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use base::{Seeded, SystemClock};
    use wire::Value;

    use super::super::{create, function};
    use super::*;
    use crate::cloud::testing::{self, NoFunctions};

    fn input<T: serde::de::DeserializeOwned>(members: Vec<(&'static str, Value)>) -> T {
        Value::Map(members.into_iter().map(|(name, value)| (name.into(), value)).collect()).into_typed().unwrap()
    }

    fn text(text: &str) -> Value {
        Value::String(text.into())
    }

    async fn targets(ctx: &Ctx) -> Vec<String> {
        let page = TARGETS.scan_all(&ctx.cloud.store, None, 10).await.unwrap();
        page.rows.into_iter().map(|row| row.value.qualifier).collect()
    }

    #[tokio::test]
    async fn what_leads_to_a_url_goes_with_the_url_or_its_function_and_not_with_its_alias() {
        let dir = tempfile::tempdir().unwrap();
        let ctx = testing::ctx(dir.path(), Arc::new(SystemClock), Arc::new(NoFunctions)).await;
        let named = || vec![("FunctionName", text("f"))];
        let image = Value::Map(vec![("ImageUri".into(), text("000000000000.dkr.ecr.us-east-1.amazonaws.com/i:1"))]);
        let role = text("arn:aws:iam::000000000000:role/r");
        let code = [("PackageType", text("Image")), ("Code", image), ("Role", role), ("Publish", Value::Bool(true))];
        let made = named().into_iter().chain(code).collect();
        create::create(ctx.clone(), input(made)).await.map(drop).unwrap();
        let with = |more: &[(&'static str, &str)]| {
            let more = more.iter().map(|(name, value)| (*name, text(value)));
            named().into_iter().chain(more).collect::<Vec<_>>()
        };
        let live = with(&[("Name", "live"), ("FunctionVersion", "1")]);
        alias::create(ctx.clone(), input(live)).await.map(drop).unwrap();
        for more in [&[("AuthType", "NONE")][..], &[("AuthType", "NONE"), ("Qualifier", "live")]] {
            create(ctx.clone(), input(with(more))).await.map(drop).unwrap();
        }
        assert_eq!(targets(&ctx).await.len(), 2);

        delete(ctx.clone(), input(named())).await.unwrap();
        assert_eq!(targets(&ctx).await, ["live"]);
        alias::delete(ctx.clone(), input(with(&[("Name", "live")]))).await.unwrap();
        assert_eq!(targets(&ctx).await, ["live"]);
        function::delete(ctx.clone(), input(named())).await.map(drop).unwrap();
        assert!(targets(&ctx).await.is_empty());
        assert!(URLS.scan_all(&ctx.cloud.store, None, 10).await.unwrap().rows.is_empty());
    }

    #[test]
    fn a_url_is_below_a_name_that_the_client_can_resolve() {
        let region = Region::default();
        for (endpoint, url) in [
            ("http://127.0.0.1:4566", "http://ID.lambda-url.us-east-1.localhost:4566/"),
            ("http://[::1]:4566", "http://ID.lambda-url.us-east-1.localhost:4566/"),
            ("http://[::1]", "http://ID.lambda-url.us-east-1.localhost/"),
            ("https://localhost", "https://ID.lambda-url.us-east-1.localhost/"),
            ("http://Lambda.us-east-1.Localhost.:1", "http://ID.lambda-url.us-east-1.localhost:1/"),
            (
                "http://lambda.localhost.localstack.cloud:4566",
                "http://ID.lambda-url.us-east-1.localhost.localstack.cloud:4566/",
            ),
            ("https://lamp.example:8443", "https://ID.lambda-url.us-east-1.lamp.example:8443/"),
            ("https://notlocalhost", "https://ID.lambda-url.us-east-1.notlocalhost/"),
            ("https://lambda.us-east-1.amazonaws.com", "https://ID.lambda-url.us-east-1.on.aws/"),
            ("https://lambda.cn-north-1.amazonaws.com.cn", "https://ID.lambda-url.us-east-1.on.aws/"),
        ] {
            assert_eq!(address(endpoint, &region, "ID"), url, "{endpoint}");
        }
    }

    #[test]
    fn ids_are_32_letters_and_digits_and_differ() {
        let chance = Seeded::new(7);
        let ids: std::collections::HashSet<_> = (0..100).map(|_| id(&chance)).collect();
        assert_eq!(ids.len(), 100);
        let is_plain = |id: &String| id.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
        assert!(ids.iter().all(|id| id.len() == 32 && is_plain(id)), "{ids:?}");
    }

    #[test]
    fn cors_is_enabled_by_any_member_and_needs_origins() {
        assert_eq!(Cors::default().enabled(), None);
        let cors = |allow_origins| Cors { max_age: Some(0), allow_origins, ..Cors::default() }.enabled();
        assert!(check_cors(cors(Some(vec!["*".into()])).as_ref()).is_ok());
        assert!(check_cors(cors(Some(Vec::new())).as_ref()).is_err());
        assert!(check_cors(cors(None).as_ref()).is_err());
        assert!(check_cors(None).is_ok());
    }
}
