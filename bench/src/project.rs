//! A folder that peers serve functions from: the functions' code, and what each peer wants beside it.

use std::fmt::Write;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use anyhow::{Context, Result};
use tempfile::TempDir;

use crate::functions::{Function, Language};
use crate::peer::tools;

/// What `bench/peers` has for peers.
const FILES: &[&str] = &["framework.py", "framework.js", "worker.js", "worker.capnp"];

pub struct Project(TempDir);

impl Project {
    /// With `copies` of each function in Python and Node.js, called NAME-0, NAME-1 and so on.
    pub fn new(functions: &[Function], copies: usize) -> Result<Self> {
        let dir = TempDir::new()?;
        for file in FILES {
            let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("peers").join(file);
            fs::copy(from, dir.path().join(file)).with_context(|| format!("copy {file}"))?;
        }
        symlink(tools()?.join("peers-node/node_modules"), dir.path().join("node_modules"))?;
        let mut text = "\
service: bench
provider: {name: aws, stage: dev, region: us-east-1, timeout: 30, memorySize: 512}
plugins: [serverless-offline]
functions:
"
        .to_owned();
        for function in functions {
            // A module's name in Python has no dash.
            let folder = function.name.replace('-', "_");
            symlink(function.folder()?, dir.path().join(&folder))?;
            let handler = match function.language {
                Language::Python => format!("{folder}/app.handler"),
                Language::Node => format!("{folder}/index.handler"),
                _ => continue,
            };
            for number in 0..copies {
                writeln!(text, "  {}-{number}:", function.name)?;
                writeln!(text, "    runtime: {}\n    handler: {handler}", function.runtime)?;
                if function.language == Language::Python {
                    writeln!(text, "    environment: {{PYTHONPATH: {folder}}}")?;
                }
            }
        }
        fs::write(dir.path().join("serverless.yml"), text)?;
        Ok(Self(dir))
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// What serverless-offline calls a copy of a function.
    pub fn deployed(function: &str, number: usize) -> String {
        format!("bench-dev-{function}-{number}")
    }
}
