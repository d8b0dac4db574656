//! What a sandbox of processes is like from inside.

mod common;

use common::{exit, isolation, output, shell, soon, spec, succeeded};
use sandbox::Status;

#[tokio::test]
async fn a_program_runs_and_its_exit_is_told() {
    let (isolation, _) = isolation().await;
    let sandbox = soon(isolation.start(spec("exit"))).await.unwrap();
    soon(sandbox.run(shell("exit 7"))).await.unwrap();
    assert_eq!(exit(&sandbox).await.status, Status::Code(7));
    soon(sandbox.run(shell("kill -SEGV $$"))).await.unwrap();
    assert_eq!(exit(&sandbox).await.status, Status::Signal(libc::SIGSEGV));
    soon(sandbox.kill()).await;
}

#[tokio::test]
async fn it_looks_like_a_function_environment() {
    let (isolation, _) = isolation().await;
    let sandbox = soon(isolation.start(spec("look"))).await.unwrap();
    let (text, done) = output(&sandbox, "id; ls /; ls /proc | head -3; cat /proc/self/status | grep -E 'Cap|NoNew|Secc'; ls -l /proc/self/fd; cat /proc/self/mountinfo /proc/self/cgroup; hostname; ls -la /dev /etc; ulimit -a").await;
    println!("{text}");
    assert_eq!(done, succeeded());
}
