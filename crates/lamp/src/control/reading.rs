//! What the server tells those who read what functions do.

use std::io;
use std::sync::Arc;

use base::AwsError;
use serde::Serialize;
use serde_json::Value;
use services::{Cloud, Reading, Wanted};
use store::Scope;
use tokio::net::unix::OwnedWriteHalf;

use super::{Line, LogsRead, LogsRequest, Running, Served, Told, Whose, send};
use crate::near;

/// Names that are looked through for one that was meant.
const NAMES_MAX: usize = 10_000;

impl Whose {
    pub fn scope(&self) -> Scope {
        Scope { world: base::World::default(), account: self.account, region: Some(self.region.clone()) }
    }
}

impl Served {
    pub fn running(&self) -> Result<&Running, String> {
        self.running.as_ref().ok_or_else(|| "ask a server: none runs".to_owned())
    }

    /// Tells all that is asked for, an answer an event. The error fits "failed to ...".
    pub async fn tell_logs(&self, request: LogsRequest, writer: &mut OwnedWriteHalf) -> Result<Value, String> {
        let cloud = &self.running()?.cloud;
        let scope = request.whose.scope();
        let group = find_group(cloud, &request).await?;
        let LogsRequest { since, pattern, is_followed, .. } = request;
        let wanted = Wanted { scope: scope.clone(), group: group.clone(), since, pattern, is_followed };
        let mut reading =
            Reading::new(Arc::clone(cloud), wanted).map_err(|error| format!("read the pattern: {}", error.message))?;
        while let Some(said) = reading.next().await.map_err(unreadable)? {
            for said in said {
                let (group, stream, message) = (group.clone(), said.stream, said.message);
                let told = Told { time: said.time, ingested: said.ingested, group, stream, message };
                tell(writer, &told).await?;
            }
            let missed = reading.take_missed();
            if missed > 0 {
                tracing::warn!(missed, group, "who follows a log group does not keep up");
            }
        }
        let is_there = services::has_group(cloud, &scope, &group).await.map_err(unreadable)?;
        serde_json::to_value(LogsRead { group, is_there }).map_err(|error| error.to_string())
    }

    /// Tells each message that comes to a queue, until it is gone.
    pub async fn tell_messages(
        &self,
        whose: &Whose,
        queue: &str,
        writer: &mut OwnedWriteHalf,
    ) -> Result<Value, String> {
        let steering = &self.running()?.steering;
        let mut tail = steering.tail(whose, queue).await?;
        while let Some((message, missed)) = tail.next().await.map_err(|error| format!("read on: {}", error.message))? {
            if missed > 0 {
                tracing::warn!(missed, queue, "who watches a queue does not keep up");
            }
            tell(writer, &message).await?;
        }
        Ok(Value::Null)
    }
}

async fn tell<T: Serialize>(writer: &mut OwnedWriteHalf, told: &T) -> Result<(), String> {
    let told = serde_json::to_value(told).map_err(|error| error.to_string())?;
    send(writer, &Line::More(told)).await.map_err(|error: io::Error| format!("tell the reader: {error}"))
}

fn unreadable(error: AwsError) -> String {
    tracing::warn!(?error, "failed to read logs");
    format!("read the logs: {}", error.message)
}

/// The log group that a name means.
async fn find_group(cloud: &Cloud, request: &LogsRequest) -> Result<String, String> {
    let LogsRequest { whose, name, .. } = request;
    let scope = whose.scope();
    if !name.starts_with('/')
        && let Some(group) = services::log_group_of(cloud, &scope, name).await.map_err(unreadable)?
    {
        return Ok(group);
    }
    // A function that is gone has left its logs.
    let left = format!("/aws/lambda/{name}");
    for group in [name, &left] {
        if services::has_group(cloud, &scope, group).await.map_err(unreadable)? {
            return Ok(group.clone());
        }
    }
    let (what, others) = match name.starts_with('/') {
        true => ("log group", services::groups_in(cloud, &scope, NAMES_MAX).await),
        false => ("function", services::functions_in(cloud, &scope, NAMES_MAX).await),
    };
    Err(near::not_found(what, whose, name, &others.map_err(unreadable)?))
}
