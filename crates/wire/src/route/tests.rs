//! Every operation of every service is found from the request that an SDK would send for it; what is no operation is
//! refused in AWS's words; and no path, however strange, does harm.

use std::sync::{Arc, LazyLock};

use http::{HeaderMap, HeaderName, HeaderValue};
use proptest::prelude::*;

use super::*;
use crate::schema::testing::{ALL, model, text};
use crate::schema::{Location, Model, load};

static ROUTER: LazyLock<Router> = LazyLock::new(|| {
    Router::new(ALL.iter().map(|model| {
        let (model_json, overlay_json) = (text(model.name, "model.json"), text(model.name, "overlay.json"));
        let summary = Summary::read(model.name, model_json, overlay_json).unwrap();
        let service = Service::new(model.name, move || load(model.name, model_json, overlay_json).unwrap());
        (summary, Arc::new(service))
    }))
});

/// A request by its parts, kept together so that tests can borrow from it.
#[derive(Debug, Default, Clone)]
struct Sent {
    method: &'static str,
    path: String,
    query: String,
    host: Option<String>,
    headers: HeaderMap,
    form: Option<String>,
    signing_name: Option<&'static str>,
}

impl Sent {
    fn new(method: &'static str, path: &str) -> Self {
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        Self { method, path: path.into(), query: query.into(), ..Self::default() }
    }

    fn signed(self, name: &'static str) -> Self {
        Self { signing_name: Some(name), ..self }
    }

    fn host(self, host: &str) -> Self {
        Self { host: Some(host.into()), ..self }
    }

    fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.insert(HeaderName::try_from(name).unwrap(), HeaderValue::from_str(value).unwrap());
        self
    }

    fn form(self, form: &str) -> Self {
        Self { form: Some(form.into()), ..self }
            .header("content-type", "application/x-www-form-urlencoded; charset=utf-8")
    }

    fn request(&self) -> Request<'_> {
        Request {
            method: self.method,
            path: &self.path,
            query: &self.query,
            host: self.host.as_deref(),
            headers: &self.headers,
            form: self.form.as_deref(),
            signing_name: self.signing_name,
        }
    }

    /// `service.Operation over Protocol label=value…`, or the error.
    fn outcome(&self) -> String {
        match ROUTER.route(&self.request()) {
            Ok(route) => {
                let labels: Vec<String> = route.labels.iter().map(|(name, value)| format!(" {name}={value}")).collect();
                let operation = route.operation().unwrap().name;
                format!("{}.{operation} over {:?}{}", route.service.name, route.protocol, labels.concat())
            }
            Err(Misroute { error, protocol }) => {
                format!("{} {} over {protocol:?}: {}", error.status, error.code, error.message)
            }
        }
    }
}

/// As botocore encodes a label.
fn encoded(text: &str, keep_slash: bool) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(byte.into()),
            b'/' if keep_slash => out.push('/'),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

/// The request of a REST operation with `text` for every label, and the labels that must come out.
fn rest_request(model: &Model, operation: &Operation, text: &str) -> (Sent, Vec<(String, String)>) {
    let (template, fixed) = operation.uri.split_once('?').unwrap_or((operation.uri, ""));
    let mut labels = Vec::new();
    let segments =
        template.split('/').map(|segment| match segment.strip_prefix('{').and_then(|s| s.strip_suffix('}')) {
            Some(label) => {
                labels.push((label.trim_end_matches('+').to_owned(), text.to_owned()));
                encoded(text, label.ends_with('+'))
            }
            None => segment.to_owned(),
        });
    let path = segments.collect::<Vec<_>>().join("/");
    let mut sent = Sent { method: operation.method, path, query: fixed.into(), ..Sent::default() };
    for member in model.structure(operation.input).map(|input| input.members.as_slice()).unwrap_or_default() {
        match member.location {
            Location::Header if member.required => sent = sent.header(member.wire(), "x"),
            Location::QueryString if member.required => sent.query.push_str(&format!("&{}=a%20b", member.wire())),
            _ => {}
        }
    }
    (sent, labels)
}

