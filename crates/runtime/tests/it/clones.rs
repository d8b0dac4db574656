//! A hundred instances at once that begin where one template was: each is as others are, and knows of nobody else.

use std::collections::HashSet;
use std::fs;
use std::time::Duration;

use base::ports::FunctionSpec;
use base::{Chance, Secret, SystemChance, hex};
use serde_json::{Value, json};

use crate::bed::{Answer, Bed, call, futures};

/// Processes of the version that has this code, those that wait for a call among them.
fn processes(bed: &Bed, function: &FunctionSpec) -> HashSet<i32> {
    let dir = bed._dir.path().file_name().unwrap().to_string_lossy().into_owned();
    let tree = format!("z-{}", hex::encode(&function.code.hash));
    let is_one = |pid: &i32| {
        let mounts = fs::read_to_string(format!("/proc/{pid}/mountinfo")).unwrap_or_default();
        let command = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let has_code = mounts.lines().any(|line| line.contains(&tree) && line.contains(" /var/task "));
        has_code && mounts.contains(&dir) && command.contains("/var/runtime/bootstrap")
    };
    let entries = fs::read_dir("/proc").unwrap().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).filter(is_one).collect()
}

async fn until(what: &str, patience: Duration, mut is_so: impl FnMut() -> bool) {
    let began = std::time::Instant::now();
    while !is_so() {
        assert!(began.elapsed() < patience, "gave up waiting: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// All that are there once there are so many, clones that wait among them.
async fn until_cloned(bed: &Bed, function: &FunctionSpec, event: &Value, count: usize) -> HashSet<i32> {
    value(bed.invoke(function, &event.to_string()).await);
    until("clones wait", Duration::from_secs(60), || processes(bed, function).len() >= count).await;
    processes(bed, function)
}

fn value(answer: Answer) -> Value {
    assert_eq!(answer.failed, None, "{answer:?}");
    serde_json::from_str(&answer.body).unwrap()
}

/// As many at once, each in an instance of its own, since each takes a while.
async fn at_once(bed: &Bed, function: &FunctionSpec, events: &[Value]) -> Vec<Value> {
    let answers = futures(events.iter().map(|event| bed.call(function, call(&event.to_string())))).await;
    answers.into_iter().map(|answer| value(answer.unwrap())).collect()
}

async fn function(bed: &Bed, name: &str, code: &str) -> FunctionSpec {
    let mut function = bed.function("python3.13", "app.handler", &[("app.py", code)]).await;
    function.name = name.to_owned();
    function.timeout = Duration::from_secs(60);
    function
}

/// A hundred at full length.
fn count() -> usize {
    if std::env::var_os("LAMP_TORTURE").is_some() { 100 } else { 24 }
}

/// All but the seed of `hash`, which clones of one template have in common (`docs/runtimes.md`): dictionaries hang on it.
const DRAWS: &str = "
    {'urandom': os.urandom(16).hex(), 'uuid1': str(uuid.uuid1()), 'uuid4': str(uuid.uuid4()), 'secrets': secrets.token_hex(16),
     'random': random.random(), 'bits': random.getrandbits(64), 'system': random.SystemRandom().random(),
     'shuffled': random.sample(range(1000), 8), 'own': random.Random().random(), 'tls': ssl.RAND_bytes(16).hex(),
     'temporary': tempfile.mktemp()}";

fn drawing(at_import: bool) -> String {
    let (import, handler) =
        if at_import { (format!("drawn = {}", DRAWS.trim()), "drawn") } else { (String::new(), DRAWS.trim()) };
    format!(
        "
import os, random, secrets, ssl, tempfile, time, uuid
{import}
count = 0
def handler(event, context):
    global count
    count += 1
    time.sleep(event.get('for', 0))
    return dict({handler}, count=count, stream=context.log_stream_name, place=id(os))
"
    )
}

fn are_distinct(found: &[Value]) {
    let drawn = found[0].as_object().unwrap().keys().filter(|name| !matches!(name.as_str(), "count" | "place"));
    for name in drawn {
        let values: HashSet<String> = found.iter().map(|value| value[name].to_string()).collect();
        assert_eq!(values.len(), found.len(), "{name}: {found:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_clones_draw_what_nobody_else_draws() {
    let count = count();
    let choose = |settings: &mut runtime::Settings| {
        settings.parked_per_kind = u32::try_from(count).unwrap();
        settings.parked_max = settings.parked_per_kind * 3;
    };
    let bed = Bed::with(choose).await;
    let function = function(&bed, "draws", &drawing(false)).await;
    until_cloned(&bed, &function, &json!({}), count + 1).await;
    // Long enough that nobody is done before the last has begun.
    let seconds = 4 + count / 10;
    let began = std::time::Instant::now();
    let found = at_once(&bed, &function, &vec![json!({"for": seconds}); count]).await;
    println!("{count} at once, of {seconds} s each, took {:?}", began.elapsed());
    assert!(found.iter().filter(|value| value["count"] == 1).count() >= count - 1, "each has an instance: {found:?}");
    // What begins elsewhere has another layout.
    let place = |value: &Value| value["place"].to_string();
    let alike = |one: &Value| found.iter().filter(|other| place(other) == place(one)).count();
    let clones = found.iter().map(alike).max();
    assert!(clones >= Some(count - 1), "clones are used: {clones:?}");
    are_distinct(&found);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_drawn_at_import_is_drawn_by_each() {
    let bed = Bed::new().await;
    let function = function(&bed, "draws", &drawing(true)).await;
    value(bed.invoke(&function, "{}").await);
    let found = at_once(&bed, &function, &vec![json!({"for": 4}); count() / 2]).await;
    are_distinct(&found);
}

/// Finds every mark in what a program can read: memory, environment, descriptors, files.
const LOOKS: &str = "
import os, re, time
OWN = 'MARK-@@@'
kept = []
def marks(data):
    return {found.decode() for found in re.findall(rb'MARK-[0-9a-f]{32}', data)}
def handler(event, context):
    kept.append(event)
    found, files, size = set(), [], 0
    with open('/proc/self/maps') as maps, open('/proc/self/mem', 'rb', 0) as memory:
        for line in maps:
            area, rights, *_ = line.split()
            if rights[0] != 'r' or '[v' in line:
                continue
            start, end = (int(part, 16) for part in area.split('-'))
            try:
                memory.seek(start)
                data = memory.read(end - start)
            except OSError:
                continue
            size += len(data)
            found |= marks(data)
            del data
    for folder in ('/tmp', '/var/task', '/opt', '/dev/shm', '/var/rapid'):
        for place, _, names in os.walk(folder):
            for name in names:
                files.append(os.path.join(place, name))
                with open(files[-1], 'rb') as file:
                    found |= marks(file.read())
    found |= marks(repr(sorted(os.environ.items())).encode())
    links = []
    for fd in os.listdir('/proc/self/fd'):
        try:
            links.append(re.sub('[0-9]+', '', os.readlink('/proc/self/fd/' + fd)))
        except OSError:
            pass
    with open('/tmp/own', 'w') as file:
        file.write(event['mark'])
    time.sleep(event.get('for', 0))
    return {'found': sorted(found), 'size': size, 'tmp': [name for name in files if name.startswith('/tmp')], 'links': sorted(links),
        'programs': sorted(pid for pid in os.listdir('/proc') if pid.isdigit()), 'calls': len(kept)}
";

fn mark() -> String {
    let chance = SystemChance::default();
    format!("MARK-{}", hex::encode(chance.uuid().as_bytes()))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clone_finds_nothing_of_another_instance_function_or_account() {
    let bed = Bed::with(|settings| settings.parked_per_kind = 6).await;
    let mut all: Vec<(FunctionSpec, [String; 2])> = Vec::new();
    for (number, account) in [0, 0, 1].iter().enumerate() {
        let own = [mark(), mark()];
        let mut function = function(&bed, &format!("looks-{number}"), &LOOKS.replace("MARK-@@@", &own[0])).await;
        function.account = format!("{account:012}").parse().unwrap();
        function.environment = Secret::new([("OWN".to_owned(), own[1].clone())].into());
        all.push((function, own));
    }
    for (function, own) in &all {
        // The first clone that answers teaches its template what clones write: not what it wrote.
        for wave in 0..2 {
            // All that are idle answer, and three more.
            let count = 4 * (wave + 1);
            let waiting = until_cloned(&bed, function, &json!({"mark": mark()}), count).await;
            let events: Vec<Value> = (0..count).map(|_| json!({"mark": mark(), "for": 2})).collect();
            let found = at_once(&bed, function, &events).await;
            let after = processes(&bed, function);
            assert!(waiting.intersection(&after).count() >= count, "clones are used");
            for (value, event) in found.iter().zip(&events) {
                let calls = value["calls"].as_u64().unwrap();
                assert!(value["size"].as_u64().unwrap() > 4_000_000, "memory is read: {value}");
                let seen: HashSet<&str> =
                    value["found"].as_array().unwrap().iter().map(|mark| mark.as_str().unwrap()).collect();
                assert!(own.iter().all(|mark| seen.contains(mark.as_str())), "the search is a dead one: {value}");
                assert!(seen.contains(event["mark"].as_str().unwrap()), "the search is a dead one: {value}");
                if calls == 1 {
                    assert_eq!(seen.len(), 3, "wave {wave}: {value}, {own:?}, {event}");
                    assert_eq!(value["tmp"], json!([]), "{value}");
                }
                assert_eq!(value["links"], found[0]["links"], "{value}");
                assert_eq!(value["programs"].as_array().unwrap().len(), 1, "{value}");
            }
            assert!(found.iter().filter(|value| value["calls"] == 1).count() >= 3, "{found:?}");
        }
    }
}

/// An import that takes forty megabytes.
const LARGE: &str = "
import time
held = bytes(range(256)) * 160000
number = @@@
def handler(event, context):
    time.sleep(event.get('for', 0))
    return [number, len(held)]
";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_wanted_least_goes_when_images_are_too_large() {
    // Two, and not three.
    let bed = Bed::with(|settings| settings.image_bytes_max = 130_000_000).await;
    let mut all = Vec::new();
    for number in 0..3 {
        let function = function(&bed, &format!("large-{number}"), &LARGE.replace("@@@", &number.to_string())).await;
        // One is the template itself, before it is one.
        until_cloned(&bed, &function, &json!({}), 3).await;
        all.push(function);
        if number == 1 {
            // The first is wanted again, so that the second is the one that was wanted longest ago.
            let found = at_once(&bed, &all[0], &vec![json!({"for": 0.5}); 2]).await;
            assert_eq!(found, vec![json!([0, 40_960_000]); 2]);
        }
    }
    until("its clones are gone", Duration::from_secs(20), || processes(&bed, &all[1]).len() == 1).await;
    for (number, function) in all.iter().enumerate() {
        // With clones or without, nobody can tell.
        let found = at_once(&bed, function, &vec![json!({"for": 0.5}); 3]).await;
        assert_eq!(found, vec![json!([number, 40_960_000]); 3]);
    }
    until("the first has clones", Duration::from_secs(20), || processes(&bed, &all[0]).len() > 3).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_template_of_a_release_goes_with_it() {
    let bed = Bed::new().await;
    let mut function = function(&bed, "probe", &LARGE.replace("@@@", "0")).await;
    let before = processes(&bed, &function);
    assert!(before.is_empty());
    for release in 0..4 {
        function.release = base::Uuid::from_bytes([release; 16]);
        let before = processes(&bed, &function);
        value(bed.invoke(&function, "{}").await);
        // An instance and two clones.
        let is_made = || processes(&bed, &function).difference(&before).count() >= 3;
        until("clones wait", Duration::from_secs(60), is_made).await;
    }
    // Clones of before are gone, and so are their keys: a template's for the last release alone.
    until("its clones are gone", Duration::from_secs(20), || processes(&bed, &function).len() <= 4 + 2).await;
    until("keys are given back", Duration::from_secs(20), || *bed.seen.keys_out.lock() <= 4 + 1).await;
}
