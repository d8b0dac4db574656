//! The data's volume is full for a while, under load (D6): who asks for something to be kept is told 503 and nothing else, what
//! runs already goes on, and with room again everything is taken within seconds. Nothing acknowledged is lost, over a kill too.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use e2e::{Lamp, invoke, wait_for};
use serde_json::{Value, json};

use crate::api::{Client, now, queue, sized};
use crate::journal::{Journal, OPEN, times};

/// More than the log of the store takes by itself.
const VOLUME_MB: u32 = 96;
const RESUMES: Duration = Duration::from_secs(5);
const ENDS: Duration = Duration::from_secs(120);

/// A small volume that only its own processes see, until this is dropped.
struct Volume {
    holder: Child,
    dir: tempfile::TempDir,
}

impl Volume {
    /// `None` where this user may mount nothing.
    fn mount() -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let script =
            format!("mount -t tmpfs -o size={VOLUME_MB}m,mode=700 none {} && exec sleep 1000", dir.path().display());
        let mut holder = Command::new("unshare");
        holder.args(["-m", "sh", "-c", &script]).stdin(Stdio::null()).stderr(Stdio::null());
        let mut volume = Self { holder: holder.spawn().ok()?, dir };
        let is_there = wait_for("the volume is mounted or refused", || match volume.holder.try_wait().unwrap() {
            Some(_) => Some(false),
            None => std::fs::read_to_string(format!("/proc/{}/comm", volume.holder.id()))
                .is_ok_and(|name| name.trim() == "sleep")
                .then_some(true),
        });
        is_there.then_some(volume)
    }

    fn start(&self) -> Lamp {
        let mut command = Command::new("nsenter");
        command.args(["-m", "-t", &self.holder.id().to_string()]);
        Lamp::start_by(command, &self.dir.path().join("data"), &OPEN)
    }

    /// Where this process sees what is on it.
    fn seen(&self, name: &str) -> PathBuf {
        Path::new("/proc")
            .join(self.holder.id().to_string())
            .join("root")
            .join(self.dir.path().strip_prefix("/").unwrap())
            .join(name)
    }

    fn fill(&self) {
        let mut filler = File::create(self.seen("filler")).unwrap();
        let mut piece = vec![0; 1 << 20];
        while !piece.is_empty() {
            if filler.write_all(&piece).is_err() {
                piece.truncate(piece.len() / 2);
            }
        }
    }

    fn empty(&self) {
        std::fs::remove_file(self.seen("filler")).unwrap();
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        self.holder.kill().ok();
        self.holder.wait().ok();
    }
}

/// What those who send share.
#[derive(Default)]
struct Load {
    acked: Mutex<BTreeSet<String>>,
    refused: AtomicUsize,
    has_ended: AtomicBool,
    next: AtomicUsize,
}

/// Ends the load, also when the test fails.
struct Ends<'a>(&'a Load);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.has_ended.store(true, Ordering::Relaxed);
    }
}

impl Load {
    /// Sends messages or events until told to stop.
    fn send(&self, lamp: &Lamp, url: Option<&str>) {
        let mut client = Client::new(lamp);
        while !self.has_ended.load(Ordering::Relaxed) {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            let name = format!("{}{number}", if url.is_some() { "m" } else { "e" });
            let answer = match url {
                Some(url) => client.sqs("SendMessage", &json!({"QueueUrl": url, "MessageBody": name})),
                None => client.event("f", &format!("\"{name}\"")),
            };
            let answer = answer.expect("the server is there");
            match answer.status {
                200 | 202 => drop(self.acked.lock().unwrap().insert(name)),
                503 => drop(self.refused.fetch_add(1, Ordering::Relaxed)),
                status => panic!("{name}: {status} {}", answer.body),
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    fn count(&self) -> usize {
        self.acked.lock().unwrap().len()
    }
}

/// Takes all that is in a queue.
fn drain(client: &mut Client, url: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    loop {
        // Longer than this takes on any machine.
        let wanted = json!({"QueueUrl": url, "MaxNumberOfMessages": 10, "VisibilityTimeout": 3600});
        let answer = client.must("ReceiveMessage", wanted);
        let Some(messages) = answer["Messages"].as_array() else { return found };
        for message in messages {
            assert!(found.insert(message["Body"].as_str().unwrap().to_owned()), "{message} came twice");
        }
    }
}

#[test]
fn a_full_volume_refuses_and_loses_nothing() {
    let Some(volume) = Volume::mount() else {
        eprintln!("skipped: this user may mount nothing");
        return;
    };
    let (mut lamp, journal, load) = (volume.start(), Journal::new(), Load::default());
    journal.function(
        &lamp,
        "f",
        30,
        "def handler(event, context):\n    say('ran', event, time.time())\n    return 'done'\n",
    );
    let mut client = Client::new(&lamp);
    let url = queue(&mut client, "jobs", Value::Object(Default::default()));
    let mut resumed = Vec::new();
    std::thread::scope(|scope| {
        let _ends = Ends(&load);
        for at in 0..8 {
            let url = (at % 2 == 0).then_some(url.as_str());
            let (load, lamp) = (&load, &lamp);
            scope.spawn(move || load.send(lamp, url));
        }
        for _ in 0..sized(1, 5) {
            std::thread::sleep(Duration::from_millis(sized(500, 3_000) as u64));
            volume.fill();
            let refused = load.refused.load(Ordering::Relaxed);
            wait_for("the volume is full", || (load.refused.load(Ordering::Relaxed) >= refused + 50).then_some(()));
            // What is known runs without room.
            for _ in 0..sized(5, 50) {
                let answer = invoke(&lamp, "f", "\"sync\"");
                assert!(answer.ends_with("\"done\""), "{answer}");
            }
            volume.empty();
            let (began, before) = (now(), load.count());
            wait_for("it goes on", || (load.count() > before + 20).then_some(()));
            resumed.push(began.elapsed());
        }
    });
    assert!(resumed.iter().all(|took| *took <= RESUMES), "{resumed:?}");
    lamp.kill();
    lamp = volume.start();
    let found = drain(&mut Client::new(&lamp), &format!("{}/000000000000/jobs", lamp.endpoint()));
    let acked = load.acked.into_inner().unwrap();
    let (messages, events): (Vec<_>, Vec<_>) = acked.into_iter().partition(|name| name.starts_with('m'));
    let lost: Vec<_> = messages.iter().filter(|name| !found.contains(*name)).collect();
    assert!(lost.is_empty() && found.len() == messages.len(), "{} came, lost: {lost:?}", found.len());
    let began = now();
    loop {
        let ran = times(&journal.lines(), "ran");
        let left: Vec<_> = events.iter().filter(|event| !ran.contains_key(*event)).collect();
        if left.is_empty() {
            break;
        }
        assert!(began.elapsed() < ENDS, "{} of {} events have not run: {left:?}", left.len(), events.len());
        std::thread::sleep(Duration::from_millis(50));
    }
    let refused = load.refused.into_inner();
    println!(
        "{} messages and {} events acknowledged, {refused} refused by 503: 0 lost; went on after {resumed:.0?}",
        messages.len(),
        events.len()
    );
}
