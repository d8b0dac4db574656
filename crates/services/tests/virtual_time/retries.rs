//! When events are tried again, and what becomes of them: Q1, Q2 and Q3 of the plan for reliability.

use std::collections::BTreeMap;
use std::time::Duration;

use base::ports::InvokeError;
use serde_json::{Value, json};

use crate::bed::{Answer, Bed, Called, fails, well};
use crate::world::arn;

const HOUR: u64 = 60 * 60;

/// As the function's name begins.
fn answer(called: &Called) -> Answer {
    let moment = Duration::from_millis(1);
    match called.function.split('-').next().unwrap() {
        "error" => fails(moment, "division by zero"),
        "timeout" => fails(Duration::from_secs(3), "Task timed out after 3.00 seconds"),
        "oom" => fails(moment, "Runtime exited with error: signal: killed"),
        "runtime" => fails(moment, "Couldn't find valid bootstrap(s)"),
        "throttle" => (moment, Err(InvokeError::Throttled("ReservedFunctionConcurrentInvocationLimitExceeded"))),
        _ => well(moment, "{}"),
    }
}

/// By function, the records of how its events ended.
async fn ends(bed: &Bed) -> BTreeMap<String, Vec<Value>> {
    let mut ends: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for message in bed.receive_all("ends").await {
        let record: Value = serde_json::from_str(message["Body"].as_str().unwrap()).unwrap();
        let function = record["requestContext"]["functionArn"].as_str().unwrap().split(':').nth(6).unwrap();
        ends.entry(function.to_owned()).or_default().push(record);
    }
    ends
}

async fn configure(bed: &Bed, function: &str, more: Value) {
    let mut config =
        json!({"FunctionName": function, "DestinationConfig": {"OnFailure": {"Destination": arn("ends")}}});
    config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    bed.call("lambda", "PutFunctionEventInvokeConfig", config).await;
}

#[tokio::test(start_paused = true)]
async fn a_function_that_always_fails_is_tried_three_times_and_both_hear_of_it_once() {
    let dir = tempfile::tempdir().unwrap();
    let bed = Bed::open(dir.path(), answer).await;
    bed.queue("ends", json!({})).await;
    bed.queue("dead", json!({})).await;
    bed.function("error", json!({"DeadLetterConfig": {"TargetArn": arn("dead")}})).await;
    configure(&bed, "error", json!({})).await;
    bed.leave("error", None).await;
    tokio::time::sleep(Duration::from_secs(7 * HOUR)).await;
    let tried = bed.seconds("error");
    let waits: Vec<u64> = tried.iter().map(|second| second - tried[0]).collect();
    assert_eq!(waits, [0, 60, 180]);
    let ends = ends(&bed).await;
    let [record] = ends["error"].as_slice() else { panic!("{ends:?}") };
    let context = &record["requestContext"];
    assert_eq!((&context["condition"], &context["approximateInvokeCount"]), (&json!("RetriesExhausted"), &json!(3)));
    let dead = bed.receive_all("dead").await;
    assert_eq!(dead.len(), 1);
    assert_eq!(dead[0]["MessageAttributes"]["ErrorCode"]["StringValue"], "200");
}

#[tokio::test(start_paused = true)]
async fn a_throttled_event_waits_ever_longer_and_spends_no_retry() {
    let dir = tempfile::tempdir().unwrap();
    let bed = Bed::open(dir.path(), answer).await;
    bed.queue("ends", json!({})).await;
    for function in ["throttle", "ok-none"] {
        bed.function(function, json!({})).await;
        configure(&bed, function, json!({})).await;
    }
    let none = json!({"FunctionName": "ok-none", "ReservedConcurrentExecutions": 0});
    bed.call("lambda", "PutFunctionConcurrency", none).await;
    bed.leave("ok-none", None).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let at_once = ends(&bed).await;
    assert_eq!(at_once["ok-none"][0]["requestContext"]["condition"], "ZeroReservedConcurrency");
    bed.leave("throttle", None).await;
    tokio::time::sleep(Duration::from_secs(7 * HOUR)).await;
    assert!(bed.seconds("ok-none").is_empty());
    let tried = bed.seconds("throttle");
    let waits: Vec<u64> = tried.windows(2).map(|pair| pair[1] - pair[0]).collect();
    // After each that is held up the courier rests a second, which the first wait may have in it.
    let wanted = [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300];
    assert!(waits.iter().zip(wanted).all(|(wait, wanted)| wait.abs_diff(wanted) <= 1), "{waits:?}");
    assert!(waits.iter().skip(wanted.len()).all(|wait| wait.abs_diff(300) <= 1), "{waits:?}");
    let lived = tried.last().unwrap() - tried[0];
    assert!((6 * HOUR - 300..=6 * HOUR).contains(&lived), "{lived}");
    assert_eq!(ends(&bed).await["throttle"][0]["requestContext"]["condition"], "EventAgeExceeded");
}

/// How often a function runs that always ends so, and how its event ends.
fn wanted(kind: &str, retries: u64, age: u64) -> (Option<usize>, &'static str) {
    if kind == "throttle" {
        return (None, "EventAgeExceeded");
    }
    // The first retry would come when a minute has passed.
    let (tries, fits) = (retries + 1, if age == 60 { 1 } else { 3 });
    let condition = if tries <= fits { "RetriesExhausted" } else { "EventAgeExceeded" };
    (Some(tries.min(fits) as usize), condition)
}

#[tokio::test(start_paused = true)]
async fn every_way_to_fail_ends_as_its_configuration_says() {
    let dir = tempfile::tempdir().unwrap();
    let bed = Bed::open(dir.path(), answer).await;
    bed.queue("ends", json!({})).await;
    let mut cases = Vec::new();
    for kind in ["error", "timeout", "throttle", "oom", "runtime"] {
        for retries in [0, 1, 2] {
            for age in [60, HOUR, 6 * HOUR] {
                let function = format!("{kind}-{retries}-{age}");
                bed.function(&function, json!({})).await;
                let limits = json!({"MaximumRetryAttempts": retries, "MaximumEventAgeInSeconds": age});
                configure(&bed, &function, limits).await;
                bed.leave(&function, None).await;
                cases.push((function, wanted(kind, retries, age), age));
            }
        }
    }
    assert_eq!(cases.len(), 45);
    tokio::time::sleep(Duration::from_secs(7 * HOUR)).await;
    let ends = ends(&bed).await;
    for (function, (runs, condition), age) in cases {
        let [record] = ends[&function].as_slice() else { panic!("{function}: {ends:?}") };
        assert_eq!(record["requestContext"]["condition"], condition, "{function}");
        let tried = bed.seconds(&function);
        match runs {
            Some(runs) => assert_eq!(tried.len(), runs, "{function}: {tried:?}"),
            None => {
                let lived = tried.last().unwrap() - tried[0];
                assert!(lived <= age && lived + 301 >= age.min(2 * lived + 2), "{function}: {tried:?}");
            }
        }
        let counted = record["requestContext"]["approximateInvokeCount"].as_u64();
        assert_eq!(counted, Some(runs.unwrap_or_default() as u64), "{function}");
    }
}