/// The request of an operation in a protocol that names it outright.
fn named_request(model: &Model, operation: &Operation, protocol: Protocol) -> Sent {
    let name = operation.name;
    match protocol {
        Protocol::Json10 | Protocol::Json11 => {
            let version = if protocol == Protocol::Json10 { "1.0" } else { "1.1" };
            let target = format!("{}.{name}", model.target_prefix.unwrap());
            Sent::new("POST", "/")
                .header("x-amz-target", &target)
                .header("content-type", &format!("application/x-amz-json-{version}"))
        }
        Protocol::Query => Sent::new("POST", "/").form(&format!("Action={name}&Version={}&X=1", model.api_version)),
        _ => Sent::new("POST", &format!("/service/{}/operation/{name}", model.target_prefix.unwrap()))
            .header("smithy-protocol", "rpc-v2-cbor"),
    }
}

#[test]
fn every_operation_is_found_in_every_protocol_that_names_it() {
    let mut count = 0;
    for model in ALL.iter() {
        for (operation, protocol) in model
            .operations
            .iter()
            .flat_map(|operation| model.protocols.iter().map(move |protocol| (operation, *protocol)))
        {
            if matches!(protocol, Protocol::RestJson | Protocol::RestXml) {
                continue;
            }
            count += 1;
            let sent = named_request(model, operation, protocol);
            let expected = format!("{}.{} over {protocol:?}", model.name, operation.name);
            let by_host = sent.clone().host(&format!("{}.us-east-1.amazonaws.com", model.endpoint_prefix));
            for sent in [sent.clone().signed(model.signing_name), by_host, sent] {
                assert_eq!(sent.outcome(), expected, "{sent:?}");
            }
        }
    }
    assert!(count > 1_000, "{count}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8))]

    #[test]
    fn every_rest_operation_is_found_whatever_its_labels_hold(text in "[ -~]{0,12}[a-zA-Z0-9%+&:é世]") {
        for model in ALL.iter().filter(|model| model.protocols.iter().any(|p| matches!(p, Protocol::RestJson | Protocol::RestXml))) {
            for operation in &model.operations {
                let (sent, labels) = rest_request(model, operation, &text);
                let route = ROUTER.route(&sent.clone().signed(model.signing_name).request()).unwrap();
                let labels: Vec<_> = labels.iter().map(|(name, value)| (name.as_str(), value.clone())).collect();
                prop_assert_eq!((route.service.name, &route.labels), (model.name, &labels));
                // S3 tells this one by its host name only.
                if operation.name != "ListDirectoryBuckets" {
                    prop_assert_eq!(route.operation().unwrap().name, operation.name, "{:?}", sent);
                }
            }
        }
    }

    #[test]
    fn no_path_or_query_does_harm(path in "/[/%{}a-z0-9é+.~-]{0,60}", query in "[&=%+a-z0-9]{0,40}", form in "[&=%+a-zA-Z]{0,40}") {
        for name in ["s3", "lambda", "apigateway", "sqs", "nobody"] {
            let sent = Sent { form: Some(form.clone()), ..Sent::new("GET", &format!("{path}?{query}")).signed(name) };
            let _ = sent.outcome();
        }
    }
}

#[test]
fn lambda_is_told_by_its_paths() {
    let get = |path| Sent::new("GET", path).signed("lambda").outcome();
    assert_eq!(get("/2015-03-31/functions/"), "lambda.ListFunctions over RestJson");
    assert_eq!(get("/2015-03-31/functions"), "lambda.ListFunctions over RestJson");
    assert_eq!(get("/2015-03-31/functions/f?Qualifier=1"), "lambda.GetFunction over RestJson FunctionName=f");
    assert_eq!(
        get("/2015-03-31/functions/arn%3Aaws%3Alambda%3Aus-east-1%3A1%3Afunction%3Af"),
        "lambda.GetFunction over RestJson FunctionName=arn:aws:lambda:us-east-1:1:function:f"
    );
    assert_eq!(get("/2015-03-31/functions/a%2Fb"), "lambda.GetFunction over RestJson FunctionName=a/b");
    assert_eq!(get("/2015-03-31/functions/a+b%"), "lambda.GetFunction over RestJson FunctionName=a+b%");
    assert_eq!(get("/2018-10-31/layers?find=LayerVersion&Arn=a"), "lambda.GetLayerVersionByArn over RestJson");
    assert_eq!(get("/2018-10-31/layers?Arn=a"), "lambda.ListLayers over RestJson");
    let unknown =
        "403 AccessDeniedException over RestJson: Unable to determine service/operation name to be authorized";
    assert_eq!(get("/2015-03-31/functions//invocations"), unknown);
    assert_eq!(get("//2015-03-31/functions"), unknown);
    assert_eq!(get("/"), unknown);
    assert_eq!(Sent::new("PATCH", "/2015-03-31/functions/f").signed("lambda").outcome(), unknown);
    assert_eq!(get("/2015-03-31/functions/%FF"), "400 InvalidURI over RestJson: Couldn't parse the specified URI.");
}

#[test]
fn s3_is_told_by_method_query_and_headers() {
    let of = |method, path| Sent::new(method, path).signed("s3").outcome();
    assert_eq!(of("GET", "/"), "s3.ListBuckets over RestXml");
    assert_eq!(of("GET", "/b"), "s3.ListObjects over RestXml Bucket=b");
    assert_eq!(of("GET", "/b/?list-type=2&prefix=x"), "s3.ListObjectsV2 over RestXml Bucket=b");
    assert_eq!(of("GET", "/b/a/b%20c//d/"), "s3.GetObject over RestXml Bucket=b Key=a/b c//d/");
    assert_eq!(of("GET", "/b/k?uploadId=1&x-id=ListParts"), "s3.ListParts over RestXml Bucket=b Key=k");
    assert_eq!(of("PUT", "/b/k?partNumber=1&uploadId=2"), "s3.UploadPart over RestXml Bucket=b Key=k");
    assert_eq!(of("GET", "/b?analytics"), "s3.ListBucketAnalyticsConfigurations over RestXml Bucket=b");
    assert_eq!(of("GET", "/b?analytics&id=1"), "s3.GetBucketAnalyticsConfiguration over RestXml Bucket=b");
    assert_eq!(of("PUT", "/b?lifecycle"), "s3.PutBucketLifecycleConfiguration over RestXml Bucket=b");
    let copy = Sent::new("PUT", "/b/k").signed("s3").header("x-amz-copy-source", "/c/k");
    assert_eq!(copy.outcome(), "s3.CopyObject over RestXml Bucket=b Key=k");
    assert_eq!(
        of("PATCH", "/b/k"),
        "405 MethodNotAllowed over RestXml: The specified method is not allowed against this resource."
    );
}

#[test]
fn an_unsigned_request_tells_by_host_target_action_or_path() {
    let get = |path| Sent::new("GET", path);
    assert_eq!(get("/2015-03-31/functions/").outcome(), "lambda.ListFunctions over RestJson");
    assert_eq!(get("/some-bucket/key").outcome(), "s3.GetObject over RestXml Bucket=some-bucket Key=key");
    assert_eq!(get("/v2/apis").host("ApiGateway.LocalHost:4566").outcome(), "apigatewayv2.GetApis over RestJson");
    assert_eq!(
        get("/restapis").host("apigateway.eu-west-1.amazonaws.com").outcome(),
        "apigateway.GetRestApis over RestJson"
    );
    assert_eq!(get("/?Action=GetCallerIdentity&Version=2011-06-15").outcome(), "sts.GetCallerIdentity over Query");
    let synchronous = Sent::new("POST", "/").host("sync-states.us-east-1.amazonaws.com");
    assert_eq!(
        synchronous.header("x-amz-target", "AWSStepFunctions.StartSyncExecution").outcome(),
        "stepfunctions.StartSyncExecution over Json10"
    );
    assert_eq!(
        get("/nothing").host("lambda.localhost").outcome(),
        "403 MissingAuthenticationTokenException over RestJson: Missing Authentication Token"
    );
}

#[test]
fn what_is_no_operation_is_refused_in_the_words_of_its_protocol() {
    let target = |target| Sent::new("POST", "/").header("x-amz-target", target);
    assert_eq!(
        target("DynamoDB_20120810.Nonsense").signed("dynamodb").outcome(),
        "400 UnknownOperationException over Json10: "
    );
    assert_eq!(Sent::new("POST", "/").signed("kinesis").outcome(), "400 UnknownOperationException over Json11: ");
    let action = |action| Sent::new("POST", "/").form(action);
    assert_eq!(
        action("Action=Nonsense&Version=2010-05-08").signed("iam").outcome(),
        "400 InvalidAction over Query: Could not find operation Nonsense for version 2010-05-08"
    );
    assert_eq!(
        action("Action=ListUsers&Version=2000-01-01").signed("iam").outcome(),
        "400 InvalidAction over Query: Could not find operation ListUsers for version 2000-01-01"
    );
    assert_eq!(
        action("Action=Nonsense").signed("sqs").outcome(),
        "400 InvalidAction over Query: The action Nonsense is not valid for this endpoint."
    );
    assert_eq!(
        action("X=1").signed("sts").outcome(),
        "400 MissingAction over Query: The request is missing an action or a required parameter."
    );
    assert_eq!(
        Sent::new("GET", "/000000000000/queue").signed("sqs").outcome(),
        "404 UnknownOperationException over Query: "
    );
    let long = action(&format!("Action={}", "é".repeat(1_000_000))).signed("iam").outcome();
    assert!(long.contains("InvalidAction") && long.len() < 2_000, "{}", long.len());
}

#[test]
fn a_service_that_is_not_here_is_refused_in_its_own_protocol() {
    let post = || Sent::new("POST", "/");
    let target = || post().header("x-amz-target", "Nobody_1.X");
    let cbor = || Sent::new("POST", "/service/Nobody/operation/X").header("smithy-protocol", "rpc-v2-cbor");
    for (sent, name, protocol) in [
        (post().form(""), "ec2", "Query"),
        (Sent::new("GET", "/?Action=DescribeInstances&Version=2016-11-15"), "ec2", "Query"),
        (post().form(""), "rds", "Query"),
        (target().header("content-type", "application/x-amz-json-1.0"), "nobody", "Json10"),
        (target().header("content-type", "application/x-amz-json-1.1"), "nobody", "Json11"),
        (target(), "nobody", "Json11"),
        (cbor(), "nobody", "Cbor"),
        (Sent::new("GET", "/2013-04-01/hostedzone"), "route53", "Query"),
        (Sent::new("GET", "/2020-05-31/distribution"), "cloudfront", "Query"),
        (Sent::new("GET", "/"), "s3express", "RestXml"),
        (Sent::new("GET", "/2015-02-01/file-systems"), "elasticfilesystem", "RestJson"),
        (post(), "nobody", "RestJson"),
    ] {
        let words = format!("over {protocol}: Lamplight does not implement the service {name} yet.");
        assert_eq!(sent.signed(name).outcome(), format!("501 NotImplementedException {words}"));
    }
    for (sent, protocol) in [(target(), "Json11"), (cbor(), "Cbor")] {
        let words = format!("over {protocol}: Lamplight does not implement the service of this request yet.");
        assert_eq!(sent.outcome(), format!("501 NotImplementedException {words}"));
    }
}

#[test]
fn the_client_chooses_the_version_of_json() {
    let sent = named_request(model("dynamodb"), model("dynamodb").operation("ListTables").unwrap(), Protocol::Json11);
    assert_eq!(sent.outcome(), "dynamodb.ListTables over Json11");
    let sent = sent.header("content-type", "application/x-amz-json-1.0; charset=utf-8");
    assert_eq!(sent.outcome(), "dynamodb.ListTables over Json10");
    let streams = model("dynamodbstreams");
    let sent = named_request(streams, streams.operation("ListStreams").unwrap(), Protocol::Json10).signed("dynamodb");
    assert_eq!(sent.outcome(), "dynamodbstreams.ListStreams over Json10");
}

#[test]
fn a_form_is_read_only_where_it_can_name_the_operation() {
    let form = Sent::new("POST", "/").form("");
    let needs = |sent: Sent| ROUTER.needs_form(&sent.request());
    assert!(needs(form.clone().signed("sqs")) && needs(form.clone().signed("sts")) && needs(form.clone()));
    assert!(!needs(form.clone().signed("lambda")), "curl -d sends a form's content type with any body");
    assert!(!needs(form.clone().host("lambda.localhost")));
    assert!(!needs(Sent { query: "Action=X".into(), ..form.clone() }));
    assert!(!needs(Sent { method: "PUT", ..form.clone() }));
    assert!(!needs(form.clone().signed("sqs").header("x-amz-target", "AmazonSQS.ListQueues")));
    assert!(!needs(form.header("content-type", "application/json")));
}
