//! What an image costs: taking one, beginning with one, and the first answer, against a start of the same program.
//!
//! `cargo run --release -p sandbox --features testing --example image_speed -- ROUNDS WORD FOLDER PROGRAM ARGUMENTS...`:
//! the program finds the folder at `/var/task`. It writes a line to descriptor 4 when it is ready, and one for each line
//! that it reads from 3, such as the word.

#![expect(clippy::expect_used, clippy::disallowed_methods, reason = "a measurement: it reads the machine's clock")]

use std::io::{BufRead, BufReader, PipeReader, PipeWriter, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use base::{BoxFuture, Spawn};
use sandbox::{Image, Isolation, Mount, ProcessId, Program, Sandbox, Settings, Spec};

struct OnTokio;

impl Spawn for OnTokio {
    fn spawn(&self, _name: &'static str, task: BoxFuture<'static, ()>) {
        drop(tokio::task::spawn(task));
    }
}

const MIB: u64 = 1024 * 1024;

#[derive(Default)]
struct Times(Vec<(&'static str, Vec<Duration>)>);

impl Times {
    fn add(&mut self, what: &'static str, began: Instant) {
        let took = began.elapsed();
        match self.0.iter_mut().find(|(known, _)| *known == what) {
            Some((_, times)) => times.push(took),
            None => self.0.push((what, vec![took])),
        }
    }

    fn report(&mut self) {
        for (what, times) in &mut self.0 {
            times.sort();
            let (least, median) = (times.first().copied(), times.get(times.len() / 2).copied());
            println!("{what:<40} min {:>9.1?}  median {:>9.1?}", least.unwrap_or_default(), median.unwrap_or_default());
        }
    }
}

struct Running {
    sandbox: Sandbox,
    process: ProcessId,
    orders: PipeWriter,
    told: BufReader<PipeReader>,
}

impl Running {
    fn hear(&mut self) {
        let mut line = String::new();
        self.told.read_line(&mut line).expect("it answers");
        assert!(!line.is_empty(), "it has ended");
    }

    fn ask(&mut self, word: &str) {
        writeln!(self.orders, "{word}").expect("it listens");
        self.hear();
    }
}

struct Test {
    isolation: Isolation,
    folder: String,
    words: Vec<String>,
}

impl Test {
    async fn room(&self) -> Sandbox {
        let mut spec = Spec::new("speed", 1024 * MIB);
        spec.mounts = vec![Mount { host: self.folder.clone().into(), inside: "/var/task".into() }];
        self.isolation.start(spec).await.expect("it starts")
    }

    async fn begin(&self, sandbox: Sandbox, image: Option<&Image>) -> Running {
        let ((from, orders), (told, to)) = (std::io::pipe().expect("a pipe"), std::io::pipe().expect("a pipe"));
        let program = Program::new(self.words.clone()).directory("/").grant(3, from).grant(4, to);
        let process = match image {
            Some(image) => sandbox.resume(image, program).await.expect("it becomes the image"),
            None => sandbox.run(program).await.expect("it runs"),
        };
        Running { sandbox, process, orders, told: BufReader::new(told) }
    }

    async fn round(&self, word: &str, times: &mut Times) {
        let sandbox = self.room().await;
        let began = Instant::now();
        let mut fresh = self.begin(sandbox, None).await;
        fresh.hear();
        times.add("a fresh start, until it is ready", began);
        fresh.ask(word);
        fresh.ask(word);
        // Whatever it does behind its own back.
        tokio::time::sleep(Duration::from_millis(200)).await;
        let (mut tries, mut began) = (0, Instant::now());
        let image = loop {
            let taken = fresh.sandbox.take(fresh.process).await;
            if taken.is_ok() || tries > 100 {
                break taken.expect("it has an image");
            }
            (tries, began) = (tries + 1, Instant::now());
        };
        times.add("taking it", began);
        drop(fresh);
        let mut learnt = image.clone();
        for _ in 0..5 {
            let sandbox = self.room().await;
            let began = Instant::now();
            let mut clone = self.begin(sandbox, Some(&image)).await;
            times.add("becoming it", began);
            let began = Instant::now();
            clone.ask(word);
            times.add("the first answer", began);
            let began = Instant::now();
            clone.ask(word);
            times.add("the second answer", began);
            let began = Instant::now();
            learnt = clone.sandbox.learn(&image, clone.process).await.expect("it is learnt");
            times.add("learning", began);
        }
        for _ in 0..5 {
            let sandbox = self.room().await;
            let began = Instant::now();
            let mut clone = self.begin(sandbox, Some(&learnt)).await;
            times.add("becoming what is learnt", began);
            let before = clone.sandbox.usage().ok().and_then(|usage| usage.memory_bytes).unwrap_or(0);
            let began = Instant::now();
            clone.ask(word);
            times.add("its first answer", began);
            let after = clone.sandbox.usage().ok().and_then(|usage| usage.memory_bytes).unwrap_or(0);
            let (shared, before, after) = (image.memory_bytes() / 1024, before / 1024, after / 1024);
            println!("image {shared} KiB; a clone of its own {before}, then {after}; {tries} tries");
        }
    }
}

fn main() -> ExitCode {
    if let Some(code) = sandbox::take_over() {
        return code;
    }
    let mut words = std::env::args().skip(1);
    let rounds: u32 = words.next().and_then(|rounds| rounds.parse().ok()).expect("how many rounds");
    let (word, folder) = (words.next().expect("a word"), words.next().expect("a folder"));
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let (isolation, _) = sandbox::processes(Settings::default(), Arc::new(OnTokio)).await.expect("isolation");
        let test = Test { isolation, folder, words: words.collect() };
        let mut times = Times::default();
        for _ in 0..rounds {
            test.round(&word, &mut times).await;
        }
        times.report();
    });
    ExitCode::SUCCESS
}
