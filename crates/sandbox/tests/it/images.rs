//! Programs that begin where another was: what they keep, what they do not, and that they are behind the same walls as
//! any other.

use std::io::Write;

use sandbox::{Exit, Image, ImageError, Isolation, ProcessId, Program, Sandbox, Status};

use crate::common::{exit, isolation, isolation_without_root, soon, spec};

const PYTHON: &str = "/usr/bin/python3";

/// Does what it reads, line by line, and tells how it went.
const SERVE: &str = "
import os, sys, json, socket, threading, signal, time, random
kept = [str(n) * 10 for n in range(20000)]
def main():
    orders, told = open(3, 'rb', 0, closefd=False), open(4, 'w', closefd=False)
    print('ready', file=told, flush=True)
    while True:
        line = b''
        while not line.endswith(b'\\n'):
            byte = os.read(3, 1)
            if not byte: sys.exit(7)
            line += byte
        try:
            told.write(repr(eval(line, globals())) + '\\n')
        except BaseException as error:
            told.write(f'{type(error).__name__}: {error}\\n')
        told.flush()
";

/// A program in a sandbox with which one can talk.
pub struct Running {
    pub sandbox: Sandbox,
    pub process: ProcessId,
    orders: std::io::PipeWriter,
    told: std::io::BufReader<std::io::PipeReader>,
}

impl Running {
    pub async fn say(&mut self, line: &str) -> String {
        writeln!(self.orders, "{line}").unwrap();
        self.hear().await
    }

    /// Has it exec another program, and gives all that this writes, with its exit.
    pub async fn replace(mut self, command: &str) -> (String, Exit) {
        let line =
            format!("[os.dup2(4, n) for n in (1, 2)] and os.execve('/bin/sh', ['sh', '-c', 'exec {command}'], {{}})");
        writeln!(self.orders, "{line}").unwrap();
        let text = tokio::task::block_in_place(|| {
            let mut text = String::new();
            std::io::Read::read_to_string(&mut self.told, &mut text).unwrap();
            text
        });
        (text, exit(&self.sandbox).await)
    }

    pub async fn hear(&mut self) -> String {
        tokio::task::block_in_place(|| {
            let mut line = String::new();
            std::io::BufRead::read_line(&mut self.told, &mut line).unwrap();
            line.trim_end().to_owned()
        })
    }
}

pub fn talk(program: Program) -> (Program, std::io::PipeWriter, std::io::BufReader<std::io::PipeReader>) {
    let ((from, orders), (told, to)) = (std::io::pipe().unwrap(), std::io::pipe().unwrap());
    (program.grant(3, from).grant(4, to), orders, std::io::BufReader::new(told))
}

pub fn python(before: &str) -> Program {
    let code = format!("{SERVE}\n{before}\nmain()");
    Program::new([PYTHON, "-I", "-S", "-c", &code]).env("TOLD", "before").directory("/")
}

/// Runs a program that says when it waits.
pub async fn template(sandbox: Sandbox, program: Program) -> Running {
    let (program, orders, told) = talk(program);
    let process = soon(sandbox.run(program)).await.unwrap();
    let mut running = Running { sandbox, process, orders, told };
    assert_eq!(running.hear().await, "ready");
    running
}

/// It has said that it is ready, and is on its way to wait.
pub async fn take(template: &Running) -> Result<Image, ImageError> {
    take_of(&template.sandbox, template.process).await
}

pub async fn take_of(sandbox: &Sandbox, process: ProcessId) -> Result<Image, ImageError> {
    when_it_waits(|| sandbox.take(process)).await
}

/// Asks again as long as it was too soon.
pub async fn when_it_waits<T, F>(mut ask: impl FnMut() -> F) -> Result<T, ImageError>
where
    F: Future<Output = Result<T, ImageError>>,
{
    let mut tries = 0..200;
    loop {
        match soon(ask()).await {
            Err(error) if errno(&error) == Some(libc::EAGAIN) && tries.next().is_some() => {}
            other => return other,
        }
    }
}

pub fn errno(error: &ImageError) -> Option<i32> {
    match error {
        ImageError::Step { source, .. } => source.raw_os_error(),
        ImageError::Run(_) => None,
    }
}

pub fn waiting() -> Program {
    Program::new([PYTHON, "-I", "-S", "-c", "import signal; signal.pause()"]).directory("/")
}

pub async fn resume(sandbox: Sandbox, image: &Image) -> Result<Running, ImageError> {
    resume_in(sandbox, image, waiting()).await
}

pub async fn resume_in(sandbox: Sandbox, image: &Image, program: Program) -> Result<Running, ImageError> {
    let (program, orders, told) = talk(program);
    let process = soon(sandbox.resume(image, program)).await?;
    Ok(Running { sandbox, process, orders, told })
}

pub async fn room(isolation: &Isolation) -> Sandbox {
    soon(isolation.start(spec("image"))).await.unwrap()
}

