//! `lamp wait`: returns when everything that was caused has come to its end, instead of a guess at how long that takes.

use std::error::Error;
use std::process::ExitCode;

use services::operator::Question;

use crate::cli::steering::Wait;
use crate::config;
use crate::queue::{steer, text};
use crate::steering::Asked;

pub fn run(options: Wait) -> Result<ExitCode, Box<dyn Error>> {
    let Wait { until_idle: _, trace, timeout, skip_later, region, account, json, place } = options;
    let dir = config::data_dir(place)?;
    let question = Question { account, region, trace, skips_later: skip_later };
    let Some(told) = steer(&dir, Asked::Wait { question, at_most: timeout.0 })? else { return Ok(ExitCode::FAILURE) };
    if json {
        println!("{told}");
    }
    if told["is_idle"] == true {
        return Ok(ExitCode::SUCCESS);
    }
    if !json {
        let busy = &told["busy"];
        let (name, seconds) = (text(&busy["name"]), timeout.0.as_secs());
        let what = match busy["what"].as_str() {
            Some("invocation") => format!("{name} still runs"),
            Some("event") if !busy["next"].is_null() => format!(
                "an event of {name} is to be tried again at {}; --skip-later leaves that out, a longer --timeout waits for it",
                text(&busy["next"])
            ),
            Some("event") => format!("an event of {name} still waits; `lamp events {name}` shows for what"),
            Some("move") => format!("messages of {name} are still moved"),
            Some("batch") => format!("{name} is not done with messages; `lamp mapping ls` shows whether it takes them"),
            Some("log events") => format!("not everybody was sent what the subscription filter {name} matched"),
            Some("look") => "there was more to look through than that leaves time for".to_owned(),
            _ => format!("messages of {name} are not done with; `lamp queue peek {name}` shows them"),
        };
        eprintln!("lamp: failed to see everything end within {seconds} s: {what}");
    }
    Ok(ExitCode::FAILURE)
}
