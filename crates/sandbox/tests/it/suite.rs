//! The laws of a sandbox, whichever backend it has: with walls, without, and the fake pass the same.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::fd::OwnedFd;

use sandbox::{Event, FakeProcess, Isolation, ProcessId, Program, RunError, Sandbox, Spec, Status};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::common::{MIB, bare, isolation, isolation_without_root, shell, soon};

/// What the laws need programs to do.
#[derive(Clone, Copy)]
enum Act {
    Exit(i32),
    Hang,
    /// Copies descriptor 3 to descriptor 4, after the value of `GREETING`.
    Copy,
    /// Connects to 127.0.0.1:9001, or where that is, and says hello.
    Call,
    /// Listens on a port of 127.0.0.1 that it writes to descriptor 3, and sends back what the first caller sends.
    Listen,
}

impl Act {
    /// For the shell and the fake alike, which reads it off the end.
    fn program(self) -> Program {
        let script = match self {
            Act::Exit(code) => format!("exit {code}"),
            Act::Hang => "sleep 1000".to_owned(),
            Act::Copy => "printf %s \"$GREETING\" >&4; cat <&3 >&4".to_owned(),
            Act::Listen => "exec /usr/bin/python3 -c 'import socket,os\ns=socket.create_server((\"127.0.0.1\",0))\n\
                            os.write(3,str(s.getsockname()[1]).encode())\nos.close(3)\nc,_=s.accept()\nc.sendall(c.recv(99))'"
                .to_owned(),
            Act::Call => "exec 5<>/dev/tcp/${API%:*}/${API#*:} && echo hello >&5".to_owned(),
        };
        Program { argv: vec!["/bin/bash".into(), "-c".into(), script], ..shell("") }.env("API", "127.0.0.1:9001")
    }
}

fn pretend(mut process: FakeProcess) -> Status {
    let script = process.argv.pop().unwrap_or_default();
    if let Some(code) = script.strip_prefix("exit ") {
        return Status::Code(code.parse().unwrap_or(255));
    }
    if script.starts_with("sleep") {
        std::thread::park();
    }
    if script.starts_with("printf") {
        let mut take = |at| std::fs::File::from(process.grants.remove(&at).expect("it is granted"));
        let (mut from, mut to) = (take(3), take(4));
        to.write_all(process.env["GREETING"].as_bytes()).unwrap();
        std::io::copy(&mut from, &mut to).unwrap();
    }
    if script.contains("python3") {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let mut told = std::fs::File::from(process.grants.remove(&3).expect("it is granted"));
        write!(told, "{}", listener.local_addr().unwrap().port()).unwrap();
        drop(told);
        let (mut caller, mut bytes) = (listener.accept().unwrap().0, [0; 99]);
        let count = caller.read(&mut bytes).unwrap();
        caller.write_all(&bytes[..count]).unwrap();
    } else if script.starts_with("exec") {
        TcpStream::connect(process.listeners[&9001]).unwrap().write_all(b"hello\n").unwrap();
    }
    Status::Code(0)
}

fn room(name: &str) -> Spec {
    let mut spec = Spec::new(name, 128 * MIB);
    spec.listen = vec![9001];
    spec
}

async fn next_exit(sandbox: &Sandbox) -> (ProcessId, Status) {
    match soon(sandbox.event()).await {
        Event::Exited { process, exit } => (process, exit.status),
        Event::Gone => panic!("the sandbox is gone"),
    }
}

async fn exits_are_told_once(isolation: &Isolation) {
    let sandbox = soon(isolation.start(room("exits"))).await.unwrap();
    let mut expected = Vec::new();
    for code in [0, 7, 255] {
        expected.push((soon(sandbox.run(Act::Exit(code).program())).await.unwrap(), Status::Code(code)));
    }
    let hanging = soon(sandbox.run(Act::Hang.program())).await.unwrap();
    let mut told = Vec::new();
    for _ in 0..3 {
        told.push(next_exit(&sandbox).await);
    }
    told.sort_by_key(|(process, _)| *process);
    assert_eq!(told, expected);
    sandbox.signal(hanging, libc::SIGTERM).unwrap();
    assert_eq!(next_exit(&sandbox).await, (hanging, Status::Signal(libc::SIGTERM)));
    sandbox.signal(hanging, libc::SIGTERM).unwrap();
    soon(sandbox.kill()).await;
}

async fn programs_have_what_they_are_given(isolation: &Isolation) {
    let sandbox = soon(isolation.start(room("grants"))).await.unwrap();
    let ((from, mut feed), (mut told, to)) = (std::io::pipe().unwrap(), std::io::pipe().unwrap());
    let program = Act::Copy.program().env("GREETING", "dear ").grant(3, from).grant(4, to);
    soon(sandbox.run(program)).await.unwrap();
    feed.write_all(b"reader").unwrap();
    drop(feed);
    assert_eq!(next_exit(&sandbox).await.1, Status::Code(0));
    let mut text = String::new();
    told.read_to_string(&mut text).unwrap();
    assert_eq!(text, "dear reader");
}

