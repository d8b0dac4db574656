//! `cargo xtask gen`: the API descriptions that the server speaks from.
//!
//! AWS publishes each service's description inside the Python package botocore. This task takes the pinned version,
//! keeps the facts (operations, shapes, where members travel, constraints, errors) that some operation can reach, and
//! drops prose and what only a client needs. The result is `model.json` beside the service's code: one operation or
//! shape a line, sorted, so that a newer botocore is a readable diff. What AWS does otherwise than botocore says goes
//! into the hand-written `overlay.json` next to it, never into `model.json`.
//!
//! A service is in the list when its folder has a `model.json`; `cargo xtask gen NAME` makes a new one. Names are
//! botocore's. The package is fetched once by `pip`, checked against the pinned hash, and kept under `target/`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::{Map, Value, json};

/// A version of botocore on PyPI, and the hash of its wheel.
struct Pin {
    version: &'static str,
    wheel_sha256: &'static str,
}

/// What all models are derived from. To move on: change both lines, run `cargo xtask gen`, read the diff.
const BOTOCORE: Pin =
    Pin { version: "1.44.5", wheel_sha256: "8f16a56d1dff125dd65322ae021efa7ba5195a6db5102b96862566055b748921" };

/// A description unpacks to some 10 MB at most; more is not a description.
const DESCRIPTION_BYTES_MAX: u64 = 64 << 20;

pub fn run(args: &[String]) -> Result<()> {
    let (flags, names): (Vec<&String>, Vec<&String>) = args.iter().partition(|arg| arg.starts_with("--"));
    let check = match flags.as_slice() {
        [] => false,
        [flag] if *flag == "--check" => true,
        _ => bail!("read the arguments {flags:?}: gen knows --check only"),
    };
    let root = crate::root();
    let names = if names.is_empty() { services(&root)? } else { names.into_iter().cloned().collect() };
    let botocore = fetch_botocore(&root, &BOTOCORE)?;
    let mut stale = Vec::new();
    for name in &names {
        let text = render(&compact(name, &read_description(&botocore, name)?).with_context(|| format!("read {name}"))?);
        let path = model_path(&root, name);
        if check {
            if fs::read_to_string(&path).ok().as_deref() != Some(&text) {
                stale.push(name.as_str());
            }
            continue;
        }
        let folder = path.parent().context("find the folder of a model")?;
        fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))?;
        fs::write(&path, &text).with_context(|| format!("write {}", path.display()))?;
        println!("{name}: {} KiB", text.len() / 1024);
    }
    if !stale.is_empty() {
        bail!("match model.json of {} with botocore {}: run `cargo xtask gen`", stale.join(", "), BOTOCORE.version);
    }
    Ok(())
}

fn model_path(root: &Path, name: &str) -> PathBuf {
    root.join("crates/services/src").join(name).join("model.json")
}

/// The services of the workspace: the folders that hold a `model.json`.
fn services(root: &Path) -> Result<Vec<String>> {
    let folder = root.join("crates/services/src");
    let mut names = BTreeSet::new();
    for entry in fs::read_dir(&folder).with_context(|| format!("list {}", folder.display()))? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if model_path(root, &name).is_file() {
            names.insert(name);
        }
    }
    Ok(names.into_iter().collect())
}

/// The folder with botocore's `data`, downloaded and unpacked when it is not there yet.
fn fetch_botocore(root: &Path, Pin { version, wheel_sha256 }: &Pin) -> Result<PathBuf> {
    let cache = root.join("target/botocore");
    let unpacked = cache.join(version);
    let data = unpacked.join("botocore/data");
    if data.is_dir() {
        return Ok(data);
    }
    fs::create_dir_all(&cache).with_context(|| format!("create {}", cache.display()))?;
    let requirement = cache.join(format!("{version}.txt"));
    fs::write(&requirement, format!("botocore=={version} --hash=sha256:{wheel_sha256}\n"))?;
    println!("fetching botocore {version} into {}", cache.display());
    python(&cache, &["-m", "pip", "download", "-q", "--no-deps", "--require-hashes", "-r"], &requirement)
        .with_context(|| format!("download botocore {version} (python3 with pip, and PyPI, must be there)"))?;
    // Unpacked beside its final place and renamed, so that an interrupted run leaves nothing half there.
    let partial = cache.join(format!("{version}.{}", std::process::id()));
    let wheel = format!("botocore-{version}-py3-none-any.whl");
    python(&cache, &["-m", "zipfile", "-e", &wheel], &partial).context("unpack botocore")?;
    if fs::rename(&partial, &unpacked).is_err() && !data.is_dir() {
        bail!("move botocore to {}", unpacked.display());
    }
    Ok(data)
}

