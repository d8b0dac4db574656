//! Images of Node.js: threads that wait on pipes, counters and sets of descriptors of their own.

use std::path::{Path, PathBuf};

use sandbox::{Image, Isolation, Mount, Program, Sandbox, Spec, Status};

use crate::common::{MIB, exit, isolation, isolation_without_root, public_folder, soon, spec};
use crate::images::{Running, resume_in, take, template, works_here};

/// Evaluates what it reads, line by line; in the one way it waits for the descriptor itself, in the other for events.
const TALK: &str = "
const fs = require('fs'), crypto = require('crypto'), child = require('child_process'), threads = require('worker_threads');
const isEager = process.argv[2] === 'events';
let kept = Array.from({length: 20000}, (_, n) => 'kept ' + n), ticks = 0, timer = isEager && setInterval(() => ticks++, 5);
const worker = isEager && new threads.Worker(`
    const {parentPort} = require('worker_threads');
    parentPort.on('message', (n) => parentPort.postMessage(n * 2));
`, {eval: true});
const once = (it, event) => new Promise((resolve) => it.once(event, resolve));
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const drawn = crypto.randomBytes(8).toString('hex');
async function answer(line) {
    let said;
    try { said = await eval(line); } catch (error) { said = error.message; }
    fs.writeSync(4, JSON.stringify(said) + '\\n');
}
function ready() { fs.writeSync(4, 'ready\\n'); }
if (isEager) {
    let text = '';
    const stream = fs.createReadStream(null, {fd: 3});
    stream.on('data', (data) => {
        text += data;
        for (let end; (end = text.indexOf('\\n')) >= 0; text = text.slice(end + 1)) answer(text.slice(0, end));
    });
    stream.on('end', () => process.exit(7));
    once(worker, 'online').then(ready);
} else {
    (async () => {
        ready();
        for (const byte = Buffer.alloc(1);;) {
            let line = '';
            while (!line.endsWith('\\n')) {
                if (!fs.readSync(3, byte, 0, 1)) process.exit(7);
                line += byte;
            }
            await answer(line);
        }
    })();
}
";

fn node() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let found = std::env::split_paths(&path).map(|folder| folder.join("node")).find(|node| node.exists());
    let node = found.and_then(|node| node.canonicalize().ok()).filter(|node| node.starts_with("/usr") && works_here());
    if node.is_none() {
        println!("skipped: no Node.js in /usr, or images are not made of programs of this architecture");
    }
    node
}

struct Node<'a> {
    isolation: &'a Isolation,
    program: &'a Path,
    folder: tempfile::TempDir,
}

impl Node<'_> {
    async fn room(&self) -> Sandbox {
        let mut spec = spec("node");
        spec.limits = Spec::new("node", 1024 * MIB).limits;
        spec.mounts = vec![Mount { host: self.folder.path().to_owned(), inside: "/var/task".into() }];
        soon(self.isolation.start(spec)).await.unwrap()
    }

    fn program(&self, way: &str) -> Program {
        Program::new([self.program.to_str().unwrap(), "/var/task/talk.js", way]).directory("/")
    }

    async fn clone(&self, image: &Image) -> Running {
        resume_in(self.room().await, image, self.program("")).await.unwrap()
    }

    async fn goes_on(&self, way: &str) {
        let mut first = template(self.room().await, self.program(way)).await;
        assert_eq!(first.say("kept.length + drawn.length").await, "20016");
        let image = take(&first).await.unwrap();
        assert_eq!(first.say("kept.length + drawn.length").await, "20016");
        let mut drawn = std::collections::BTreeSet::new();
        for _ in 0..2 {
            let mut clone = self.clone(&image).await;
            drawn.insert(clone.say("crypto.randomBytes(8).toString('hex') + crypto.randomUUID()").await);
            let answers = [
                ("kept[777]", "\"kept 777\""),
                ("fs.readlinkSync('/proc/self')", "\"2\""),
                ("kept = kept.map((one) => one + '!'), global.gc?.(), kept[3]", "\"kept 3!\""),
                ("nothing.at.all", "\"nothing is not defined\""),
                ("Array.from({length: 300000}, (_, n) => ({n})).reduce((sum, {n}) => sum + n % 7, 0)", "899997"),
                ("sleep(20).then(() => 'slept')", "\"slept\""),
                ("fs.promises.readFile('/var/task/talk.js', 'utf8').then((text) => text.includes('kept'))", "true"),
                (
                    "new Promise((done) => crypto.pbkdf2('a', 'b', 1000, 8, 'sha256', (_, key) => done(key.length)))",
                    "8",
                ),
                ("child.spawnSync('/bin/echo', ['here']).stdout.toString().trim()", "\"here\""),
                ("once(child.spawn('/bin/false'), 'exit')", "1"),
                ("once(new threads.Worker('process.exit(5)', {eval: true}), 'exit')", "5"),
                ("isEager ? (worker.postMessage(21), once(worker, 'message')) : 42", "42"),
                ("isEager ? (ticks = 0, sleep(100).then(() => ticks > 2)) : true", "true"),
            ];
            for (line, answer) in answers {
                assert_eq!(clone.say(line).await, answer, "{way}: {line}");
            }
            clone.sandbox.signal(clone.process, libc::SIGTERM).unwrap();
            assert_eq!(exit(&clone.sandbox).await.status, Status::Signal(libc::SIGTERM));
        }
        assert_eq!(drawn.len(), 2, "{drawn:?}");
    }
}

async fn goes_on(isolation: &Isolation) {
    let Some(program) = node() else { return };
    let node = Node { isolation, program: &program, folder: public_folder() };
    std::fs::write(node.folder.path().join("talk.js"), TALK).unwrap();
    node.goes_on("descriptor").await;
    node.goes_on("events").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn node_goes_on_where_another_was() {
    goes_on(&isolation().await.0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn node_goes_on_where_another_was_without_root() {
    goes_on(&isolation_without_root().await.0).await;
}
