//! What runs functions: isolation by trying it, what the host lends it, the way out, interpreters and SDKs.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use base::{Spawn, with_causes};
use runtime::{Family, Offer, RUNTIMES, Serving};
use sandbox::{EGRESS, Event, Exit, Feature, Features, Isolation, NOT_FORWARDING, Program, Spec, Status};
use wire::server::Tasks;

use super::Check;
use crate::cli::functions as cli;
use crate::config::Config;
use crate::config::functions::Functions;
use crate::{functions, sandboxes};

/// How long a sandbox may take that runs nothing to speak of.
const TRIAL_TIMEOUT: Duration = Duration::from_secs(10);
const TASKS_STOP: Duration = Duration::from_secs(2);
const TRIAL_BYTES: u64 = 128 << 20;
/// Told by itself, after a trial.
const ISOLATION: &str = "isolation";

pub fn checks(config: &Config) -> io::Result<Vec<Check>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (features, mut checks) = runtime.block_on(isolation(&config.functions));
    if let Some(features) = &features {
        let lent = features.list.iter().filter(|feature| ![EGRESS, ISOLATION].contains(&feature.name.as_str()));
        checks.extend(lent.map(limit));
        let way_out = features.list.iter().find(|feature| feature.name == EGRESS);
        checks.push(egress(&config.functions, way_out));
    }
    let settings = runtime::Settings {
        has_own_users: features.is_some_and(|features| sandboxes::has_own_users(&config.functions, &features)),
        ..functions::settings(config)
    };
    let offers = runtime::survey(&settings, &RUNTIMES);
    checks.push(interpreters(&offers));
    checks.extend(sdks(&offers, &settings.add_sdk));
    Ok(checks)
}

/// Starts a sandbox and runs a program in it. What was lent, if it could be asked.
async fn isolation(functions: &Functions) -> (Option<Features>, Vec<Check>) {
    let is_off = functions.isolation == cli::Isolation::None;
    let tasks = Tasks::default();
    let spawn: Arc<dyn Spawn> = Arc::new(tasks.clone());
    // The host's forwarding is the server's to change.
    let settings = sandbox::Settings { may_forward: false, ..sandboxes::settings(functions) };
    let lent = match is_off {
        true => sandbox::bare(settings, spawn).await,
        false => sandbox::processes(settings, spawn).await,
    };
    let found = match lent {
        Ok((isolation, features)) => {
            let tried = tokio::time::timeout(TRIAL_TIMEOUT, trial(&isolation)).await;
            let tried = tried.unwrap_or_else(|_| Err("it took too long".to_owned()));
            let who = if features.is_root { "as root" } else { "as an ordinary user" };
            let check = match tried {
                Ok(()) if is_off => {
                    let found = format!("none, as configured, {who}: functions may do whatever the server may");
                    Check::warn(ISOLATION, found, "where you can, leave isolation to auto")
                }
                Ok(()) => Check::ok(ISOLATION, format!("sandboxes of processes, {who}; one ran a program")),
                Err(error) => {
                    Check::fail(ISOLATION, format!("a sandbox was made in vain: {error}"), "see the kernel's log")
                }
            };
            (Some(features), vec![check])
        }
        Err(error) => {
            let found = format!("this host lends no sandboxes: failed to {}", with_causes(&error));
            (None, vec![Check::fail(ISOLATION, found, error.remedy())])
        }
    };
    tasks.stop(TASKS_STOP).await;
    found
}

async fn trial(isolation: &Isolation) -> Result<(), String> {
    let started = isolation.start(Spec::new("doctor", TRIAL_BYTES)).await;
    let sandbox = started.map_err(|error| format!("failed to {}", with_causes(&error)))?;
    let ran = sandbox.run(Program::new(["/bin/sh", "-c", ":"]).directory("/")).await;
    ran.map_err(|error| format!("failed to {}", with_causes(&error)))?;
    let event = sandbox.event().await;
    sandbox.kill().await;
    match event {
        Event::Exited { exit: Exit { status: Status::Code(0), .. }, .. } => Ok(()),
        Event::Exited { exit, .. } => Err(format!("its program ended with {:?}", exit.status)),
        Event::Gone => Err("it was gone at once".to_owned()),
    }
}