fn python(folder: &Path, args: &[&str], last: &Path) -> Result<()> {
    let output = Command::new("python3").current_dir(folder).args(args).arg(last).output().context("run python3")?;
    if !output.status.success() {
        bail!("run python3 {}: {}", args.join(" "), String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}

/// The newest description of a service, with botocore's own additions to it merged in.
fn read_description(data: &Path, name: &str) -> Result<Value> {
    let folder = data.join(name);
    let versions = fs::read_dir(&folder).with_context(|| format!("find the service {name} in botocore"))?;
    let versions: BTreeSet<PathBuf> = versions.filter_map(|entry| Some(entry.ok()?.path())).collect();
    // Older versions of the package hold the text itself, newer ones pack it.
    let described =
        |version: &PathBuf| ["json", "json.gz"].iter().any(|form| version.join(format!("service-2.{form}")).is_file());
    let newest = versions.into_iter().rfind(described).with_context(|| format!("find a description of {name}"))?;
    let text = match fs::read_to_string(newest.join("service-2.json")) {
        Ok(text) => text,
        Err(_) => {
            let packed = fs::File::open(newest.join("service-2.json.gz")).context("open the description")?;
            let mut text = String::new();
            flate2::read::GzDecoder::new(packed).take(DESCRIPTION_BYTES_MAX).read_to_string(&mut text)?;
            text
        }
    };
    let mut description = serde_json::from_str(&text).with_context(|| format!("parse the description of {name}"))?;
    if let Ok(extras) = fs::read_to_string(newest.join("service-2.sdk-extras.json")) {
        let extras: Value = serde_json::from_str(&extras)?;
        merge(&mut description, &extras["merge"]);
    }
    Ok(description)
}

fn merge(into: &mut Value, from: &Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                merge(into.entry(key.clone()).or_insert(Value::Null), value);
            }
        }
        (into, from) => *into = from.clone(),
    }
}

/// What `model.json` holds: metadata, then the operations and the shapes, each to become a line.
struct Compact {
    metadata: Map<String, Value>,
    operations: BTreeMap<String, Value>,
    shapes: BTreeMap<String, Value>,
}

fn compact(name: &str, description: &Value) -> Result<Compact> {
    let operations = description["operations"].as_object().context("find the operations")?;
    let shapes = description["shapes"].as_object().context("find the shapes")?;
    let superseded = superseded(operations);
    let mut kept = BTreeMap::new();
    // Errors may be answered by any operation, whether or not it lists them.
    let mut roots: Vec<String> =
        shapes.iter().filter(|(_, shape)| shape["exception"] == true).map(|(name, _)| name.clone()).collect();
    for (operation_name, operation) in operations {
        if superseded.contains(operation_name) {
            continue;
        }
        for end in ["input", "output"] {
            roots.extend(operation[end]["shape"].as_str().map(str::to_owned));
        }
        kept.insert(operation_name.clone(), compact_operation(operation));
    }
    let mut reached = BTreeMap::new();
    while let Some(shape_name) = roots.pop() {
        if reached.contains_key(&shape_name) {
            continue;
        }
        let shape = shapes.get(&shape_name).with_context(|| format!("find the shape {shape_name}"))?;
        roots.extend(targets(shape));
        reached.insert(shape_name, compact_shape(shape, shapes)?);
    }
    Ok(Compact { metadata: compact_metadata(name, &description["metadata"])?, operations: kept, shapes: reached })
}

