//! Which operation of which service a request means, and in which protocol it speaks.
//!
//! The service comes from the signature's scope; several may share a name there (`dynamodb` and its streams), so a
//! scope yields candidates. An unsigned request tells by its `Host`, its `X-Amz-Target`, its `Action` and `Version`,
//! or its path. The operation comes from the path of RPC-v2-CBOR, from `X-Amz-Target`, from `Action`, or from method
//! and URI, in this order, as far as the service speaks that protocol. Whether anybody handles the operation is not
//! asked here. Called once a request, by the pipeline, before anything of the body but a form has been read.
//!
//! Not yet: S3's virtual hosts (the bucket in `Host`), the stage before API Gateway's `/@connections`, and host names
//! of old (`queue.amazonaws.com`).

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use base::AwsError;
use http::HeaderMap;

use crate::schema::{Operation, Protocol, Summary};
use crate::{Service, limits};

mod uri;

use uri::{Found, Target, Tree};

const FORM: &str = "application/x-www-form-urlencoded";

/// What routing looks at. Path and query are as they came, still encoded.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    pub method: &'a str,
    pub path: &'a str,
    /// Without the question mark.
    pub query: &'a str,
    pub host: Option<&'a str>,
    pub headers: &'a HeaderMap,
    /// The body, if [`Router::needs_form`] asked for it.
    pub form: Option<&'a str>,
    /// The service in the credential scope, if the request is signed.
    pub signing_name: Option<&'a str>,
}

/// A request's meaning.
#[derive(Clone)]
pub struct Route {
    pub service: Arc<Service>,
    /// Into the operations of the service's model.
    pub operation: usize,
    pub protocol: Protocol,
    /// Labels of the URI by their names in the template, decoded.
    pub labels: Vec<(&'static str, String)>,
}

/// A request that means nothing to any service here.
#[derive(Debug)]
pub struct Misroute {
    pub error: AwsError,
    /// How to say so: the protocol that the request seems to be in.
    pub protocol: Protocol,
}

/// All services, ready to be looked up.
pub struct Router {
    entries: Vec<Entry>,
    by_signing_name: HashMap<&'static str, Vec<usize>>,
}

struct Entry {
    summary: Summary,
    service: Arc<Service>,
    /// Built when the first REST request comes.
    tree: OnceLock<Tree>,
}

/// What a request says in the forms that name an operation outright.
struct Names<'a> {
    /// Service and operation in a path of RPC-v2-CBOR.
    cbor: Option<(&'a str, &'a str)>,
    /// Before and after the dot of `X-Amz-Target`.
    target: Option<(&'a str, &'a str)>,
    action: Option<String>,
    version: Option<String>,
}

impl Route {
    pub fn operation(&self) -> Option<&Operation> {
        self.service.model.operations.get(self.operation)
    }

    /// What the path names is a label too, where the service has requests sent to what they are about. Some operations are
    /// none there.
    fn with_path(mut self, path: &str) -> Option<Self> {
        let Some(member) = self.service.model.path_member.filter(|_| path.len() > 1) else { return Some(self) };
        if self.operation()?.root_only {
            return None;
        }
        self.labels.push((member, path.to_owned()));
        Some(self)
    }
}

impl Router {
    pub fn new(services: impl IntoIterator<Item = (Summary, Arc<Service>)>) -> Self {
        let entries = services.into_iter().map(|(summary, service)| Entry { summary, service, tree: OnceLock::new() });
        let entries: Vec<Entry> = entries.collect();
        let mut by_signing_name: HashMap<_, Vec<usize>> = HashMap::new();
        for (index, entry) in entries.iter().enumerate() {
            by_signing_name.entry(entry.summary.signing_name).or_default().push(index);
        }
        Self { entries, by_signing_name }
    }

    /// Whether the operation's name may be in the body, so that a form must be read before `route`.
    pub fn needs_form(&self, request: &Request<'_>) -> bool {
        let form = content_type(request.headers).eq_ignore_ascii_case(FORM);
        let names = Names::of(request);
        if !form || request.method != "POST" || names.action.is_some() || names.target.is_some() {
            return false;
        }
        match self.addressed(request) {
            Some(candidates) => candidates.iter().any(|entry| entry.summary.offers(Protocol::Query)),
            None => true,
        }
    }

    pub fn route(&self, request: &Request<'_>) -> Result<Route, Misroute> {
        if request.host.is_some_and(is_function_url) {
            let error = AwsError::not_built("invoking functions by their URLs");
            return Err(Misroute { error, protocol: Protocol::RestJson });
        }
        let names = Names::of(request);
        let candidates = self.addressed(request).unwrap_or_else(|| self.guess(&names));
        for entry in &candidates {
            if let Some(route) = entry.route(request, &names)? {
                return Ok(route);
            }
        }
        Err(misroute(request, &names, &candidates))
    }

