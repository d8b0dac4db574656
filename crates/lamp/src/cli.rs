//! What can be typed: the commands of `lamp` and their flags.
//!
//! Every setting of the server is a flag, an environment variable and a key of the configuration file; the first
//! that is given wins, in this order.

pub mod functions;
pub mod reading;
pub mod steering;

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, Parser, Subcommand, ValueEnum};
use serde::Deserialize;

use functions::{FunctionFlags, InterpreterFlags};
use reading::{Cost, Logs, Top};
use steering::{Events, Mapping, Queue, Wait};

#[derive(Parser)]
#[command(name = "lamp", version, about = "The serverless cloud in one binary, behind the AWS API")]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Subcommand)]
pub enum Command {
    /// Start the server
    Start(Settings),
    /// Read what a function says, and go on with what it will say
    Logs(Logs),
    /// Watch what functions do right now
    Top(Top),
    /// Look into queues, and steer them
    #[command(subcommand)]
    Queue(Queue),
    /// Look at event source mappings, and stop them for a while
    #[command(subcommand)]
    Mapping(Mapping),
    /// Tell what becomes of a function's asynchronous invocations, and have the dead ones tried again
    Events(Events),
    /// Wait until everything that was caused has come to its end
    Wait(Wait),
    /// Tell what functions used, and what it would have cost at AWS
    Cost(Cost),
    /// Tell what this machine lends, what is missing, and how to get it
    Doctor(Doctor),
    /// Tell which of AWS's runtimes this machine serves, and put AWS's SDKs in place
    Runtimes(Runtimes),
    /// Copy a server's data, running or not, into a new directory
    Backup(Backup),
    /// Make a data directory from a backup
    Restore(Restore),
    /// Give the data a new master key, and forget the old one
    RotateKey(Place),
    /// Print the root credentials as a shell takes them: eval "$(lamp credentials)"
    Credentials(Place),
}

#[derive(Args, Default)]
pub struct Settings {
    /// Port to listen on; 0 takes a free one
    #[arg(long, env = "LAMP_PORT")]
    pub port: Option<u16>,
    /// Address to listen on; any but loopback turns on strict authentication, unless --auth says otherwise
    #[arg(long, env = "LAMP_HOST", value_name = "ADDR")]
    pub host: Option<Address>,
    #[command(flatten)]
    pub place: Place,
    /// Who may talk to the server: `dev` takes any key, `strict` only known ones
    #[arg(long, env = "LAMP_AUTH", value_enum)]
    pub auth: Option<AuthMode>,
    /// Form of the log on stderr
    #[arg(long, env = "LAMP_LOG", value_enum)]
    pub log: Option<LogFormat>,
    /// What is logged, such as `info` or `wire=debug,store=trace`
    #[arg(long, env = "LAMP_LOG_LEVEL", value_name = "FILTER")]
    pub log_level: Option<String>,
    /// Send functions' logs and spans to a collector of OpenTelemetry, by OTLP/HTTP
    #[arg(long, env = "LAMP_OTLP", value_name = "URL")]
    pub otlp: Option<String>,
    /// The same by the name that OpenTelemetry's programs know; `--otlp` and the configuration come first
    #[arg(long, env = "OTEL_EXPORTER_OTLP_ENDPOINT", value_name = "URL", hide = true)]
    pub otlp_endpoint: Option<String>,
    /// What goes with each request to the collector, such as `api-key=SECRET`; better said by the variable
    #[arg(long, env = "OTEL_EXPORTER_OTLP_HEADERS", value_name = "NAME=VALUE,..", hide_env_values = true)]
    pub otlp_headers: Option<String>,
    /// Trust these authorities (PEM) as to who the collector is, instead of the system's
    #[arg(long, env = "OTEL_EXPORTER_OTLP_CERTIFICATE", value_name = "FILE")]
    pub otlp_certificate: Option<PathBuf>,
    /// Whether what is sent to the collector is compressed: `gzip` or `none`
    #[arg(long, env = "OTEL_EXPORTER_OTLP_COMPRESSION", value_name = "HOW")]
    pub otlp_compression: Option<String>,
    /// Further host names that the server answers to
    #[arg(long = "name", env = "LAMP_NAMES", value_delimiter = ',', value_name = "HOST")]
    pub names: Vec<String>,
    /// Web origins that may drive the server from a browser
    #[arg(long = "origin", env = "LAMP_ORIGINS", value_delimiter = ',', value_name = "URL")]
    pub origins: Vec<String>,
    /// Serve TLS with this certificate chain (PEM)
    #[arg(long, env = "LAMP_TLS_CERTIFICATE", value_name = "FILE")]
    pub tls_certificate: Option<PathBuf>,
    /// Private key of the certificate (PEM)
    #[arg(long, env = "LAMP_TLS_KEY", value_name = "FILE")]
    pub tls_key: Option<PathBuf>,
    /// Serve TLS with a certificate that the server makes for itself
    #[arg(long, env = "LAMP_TLS_SELF_SIGNED", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub tls_self_signed: Option<bool>,
    #[command(flatten)]
    pub functions: FunctionFlags,
}

/// Where a server's data is; the same for every command.
#[derive(Args, Default)]
pub struct Place {
    /// Where everything is kept
    #[arg(long, env = "LAMP_DATA_DIR", value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Configuration file
    #[arg(long, env = "LAMP_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
}

#[derive(Args)]
pub struct Doctor {
    /// What the server is, or would be, started with
    #[command(flatten)]
    pub settings: Settings,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Runtimes {
    #[command(subcommand)]
    pub change: Option<RuntimesChange>,
    #[command(flatten)]
    pub place: Place,
    #[command(flatten)]
    pub interpreters: InterpreterFlags,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Subcommand)]
pub enum RuntimesChange {
    /// Put the SDK in place that AWS ships with a runtime, or bring it up to date
    Add(AddRuntime),
    /// Take away what `add` put in place
    Remove(RemoveRuntime),
}

#[derive(Args)]
pub struct AddRuntime {
    /// A runtime, such as python3.13, or a language for all its versions, such as nodejs
    pub name: String,
    /// A further package of the language, such as @aws-sdk/client-sfn
    #[arg(long = "package", value_name = "NAME")]
    pub packages: Vec<String>,
    #[command(flatten)]
    pub place: Place,
    #[command(flatten)]
    pub interpreters: InterpreterFlags,
}

#[derive(Args)]
pub struct RemoveRuntime {
    pub name: String,
    #[command(flatten)]
    pub place: Place,
}

#[derive(Args)]
pub struct Backup {
    #[command(flatten)]
    pub from: Place,
    /// Directory to make; it must not exist yet, or be empty
    pub to: PathBuf,
    /// Print the manifest as JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Args)]
pub struct Restore {
    /// A directory that `lamp backup` made
    pub from: PathBuf,
    /// The data directory to make; it must not exist yet, or be empty
    #[command(flatten)]
    pub to: Place,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AuthMode {
    Dev,
    Strict,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    Text,
    Json,
}

/// An address to listen on, or the name that everybody knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Address(pub IpAddr);

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "localhost" => Ok(Self(IpAddr::V4(Ipv4Addr::LOCALHOST))),
            _ => text.parse().map(Self).map_err(|_| "it takes an IP address, such as 0.0.0.0, or localhost".into()),
        }
    }
}

impl TryFrom<String> for Address {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}
