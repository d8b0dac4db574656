//! What is prepared of versions' code: that what is bad does no lasting harm, and that nobody's reaches anybody else.

use std::collections::HashSet;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use base::ports::FunctionSpec;
use base::{Secret, Uuid};
use serde_json::{Value, json};

use crate::bed::{Bed, call, futures};

/// The files of what was prepared.
fn prepared(bed: &Bed) -> Vec<PathBuf> {
    let boots = fs::read_dir(bed._dir.path().join("cache/code")).unwrap().flatten();
    let trees = boots.flat_map(|boot| fs::read_dir(boot.path().join("trees")).unwrap().flatten());
    let ours = trees.filter(|tree| tree.file_name().to_string_lossy().starts_with("p-"));
    ours.map(|tree| tree.path().join("code")).collect()
}

async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    for _ in 0..2_000 {
        if is_so() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("gave up waiting: {what}");
}

/// So many at once, each in an instance of its own: handlers take a while.
async fn many(bed: &Bed, function: &FunctionSpec, tenant: Option<&str>, count: usize) -> Vec<Value> {
    let asked = (0..count).map(|_| {
        let mut call = call("{}");
        call.tenant_id = tenant.map(str::to_owned);
        bed.call(function, call)
    });
    let mut answers = Vec::new();
    for answer in futures(asked).await {
        let answer = answer.unwrap();
        assert_eq!(answer.failed, None, "{answer:?}");
        answers.push(serde_json::from_str(&answer.body).unwrap());
    }
    answers
}

/// The same, more and more, until there is one that was shown what was prepared.
async fn until_shown(bed: &Bed, function: &FunctionSpec, tenant: Option<&str>) -> Vec<Value> {
    for count in 2..10 {
        let found = many(bed, function, tenant, count).await;
        if found.iter().any(|value| value[1] == true) {
            return found;
        }
    }
    panic!("no instance is shown what was prepared");
}

/// No template is made of it, so each instance loads it.
const DRAWS: &str = "
import os, time, other
own = os.urandom(8).hex()
def handler(event, context):
    time.sleep(0.2)
    return [other.NAME, os.path.exists('/var/rapid/code'), own]
";

#[tokio::test]
async fn a_release_that_does_not_load_with_it_does_without() {
    let bed = Bed::new().await;
    let files = [("app.py", DRAWS), ("other.py", "NAME = 'right'")];
    let mut function = bed.function("python3.13", "app.handler", &files).await;
    function.timeout = Duration::from_secs(30);
    bed.invoke(&function, "{}").await;
    until("it is prepared", || prepared(&bed).len() == 1).await;

    // As a disk may leave it: modules become nothing.
    let path = prepared(&bed).remove(0);
    let mut bytes = fs::read(&path).unwrap();
    let head = 8 + usize::try_from(u64::from_le_bytes(bytes[..8].try_into().unwrap())).unwrap();
    bytes[head..].fill(b'N');
    fs::write(&path, bytes).unwrap();

    // The caller gets an answer, from an instance that was shown it; the next ones are not.
    let found = until_shown(&bed, &function, None).await;
    assert!(found.iter().all(|value| value[0] == "right"), "{found:?}");
    assert!(bed.log().contains("INIT_REPORT"), "it failed once: {}", bed.log());
    let found = many(&bed, &function, None, found.len() + 2).await;
    let instances: HashSet<&str> = found.iter().map(|value| value[2].as_str().unwrap()).collect();
    assert_eq!(instances.len(), found.len(), "{found:?}");
    assert_eq!(found.iter().filter(|value| value[1] == true).count(), 1, "{found:?}");
    assert!(found.iter().all(|value| value[0] == "right"), "{found:?}");

    // Another release of the same code has it made again.
    function.release = Uuid::from_bytes([7; 16]);
    bed.invoke(&function, "{}").await;
    until("it is prepared again", || prepared(&bed).iter().any(|other| *other != path)).await;
    let found = until_shown(&bed, &function, None).await;
    assert!(found.iter().all(|value| value[0] == "right"), "{found:?}");
}