    /// The services that the signature or, failing that, the host name names. `None` if neither says anything.
    fn addressed(&self, request: &Request<'_>) -> Option<Vec<&Entry>> {
        if let Some(name) = request.signing_name {
            let indices = self.by_signing_name.get(name).map(Vec::as_slice).unwrap_or_default();
            return Some(indices.iter().filter_map(|index| self.entries.get(*index)).collect());
        }
        let host = request.host?.to_ascii_lowercase();
        // Some operations are called at a host of their own below the service's.
        let host = ["sync-", "stream-"].into_iter().find_map(|prefix| host.strip_prefix(prefix)).unwrap_or(&host);
        let below = |entry: &&Entry| {
            let rest = host.strip_prefix(entry.summary.endpoint_prefix);
            rest.is_some_and(|rest| rest.starts_with('.'))
        };
        let named: Vec<&Entry> = self.entries.iter().filter(below).collect();
        (!named.is_empty()).then_some(named)
    }

    /// The services that an unsigned request to a host of no service may mean.
    fn guess(&self, names: &Names<'_>) -> Vec<&Entry> {
        let of =
            |wanted: &dyn Fn(&Summary) -> bool| self.entries.iter().filter(|entry| wanted(&entry.summary)).collect();
        if let Some((service, _)) = names.cbor.or(names.target) {
            return of(&|summary| summary.target_prefix == Some(service));
        }
        if names.action.is_some() {
            let version = names.version.as_deref();
            return of(&|summary| {
                summary.offers(Protocol::Query) && version.is_none_or(|version| version == summary.api_version)
            });
        }
        // S3 takes any path for a bucket, so it is asked last.
        let mut rest: Vec<&Entry> = of(&|summary| summary.rest() == Some(Protocol::RestJson));
        rest.extend(self.entries.iter().filter(|entry| entry.summary.rest() == Some(Protocol::RestXml)));
        rest
    }
}

impl Entry {
    fn route(&self, request: &Request<'_>, names: &Names<'_>) -> Result<Option<Route>, Misroute> {
        let summary = &self.summary;
        if let Some((service, operation)) = names.cbor
            && summary.offers(Protocol::Cbor)
            && summary.target_prefix == Some(service)
        {
            return Ok(self.named(operation, Protocol::Cbor));
        }
        if let Some((service, operation)) = names.target
            && let Some(protocol) = self.json(request.headers)
            && summary.target_prefix == Some(service)
        {
            return Ok(self.named(operation, protocol));
        }
        if let Some(action) = &names.action
            && summary.offers(Protocol::Query)
            && names.version.as_deref().is_none_or(|version| version == summary.api_version)
        {
            return Ok(self.named(action, Protocol::Query).and_then(|route| route.with_path(request.path)));
        }
        let Some(protocol) = summary.rest() else { return Ok(None) };
        let tree = self.tree.get_or_init(|| Tree::new(&self.service.model));
        let Request { method, path, query, headers, .. } = *request;
        match tree.find(Target { method, path, query, headers }) {
            Ok(found) => Ok(found.map(|Found { operation, labels }| Route {
                service: Arc::clone(&self.service),
                operation,
                protocol,
                labels,
            })),
            Err(uri::BadLabel) => Err(Misroute { error: bad_uri(), protocol }),
        }
    }

    fn named(&self, operation: &str, protocol: Protocol) -> Option<Route> {
        let operation = *self.service.model.operation_by_name.get(operation)?;
        Some(Route { service: Arc::clone(&self.service), operation, protocol, labels: Vec::new() })
    }

    /// The JSON protocol to answer in: the client's version, where it names one.
    fn json(&self, headers: &HeaderMap) -> Option<Protocol> {
        let offered = [Protocol::Json10, Protocol::Json11].into_iter().find(|json| self.summary.offers(*json))?;
        Some(match content_type(headers) {
            "application/x-amz-json-1.0" => Protocol::Json10,
            "application/x-amz-json-1.1" => Protocol::Json11,
            _ => offered,
        })
    }
}

impl<'a> Names<'a> {
    fn of(request: &Request<'a>) -> Self {
        let header = |name: &str| request.headers.get(name).and_then(|value| value.to_str().ok());
        let cbor = header("smithy-protocol").filter(|protocol| *protocol == "rpc-v2-cbor");
        let mut names = Self {
            cbor: cbor.and_then(|_| cbor_path(request.path)),
            target: header("x-amz-target").and_then(|target| target.rsplit_once('.')),
            action: None,
            version: None,
        };
        for pairs in [Some(request.query), request.form].into_iter().flatten() {
            for pair in pairs.split('&') {
                // Decoding only what may matter keeps a long form cheap.
                if pair.starts_with("Action=") && names.action.is_none() {
                    names.action = Some(uri::decoded_key_value(pair).1.into_owned());
                } else if pair.starts_with("Version=") && names.version.is_none() {
                    names.version = Some(uri::decoded_key_value(pair).1.into_owned());
                }
            }
        }
        names
    }
}

