//! Looking into queues, mappings and events, and steering them: what is asked on the control socket and at `/_lamp/`, and
//! what is answered.

use std::sync::Arc;
use std::time::Duration;

use base::{AccountId, AwsError, Clock, Fault, Region, Uuid};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderValue, Method, Response, StatusCode, header};
use ring::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use services::operator::{Operator, Question, Tail};
use services::{Cloud, Post};
use wire::percent::{Plus, decode_text};
use wire::pipeline::BuiltinRequest;
use wire::server::Reply;

use crate::cli::steering::Span;
use crate::control::Whose;
use crate::near;
use crate::platform::answer_json;
use crate::root::Root;

/// The paths at which can be asked.
pub const PATHS: [(Method, &str); 8] = [
    (Method::GET, "/_lamp/queues"),
    (Method::GET, "/_lamp/queues/"),
    (Method::POST, "/_lamp/queues/"),
    (Method::GET, "/_lamp/mappings"),
    (Method::POST, "/_lamp/mappings/"),
    (Method::GET, "/_lamp/idle"),
    (Method::GET, "/_lamp/events/"),
    (Method::POST, "/_lamp/events/"),
];
/// What can be shown at once.
const LIMIT_MAX: usize = 1_000;
const LIMIT: usize = 20;
const WAIT: Duration = Duration::from_secs(30);
/// Queues that are not in memory take their time.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
const WAIT_MAX: Duration = Duration::from_secs(24 * 60 * 60);
/// Names that are looked through for one that was meant.
const NAMES_MAX: usize = 10_000;

/// What can be asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Asked {
    Queues {
        whose: Whose,
    },
    Messages {
        whose: Whose,
        queue: String,
        after: Option<u64>,
        limit: usize,
    },
    Purge {
        whose: Whose,
        queue: String,
    },
    Redrive {
        whose: Whose,
        queue: String,
        to: Option<String>,
    },
    /// How the latest redrive stands.
    Move {
        whose: Whose,
        queue: String,
    },
    FreezeQueue {
        whose: Whose,
        queue: String,
        is_frozen: bool,
    },
    Mappings {
        whose: Whose,
    },
    FreezeMapping {
        whose: Whose,
        uuid: String,
        is_frozen: bool,
    },
    Events {
        whose: Whose,
        function: String,
        limit: usize,
    },
    RedriveEvents {
        whose: Whose,
        function: String,
        ids: Vec<Uuid>,
    },
    /// Until all that is meant is over.
    Wait {
        question: Question,
        at_most: Duration,
    },
}

impl Asked {
    /// How long a server may take that is well.
    pub fn answered_within(&self) -> Duration {
        match self {
            Asked::Wait { at_most, .. } => at_most.saturating_add(ANSWER_TIMEOUT),
            _ => ANSWER_TIMEOUT,
        }
    }
}

#[derive(Clone)]
pub struct Steering {
    operator: Operator,
    cloud: Arc<Cloud>,
    clock: Arc<dyn Clock>,
}

impl Steering {
    pub fn new(post: Post, clock: Arc<dyn Clock>) -> Self {
        Self { cloud: post.cloud.clone(), operator: Operator::new(post), clock }
    }

    /// The error fits "failed to ...".
    pub async fn answer(&self, asked: Asked) -> Result<Value, String> {
        match self.try_answer(&asked).await {
            Ok(value) => Ok(value),
            Err(error) => Err(self.explain(&asked, &error).await),
        }
    }

