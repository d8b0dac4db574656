//! Log groups: their names, how long they keep events, and what else is said of them.

use base::{AwsError, Timestamp};
use chronicle::{GROUPS, Group};
use serde::{Deserialize, Serialize};
use store::{Batch, Row, Scan};

use super::metric_filter::MetricFilter;
use super::subscription_filter::SubscriptionFilter;
use super::{errors, group_filter, name, tag};
use crate::{Ctx, Service};

const NAME_BYTES_MAX: usize = 512;
const PAGE_MAX: usize = 50;
/// Groups that one page of a search looks at.
const STEP: usize = 500;
const STEPS_MAX: usize = 20;

/// Days that AWS lets events be kept.
const RETENTION_DAYS: [u32; 22] =
    [1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653];

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CreateLogGroup {
    log_group_name: String,
    kms_key_id: Option<String>,
    tags: Option<tag::Tags>,
    log_group_class: Option<String>,
    deletion_protection_enabled: Option<bool>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NamedGroup {
    log_group_name: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PutRetentionPolicy {
    log_group_name: String,
    retention_in_days: i64,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PutDeletionProtection {
    log_group_identifier: String,
    deletion_protection_enabled: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct KmsKey {
    log_group_name: Option<String>,
    resource_identifier: Option<String>,
    kms_key_id: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DescribeLogGroups {
    log_group_name_prefix: Option<String>,
    log_group_name_pattern: Option<String>,
    next_token: Option<String>,
    limit: Option<usize>,
    log_group_class: Option<String>,
    log_group_identifiers: Option<Vec<String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ListLogGroups {
    log_group_name_pattern: Option<String>,
    log_group_class: Option<String>,
    next_token: Option<String>,
    limit: Option<usize>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Described {
    log_groups: Vec<Shown>,
    next_token: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Shown {
    log_group_name: String,
    creation_time: i64,
    retention_in_days: Option<u32>,
    metric_filter_count: usize,
    arn: String,
    stored_bytes: Option<u64>,
    kms_key_id: Option<String>,
    log_group_class: String,
    log_group_arn: String,
    deletion_protection_enabled: Option<bool>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Listed {
    log_groups: Vec<Summary>,
    next_token: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Summary {
    log_group_name: String,
    log_group_arn: String,
    log_group_class: String,
}

pub fn operations(service: Service) -> Service {
    service
        .operation("AssociateKmsKey", associate_kms_key)
        .operation("CreateLogGroup", create)
        .operation("DeleteLogGroup", delete)
        .operation("DeleteRetentionPolicy", delete_retention)
        .operation("DescribeLogGroups", describe)
        .operation("DisassociateKmsKey", associate_kms_key)
        .operation("ListLogGroups", list)
        .operation("PutLogGroupDeletionProtection", put_protection)
        .operation("PutRetentionPolicy", put_retention)
}

pub async fn create(ctx: Ctx, input: CreateLogGroup) -> Result<(), AwsError> {
    let group_name = input.log_group_name;
    if group_name.len() > NAME_BYTES_MAX {
        return Err(errors::name_too_long());
    }
    if group_name.get(..4).is_some_and(|start| start.eq_ignore_ascii_case("aws/")) {
        return Err(errors::reserved_name());
    }
    let mut group = Group::new(ctx.cx.id(), ctx.cx.now().trunc_millis());
    group.class = input.log_group_class.unwrap_or(group.class);
    group.kms_key = input.kms_key_id;
    group.is_protected = input.deletion_protection_enabled.unwrap_or_default();
    group.tags = input.tags.unwrap_or_default();
    match ctx.cloud.chronicle.create_group(&ctx.scope(), &group_name, &group).await? {
        true => Ok(()),
        false => Err(errors::group_exists()),
    }
}

pub async fn delete(ctx: Ctx, input: NamedGroup) -> Result<(), AwsError> {
    let scope = ctx.scope();
    loop {
        let found = GROUPS.get(&ctx.cloud.store, &scope, &input.log_group_name).await?.ok_or_else(errors::no_group)?;
        if found.value.is_protected {
            return Err(errors::protected());
        }
        let filters = group_filter::clear::<MetricFilter>(&ctx, found.value.id, Batch::new()).await?;
        let filters = group_filter::clear::<SubscriptionFilter>(&ctx, found.value.id, filters).await?;
        if ctx.cloud.chronicle.delete_group(&scope, &input.log_group_name, &found, filters).await? {
            return Ok(());
        }
    }
}

/// Changes a group that must be there.
pub async fn edit(ctx: &Ctx, name: &str, change: impl Fn(&mut Group) -> Result<(), AwsError>) -> Result<(), AwsError> {
    let scope = ctx.scope();
    let mut edit = ctx.edit(&GROUPS, &scope, name).await;
    loop {
        let (found, batch) = edit.read().await?;
        let mut group = found.ok_or_else(errors::no_group)?;
        change(&mut group)?;
        if edit.commit(batch.put(&GROUPS, &scope, name, &group)).await? {
            return Ok(());
        }
    }
}

pub async fn put_retention(ctx: Ctx, input: PutRetentionPolicy) -> Result<(), AwsError> {
    let days = input.retention_in_days;
    let Some(days) = u32::try_from(days).ok().filter(|days| RETENTION_DAYS.contains(days)) else {
        return Err(errors::invalid_parameter(format!(
            "1 validation error detected: Value '{days}' at 'retentionInDays' failed to satisfy constraint: Member must \
             satisfy enum value set: {RETENTION_DAYS:?}"
        )));
    };
    edit(&ctx, &input.log_group_name, |group| {
        group.retention_days = Some(days);
        Ok(())
    })
    .await
}

pub async fn delete_retention(ctx: Ctx, input: NamedGroup) -> Result<(), AwsError> {
    edit(&ctx, &input.log_group_name, |group| {
        group.retention_days = None;
        Ok(())
    })
    .await
}

pub async fn put_protection(ctx: Ctx, input: PutDeletionProtection) -> Result<(), AwsError> {
    let group_name = name::in_identifier(&ctx, &input.log_group_identifier).ok_or_else(errors::no_group)?;
    edit(&ctx, group_name, |group| {
        group.is_protected = input.deletion_protection_enabled;
        Ok(())
    })
    .await
}

/// Notes the key, or that there is none. Everything that is stored is encrypted or not as the store is.
pub async fn associate_kms_key(ctx: Ctx, input: KmsKey) -> Result<(), AwsError> {
    let found = name::find(&ctx, input.log_group_name, input.resource_identifier).await?;
    edit(&ctx, &found.name, |group| {
        group.kms_key = input.kms_key_id.clone();
        Ok(())
    })
    .await
}

pub async fn describe(ctx: Ctx, input: DescribeLogGroups) -> Result<Described, AwsError> {
    const OPERATION: &str = "logs:DescribeLogGroups";
    if input.log_group_name_prefix.is_some() && input.log_group_name_pattern.is_some() {
        return Err(errors::prefix_and_pattern());
    }
    let prefix = input.log_group_name_prefix.unwrap_or_default();
    let names: Option<Vec<&str>> = input
        .log_group_identifiers
        .as_ref()
        .map(|identifiers| identifiers.iter().filter_map(|identifier| name::in_identifier(&ctx, identifier)).collect());
    let pattern = input.log_group_name_pattern;
    let is_wanted = |row: &Row<String, Group>| {
        pattern.as_ref().is_none_or(|pattern| row.key.contains(pattern.as_str()))
            && input.log_group_class.as_ref().is_none_or(|class| row.value.class == *class)
            && names.as_ref().is_none_or(|names| names.contains(&row.key.as_str()))
    };
    let limit = input.limit.unwrap_or(PAGE_MAX);
    let (rows, next_token) = search(&ctx, OPERATION, &prefix, input.next_token.as_deref(), limit, is_wanted).await?;
    let mut log_groups = Vec::new();
    for row in rows {
        // As on AWS, a search by pattern tells less.
        let is_whole = pattern.is_none();
        let stored = ctx.cloud.chronicle.group_bytes(&ctx.scope(), row.value.id).await?;
        let log_group_arn = name::group_arn(&ctx, &row.key);
        log_groups.push(Shown {
            creation_time: row.value.created.as_millis(),
            retention_in_days: row.value.retention_days,
            metric_filter_count: group_filter::of_id::<MetricFilter>(&ctx.cloud.store, &ctx.scope(), row.value.id)
                .await?
                .len(),
            arn: format!("{log_group_arn}:*"),
            stored_bytes: is_whole.then_some(stored),
            kms_key_id: row.value.kms_key,
            log_group_class: row.value.class,
            deletion_protection_enabled: is_whole.then_some(row.value.is_protected),
            log_group_name: row.key,
            log_group_arn,
        });
    }
    Ok(Described { log_groups, next_token })
}

pub async fn list(ctx: Ctx, input: ListLogGroups) -> Result<Listed, AwsError> {
    const OPERATION: &str = "logs:ListLogGroups";
    let pattern = input.log_group_name_pattern.unwrap_or_default();
    let parts: Vec<&str> = pattern.split('|').collect();
    let is_named = |name: &str| {
        parts.iter().any(|part| match part.strip_prefix('^') {
            Some(start) => name.starts_with(start),
            None => name.contains(part),
        })
    };
    let is_wanted = |row: &Row<String, Group>| {
        is_named(&row.key) && input.log_group_class.as_ref().is_none_or(|class| row.value.class == *class)
    };
    let limit = input.limit.unwrap_or(PAGE_MAX);
    let (rows, next_token) = search(&ctx, OPERATION, "", input.next_token.as_deref(), limit, is_wanted).await?;
    let show = |row: Row<String, Group>| Summary {
        log_group_arn: name::group_arn(&ctx, &row.key),
        log_group_name: row.key,
        log_group_class: row.value.class,
    };
    Ok(Listed { log_groups: rows.into_iter().map(show).collect(), next_token })
}

/// A page of the groups that are wanted, in order of their names, and where to go on. A page that has looked at enough ends,
/// full or not, as AWS's may.
async fn search(
    ctx: &Ctx,
    operation: &str,
    prefix: &str,
    token: Option<&str>,
    limit: usize,
    is_wanted: impl Fn(&Row<String, Group>) -> bool,
) -> Result<(Vec<Row<String, Group>>, Option<String>), AwsError> {
    let scan = Scan::all(STEP).starting_with(prefix);
    let mut scan = ctx.resume(operation, scan, token).ok_or_else(errors::invalid_token)?;
    let (mut found, mut last) = (Vec::new(), None);
    for _ in 0..STEPS_MAX {
        let page = GROUPS.page(&ctx.cloud.store, &ctx.scope(), scan.clone()).await?;
        for row in page.rows {
            if found.len() >= limit {
                return Ok((found, ctx.marker(operation, last.as_ref())));
            }
            last = Some(row.key.clone());
            if is_wanted(&row) {
                found.push(row);
            }
        }
        match page.next {
            None => return Ok((found, None)),
            Some(next) => scan = scan.after(&next),
        }
    }
    Ok((found, ctx.marker(operation, last.as_ref())))
}

/// Whether an event is too old for a group to be taken or shown.
pub fn is_expired(group: &Group, now: Timestamp, time: Timestamp) -> bool {
    group.kept_since(now).is_some_and(|since| time < since)
}