/// Hands over, in place of a module's compiled code, that of another text as long: V8 cannot tell them apart.
const POISONS: &str = "
const fs = require('fs'), vm = require('vm');
exports.handler = async (event) => {
  if (event.evil) {
    const Script = vm.Script;
    vm.Script = function (text, options) { return new Script(text.replace(\"'good'\", \"'evil'\"), options); };
  }
  const other = require('./other');
  await new Promise((done) => setTimeout(done, 200));
  return [other, fs.existsSync('/var/rapid/code')];
};
";

#[tokio::test]
async fn what_a_function_hands_over_is_run_by_nobody_else() {
    let bed = Bed::new().await;
    let files = [("app.js", POISONS), ("other.js", "module.exports = 'good';\n")];
    let mut function = bed.function("nodejs22.x", "app.handler", &files).await;
    function.timeout = Duration::from_secs(30);

    let mut evil = call(r#"{"evil": true}"#);
    evil.tenant_id = Some("one".to_owned());
    assert_eq!(bed.call(&function, evil).await.unwrap().body, r#"["evil",false]"#);
    until("it hands over", || prepared(&bed).len() == 1).await;
    // It harms itself: the attack is a real one, and what was handed over is what runs.
    let found = until_shown(&bed, &function, Some("one")).await;
    assert!(found.contains(&json!(["evil", true])), "{found:?}");

    // Everybody else has the same code and the same interpreter, and has their own made.
    let mut count = 1;
    for (account, release, name, tenant) in [
        (0, function.release, "probe", Some("two")),
        (0, function.release, "probe", None),
        (0, Uuid::from_bytes([1; 16]), "probe", Some("one")),
        (0, Uuid::from_bytes([2; 16]), "other", Some("one")),
        (1, function.release, "probe", Some("one")),
    ] {
        let mut other = function.clone();
        other.account = format!("{account:012}").parse().unwrap();
        (other.release, other.name) = (release, name.to_owned());
        // Before there is anything of their own, and with it.
        assert!(many(&bed, &other, tenant, 1).await.iter().all(|value| *value == json!(["good", false])));
        count += 1;
        until("it hands over too", || prepared(&bed).len() == count).await;
        let found = until_shown(&bed, &other, tenant).await;
        assert!(found.iter().all(|value| value[0] == "good"), "{found:?}");
    }
    // What is compiled without the function's help is told apart by account too.
    let files = [("app.py", DRAWS), ("other.py", "NAME = 'right'")];
    let mut function = bed.function("python3.13", "app.handler", &files).await;
    for account in [0, 1] {
        function.account = format!("{account:012}").parse().unwrap();
        function.environment = Secret::new([("ACCOUNT".to_owned(), account.to_string())].into());
        function.release = Uuid::from_bytes([account + 10; 16]);
        bed.invoke(&function, "{}").await;
        count += 1;
        until("it is compiled", || prepared(&bed).len() == count).await;
    }
}

#[tokio::test]
async fn without_what_is_made_ahead_nothing_is_prepared() {
    let bed = Bed::with(|settings| settings.parked_per_kind = 0).await;
    let python = bed.function("python3.13", "app.handler", &[("app.py", DRAWS), ("other.py", "NAME = 'right'")]).await;
    let files = [("app.js", POISONS), ("other.js", "module.exports = 'good';\n")];
    let node = bed.function("nodejs22.x", "app.handler", &files).await;
    for function in [python, node] {
        for _ in 0..2 {
            assert!(many(&bed, &function, None, 2).await.iter().all(|value| value[1] == false));
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
    }
    assert_eq!(prepared(&bed), Vec::<PathBuf>::new());
}

/// Whether an archive that was made here is in its machine's memory.
const MAPS: &str = "
import java.nio.file.*;
import java.util.*;
public class App {
    public Object handle(Map<String, Object> event) throws Exception {
        Thread.sleep(200);
        boolean isMapped = Files.readString(Paths.get(\"/proc/self/maps\")).contains(\"/var/rapid/code\");
        return List.of(System.getProperty(\"java.version\"), isMapped, String.valueOf(System.getenv(\"OWN\")));
    }
}";

#[tokio::test]
async fn java_s_machines_begin_with_an_archive_of_our_classes() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("App.java"), MAPS).unwrap();
    let mut javac = std::process::Command::new("javac");
    assert!(javac.args(["--release", "11", "App.java"]).current_dir(folder.path()).status().unwrap().success());
    let class = fs::read(folder.path().join("App.class")).unwrap();
    let bed = Bed::new().await;
    let mut count = 0;
    for runtime in ["java17", "java25"] {
        let mut function = bed.function(runtime, "App::handle", &[("App.class", &class)]).await;
        (function.memory_mb, function.timeout) = (512, Duration::from_secs(30));
        let first: Value = serde_json::from_str(&bed.invoke(&function, "{}").await.body).unwrap();
        if first[1] == true {
            // One interpreter runs both.
            continue;
        }
        count += 1;
        until("an archive is made", || prepared(&bed).len() == count).await;
        // Whoever else runs on it has it too, with as little memory as there may be and as much.
        for (release, memory_mb) in [(1, 128), (2, 512), (3, 10_240)] {
            function.memory_mb = memory_mb;
            function.release = Uuid::from_bytes([release; 16]);
            let found = until_shown(&bed, &function, None).await;
            assert!(found.iter().all(|value| value[0] == first[0]), "{found:?}");
        }
        // So has every machine that waits, once those are gone that were made before there was one.
        until("machines that wait have it", || {
            let waiting = crate::parked::processes(&bed, false);
            let has_archive = |pid: &i32| {
                let command = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
                command.contains("/var/rapid/code")
            };
            !waiting.is_empty() && waiting.iter().all(has_archive)
        })
        .await;
        // A function's own switches may not go with it.
        function.environment = Secret::new([("JAVA_TOOL_OPTIONS".to_owned(), "-Xshare:off".to_owned())].into());
        function.release = Uuid::from_bytes([4; 16]);
        assert!(many(&bed, &function, None, 2).await.iter().all(|value| value[1] == false));
    }
    assert!(count > 0);
    assert!(!bed.log().contains("[warning]"), "{}", bed.log());
    assert!(!bed.log().contains("INIT_REPORT"), "{}", bed.log());
}

#[tokio::test]
async fn who_does_not_hand_over_keeps_nobody_waiting_for_long() {
    let bed = Bed::new().await;
    let stuck =
        "require('vm').Script.prototype.createCachedData = () => { for (;;); };\nexports.handler = async () => 1;";
    let honest = "exports.handler = async () => 1;";
    let mut functions = Vec::new();
    for (number, code) in [stuck, stuck, honest].iter().enumerate() {
        let mut function = bed.function("nodejs22.x", "app.handler", &[("app.js", code)]).await;
        (function.name, function.timeout) = (format!("f-{number}"), Duration::from_secs(30));
        assert_eq!(bed.invoke(&function, "{}").await.body, "1");
        functions.push(function);
        // It is idle, and asked.
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    assert_eq!(prepared(&bed), Vec::<PathBuf>::new(), "others are asked, and it is not");
    for _ in 0..100 {
        assert_eq!(bed.invoke(&functions[2], "{}").await.body, "1");
        tokio::time::sleep(Duration::from_millis(100)).await;
        if !prepared(&bed).is_empty() {
            return;
        }
    }
    panic!("it is never asked");
}
