//! Instances that begin with the image of a runtime that waited: whose they are, and that no function can tell.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::time::{Duration, Instant};

use base::ports::FunctionSpec;
use base::{Chance, Secret, SystemChance};
use serde_json::Value;

use crate::bed::{Bed, call, futures};
use crate::parked::{EVENT, PYTHON};

/// Has no template. Where the interpreter has put `os`, and its seed of hashes, copies of one image have in common and nobody else.
const DRAWS: &str = "
import time
began = time.time_ns()
import logging, os, random, secrets, ssl, tempfile, threading, uuid
def handler(event, context):
    time.sleep(3)
    age = time.time() - logging._startTime / (1e9 if type(logging._startTime) is int else 1)
    return {'place': id(os), 'hash': hash('seed'), 'uuid': str(uuid.uuid4()), 'random': random.random(),
        'own': random.Random().random(), 'secret': secrets.token_hex(8), 'urandom': os.urandom(8).hex(),
        'tls': ssl.RAND_bytes(16).hex(), 'temporary': tempfile.mktemp(), 'age': age, 'began': began,
        'process': os.getpid() == int(os.readlink('/proc/self')),
        'thread': threading.main_thread().native_id == threading.get_native_id() == os.getpid(),
        'name': os.environ['AWS_LAMBDA_FUNCTION_NAME'], 'environment': os.environ.get('OWN')}
";

const AT_ONCE: usize = 8;

/// One that holds a single runtime ready, so that bursts find none.
async fn bed() -> Bed {
    Bed::with(|settings| (settings.parked_per_kind, settings.parked_max) = (1, 1)).await
}

/// So many at once, each in an instance of its own.
async fn at_once(bed: &Bed, function: &FunctionSpec, event: &str, tenant: Option<&str>) -> Vec<Value> {
    let function = FunctionSpec { release: SystemChance::default().uuid(), ..function.clone() };
    let tenant = tenant.map(str::to_owned);
    let calls = (0..AT_ONCE).map(|_| base::ports::Call { tenant_id: tenant.clone(), ..call(event) });
    let answers = futures(calls.map(|call| bed.call(&function, call))).await;
    let answers = answers.into_iter().map(|answer| {
        let answer = answer.unwrap();
        assert_eq!(answer.failed, None, "{answer:?}");
        serde_json::from_str(&answer.body).unwrap()
    });
    answers.collect()
}

fn places(values: &[Value]) -> HashSet<u64> {
    values.iter().map(|value| value["place"].as_u64().unwrap()).collect()
}

/// Those that most of a burst have in common, once they do.
async fn copies(bed: &Bed, function: &FunctionSpec, event: &str) -> Vec<Value> {
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(60) {
        let found = at_once(bed, function, event, None).await;
        let mut by_place: BTreeMap<u64, Vec<Value>> = BTreeMap::new();
        for value in found {
            by_place.entry(value["place"].as_u64().unwrap()).or_default().push(value);
        }
        let most = by_place.into_values().max_by_key(Vec::len).unwrap();
        // One was ready, and the first of all starts were there before the image.
        if most.len() >= AT_ONCE - 2 {
            return most;
        }
    }
    panic!("no burst begins with copies: {}", bed.log());
}

