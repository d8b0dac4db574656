//! A server with two small services on port 0, and raw clients.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use base::ports::{Authority, Credential};
use base::{AccountId, AwsError, BoxFuture, Principal, Secret, SystemChance, SystemClock};
use http::{Method, Response, StatusCode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use wire::body::Bodies;
use wire::hosts::Hosts;
use wire::limits::Limits;
use wire::metrics::Metrics;
use wire::pipeline::{Access, Builtin, BuiltinRequest, Mode, Pipeline};
use wire::route::Router;
use wire::schema::{self, Summary};
use wire::server::{Listener, Reply, Server, Tasks, Tls};
use wire::{Events, Output, Service, Value};

pub const KEY: &str = "AKIALAMPLAMPLAMPLAMP";
pub const SECRET: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";

/// Speaks JSON 1.0 and REST-JSON between them; `Echo` answers its input.
const LAMPS: &str = r#"{
"name":"lamps","botocore":"1.44.5","apiVersion":"2020-01-01","serviceId":"Lamps","endpointPrefix":"lamps",
"targetPrefix":"Lamps_20200101","protocols":["json-1.0"],
"operations":{
"Echo":{"method":"POST","uri":"/","input":"Thing","output":"Thing"},
"Fail":{"method":"POST","uri":"/","input":"Thing","output":"Thing"},
"Open":{"method":"POST","uri":"/","output":"Thing","unsigned":true},
"Panic":{"method":"POST","uri":"/","input":"Thing","output":"Thing"},
"Slow":{"method":"POST","uri":"/","input":"Thing","output":"Thing"},
"Unbuilt":{"method":"POST","uri":"/","input":"Thing","output":"Thing"},
"Wait":{"method":"POST","uri":"/","input":"Thing","output":"Thing"}
},
"shapes":{
"Thing":{"type":"structure","members":{"Name":"Text","Count":"Number","Things":"Things"}},
"Things":{"type":"list","member":"Thing"},
"Text":{"type":"string"},
"Number":{"type":"integer"}
}}"#;

const QUERIES: &str = r#"{
"name":"queries","botocore":"1.44.5","apiVersion":"2011-06-15","serviceId":"Queries","endpointPrefix":"queries",
"xmlNamespace":"https://queries.example/","protocols":["query"],
"operations":{
"Come":{"output":"Identity","resultWrapper":"ComeResult","unsigned":true},
"WhoAmI":{"input":"Question","output":"Identity","resultWrapper":"WhoAmIResult"}
},
"shapes":{
"Question":{"type":"structure","members":{"Name":"Text"}},
"Identity":{"type":"structure","members":{"Account":"Text","Arn":"Text","Name":"Text"}},
"Text":{"type":"string"}
}}"#;

const FILES: &str = r#"{
"name":"files","botocore":"1.44.5","apiVersion":"2015-03-31","serviceId":"Files","endpointPrefix":"files",
"protocols":["rest-json"],
"operations":{
"PutFile":{"method":"PUT","uri":"/2015-03-31/files/{Name}","status":201,"input":"File","output":"Put"},
"ReadFile":{"method":"GET","uri":"/2015-03-31/files/{Name}/content","input":"Named","output":"Reading"},
"GetFile":{"method":"GET","uri":"/2015-03-31/files/{Name}","input":"Named","output":"Put"}
},
"shapes":{
"File":{"type":"structure","required":["Name"],"payload":"Content","members":{
 "Name":{"shape":"Text","location":"uri","locationName":"Name"},"Content":"Bytes"}},
"Named":{"type":"structure","required":["Name"],"members":{"Name":{"shape":"Text","location":"uri","locationName":"Name"}}},
"Put":{"type":"structure","members":{"Name":"Text","Size":"Long"}},
"Bytes":{"type":"blob","streaming":true},
"Reading":{"type":"structure","payload":"Pieces","members":{"Pieces":"Pieces"}},
"Pieces":{"type":"structure","eventstream":true,"members":{"Piece":"Piece","Gone":"Gone"}},
"Piece":{"type":"structure","event":true,"members":{"Bytes":{"shape":"PieceBytes","eventpayload":true}}},
"PieceBytes":{"type":"blob"},
"Gone":{"type":"structure","error":{"status":410,"senderFault":true},"members":{"message":"Text"}},
"Text":{"type":"string"},
"Long":{"type":"long"}
}}"#;

const NO_OVERLAY: &str = r#"{"corrections":[]}"#;

/// More than a piece of a file that is read at a time, and no multiple of it.
pub const FILE_ANSWER_BYTES: usize = 150_000;

pub const FILE_BYTES_MAX: u64 = 4 * 1024 * 1024;

fn summary(name: &'static str, model: &'static str) -> Summary {
    Summary::read(name, model, NO_OVERLAY).unwrap()
}