    async fn try_answer(&self, asked: &Asked) -> Result<Value, AwsError> {
        let operator = &self.operator;
        match asked {
            Asked::Queues { whose } => value(json!({ "queues": operator.queues(&whose.scope()).await? })),
            Asked::Messages { whose, queue, after, limit } => {
                let most = (*limit).min(LIMIT_MAX);
                let (messages, is_cut) = operator.messages(&whose.scope(), queue, *after, most).await?;
                value(json!({ "messages": messages, "is_cut": is_cut }))
            }
            Asked::Purge { whose, queue } => {
                operator.purge(&whose.scope(), queue).await?;
                value(json!({}))
            }
            Asked::Redrive { whose, queue, to } => value(operator.redrive(&whose.scope(), queue, to.as_deref()).await?),
            Asked::Move { whose, queue } => value(operator.latest_move(&whose.scope(), queue).await?),
            Asked::FreezeQueue { whose, queue, is_frozen } => {
                value(operator.freeze_queue(&whose.scope(), queue, *is_frozen).await?)
            }
            Asked::Mappings { whose } => value(json!({ "mappings": operator.mappings(&whose.scope()).await? })),
            Asked::FreezeMapping { whose, uuid, is_frozen } => {
                value(operator.freeze_mapping(&whose.scope(), uuid, *is_frozen).await?)
            }
            Asked::Events { whose, function, limit } => {
                value(operator.events(&whose.scope(), function, (*limit).min(LIMIT_MAX)).await?)
            }
            Asked::RedriveEvents { whose, function, ids } => {
                let count = operator.redrive_events(&whose.scope(), function, ids).await?;
                if count == 0 && !ids.is_empty() {
                    return Err(AwsError::client(404, "ResourceNotFoundException", "None of these events is dead."));
                }
                value(json!({ "redriven": count }))
            }
            Asked::Wait { question, at_most } => {
                let until = self.clock.now().plus((*at_most).min(WAIT_MAX));
                let busy = operator.wait(question, until).await?;
                value(json!({ "is_idle": busy.is_none(), "busy": busy }))
            }
        }
    }

    /// What comes to a queue from now on.
    pub async fn tail(&self, whose: &Whose, queue: &str) -> Result<Tail, String> {
        match self.operator.tail(&whose.scope(), queue).await {
            Ok(tail) => Ok(tail),
            Err(error) => {
                let asked = Asked::Purge { whose: whose.clone(), queue: queue.to_owned() };
                Err(self.explain(&asked, &error).await)
            }
        }
    }

    /// Why something cannot be done, and what may have been meant.
    async fn explain(&self, asked: &Asked, error: &AwsError) -> String {
        let missing = match asked {
            Asked::Messages { whose, queue, .. }
            | Asked::Purge { whose, queue }
            | Asked::Redrive { whose, queue, .. }
            | Asked::Move { whose, queue }
            | Asked::FreezeQueue { whose, queue, .. }
                if error.code.contains("DoesNotExist") =>
            {
                let queues = self.operator.queues(&whose.scope()).await.unwrap_or_default();
                let names: Vec<String> = queues.into_iter().map(|queue| queue.name).collect();
                let missing = match asked {
                    Asked::Redrive { to: Some(to), .. } if names.contains(queue) => to,
                    _ => queue,
                };
                Some(("queue", whose, missing, names))
            }
            Asked::Events { whose, function, .. } | Asked::RedriveEvents { whose, function, .. }
                if error.message.starts_with("Function not found") =>
            {
                let functions = services::functions_in(&self.cloud, &whose.scope(), NAMES_MAX).await;
                Some(("function", whose, function, functions.unwrap_or_default()))
            }
            _ => None,
        };
        match missing {
            Some((what, whose, name, others)) => near::not_found(what, whose, name, &others),
            None if error.fault == Fault::Client => match asked {
                Asked::FreezeMapping { uuid, .. } if error.status == 404 => {
                    format!("find the mapping {uuid:?}: `lamp mapping ls` shows those that there are")
                }
                _ => format!("do that: {}", error.message),
            },
            None => {
                tracing::error!(?error, ?asked, "failed to do what an operator asked for");
                format!("do that: {}", error.message)
            }
        }
    }
}

fn value(value: impl Serialize) -> Result<Value, AwsError> {
    serde_json::to_value(value).map_err(AwsError::internal)
}

/// Where it is asked by HTTP.
pub struct Desk {
    pub steering: Steering,
    pub keys: Arc<Root>,
    /// Who asks must have the root's key, where others must sign.
    pub is_strict: bool,
}

