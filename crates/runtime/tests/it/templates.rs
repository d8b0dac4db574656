//! Instances that begin where a template of their version was: that they are used, and that no function can tell.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use base::ports::{Deleted, FunctionSpec, Invoke};
use base::{Chance, Secret, SystemChance};
use serde_json::Value;

use crate::bed::{Bed, futures};

/// The processes of this bed that have a function's code before them.
fn processes(bed: &Bed) -> Vec<i32> {
    let dir = bed._dir.path().file_name().unwrap().to_string_lossy().into_owned();
    let is_one = |pid: &i32| {
        let mounts = fs::read_to_string(format!("/proc/{pid}/mountinfo")).unwrap_or_default();
        let command = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        mounts.contains(&dir) && command.contains("/var/runtime/bootstrap") && mounts.contains("/var/task ")
    };
    let entries = fs::read_dir("/proc").unwrap().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).filter(is_one).collect()
}

/// As many invocations at once as it takes to have so many instances.
async fn answers(bed: &Bed, function: &FunctionSpec, count: usize) -> Vec<Value> {
    let all = (0..count).map(|_| bed.invoke(function, "{}"));
    let mut answers = Vec::new();
    for answer in futures(all).await {
        assert_eq!(answer.failed, None, "{answer:?}");
        answers.push(serde_json::from_str(&answer.body).unwrap());
    }
    answers
}

