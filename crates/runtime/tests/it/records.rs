//! What an invocation leaves behind: one record when it begins and one when it is over, from which its lines follow.

use std::fs;
use std::time::Duration;

use base::ports::{Call, Concurrency, InvokeError};
use base::record::{AtOnce, Failure, Record};
use base::{Chance, SystemChance, hex};

use crate::bed::{Bed, call, futures};

/// Takes so much of a processor, or so long without one, and prints.
const CODE: &str = "
import time
def handler(event, context):
    print('at it')
    began = time.process_time()
    while time.process_time() - began < event.get('spin', 0):
        pass
    time.sleep(event.get('sleep', 0))
    if event.get('fail'):
        raise ValueError('as asked')
    return 1
";

/// Without anything made ahead, so that the processes of its code are those of one instance.
async fn bed() -> Bed {
    Bed::with(|settings| settings.parked_per_kind = 0).await
}

/// What the kernel counts for the groups of processes that run a code which has this mark.
fn by_the_kernel(mark: &str) -> Duration {
    let pids = fs::read_dir("/proc").unwrap().flatten().filter_map(|entry| entry.file_name().into_string().ok());
    let of_it = |pid: &String| {
        let mounts = fs::read_to_string(format!("/proc/{pid}/mountinfo")).unwrap_or_default();
        mounts.lines().any(|line| line.contains(mark) && line.contains(" /var/task "))
    };
    let pid = pids.into_iter().find(of_it).unwrap();
    let groups = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    let number = |path: String, key: &str| -> Option<u64> {
        let text = fs::read_to_string(path).ok()?;
        text.lines().find_map(|line| line.strip_prefix(key)?.trim().parse().ok())
    };
    let counted = groups.lines().find_map(|line| {
        let mut parts = line.splitn(3, ':').skip(1);
        let (controllers, group) = (parts.next()?, parts.next()?);
        if group == "/" {
            return None;
        }
        match controllers {
            "" => ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"]
                .into_iter()
                .find_map(|root| number(format!("{root}{group}/cpu.stat"), "usage_usec ").map(Duration::from_micros)),
            _ if controllers.split(',').any(|one| one == "cpuacct") => {
                number(format!("/sys/fs/cgroup/{controllers}{group}/cpuacct.usage"), "").map(Duration::from_nanos)
            }
            _ => None,
        }
    });
    counted.unwrap()
}

