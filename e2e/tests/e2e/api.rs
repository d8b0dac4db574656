//! A client of the API that the tests with many requests and kills use: one connection, no retries, and of an answer that
//! does not come it says so.

use std::io::{BufRead, BufReader, Error, ErrorKind, Read, Result, Write};
use std::net::TcpStream;
use std::process::Command;
use std::time::{Duration, Instant};

use e2e::Lamp;
use serde_json::{Value, json};

/// Longer than a server takes that is there.
const PATIENCE: Duration = Duration::from_secs(60);

pub struct Client {
    port: u16,
    /// What says who asks.
    signed: String,
    stream: Option<BufReader<TcpStream>>,
}

pub struct Answer {
    pub status: u16,
    pub body: Value,
}

impl Client {
    pub fn new(lamp: &Lamp) -> Self {
        Self::at(lamp.port)
    }

    /// Of whoever listens there.
    pub fn at(port: u16) -> Self {
        Self { port, signed: String::new(), stream: None }
    }

    /// As an account: whoever has twelve digits for a key is that, in dev mode with any signature.
    pub fn of(lamp: &Lamp, account: &str) -> Self {
        let said = Command::new("date").args(["-u", "+%Y%m%dT%H%M%SZ"]).output().expect("run date").stdout;
        let date = String::from_utf8_lossy(&said).trim().to_owned();
        let credential = format!("Credential={account}/{}/us-east-1/lambda/aws4_request", &date[..8]);
        let signed = format!(
            "X-Amz-Date: {date}\r\nAuthorization: AWS4-HMAC-SHA256 {credential}, SignedHeaders=host;x-amz-date, \
             Signature={}\r\n",
            "0".repeat(64)
        );
        Self { signed, ..Self::new(lamp) }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// Asks a queue's service; an error is an answer that never came.
    pub fn sqs(&mut self, operation: &str, input: &Value) -> Result<Answer> {
        let target = format!("X-Amz-Target: AmazonSQS.{operation}\r\nContent-Type: application/x-amz-json-1.0\r\n");
        self.ask("POST", "/", &target, &input.to_string())
    }

    /// As [`sqs`](Self::sqs), of a server that is there.
    pub fn must(&mut self, operation: &str, input: Value) -> Value {
        let answer = self.sqs(operation, &input).expect("it answers");
        assert_eq!(answer.status, 200, "{operation} {input}: {}", answer.body);
        answer.body
    }

    /// Invokes a function and does not wait.
    pub fn event(&mut self, function: &str, event: &str) -> Result<Answer> {
        let path = format!("/2015-03-31/functions/{function}/invocations");
        self.ask("POST", &path, "X-Amz-Invocation-Type: Event\r\n", event)
    }

    pub fn ask(&mut self, method: &str, path: &str, headers: &str, body: &str) -> Result<Answer> {
        let asked = self.try_ask(method, path, headers, body);
        if asked.is_err() {
            self.stream = None;
        }
        asked
    }

    fn try_ask(&mut self, method: &str, path: &str, headers: &str, body: &str) -> Result<Answer> {
        let stream = match &mut self.stream {
            Some(stream) => stream,
            none => {
                let stream = TcpStream::connect(("127.0.0.1", self.port))?;
                stream.set_nodelay(true)?;
                stream.set_read_timeout(Some(PATIENCE))?;
                none.insert(BufReader::new(stream))
            }
        };
        let length = body.len();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n{}{headers}\r\n{body}",
            self.signed
        );
        stream.get_mut().write_all(request.as_bytes())?;
        read_answer(stream)
    }
}

fn read_answer(stream: &mut BufReader<TcpStream>) -> Result<Answer> {
    let broken = || Error::from(ErrorKind::UnexpectedEof);
    let (mut line, mut length) = (String::new(), 0);
    if stream.read_line(&mut line)? == 0 {
        return Err(broken());
    }
    let status = line.split(' ').nth(1).and_then(|status| status.parse().ok()).ok_or_else(broken)?;
    loop {
        line.clear();
        if stream.read_line(&mut line)? == 0 {
            return Err(broken());
        }
        let header = line.trim_end().to_ascii_lowercase();
        if header.is_empty() {
            break;
        }
        if let Some(value) = header.strip_prefix("content-length:") {
            length = value.trim().parse().map_err(|_| broken())?;
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body)?;
    Ok(Answer { status, body: serde_json::from_slice(&body).unwrap_or(Value::Null) })
}

/// Makes a queue and gives its URL.
pub fn queue(client: &mut Client, name: &str, attributes: Value) -> String {
    let made = client.must("CreateQueue", json!({"QueueName": name, "Attributes": attributes}));
    made["QueueUrl"].as_str().unwrap().to_owned()
}

/// Waiting, in flight, delayed.
pub fn counts(client: &mut Client, url: &str) -> [u64; 3] {
    let found = client.must("GetQueueAttributes", json!({"QueueUrl": url, "AttributeNames": ["All"]}));
    ["", "NotVisible", "Delayed"]
        .map(|end| found["Attributes"][format!("ApproximateNumberOfMessages{end}")].as_str().unwrap().parse().unwrap())
}

/// Waits until a queue is empty, for so long at most.
pub fn wait_until_empty(client: &mut Client, url: &str, at_most: Duration) {
    let began = now();
    while counts(client, url) != [0; 3] {
        assert!(now() - began < at_most, "{url} still holds {:?}", counts(client, url));
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[expect(clippy::disallowed_methods, reason = "histories say when")]
pub fn now() -> Instant {
    Instant::now()
}

pub fn is_long() -> bool {
    std::env::var_os("LAMP_TORTURE").is_some()
}

/// So many: few in every run, all in the long one.
pub fn sized(reduced: usize, full: usize) -> usize {
    if is_long() { full } else { reduced }
}

/// A generator of chance for tests, which a printed seed replays as far as the machine does.
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }
}