impl Desk {
    pub async fn answer(&self, request: BuiltinRequest) -> Response<Reply> {
        if self.is_strict && !self.is_root(request.authorization.as_ref()) {
            let mut response = refusal(StatusCode::UNAUTHORIZED, "failed to know who asks: the root's key is needed");
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Basic realm=\"lamp\""));
            return response;
        }
        let asked = match asked(&request.method, &request.path, &request.query) {
            Ok(Some(asked)) => asked,
            Ok(None) => return no_such(&request),
            Err(reason) => return refusal(StatusCode::BAD_REQUEST, &format!("failed to {reason}")),
        };
        match self.steering.try_answer(&asked).await {
            Ok(value) => answer_json(&value),
            Err(error) => {
                let status = match error.status {
                    _ if error.code.contains("DoesNotExist") => StatusCode::NOT_FOUND,
                    status => StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
                };
                refusal(status, &format!("failed to {}", self.steering.explain(&asked, &error).await))
            }
        }
    }

    /// Whether it is the root's key, as HTTP's basic authentication has it.
    fn is_root(&self, authorization: Option<&HeaderValue>) -> bool {
        let given = authorization.and_then(|value| {
            let (scheme, coded) = value.to_str().ok()?.split_once(' ')?;
            scheme.eq_ignore_ascii_case("basic").then_some(coded)
        });
        let given = given.and_then(|coded| STANDARD.decode(coded.trim()).ok());
        let key = format!("{}:{}", self.keys.access_key_id, self.keys.secret_access_key.expose());
        // How long it takes to compare sums says nothing of what they are of.
        let sum = |bytes: &[u8]| digest(&SHA256, bytes).as_ref().to_vec();
        given.is_some_and(|given| sum(&given) == sum(key.as_bytes()))
    }
}

fn refusal(status: StatusCode, message: &str) -> Response<Reply> {
    let mut response = answer_json(&json!({ "message": message }));
    *response.status_mut() = status;
    response
}

/// There is nothing at a path, or it is asked by another method.
fn no_such(request: &BuiltinRequest) -> Response<Reply> {
    let other = if request.method == Method::POST { Method::GET } else { Method::POST };
    match asked(&other, &request.path, &request.query) {
        Ok(Some(_)) => {
            let mut response = refusal(StatusCode::METHOD_NOT_ALLOWED, &format!("failed to do that: it takes {other}"));
            response.headers_mut().extend(HeaderValue::from_str(other.as_str()).map(|other| (header::ALLOW, other)));
            response
        }
        _ => refusal(StatusCode::NOT_FOUND, "failed to find that: docs/steering.md says what there is"),
    }
}

/// What a request asks for; nothing if there is nothing at its path. The error fits "failed to ...".
fn asked(method: &Method, path: &str, query: &str) -> Result<Option<Asked>, String> {
    let given = Given::parse(query)?;
    let path = path.strip_prefix("/_lamp/").unwrap_or_default();
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    let is_change = *method == Method::POST;
    let whose = given.whose();
    let owned = |name: &str| {
        let name = decode_text(name, Plus::Literal).ok_or_else(|| format!("understand {name}: it is no UTF-8"))?;
        Ok::<String, String>(name.into_owned())
    };
    Ok(Some(match (parts.as_slice(), is_change) {
        (["queues"], false) => Asked::Queues { whose },
        (["queues", queue, "messages"], false) => {
            Asked::Messages { whose, queue: owned(queue)?, after: given.after, limit: given.limit }
        }
        (["queues", queue, "redrive"], false) => Asked::Move { whose, queue: owned(queue)? },
        (["queues", queue, "redrive"], true) => Asked::Redrive { whose, queue: owned(queue)?, to: given.to },
        (["queues", queue, "purge"], true) => Asked::Purge { whose, queue: owned(queue)? },
        (["queues", queue, word @ ("freeze" | "thaw")], true) => {
            Asked::FreezeQueue { whose, queue: owned(queue)?, is_frozen: *word == "freeze" }
        }
        (["mappings"], false) => Asked::Mappings { whose },
        (["mappings", uuid, word @ ("freeze" | "thaw")], true) => {
            Asked::FreezeMapping { whose, uuid: owned(uuid)?, is_frozen: *word == "freeze" }
        }
        (["events", function], false) => Asked::Events { whose, function: owned(function)?, limit: given.limit },
        (["events", function, "redrive"], true) => {
            Asked::RedriveEvents { whose, function: owned(function)?, ids: given.ids }
        }
        (["idle"], false) => {
            let Given { account, region, trace, skips_later, at_most, .. } = given;
            Asked::Wait { question: Question { account, region, trace, skips_later }, at_most }
        }
        _ => return Ok(None),
    }))
}

