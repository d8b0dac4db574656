//! What holds without walls, and what does not and is said so.

use sandbox::{Event, Mount, Sandbox, Status};

use crate::common::{bare, exit, output, public_folder, shell, soon, spec, succeeded};

#[tokio::test]
async fn programs_find_the_places_of_a_function() {
    let (isolation, features) = bare(Some(65_534)).await;
    assert!(features.missing("isolation").is_some());
    let (code, layer) = (public_folder(), public_folder());
    std::fs::write(code.path().join("file"), "code").unwrap();
    std::fs::write(layer.path().join("file"), "layer").unwrap();
    let mut wanted = spec("places");
    wanted.mounts = vec![Mount { host: code.path().to_owned(), inside: "/var/task".into() }];
    let sandbox = soon(isolation.start(wanted.clone())).await.unwrap();
    soon(sandbox.mount(vec![Mount { host: layer.path().to_owned(), inside: "/opt".into() }])).await.unwrap();
    assert_eq!(sandbox.locate("/var/task:/opt"), format!("{}:{}", code.path().display(), layer.path().display()));
    let (mut reader, writer) = std::io::pipe().unwrap();
    let script = "pwd; cat file $LAYER/file; ls /var/lang /var/runtime; echo x >/tmp/own; ls $TMPDIR; ulimit -n";
    let program = shell(script).env("LAYER", "/opt").directory("/var/task");
    soon(sandbox.run(program.grant(1, writer.try_clone().unwrap()).grant(2, writer))).await.unwrap();
    assert_eq!(exit(&sandbox).await, succeeded());
    let mut text = String::new();
    std::io::Read::read_to_string(&mut reader, &mut text).unwrap();
    let runtime = sandbox.locate("/var/runtime");
    let lang = sandbox.locate("/var/lang");
    let expected = format!("{}\ncodelayer{lang}:\n\n{runtime}:\nown\n1024\n", code.path().display());
    assert_eq!(text, expected);
    // Nobody else has that /tmp, and it goes with the sandbox.
    let other = soon(isolation.start(wanted)).await.unwrap();
    assert_eq!(output(&other, "ls /tmp").await, (String::new(), succeeded()));
    let tmp = sandbox.locate("/tmp");
    assert!(std::fs::exists(&tmp).unwrap());
    soon(sandbox.kill()).await;
    assert!(!std::fs::exists(&tmp).unwrap());
    let missing = Mount { host: code.path().join("missing"), inside: "/opt".into() };
    assert!(soon(other.mount(vec![missing])).await.is_err());
}

/// A process that has left its session and its parents.
async fn start_stray(sandbox: &Sandbox) -> u32 {
    // There may have been one before it.
    output(sandbox, "rm -f /tmp/pid").await;
    let script = "(setsid sh -c 'trap \"\" TERM HUP; echo $$ >/tmp/pid; mkdir -p /tmp/closed/x; chmod 0 /tmp/closed; while :; do sleep 1; done' &) ; sleep 1000";
    soon(sandbox.run(shell(script))).await.unwrap();
    let (text, _) = output(sandbox, "until [ -s /tmp/pid ] && [ -d /tmp/closed ]; do :; done; cat /tmp/pid").await;
    text.trim().parse().unwrap()
}

fn is_alive(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z'))
}

#[tokio::test]
async fn nobody_survives_a_clear_or_a_kill() {
    for as_user in [None, Some(65_534)] {
        let (isolation, _) = bare(as_user).await;
        let bystander = soon(isolation.start(spec("bystander"))).await.unwrap();
        soon(bystander.run(shell("sleep 1000"))).await.unwrap();
        let sandbox = soon(isolation.start(spec("stray"))).await.unwrap();
        let stray = start_stray(&sandbox).await;
        assert!(is_alive(stray));
        soon(sandbox.clear()).await.unwrap();
        assert!(!is_alive(stray));
        assert_eq!(exit(&sandbox).await.status, Status::Signal(libc::SIGKILL));
        let stray = start_stray(&sandbox).await;
        let tmp = sandbox.locate("/tmp");
        soon(sandbox.kill()).await;
        assert!(!is_alive(stray) && !std::fs::exists(tmp).unwrap());
        // Neighbours live on.
        assert_eq!(output(&bystander, "echo alive").await, ("alive\n".to_owned(), succeeded()));
        let stray = start_stray(&bystander).await;
        drop((sandbox, isolation));
        assert_eq!(output(&bystander, "echo alive").await, ("alive\n".to_owned(), succeeded()));
        drop(bystander);
        soon(async {
            while is_alive(stray) {
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
        })
        .await;
    }
}

#[tokio::test]
async fn limits_that_the_host_lends_hold() {
    let (isolation, features) = bare(None).await;
    if !features.works("memory limit") {
        println!("skipped: this host has no memory limit");
        return;
    }
    let mut small = spec("memory");
    small.limits.memory_bytes = 64 * crate::common::MIB;
    let sandbox = soon(isolation.start(small)).await.unwrap();
    soon(sandbox.run(shell("head -c 200M /dev/zero | tail -c 150M >/dev/null"))).await.unwrap();
    match soon(sandbox.event()).await {
        Event::Exited { exit, .. } => assert!(exit.out_of_memory, "{exit:?}"),
        Event::Gone => panic!("the sandbox is gone"),
    }
}
