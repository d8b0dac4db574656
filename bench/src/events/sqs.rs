//! A queue, as a client sees it over one connection.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use http::{HeaderMap, HeaderValue, Method};
use serde_json::{Value, json};

use crate::load::{self, Client};
use crate::peer::{Peer, signed_for};

/// Entries of a batch, and over how many connections a queue is filled.
const BATCH: u64 = 10;
const FILLING: u64 = 16;
/// Longer than any function that is measured may run, so that it may be fed from the queue.
const HIDDEN_SECONDS: &str = "1000";

pub struct Queue {
    port: u16,
    client: Client,
    url: String,
    pub arn: String,
}

/// A message that was received.
pub struct Received {
    pub receipt: String,
}

impl Queue {
    pub fn make(peer: &Peer, name: &str) -> Result<Self> {
        let mut queue =
            Self { port: peer.port, client: Client::new(peer.port)?, url: String::new(), arn: String::new() };
        let attributes = json!({ "VisibilityTimeout": HIDDEN_SECONDS });
        let made = queue.call("CreateQueue", &json!({ "QueueName": name, "Attributes": attributes }))?;
        queue.url = made["QueueUrl"].as_str().context("read a queue's URL")?.to_owned();
        queue.arn = queue.attribute("QueueArn")?;
        Ok(queue)
    }

    /// The same queue of a server that has started again.
    pub fn at(&self, peer: &Peer) -> Result<Self> {
        // A queue is found by whichever address its URL has.
        Ok(Self { port: peer.port, client: Client::new(peer.port)?, url: self.url.clone(), arn: self.arn.clone() })
    }

    /// A signed request about this queue, byte for byte; good for fifteen minutes.
    pub fn request(&self, operation: &str, mut body: Value) -> Result<Vec<u8>> {
        body["QueueUrl"] = self.url.as_str().into();
        request(self.port, operation, &body)
    }

    pub fn call(&mut self, operation: &str, body: &Value) -> Result<Value> {
        let mut body = body.clone();
        if !self.url.is_empty() {
            body["QueueUrl"] = self.url.as_str().into();
        }
        let answer = self.client.send(&request(self.port, operation, &body)?)?;
        answer.check().with_context(|| format!("call {operation}"))?;
        if answer.body.is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_slice(&answer.body).with_context(|| format!("read what {operation} answered"))
    }

    fn attribute(&mut self, name: &str) -> Result<String> {
        let answer = self.call("GetQueueAttributes", &json!({ "AttributeNames": [name] }))?;
        Ok(answer["Attributes"][name].as_str().with_context(|| format!("read {name} of a queue"))?.to_owned())
    }

    /// How many messages it has, received or not.
    pub fn count(&mut self) -> Result<u64> {
        const NAMES: [&str; 2] = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"];
        let answer = self.call("GetQueueAttributes", &json!({ "AttributeNames": NAMES }))?;
        let count = |name: &str| -> Result<u64> {
            Ok(answer["Attributes"][name].as_str().context("read how many messages there are")?.parse()?)
        };
        NAMES.iter().map(|name| count(name)).sum()
    }

    /// Puts so many messages of a hundred bytes into it, and says how many a second that were.
    pub fn fill(&mut self, count: u64) -> Result<f64> {
        let body = "x".repeat(100);
        let entries: Vec<Value> = (0..BATCH).map(|id| json!({ "Id": id.to_string(), "MessageBody": body })).collect();
        let request = self.request("SendMessageBatch", json!({ "Entries": entries }))?;
        let before = self.count()?;
        let (_, ms) = crate::rounds::timed(|| load::send_all(self.port, &request, FILLING, count / BATCH))?;
        for _ in 0..count % BATCH {
            self.call("SendMessage", &json!({ "MessageBody": body }))?;
        }
        let there = self.count()?;
        if there != before + count {
            bail!("fill a queue: it has {there} messages instead of {}", before + count);
        }
        Ok(count as f64 / ms * 1e3)
    }

    /// Waits until it is empty.
    pub fn wait_until_empty(&mut self, look_every: Duration, at_most: Duration) -> Result<()> {
        let looks = at_most.as_millis() / look_every.as_millis().max(1);
        for _ in 0..looks {
            if self.count()? == 0 {
                return Ok(());
            }
            std::thread::sleep(look_every);
        }
        bail!("wait until a queue is empty: it still has {} messages", self.count()?);
    }
}

/// What an answer to `ReceiveMessage` gives, if it gives something.
pub fn received(body: &[u8]) -> Result<Option<Received>> {
    let answer: Value = serde_json::from_slice(body).context("read what ReceiveMessage answered")?;
    let receipt = answer["Messages"][0]["ReceiptHandle"].as_str();
    Ok(receipt.map(|receipt| Received { receipt: receipt.to_owned() }))
}

fn request(port: u16, operation: &str, body: &Value) -> Result<Vec<u8>> {
    let mut headers = HeaderMap::new();
    headers.insert("content-type", HeaderValue::from_static("application/x-amz-json-1.0"));
    headers.insert("x-amz-target", HeaderValue::from_str(&format!("AmazonSQS.{operation}"))?);
    signed_for("sqs", port, headers, Method::POST, "/", &body.to_string())
}