fn service(name: &'static str, model: &'static str) -> Service {
    Service::new(name, move || schema::load(name, model, NO_OVERLAY).unwrap())
}

fn text(text: impl Into<String>) -> Value {
    Value::String(text.into())
}

fn map(members: Vec<(&'static str, Value)>) -> Output {
    Value::Map(members.into_iter().map(|(name, value)| (name.into(), value)).collect()).into()
}

fn router(gate: Arc<Semaphore>) -> Router {
    let lamps = service("lamps", LAMPS)
        .handle("Echo", |_, input| async move { Ok(input.into()) })
        .handle("Fail", |_, _| async move {
            Err(AwsError { message: "The password is hunter2.".into(), ..AwsError::internal("the disk is gone") })
        })
        .handle("Open", |_, _| async move { Ok(map(vec![("Name", text("open"))])) })
        .handle("Panic", |_, _| async move { panic!("as asked") })
        .handle("Slow", |_, input| async move {
            tokio::time::sleep(Duration::from_millis(300)).await;
            Ok(input.into())
        })
        .handle("Wait", move |_, input| {
            let gate = gate.clone();
            async move {
                gate.acquire().await.unwrap().forget();
                Ok(input.into())
            }
        });
    let come = |_, _| async move { Ok(map(vec![("Name", text("open"))])) };
    let queries = service("queries", QUERIES).handle("Come", come).handle("WhoAmI", |cx, input| async move {
        let name = input.get("Name").and_then(Value::as_str).unwrap_or_default();
        Ok(map(vec![
            ("Account", text(cx.account.as_str())),
            ("Arn", text(&cx.principal.arn)),
            ("Name", text(format!("{name} of {}", cx.region))),
        ]))
    });
    let files = service("files", FILES)
        .handle("PutFile", |_, input| async move {
            let size = match input.get("Content") {
                Some(Value::Blob(blob)) => blob.len(),
                _ => 0,
            };
            Ok(map(vec![("Name", input.get("Name").cloned().unwrap()), ("Size", Value::Integer(size as i64))]))
        })
        .handle("GetFile", |_, input| async move { Ok(map(vec![("Name", input.get("Name").cloned().unwrap())])) })
        .handle("ReadFile", |_, _| async move {
            let piece = |at: u8| {
                let bytes = Value::Blob(vec![at; 3].into());
                Value::Map(vec![("Piece".into(), Value::Map(vec![("Bytes".into(), bytes)]))])
            };
            let gone = AwsError::client(410, "Gone", "the rest is gone");
            let rest = [Ok(piece(b'a')), Ok(piece(b'b')), Err(gone)].into_iter();
            let events = Events::unfold(rest, |mut rest| async move { Some((rest.next()?, rest)) });
            Ok(Output { events: Some(events), ..Output::default() })
        })
        .limit_body("PutFile", FILE_BYTES_MAX);
    Router::new([
        (summary("lamps", LAMPS), Arc::new(lamps)),
        (summary("queries", QUERIES), Arc::new(queries)),
        (summary("files", FILES), Arc::new(files)),
    ])
}

/// Knows one key.
struct OneKey;

impl Authority for OneKey {
    fn credential<'a>(&'a self, access_key_id: &'a str) -> BoxFuture<'a, Result<Option<Credential>, AwsError>> {
        let account: AccountId = "123456789012".parse().unwrap();
        let credential = (access_key_id == KEY).then(|| Credential {
            secret_access_key: Secret::new(SECRET.to_owned()),
            session_token: None,
            principal: Arc::new(Principal {
                account,
                arn: format!("arn:aws:iam::{account}:root"),
                user_id: account.to_string(),
                access_key_id: Some(KEY.to_owned()),
            }),
        });
        Box::pin(async move { Ok(credential) })
    }
}

pub struct TestServer {
    pub address: SocketAddr,
    pub metrics: Arc<Metrics>,
    pub stop: CancellationToken,
    pub drained: tokio::task::JoinHandle<bool>,
    /// A permit lets one `Wait` go on.
    pub gate: Arc<Semaphore>,
    _spool: tempfile::TempDir,
}

pub struct Setup {
    pub mode: Mode,
    pub limits: Limits,
    pub tls: Option<Tls>,
}

impl Default for Setup {
    fn default() -> Self {
        Self { mode: Mode::Dev, limits: Limits::default(), tls: None }
    }
}

pub async fn start(setup: Setup) -> TestServer {
    let spool = tempfile::tempdir().unwrap();
    let metrics = Arc::new(Metrics::default());
    let shown = metrics.clone();
    let gate = Arc::new(Semaphore::new(0));
    let health = |_| async {
        let mut response = Response::new(Reply::Whole("fine\n".into()));
        *response.status_mut() = StatusCode::OK;
        response
    };
    let mut file = tempfile::tempfile().unwrap();
    std::io::Write::write_all(&mut file, &[b'f'; FILE_ANSWER_BYTES]).unwrap();
    let file = Arc::new(file);
    let answer_file = move |request: BuiltinRequest| {
        // A path that ends in `short` promises more than there is.
        let missing = u64::from(request.path.ends_with("short"));
        std::future::ready(Response::new(Reply::file(file.try_clone().unwrap(), FILE_ANSWER_BYTES as u64 + missing)))
    };
    let pipeline = Pipeline {
        router: router(gate.clone()),
        authority: Arc::new(OneKey),
        mode: setup.mode,
        hosts: Hosts::new([], ["https://console.example".to_owned()]),
        bodies: Bodies::new(spool.path().into(), &setup.limits),
        builtins: vec![
            Builtin::new(Method::GET, "/_lamp/health", Access::Anyone, health),
            Builtin::new(Method::GET, "/_lamp/file/", Access::Anyone, answer_file),
        ],
        metrics: shown,
        machine_clock: Arc::new(SystemClock),
        clock: Arc::new(SystemClock),
        chance: Arc::new(SystemChance::default()),
        verifier: wire::sigv4::Verifier::default(),
    };
    let server = Server::new(Arc::new(pipeline), Arc::new(Tasks::default()), setup.tls, setup.limits);
    let listener = Listener::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = listener.local_addr();
    let stop = CancellationToken::new();
    let stopping = stop.clone();
    #[expect(clippy::disallowed_methods, reason = "the test is the owner of this task")]
    let drained = tokio::spawn(async move {
        let door = server.open(listener);
        stopping.cancelled().await;
        door.close().await
    });
    TestServer { address, metrics, stop, drained, gate, _spool: spool }
}

impl TestServer {
    /// Waits until the metrics have such a line.
    pub async fn metric(&self, line: &str) {
        let seen = async {
            while !self.metrics.render().unwrap().lines().any(|found| found == line) {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(PATIENCE, seen).await.unwrap_or_else(|_| panic!("no {line} comes"));
    }
}

/// An answer as it came over HTTP/1.
#[derive(Debug, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().skip(1).filter_map(|line| line.split_once(": "));
        lines.into_iter().find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }
}

/// A connection that speaks bytes.
pub struct Raw(pub TcpStream);

pub const PATIENCE: Duration = Duration::from_secs(20);

impl Raw {
    pub async fn connect(server: &TestServer) -> Self {
        Self(TcpStream::connect(server.address).await.unwrap())
    }

    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        // A server that has answered and closed makes this fail; the test looks at the answer.
        self.0.write_all(bytes.as_ref()).await.ok();
    }

    /// The next answer; `None` if the connection ends first.
    pub async fn answer(&mut self) -> Option<Answer> {
        tokio::time::timeout(PATIENCE, self.read_answer()).await.expect("an answer or the end")
    }

    async fn read_answer(&mut self) -> Option<Answer> {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(self.0.read_u8().await.ok()?);
        }
        let head = String::from_utf8(head).unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let mut answer = Answer { status, head, body: String::new() };
        if status == 100 {
            return Some(answer);
        }
        let len = answer.header("content-length").map_or(0, |len| len.parse().unwrap());
        let mut body = vec![0; len];
        self.0.read_exact(&mut body).await.ok()?;
        answer.body = String::from_utf8(body).unwrap();
        Some(answer)
    }

    /// An answer whose body does not follow.
    pub async fn head(&mut self) -> Answer {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(self.0.read_u8().await.unwrap());
        }
        let head = String::from_utf8(head).unwrap();
        Answer { status: head.split(' ').nth(1).unwrap().parse().unwrap(), head, body: String::new() }
    }

    /// Waits for the server to close, throwing away what it still sends.
    pub async fn closed(&mut self) {
        let mut rest = Vec::new();
        let closed = self.0.read_to_end(&mut rest);
        // A reset is an end too.
        tokio::time::timeout(PATIENCE, closed).await.expect("the server closes").ok();
    }
}

/// `Echo` over JSON 1.0.
pub fn echo(body: &str) -> String {
    call("Echo", body)
}

pub fn call(operation: &str, body: &str) -> String {
    format!(
        "POST / HTTP/1.1\r\nHost: localhost\r\nX-Amz-Target: Lamps_20200101.{operation}\r\n\
         Content-Type: application/x-amz-json-1.0\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// `1`, or `full` under `LAMP_TORTURE=1`.
pub fn scaled(reduced: usize, full: usize) -> usize {
    if std::env::var_os("LAMP_TORTURE").is_some() { full } else { reduced }
}
