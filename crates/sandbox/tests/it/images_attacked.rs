//! Images of hostile programs, images that fail half-way, and what is left of either: nothing.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use sandbox::testing::Fault;
use sandbox::{Image, ImageError, Isolation, Mount, Program, RunError, Sandbox, Settings, Spec};

use crate::common::{Named, OnTokio, exit, isolation, public_folder, shell, soon, spec, succeeded};
use crate::images::{self, errno, python, resume, resume_in, room, take, template, waiting, works_here};
use crate::leaks::{cycles, eventually, groups_of, open_files};

fn build(folder: &Path) {
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/hostile.c");
    let program = folder.join("hostile");
    let arguments = ["-static", "-O1", "-w", "-pthread", "-o"];
    let built = Command::new("cc").args(arguments).arg(&program).arg(source).status();
    assert!(built.expect("a C compiler is there").success());
}

fn with(folder: &Path) -> Spec {
    let mut spec = spec("hostile");
    spec.mounts = vec![Mount { host: folder.to_owned(), inside: "/var/task".into() }];
    spec
}

fn hostile(name: &str) -> Program {
    Program::new(["/var/task/hostile", name]).directory("/")
}

/// What comes of the image of such a program.
#[derive(Debug, PartialEq)]
enum Outcome {
    /// There is none.
    Refused,
    /// Nobody becomes it.
    NotResumed,
    Runs,
}

async fn outcome(isolation: &Isolation, folder: &Path, name: &str) -> Outcome {
    let start = || async { soon(isolation.start(with(folder))).await.unwrap() };
    let mut running = template(start().await, hostile(name)).await;
    let image = match take(&running).await {
        Ok(image) => image,
        Err(ImageError::Step { .. }) => return Outcome::Refused,
        Err(error) => panic!("{name}: {error:?}"),
    };
    // Who was taken goes on, and has gained nothing.
    assert_eq!(running.say("x").await, "fine", "{name}");
    let mut clone = match resume_in(start().await, &image, waiting()).await {
        Ok(clone) => clone,
        Err(error) => {
            println!("{name}: {error:?}");
            return Outcome::NotResumed;
        }
    };
    assert_eq!(clone.say("x").await, "fine", "{name}");
    Outcome::Runs
}

