//! The disk is full for a while, as clients use queues and send events.
//!
//! Pass line: who asks for something that is to be kept hears 503, and of that nothing is kept; what was there is as it was,
//! receive counts included; and once there is room everything goes on.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use base::{ManualClock, Timestamp};
use serde_json::{Value, json};
use store::testing::{Action, Fault, Verdict};

use crate::bed::{Bed, Under};
use crate::disk::{Image, Recorder, directory};
use crate::events::{Functions, Send, make};
use crate::world::{arn, url};

const RECEIVES_MAX: u32 = 2;

fn disk(is_full: &Arc<AtomicBool>) -> Arc<Recorder> {
    let is_full = is_full.clone();
    Arc::new(Recorder::with_judge(Box::new(move |_, op| match op.action {
        Action::Write { .. } if is_full.load(Ordering::SeqCst) => Verdict::Fail(Fault::Full),
        _ => Verdict::Proceed,
    })))
}

async fn refused(bed: &Bed, operation: &'static str, input: Value) {
    let error = bed.call("sqs", operation, input).await.unwrap_err();
    assert_eq!((operation, error.status), (operation, 503));
}

#[tokio::test]
async fn a_full_disk_takes_nothing_and_changes_nothing() {
    let (dir, is_full) = (directory(&Image::new()), Arc::new(AtomicBool::new(false)));
    let clock = ManualClock::at(Timestamp::from_secs(1_000_000));
    let under = Under { tap: Some(disk(&is_full)), ..Under::default() };
    let functions = Arc::new(Functions::default());
    let bed = Bed::open(dir.path(), &clock, functions.clone(), under).await;
    make(&bed).await;
    let redrive = json!({"deadLetterTargetArn": arn("dead"), "maxReceiveCount": RECEIVES_MAX}).to_string();
    let attributes = json!({"VisibilityTimeout": "10", "RedrivePolicy": redrive});
    bed.sqs("CreateQueue", json!({"QueueName": "jobs", "Attributes": attributes})).await;
    let attributes = json!({"VisibilityTimeout": "10", "FifoQueue": "true"});
    bed.sqs("CreateQueue", json!({"QueueName": "steps.fifo", "Attributes": attributes})).await;
    let (jobs, steps) = (url("jobs"), url("steps.fifo"));
    let wants = |queue: &str| json!({"QueueUrl": queue, "AttributeNames": ["All"]});
    let step = json!({"QueueUrl": steps, "MessageBody": "a", "MessageGroupId": "g", "MessageDeduplicationId": "a"});
    bed.sqs("SendMessage", json!({"QueueUrl": jobs, "MessageBody": "there"})).await;
    bed.sqs("SendMessage", json!({"QueueUrl": jobs, "MessageBody": "held"})).await;
    let held = bed.sqs("ReceiveMessage", wants(&jobs)).await["Messages"][0].clone();

    is_full.store(true, Ordering::SeqCst);
    let event = || Send::new(1);
    assert_eq!(bed.call("lambda", "Invoke", event()).await.unwrap_err().status, 503);
    refused(&bed, "SendMessage", json!({"QueueUrl": jobs, "MessageBody": "never"})).await;
    refused(&bed, "SendMessage", step.clone()).await;
    let receipt = json!({"QueueUrl": jobs, "ReceiptHandle": held["ReceiptHandle"]});
    refused(&bed, "DeleteMessage", receipt.clone()).await;
    let mut longer = receipt.clone();
    longer["VisibilityTimeout"] = 100.into();
    refused(&bed, "ChangeMessageVisibility", longer).await;
    // More often than a message may be received: nobody is given it.
    for _ in 0..2 * RECEIVES_MAX {
        refused(&bed, "ReceiveMessage", wants(&jobs)).await;
        clock.advance(Duration::from_secs(11));
    }

    is_full.store(false, Ordering::SeqCst);
    let mut counts = Vec::new();
    for _ in 0..2 {
        let message = bed.sqs("ReceiveMessage", wants(&jobs)).await["Messages"][0].clone();
        let count = message["Attributes"]["ApproximateReceiveCount"].clone();
        counts.push((message["Body"].as_str().unwrap().to_owned(), count.as_str().unwrap().to_owned()));
        bed.sqs("DeleteMessage", json!({"QueueUrl": jobs, "ReceiptHandle": message["ReceiptHandle"]})).await;
    }
    counts.sort();
    let held = held["Body"].as_str().unwrap().to_owned();
    let other = if held == "held" { "there" } else { "held" };
    let mut wanted = vec![(held, "2".to_owned()), (other.to_owned(), "1".to_owned())];
    wanted.sort();
    assert_eq!(counts, wanted);
    assert!(bed.sqs("ReceiveMessage", wants(&jobs)).await.get("Messages").is_none());
    // What was refused was never sent before.
    let sent = bed.sqs("SendMessage", step).await;
    let first = bed.sqs("ReceiveMessage", wants(&steps)).await["Messages"][0].clone();
    assert_eq!(first["MessageId"], sent["MessageId"]);
    bed.call("lambda", "Invoke", event()).await.unwrap();
    tokio::select! {
        () = crate::events::ended(&bed, 1) => {}
        () = services::run_couriers(bed.post()) => unreachable!("they run for ever"),
    }
    assert_eq!(functions.ran(), [1]);
    bed.close().await;
}
