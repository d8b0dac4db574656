//! Rooms and runtimes that were made ahead: that they are used, and that no function can tell.

use std::fs;
use std::time::Duration;

use base::ports::FunctionSpec;
use base::{Secret, Uuid};
use serde_json::Value;

use crate::bed::Bed;

/// All that a program can learn of the process that it is in, but for what differs from instance to instance.
pub const PYTHON: &str = r#"
import os, resource, signal, sys, threading
def link(path):
    try:
        return os.readlink(path).split(':')[0]
    except FileNotFoundError:
        return 'the folder itself'
def handler(event, context):
    env = {name: value for name, value in os.environ.items() if name not in event['own']}
    limits = {name: resource.getrlimit(getattr(resource, name)) for name in dir(resource) if name.startswith('RLIMIT_')}
    mask = os.umask(0o022)
    status = dict(line.split(':', 1) for line in open('/proc/self/status'))
    return {
        'env': env, 'cwd': os.getcwd(), 'argv': sys.argv, 'path': sys.path, 'flags': repr(sys.flags), 'umask': mask,
        'limits': limits, 'ids': [os.getuid(), os.getgid(), os.getgroups()], 'session': os.getsid(0) == os.getpid(),
        'files': sorted(link('/proc/self/fd/' + fd) for fd in os.listdir('/proc/self/fd')),
        'status': {name: status[name] for name in ['CapPrm', 'CapBnd', 'NoNewPrivs', 'Seccomp', 'SigIgn', 'SigCgt', 'SigBlk', 'Threads']},
        'mounts': sorted(line.split()[4:6] for line in open('/proc/self/mountinfo') if '/var/rapid' not in line),
        'task': sorted(os.listdir('/var/task')), 'opt': sorted(os.listdir('/opt')), 'tmp': os.listdir('/tmp'),
        'programs': sorted(pid for pid in os.listdir('/proc') if pid.isdigit()), 'exe': sys.executable,
        'command': open('/proc/self/cmdline').read(), 'nice': os.nice(0), 'oom': open('/proc/self/oom_score_adj').read(),
        'threads': threading.active_count(), 'signals': [str(signal.getsignal(number)) for number in signal.valid_signals()],
    }
"#;

const NODE: &str = r#"
const fs = require('fs');
exports.handler = async (event) => {
  const env = { ...process.env };
  for (const name of event.own) delete env[name];
  return {
    env, cwd: process.cwd(), argv: process.argv, exec: process.execArgv, umask: process.umask(), paths: module.paths,
    global: require('module').globalPaths, heap: require('v8').getHeapStatistics().heap_size_limit, main: String(require.main),
    files: fs.readdirSync('/proc/self/fd').length, task: fs.readdirSync('/var/task'), zone: new Date(0).getTimezoneOffset(),
    globals: Object.getOwnPropertyNames(globalThis).sort(), cache: Object.keys(require.cache), title: process.title,
    command: fs.readFileSync('/proc/self/cmdline', 'latin1'), listeners: process.eventNames().map(String).sort(),
  };
};
"#;

const RUBY: &str = r#"
def handler(event:, context:)
  env = ENV.to_h.reject { |name, _| event['own'].include?(name) }
  { env: env, cwd: Dir.pwd, path: $LOAD_PATH, argv: ARGV, program: $0, gems: Gem.path, umask: File.umask,
    threads: Thread.list.size, task: Dir.children('/var/task'), encoding: Encoding.default_external.to_s,
    command: File.read('/proc/self/cmdline') }
end
"#;

/// The same of Java's machine, compiled.
fn java() -> Vec<u8> {
    const SOURCE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/Seen.java");
    let folder = tempfile::tempdir().unwrap();
    let mut javac = std::process::Command::new("javac");
    assert!(javac.args(["--release", "11", "-d"]).arg(folder.path()).arg(SOURCE).status().unwrap().success());
    fs::read(folder.path().join("Seen.class")).unwrap()
}

/// What of the environment is another for each instance.
pub const EVENT: &str = r#"{"own": ["AWS_LAMBDA_LOG_STREAM_NAME", "_X_AMZN_TRACE_ID", "AWS_ACCESS_KEY_ID"]}"#;