async fn is_well(isolation: &Isolation) {
    let sandbox = room(isolation).await;
    soon(sandbox.run(shell("exit 0"))).await.unwrap();
    assert_eq!(exit(&sandbox).await, succeeded());
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_programs_gain_nothing() {
    if !works_here() {
        return;
    }
    let folder = public_folder();
    build(folder.path());
    let (named, settings) = Named::make();
    let (isolation, _) = sandbox::processes(settings, Arc::new(OnTokio)).await.unwrap();
    let alone = named.processes();
    use Outcome::{NotResumed, Refused, Runs};
    let expected = [
        ("plain", Runs),
        ("code", Runs),
        ("threads", Refused),
        ("children", Refused),
        ("shared-with-child", Refused),
        ("bomb", Refused),
        ("timer", Refused),
        ("shared", Refused),
        ("memfd", Refused),
        ("file", Refused),
        ("open", Runs),
        ("pipe", Runs),
        ("half-a-pipe", NotResumed),
        ("full-pipe", Refused),
        ("pipe-twice", NotResumed),
        ("counter-twice", Refused),
        ("waits-on-closed", Refused),
        ("waits-on-thousands", Refused),
        ("named-as-image", Refused),
        ("memory", NotResumed),
        ("writes", NotResumed),
        ("twice", Refused),
        ("apart", Refused),
        ("thread-with-child", Refused),
        ("many-threads", Refused),
        ("far-numbers", Refused),
        ("pending", Refused),
        ("headless", Refused),
        ("high", Refused),
        ("many", Refused),
        ("vast", Refused),
        ("low", Refused),
        ("sparse", Refused),
        ("clockless", NotResumed),
        ("far", NotResumed),
        ("spin", Refused),
        ("stuck", Refused),
        ("dying", Refused),
        ("no-stack", Refused),
    ];
    for (name, expected) in expected {
        let tried = tokio::time::timeout(Duration::from_secs(20), outcome(&isolation, folder.path(), name)).await;
        assert_eq!(tried.expect("it holds nobody up"), expected, "{name}");

        is_well(&isolation).await;
    }
    eventually("nobody is left", || named.processes() == alone).await;
}

/// A program that is not what it should be while it waits to become another.
#[tokio::test(flavor = "multi_thread")]
async fn hostile_programs_become_nobody_else() {
    if !works_here() {
        return;
    }
    let folder = public_folder();
    build(folder.path());
    let (isolation, _) = isolation().await;
    let image = take(&template(room(&isolation).await, python("")).await).await.unwrap();
    for name in ["threads", "bomb", "spin", "dying", "clockless", "timer", "many", "low", "code"] {
        let sandbox = soon(isolation.start(with(folder.path()))).await.unwrap();
        // It may have become an image before it did harm; then it is that.
        if let Ok(mut clone) = resume_in(sandbox, &image, hostile(name)).await {
            let mut said = clone.say("len(kept), os.getpid()").await;
            while said == "ready" {
                said = clone.hear().await;
            }
            assert_eq!(said, "(20000, 2)", "{name}");
        }
        is_well(&isolation).await;
    }
}

/// Half of what a helper has.
const PROMPT: Duration = Duration::from_secs(5);

async fn room_with(isolation: &Isolation, folder: &Path) -> Sandbox {
    soon(isolation.start(with(folder))).await.unwrap()
}

/// What a program calls an image, or makes of its own, takes nobody's time.
#[tokio::test(flavor = "multi_thread")]
async fn hostile_programs_teach_nothing() {
    if !works_here() {
        return;
    }
    let folder = public_folder();
    build(folder.path());
    let (isolation, _) = isolation().await;
    let other = template(room_with(&isolation, folder.path()).await, hostile("named-as-image")).await;
    let image = take(&template(room(&isolation).await, python("")).await).await.unwrap();
    let learnt = tokio::time::timeout(PROMPT, other.sandbox.learn(&image, other.process)).await;
    learnt.expect("it is not looked through").unwrap();

    let first = template(room_with(&isolation, folder.path()).await, hostile("grows-image")).await;
    let image = take(&first).await.unwrap();
    let mut clone = resume_in(room_with(&isolation, folder.path()).await, &image, waiting()).await.unwrap();
    soon(clone.sandbox.learn(&image, clone.process)).await.unwrap();
    assert_eq!(clone.say("x").await, "fine");
    let error = soon(clone.sandbox.learn(&image, clone.process)).await.unwrap_err();
    assert_eq!(errno(&error), Some(libc::EOPNOTSUPP), "{error:?}");
}

/// Nobody reads to its end what a program has made long.
#[tokio::test(flavor = "multi_thread")]
async fn what_the_kernel_tells_of_a_program_is_bounded() {
    if !works_here() {
        return;
    }
    let folder = public_folder();
    build(folder.path());
    let (isolation, _) = isolation().await;
    for name in ["waits-on-thousands", "many"] {
        let running = template(room_with(&isolation, folder.path()).await, hostile(name)).await;
        let error = take(&running).await.unwrap_err();
        assert_eq!(errno(&error), Some(libc::EFBIG), "{name}: {error:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn few_are_held_up_at_once() {
    if works_here() {
        hold_up(None).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn few_are_held_up_at_once_without_root() {
    if works_here() {
        hold_up(rustix::process::geteuid().is_root().then_some(65_534)).await;
    }
}

/// Programs that hold up whoever takes an image of them are not served all at once, and are in no clone's way.
async fn hold_up(as_user: Option<u32>) {
    const STUCK: usize = 10;
    const MOST: usize = 4;
    let folder = public_folder();
    build(folder.path());
    let (named, settings) = Named::make();
    let settings = Settings { as_user, ..settings };
    let (isolation, _) = sandbox::processes(settings, Arc::new(OnTokio)).await.unwrap();
    let alone = named.processes().len();
    let image = take(&template(room(&isolation).await, python("")).await).await.unwrap();
    eventually("nobody is left", || named.processes().len() == alone).await;
    let mut stuck = Vec::new();
    for _ in 0..STUCK {
        stuck.push(Arc::new(template(room_with(&isolation, folder.path()).await, hostile("stuck")).await));
    }
    let idle = named.processes().len();
    let takes: Vec<_> = stuck
        .iter()
        .map(|running| {
            let running = Arc::clone(running);
            #[expect(clippy::disallowed_methods, reason = "this is where tasks start")]
            tokio::spawn(async move { running.sandbox.take(running.process).await.map(drop) })
        })
        .collect();
    eventually("some are held up", || named.processes().len() >= idle + MOST).await;
    // Orders are obeyed one after the other: those before this one have been.
    let clone = tokio::time::timeout(PROMPT, async {
        let mut clone = resume(room(&isolation).await, &image).await.unwrap();
        assert_eq!(clone.say("len(kept)").await, "20000");
        eventually("few are held up", || named.processes().len() == idle + 1 + MOST).await;
        clone
    });
    let clone = clone.await.expect("nobody holds it up");
    // Should memory be short, they are the ones to die, and what they have copied goes with them.
    let first_to_die = |pid: &u32| {
        let text = std::fs::read_to_string(format!("/proc/{pid}/oom_score_adj"));
        text.is_ok_and(|text| text.trim() == "1000")
    };
    assert_eq!(named.processes().iter().filter(|pid| first_to_die(pid)).count(), MOST);
    for running in &stuck {
        soon(running.sandbox.kill()).await;
    }
    for taken in takes {
        assert!(soon(taken).await.unwrap().is_err());
    }
    drop((stuck, clone));
    is_well(&isolation).await;
    eventually("nobody is left", || named.processes().len() == alone).await;
}

/// An image is for those who are given the same, and there is none behind no walls.
#[tokio::test(flavor = "multi_thread")]
async fn images_want_their_descriptors_and_walls() {
    if !works_here() {
        return;
    }
    let (isolation, _) = isolation().await;
    let image = take(&template(room(&isolation).await, python("")).await).await.unwrap();
    let error = soon(room(&isolation).await.resume(&image, waiting())).await.unwrap_err();
    assert!(matches!(error, ImageError::Run(RunError::Program(_))), "{error:?}");
    let (bare, _) = crate::common::bare(None).await;
    let mut running = template(room(&bare).await, python("")).await;
    assert!(take(&running).await.is_err());
    assert_eq!(running.say("1").await, "1");
    assert!(resume(room(&bare).await, &image).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn many_clones_leave_nothing() {
    if works_here() {
        leave_nothing(&|| (spec("image"), python("")), ("len(kept)", "20000")).await;
    }
}

/// Clones of a program, of which some answer a question.
pub async fn leave_nothing(who: Who<'_>, (question, answer): (&str, &str)) {
    let (named, settings) = Named::make();
    let (isolation, _) = sandbox::processes(settings, Arc::new(OnTokio)).await.unwrap();
    let spawner = *named.processes().first().unwrap();
    let room = async || soon(isolation.start(who().0)).await.unwrap();
    let image = take(&template(room().await, who().1).await).await.unwrap();
    drop(resume(room().await, &image).await.unwrap());
    eventually("the spawner is at rest", || named.processes() == [spawner]).await;
    let files = (open_files(spawner), open_files(std::process::id()));
    for round in 0..cycles() {
        let mut clone = resume(room().await, &image).await.unwrap();
        match round % 3 {
            0 => assert_eq!(clone.say(question).await, answer),
            1 => drop(clone.sandbox.freeze()),
            _ => {}
        }
    }
    eventually("no clone has processes", || named.processes() == [spawner]).await;
    let has_groups = |path: &std::path::PathBuf| {
        std::fs::read_dir(path).into_iter().flatten().flatten().any(|entry| entry.path().is_dir())
    };
    eventually("no clone has groups", || !groups_of(spawner).iter().any(has_groups)).await;
    // Other tests of this process open files too.
    let few = 16;
    assert!(open_files(spawner) <= files.0 + 4);
    assert!(open_files(std::process::id()) <= files.1 + few + cycles() / 2);
}

/// Whoever goes away half-way, at whatever moment, leaves nobody, and is in nobody's way.
#[tokio::test(flavor = "multi_thread")]
async fn clones_that_are_given_up_leave_nothing() {
    if !works_here() {
        return;
    }
    let (named, settings) = Named::make();
    let (isolation, _) = sandbox::processes(settings, Arc::new(OnTokio)).await.unwrap();
    let alone = named.processes();
    let first = template(room(&isolation).await, python("")).await;
    let image = take(&first).await.unwrap();
    let mut given_up = 0;
    for round in 0..cycles() as u64 {
        let sandbox = room(&isolation).await;
        let patience = Duration::from_micros(round * 250 % 12_000);
        match round % 3 {
            // The caller goes away.
            0 => {
                let resumed = tokio::time::timeout(patience, resume(sandbox, &image)).await;
                given_up += u32::from(resumed.is_err());
            }
            // The room is killed.
            1 => {
                let sandbox = Arc::new(sandbox);
                let killer = Arc::clone(&sandbox);
                #[expect(clippy::disallowed_methods, reason = "this is where tasks start")]
                let killing = tokio::spawn(async move {
                    tokio::time::sleep(patience).await;
                    soon(killer.kill()).await;
                });
                let (program, _orders, _told) = images::talk(waiting());
                given_up += u32::from(soon(sandbox.resume(&image, program)).await.is_err());
                soon(killing).await.unwrap();
            }
            // The one of whom an image is taken is killed.
            _ => {
                let victim = template(sandbox, python("")).await;
                let killing = async {
                    tokio::time::sleep(patience).await;
                    soon(victim.sandbox.kill()).await;
                };
                let (taken, ()) = tokio::join!(soon(victim.sandbox.take(victim.process)), killing);
                given_up += u32::from(taken.is_err());
            }
        }
    }
    assert!(given_up >= 3, "only {given_up} were given up in time");
    drop(first);
    is_well(&isolation).await;
    eventually("nobody is left", || named.processes() == alone).await;
}

/// A program of which an image is taken, and where it runs.
type Who<'a> = &'a dyn Fn() -> (Spec, Program);

async fn try_both(isolation: &Isolation, image: &Image, who: Who<'_>, failed: &mut BTreeSet<String>) -> bool {
    let Ok(sandbox) = soon(isolation.start(who().0)).await else { return false };
    let mut told = |error: ImageError| match error {
        ImageError::Step { step, source } => {
            // One that could not be let go is dead when the next helper looks for it.
            let expected = [libc::ECANCELED, libc::ESRCH];
            assert!(source.raw_os_error().is_some_and(|errno| expected.contains(&errno)), "{step}: {source}");
            failed.insert(step);
        }
        ImageError::Run(error) => panic!("{error:?}"),
    };
    let (program, _orders, mut heard) = images::talk(who().1);
    let Ok(process) = soon(sandbox.run(program)).await else { return false };
    let mut line = String::new();
    tokio::task::block_in_place(|| std::io::BufRead::read_line(&mut heard, &mut line)).unwrap();
    let learnt = soon(sandbox.learn(image, process)).await.map(drop).map_err(&mut told);
    let taken = images::take_of(&sandbox, process).await.map(drop).map_err(&mut told);
    let Ok(fresh) = soon(isolation.start(who().0)).await else { return false };
    let (program, ..) = images::talk(waiting());
    let resumed = soon(fresh.resume(image, program)).await.map(drop).map_err(&mut told);
    taken.is_ok() && learnt.is_ok() && resumed.is_ok()
}

/// Every step of taking and of becoming an image fails once. Nobody is handed out who is half another.
pub async fn fail(who: Who<'_>, least: usize) {
    let (other, _) = isolation().await;
    let (spec, program) = who();
    let image = take(&template(soon(other.start(spec)).await.unwrap(), program).await).await.unwrap();
    let mut failed = BTreeSet::new();
    for step in 1.. {
        let (named, settings) = Named::make();
        let settings = Settings { fault: Some(Fault::FailHelper(step)), ..settings };
        let (isolation, _) = sandbox::processes(settings, Arc::new(OnTokio)).await.unwrap();
        let is_past = try_both(&isolation, &image, who, &mut failed).await;
        is_well(&isolation).await;
        eventually("nobody is left", || named.processes().len() == 1).await;
        if is_past {
            break;
        }
    }
    assert!(failed.len() >= least, "only {} steps failed: {failed:#?}", failed.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_that_fails_leaves_nothing() {
    if works_here() {
        fail(&|| (spec("fault"), python("")), 25).await;
    }
}
