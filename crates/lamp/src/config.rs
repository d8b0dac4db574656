//! The server's configuration: flags, then environment, then file, then defaults, checked into typed values once.

pub mod functions;
mod prices;

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use engine::price::Prices;
use serde::Deserialize;

use crate::cli::functions::{FunctionFlags, InterpreterFlags};
use crate::cli::{Address, AuthMode, LogFormat, Place, Settings};
use functions::{Functions, FunctionsSection, RuntimesSection};
use prices::PricesSection;

pub const PORT: u16 = 4566;

#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("read the configuration file {path}")]
    Read { path: PathBuf, source: std::io::Error },
    #[error("parse the configuration file {path}:\n{reason}")]
    Parse { path: PathBuf, reason: String },
    #[error("find a place for the data: set --data-dir, or HOME")]
    NoDataDir,
    #[error("use the data directory {dir}")]
    DataDir { dir: PathBuf, source: std::io::Error },
    #[error("serve TLS: give both a certificate and its key, or neither and ask for a self-signed one")]
    Tls,
    #[error("answer to the name {0:?}: a name is `host.example.org` or `*.example.org`, without scheme or port")]
    Name(String),
    #[error("admit the origin {0:?}: an origin is `scheme://host` or `scheme://host:port`, without a path")]
    Origin(String),
    #[error(transparent)]
    Otlp(#[from] otlp::SettingsError),
    #[error("run {wanted} invocations at once: --concurrency (functions.concurrency) is from 1 to {max}")]
    Concurrency { wanted: u32, max: u32 },
    #[error("keep within the memory that is configured: --memory (functions.memory) is {least_mb}MB at least")]
    Memory { least_mb: u64 },
    #[error(
        "understand {0:?} under [runtimes]: it takes a runtime and the folder that has its bin, such as \
         \"python3.13\" = \"/opt/python3.13\""
    )]
    Runtime(String),
    #[error("understand {0} under [prices]: it takes dollars, or a count, from 0 on")]
    Price(&'static str),
    #[error("understand the tiers under [prices]: the first has from = 0, and each begins after the one before it")]
    PriceTiers,
    #[error("use {folder} for {runtime}, as [runtimes] says")]
    RuntimeFolder { runtime: String, folder: PathBuf, source: std::io::Error },
}

/// What `lamp start` runs with.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    pub listen: SocketAddr,
    pub data_dir: PathBuf,
    pub auth: AuthMode,
    pub log: LogFormat,
    pub log_level: String,
    /// Where functions' logs and spans go, besides here.
    pub otlp: Option<otlp::Settings>,
    pub names: Vec<String>,
    pub origins: Vec<String>,
    pub tls: Option<Tls>,
    pub functions: Functions,
    pub prices: Prices,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tls {
    Files { certificate: PathBuf, key: PathBuf },
    SelfSigned,
}

