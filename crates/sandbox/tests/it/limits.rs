//! What a sandbox may use, and what happens when it wants more.

use std::sync::Arc;
use std::time::Duration;

use sandbox::{Cpu, Features, Freezing, Isolation, Status};

use crate::common::{
    MIB, OnTokio, exit, isolation, isolation_without_root, output, settings, shell, soon, spec, succeeded,
};

/// Says so when the host lends us less than a test needs.
macro_rules! needs {
    ($features:expr, $name:expr) => {
        if !$features.works($name) {
            println!("skipped: this host has no {}", $name);
            return;
        }
    };
}

/// The kernel lets the dying have a little more.
const OVER: u64 = 2;

#[tokio::test]
async fn too_much_memory_is_told_as_such() {
    let (isolation, features) = isolation().await;
    needs!(features, "memory limit");
    let mut small = spec("memory");
    small.limits.memory_bytes = 64 * MIB;
    small.limits.tmp_bytes = MIB;
    let sandbox = soon(isolation.start(small)).await.unwrap();
    // tail keeps what has no line ends.
    soon(sandbox.run(shell("head -c 200M /dev/zero | tail -c 150M >/dev/null"))).await.unwrap();
    let killed = exit(&sandbox).await;
    assert!(killed.out_of_memory, "{killed:?}");
    let usage = sandbox.usage().unwrap();
    assert!(
        usage.memory_peak_bytes.unwrap() > 60 * MIB && usage.memory_peak_bytes.unwrap() <= (65 + OVER) * MIB,
        "{usage:?}"
    );
    assert!(usage.out_of_memory > Some(0), "{usage:?}");
    assert_eq!(sandbox.memory_peak_bytes(), usage.memory_peak_bytes);
    // It is told once, and the room is as good as new.
    soon(sandbox.run(shell("exit 0"))).await.unwrap();
    assert_eq!(exit(&sandbox).await, succeeded());
    let mut larger = spec("").limits;
    larger.memory_bytes = 256 * MIB;
    sandbox.limit(larger).unwrap();
    soon(sandbox.run(shell("head -c 200M /dev/zero | tail -c 150M >/dev/null"))).await.unwrap();
    assert_eq!(exit(&sandbox).await, succeeded());
}