/// A limit or a fence that the host lends or not.
fn limit(feature: &Feature) -> Check {
    match &feature.missing {
        None => Check::ok(feature.name.clone(), "lent"),
        Some(missing) => Check::warn(feature.name.clone(), missing, &feature.remedy),
    }
}

fn egress(functions: &Functions, feature: Option<&Feature>) -> Check {
    if functions.isolation == cli::Isolation::None {
        return match functions.network {
            Some(cli::Network::None) => Check::fail(
                EGRESS,
                "functions without isolation are in the server's own network, against what is configured",
                "choose another isolation, or no network",
            ),
            _ => Check::ok(EGRESS, "functions are in the server's own network"),
        };
    }
    if functions.network == Some(cli::Network::None) {
        return Check::ok(EGRESS, "none, as configured");
    }
    let missing = feature.and_then(|feature| Some((feature.missing.as_deref()?, feature.remedy.as_str())));
    // All that is missing is what the server sets if it may.
    let could_forward = missing.is_some_and(|(missing, _)| missing == NOT_FORWARDING);
    match missing {
        None => Check::ok(EGRESS, "functions reach the internet, and nothing else"),
        Some(_) if could_forward && functions.may_forward => {
            Check::ok(EGRESS, "functions reach the internet: the server lets the host forward packets, as it may")
        }
        Some((missing, remedy)) => {
            let remedy = if could_forward {
                format!("{remedy}, or start lamp without --may-forward=false")
            } else {
                remedy.into()
            };
            let found = format!("functions do not reach the internet: {missing}");
            match functions.network {
                Some(_) => Check::fail(EGRESS, found, format!("{remedy}; or choose --network none")),
                None => Check::warn(EGRESS, found, remedy),
            }
        }
    }
}

const FAMILIES: [Family; 4] = [Family::Python, Family::Node, Family::Java, Family::Ruby];

/// Which versions of each language are here; what is not, or cannot be read, is a warning.
fn interpreters(offers: &[Offer]) -> Check {
    let mut found = Vec::new();
    let mut remedies: Vec<String> = Vec::new();
    for family in FAMILIES {
        let of_family = || offers.iter().filter(move |offer| offer.family == family);
        let mut versions: Vec<_> = of_family()
            .filter_map(|offer| match &offer.serving {
                Serving::By { interpreter, .. } => Some(interpreter.full_version),
                Serving::Own | Serving::None { .. } => None,
            })
            .collect();
        versions.sort();
        versions.dedup();
        let versions: Vec<String> =
            versions.into_iter().map(|(major, minor, patch)| format!("{major}.{minor}.{patch}")).collect();
        let versions = if versions.is_empty() { "none".to_owned() } else { versions.join(" ") };
        found.push(format!("{} {versions}", family.word()));
        for offer in of_family() {
            if let Serving::None { reason, remedy } = &offer.serving {
                let said = format!("{reason}: {remedy}");
                if !remedies.contains(&said) {
                    remedies.push(said);
                }
            }
        }
    }
    match remedies.is_empty() {
        true => Check::ok("runtimes", found.join(", ")),
        false => Check::warn("runtimes", found.join(", "), remedies.join("; ")),
    }
}

/// For each language that has interpreters here, whether AWS's SDK is there for any.
fn sdks(offers: &[Offer], add: &str) -> Vec<Check> {
    let check = |family: Family| {
        let name = family.sdk()?;
        let of_family = offers.iter().filter(|offer| offer.family == family);
        let served: Vec<(&str, Option<String>)> = of_family
            .filter_map(|offer| match &offer.serving {
                Serving::By { sdk, is_other_version: false, .. } => {
                    Some((offer.runtime.as_str(), sdk.as_ref().map(|sdk| sdk.version.clone())))
                }
                _ => None,
            })
            .collect();
        let having: Vec<&str> = served.iter().filter(|(_, sdk)| sdk.is_some()).map(|(runtime, _)| *runtime).collect();
        // The newest is the likeliest to be asked for.
        let (newest, _) = served.last()?;
        Some(match having.is_empty() {
            false => Check::ok(name, format!("for {}", having.join(" "))),
            true => {
                let remedy = format!("{add} {newest}, and so on for each version that functions use");
                Check::warn(name, "not there: functions that import it must bring it", remedy)
            }
        })
    };
    FAMILIES.into_iter().filter_map(check).collect()
}

