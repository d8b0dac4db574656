//! Queues that feed functions: Q8 and Q10 of the plan for reliability, and calls that keep their limit.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use crate::bed::{Bed, Called, fails, well};
use crate::world::{arn, url};

const MOMENT: Duration = Duration::from_millis(200);

async fn map(bed: &Bed, queue: &str, function: &str, more: Value) {
    let mut mapping = json!({"EventSourceArn": arn(queue), "FunctionName": function});
    mapping.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    bed.call("lambda", "CreateEventSourceMapping", mapping).await;
}

fn bodies(called: &Called) -> Vec<String> {
    let records = called.payload["Records"].as_array().unwrap();
    records.iter().map(|record| record["body"].as_str().unwrap().to_owned()).collect()
}

/// 20 groups of 20; the function fails with every seventh batch.
#[tokio::test(start_paused = true)]
async fn a_group_comes_in_its_order_though_batches_fail() {
    let (dir, calls) = (tempfile::tempdir().unwrap(), AtomicUsize::new(0));
    let answer = move |_: &Called| match calls.fetch_add(1, Ordering::SeqCst) % 7 {
        3 => fails(MOMENT, "seventh"),
        _ => well(MOMENT, ""),
    };
    let bed = Bed::open(dir.path(), answer).await;
    bed.queue("steps.fifo", json!({"FifoQueue": "true", "VisibilityTimeout": "30"})).await;
    bed.function("f", json!({})).await;
    for number in 0..20 {
        for group in 0..20 {
            let send = json!({
                "QueueUrl": url("steps.fifo"), "MessageBody": format!("{group}-{number:02}"),
                "MessageGroupId": format!("g{group}"), "MessageDeduplicationId": format!("{group}-{number}"),
            });
            bed.call("sqs", "SendMessage", &send).await;
            // Sent once more, it is not there twice.
            bed.call("sqs", "SendMessage", &send).await;
        }
    }
    map(&bed, "steps.fifo", "f", json!({"BatchSize": 5})).await;
    tokio::time::sleep(Duration::from_secs(3_600)).await;
    let mut next: BTreeMap<String, usize> = BTreeMap::new();
    for (at, called) in bed.called().iter().enumerate() {
        let is_taken = at % 7 != 3;
        let mut seen = next.clone();
        for body in bodies(called) {
            let (group, number) = body.split_once('-').unwrap();
            let place = seen.entry(group.to_owned()).or_default();
            assert_eq!(number.parse::<usize>().unwrap(), *place, "group {group}");
            *place += 1;
        }
        if is_taken {
            next = seen;
        }
    }
    assert!(next.len() == 20 && next.values().all(|count| *count == 20), "{next:?}");
    assert!(bed.receive_all("steps.fifo").await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn what_a_function_does_not_report_is_done_and_a_report_that_makes_no_sense_fails_all() {
    let (dir, calls) = (tempfile::tempdir().unwrap(), Mutex::new(0));
    let answer = move |called: &Called| {
        let mut calls = calls.lock().unwrap();
        *calls += 1;
        let id_of = |body: &str| {
            let records = called.payload["Records"].as_array().unwrap();
            records.iter().find(|record| record["body"] == body).map(|record| record["messageId"].clone())
        };
        let report = |ids: Vec<Value>| {
            let failures: Vec<Value> = ids.into_iter().map(|id| json!({"itemIdentifier": id})).collect();
            json!({"batchItemFailures": failures}).to_string()
        };
        match *calls {
            1 => well(MOMENT, report(["b", "c"].into_iter().filter_map(id_of).collect())),
            2 => well(MOMENT, report(vec![json!("nobody")])),
            3 => well(MOMENT, report(vec![Value::Null])),
            4 => well(MOMENT, "no JSON"),
            5 => well(MOMENT, report(id_of("c").into_iter().collect())),
            _ => well(MOMENT, "{}"),
        }
    };
    let bed = Bed::open(dir.path(), answer).await;
    bed.queue("jobs", json!({"VisibilityTimeout": "30"})).await;
    bed.function("f", json!({})).await;
    for body in ["a", "b", "c", "d"] {
        bed.call("sqs", "SendMessage", json!({"QueueUrl": url("jobs"), "MessageBody": body})).await;
    }
    map(&bed, "jobs", "f", json!({"FunctionResponseTypes": ["ReportBatchItemFailures"]})).await;
    tokio::time::sleep(Duration::from_secs(600)).await;
    let given: Vec<String> = bed.called().iter().map(|called| bodies(called).join("")).collect();
    assert_eq!(given, ["abcd", "bc", "bc", "bc", "bc", "c"]);
    // What has failed stays hidden until its time is over.
    let waits: Vec<u64> = bed.seconds("f").windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(waits.iter().all(|wait| (30..=31).contains(wait)), "{waits:?}");
    assert!(bed.receive_all("jobs").await.is_empty());
}

/// Six fit into a call, two calls may run, and twenty are read at once.
#[tokio::test(start_paused = true)]
async fn large_messages_do_not_make_more_calls_than_may_run() {
    let dir = tempfile::tempdir().unwrap();
    let bed = Bed::open(dir.path(), |_| well(Duration::from_secs(1), "")).await;
    bed.queue("large", json!({"VisibilityTimeout": "300"})).await;
    bed.function("f", json!({})).await;
    let body = "x".repeat(1_000_000);
    for _ in 0..20 {
        bed.call("sqs", "SendMessage", json!({"QueueUrl": url("large"), "MessageBody": body})).await;
    }
    let limits = json!({
        "BatchSize": 30, "MaximumBatchingWindowInSeconds": 1, "ScalingConfig": {"MaximumConcurrency": 2},
    });
    map(&bed, "large", "f", limits).await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    let called = bed.called();
    assert_eq!(called.iter().map(|called| bodies(called).len()).sum::<usize>(), 20);
    for (at, first) in called.iter().enumerate() {
        let beside = called[at..].iter().filter(|other| other.after < first.after + Duration::from_secs(1)).count();
        assert!(beside <= 2, "{beside} calls at once");
    }
}