#[tokio::test]
async fn what_is_held_is_what_is_given_back() {
    let (isolation, features) = isolation().await;
    needs!(features, "memory limit");
    let before = isolation.held_bytes().unwrap();
    let sandbox = soon(isolation.start(spec("held"))).await.unwrap();
    let empty = sandbox.held_bytes().unwrap();
    // What is in /tmp stays; what was held and is no more does not count.
    soon(sandbox.run(shell("head -c 60M /dev/zero | tail -c 50M >/dev/null; head -c 20M /dev/zero >/tmp/file")))
        .await
        .unwrap();
    assert_eq!(exit(&sandbox).await, succeeded());
    let held = sandbox.held_bytes().unwrap();
    // The init itself holds some pages less by then.
    assert!((19 * MIB..40 * MIB).contains(&held.saturating_sub(empty)), "{empty} before, {held} after");
    assert!(sandbox.memory_peak_bytes().unwrap() >= 50 * MIB);
    assert!(sandbox.usage().unwrap().memory_bytes.unwrap() + MIB >= held);
    let all = isolation.held_bytes().unwrap().saturating_sub(before);
    assert!((19 * MIB..60 * MIB).contains(&all), "{all} by all");
    soon(sandbox.kill()).await;
    // The kernel takes a moment to let go of what was in /tmp.
    let is_given_back = async {
        while isolation.held_bytes().unwrap().saturating_sub(before) > 10 * MIB {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    soon(is_given_back).await;
}

/// On AWS `/tmp` is a disk.
#[tokio::test]
async fn what_is_in_tmp_is_not_memory() {
    let (isolation, features) = isolation().await;
    needs!(features, "memory limit");
    let mut small = spec("tmp");
    small.limits.memory_bytes = 64 * MIB;
    small.limits.tmp_bytes = 512 * MIB;
    let sandbox = soon(isolation.start(small)).await.unwrap();
    let peak = || sandbox.memory_peak_bytes().unwrap();
    // Endless, but for the sum of both.
    let bomb = "exec python3 -c \"
import time
held = []
while True: held.append(b'x' * (1 << 20)); time.sleep(0.001)\"";
    soon(sandbox.run(shell(bomb))).await.unwrap();
    let killed = exit(&sandbox).await;
    assert!(killed.out_of_memory, "{killed:?}");
    assert!((60 * MIB..200 * MIB).contains(&peak()), "{}", peak());
    // It may have what is its own again, and its /tmp beside it.
    soon(sandbox.run(shell("head -c 300M /dev/zero >/tmp/file && head -c 60M /dev/zero | tail -c 40M >/dev/null")))
        .await
        .unwrap();
    assert_eq!(exit(&sandbox).await, succeeded());
    assert!(peak() >= 340 * MIB, "{}", peak());
    soon(sandbox.run(shell(bomb))).await.unwrap();
    let killed = exit(&sandbox).await;
    assert!(killed.out_of_memory, "{killed:?}");
    assert!(peak() < 500 * MIB, "{}", peak());
    // Also one that has slept, and one that was given other limits meanwhile.
    sandbox.freeze().unwrap();
    let mut larger = spec("").limits;
    larger.memory_bytes = 128 * MIB;
    sandbox.limit(larger).unwrap();
    sandbox.thaw().unwrap();
    soon(sandbox.run(shell("rm /tmp/file; head -c 200M /dev/zero | tail -c 70M >/dev/null"))).await.unwrap();
    assert_eq!(exit(&sandbox).await, succeeded());
    soon(sandbox.run(shell(bomb))).await.unwrap();
    assert!(exit(&sandbox).await.out_of_memory);
    assert!(peak() < 500 * MIB, "{}", peak());
}

/// Each may hold much, all together little: one of them ends then, and not who holds less.
#[tokio::test]
async fn sandboxes_have_a_limit_together() {
    let settings = sandbox::Settings { memory_bytes: Some(96 * MIB), ..settings() };
    let (isolation, features) = sandbox::processes(settings, Arc::new(OnTokio)).await.unwrap();
    needs!(features, "memory limit");
    let neighbour = soon(isolation.start(spec("neighbour"))).await.unwrap();
    soon(neighbour.run(shell("head -c 20M /dev/zero >/tmp/file; sleep 1000"))).await.unwrap();
    let large = soon(isolation.start(spec("large"))).await.unwrap();
    soon(large.run(shell("head -c 200M /dev/zero | tail -c 150M >/dev/null"))).await.unwrap();
    let killed = exit(&large).await;
    assert!(killed.out_of_memory, "{killed:?}");
    assert_eq!(neighbour.usage().unwrap().out_of_memory, Some(0));
    soon(large.run(shell("exit 0"))).await.unwrap();
    assert_eq!(exit(&large).await, succeeded());
}

/// T2: bombs in memory of all kinds, in `/tmp` and in both, all at once: each ends itself, and a neighbour notices
/// nothing.
#[tokio::test]
async fn bombs_end_only_those_who_light_them() {
    let (isolation, features) = isolation().await;
    needs!(features, "memory limit");
    let victim = soon(isolation.start(spec("victim"))).await.unwrap();
    let (mut reader, writer) = std::io::pipe().unwrap();
    let beats = "i=0; while [ $i -lt 50 ]; do echo beat; sleep 0.01; i=$((i+1)); done";
    soon(victim.run(shell(beats).grant(1, writer))).await.unwrap();
    let mut bombs = Vec::new();
    for at in 0..20 {
        let mut small = spec("bomb");
        small.limits.memory_bytes = 32 * MIB;
        small.limits.tmp_bytes = 8 * MIB;
        let bomb = soon(isolation.start(small)).await.unwrap();
        let script = match at % 5 {
            0 => "head -c 200M /dev/zero | tail -c 150M",
            1 => "exec head -c 200M /dev/zero >/tmp/bomb",
            2 => "for i in 1 2 3 4; do (head -c 50M /dev/zero | tail -c 40M >/tmp/$i) & done; wait",
            3 => {
                "exec python3 -c \"import os; f = os.memfd_create('bomb'); [os.write(f, bytes(1 << 20)) for _ in range(128)]\""
            }
            _ => "exec python3 -c \"import mmap; m = mmap.mmap(-1, 128 << 20); m.write(bytes(128 << 20))\"",
        };
        soon(bomb.run(shell(script))).await.unwrap();
        bombs.push(bomb);
    }
    for (at, bomb) in bombs.iter().enumerate() {
        let (ended, usage) = (exit(bomb).await, bomb.usage().unwrap());
        match at % 5 {
            // There is no room left on what is a disk elsewhere.
            1 => assert_eq!((ended.status, usage.out_of_memory), (Status::Code(1), Some(0))),
            _ => assert!(ended.out_of_memory || usage.out_of_memory > Some(0), "{ended:?}"),
        }
        assert!(usage.memory_peak_bytes.unwrap_or(0) <= (40 + OVER) * MIB);
    }
    assert_eq!(exit(&victim).await, succeeded());
    let mut text = String::new();
    std::io::Read::read_to_string(&mut reader, &mut text).unwrap();
    assert_eq!(text.lines().count(), 50);
}

#[tokio::test]
async fn descriptors_are_counted() {
    let (isolation, _) = isolation().await;
    let sandbox = soon(isolation.start(spec("files"))).await.unwrap();
    // bash takes the next number that is free; the limit is 1,024.
    let script = "exec bash -c 'i=0; while exec {fd}</dev/null; do i=$((i+1)); [ $i -gt 2000 ] && break; done 2>/dev/null; echo $i'";
    let (text, _) = output(&sandbox, script).await;
    let opened: u32 = text.trim().parse().unwrap_or_else(|_| panic!("{text}"));
    assert!((900..1_024).contains(&opened), "{opened}");
}

#[tokio::test]
async fn processes_are_counted() {
    let (isolation, features) = isolation().await;
    needs!(features, "process limit");
    let mut small = spec("pids");
    small.limits.processes = 20;
    let sandbox = soon(isolation.start(small)).await.unwrap();
    let script = "i=0; while [ $i -lt 100 ]; do sleep 100 & i=$((i+1)); done; true";
    let (text, _) = output(&sandbox, &format!("({script}) 2>&1 | head -1; kill -9 -1")).await;
    assert!(text.contains("ork"), "a fork bomb is told about: {text}");
    soon(sandbox.clear()).await.unwrap();
    assert_eq!(output(&sandbox, "echo alive").await, ("alive\n".to_owned(), succeeded()));
}

/// T1, at full size: a bomb of processes and one of threads end at the limit, and go with one order.
async fn bombs_of_tasks_end((isolation, features): (Isolation, Features)) {
    let processes = "i=0; while [ $i -lt 1200 ]; do sleep 1000 & i=$((i+1)); echo $i; done";
    let threads = "exec python3 -c \"
import threading
count = 0
try:
    while count < 1200:
        threading.Thread(target=threading.Event().wait).start(); count += 1; print(count, flush=True)
except RuntimeError: print('stop', flush=True); threading.Event().wait()\"";
    // Where memory is limited by the process, stacks of 8 MiB are what ends threads.
    let threads_min = if features.works("memory limit") { 500 } else { 20 };
    for (script, least) in [(processes, 500), (threads, threads_min)] {
        let sandbox = soon(isolation.start(spec("bomb"))).await.unwrap();
        let (text, reached) = {
            let (mut reader, writer) = std::io::pipe().unwrap();
            let complaints = writer.try_clone().unwrap();
            soon(sandbox.run(shell(script).grant(1, writer).grant(2, complaints))).await.unwrap();
            let read = tokio::task::spawn_blocking(move || {
                let (mut text, mut bytes) = (String::new(), [0; 4096]);
                // Until somebody is told that there is no more to be had.
                while !text.contains("ork") && !text.contains("stop") {
                    let count = std::io::Read::read(&mut reader, &mut bytes).unwrap();
                    assert!(count > 0, "{text}");
                    text.push_str(&String::from_utf8_lossy(&bytes[..count]));
                }
                text
            });
            let text = soon(read).await.unwrap();
            let reached = text.split_whitespace().filter_map(|word| word.parse::<u32>().ok()).max().unwrap();
            (text, reached)
        };
        assert!((least..1_024).contains(&reached), "{reached}: {text}");
        if let Some(tasks) = sandbox.usage().unwrap().processes {
            assert!(tasks <= 1_025, "{tasks}");
        }
        soon(sandbox.clear()).await.unwrap();
        assert!(sandbox.usage().unwrap().processes.unwrap_or(1) <= 1);
        // The shell may have given up before.
        let _ = exit(&sandbox).await;
        assert_eq!(output(&sandbox, "echo alive").await, ("alive\n".to_owned(), succeeded()));
    }
}

#[tokio::test]
async fn bombs_of_tasks_end_at_the_limit() {
    bombs_of_tasks_end(isolation().await).await;
}

#[tokio::test]
async fn bombs_of_tasks_end_at_the_limit_without_root() {
    bombs_of_tasks_end(isolation_without_root().await).await;
}

#[tokio::test]
async fn tmp_ends_where_it_should() {
    let (isolation, _) = isolation().await;
    let mut small = spec("tmp");
    small.limits.tmp_bytes = 8 * MIB;
    small.limits.tmp_inodes = 100;
    let sandbox = soon(isolation.start(small)).await.unwrap();
    let bytes = "head -c 9M /dev/zero >/tmp/big 2>/dev/null && echo BAD; stat -c %s /tmp/big; rm /tmp/big";
    assert_eq!(output(&sandbox, bytes).await.0, "8388608\n");
    let inodes = "i=0; while [ $i -lt 200 ]; do true >/tmp/$i || break; i=$((i+1)); done 2>/dev/null; echo $((i > 90 && i < 100))";
    assert_eq!(output(&sandbox, inodes).await.0, "1\n");
}

#[tokio::test]
async fn a_frozen_sandbox_stands_still_and_can_be_killed() {
    let (isolation, features) = isolation().await;
    needs!(features, "freezing");
    let sandbox = soon(isolation.start(spec("freeze"))).await.unwrap();
    soon(sandbox.run(shell("while :; do :; done"))).await.unwrap();
    let used = |sandbox: &sandbox::Sandbox| sandbox.usage().unwrap().cpu.unwrap();
    while used(&sandbox) < Duration::from_millis(20) {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(sandbox.freeze().unwrap(), Freezing::Done);
    // The kernel freezes within some milliseconds; then the count stands.
    let mut before = used(&sandbox);
    let stands = loop {
        tokio::time::sleep(Duration::from_millis(20)).await;
        let now = used(&sandbox);
        if now == before {
            break now;
        }
        before = now;
    };
    sandbox.thaw().unwrap();
    while used(&sandbox) <= stands {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(sandbox.freeze().unwrap(), Freezing::Done);
    soon(sandbox.clear()).await.unwrap();
    assert_eq!(exit(&sandbox).await.status, Status::Signal(libc::SIGKILL));
    assert_eq!(sandbox.freeze().unwrap(), Freezing::Done);
    soon(sandbox.kill()).await;
}

#[tokio::test]
async fn a_quota_of_cpu_is_kept() {
    let (isolation, features) = isolation().await;
    needs!(features, "CPU share");
    let mut slow = spec("quota");
    slow.limits.cpu = Cpu::Quota(100);
    let sandbox = soon(isolation.start(slow)).await.unwrap();
    soon(sandbox.run(shell("while :; do :; done"))).await.unwrap();
    let begin = tokio::time::Instant::now();
    let first = sandbox.usage().unwrap().cpu.unwrap();
    tokio::time::sleep(Duration::from_millis(600)).await;
    let used = sandbox.usage().unwrap().cpu.unwrap() - first;
    let share = used.as_secs_f64() / begin.elapsed().as_secs_f64();
    // A busy machine may give less, never more; a period's worth may fall on either side.
    assert!(share < 0.15, "a tenth of a processor, not {share}");
}