#[cfg(test)]
mod tests {
    use runtime::{Interpreter, Sdk};

    use super::super::State;
    use super::*;

    fn functions() -> Functions {
        let place = crate::cli::Place { data_dir: Some("/data".into()), config: None };
        Config::of(place, cli::InterpreterFlags::default()).unwrap().functions
    }

    fn feature(missing: Option<&str>) -> Feature {
        Feature { name: EGRESS.into(), missing: missing.map(Into::into), remedy: "forward".into() }
    }

    #[test]
    fn what_is_not_lent_says_what_helps() {
        let feature = |missing: Option<&str>| Feature {
            name: "memory limit".into(),
            missing: missing.map(Into::into),
            remedy: "run as root".into(),
        };
        assert_eq!(limit(&feature(None)), Check::ok("memory limit", "lent"));
        assert_eq!(limit(&feature(Some("denied"))), Check::warn("memory limit", "denied", "run as root"));
    }

    #[test]
    fn the_way_out_is_judged_by_what_was_asked_for() {
        let (can, cannot, could) = (feature(None), feature(Some("no nftables")), feature(Some(NOT_FORWARDING)));
        let open = Functions { may_forward: false, ..functions() };
        let asked = Functions { network: Some(cli::Network::Egress), may_forward: false, ..functions() };
        let closed = Functions { network: Some(cli::Network::None), ..functions() };
        let may = functions();
        let off = Functions { isolation: cli::Isolation::None, ..functions() };
        let state = |functions, feature| egress(functions, Some(feature)).state;
        assert_eq!(state(&open, &can), State::Ok);
        assert!(egress(&off, Some(&can)).found.ends_with("the server's own network"));
        assert_eq!(state(&open, &cannot), State::Warn);
        assert_eq!(state(&asked, &could), State::Fail);
        assert_eq!(state(&closed, &could), State::Ok);
        assert_eq!(state(&may, &could), State::Ok);
        assert_eq!(state(&may, &cannot), State::Warn);
        let remedy = egress(&open, Some(&could)).remedy.unwrap();
        assert_eq!(remedy, "forward, or start lamp without --may-forward=false");
    }

    #[test]
    fn languages_are_summed_up() {
        let by = |family, full_version, sdk: Option<&str>, is_other_version| Serving::By {
            interpreter: Interpreter { family, full_version, prefix: "/p".into(), program: "/p/bin/x".into() },
            is_other_version,
            sdk: sdk.map(|version| Sdk { name: "boto3", version: version.into(), folder: "/sdk".into() }),
        };
        let offers: Vec<Offer> = [
            ("python3.12", Family::Python, by(Family::Python, (3, 12, 1), None, false)),
            ("python3.13", Family::Python, by(Family::Python, (3, 13, 0), Some("1.44"), false)),
            ("python3.14", Family::Python, by(Family::Python, (3, 13, 0), Some("1.44"), true)),
            ("nodejs22.x", Family::Node, by(Family::Node, (22, 1, 0), None, false)),
            ("java21", Family::Java, Serving::None { reason: "no java found".into(), remedy: "install".into() }),
        ]
        .map(|(runtime, family, serving)| Offer { runtime: runtime.into(), family, serving })
        .into();
        let check = interpreters(&offers);
        assert_eq!(check.found, "python 3.12.1 3.13.0, nodejs 22.1.0, java none, ruby none");
        assert_eq!((check.state, check.remedy.as_deref()), (State::Warn, Some("no java found: install")));
        let sdks = sdks(&offers, "lamp runtimes add");
        assert_eq!(sdks.iter().map(|check| &*check.name).collect::<Vec<_>>(), ["boto3", "@aws-sdk"]);
        assert_eq!((sdks[0].state, sdks[0].found.as_str()), (State::Ok, "for python3.13"));
        assert!(sdks[1].remedy.as_deref().unwrap().starts_with("lamp runtimes add nodejs22.x,"));
    }
}
