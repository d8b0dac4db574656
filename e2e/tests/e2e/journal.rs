//! Functions that say what they do in a file that is none of the server's: what they were called with, and when.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use e2e::{Lamp, make_python};

use crate::api::{Client, now};

/// Functions write to the host's files where nothing keeps them apart.
pub const OPEN: [&str; 2] = ["--isolation", "none"];

/// The file, and where functions' code is put.
pub struct Journal {
    dir: tempfile::TempDir,
}

impl Journal {
    pub fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    pub fn path(&self) -> PathBuf {
        self.dir.path().join("journal")
    }

    /// A function whose code may `say` things, and finds `os`, `json`, `random` and `time`.
    pub fn function(&self, lamp: &Lamp, name: &str, timeout: u32, code: &str) {
        make_python(lamp, name, 128, timeout, &self.code(code));
    }

    /// The file of such code.
    pub fn code(&self, code: &str) -> PathBuf {
        let (file, path) = (self.dir.path().join("app.py"), self.path());
        let head = format!(
            "import json, os, random, time\n\
             journal = os.open({path:?}, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)\n\
             def say(*words):\n    os.write(journal, (' '.join(map(str, words)) + '\\n').encode())\n"
        );
        std::fs::write(&file, head + code).unwrap();
        file
    }

    /// All whole lines, in words.
    pub fn lines(&self) -> Vec<Vec<String>> {
        let text = std::fs::read_to_string(self.path()).unwrap_or_default();
        let whole = text.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n'));
        whole.map(|line| line.split(' ').map(str::to_owned).collect()).collect()
    }

    /// Waits until the lines are as wanted, for so long at most.
    pub fn wait(&self, what: &str, at_most: Duration, is_there: impl Fn(&[Vec<String>]) -> bool) -> Vec<Vec<String>> {
        let began = now();
        loop {
            let lines = self.lines();
            if is_there(&lines) {
                return lines;
            }
            assert!(began.elapsed() < at_most, "gave up waiting: {what}; {} lines are there", lines.len());
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

/// When each of these was said first, and again.
pub fn times(lines: &[Vec<String>], word: &str) -> BTreeMap<String, Vec<f64>> {
    let mut times: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    for line in lines.iter().filter(|line| line[0] == word) {
        times.entry(line[1].clone()).or_default().push(line[2].parse().unwrap());
    }
    times
}

/// Seconds since 1970, as functions say them.
#[expect(clippy::disallowed_methods, reason = "compared with what functions in other processes say")]
pub fn wall() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64()
}

/// Reserves concurrency for a function, or gives it back.
pub fn reserve(client: &mut Client, function: &str, count: Option<u32>) {
    let answer = match count {
        Some(count) => {
            let body = format!(r#"{{"ReservedConcurrentExecutions": {count}}}"#);
            client.ask("PUT", &format!("/2017-10-31/functions/{function}/concurrency"), "", &body)
        }
        None => client.ask("DELETE", &format!("/2017-10-31/functions/{function}/concurrency"), "", ""),
    };
    let answer = answer.expect("it answers");
    assert!(answer.status < 300, "{}", answer.body);
}

/// Lets a queue feed a function.
pub fn map(client: &mut Client, queue: &str, function: &str, batch: u32) {
    let arn = format!("arn:aws:sqs:us-east-1:000000000000:{queue}");
    let body = format!(r#"{{"EventSourceArn": "{arn}", "FunctionName": "{function}", "BatchSize": {batch}}}"#);
    let answer = client.ask("POST", "/2015-03-31/event-source-mappings", "", &body).expect("it answers");
    assert_eq!(answer.status, 202, "{}", answer.body);
}

/// Memory of a process in MB.
pub fn memory_mb(lamp: &Lamp) -> u64 {
    let status = std::fs::read_to_string(Path::new("/proc").join(lamp.pid().to_string()).join("status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("the kernel counts memory");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("it is a number") / 1024
}