/// The processes of this bed that wait for a function, or also those that have one.
pub fn processes(bed: &Bed, has_function: bool) -> Vec<i32> {
    let dir = bed._dir.path().file_name().unwrap().to_string_lossy().into_owned();
    let is_one = |pid: &i32| {
        let mounts = fs::read_to_string(format!("/proc/{pid}/mountinfo")).unwrap_or_default();
        let command = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        mounts.contains(&dir)
            && command.contains("/var/runtime/bootstrap")
            && mounts.contains("/var/task ") == has_function
    };
    let entries = fs::read_dir("/proc").unwrap().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).filter(is_one).collect()
}

async fn until_parked(bed: &Bed, count: usize) {
    while processes(bed, false).len() < count {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// What a function answers in a runtime that was there before it. One that is there does not wait yet, perhaps.
async fn in_one_that_waited(bed: &Bed, function: &FunctionSpec) -> Value {
    for release in 100..150 {
        let waiting = processes(bed, false);
        let function = FunctionSpec { release: Uuid::from_bytes([release; 16]), ..function.clone() };
        let answer = bed.invoke(&function, EVENT).await;
        let taken = processes(bed, true);
        if waiting.iter().any(|pid| taken.contains(pid)) {
            return serde_json::from_str(&answer.body).unwrap();
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    panic!("no {} that waits is used: {}", function.runtime, bed.log());
}

#[tokio::test]
async fn a_function_in_a_parked_runtime_sees_what_it_sees_in_a_fresh_one() {
    let (parked, fresh) = (Bed::new().await, Bed::with(|settings| settings.parked_per_kind = 0).await);
    let java = java();
    for (runtime, handler, file, code) in [
        ("python3.13", "app.handler", "app.py", PYTHON.as_bytes()),
        ("nodejs22.x", "app.handler", "app.js", NODE.as_bytes()),
        ("ruby3.3", "app.handler", "app.rb", RUBY.as_bytes()),
        ("java17", "Seen::handle", "Seen.class", &java),
        ("java25", "Seen::handle", "Seen.class", &java),
    ] {
        let mut function = fresh.function(runtime, handler, &[(file, code)]).await;
        let zone = if runtime.starts_with("java") { "Europe/Paris" } else { ":UTC" };
        let own = [("OWN", "1"), ("TZ", zone)].map(|(name, value)| (name.to_owned(), value.to_owned()));
        function.environment = Secret::new(own.into());
        function.timeout = Duration::from_secs(30);
        let expected: Value = serde_json::from_str(&fresh.invoke(&function, EVENT).await.body).unwrap();
        assert!(expected.get("env").is_some(), "{expected}");
        // The first has none to find, unless it is one that was made for an earlier language.
        let before = processes(&parked, false).len();
        function.code = parked.code(&[(file, code)]).await;
        parked.invoke(&function, EVENT).await;
        until_parked(&parked, before + 2).await;
        let found = in_one_that_waited(&parked, &function).await;
        let different = expected.as_object().unwrap().iter().filter(|(name, value)| found[name.as_str()] != **value);
        let different: Vec<_> = different.map(|(name, value)| (name, value, &found[name.as_str()])).collect();
        assert!(different.is_empty(), "{runtime}: {different:#?}");
        until_parked(&parked, before + 2).await;
    }
}

#[tokio::test]
async fn a_function_whose_variables_are_read_at_the_start_has_a_process_of_its_own() {
    let bed = Bed::new().await;
    let code = "import sys\ndef handler(event, context):\n    return sys.flags.utf8_mode";
    let mut function = bed.function("python3.13", "app.handler", &[("app.py", code)]).await;
    bed.invoke(&function, "{}").await;
    until_parked(&bed, 2).await;
    let waiting = processes(&bed, false);
    function.release = Uuid::NIL;
    function.environment = Secret::new([("PYTHONUTF8".to_owned(), "1".to_owned())].into());
    assert_eq!(bed.invoke(&function, "{}").await.body, "1");
    assert_eq!(processes(&bed, false), waiting);
}

/// Nor one of another size, which its heap has from the start.
#[tokio::test]
async fn a_java_function_with_switches_of_its_own_has_a_machine_of_its_own() {
    let bed = Bed::new().await;
    let mut function = bed.function("java17", "Seen::handle", &[("Seen.class", java())]).await;
    function.timeout = Duration::from_secs(30);
    let bed = &bed;
    let ask = async |function: &FunctionSpec| -> Value {
        serde_json::from_str(&bed.invoke(function, EVENT).await.body).unwrap()
    };
    let heap = ask(&function).await["heap"].clone();
    until_parked(bed, 2).await;
    let waiting = processes(bed, false);
    let own = [("JAVA_TOOL_OPTIONS".to_owned(), "-Dof.its.own=1".to_owned())];
    let with_switches =
        FunctionSpec { release: Uuid::from_bytes([1; 16]), environment: Secret::new(own.into()), ..function.clone() };
    assert_eq!(ask(&with_switches).await["properties"]["of.its.own"], "1");
    let larger = FunctionSpec { release: Uuid::from_bytes([2; 16]), memory_mb: 512, ..function.clone() };
    assert_ne!(ask(&larger).await["heap"], heap);
    let taken = processes(bed, true);
    assert!(waiting.iter().all(|pid| !taken.contains(pid)), "{waiting:?} {taken:?}");
    assert_eq!(in_one_that_waited(bed, &function).await["heap"], heap);
}

#[tokio::test]
async fn a_runtime_that_died_while_it_was_parked_is_nobodys_loss() {
    let bed = Bed::new().await;
    let code = "def handler(event, context):\n    return 'here'";
    let mut function = bed.function("python3.13", "app.handler", &[("app.py", code)]).await;
    bed.invoke(&function, "{}").await;
    for release in 1..4 {
        // One may have died before it was counted, and is found out when it is taken.
        until_parked(&bed, 1).await;
        for pid in processes(&bed, false) {
            let pid = rustix::process::Pid::from_raw(pid).unwrap();
            rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
        }
        function.release = Uuid::from_bytes([release; 16]);
        assert_eq!(bed.invoke(&function, "{}").await.body, "\"here\"");
    }
    bed.runtime.drain().await;
    while !processes(&bed, false).is_empty() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_function_that_is_expected_finds_its_runtime_and_its_code() {
    use base::ports::Invoke;
    let bed = Bed::new().await;
    let function = bed.function("python3.13", "app.handler", &[("app.py", "def handler(*_):\n    return 1")]).await;
    bed.runtime.expect(std::sync::Arc::new(function.clone()));
    until_parked(&bed, 2).await;
    let waiting = processes(&bed, false);
    assert_eq!(bed.invoke(&function, "{}").await.body, "1");
    let taken = processes(&bed, true);
    assert!(waiting.iter().any(|pid| taken.contains(pid)));
}

/// What was prepared for versions, by the size of each.
fn prepared(bed: &Bed) -> Vec<u64> {
    let trees = fs::read_dir(bed._dir.path().join("cache/code")).unwrap().flatten();
    let trees = trees.flat_map(|boot| fs::read_dir(boot.path().join("trees")).unwrap().flatten());
    let files = trees.filter(|tree| tree.file_name().to_string_lossy().starts_with("p-"));
    files.map(|tree| fs::metadata(tree.path().join("code")).unwrap().len()).collect()
}

#[tokio::test]
async fn what_is_prepared_of_a_versions_code_shows_in_nothing_but_time() {
    let bed = Bed::new().await;
    let python = "
import other, os, sys
def handler(event, context):
    try:
        other.fail()
    except ValueError as error:
        code = error.__traceback__.tb_next.tb_frame.f_code
        return [code.co_filename, error.__traceback__.tb_next.tb_lineno, sorted(os.listdir('/var/task')), other.__file__]
";
    let node = "
const other = require('./other');
exports.handler = async () => [String(other.fail), require('fs').readdirSync('/var/task'), require.resolve('./other'),
  (() => { try { other.fail(); } catch (error) { return error.stack.split('\\n')[1]; } })()];
";
    let files =
        [("app.py", python), ("other.py", "\n\ndef fail():\n    raise ValueError('no')\n"), ("broken.py", "def")];
    let of_python = bed.function("python3.13", "app.handler", &files).await;
    let files = [("app.js", node), ("other.js", "\n\nexports.fail = function () { throw new Error('no'); };\n")];
    let of_node = bed.function("nodejs22.x", "app.handler", &files).await;
    for function in [of_python, of_node] {
        let before = prepared(&bed).len();
        let first = bed.invoke(&function, "{}").await;
        assert_eq!(first.failed, None, "{first:?}");
        while prepared(&bed).len() == before {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert!(prepared(&bed).iter().all(|bytes| *bytes > 0));
        // Of two at once, one has an instance that finds it.
        let answers = tokio::join!(bed.invoke(&function, "{}"), bed.invoke(&function, "{}"));
        for answer in [answers.0, answers.1] {
            assert_eq!(answer.body, first.body);
        }
    }
}