/// The file, a section a struct. An unknown key is an error that names the known ones.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct File {
    server: ServerSection,
    auth: AuthSection,
    storage: StorageSection,
    log: LogSection,
    telemetry: TelemetrySection,
    functions: FunctionsSection,
    runtimes: RuntimesSection,
    prices: PricesSection,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct ServerSection {
    host: Option<Address>,
    port: Option<u16>,
    names: Vec<String>,
    origins: Vec<String>,
    tls: TlsSection,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct TlsSection {
    certificate: Option<PathBuf>,
    key: Option<PathBuf>,
    self_signed: Option<bool>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct AuthSection {
    mode: Option<AuthMode>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct StorageSection {
    data_dir: Option<PathBuf>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct LogSection {
    format: Option<LogFormat>,
    level: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct TelemetrySection {
    otlp: Option<String>,
    certificate: Option<PathBuf>,
    compression: Option<String>,
}

/// What is said of the collector by flags and variables.
struct Collecting {
    otlp: Option<String>,
    endpoint: Option<String>,
    headers: Option<String>,
    certificate: Option<PathBuf>,
    compression: Option<String>,
}

impl Collecting {
    fn settle(self, file: TelemetrySection) -> Result<Option<otlp::Settings>, otlp::SettingsError> {
        let Some(endpoint) = self.otlp.or(file.otlp).or(self.endpoint) else { return Ok(None) };
        Ok(Some(otlp::Settings {
            endpoint: endpoint.parse()?,
            headers: self.headers.unwrap_or_default().parse()?,
            certificate: self.certificate.or(file.certificate),
            compression: self.compression.or(file.compression).unwrap_or_default().parse()?,
        }))
    }
}

impl Config {
    /// Whether anybody who reaches the server may do anything.
    pub fn is_open_to_all(&self) -> bool {
        self.auth == AuthMode::Dev && !self.listen.ip().is_loopback()
    }

    /// Settles the configuration. Clap has already put flags before the environment.
    pub fn new(given: Settings) -> Result<Self, ConfigError> {
        let file = File::of(&given.place)?;
        let host = given.host.or(file.server.host).map_or(IpAddr::V4(Ipv4Addr::LOCALHOST), |host| host.0);
        let listen = SocketAddr::new(host, given.port.or(file.server.port).unwrap_or(PORT));
        let by_address = if host.is_loopback() { AuthMode::Dev } else { AuthMode::Strict };
        let tls = TlsSection {
            certificate: given.tls_certificate.or(file.server.tls.certificate),
            key: given.tls_key.or(file.server.tls.key),
            self_signed: given.tls_self_signed.or(file.server.tls.self_signed),
        };
        let names = first(given.names, file.server.names);
        let origins = first(given.origins, file.server.origins);
        if let Some(name) = names.iter().find(|name| !is_name(name)) {
            return Err(ConfigError::Name(name.clone()));
        }
        if let Some(origin) = origins.iter().find(|origin| !is_origin(origin)) {
            return Err(ConfigError::Origin(origin.clone()));
        }
        let collecting = Collecting {
            otlp: given.otlp,
            endpoint: given.otlp_endpoint,
            headers: given.otlp_headers,
            certificate: given.otlp_certificate,
            compression: given.otlp_compression,
        };
        Ok(Self {
            listen,
            data_dir: settle_data_dir(given.place, file.storage)?,
            auth: given.auth.or(file.auth.mode).unwrap_or(by_address),
            log: given.log.or(file.log.format).unwrap_or(LogFormat::Text),
            log_level: given.log_level.or(file.log.level).unwrap_or_else(|| "info".into()),
            otlp: collecting.settle(file.telemetry)?,
            names,
            origins,
            tls: tls.settle()?,
            functions: Functions::settle(given.functions, file.functions, file.runtimes)?,
            prices: file.prices.settle()?,
        })
    }

    /// For a command that is not the server: what the server would run with, as far as the file and these flags say.
    pub fn of(place: Place, interpreters: InterpreterFlags) -> Result<Self, ConfigError> {
        let functions = FunctionFlags { interpreters, ..FunctionFlags::default() };
        Self::new(Settings { place, functions, ..Settings::default() })
    }
}

impl File {
    fn of(place: &Place) -> Result<Self, ConfigError> {
        match &place.config {
            Some(path) => Self::read(path),
            None => Ok(Self::default()),
        }
    }

    fn read(path: &Path) -> Result<Self, ConfigError> {
        let text = fs::read_to_string(path).map_err(|source| ConfigError::Read { path: path.into(), source })?;
        toml::from_str(&text).map_err(|error| ConfigError::Parse { path: path.into(), reason: error.to_string() })
    }
}

impl TlsSection {
    fn settle(self) -> Result<Option<Tls>, ConfigError> {
        match (self.certificate, self.key, self.self_signed.unwrap_or(false)) {
            (None, None, false) => Ok(None),
            (None, None, true) => Ok(Some(Tls::SelfSigned)),
            (Some(certificate), Some(key), false) => Ok(Some(Tls::Files { certificate, key })),
            _ => Err(ConfigError::Tls),
        }
    }
}

/// A list that is given beats the file's whole.
fn first<T>(given: Vec<T>, file: Vec<T>) -> Vec<T> {
    if given.is_empty() { file } else { given }
}

fn is_name(name: &str) -> bool {
    let name = name.strip_prefix("*.").unwrap_or(name);
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_'))
}

fn is_origin(origin: &str) -> bool {
    let Some((scheme, authority)) = origin.split_once("://") else { return false };
    let (host, port) = authority.rsplit_once(':').unwrap_or((authority, "0"));
    !scheme.is_empty() && is_name(host) && !host.starts_with('*') && port.parse::<u16>().is_ok()
}

/// The data directory that a command is about, by the same precedence as the server's.
pub fn data_dir(place: Place) -> Result<PathBuf, ConfigError> {
    let file = File::of(&place)?;
    settle_data_dir(place, file.storage)
}

/// As given, else as configured, else where the user's programs keep their data.
fn settle_data_dir(place: Place, storage: StorageSection) -> Result<PathBuf, ConfigError> {
    if let Some(dir) = place.data_dir.or(storage.data_dir) {
        // What a server prints and is asked about must not depend on where it was started.
        return std::path::absolute(&dir).map_err(|source| ConfigError::DataDir { dir, source });
    }
    usual_data_dir()
}

/// Where the server's data is if nobody says where.
pub fn usual_data_dir() -> Result<PathBuf, ConfigError> {
    let of = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let home = of("XDG_DATA_HOME").or_else(|| Some(of("HOME")?.join(".local/share")));
    Ok(home.ok_or(ConfigError::NoDataDir)?.join("lamp"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::functions::{Cpu, Isolation, Network, RuntimeMatch};

    fn with_file(text: &str, given: Settings) -> Result<Config, ConfigError> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lamp.toml");
        fs::write(&path, text).unwrap();
        let place = Place { config: Some(path), data_dir: Some("/data".into()) };
        Config::new(Settings { place, ..given })
    }

    #[test]
    fn a_flag_beats_the_file_and_the_file_beats_the_default() {
        let file = "[server]\nport = 1\nhost = '127.0.0.2'\n[log]\nformat = 'json'\n";
        let config = with_file(file, Settings { port: Some(2), ..Settings::default() }).unwrap();
        assert_eq!(config.listen, "127.0.0.2:2".parse().unwrap());
        assert_eq!((config.log, config.log_level.as_str()), (LogFormat::Json, "info"));
    }

    #[test]
    fn only_loopback_is_open_to_any_key() {
        let mode = |file: &str| with_file(file, Settings::default()).unwrap().auth;
        assert_eq!(mode(""), AuthMode::Dev);
        assert_eq!(mode("server.host = '0.0.0.0'"), AuthMode::Strict);
        assert_eq!(mode("server.host = '::'"), AuthMode::Strict);
        assert_eq!(mode("server.host = '0.0.0.0'\nauth.mode = 'dev'"), AuthMode::Dev);
        assert_eq!(mode("auth.mode = 'strict'"), AuthMode::Strict);
    }

    #[test]
    fn every_command_finds_the_data_where_the_server_does() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lamp.toml");
        fs::write(&path, "storage.data_dir = '/from/file'").unwrap();
        let place = |data_dir: Option<&str>| Place { config: Some(path.clone()), data_dir: data_dir.map(Into::into) };
        assert_eq!(data_dir(place(None)).unwrap(), Path::new("/from/file"));
        assert_eq!(data_dir(place(Some("/from/flag"))).unwrap(), Path::new("/from/flag"));
    }

    #[test]
    fn a_variable_turns_off_what_the_file_turns_on() {
        let file = "server.tls.self_signed = true";
        assert_eq!(with_file(file, Settings::default()).unwrap().tls, Some(Tls::SelfSigned));
        let off = Settings { tls_self_signed: Some(false), ..Settings::default() };
        assert_eq!(with_file(file, off).unwrap().tls, None);
    }

    #[test]
    fn functions_run_as_configured() {
        let functions = |file: &str| with_file(file, Settings::default()).unwrap().functions;
        let file = "[functions]\nisolation = 'process'\nnetwork = 'none'\nallowed_networks = ['10.0.0.0/8']\n\
                    nameservers = ['10.0.0.2']\nmay_forward = false\ncpu = 'quota'\nconcurrency = 7\n\
                    keep_alive = '90s'\nruntime_match = 'exact'\nparked = 3\n";
        let read = functions(file);
        assert_eq!((read.isolation, read.network, read.cpu), (Isolation::Process, Some(Network::None), Cpu::Quota));
        assert_eq!((read.allowed_networks.len(), read.nameservers.len(), read.may_forward), (1, 1, false));
        assert_eq!((read.concurrency, read.keep_alive.as_secs(), read.parked), (7, 90, 3));
        let strict = functions(&file.replace("'process'", "'strict'"));
        assert_eq!((strict.isolation, strict.parked), (Isolation::Strict, 0), "every instance is made from nothing");
        assert_eq!(read.interpreters.runtime_match, RuntimeMatch::Exact);
        let default = functions("");
        assert_eq!((default.isolation, default.network, default.may_forward), (Isolation::Auto, None, true));
        assert_eq!((default.concurrency, default.keep_alive.as_secs(), default.parked), (1000, 600, 2));

        let flags = FunctionFlags { network: Some(Network::Egress), concurrency: Some(8), ..FunctionFlags::default() };
        let over = with_file(file, Settings { functions: flags, ..Settings::default() }).unwrap().functions;
        assert_eq!((over.network, over.concurrency, over.cpu), (Some(Network::Egress), 8, Cpu::Quota));
    }

    #[test]
    fn a_runtime_may_be_named_with_quotes_or_without() {
        for file in ["[runtimes]\n'python3.13' = '/usr'", "[runtimes]\npython3.13 = '/usr'"] {
            let named = with_file(file, Settings::default()).unwrap().functions.interpreters.named;
            assert_eq!(named, [("python3.13".to_owned(), PathBuf::from("/usr"))].into());
        }
    }

    #[test]
    fn relative_directories_are_settled_at_once() {
        let place = Place { data_dir: Some("lamp-data".into()), config: None };
        assert!(data_dir(place).unwrap().is_absolute());
    }

    #[test]
    fn mistakes_in_the_file_are_told() {
        let told = |file: &str| with_file(file, Settings::default()).unwrap_err().to_string();
        assert!(told("[server]\nprot = 1").contains("unknown field `prot`, expected one of `host`, `port`"));
        assert!(told("[server.tls]\nkey = 'x'").starts_with("serve TLS"));
        assert!(told("port: 1").contains("parse the configuration file"));
        assert!(told("server.host = 'example.org'").contains("it takes an IP address"));
        for bad in ["b.org:80", "http://c.org", "", "*"] {
            assert!(told(&format!("server.names = ['{bad}']")).starts_with("answer to the name"), "{bad}");
        }
        for bad in ["foo", "*", "https://a.org/path", "https://*.org"] {
            assert!(told(&format!("server.origins = ['{bad}']")).starts_with("admit the origin"), "{bad}");
        }
        assert!(told("telemetry.otlp = 'ftp://x'").contains("such as http://localhost:4318"));
        assert!(told("[telemetry]\notlp = 'http://x'\ncompression = 'zip'").contains("gzip or none"));
        assert!(told("functions.concurrency = 0").contains("from 1 to 10000"));
        assert!(told("functions.keep_alive = '10'").contains("such as 90s, 10m or 1h"));
        assert!(told("functions.memory = '4'").contains("such as 512MB or 4GB"));
        assert!(told("functions.memory = '255MB'").contains("--memory (functions.memory) is 256MB at least"));
        assert!(told("functions.allowed_networks = ['10.0.0.1/8']").contains("write 10.0.0.0/8"));
        assert!(told("functions.isolation = 'docker'").contains("expected one of `auto`, `process`, `strict`, `none`"));
        for bad in ["cobol = '/usr'", "'python3.13' = 1", "python3.13.1 = '/usr'", "'provided.al2' = '/usr'"] {
            assert!(told(&format!("[runtimes]\n{bad}")).contains("under [runtimes]"), "{bad}");
        }
        assert!(told("[runtimes]\njava21 = '/no/where'").starts_with("use /no/where for java21"));
    }
}