/// Deprecated operations whose requests look exactly like another's (S3's `PutBucketLifecycle` and
/// `PutBucketLifecycleConfiguration`): on the wire there is only the newer one.
fn superseded(operations: &Map<String, Value>) -> BTreeSet<String> {
    let routed = |operation: &Value| operation["http"]["requestUri"].as_str().is_some_and(|uri| uri != "/");
    let current: BTreeSet<String> = operations
        .values()
        .filter(|operation| operation["deprecated"] != true)
        .map(|operation| operation["http"].to_string())
        .collect();
    operations
        .iter()
        .filter(|(_, operation)| operation["deprecated"] == true && routed(operation))
        .filter(|(_, operation)| current.contains(&operation["http"].to_string()))
        .map(|(name, _)| name.clone())
        .collect()
}

fn compact_metadata(name: &str, metadata: &Value) -> Result<Map<String, Value>> {
    let json_version = metadata["jsonVersion"].as_str().unwrap_or("1.0");
    let named = match metadata["protocols"].as_array() {
        Some(protocols) => protocols.clone(),
        None => vec![metadata["protocol"].clone()],
    };
    let mut protocols = Vec::new();
    for protocol in &named {
        protocols.push(match protocol.as_str() {
            Some("json") => format!("json-{json_version}"),
            Some("smithy-rpc-v2-cbor") => "rpc-v2-cbor".into(),
            Some(other @ ("query" | "rest-json" | "rest-xml")) => other.into(),
            _ => bail!("know the protocol {protocol}"),
        });
    }
    let mut kept = Map::new();
    kept.insert("name".into(), name.into());
    kept.insert("botocore".into(), BOTOCORE.version.into());
    for key in ["apiVersion", "serviceId", "signingName", "endpointPrefix", "targetPrefix", "xmlNamespace"] {
        copy(metadata, key, &mut kept);
    }
    if metadata.get("awsQueryCompatible").is_some() {
        kept.insert("queryCompatible".into(), true.into());
    }
    kept.insert("protocols".into(), json!(protocols));
    Ok(kept)
}

fn compact_operation(operation: &Value) -> Value {
    let mut kept = Map::new();
    let (method, uri) = (&operation["http"]["method"], &operation["http"]["requestUri"]);
    if (method, uri) != (&json!("POST"), &json!("/")) {
        kept.insert("method".into(), method.clone());
        kept.insert("uri".into(), uri.clone());
    }
    if let Some(status) = operation["http"]["responseCode"].as_u64().filter(|status| *status != 200) {
        kept.insert("status".into(), status.into());
    }
    for end in ["input", "output"] {
        if let Some(shape) = operation[end]["shape"].as_str() {
            kept.insert(end.into(), shape.into());
        }
    }
    let input = &operation["input"];
    copy_as(input, "locationName", &mut kept, "inputRoot");
    copy_as(&input["xmlNamespace"], "uri", &mut kept, "inputNamespace");
    copy(&operation["output"], "resultWrapper", &mut kept);
    if operation["authtype"] == "none" {
        kept.insert("unsigned".into(), true.into());
    }
    let errors = operation["errors"].as_array().into_iter().flatten();
    let errors: Vec<Value> = errors.map(|error| error["shape"].clone()).collect();
    if !errors.is_empty() {
        kept.insert("errors".into(), errors.into());
    }
    kept.into()
}

/// The names of the shapes that a shape is made of.
fn targets(shape: &Value) -> Vec<String> {
    let members = shape["members"].as_object().into_iter().flat_map(Map::values);
    let parts = ["member", "key", "value"].into_iter().map(|part| &shape[part]);
    members.chain(parts).filter_map(|part| part["shape"].as_str()).map(str::to_owned).collect()
}