/// Has a first instance, and waits for clones beside it: all these processes.
async fn until_cloned(bed: &Bed, function: &FunctionSpec, clones: usize) -> Vec<i32> {
    let before = processes(bed);
    let first = bed.invoke(function, "{}").await;
    assert_eq!(first.failed, None, "{first:?}");
    let began = std::time::Instant::now();
    loop {
        let mut found = processes(bed);
        found.retain(|pid| !before.contains(pid));
        if found.len() > clones {
            return found;
        }
        assert!(began.elapsed() < Duration::from_secs(20), "no clones: {found:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn distinct(values: &[Value], name: &str) -> usize {
    values.iter().map(|value| value[name].to_string()).collect::<HashSet<_>>().len()
}

const HARMLESS: &str = "
import os, random, secrets, ssl, time, uuid
print('imported')
loaded = []
key = os.environ['AWS_ACCESS_KEY_ID']
random.seed
def handler(event, context):
    loaded.append(1)
    time.sleep(0.3)
    return {'pid': os.getpid(), 'stream': context.log_stream_name, 'env': os.environ['AWS_LAMBDA_LOG_STREAM_NAME'],
        'uuid': str(uuid.uuid4()), 'random': random.random(), 'secret': secrets.token_hex(8), 'urandom': os.urandom(8).hex(),
        'tls': ssl.RAND_bytes(16).hex(), 'count': len(loaded), 'key': key == os.environ['AWS_ACCESS_KEY_ID'],
        'files': sorted(os.listdir('/proc/self/fd')), 'type': os.environ['AWS_LAMBDA_INITIALIZATION_TYPE']}
";

#[tokio::test]
async fn clones_of_a_harmless_import_are_instances_like_others() {
    let bed = Bed::new().await;
    let mut function = bed.function("python3.13", "app.handler", &[("app.py", HARMLESS)]).await;
    function.timeout = Duration::from_secs(30);
    let before = until_cloned(&bed, &function, 2).await;
    let found = answers(&bed, &function, 3).await;
    let after = processes(&bed);
    assert!(before.iter().all(|pid| after.contains(pid)), "clones are used: {before:?} {after:?}");
    for name in ["stream", "uuid", "random", "secret", "urandom", "tls"] {
        assert_eq!(distinct(&found, name), found.len(), "{name}: {found:?}");
    }
    for name in ["files", "type", "key"] {
        assert_eq!(distinct(&found, name), 1, "{name}: {found:?}");
    }
    for value in &found {
        assert_eq!(value["stream"], value["env"]);
    }
    // What the import printed is in each log, before its first invocation, and nowhere else.
    let log = bed.seen.log.lock().clone();
    let streams: HashSet<&str> = found.iter().map(|value| value["stream"].as_str().unwrap()).collect();
    for stream in &streams {
        let lines: Vec<&str> = log.iter().filter(|(name, _)| name == stream).map(|(_, line)| line.trim_end()).collect();
        assert!(lines[0].starts_with("INIT_START"), "{lines:?}");
        assert_eq!(lines[1], "imported", "{lines:?}");
        assert!(lines[2].starts_with("START RequestId"), "{lines:?}");
        assert!(lines.iter().any(|line| line.contains("Init Duration")), "{lines:?}");
    }
    assert!(log.iter().all(|(name, _)| streams.contains(name.as_str())), "{log:?}");
}

/// What a program can find out at import and that is another for each instance stays so.
#[tokio::test]
async fn an_import_that_draws_is_never_copied() {
    let bed = Bed::new().await;
    for (number, own) in [
        "import uuid; own = str(uuid.uuid4())",
        "import random; own = random.random()",
        "import os; own = os.urandom(8).hex()",
        "import time; own = time.time_ns()",
        "import os; own = os.environ['AWS_LAMBDA_LOG_STREAM_NAME']",
    ]
    .iter()
    .enumerate()
    {
        let code = format!("{own}\nimport time\ndef handler(*_):\n    time.sleep(0.2)\n    return {{'own': own}}");
        let mut function = bed.function("python3.13", "app.handler", &[("app.py", &code)]).await;
        function.name = format!("own-{number}");
        function.timeout = Duration::from_secs(30);
        bed.invoke(&function, "{}").await;
        // Templates are made one after the other: once this one's clones are there, no others will be.
        let code = format!("number = {number}\ndef handler(*_): pass");
        let harmless = bed.function("python3.13", "app.handler", &[("app.py", &code)]).await;
        until_cloned(&bed, &harmless, 2).await;
        let found = answers(&bed, &function, 8).await;
        assert_eq!(distinct(&found, "own"), 8, "{own}: {found:?}");
    }
}

#[tokio::test]
async fn no_two_functions_and_no_two_releases_share_anything() {
    let bed = Bed::new().await;
    let code = "import os, sys\nsecret = os.environ['SECRET']\ndef handler(*_):\n    import time; time.sleep(0.1)\n    return {'secret': secret, 'now': os.environ['SECRET']}";
    let mut function = bed.function("python3.13", "app.handler", &[("app.py", code)]).await;
    for secret in ["one", "two"] {
        function.release = SystemChance::default().uuid();
        function.environment = Secret::new([("SECRET".to_owned(), secret.to_owned())].into());
        until_cloned(&bed, &function, 2).await;
        for value in answers(&bed, &function, 4).await {
            assert_eq!((&value["secret"], &value["now"]), (&secret.into(), &secret.into()));
        }
    }
    bed.runtime.drain().await;
    let gone = async {
        while *bed.seen.keys_out.lock() > 0 || !processes(&bed).is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), gone).await.unwrap();
}

#[tokio::test]
async fn without_parked_rooms_there_are_no_templates() {
    let bed = Bed::with(|settings| settings.parked_per_kind = 0).await;
    let function = bed.function("python3.13", "app.handler", &[("app.py", HARMLESS)]).await;
    bed.invoke(&function, "{}").await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(processes(&bed).len(), 1);
}

/// Loads for so long that a copy is always quicker. Where it has loaded its function a program keeps the address of an object,
/// which all copies of it have in common and no two others.
const HEAVY: &str = "
import time
for number in range(8_000_000): pass
loaded = []
def handler(*_):
    time.sleep(3)
    return {'at': id(loaded)}
";

#[tokio::test]
async fn a_start_that_finds_no_clone_makes_its_own() {
    let bed = Bed::new().await;
    let mut function = bed.function("python3.13", "app.handler", &[("app.py", HEAVY)]).await;
    function.timeout = Duration::from_secs(30);
    until_cloned(&bed, &function, 2).await;
    bed.seen.log.lock().clear();
    let found = answers(&bed, &function, 8).await;
    assert!(distinct(&found, "at") <= 2, "the first one's, and its copies': {found:?}");
    // Some milliseconds to begin as a copy, and not what loading takes.
    let log = bed.log();
    let inits = log.split("Init Duration: ").skip(1).filter_map(|rest| rest.split(' ').next()?.parse::<f64>().ok());
    let inits: Vec<f64> = inits.collect();
    assert_eq!(inits.len(), 7, "{log}");
    assert!(inits.iter().filter(|init| **init > 1.0).count() >= 4, "who waited for a copy is told so: {inits:?}");
}

/// A file that its program keeps open is another one when a copy is to begin with it.
#[tokio::test]
async fn a_start_that_cannot_begin_as_a_copy_loads_the_function() {
    let bed = Bed::new().await;
    let code = format!("data = open('/var/task/data.txt'){HEAVY}");
    let files = [("app.py", code.as_str()), ("data.txt", "1")];
    let mut function = bed.function("python3.13", "app.handler", &files).await;
    (function.version, function.is_snap_start) = ("1".into(), true);
    function.timeout = Duration::from_secs(30);
    bed.runtime.snapshot(Arc::new(function.clone())).await.unwrap();
    until_cloned(&bed, &function, 2).await;
    assert_eq!(distinct(&answers(&bed, &function, 5).await, "at"), 1, "all are copies");
    let function = FunctionSpec { release: SystemChance::default().uuid(), version: "2".into(), ..function };
    bed.runtime.snapshot(Arc::new(function.clone())).await.unwrap();
    until_cloned(&bed, &function, 2).await;
    let place = find(&bed._dir.path().join("cache"), "data.txt").unwrap();
    let copy = place.with_extension("copy");
    fs::copy(&place, &copy).unwrap();
    fs::rename(&copy, &place).unwrap();
    let found = answers(&bed, &function, 6).await;
    assert!(distinct(&found, "at") >= 4, "all but those that were copies are answered, too: {found:?}");
}

#[tokio::test]
async fn templates_go_with_their_function_and_their_version() {
    let bed = Bed::new().await;
    let mut function = bed.function("python3.13", "app.handler", &[("app.py", HARMLESS)]).await;
    function.timeout = Duration::from_secs(30);
    let versions = ["1", "2", "$LATEST"].map(|version| FunctionSpec {
        version: version.into(),
        release: SystemChance::default().uuid(),
        ..function.clone()
    });
    for version in &versions {
        until_cloned(&bed, version, 2).await;
    }
    let deleted = |name: &str, version: Option<&str>| Deleted {
        world: function.world,
        account: function.account,
        region: function.region.clone(),
        function: name.to_owned(),
        version: version.map(str::to_owned),
    };
    let keys = |count| {
        let bed = &bed;
        async move {
            let gone = async {
                while *bed.seen.keys_out.lock() != count {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            };
            tokio::time::timeout(Duration::from_secs(10), gone).await.expect("keys are given back");
        }
    };
    // Of each version an instance, which has a key, and a template, which has one.
    keys(6).await;
    bed.runtime.forget(deleted("another", None));
    bed.runtime.forget(deleted("probe", Some("3")));
    bed.runtime.forget(deleted("probe", Some("1")));
    keys(5).await;
    bed.runtime.forget(deleted("probe", None));
    keys(3).await;
    let left = async {
        while processes(&bed).len() > 3 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), left).await.expect("clones that wait go");
}

/// The file of this name, anywhere below.
fn find(folder: &Path, name: &str) -> Option<PathBuf> {
    fs::read_dir(folder).ok()?.flatten().find_map(|entry| match entry.file_type() {
        Ok(kind) if kind.is_dir() => find(&entry.path(), name),
        _ => (entry.file_name() == name).then(|| entry.path()),
    })
}
