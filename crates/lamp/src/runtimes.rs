//! `lamp runtimes`: which of AWS's runtimes this machine serves, by what, and with which SDK; `add` and `remove` put
//! AWS's SDKs in place and take them away, while the server runs or not.

mod add;
mod recipe;

use std::error::Error;
use std::io::{self, Write};

use runtime::{Offer, RUNTIMES, Sdk, Serving};
use serde_json::{Value, json};

use crate::cli::{Runtimes, RuntimesChange};
use crate::config::Config;
use crate::functions;

pub fn run(options: Runtimes) -> Result<(), Box<dyn Error>> {
    match options.change {
        Some(RuntimesChange::Add(options)) => add::add(options),
        Some(RuntimesChange::Remove(options)) => add::remove(options),
        None => {
            let config = Config::of(options.place, options.interpreters)?;
            let offers = runtime::survey(&functions::settings(&config), &RUNTIMES);
            let mut out = io::stdout().lock();
            match options.json {
                true => writeln!(out, "{:#}", as_json(&offers))?,
                false => out.write_all(as_table(&offers).as_bytes())?,
            }
            Ok(out.flush()?)
        }
    }
}

fn as_json(offers: &[Offer]) -> Value {
    let sdk = |sdk: &Sdk| json!({ "name": sdk.name, "version": sdk.version, "folder": sdk.folder });
    let offer = |offer: &Offer| match &offer.serving {
        Serving::Own => json!({ "runtime": offer.runtime, "state": "own" }),
        Serving::By { interpreter, is_other_version, sdk: found } => json!({
            "runtime": offer.runtime,
            "state": if *is_other_version { "nearest" } else { "exact" },
            "version": interpreter.words(),
            "program": interpreter.program,
            "sdk": found.as_ref().map(sdk),
        }),
        Serving::None { reason, remedy } => {
            json!({ "runtime": offer.runtime, "state": "none", "reason": reason, "remedy": remedy })
        }
    };
    json!({ "runtimes": offers.iter().map(offer).collect::<Vec<_>>() })
}

fn as_table(offers: &[Offer]) -> String {
    let rows: Vec<[String; 4]> = offers.iter().map(row).collect();
    let width = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
    let [first, second, third] = [0, 1, 2].map(|column| width(column).unwrap_or(0));
    let lines = rows.iter().map(|[runtime, version, program, sdk]| {
        let line = format!("{runtime:first$}  {version:second$}  {program:third$}  {sdk}");
        format!("{}\n", line.trim_end())
    });
    let mut table: String = lines.collect();
    let any = |is: fn(&Serving) -> bool| offers.iter().any(|offer| is(&offer.serving));
    let mut notes = Vec::new();
    if any(|serving| matches!(serving, Serving::By { is_other_version: true, .. })) {
        notes
            .push("nearest: this version runs the runtime's functions, and their log begins with a warning".to_owned());
    }
    let lacks = |offer: &&Offer| matches!(offer.serving, Serving::By { sdk: None, .. }) && offer.family.sdk().is_some();
    if let Some(offer) = offers.iter().find(lacks) {
        let runtime = &offer.runtime;
        notes.push(format!("no SDK: functions must bring it, until it is put in place: lamp runtimes add {runtime}"));
    }
    let mut remedies: Vec<&str> = Vec::new();
    for offer in offers {
        if let Serving::None { remedy, .. } = &offer.serving
            && !remedies.contains(&remedy.as_str())
        {
            remedies.push(remedy);
        }
    }
    notes.extend(remedies.into_iter().map(|remedy| format!("to serve what is not: {remedy}")));
    if !notes.is_empty() {
        table.push('\n');
    }
    notes.into_iter().for_each(|note| table.extend([note.as_str(), "\n"]));
    table
}

fn row(offer: &Offer) -> [String; 4] {
    let runtime = offer.runtime.clone();
    match &offer.serving {
        Serving::Own => [runtime, "-".into(), "the function's own program".into(), String::new()],
        Serving::None { reason, .. } => [runtime, "-".into(), reason.clone(), String::new()],
        Serving::By { interpreter, is_other_version, sdk } => {
            let nearest = if *is_other_version { " nearest" } else { "" };
            let sdk = match (sdk, offer.family.sdk()) {
                (Some(sdk), _) => format!("{} {}", sdk.name, sdk.version),
                (None, Some(_)) => "no SDK".to_owned(),
                (None, None) => String::new(),
            };
            let program = interpreter.program.display().to_string();
            [runtime, format!("{}{nearest}", interpreter.words()), program, sdk]
        }
    }
}

#[cfg(test)]
mod tests {
    use runtime::{Family, Interpreter};

    use super::*;

    fn offers() -> Vec<Offer> {
        let interpreter = |family, full_version, program: &str| Interpreter {
            family,
            full_version,
            prefix: "/usr".into(),
            program: program.into(),
        };
        let sdk = Sdk { name: "boto3", version: "1.44.5".into(), folder: "/data/sdk/python3.13".into() };
        let by = |interpreter, is_other_version, sdk| Serving::By { interpreter, is_other_version, sdk };
        let none = Serving::None { reason: "no ruby found".into(), remedy: "install Ruby".into() };
        let python = interpreter(Family::Python, (3, 13, 1), "/usr/bin/python3.13");
        let node = interpreter(Family::Node, (20, 20, 2), "/usr/bin/node");
        let java = interpreter(Family::Java, (17, 0, 15), "/usr/bin/java");
        [
            ("python3.13", Family::Python, by(python, false, Some(sdk))),
            ("nodejs22.x", Family::Node, by(node, true, None)),
            ("java17", Family::Java, by(java, false, None)),
            ("ruby3.3", Family::Ruby, none.clone()),
            ("ruby3.4", Family::Ruby, none),
            ("provided.al2023", Family::Provided, Serving::Own),
        ]
        .map(|(runtime, family, serving)| Offer { runtime: runtime.into(), family, serving })
        .into()
    }

    #[test]
    fn people_read_a_table() {
        let expected = "\
python3.13       3.13.1           /usr/bin/python3.13         boto3 1.44.5
nodejs22.x       20.20.2 nearest  /usr/bin/node               no SDK
java17           17.0.15          /usr/bin/java
ruby3.3          -                no ruby found
ruby3.4          -                no ruby found
provided.al2023  -                the function's own program

nearest: this version runs the runtime's functions, and their log begins with a warning
no SDK: functions must bring it, until it is put in place: lamp runtimes add nodejs22.x
to serve what is not: install Ruby
";
        assert_eq!(as_table(&offers()), expected);
    }

    #[test]
    fn programs_read_json() {
        let json = as_json(&offers());
        let states: Vec<_> = json["runtimes"].as_array().unwrap().iter().map(|one| one["state"].as_str()).collect();
        assert_eq!(states, ["exact", "nearest", "exact", "none", "none", "own"].map(Some));
        assert_eq!(json["runtimes"][0]["sdk"]["version"], "1.44.5");
        assert!(json["runtimes"][1]["sdk"].is_null());
        assert_eq!(json["runtimes"][3]["remedy"], "install Ruby");
    }
}