fn compact_shape(shape: &Value, shapes: &Map<String, Value>) -> Result<Value> {
    let mut kept = Map::new();
    copy(shape, "type", &mut kept);
    for key in ["required", "payload", "union", "event", "eventstream", "streaming", "flattened", "document"] {
        copy(shape, key, &mut kept);
    }
    for key in ["min", "max", "pattern", "enum", "sensitive", "timestampFormat"] {
        copy(shape, key, &mut kept);
    }
    if shape["xmlNamespace"]["prefix"].is_null() {
        copy_as(&shape["xmlNamespace"], "uri", &mut kept, "xmlNamespace");
    }
    if shape["exception"] == true {
        kept.insert("error".into(), compact_error(shape));
    }
    for part in ["member", "key", "value"] {
        if let Some(target) = shape.get(part) {
            kept.insert(part.into(), compact_member(target, shapes)?);
        }
    }
    if let Some(members) = shape["members"].as_object() {
        let mut compacted = Map::new();
        for (name, member) in members {
            compacted.insert(name.clone(), compact_member(member, shapes)?);
        }
        kept.insert("members".into(), compacted.into());
    }
    Ok(kept.into())
}

fn compact_error(shape: &Value) -> Value {
    let mut kept = Map::new();
    copy(&shape["error"], "code", &mut kept);
    copy_as(&shape["error"], "httpStatusCode", &mut kept, "status");
    copy(&shape["error"], "senderFault", &mut kept);
    // A fault of the server's without a status of its own.
    if shape["fault"] == true && !kept.contains_key("status") {
        kept.insert("status".into(), 500.into());
    }
    kept.into()
}

/// A member is its target's name alone when there is no more to say, as for most.
fn compact_member(member: &Value, shapes: &Map<String, Value>) -> Result<Value> {
    let target = member["shape"].as_str().context("find a member's shape")?;
    let mut kept = Map::new();
    for key in ["location", "locationName", "queryName", "idempotencyToken", "streaming", "jsonvalue", "flattened"] {
        copy(member, key, &mut kept);
    }
    for key in ["xmlAttribute", "xmlNamespace", "timestampFormat", "eventpayload", "eventheader"] {
        copy(member, key, &mut kept);
    }
    // What the target says of itself holds for every member that does not say otherwise.
    let shape = shapes.get(target).with_context(|| format!("find the shape {target}"))?;
    for key in ["locationName", "xmlNamespace"] {
        if !kept.contains_key(key) {
            copy(shape, key, &mut kept);
        }
    }
    if kept.is_empty() {
        return Ok(target.into());
    }
    kept.shift_insert(0, "shape".into(), target.into());
    Ok(kept.into())
}

fn copy(from: &Value, key: &str, into: &mut Map<String, Value>) {
    copy_as(from, key, into, key);
}

/// `false` is what every flag is without being mentioned.
fn copy_as(from: &Value, key: &str, into: &mut Map<String, Value>, name: &str) {
    if let Some(value) = from.get(key).filter(|value| !value.is_null() && **value != false) {
        into.insert(name.into(), value.clone());
    }
}