/// What a query says.
struct Given {
    account: Option<AccountId>,
    region: Option<Region>,
    after: Option<u64>,
    limit: usize,
    to: Option<String>,
    ids: Vec<Uuid>,
    trace: Option<String>,
    skips_later: bool,
    at_most: Duration,
}

impl Given {
    fn parse(query: &str) -> Result<Self, String> {
        let mut given = Self {
            account: None,
            region: None,
            after: None,
            limit: LIMIT,
            to: None,
            ids: Vec::new(),
            trace: None,
            skips_later: false,
            at_most: WAIT,
        };
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let value =
                decode_text(value, Plus::Literal).ok_or_else(|| format!("understand {name}: it is no UTF-8"))?;
            let wrong = |what: &str| format!("understand {name}={value}: it takes {what}");
            match name {
                "account" => given.account = Some(value.parse().map_err(|_| wrong("an account of twelve digits"))?),
                "region" => given.region = Some(value.parse().map_err(|_| wrong("a region, such as us-east-1"))?),
                "after" => given.after = Some(value.parse().map_err(|_| wrong("a message's sequence"))?),
                "limit" => given.limit = value.parse().map_err(|_| wrong("a number"))?,
                "to" => given.to = Some(value.into_owned()),
                "id" => given.ids.push(value.parse().map_err(|_| wrong("an event's id"))?),
                "trace" => given.trace = Some(value.into_owned()),
                "skip-later" => given.skips_later = value.parse().map_err(|_| wrong("true or false"))?,
                "timeout" => {
                    given.at_most = value.parse::<Span>().map_err(|_| wrong("seconds, 500ms, 90s, 5m, 2h or 1d"))?.0
                }
                _ => {
                    let known = "account, region, after, limit, to, id, trace, skip-later and timeout";
                    return Err(format!("understand {name}: it takes {known}"));
                }
            }
        }
        Ok(given)
    }

    fn whose(&self) -> Whose {
        Whose { account: self.account.unwrap_or(AccountId::ZERO), region: self.region.clone().unwrap_or_default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_and_queries_say_what_is_asked() {
        let asked = |method: Method, path: &str, query: &str| asked(&method, path, query);
        let whose = Whose { account: AccountId::ZERO, region: Region::default() };
        let there = Whose { account: "123456789012".parse().unwrap(), region: "eu-west-1".parse().unwrap() };
        let (get, post) = (Method::GET, Method::POST);
        for (method, path, query, expected) in [
            (&get, "queues", "account=123456789012&region=eu-west-1", Asked::Queues { whose: there }),
            (
                &get,
                "queues/a.fifo/messages",
                "after=7&limit=3",
                Asked::Messages { whose: whose.clone(), queue: "a.fifo".into(), after: Some(7), limit: 3 },
            ),
            (&post, "queues/a/thaw", "", {
                Asked::FreezeQueue { whose: whose.clone(), queue: "a".into(), is_frozen: false }
            }),
            (&post, "events/f/redrive", "", {
                Asked::RedriveEvents { whose: whose.clone(), function: "f".into(), ids: Vec::new() }
            }),
            (&get, "idle", "trace=1-a-b&timeout=5m&skip-later=true", {
                let question = Question { trace: Some("1-a-b".into()), skips_later: true, ..Question::default() };
                Asked::Wait { question, at_most: Duration::from_secs(300) }
            }),
        ] {
            assert_eq!(asked(method.clone(), &format!("/_lamp/{path}"), query), Ok(Some(expected)), "{path}?{query}");
        }
        for (method, path) in [(&get, "queues/a/purge"), (&post, "queues"), (&get, "events/"), (&post, "queues/a/b/c")]
        {
            assert_eq!(asked(method.clone(), &format!("/_lamp/{path}"), ""), Ok(None), "{path}");
        }
        for query in ["limit=-1", "id=x", "timeout=soon", "skip-later=", "what=1", "to=%ff", "region=%00"] {
            assert!(asked(get.clone(), "/_lamp/queues", query).is_err(), "{query}");
        }
    }
}
