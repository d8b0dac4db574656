//! Which instance runs what, and that nothing is left of them.

use std::sync::Arc;
use std::time::Duration;

use base::ports::{Call, Concurrency, Invoke, InvokeError, ResponsePiece};
use runtime::Settings;

use crate::bed::{Bed, call};

const CODE: &str = "
import time, uuid
me = str(uuid.uuid4())
def handler(event, context):
    time.sleep(event.get('sleep', 0))
    return me
";

#[tokio::test]
async fn invocations_at_once_have_an_instance_each_and_limits_hold() {
    let bed = Bed::new().await;
    let function = bed.function("python3.13", "app.handler", &[("app.py", CODE)]).await;
    let slow = || Call { concurrency: Concurrency::Shared(3), ..call(r#"{"sleep": 0.5}"#) };
    let answers = tokio::join!(
        bed.call(&function, slow()),
        bed.call(&function, slow()),
        bed.call(&function, slow()),
        bed.call(&function, slow()),
    );
    let mut bodies: Vec<String> = Vec::new();
    let mut throttled = 0;
    for answer in [answers.0, answers.1, answers.2, answers.3] {
        match answer {
            Ok(answer) => bodies.push(answer.body),
            Err(InvokeError::Throttled(reason)) => {
                assert_eq!(reason, "ConcurrentInvocationLimitExceeded");
                throttled += 1;
            }
            Err(other) => panic!("{other:?}"),
        }
    }
    bodies.sort();
    bodies.dedup();
    assert_eq!((bodies.len(), throttled), (3, 1));
    assert!(bodies.contains(&bed.invoke(&function, "{}").await.body), "an idle one is used again");
    let mut reserved = bed.function("python3.13", "app.handler", &[("app.py", CODE)]).await;
    reserved.name = "reserved".into();
    let none = Call { concurrency: Concurrency::Reserved(0), ..call("{}") };
    let refused = bed.call(&reserved, none).await.unwrap_err();
    let InvokeError::Throttled(reason) = refused else { panic!("{refused:?}") };
    assert_eq!(reason, "ReservedFunctionConcurrentInvocationLimitExceeded");
}

#[tokio::test]
async fn releases_and_tenants_never_share() {
    let bed = Bed::new().await;
    let mut function = bed.function("python3.13", "app.handler", &[("app.py", CODE)]).await;
    let first = bed.invoke(&function, "{}").await.body;
    let mut of_tenant = call("{}");
    of_tenant.tenant_id = Some("t".into());
    assert_ne!(bed.call(&function, of_tenant.clone()).await.unwrap().body, first);
    assert_eq!(bed.invoke(&function, "{}").await.body, first);
    function.release = base::Uuid::NIL;
    assert_ne!(bed.invoke(&function, "{}").await.body, first);
}

#[tokio::test]
async fn a_caller_that_goes_away_changes_nothing_for_the_function() {
    let bed = Bed::new().await;
    let code = "
import time
done = []
def handler(event, context):
    if event.get('look'):
        return done
    time.sleep(0.3)
    done.append(event['n'])
";
    let function = bed.function("python3.13", "app.handler", &[("app.py", code)]).await;
    bed.invoke(&function, r#"{"look": true}"#).await;
    let spec = Arc::new(function.clone());
    // Gone before it began, and gone in the middle.
    drop(bed.runtime.invoke(spec.clone(), call(r#"{"n": 1}"#)));
    while !bed.log().contains("END RequestId") || bed.log().matches("END RequestId").count() < 2 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let leaving = tokio::time::timeout(Duration::from_millis(50), bed.runtime.invoke(spec, call(r#"{"n": 2}"#)));
    assert!(leaving.await.is_err());
    while bed.log().matches("END RequestId").count() < 3 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(bed.invoke(&function, r#"{"look": true}"#).await.body, "[1, 2]");
}

#[tokio::test]
async fn a_stream_waits_for_its_caller_and_goes_on_without() {
    let bed = Bed::new().await;
    let code = "exports.handler = awslambda.streamifyResponse(async (event, out) => {
        for (let i = 0; i < 50; i++) if (!out.write('x'.repeat(100000))) await new Promise((go) => out.once('drain', go));
        console.log('all written');
        out.end();
    })";
    let mut function = bed.function("nodejs20.x", "app.handler", &[("app.js", code)]).await;
    function.timeout = Duration::from_secs(20);
    let mut streamed = call("{}");
    streamed.is_streamed = true;
    let mut invoked = bed.runtime.invoke(Arc::new(function), streamed).await.unwrap();
    assert!(matches!(invoked.response.next().await, ResponsePiece::Bytes(_)));
    assert!(!bed.log().contains("all written"), "the function is held back");
    drop(invoked);
    while !bed.log().contains("REPORT RequestId") {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(bed.log().contains("all written"));
}

#[tokio::test]
async fn idle_instances_go_and_a_drain_leaves_nothing() {
    let bed = Bed::with(|settings: &mut Settings| settings.keep_alive = Duration::from_millis(50)).await;
    let function = bed.function("python3.13", "app.handler", &[("app.py", CODE)]).await;
    let first = bed.invoke(&function, "{}").await.body;
    while *bed.seen.keys_out.lock() > 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_ne!(bed.invoke(&function, "{}").await.body, first);
    let running = bed.call(&function, call(r#"{"sleep": 0.3}"#));
    let (answer, ()) = tokio::join!(running, bed.runtime.drain());
    assert_eq!(answer.unwrap().failed, None);
    assert_eq!(*bed.seen.keys_out.lock(), 0);
    assert!(matches!(bed.call(&function, call("{}")).await, Err(InvokeError::Throttled(_))));
}

#[tokio::test]
async fn a_function_that_loads_slowly_keeps_no_other_waiting() {
    let bed = Bed::new().await;
    let mut slow = bed.function("python3.13", "app.handler", &[("app.py", format!("{CODE}\ntime.sleep(2)\n"))]).await;
    slow.name = "slow".into();
    let quick = bed.function("python3.13", "app.handler", &[("app.py", CODE)]).await;
    let slow = Arc::new(slow);
    let many: Vec<_> = (0..40).map(|_| bed.runtime.invoke(Arc::clone(&slow), call("{}"))).collect();
    assert_eq!(bed.invoke(&quick, "{}").await.failed, None);
    assert_eq!(bed.log().matches("START RequestId").count(), 1, "before any of the others has loaded");
    for answer in many {
        assert_eq!(answer.await.unwrap().function_error, None);
    }
}
