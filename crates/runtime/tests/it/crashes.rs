//! What functions do wrong, and what their callers are told.

use std::sync::Arc;
use std::time::Duration;

use crate::bed::{Bed, error};

const CODE: &str = "
import os, sys, time, ctypes
print('loading')
state = 'fresh'
def handler(event, context):
    global state
    do = event['do']
    print('doing', do)
    if do == 'sleep':
        state = 'used'
        open('/tmp/kept', 'w').write('kept')
        time.sleep(60)
    if do == 'look':
        return [state, os.path.exists('/tmp/kept')]
    if do == 'exit':
        sys.exit(event['code'])
    if do == 'kill':
        os.kill(os.getpid(), 9)
    if do == 'memory':
        return len(bytearray(b'x') * (1024 * 1024 * 1024))
    if do == 'leave':
        if os.fork() == 0:
            time.sleep(60)
        time.sleep(60)
";

#[tokio::test]
async fn a_timeout_keeps_tmp_and_loses_memory() {
    let bed = Bed::new().await;
    let mut function = bed.function("python3.13", "app.handler", &[("app.py", CODE)]).await;
    function.timeout = Duration::from_secs(1);
    let answer = bed.invoke(&function, r#"{"do": "sleep"}"#).await;
    assert_eq!(error(&answer), ("Sandbox.Timedout".into(), "Task timed out after 1.00 seconds".into()));
    let tail = answer.tail.unwrap();
    assert!(tail.contains("doing sleep\nEND ") && tail.ends_with("\tStatus: timeout\n"), "{tail}");
    assert_eq!(bed.invoke(&function, r#"{"do": "look"}"#).await.body, "[\"fresh\", true]");
    // What it leaves behind does not survive the reset, nor keep it.
    let answer = bed.invoke(&function, r#"{"do": "leave"}"#).await;
    assert_eq!(error(&answer).0, "Sandbox.Timedout");
    assert_eq!(bed.invoke(&function, r#"{"do": "look"}"#).await.body, "[\"fresh\", true]");
}

#[tokio::test]
async fn exits_and_kills_are_told_and_lines_before_them_survive() {
    let bed = Bed::new().await;
    let mut function = bed.function("python3.13", "app.handler", &[("app.py", CODE)]).await;
    // A busy machine takes its time to run out of memory.
    function.timeout = Duration::from_secs(30);
    for (event, message) in [
        (r#"{"do": "exit", "code": 0}"#, "Runtime exited without providing a reason"),
        (r#"{"do": "exit", "code": 7}"#, "Runtime exited with error: exit status 7"),
        (r#"{"do": "kill"}"#, "Runtime exited with error: signal: killed"),
    ] {
        let answer = bed.invoke(&function, event).await;
        assert_eq!(error(&answer), ("Runtime.ExitError".into(), message.into()));
        let tail = answer.tail.unwrap();
        assert!(tail.contains("\ndoing "), "{tail}");
        assert!(tail.ends_with("\tStatus: error\tError Type: Runtime.ExitError\n"), "{tail}");
    }
    let answer = bed.invoke(&function, r#"{"do": "memory"}"#).await;
    let (kind, message) = error(&answer);
    // Where the host lends no memory limit, Python itself fails to allocate.
    if kind == "Runtime.ExitError" {
        assert_eq!(message, "Runtime exited with error: signal: killed");
        assert!(answer.tail.unwrap().ends_with("\tError Type: Runtime.OutOfMemory\n"));
    } else {
        assert_eq!(kind, "MemoryError");
    }
}

#[tokio::test]
async fn an_init_that_fails_is_repeated_and_its_error_is_the_answer() {
    let bed = Bed::new().await;
    let function = bed.function("python3.13", "app.handler", &[("app.py", HASTY)]).await;
    for _ in 0..2 {
        let answer = bed.invoke(&function, "{}").await;
        let (kind, message) = error(&answer);
        assert_eq!(kind, "Runtime.ImportModuleError");
        assert!(message.starts_with("Unable to import module 'app': No module named 'nowhere'"), "{message}");
    }
    let log = bed.log();
    let reports: Vec<&str> = log.lines().filter(|line| line.starts_with("INIT_REPORT")).collect();
    assert_eq!(reports.len(), 3, "{log}");
    assert!(reports[0].contains("\tPhase: init\tStatus: error\tError Type: Runtime.ImportModuleError"), "{log}");
    assert!(reports[1].contains("\tPhase: invoke\t"), "{log}");
    let function = bed.function("python3.13", "app.handler", &[("app.py", "import sys\nsys.exit(0)")]).await;
    let message = error(&bed.invoke(&function, "{}").await).1;
    assert_eq!(message, "Runtime exited without providing a reason");
}

#[tokio::test]
async fn a_small_function_may_fill_its_tmp_and_no_more() {
    let bed = Bed::new().await;
    let code = "
def handler(event, context):
    written = 0
    try:
        with open('/tmp/file', 'wb', buffering=0) as file:
            while True:
                written += file.write(b'x' * 1048576)
    except OSError as error:
        return [written >> 20, error.errno]
";
    let mut function = bed.function("python3.13", "app.handler", &[("app.py", code)]).await;
    (function.memory_mb, function.tmp_mb) = (48, 96);
    function.timeout = Duration::from_secs(30);
    assert_eq!(bed.invoke(&function, "{}").await.body, "[96, 28]");
}

#[tokio::test]
async fn a_flood_of_output_ends_at_the_deadline() {
    let bed = Bed::new().await;
    let flood = "import os\ndef handler(event, context):\n    while True:\n        os.write(1, b'x' * 1000 + b'\\n')\n";
    let mut function = bed.function("python3.13", "app.handler", &[("app.py", flood)]).await;
    function.timeout = Duration::from_secs(1);
    assert_eq!(error(&bed.invoke(&function, "{}").await).0, "Sandbox.Timedout");
}

/// Exits as soon as its error is told.
const HASTY: &str = "
import os, sys
sys.exit = os._exit
import nowhere
";

/// Its exit may be noticed before its last words are: then they end its life, and must not be taken for the end of the
/// next one, in which its init is repeated. With many at once it happens to some.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_init_error_is_told_however_soon_its_runtime_is_gone() {
    let bed = Arc::new(Bed::new().await);
    let mut running = tokio::task::JoinSet::new();
    for _ in 0..20 {
        let function = bed.function("python3.13", "app.handler", &[("app.py", HASTY)]).await;
        let bed = Arc::clone(&bed);
        running.spawn(async move { bed.invoke(&function, "{}").await });
    }
    for answer in running.join_all().await {
        assert_eq!(error(&answer).0, "Runtime.ImportModuleError", "{answer:?}");
    }
}