#[tokio::test]
async fn what_it_has_of_a_processor_is_what_the_kernel_says() {
    let bed = bed().await;
    let code = format!("{CODE}# {:?}\n", SystemChance::default().uuid());
    let function = bed.function("python3.13", "app.handler", &[("app.py", code)]).await;
    bed.invoke(&function, "{}").await;
    let mark = hex::encode(&function.code.hash);
    // Once from where it stood still, and once at once behind another one.
    for pause in [Duration::from_millis(100), Duration::ZERO] {
        tokio::time::sleep(pause).await;
        let before = by_the_kernel(&mark);
        bed.invoke(&function, r#"{"spin": 0.2}"#).await;
        let kernel = (by_the_kernel(&mark) - before).as_secs_f64();
        let record = bed.ended().pop().unwrap();
        let cpu = record.cpu.unwrap().as_secs_f64();
        assert!(cpu >= 0.2 * 0.99 && (cpu - kernel).abs() <= kernel / 100.0, "{cpu} s for {kernel} s");
        assert!(record.took.as_secs_f64() >= 0.2, "{record:?}");
        tokio::time::sleep(pause).await;
        bed.invoke(&function, r#"{"sleep": 0.2}"#).await;
        let record = bed.ended().pop().unwrap();
        let cpu = record.cpu.unwrap();
        assert!(cpu < Duration::from_millis(10) && record.took >= Duration::from_millis(200), "{record:?}");
    }
}

#[tokio::test]
async fn a_record_holds_what_its_lines_say() {
    let bed = bed().await;
    let mut function = bed.function("python3.13", "app.handler", &[("app.py", CODE)]).await;
    function.timeout = Duration::from_secs(1);
    let mut first = call(r#"{"fail": true}"#);
    first.invoked_arn.push_str(":live");
    let answer = bed.call(&function, first.clone()).await.unwrap();
    let tail = answer.tail.unwrap();
    let log = bed.log();
    assert!(log.ends_with(&tail), "{log}");
    let id = first.request_id;
    let began = tail.find(&format!("START RequestId: {id} Version: $LATEST\n")).unwrap();
    let said = tail.find("at it\n").unwrap();
    let over = tail.find(&format!("END RequestId: {id}\nREPORT RequestId: {id}\t")).unwrap();
    assert!(began < said && said < over, "{tail}");

    let record = bed.ended().pop().unwrap();
    assert_eq!((record.request_id, record.qualifier.as_str(), record.is_cold), (id, "live", true));
    assert_eq!((record.failure, of(&record.at_once)), (Some(Failure::Handler("Function.Unknown".into())), (1, 1)));
    let init = record.init.unwrap();
    assert!(tail.contains(&format!("Init Duration: {:.2} ms", init.as_secs_f64() * 1e3)), "{tail}");
    assert!(record.memory_peak_bytes.is_some_and(|bytes| bytes > 1024 * 1024));

    bed.invoke(&function, "{}").await;
    let warm = bed.ended().pop().unwrap();
    assert_eq!((warm.qualifier.as_str(), warm.is_cold, warm.init, &warm.failure), ("", false, None, &None));
    bed.invoke(&function, r#"{"sleep": 5}"#).await;
    let late = bed.ended().pop().unwrap();
    assert_eq!((late.failure, late.took), (Some(Failure::Timeout), Duration::from_secs(1)));
    bed.invoke(&function, "{}").await;
    assert!(bed.ended().pop().unwrap().is_cold, "it was loaded again");
    assert_eq!(bed.seen.records.lock().len(), 8);
}

#[tokio::test]
async fn what_a_level_keeps_from_the_log_is_recorded() {
    let bed = bed().await;
    let mut function = bed.function("python3.13", "app.handler", &[("app.py", CODE)]).await;
    function.logging.is_json = true;
    function.logging.system_level = Some("WARN".into());
    let answer = bed.invoke(&function, "{}").await;
    assert!(!bed.log().contains("platform."), "{}", bed.log());
    assert!(!answer.tail.unwrap().contains("platform."));
    assert!(matches!(bed.seen.records.lock()[..], [Record::Started(_), Record::Ended(_)]));
}

fn of(at_once: &AtOnce) -> (u32, u32) {
    (at_once.function, at_once.account)
}

#[tokio::test]
async fn those_at_once_are_counted_and_those_refused_are_told_of_once() {
    let bed = bed().await;
    let function = bed.function("python3.13", "app.handler", &[("app.py", CODE)]).await;
    let mut other = function.clone();
    (other.name, other.release) = ("other".into(), SystemChance::default().uuid());
    let slow = || Call { concurrency: Concurrency::Shared(3), ..call(r#"{"sleep": 1}"#) };
    let calls = [&function, &function, &other, &other].map(|function| (function, slow()));
    let refused = calls[3].1.request_id;
    let answers = futures(calls.into_iter().map(|(function, call)| bed.call(function, call))).await;
    let ok = answers.iter().filter(|answer| answer.is_ok()).count();
    assert!(ok == 3 && matches!(answers[3], Err(InvokeError::Throttled(_))), "{answers:?}");
    assert_eq!(bed.seen.throttled.lock()[..], [refused]);
    let mut at_once: Vec<(u32, u32)> = bed.ended().iter().map(|ended| of(&ended.at_once)).collect();
    at_once.sort_unstable();
    // Each may begin when it or all of them were there already.
    assert_eq!(at_once.iter().map(|(_, account)| *account).max(), Some(3), "{at_once:?}");
    assert!(at_once.iter().all(|(function, account)| (1..=2).contains(function) && (1..=3).contains(account)));
    assert!(at_once.contains(&(2, 2)) || at_once.contains(&(2, 3)), "{at_once:?}");
    bed.invoke(&function, "{}").await;
    assert_eq!(of(&bed.ended().pop().unwrap().at_once), (1, 1));
    assert_eq!(bed.seen.throttled.lock().len(), 1);
}