async fn the_host_listens_inside(isolation: &Isolation) {
    let mut sandbox = soon(isolation.start(room("listen"))).await.unwrap();
    let [listener] = <[_; 1]>::try_from(sandbox.take_listeners()).unwrap();
    assert!(sandbox.take_listeners().is_empty());
    let listener = tokio::net::TcpListener::from_std(listener).unwrap();
    soon(sandbox.run(Act::Call.program())).await.unwrap();
    let (caller, _) = soon(listener.accept()).await.unwrap();
    let mut caller = caller.into_std().unwrap();
    caller.set_nonblocking(false).unwrap();
    let mut text = String::new();
    caller.read_to_string(&mut text).unwrap();
    assert_eq!(text, "hello\n");
    assert_eq!(next_exit(&sandbox).await.1, Status::Code(0));
}

async fn the_host_connects_inside(isolation: &Isolation) {
    let sandbox = soon(isolation.start(room("connect"))).await.unwrap();
    let (mut told, port) = std::io::pipe().unwrap();
    soon(sandbox.run(Act::Listen.program().grant(3, port))).await.unwrap();
    let read = tokio::task::spawn_blocking(move || {
        let mut text = String::new();
        told.read_to_string(&mut text).unwrap();
        text.parse::<u16>().unwrap()
    });
    let port = soon(read).await.unwrap();
    let mut stream = soon(sandbox.connect(port)).await.unwrap();
    stream.write_all(b"there and back").await.unwrap();
    let mut text = String::new();
    soon(stream.read_to_string(&mut text)).await.unwrap();
    assert_eq!(text, "there and back");
    assert_eq!(next_exit(&sandbox).await.1, Status::Code(0));
    let refused = soon(sandbox.connect(port)).await.unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
}

async fn a_cleared_room_can_be_used_again(isolation: &Isolation) {
    let sandbox = soon(isolation.start(room("clear"))).await.unwrap();
    let mut hanging = Vec::new();
    for _ in 0..3 {
        hanging.push(soon(sandbox.run(Act::Hang.program())).await.unwrap());
    }
    soon(sandbox.clear()).await.unwrap();
    let mut told = Vec::new();
    for _ in 0..3 {
        let (process, status) = next_exit(&sandbox).await;
        assert_eq!(status, Status::Signal(libc::SIGKILL));
        told.push(process);
    }
    told.sort();
    assert_eq!(told, hanging);
    soon(sandbox.clear()).await.unwrap();
    soon(sandbox.run(Act::Exit(3).program())).await.unwrap();
    assert_eq!(next_exit(&sandbox).await.1, Status::Code(3));
}

async fn events_that_nobody_takes_are_bounded(isolation: &Isolation) {
    let sandbox = soon(isolation.start(room("bounded"))).await.unwrap();
    let mut started = 0;
    let refused = loop {
        match soon(sandbox.run(Act::Exit(0).program())).await {
            Ok(_) => started += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(refused, RunError::Program(_)), "{refused:?}");
    for _ in 0..started {
        next_exit(&sandbox).await;
    }
    soon(sandbox.run(Act::Exit(0).program())).await.unwrap();
}

async fn a_killed_sandbox_is_gone_for_ever(isolation: &Isolation) {
    let sandbox = soon(isolation.start(room("kill"))).await.unwrap();
    let hanging = soon(sandbox.run(Act::Hang.program())).await.unwrap();
    soon(sandbox.kill()).await;
    soon(sandbox.kill()).await;
    assert_eq!(next_exit(&sandbox).await, (hanging, Status::Signal(libc::SIGKILL)));
    assert_eq!(soon(sandbox.event()).await, Event::Gone);
    assert_eq!(soon(sandbox.event()).await, Event::Gone);
    assert!(matches!(soon(sandbox.run(Act::Exit(0).program())).await, Err(RunError::Gone)));
    sandbox.signal(ProcessId(2), libc::SIGTERM).unwrap();
}

async fn laws(isolation: Isolation) {
    exits_are_told_once(&isolation).await;
    programs_have_what_they_are_given(&isolation).await;
    the_host_listens_inside(&isolation).await;
    the_host_connects_inside(&isolation).await;
    a_cleared_room_can_be_used_again(&isolation).await;
    events_that_nobody_takes_are_bounded(&isolation).await;
    a_killed_sandbox_is_gone_for_ever(&isolation).await;
}

#[tokio::test]
async fn processes_keep_the_laws() {
    laws(isolation().await.0).await;
}

#[tokio::test]
async fn processes_without_root_keep_the_laws() {
    laws(isolation_without_root().await.0).await;
}

#[tokio::test]
async fn programs_without_walls_keep_the_laws() {
    laws(bare(None).await.0).await;
}

#[tokio::test]
async fn programs_without_walls_nor_groups_keep_the_laws() {
    laws(bare(Some(65_534)).await.0).await;
}

#[tokio::test]
async fn the_fake_keeps_the_laws() {
    laws(sandbox::fake(pretend)).await;
}

/// Only processes can be killed without their consent.
#[tokio::test]
async fn dropping_a_sandbox_ends_what_runs_in_it() {
    let (isolation, _) = isolation().await;
    let sandbox = soon(isolation.start(room("drop"))).await.unwrap();
    let (mut reader, writer) = std::io::pipe().unwrap();
    soon(sandbox.run(Act::Hang.program().grant(1, OwnedFd::from(writer)))).await.unwrap();
    drop(sandbox);
    let ended = tokio::task::spawn_blocking(move || reader.read_to_end(&mut Vec::new()));
    soon(ended).await.unwrap().unwrap();
}
