//! Functions of the managed runtimes, through frames.

use std::collections::BTreeMap;
use std::fs;

use base::Secret;
use serde_json::{Value, json};

use crate::bed::{Bed, call};

const PYTHON: &str = "
import os, sys
print('loading')
count = 0
def handler(event, context):
    global count
    count += 1
    print('handling', event)
    if event.get('fail'):
        raise ValueError('as asked')
    return {'event': event, 'name': context.function_name, 'id': context.aws_request_id,
            'version': list(sys.version_info[:2]), 'count': count}
";

fn value(body: &str) -> Value {
    serde_json::from_str(body).unwrap_or_else(|_| panic!("no JSON: {body}"))
}

#[tokio::test]
async fn a_python_function_answers_cold_and_warm() {
    let bed = Bed::new().await;
    for (runtime, version) in [("python3.13", [3, 13]), ("python3.11", [3, 11])] {
        let function = bed.function(runtime, "app.handler", &[("app.py", PYTHON)]).await;
        let asked = call(r#"{"a": 1}"#);
        let id = asked.request_id.to_string();
        let answer = bed.call(&function, asked).await.unwrap();
        let expected = json!({"event": {"a": 1}, "name": "probe", "id": id, "version": version, "count": 1});
        assert_eq!(value(&answer.body), expected);
        assert_eq!(answer.failed, None);
        let tail = answer.tail.unwrap();
        let lines: Vec<&str> = tail.split_inclusive('\n').collect();
        assert_eq!(lines[..2], [&format!("START RequestId: {id} Version: $LATEST\n"), "handling {'a': 1}\n"]);
        assert_eq!(lines[2], format!("END RequestId: {id}\n"));
        assert!(lines[3].starts_with(&format!("REPORT RequestId: {id}\tDuration: ")), "{tail}");
        assert!(lines[3].contains("\tInit Duration: ") && lines[3].ends_with(" ms\t\n"), "{tail}");
        let warm = bed.invoke(&function, "{}").await;
        assert_eq!(value(&warm.body)["count"], 2);
        assert!(!warm.tail.unwrap().contains("Init Duration"));
        let failed = bed.invoke(&function, r#"{"fail": true}"#).await;
        assert_eq!(failed.failed, Some("Unhandled"));
        assert_eq!(value(&failed.body)["errorMessage"], "as asked");
        assert_eq!(value(&failed.body)["errorType"], "ValueError");
        assert!(failed.tail.unwrap().contains("[ERROR] ValueError: as asked\nTraceback"));
        assert_eq!(value(&bed.invoke(&function, "{}").await.body)["count"], 4);
    }
    let log = bed.log();
    assert!(log.starts_with("INIT_START Runtime Version: python:3.13.v"), "{log}");
    assert!(log.contains("\nloading\nSTART "), "{log}");
}

#[tokio::test]
async fn a_missing_version_is_served_by_the_nearest_with_a_warning() {
    let bed = Bed::new().await;
    let function = bed.function("python3.14", "app.handler", &[("app.py", PYTHON)]).await;
    assert_eq!(bed.invoke(&function, "{}").await.failed, None);
    assert!(bed.log().starts_with("Lamplight: this machine has no python3.14; python3.13"), "{}", bed.log());
    let exact = Bed::with(|settings| settings.runtime_match = runtime::Match::Exact).await;
    let function = exact.function("python3.14", "app.handler", &[("app.py", PYTHON)]).await;
    let refused = exact.call(&function, call("{}")).await.unwrap_err();
    assert!(format!("{refused:?}").contains("runtime_match = \\\"exact\\\" refuses"), "{refused:?}");
    let none = exact.function("dotnet8", "a::b::c", &[("a", "")]).await;
    let refused = exact.call(&none, call("{}")).await.unwrap_err();
    assert!(format!("{refused:?}").contains("does not run functions of runtime dotnet8"), "{refused:?}");
}

#[tokio::test]
async fn the_environment_is_aws_s() {
    let bed = Bed::new().await;
    let code = "import os, pwd\ndef handler(event, context):\n    return {'env': dict(os.environ), 'cwd': os.getcwd(), 'uid': os.getuid()}\n";
    let mut function = bed.function("python3.13", "app.handler", &[("app.py", code)]).await;
    let own = BTreeMap::from([("MINE".into(), "ü \"x\"".into()), ("TZ".into(), "Europe/Vienna".into())]);
    function.environment = Secret::new(own);
    let answer = value(&bed.invoke(&function, "{}").await.body);
    assert_eq!((&answer["cwd"], &answer["uid"]), (&json!("/var/task"), &json!(993)));
    let env: BTreeMap<String, String> = serde_json::from_value(answer["env"].clone()).unwrap();
    let stream = env["AWS_LAMBDA_LOG_STREAM_NAME"].clone();
    assert!(stream.contains("/[$LATEST]") && stream.len() == "2026/04/03/[$LATEST]".len() + 32, "{stream}");
    let expected = [
        ("AWS_ACCESS_KEY_ID", "AKIAPROBE"),
        ("AWS_DEFAULT_REGION", "us-east-1"),
        ("AWS_ENDPOINT_URL", "http://127.0.0.1:4566"),
        ("AWS_EXECUTION_ENV", "AWS_Lambda_python3.13"),
        ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "256"),
        ("AWS_LAMBDA_FUNCTION_NAME", "probe"),
        ("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST"),
        ("AWS_LAMBDA_INITIALIZATION_TYPE", "on-demand"),
        ("AWS_LAMBDA_LOG_GROUP_NAME", "/aws/lambda/probe"),
        ("AWS_LAMBDA_LOG_STREAM_NAME", &stream),
        ("AWS_LAMBDA_RUNTIME_API", "127.0.0.1:9001"),
        ("AWS_REGION", "us-east-1"),
        ("AWS_SECRET_ACCESS_KEY", "secret"),
        ("AWS_SESSION_TOKEN", "token"),
        ("AWS_XRAY_CONTEXT_MISSING", "LOG_ERROR"),
        ("AWS_XRAY_DAEMON_ADDRESS", "127.0.0.1:2000"),
        ("LAMBDA_RUNTIME_DIR", "/var/runtime"),
        ("LAMBDA_TASK_ROOT", "/var/task"),
        ("LANG", "en_US.UTF-8"),
        ("LC_CTYPE", "C.UTF-8"),
        (
            "LD_LIBRARY_PATH",
            "/var/lang/lib:/lib64:/usr/lib64:/var/runtime:/var/runtime/lib:/var/task:/var/task/lib:/opt/lib",
        ),
        ("MINE", "ü \"x\""),
        ("PATH", "/var/lang/bin:/usr/local/bin:/usr/bin/:/bin:/opt/bin"),
        ("PWD", "/var/task"),
        ("PYTHONPATH", "/var/runtime"),
        ("SHLVL", "0"),
        ("TZ", "Europe/Vienna"),
        ("_AWS_XRAY_DAEMON_ADDRESS", "127.0.0.1"),
        ("_AWS_XRAY_DAEMON_PORT", "2000"),
        ("_HANDLER", "app.handler"),
    ];
    let expected: BTreeMap<String, String> =
        expected.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    assert_eq!(env, expected);
}

#[tokio::test]
async fn layers_are_in_opt_the_later_over_the_earlier() {
    let bed = Bed::new().await;
    let code =
        "import one, two\ndef handler(event, context):\n    return [one.name, two.name, open('/opt/plain').read()]\n";
    let mut function = bed.function("python3.13", "app.handler", &[("app.py", code)]).await;
    let first = [("python/one.py", "name = 'first'"), ("python/two.py", "name = 'first'"), ("plain", "first")];
    let second = [("python/two.py", "name = 'second'"), ("plain", "second")];
    function.layers = vec![bed.code(&first).await, bed.code(&second).await];
    assert_eq!(value(&bed.invoke(&function, "{}").await.body), json!(["first", "second", "second"]));
}

#[tokio::test]
async fn large_events_and_responses_go_through() {
    let bed = Bed::new().await;
    let code = "def handler(event, context):\n    return event['x'] * event['times']\n";
    let function = bed.function("python3.13", "app.handler", &[("app.py", code)]).await;
    let event = json!({"x": "y".repeat(6_000_000), "times": 1}).to_string();
    assert_eq!(bed.invoke(&function, &event).await.body.len(), 6_000_002);
    let large = bed.invoke(&function, r#"{"x": "y", "times": 7000000}"#).await;
    assert_eq!(large.failed, Some("Unhandled"));
    assert_eq!(value(&large.body)["errorType"], "Function.ResponseSizeTooLarge");
    assert_eq!(bed.invoke(&function, r#"{"x": "y", "times": 2}"#).await.body, "\"yy\"");
}

#[tokio::test]
async fn a_node_function_answers_and_streams() {
    let bed = Bed::new().await;
    let plain =
        "let count = 0; exports.handler = async (event) => { console.log('hello'); return { event, count: ++count } }";
    let function = bed.function("nodejs20.x", "app.handler", &[("app.js", plain)]).await;
    let answer = bed.invoke(&function, r#"{"a":1}"#).await;
    assert_eq!(value(&answer.body), json!({"event": {"a": 1}, "count": 1}));
    assert!(answer.tail.unwrap().contains("\tINFO\thello\n"));
    assert_eq!(value(&bed.invoke(&function, "{}").await.body)["count"], 2);
    let streaming = "exports.handler = awslambda.streamifyResponse(async (event, out) => {
        out.setContentType('text/plain');
        for (let i = 0; i < event.pieces; i++) if (!out.write('x'.repeat(100000))) await new Promise((go) => out.once('drain', go));
        if (event.fail) throw new Error('in the middle');
        out.end('end');
    })";
    let function = bed.function("nodejs20.x", "app.handler", &[("app.js", streaming)]).await;
    let mut streamed = call(r#"{"pieces": 20}"#);
    streamed.is_streamed = true;
    let answer = bed.call(&function, streamed).await.unwrap();
    assert_eq!((answer.body.len(), answer.error), (2_000_003, None));
    assert!(answer.tail.unwrap().contains("REPORT RequestId: "));
    let mut failing = call(r#"{"pieces": 1, "fail": true}"#);
    failing.is_streamed = true;
    let answer = bed.call(&function, failing).await.unwrap();
    assert!(answer.error.unwrap().1.contains("in the middle"));
    // Whoever does not want a stream gets it whole.
    assert_eq!(bed.invoke(&function, r#"{"pieces": 3}"#).await.body.len(), 300_003);
}

#[tokio::test]
async fn json_logs_are_json() {
    let bed = Bed::new().await;
    let code = "import logging\ndef handler(event, context):\n    print('unimportant')\n    logging.getLogger().warning('careful')\n    logging.getLogger().info('quiet')\n";
    let mut function = bed.function("python3.13", "app.handler", &[("app.py", code)]).await;
    function.logging.is_json = true;
    function.logging.application_level = Some("WARN".into());
    function.logging.system_level = Some("INFO".into());
    let answer = bed.invoke(&function, "{}").await;
    assert_eq!(answer.body, "null");
    let tail: Vec<Value> = answer.tail.unwrap().lines().map(value).collect();
    assert_eq!(
        tail.iter().map(|line| line["type"].as_str()).collect::<Vec<_>>(),
        [Some("platform.start"), None, Some("platform.report")]
    );
    assert_eq!((&tail[1]["message"], &tail[1]["level"]), (&json!("careful"), &json!("WARNING")));
    assert_eq!(tail[2]["record"]["status"], "success");
}

#[tokio::test]
async fn a_wrapped_runtime_speaks_http() {
    let bed = Bed::new().await;
    let wrapper = "#!/bin/bash\nexport WRAPPED=yes\nexec \"$@\"\n";
    let code = "import os\ndef handler(event, context):\n    return [os.environ['WRAPPED'], '_LAMP_CONTROL_FD' in os.environ]\n";
    let mut function = bed.function("python3.13", "app.handler", &[("app.py", code), ("wrap", wrapper)]).await;
    let wrapped = |path: &str| Secret::new(BTreeMap::from([("AWS_LAMBDA_EXEC_WRAPPER".to_owned(), path.to_owned())]));
    function.environment = wrapped("/var/task/wrap");
    assert_eq!(value(&bed.invoke(&function, "{}").await.body), json!(["yes", false]));
    function.environment = wrapped("/var/task/nowhere");
    function.release = base::Uuid::NIL;
    let answer = bed.invoke(&function, "{}").await;
    assert!(answer.body.contains("Runtime exited with error: exit status 127"), "{}", answer.body);
}

#[tokio::test]
async fn a_ruby_function_answers() {
    let bed = Bed::new().await;
    let code = "def handler(event:, context:)\n  puts 'hello'\n  raise 'as asked' if event['fail']\n  { got: event, name: context.function_name }\nend\n";
    let function = bed.function("ruby3.2", "app.handler", &[("app.rb", code)]).await;
    let answer = bed.invoke(&function, r#"{"a": 1}"#).await;
    assert_eq!(value(&answer.body), json!({"got": {"a": 1}, "name": "probe"}), "{}", bed.log());
    assert!(answer.tail.unwrap().contains("\nhello\n"));
    let failed = bed.invoke(&function, r#"{"fail": true}"#).await;
    assert_eq!(value(&failed.body)["errorType"], "Function<RuntimeError>");
}

#[tokio::test]
async fn a_java_function_answers() {
    let bed = Bed::new().await;
    let app = "import java.util.Map;
public class App {
    static int count = 0;
    public Object handle(Map<String, Object> event) {
        System.out.println(\"hello\");
        if (event.containsKey(\"fail\")) throw new IllegalStateException(\"as asked\");
        event.put(\"count\", ++count);
        return event;
    }
}";
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("App.java"), app).unwrap();
    let mut javac = std::process::Command::new("javac");
    assert!(javac.args(["--release", "11", "App.java"]).current_dir(folder.path()).status().unwrap().success());
    let class = std::fs::read(folder.path().join("App.class")).unwrap();
    let mut function = bed.function("java17", "App::handle", &[("App.class", class)]).await;
    function.memory_mb = 512;
    function.timeout = std::time::Duration::from_secs(10);
    for count in 1..3 {
        let answer = bed.invoke(&function, r#"{"a":1}"#).await;
        assert_eq!(value(&answer.body), json!({"a": 1, "count": count}), "{}", bed.log());
        assert!(answer.tail.unwrap().contains("\nhello\n"));
    }
    let failed = bed.invoke(&function, r#"{"fail":1}"#).await;
    assert_eq!(value(&failed.body)["errorType"], "java.lang.IllegalStateException");
}

/// What a function says of its error is its own affair, unless SDKs have changed.
#[tokio::test]
async fn one_that_misses_an_sdk_is_told_and_let_go_when_another_may_find_it() {
    let sdks = tempfile::tempdir().unwrap();
    fs::create_dir(sdks.path().join("python")).unwrap();
    let bed = Bed::with(|settings| settings.sdk_dir = sdks.path().to_owned()).await;
    let code =
        "n = 0\ndef handler(event, context):\n    global n\n    n += 1\n    print('count', n)\n    import boto3\n";
    let function = bed.function("python3.13", "app.handler", &[("app.py", code)]).await;
    for _ in 0..2 {
        assert_eq!(bed.invoke(&function, "{}").await.failed, Some("Unhandled"));
    }
    assert!(bed.log().contains("count 2\n"), "{}", bed.log());
    assert_eq!(bed.log().matches("AWS ships boto3").count(), 2, "once an error");
    fs::create_dir(sdks.path().join("python3.13")).unwrap();
    for _ in 0..2 {
        bed.invoke(&function, "{}").await;
    }
    assert_eq!((bed.log().matches("count 1\n").count(), bed.log().contains("count 4\n")), (2, false));
}
