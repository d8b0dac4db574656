//! What the neighbours of a function notice of bombs of memory, hogs of the CPU and floods of functions (T2, T5, T7): that
//! they are answered is asserted, how fast is printed. `LAMP_TORTURE=1` has the full sizes.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use e2e::{Lamp, invoke, make_python, python, run, send};

const FUNCTION: &str = "
import mmap, time
def handler(event, context):
    what = event['what']
    if what == 'allocate':
        held = []
        while True:
            held.append(b'x' * (1 << 20))
    if what == 'map':
        held = []
        while True:
            held.append(mmap.mmap(-1, 1 << 24))
            held[-1].write(b'x' * (1 << 24))
    if what == 'spin':
        until = time.monotonic() + event['seconds']
        while time.monotonic() < until:
            pass
    return 'done'
";

fn of_full_run(full: usize, reduced: usize) -> usize {
    if std::env::var_os("LAMP_TORTURE").is_some() { full } else { reduced }
}

fn code(dir: &Path) -> PathBuf {
    let code = dir.join("app.py");
    std::fs::write(&code, FUNCTION).unwrap();
    code
}

#[expect(clippy::disallowed_methods, reason = "it says how long the machine took")]
fn timed<T>(work: impl FnOnce() -> T) -> (T, f64) {
    let begin = Instant::now();
    let done = work();
    (done, begin.elapsed().as_secs_f64() * 1e3)
}

fn shown(what: &str, mut ms: Vec<f64>) {
    ms.sort_unstable_by(f64::total_cmp);
    let of = |part: f64| ms[((ms.len() - 1) as f64 * part) as usize];
    println!("{what}: {} calls, p50 {:.1} ms, p99 {:.1} ms, at most {:.1} ms", ms.len(), of(0.5), of(0.99), of(1.0));
}

/// Has the victim called twenty times a second while something goes on.
fn beside<T: Send>(lamp: &Lamp, what: &str, work: impl FnOnce() -> T + Send) -> T {
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let victim = scope.spawn(|| {
            let mut ms = Vec::new();
            while !is_over.load(Ordering::Relaxed) {
                let (answer, took) = timed(|| invoke(lamp, "victim", r#"{"what": "nothing"}"#));
                assert!(answer.ends_with("\"done\""), "{what}: the victim was answered {answer}");
                ms.push(took);
                std::thread::sleep(Duration::from_millis(50).saturating_sub(Duration::from_secs_f64(took / 1e3)));
            }
            ms
        });
        let done = work();
        is_over.store(true, Ordering::Relaxed);
        shown(&format!("the victim beside {what}"), victim.join().unwrap());
        done
    })
}

/// Calls each of them at once; their answers, and what they took in ms.
fn at_once(lamp: &Lamp, names: &[String], event: impl Fn(usize) -> String + Sync) -> Vec<(String, f64)> {
    std::thread::scope(|scope| {
        let call = |(at, name): (usize, &'_ String)| {
            let (event, name) = (event(at), name.clone());
            scope.spawn(move || timed(|| invoke(lamp, &name, &event)))
        };
        let calls: Vec<_> = names.iter().enumerate().map(call).collect();
        calls.into_iter().map(|call| call.join().unwrap()).collect()
    })
}

fn make(lamp: &Lamp, kind: &str, count: usize, code: &Path) -> Vec<String> {
    let names: Vec<String> = (0..count).map(|number| format!("{kind}-{number}")).collect();
    names.iter().for_each(|name| make_python(lamp, name, 128, 60, code));
    // Warm, so that what follows is theirs alone.
    for name in &names {
        let answer = invoke(lamp, name, r#"{"what": "nothing"}"#);
        assert!(answer.ends_with("\"done\""), "{answer}");
    }
    names
}

#[test]
fn neighbours_of_bombs_hogs_and_floods_are_answered() {
    let dir = tempfile::tempdir().unwrap();
    let code = code(dir.path());
    let lamp = Lamp::start_logging(&dir.path().join("data"), &[], Path::new("/dev/null"));
    make_python(&lamp, "victim", 128, 60, &code);
    beside(&lamp, "nobody", || std::thread::sleep(Duration::from_millis(of_full_run(10_000, 500) as u64)));

    let bombs = make(&lamp, "bomb", of_full_run(20, 2), &code);
    let kinds = ["allocate", "map"];
    let ended = beside(&lamp, "bombs of memory", || {
        at_once(&lamp, &bombs, |at| format!(r#"{{"what": "{}"}}"#, kinds[at % kinds.len()]))
    });
    for (answer, _) in &ended {
        assert!(answer.contains("Runtime.ExitError") && answer.contains("signal: killed"), "{answer}");
    }
    shown("bombs, until they were dead", ended.into_iter().map(|(_, ms)| ms).collect());
    // Whoever died is replaced.
    let answer = invoke(&lamp, &bombs[0], r#"{"what": "nothing"}"#);
    assert!(answer.ends_with("\"done\""), "{answer}");

    let hogs = make(&lamp, "hog", of_full_run(20, 2), &code);
    let seconds = of_full_run(10, 1);
    let ended = beside(&lamp, "hogs of the CPU", || {
        at_once(&lamp, &hogs, |_| format!(r#"{{"what": "spin", "seconds": {seconds}}}"#))
    });
    assert!(ended.iter().all(|(answer, _)| answer.ends_with("\"done\"")), "{ended:?}");

    let made = beside(&lamp, "a flood of functions", || flood(&lamp, &code, of_full_run(100_000, 60)));
    shown("functions that were made", made);
    let pages = (0..20).map(|_| timed(|| send(&lamp, "GET", "/2015-03-31/functions?MaxItems=50", "")));
    let pages: Vec<f64> = pages
        .map(|(answer, ms)| {
            assert!(answer.contains("NextMarker"), "{answer}");
            ms
        })
        .collect();
    shown("pages of the list of functions", pages);
}

/// Makes so many functions, one after the other.
fn flood(lamp: &Lamp, code: &Path, count: usize) -> Vec<f64> {
    let mut zip = Command::new(python());
    zip.arg("-c").arg(
        "import base64, io, sys, zipfile\n\
         packed = io.BytesIO()\n\
         with zipfile.ZipFile(packed, 'w') as archive:\n    archive.write(sys.argv[1], 'app.py')\n\
         print(base64.b64encode(packed.getvalue()).decode())",
    );
    zip.arg(code);
    let zip = run(zip);
    let role = "arn:aws:iam::000000000000:role/r";
    let create = |number| {
        let body = format!(
            r#"{{"FunctionName":"flood-{number}","Runtime":"python3.11","Role":"{role}","Handler":"app.handler","Code":{{"ZipFile":"{}"}}}}"#,
            zip.trim()
        );
        let (answer, ms) = timed(|| send(lamp, "POST", "/2015-03-31/functions", &body));
        assert!(answer.starts_with("HTTP/1.1 201 "), "{answer}");
        ms
    };
    (0..count).map(create).collect()
}
