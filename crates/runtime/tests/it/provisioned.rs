//! Instances that are there before anybody calls.

use std::sync::Arc;
use std::time::Duration;

use base::ports::{Call, Concurrency, FunctionSpec, Invoke, InvokeError, Provided, Provision, ProvisionId};
use base::{Timestamp, Uuid};

use crate::bed::{Bed, call};

const CODE: &str = "
import os, time
def handler(event, context):
    time.sleep(event.get('sleep', 0))
    return os.environ['AWS_LAMBDA_INITIALIZATION_TYPE'] + ' ' + context.log_stream_name
";

fn id() -> ProvisionId {
    ProvisionId { function: Uuid::NIL, qualifier: "1".into() }
}

fn provision(function: &FunctionSpec, instances: u32) -> Provision {
    let wanted_at = Timestamp::from_secs(i64::from(instances));
    Provision { id: id(), function: Arc::new(function.clone()), instances, wanted_at }
}

async fn until(bed: &Bed, is_so: impl Fn(&Provided) -> bool) -> Provided {
    loop {
        let provided = bed.runtime.provided(&id());
        if is_so(&provided) {
            return provided;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn none_on_demand(payload: &str) -> Call {
    Call { concurrency: Concurrency::Shared(0), ..call(payload) }
}

#[tokio::test]
async fn provisioned_instances_are_loaded_before_anybody_calls_and_serve_first() {
    let bed = Bed::new().await;
    let function = bed.function("python3.13", "app.handler", &[("app.py", CODE)]).await;
    assert_eq!(bed.runtime.provided(&id()), Provided::default());
    bed.runtime.provide(vec![provision(&function, 2)]);
    let provided = until(&bed, |provided| provided.available == 2).await;
    assert_eq!(
        provided,
        Provided { wanted_at: Some(Timestamp::from_secs(2)), allocated: 2, available: 2, failure: None }
    );
    assert_eq!(bed.log().matches("INIT_START").count(), 2);
    assert_eq!(bed.log().matches("Phase: init\tStatus: success").count(), 2);
    assert!(!bed.log().contains("START RequestId"));
    let slow = || bed.call(&function, none_on_demand(r#"{"sleep": 0.5}"#));
    let (one, two, third, fourth) =
        tokio::join!(slow(), slow(), bed.call(&function, call("{}")), bed.call(&function, none_on_demand("{}")),);
    let of_it = |answer: &str| answer.starts_with("\"provisioned-concurrency");
    let (one, two, third) = (one.unwrap().body, two.unwrap().body, third.unwrap().body);
    assert!(of_it(&one) && of_it(&two) && one != two && third.starts_with("\"on-demand"), "{one} {two} {third}");
    assert!(matches!(fourth, Err(InvokeError::Throttled("ConcurrentInvocationLimitExceeded"))));
    // Fewer, and then none: the rest runs on demand.
    bed.runtime.provide(vec![provision(&function, 1)]);
    until(&bed, |provided| provided.allocated == 1 && provided.wanted_at == Some(Timestamp::from_secs(1))).await;
    assert!(of_it(&bed.call(&function, none_on_demand("{}")).await.unwrap().body));
    bed.runtime.provide(vec![]);
    assert_eq!(bed.runtime.provided(&id()), Provided::default());
    assert!(bed.call(&function, none_on_demand("{}")).await.is_err());
    bed.runtime.drain().await;
    // A template that was being made gives its key back when it is done.
    let given_back = async {
        while *bed.seen.keys_out.lock() > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), given_back).await.unwrap();
}

#[tokio::test]
async fn one_that_ends_is_replaced_and_another_release_takes_over() {
    let bed = Bed::new().await;
    let code = format!(
        "{CODE}    \nimport os\nold = handler\ndef handler(event, context):\n    if event.get('exit'): os._exit(1)\n    return old(event, context)\n"
    );
    let mut function = bed.function("python3.13", "app.handler", &[("app.py", code)]).await;
    bed.runtime.provide(vec![provision(&function, 1)]);
    until(&bed, |provided| provided.available == 1).await;
    // A crash does not end an instance: it starts over within the next invocation.
    assert!(bed.call(&function, none_on_demand(r#"{"exit": 1}"#)).await.unwrap().failed.is_some());
    assert!(bed.call(&function, none_on_demand("{}")).await.unwrap().failed.is_none());
    function.release = Uuid::from_bytes([7; 16]);
    bed.runtime.provide(vec![provision(&function, 1)]);
    until(&bed, |provided| provided.available == 1).await;
    let first = bed.call(&function, none_on_demand("{}")).await.unwrap().body;
    assert_eq!(bed.call(&function, none_on_demand("{}")).await.unwrap().body, first);
}

#[tokio::test]
async fn a_function_that_does_not_load_is_told_and_runs_on_demand() {
    let bed = Bed::new().await;
    let code =
        format!("{CODE}\nif os.environ['AWS_LAMBDA_INITIALIZATION_TYPE'] != 'on-demand': raise Exception('no')\n");
    let function = bed.function("python3.13", "app.handler", &[("app.py", code)]).await;
    bed.runtime.provide(vec![provision(&function, 1)]);
    let provided = until(&bed, |provided| provided.failure.is_some()).await;
    assert_eq!((provided.available, provided.failure.as_deref()), (0, Some("FUNCTION_ERROR_INIT_FAILURE")));
    assert!(bed.invoke(&function, "{}").await.body.starts_with("\"on-demand"));
}

#[tokio::test]
async fn two_names_of_one_version_are_added_up() {
    let bed = Bed::new().await;
    let function = bed.function("python3.13", "app.handler", &[("app.py", CODE)]).await;
    let other = Provision { id: ProvisionId { qualifier: "live".into(), ..id() }, ..provision(&function, 1) };
    bed.runtime.provide(vec![provision(&function, 1), other.clone()]);
    until(&bed, |provided| provided.available == 2).await;
    bed.runtime.provide(vec![other.clone()]);
    assert_eq!(bed.runtime.provided(&other.id).allocated, 1);
}

#[tokio::test]
async fn one_that_is_let_go_before_it_is_there_never_loads() {
    let bed = Bed::new().await;
    let function = bed.function("python3.13", "app.handler", &[("app.py", CODE)]).await;
    bed.runtime.provide(vec![provision(&function, 2)]);
    bed.runtime.provide(vec![]);
    bed.runtime.drain().await;
    assert_eq!(bed.log(), "");
    assert_eq!(*bed.seen.keys_out.lock(), 0);
}

#[tokio::test]
async fn one_that_breaks_while_it_is_idle_is_replaced() {
    let bed = Bed::new().await;
    // Before it is stopped where it stands.
    let end = "import threading\nthreading.Timer(0.012, lambda: os._exit(1)).start()";
    let function = bed.function("python3.13", "app.handler", &[("app.py", format!("{CODE}\n{end}\n"))]).await;
    let inits = || bed.log().matches("INIT_START").count();
    loop {
        let before = inits();
        bed.runtime.provide(vec![provision(&function, 1)]);
        for _ in 0..200 {
            if inits() >= before + 2 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        // On a busy host it may have been stopped first, and then it does not break.
        bed.runtime.provide(Vec::new());
    }
}

#[tokio::test]
async fn a_function_is_not_blamed_for_what_we_could_not_do() {
    let bed = Bed::new().await;
    let mut function = bed.function("python3.13", "app.handler", &[("app.py", CODE)]).await;
    function.code.hash = [7; 32];
    bed.runtime.provide(vec![provision(&function, 1)]);
    let provided = until(&bed, |provided| provided.failure.is_some()).await;
    assert_eq!((provided.allocated, provided.failure.as_deref()), (0, Some("INTERNAL_ERROR")));
}
