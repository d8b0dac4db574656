//! What a sandbox of processes is like from inside.

use sandbox::{Mount, Program, RunError};

use crate::common::{exit, isolation, output, public_folder, shell, soon, spec, succeeded};

#[tokio::test]
async fn it_looks_like_a_function_environment() {
    let (isolation, _) = isolation().await;
    let sandbox = soon(isolation.start(spec("look"))).await.unwrap();
    let script = "id; hostname; ls /; cat /proc/self/cgroup | cut -d: -f3 | sort -u; ls -1 /proc/self/fd; pwd; date +%Z; \
                  ulimit -n; ulimit -p; ulimit -s; ulimit -l; ulimit -c; touch /tmp/x && stat -c %a /tmp; umask";
    let (text, done) = output(&sandbox, script).await;
    assert_eq!(done, succeeded(), "{text}");
    let lines: Vec<&str> = text.lines().filter(|line| !["lib32", "lib64", "libx32"].contains(line)).collect();
    assert_eq!(
        lines,
        [
            "uid=993(sbx_user1051) gid=990(sbx_user1051) groups=990(sbx_user1051)",
            "localhost",
            "bin",
            "dev",
            "etc",
            "lib",
            "node_modules",
            "opt",
            "proc",
            "sbin",
            "tmp",
            "usr",
            "var",
            "/",
            "0",
            "1",
            "2",
            "3",
            "/",
            "UTC",
            "1024",
            "742",
            "8192",
            "64",
            "0",
            "1777",
            "0022",
        ]
    );
}

#[tokio::test]
async fn directories_of_the_host_are_shown_read_only() {
    let (isolation, _) = isolation().await;
    let (code, layer) = (public_folder(), public_folder());
    for folder in [&code, &layer] {
        std::fs::write(folder.path().join("file"), "content").unwrap();
    }
    let mut wanted = spec("mounts");
    wanted.mounts = vec![Mount { host: code.path().to_owned(), inside: "/var/task".into() }];
    let sandbox = soon(isolation.start(wanted)).await.unwrap();
    soon(sandbox.mount(vec![Mount { host: layer.path().to_owned(), inside: "/opt".into() }])).await.unwrap();
    let script = "cat /var/task/file /opt/file; for d in /var/task /opt /usr /etc / /var/runtime; do touch $d/x && echo BAD $d; done 2>/dev/null; true";
    assert_eq!(output(&sandbox, script).await, ("contentcontent".to_owned(), succeeded()));
    let elsewhere = Mount { host: layer.path().to_owned(), inside: "/etc".into() };
    assert!(soon(sandbox.mount(vec![elsewhere])).await.is_err());
    // A link that somebody put in a directory's place (CVE-2026-1386) leads nowhere.
    let link = layer.path().join("link");
    std::os::unix::fs::symlink("/root", &link).unwrap();
    let linked = Mount { host: link, inside: "/var/lang".into() };
    assert!(soon(sandbox.mount(vec![linked])).await.is_err());
    let missing = Mount { host: code.path().join("missing"), inside: "/opt".into() };
    assert_eq!(soon(sandbox.mount(vec![missing])).await.unwrap_err().kind(), std::io::ErrorKind::NotFound);
}

#[tokio::test]
async fn what_cannot_be_run_says_why() {
    let (isolation, _) = isolation().await;
    let sandbox = soon(isolation.start(spec("missing"))).await.unwrap();
    let mut errno = Vec::new();
    for path in ["/var/task/bootstrap", "/etc/passwd", "/tmp"] {
        let mut program = shell("");
        program.argv = vec![path.to_owned()];
        match soon(sandbox.run(program)).await {
            Err(RunError::Exec(error)) => errno.push(error.raw_os_error().unwrap()),
            other => panic!("{path}: {other:?}"),
        }
    }
    assert_eq!(errno, [libc::ENOENT, libc::EACCES, libc::EACCES]);
    let (text, _) = output(&sandbox, "printf 'no magic' >/tmp/x; chmod +x /tmp/x").await;
    assert_eq!(text, "");
    let mut program = shell("");
    program.argv = vec!["/tmp/x".to_owned()];
    match soon(sandbox.run(program)).await {
        Err(RunError::Exec(error)) => assert_eq!(error.raw_os_error(), Some(libc::ENOEXEC)),
        other => panic!("{other:?}"),
    }
}

/// Programs that people write functions in start threads and children, read clocks and randomness, and use TLS.
#[tokio::test]
async fn interpreters_of_the_host_run() {
    let (isolation, _) = isolation().await;
    let sandbox = soon(isolation.start(spec("interpreters"))).await.unwrap();
    let programs = [
        (
            "/usr/bin/python3",
            "import threading, subprocess, ssl, random, uuid, tempfile, concurrent.futures as f\n\
             p = f.ThreadPoolExecutor(8); r = list(p.map(lambda n: n * n, range(50)))\n\
             subprocess.run(['/bin/true'], check=True); ssl.create_default_context(); tempfile.mkstemp()\n\
             print('fine')",
            "-c",
        ),
        (
            "/usr/bin/node",
            "const { Worker } = require('worker_threads'); const c = require('child_process');\n\
             c.execFileSync('/bin/true'); require('fs').writeFileSync('/tmp/n', 'x');\n\
             new Worker('require(\"crypto\").randomBytes(8)', { eval: true }).on('exit', () => console.log('fine'))",
            "-e",
        ),
        ("/usr/bin/ruby", "Thread.new { File.write('/tmp/r', 'x') }.join; system('/bin/true'); puts 'fine'", "-e"),
        ("/usr/bin/perl", "system('/bin/true') == 0 or die; print qq(fine\n)", "-e"),
    ];
    for (path, code, flag) in programs {
        if !std::fs::exists(path).unwrap() {
            println!("skipped: the host has no {path}");
            continue;
        }
        let (mut reader, writer) = std::io::pipe().unwrap();
        let program = Program::new([path, flag, code]).env("PATH", "/usr/bin:/bin").directory("/tmp");
        soon(sandbox.run(program.grant(1, writer.try_clone().unwrap()).grant(2, writer))).await.unwrap();
        let done = exit(&sandbox).await;
        let mut text = String::new();
        std::io::Read::read_to_string(&mut reader, &mut text).unwrap();
        assert_eq!((text.as_str(), done), ("fine\n", succeeded()), "{path}");
    }
    if std::fs::exists("/usr/bin/java").unwrap() {
        let (text, done) = output(&sandbox, "java -Xmx64m -version 2>&1 | tail -1").await;
        assert!(text.contains("VM") && done == succeeded(), "{text}");
    } else {
        println!("skipped: the host has no Java in /usr/bin");
    }
}

/// Whoever calls the Runtime API reaches that of its own sandbox, though all are at the same address.
#[tokio::test]
async fn a_call_reaches_nobody_elses_listener() {
    let (isolation, _) = isolation().await;
    let mut wanted = spec("calls");
    wanted.listen = vec![9001];
    let mut caller = soon(isolation.start(wanted.clone())).await.unwrap();
    let mut neighbour = soon(isolation.start(wanted)).await.unwrap();
    let script = "exec bash -c 'exec 3<>/dev/tcp/127.0.0.1/9001'";
    assert_eq!(output(&caller, script).await.1, succeeded());
    let accept = |sandbox: &mut sandbox::Sandbox| sandbox.take_listeners()[0].accept();
    assert!(accept(&mut caller).is_ok());
    assert_eq!(accept(&mut neighbour).unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
}
