//! The configuration of running functions: `[functions]` and `[runtimes]` of the file, with their defaults.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use super::{ConfigError, first};
use crate::cli::functions::{
    AllowedNetwork, Cpu, FunctionFlags, InterpreterFlags, Isolation, Network, RuntimeMatch, Size, Span,
};

/// How functions run, settled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Functions {
    pub isolation: Isolation,
    /// `None`: as the host can.
    pub network: Option<Network>,
    pub allowed_networks: Vec<AllowedNetwork>,
    pub nameservers: Vec<IpAddr>,
    pub may_forward: bool,
    pub cpu: Cpu,
    pub concurrency: u32,
    /// Of each kind.
    pub parked: u32,
    pub keep_alive: Duration,
    /// Of the server and all that it runs.
    pub memory_bytes: Option<u64>,
    pub interpreters: Interpreters,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interpreters {
    pub runtime_match: RuntimeMatch,
    /// By runtime, the folder that has `bin`.
    pub named: BTreeMap<String, PathBuf>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FunctionsSection {
    isolation: Option<Isolation>,
    network: Option<Network>,
    allowed_networks: Vec<AllowedNetwork>,
    nameservers: Vec<IpAddr>,
    may_forward: Option<bool>,
    cpu: Option<Cpu>,
    concurrency: Option<u32>,
    parked: Option<u32>,
    keep_alive: Option<Span>,
    memory: Option<Size>,
    runtime_match: Option<RuntimeMatch>,
}

/// A runtime's name has a dot, which TOML takes for a table within a table unless it is quoted. Both are understood.
pub type RuntimesSection = toml::Table;

impl Functions {
    pub fn settle(
        given: FunctionFlags,
        file: FunctionsSection,
        runtimes: RuntimesSection,
    ) -> Result<Self, ConfigError> {
        let concurrency = given.concurrency.or(file.concurrency).unwrap_or(services::CONCURRENCY_DEFAULT);
        let concurrency_max = u32::try_from(runtime::limits::INSTANCES_MAX).unwrap_or(u32::MAX);
        if !(1..=concurrency_max).contains(&concurrency) {
            return Err(ConfigError::Concurrency { wanted: concurrency, max: concurrency_max });
        }
        let isolation = given.isolation.or(file.isolation).unwrap_or(Isolation::Auto);
        let parked = match isolation {
            // Without walls there is nothing that takes time to build.
            Isolation::Strict | Isolation::None => 0,
            Isolation::Auto | Isolation::Process => {
                given.parked.or(file.parked).unwrap_or(runtime::limits::PARKED_PER_KIND)
            }
        };
        let memory_bytes = given.memory.or(file.memory).map(|size| size.0);
        if memory_bytes.is_some_and(|bytes| bytes < runtime::limits::MEMORY_BYTES_MIN) {
            return Err(ConfigError::Memory { least_mb: runtime::limits::MEMORY_BYTES_MIN >> 20 });
        }
        Ok(Self {
            isolation,
            network: given.network.or(file.network),
            allowed_networks: first(given.allowed_networks, file.allowed_networks),
            nameservers: first(given.nameservers, file.nameservers),
            may_forward: given.may_forward.or(file.may_forward).unwrap_or(true),
            cpu: given.cpu.or(file.cpu).unwrap_or(Cpu::Weight),
            concurrency,
            parked: parked.min(runtime::limits::PARKED_PER_KIND_MAX),
            keep_alive: given.keep_alive.or(file.keep_alive).map_or(runtime::limits::KEEP_ALIVE_DEFAULT, |span| span.0),
            memory_bytes,
            interpreters: Interpreters::settle(given.interpreters, file.runtime_match, runtimes)?,
        })
    }
}

impl Interpreters {
    fn settle(
        given: InterpreterFlags,
        runtime_match: Option<RuntimeMatch>,
        runtimes: RuntimesSection,
    ) -> Result<Self, ConfigError> {
        let mut named = BTreeMap::new();
        for (name, value) in runtimes {
            flatten(&name, value, &mut named)?;
        }
        if !given.runtimes.is_empty() {
            named = given.runtimes.into_iter().map(|named| (named.runtime, named.folder)).collect();
        }
        for (runtime, folder) in &mut named {
            if !runtime::has_interpreter(runtime) {
                return Err(ConfigError::Runtime(runtime.clone()));
            }
            // Nothing may depend on where the server was started, nor on links: sandboxes show a folder and not a link.
            *folder = std::fs::canonicalize(&*folder).map_err(|source| ConfigError::RuntimeFolder {
                runtime: runtime.clone(),
                folder: folder.clone(),
                source,
            })?;
        }
        Ok(Self { runtime_match: given.runtime_match.or(runtime_match).unwrap_or(RuntimeMatch::Nearest), named })
    }
}

fn flatten(name: &str, value: toml::Value, named: &mut BTreeMap<String, PathBuf>) -> Result<(), ConfigError> {
    match value {
        toml::Value::String(folder) => {
            named.insert(name.to_owned(), folder.into());
            Ok(())
        }
        // `python3.13 = ".."` without quotes. A name has one dot.
        toml::Value::Table(inner) if !name.contains('.') => {
            inner.into_iter().try_for_each(|(rest, value)| flatten(&format!("{name}.{rest}"), value, named))
        }
        _ => Err(ConfigError::Runtime(name.to_owned())),
    }
}
