//! `lamp mapping`: how event source mappings read, and whether they do.

use std::error::Error;

use crate::cli::reading::Of;
use crate::cli::steering::{ById, Mapping};
use crate::config;
use crate::queue::{steer, text, whose};
use crate::reading::print;
use crate::steering::Asked;
use crate::table;

pub fn run(command: Mapping) -> Result<(), Box<dyn Error>> {
    match command {
        Mapping::Ls(of) => list(of),
        Mapping::Freeze(by_id) => freeze(by_id, true),
        Mapping::Thaw(by_id) => freeze(by_id, false),
    }
}

fn list(of: Of) -> Result<(), Box<dyn Error>> {
    let (whose, dir) = (whose(&of.whose), config::data_dir(of.place)?);
    let Some(told) = steer(&dir, Asked::Mappings { whose })? else { return Ok(()) };
    print(of.json, &told, |told| {
        let mut rows = vec![["MAPPING", "FUNCTION", "SOURCE", "STATE", "RESULT"].map(str::to_owned).to_vec()];
        for mapping in told["mappings"].as_array().into_iter().flatten() {
            let source = mapping["source"].as_str().and_then(|arn| arn.rsplit(':').next()).unwrap_or("-");
            let state = if mapping["is_frozen"] == true { "Frozen".to_owned() } else { text(&mapping["state"]) };
            let (uuid, function) = (text(&mapping["uuid"]), text(&mapping["function"]));
            let result = match mapping["last_error"].as_str() {
                Some(_) => format!("the function fails: {}", text(&mapping["last_error"])),
                None => text(&mapping["result"]),
            };
            rows.push(vec![uuid, function, source.to_owned(), state, result]);
        }
        match rows.len() {
            1 => "There is no event source mapping; --region and --account name another place.\n".to_owned(),
            _ => table::lines(&rows),
        }
    })
}

fn freeze(by_id: ById, is_frozen: bool) -> Result<(), Box<dyn Error>> {
    let ById { uuid, of } = by_id;
    let (whose, dir) = (whose(&of.whose), config::data_dir(of.place)?);
    let Some(told) = steer(&dir, Asked::FreezeMapping { whose, uuid, is_frozen })? else { return Ok(()) };
    print(of.json, &told, |told| {
        let function = text(&told["function"]);
        match is_frozen {
            true => format!("Nothing is read for {function} any more; what it was called for goes on.\n"),
            false => format!("{function} is called again for what there is to read.\n"),
        }
    })
}