/// Without parameters such as a character set.
fn content_type(headers: &HeaderMap) -> &str {
    let value = headers.get(http::header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    value.and_then(|value| value.split(';').next()).unwrap_or_default().trim()
}

/// `…/service/SERVICE/operation/OPERATION`
fn cbor_path(path: &str) -> Option<(&str, &str)> {
    let (before, operation) = path.rsplit_once("/operation/")?;
    let (_, service) = before.rsplit_once("/service/")?;
    Some((service, operation))
}

const UNKNOWN_OPERATION: &str = "UnknownOperationException";

/// What AWS says to a request that names no operation, in each protocol.
fn misroute(request: &Request<'_>, names: &Names<'_>, candidates: &[&Entry]) -> Misroute {
    let Some(first) = candidates.first() else {
        return nobody(request, names);
    };
    let summary = &first.summary;
    let query = summary.offers(Protocol::Query);
    if let Some(action) = names.action.as_deref().filter(|_| query) {
        let version = names.version.as_deref().unwrap_or(summary.api_version);
        let action = action.get(..action.floor_char_boundary(limits::QUOTED_BYTES_MAX)).unwrap_or_default();
        let version = version.get(..version.floor_char_boundary(limits::QUOTED_BYTES_MAX)).unwrap_or_default();
        let message = match first.service.model.unknown_action {
            Some(template) => template.replace("{action}", action),
            None => format!("Could not find operation {action} for version {version}"),
        };
        return Misroute { error: AwsError::client(400, "InvalidAction", message), protocol: Protocol::Query };
    }
    match summary.rest() {
        // S3's answer to a method that no resource of that form has.
        Some(Protocol::RestXml) => Misroute {
            error: AwsError::client(
                405,
                "MethodNotAllowed",
                "The specified method is not allowed against this resource.",
            ),
            protocol: Protocol::RestXml,
        },
        Some(protocol) => Misroute { error: unknown_path(request), protocol },
        None => {
            let json = first.json(request.headers);
            let protocol = match (names.cbor, names.target, json) {
                (Some(_), _, _) if summary.offers(Protocol::Cbor) => Protocol::Cbor,
                (_, None, _) if query => Protocol::Query,
                (_, _, Some(json)) => json,
                _ => summary.protocols.first().copied().unwrap_or(Protocol::Query),
            };
            let error = match protocol {
                // Whoever opens a queue's URL in a browser.
                Protocol::Query if request.method == "GET" => AwsError::client(404, UNKNOWN_OPERATION, ""),
                Protocol::Query => {
                    AwsError::client(400, "MissingAction", "The request is missing an action or a required parameter.")
                }
                _ => AwsError::client(400, UNKNOWN_OPERATION, ""),
            };
            Misroute { error, protocol }
        }
    }
}

/// A REST request whose path no operation has: the front of AWS's REST services refuses it before the service sees it.
fn unknown_path(request: &Request<'_>) -> AwsError {
    if request.signing_name.is_some() {
        AwsError::client(403, "AccessDeniedException", "Unable to determine service/operation name to be authorized")
    } else {
        AwsError::client(403, "MissingAuthenticationTokenException", "Missing Authentication Token")
    }
}

/// A request to a service that is not here; AWS has no words for that, so these are ours.
fn nobody(request: &Request<'_>, names: &Names<'_>) -> Misroute {
    let protocol = match (names, content_type(request.headers), request.signing_name) {
        (Names { cbor: Some(_), .. }, ..) => Protocol::Cbor,
        (Names { target: Some(_), .. }, "application/x-amz-json-1.0", _) => Protocol::Json10,
        (Names { target: Some(_), .. }, ..) => Protocol::Json11,
        (Names { action: Some(_), .. }, ..) | (_, FORM, _) => Protocol::Query,
        // These speak REST and XML, and word their errors as Query does.
        (_, _, Some("cloudfront" | "route53")) => Protocol::Query,
        (_, _, Some("s3" | "s3express" | "s3-object-lambda" | "s3-outposts")) => Protocol::RestXml,
        _ => Protocol::RestJson,
    };
    let error = match request.signing_name {
        Some(name) => AwsError::not_built(format_args!("the service {name}")),
        None => AwsError::not_built("the service of this request"),
    };
    Misroute { error, protocol }
}

/// `ID.lambda-url.REGION.` and more: a function answers there, and no service.
fn is_function_url(host: &str) -> bool {
    host.split('.').nth(1).is_some_and(|label| label.eq_ignore_ascii_case("lambda-url"))
}

fn bad_uri() -> AwsError {
    AwsError::client(400, "InvalidURI", "Couldn't parse the specified URI.")
}

#[cfg(test)]
mod tests;