/// One operation or shape a line.
fn render(model: &Compact) -> String {
    let mut text = String::from("{\n");
    for (key, value) in &model.metadata {
        text.push_str(&format!("{}:{value},\n", json!(key)));
    }
    for (title, lines) in [("operations", &model.operations), ("shapes", &model.shapes)] {
        let lines: Vec<String> = lines.iter().map(|(name, value)| format!("{}:{value}", json!(name))).collect();
        let end = if title == "shapes" { "}\n" } else { "},\n" };
        text.push_str(&format!("{}:{{\n{}\n{end}", json!(title), lines.join(",\n")));
    }
    text.push_str("}\n");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Regenerates every service from the pinned package, and compares. Needs PyPI once, then the copy in `target/`.
    #[test]
    fn the_models_are_what_the_pinned_botocore_says() {
        assert!(services(&crate::root()).unwrap().len() >= 21);
        if let Err(error) = run(&["--check".into()]) {
            panic!("failed to {error:#}");
        }
    }

    /// The last botocore that describes SQS's Query protocol.
    const BOTOCORE_WITH_SQS_QUERY: Pin =
        Pin { version: "1.31.80", wheel_sha256: "1c693c0f8b2553fcbe0df223241191e6f9f60b4245d65c1822c08f659274fef2" };

    /// Every fact about Query in the old description is in the overlay, and the overlay contradicts none.
    #[test]
    fn the_overlay_of_sqs_has_the_query_protocol_that_botocore_dropped() {
        let root = crate::root();
        let old = fetch_botocore(&root, &BOTOCORE_WITH_SQS_QUERY).unwrap_or_else(|error| panic!("failed to {error:#}"));
        let old = read_description(&old, "sqs").unwrap();
        let overlay = fs::read_to_string(model_path(&root, "sqs").with_file_name("overlay.json")).unwrap();
        let overlay: Value = serde_json::from_str(&overlay).unwrap();
        let mut effective = Value::Null;
        for correction in overlay["corrections"].as_array().unwrap() {
            merge(&mut effective, correction);
        }
        assert_eq!(effective["service"]["xmlNamespace"], old["metadata"]["xmlNamespace"]);
        let current = fs::read_to_string(model_path(&root, "sqs")).unwrap();
        let current: Value = serde_json::from_str(&current).unwrap();
        for (name, operation) in old["operations"].as_object().unwrap() {
            let wrapper = &operation["output"]["resultWrapper"];
            assert_eq!(&effective["operations"][name]["resultWrapper"], wrapper, "{name}");
        }
        let mut count = 0;
        for (name, shape) in old["shapes"].as_object().unwrap() {
            let ours = &effective["shapes"][name];
            if current["shapes"].get(name).is_none() {
                continue;
            }
            assert_eq!(current["shapes"][name]["flattened"], shape["flattened"], "{name}");
            for part in ["member", "key", "value"] {
                assert_eq!(ours[part]["locationName"], shape[part]["locationName"], "{name} {part}");
            }
            for (member_name, member) in shape["members"].as_object().into_iter().flatten() {
                // A member without a name of its own has its shape's.
                let own = &member["locationName"];
                let shapes = &old["shapes"][member["shape"].as_str().unwrap()]["locationName"];
                let expected = if own.is_null() { shapes } else { own };
                assert_eq!(&ours["members"][member_name]["queryName"], expected, "{name}${member_name}");
            }
            if let Some(error) = shape.get("error") {
                count += 1;
                assert_eq!(
                    (&ours["error"]["code"], &ours["error"]["status"]),
                    (&error["code"], &error["httpStatusCode"])
                );
            }
        }
        assert_eq!(count, 13, "errors of the old description");
    }

    #[test]
    fn prose_and_the_unreachable_are_dropped_and_a_plain_member_is_a_name() {
        let description = json!({
            "metadata": {"apiVersion": "2020-01-01", "endpointPrefix": "e", "serviceId": "E", "protocol": "json",
                "jsonVersion": "1.1", "targetPrefix": "T"},
            "operations": {
                "Old": {"name": "Old", "http": {"method": "PUT", "requestUri": "/a"}, "deprecated": true},
                "Op": {"name": "Op", "http": {"method": "PUT", "requestUri": "/a"}, "input": {"shape": "In"},
                    "errors": [{"shape": "Bad"}], "documentation": "prose"},
            },
            "shapes": {
                "In": {"type": "structure", "required": ["A"], "documentation": "prose", "members": {
                    "A": {"shape": "S", "documentation": "prose"},
                    "B": {"shape": "S", "location": "uri", "locationName": "b"}}},
                "S": {"type": "string", "max": 5, "sensitive": false},
                "Bad": {"type": "structure", "members": {}, "exception": true, "fault": true},
                "Unused": {"type": "string"},
            },
        });
        let text = render(&compact("e", &description).unwrap());
        let (_, body) = text.split_once("\"operations\"").unwrap();
        assert_eq!(
            body,
            ":{\n\"Op\":{\"method\":\"PUT\",\"uri\":\"/a\",\"input\":\"In\",\"errors\":[\"Bad\"]}\n},\n\"shapes\":{\n\
             \"Bad\":{\"type\":\"structure\",\"error\":{\"status\":500},\"members\":{}},\n\
             \"In\":{\"type\":\"structure\",\"required\":[\"A\"],\"members\":{\"A\":\"S\",\"B\":{\"shape\":\"S\",\
             \"location\":\"uri\",\"locationName\":\"b\"}}},\n\"S\":{\"type\":\"string\",\"max\":5}\n}\n}\n"
        );
        assert!(serde_json::from_str::<Value>(&text).is_ok());
    }
}