pub async fn clone(isolation: &Isolation, image: &Image) -> Running {
    resume(room(isolation).await, image).await.unwrap()
}

pub fn works_here() -> bool {
    let is_there = std::fs::exists(PYTHON).unwrap() && cfg!(target_arch = "x86_64");
    if !is_there {
        println!("skipped: no Python in /usr, or images are not made of programs of this architecture");
    }
    is_there
}

async fn programs_go_on(isolation: &Isolation) {
    let mut first = template(room(isolation).await, python("x = 41; os.set_inheritable(4, False)")).await;
    assert_eq!(first.say("x + 1").await, "42");
    let image = take(&first).await.unwrap();
    assert_eq!(image.descriptors(), [0, 1, 2, 3, 4]);
    // It goes on, and nobody hears of it.
    assert_eq!(first.say("globals().update(x=1) or x").await, "1");
    drop(first);
    let mut clone = clone(isolation, &image).await;
    assert_eq!(clone.say("x, len(kept), kept[777]").await, "(41, 20000, '777777777777777777777777777777')");
    let there = "('before', '/', '/usr/bin/python3')";
    assert_eq!(clone.say("os.environ['TOLD'], os.getcwd(), sys.executable").await, there);
    assert_eq!(clone.say("[os.get_inheritable(n) for n in range(5)]").await, "[True, True, True, True, False]");
    assert_eq!(clone.say("time.time() > 1e9 and time.monotonic() > 0").await, "True");
    assert_eq!(clone.say("sorted(os.listdir('/proc/self/fd'))[:-1]").await, "['0', '1', '2', '3', '4']");
    // It has all that a process has: threads, children, signals, and a heap that grows and shrinks.
    assert_eq!(clone.say("[t.start() or t.join() for t in [threading.Thread(target=kept.sort)]]").await, "[None]");
    assert_eq!(clone.say("os.waitpid(os.posix_spawn('/bin/true', ['true'], {}), 0)[1]").await, "0");
    assert_eq!(clone.say("(lambda pid: os.waitpid(pid, 0)[1] if pid else os._exit(0))(os.fork())").await, "0");
    assert_eq!(clone.say("len([bytearray(n * 1000) for n in range(300)]), kept.clear()").await, "(300, None)");
    assert_eq!(clone.say("os.kill(os.getpid(), signal.SIGINT)").await, "KeyboardInterrupt:");
    // The next one knows nothing of that.
    let mut other = self::clone(isolation, &image).await;
    assert_eq!(other.say("x, len(kept)").await, "(41, 20000)");
    assert_ne!(other.say("os.urandom(8)").await, clone.say("os.urandom(8)").await);
    drop(std::mem::replace(&mut clone.orders, std::io::pipe().unwrap().1));
    assert_eq!(exit(&clone.sandbox).await.status, Status::Code(7));
    clone.sandbox.signal(clone.process, libc::SIGTERM).unwrap();
    other.sandbox.signal(other.process, libc::SIGTERM).unwrap();
    assert_eq!(exit(&other.sandbox).await.status, Status::Signal(libc::SIGTERM));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_goes_on_where_another_was() {
    if works_here() {
        programs_go_on(&isolation().await.0).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_goes_on_where_another_was_without_root() {
    if works_here() {
        programs_go_on(&isolation_without_root().await.0).await;
    }
}

/// All that the kernel tells a program of itself is the same as for a program that was started afresh.
#[tokio::test(flavor = "multi_thread")]
async fn a_clone_has_the_rights_of_a_fresh_program() {
    if !works_here() {
        return;
    }
    let (isolation, _) = isolation().await;
    let mut fresh = template(room(&isolation).await, python("")).await;
    let image = take(&fresh).await.unwrap();
    let mut clone = clone(&isolation, &image).await;
    let lines = "[l for l in open('/proc/self/status') if l.startswith(('Umask', 'PPid', 'TracerPid', 'Uid', \
                 'Gid', 'Groups', 'Threads', 'Sig', 'Shd', 'Cap', 'NoNew', 'Seccomp:', 'Specul'))]";
    let questions = [
        lines,
        "open('/proc/self/limits').read()",
        "open('/proc/self/cgroup').read()",
        "open('/proc/self/oom_score_adj').read()",
        "open('/proc/self/personality').read()",
        "open('/proc/self/cmdline').read()",
        "open('/proc/self/environ').read()",
        "open('/proc/self/auxv', 'rb').read() == 0",
        "os.readlink('/proc/self/exe')",
        "[open(f'/proc/self/{n}id_map').read().split()[::2] for n in 'ug']",
        "[l.split()[4:] for l in open('/proc/self/mountinfo')]",
        "os.getsid(0) == os.getpgid(0) == os.getpid() == threading.get_native_id(), os.getpriority(os.PRIO_PROCESS, 0), os.sched_getaffinity(0)",
        "[m for m in ('/proc/kcore', '/proc/keys') if open(m, 'rb').read(1)]",
        "[p for p in os.listdir('/proc') if p.isdigit() and p != str(os.getpid())]",
        "os.listdir('/tmp'), os.listdir('/proc/sys/user') == 0",
        "open('/proc/net/dev').read().count(':')",
        "[signal.getsignal(n) for n in range(1, 65) if n not in (32, 33)]",
    ];
    for question in questions {
        let (one, other) = (fresh.say(question).await, clone.say(question).await);
        assert_eq!(one, other, "{question}");
        assert!(!one.is_empty());
    }
    assert!(clone.say(lines).await.contains("CapBnd:\\t0000000000000000"));
    // One filter more, which refuses to give the image's memory back.
    let filters = "int(next(l for l in open('/proc/self/status') if l.startswith('Seccomp_filters')).split()[1])";
    assert_eq!(fresh.say(&format!("{filters} + 1")).await, clone.say(filters).await);
    let spaces = "[os.stat('/proc/self/ns/' + n).st_ino for n in ('pid', 'mnt', 'net', 'ipc', 'uts', 'user')]";
    let parse = |text: String| -> Vec<u64> {
        text.trim_matches(['[', ']']).split(", ").map(|number| number.parse().unwrap()).collect()
    };
    let (one, other) = (parse(fresh.say(spaces).await), parse(clone.say(spaces).await));
    assert!(one.len() == 6 && one.iter().zip(&other).all(|(one, other)| one != other), "{one:?} {other:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn clones_do_not_see_each_other() {
    if !works_here() {
        return;
    }
    let (isolation, _) = isolation().await;
    let image = take(&template(room(&isolation).await, python("")).await).await.unwrap();
    let (mut one, mut other) = (clone(&isolation, &image).await, clone(&isolation, &image).await);
    let make = "[open('/tmp/secret', 'w').close(), globals().update(a=socket.create_server(('127.0.0.1', 7777)), \
                b=socket.socket(socket.AF_UNIX)), b.bind('\\0neighbour'), b.listen()]";
    let look = "[os.listdir('/tmp'), socket.socket().connect_ex(('127.0.0.1', 7777)) != 0, \
                socket.socket(socket.AF_UNIX).connect_ex('\\0neighbour') != 0, \
                sorted(p for p in os.listdir('/proc') if p.isdigit()), globals().get('a')]";
    assert_eq!(one.say(make).await, "[None, None, None, None]");
    assert_eq!(other.say(look).await, "[[], True, True, ['2'], None]");
    assert_eq!(other.say(make).await, "[None, None, None, None]");
}

/// A library that draws its own random numbers notices that it is another process; what a program has drawn stays.
#[tokio::test(flavor = "multi_thread")]
async fn random_numbers_of_clones_differ() {
    if !works_here() {
        return;
    }
    let (isolation, _) = isolation().await;
    let more = ["", "; threading.Thread(target=threading.Event().wait, daemon=True).start()"];
    for more in more {
        numbers_differ(&isolation, more).await;
    }
}

async fn numbers_differ(isolation: &Isolation, more: &str) {
    let before = format!("import ssl; drawn = ssl.RAND_bytes(16){more}");
    let first = template(room(isolation).await, python(&before)).await;
    let image = take(&first).await.unwrap();
    let (mut drawn, mut fresh) = (std::collections::BTreeSet::new(), std::collections::BTreeSet::new());
    for _ in 0..3 {
        let mut clone = clone(isolation, &image).await;
        drawn.insert(clone.say("drawn").await);
        fresh.insert(clone.say("ssl.RAND_bytes(16)").await);
        assert_eq!(clone.say("os.getpid() == threading.get_native_id() == 2").await, "True");
    }
    assert_eq!((drawn.len(), fresh.len()), (1, 3));
}

/// What one clone writes first, the next has already; what it has written there, nobody else sees.
#[tokio::test(flavor = "multi_thread")]
async fn clones_write_ahead_what_the_first_one_wrote() {
    if !works_here() {
        return;
    }
    let (isolation, _) = isolation().await;
    let image = take(&template(room(&isolation).await, python("x = 41")).await).await.unwrap();
    let mut first = clone(&isolation, &image).await;
    assert_eq!(first.say("globals().update(x=1), kept.clear()").await, "(None, None)");
    let learnt = soon(first.sandbox.learn(&image, first.process)).await.unwrap();
    let (mut plain, mut ahead) = (clone(&isolation, &image).await, clone(&isolation, &learnt).await);
    let held = |clone: &Running| clone.sandbox.usage().unwrap().memory_bytes;
    // Each page of the first one's list, some hundred of them.
    if let (Some(plain), Some(ahead)) = (held(&plain), held(&ahead)) {
        assert!(ahead > plain + 256 * 1024, "{plain} {ahead}");
    }
    for clone in [&mut plain, &mut ahead] {
        assert_eq!(clone.say("x, len(kept), kept[777]").await, "(41, 20000, '777777777777777777777777777777')");
    }
}