async fn function(bed: &Bed, name: &str, account: u32) -> FunctionSpec {
    let mut function = bed.function("python3.13", "app.handler", &[("app.py", DRAWS)]).await;
    function.name = name.to_owned();
    function.account = format!("{account:012}").parse().unwrap();
    function.environment = Secret::new([("OWN".to_owned(), name.to_owned())].into());
    function.timeout = Duration::from_secs(30);
    function
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_burst_begins_with_copies_of_its_own_account_s_runtime() {
    let bed = bed().await;
    let (one, other) = (function(&bed, "one", 0).await, function(&bed, "other", 0).await);
    let mut found = copies(&bed, &one, "{}").await;
    bed.seen.log.lock().clear();
    found.extend(copies(&bed, &other, "{}").await);
    assert_eq!(places(&found).len(), 1, "two functions, one image: {found:?}");
    let hashes: HashSet<String> = found.iter().map(|value| value["hash"].to_string()).collect();
    assert_eq!(hashes.len(), 1, "{found:?}");
    for name in ["uuid", "random", "own", "secret", "urandom", "tls", "temporary", "began"] {
        let drawn: HashSet<String> = found.iter().map(|value| value[name].to_string()).collect();
        assert_eq!(drawn.len(), found.len(), "{name}: {found:?}");
    }
    for value in &found {
        assert_eq!((&value["process"], &value["thread"]), (&true.into(), &true.into()), "{value}");
        assert_eq!(value["name"], value["environment"], "{value}");
        assert!(value["age"].as_f64().unwrap() < 10.0, "as old as the image: {value}");
    }
    // Some milliseconds to become a copy are among what each is told.
    let log = bed.log();
    let inits = log.split("Init Duration: ").skip(1).filter_map(|rest| rest.split(' ').next()?.parse::<f64>().ok());
    let inits: Vec<f64> = inits.collect();
    assert!(inits.len() >= AT_ONCE && inits.iter().all(|init| *init > 1.0), "{inits:?}");

    let theirs = places(&found);
    let stranger = function(&bed, "stranger", 1).await;
    let of_stranger = copies(&bed, &stranger, "{}").await;
    assert!(theirs.is_disjoint(&places(&of_stranger)), "{of_stranger:?}");
    assert!(of_stranger.iter().all(|value| !hashes.contains(&value["hash"].to_string())), "{of_stranger:?}");
    let elsewhere = FunctionSpec { region: "eu-west-1".parse().unwrap(), ..one.clone() };
    let another = FunctionSpec { runtime: "python3.12".into(), ..one.clone() };
    let seeded = [("OWN", "one"), ("PYTHONHASHSEED", "7")].map(|(name, value)| (name.to_owned(), value.to_owned()));
    let seeded = FunctionSpec { environment: Secret::new(seeded.into()), ..one.clone() };
    for (function, tenant) in [(&elsewhere, None), (&another, None), (&seeded, None), (&one, Some("tenant"))] {
        let found = at_once(&bed, function, "{}", tenant).await;
        assert!(theirs.is_disjoint(&places(&found)), "{} {tenant:?}: {found:?}", function.runtime);
    }
    assert_eq!(places(&copies(&bed, &one, "{}").await), theirs, "the same image as before");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_nothing_is_made_ahead_and_without_walls_each_starts_by_itself() {
    for bed in [Bed::with(|settings| settings.parked_per_kind = 0).await, Bed::bare().await] {
        let function = function(&bed, "one", 0).await;
        for _ in 0..2 {
            let found = at_once(&bed, &function, "{}", None).await;
            assert_eq!(places(&found).len(), AT_ONCE, "{found:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_function_in_a_copy_sees_what_it_sees_in_a_fresh_runtime() {
    let (bed, fresh) = (bed().await, Bed::with(|settings| settings.parked_per_kind = 0).await);
    let code = format!(
        "import time\nbegan = time.time_ns()\n{PYTHON}
plain = handler
def handler(event, context):
    time.sleep(3)
    return dict(plain(event, context), place=id(os))"
    );
    let mut function = fresh.function("python3.13", "app.handler", &[("app.py", &code)]).await;
    function.timeout = Duration::from_secs(30);
    let expected: Value = serde_json::from_str(&fresh.invoke(&function, EVENT).await.body).unwrap();
    function.code = bed.code(&[("app.py", &code)]).await;
    for found in copies(&bed, &function, EVENT).await {
        // Its number is another than that of whom it is a copy.
        assert_eq!(found["programs"].as_array().map(Vec::len), Some(1));
        let same =
            expected.as_object().unwrap().iter().filter(|(name, _)| !matches!(name.as_str(), "place" | "programs"));
        let different: Vec<_> = same.filter(|(name, value)| found[name.as_str()] != **value).collect();
        assert!(different.is_empty(), "{different:?}: {found}");
    }
}

/// What has such names of a folder, and all below.
fn copy(from: &Path, to: &Path, is_wanted: &dyn Fn(&str) -> bool) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().flatten() {
        let (kind, name) = (entry.file_type().unwrap(), entry.file_name().into_string().unwrap());
        let (from, to) = (entry.path(), to.join(&name));
        if !is_wanted(&name) || matches!(name.as_str(), "site-packages" | "test" | "__pycache__") {
            continue;
        }
        if kind.is_dir() {
            copy(&from, &to, &|_| true);
        } else if kind.is_symlink() {
            symlink(fs::read_link(&from).unwrap(), &to).unwrap();
        } else if fs::hard_link(&from, &to).is_err() {
            fs::copy(&from, &to).unwrap();
        }
    }
}

/// Puts another file with the same content in the place of each program and library.
fn replace_programs(folder: &Path) {
    for entry in fs::read_dir(folder).unwrap().flatten() {
        let (kind, path) = (entry.file_type().unwrap(), entry.path());
        let is_program = path.to_string_lossy().contains(".so") || folder.ends_with("bin");
        if kind.is_dir() {
            replace_programs(&path);
        } else if kind.is_file() && is_program {
            fs::copy(&path, path.with_extension("new")).unwrap();
            fs::rename(path.with_extension("new"), &path).unwrap();
        }
    }
}

/// The interpreter is replaced: what an image has mapped of it is not there any more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_that_cannot_begin_as_a_copy_starts_by_itself() {
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let (cache, sdks, own) = (dir.path().join("cache"), dir.path().join("sdks"), dir.path().join("own"));
    let offer = runtime::survey(&runtime::Settings::new(cache, sdks), &["python3.13"]).pop().unwrap();
    let runtime::Serving::By { interpreter, .. } = offer.serving else { panic!("{offer:?}") };
    // No more of a folder that others share, such as /usr.
    for part in ["bin", "lib"] {
        copy(&interpreter.prefix.join(part), &own.join(part), &|name| name.contains("python3"));
    }
    let bed = Bed::with(|settings| {
        (settings.parked_per_kind, settings.parked_max) = (1, 1);
        settings.interpreters.insert("python3.13".to_owned(), own.clone());
    });
    let bed = bed.await;
    let function = function(&bed, "one", 0).await;
    copies(&bed, &function, "{}").await;
    replace_programs(&own);
    for _ in 0..2 {
        let found = at_once(&bed, &function, "{}", None).await;
        assert_eq!(places(&found).len(), AT_ONCE, "{found:?}");
    }
}
