//! The runtimes that a function may name.

use std::collections::HashMap;
use std::sync::LazyLock;

use base::{AwsError, Cx, hex};
use ring::digest;

use super::errors;

/// What may be created and updated, in the order in which AWS prints them.
const OFFERED: &[&str] = &[
    "nodejs20.x",
    "python3.14",
    "provided.al2023",
    "python3.12",
    "python3.13",
    "nodejs24.x",
    "nodejs22.x",
    "java25",
    "python3.10",
    "python3.11",
    "java21",
    "ruby3.3",
    "ruby3.4",
    "ruby3.2",
    "python3.8",
    "python3.9",
    "java17",
    "nodejs16.x",
    "dotnet10",
    "dotnet8",
    "java11",
    "dotnet6",
    "nodejs18.x",
    "provided.al2",
    "java8.al2",
];

/// What AWS once offered and now refuses by name.
const RETIRED: &[&str] = &[
    "nodejs",
    "nodejs4.3",
    "nodejs4.3-edge",
    "nodejs6.10",
    "nodejs8.10",
    "nodejs10.x",
    "nodejs12.x",
    "nodejs14.x",
    "java8",
    "python2.7",
    "python3.6",
    "python3.7",
    "dotnetcore1.0",
    "dotnetcore2.0",
    "dotnetcore2.1",
    "dotnetcore3.1",
    "dotnet5.0",
    "ruby2.5",
    "ruby2.7",
    "go1.x",
    "provided",
];

/// Refuses a runtime that no function may be created with.
pub fn check(runtime: &str) -> Result<(), AwsError> {
    if OFFERED.contains(&runtime) {
        return Ok(());
    }
    if RETIRED.contains(&runtime) {
        return Err(errors::invalid_parameter(format!(
            "The runtime parameter of {runtime} is no longer supported for creating or updating AWS Lambda functions. \
             We recommend you use a supported runtime while creating or updating functions."
        )));
    }
    Err(errors::invalid_parameter(format!(
        "Value {runtime} at 'runtime' failed to satisfy constraint: Member must satisfy enum value set: [{}] or be a \
         valid ARN",
        OFFERED.join(", ")
    )))
}

/// SnapStart is for managed runtimes of these families.
pub fn can_snap_start(runtime: &str) -> bool {
    let of = |family: &str, least: u32| {
        let digits: String =
            runtime.strip_prefix(family).unwrap_or_default().chars().take_while(char::is_ascii_digit).collect();
        digits.parse().is_ok_and(|version: u32| version >= least)
    };
    of("java", 11) || of("python3.", 12) || of("dotnet", 8)
}

/// The name of the runtime's build, the same for all functions of a region.
pub fn version_arn(cx: &Cx, runtime: &str) -> String {
    static BUILDS: LazyLock<HashMap<&str, String>> =
        LazyLock::new(|| OFFERED.iter().map(|runtime| (*runtime, build_of(runtime))).collect());
    let build = BUILDS.get(runtime).cloned().unwrap_or_else(|| build_of(runtime));
    format!("arn:{}:lambda:{}::runtime:{build}", cx.region.partition(), cx.region)
}

fn build_of(runtime: &str) -> String {
    hex::encode(digest::digest(&digest::SHA256, runtime.as_bytes()).as_ref())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_and_retired_runtimes_are_refused_in_aws_words() {
        assert!(check("python3.13").is_ok());
        assert!(check("PYTHON3.9").unwrap_err().message.starts_with("Value PYTHON3.9 at 'runtime' failed"));
        assert!(check("java8").unwrap_err().message.starts_with("The runtime parameter of java8 is no longer"));
    }

    #[test]
    fn snap_start_knows_its_runtimes() {
        for yes in ["java11", "java21", "python3.12", "dotnet8"] {
            assert!(can_snap_start(yes), "{yes}");
        }
        for no in ["java8.al2", "python3.11", "nodejs22.x", "dotnet6", "provided.al2023", "ruby3.3"] {
            assert!(!can_snap_start(no), "{no}");
        }
    }
}
