//! The log on stderr: a line an event, as text for people or JSON for machines.

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::{LevelFilter, ParseError};

use crate::cli::LogFormat;

#[derive(Debug, thiserror::Error)]
pub enum LogError {
    #[error(
        "understand the log level {level:?}: it is off, error, warn, info, debug or trace, or such as `wire=debug,info`"
    )]
    Level { level: String, source: ParseError },
    #[error(
        "understand the log level {0:?}: it is off, error, warn, info, debug or trace, or such as `wire=debug,info`"
    )]
    Unknown(String),
}

/// Starts logging; call once.
pub fn start(format: LogFormat, level: &str) -> Result<(), LogError> {
    // The filter would take a bare word for the name of a module, and log nothing else.
    let is_known = |part: &str| part.contains(['=', '[']) || part.parse::<LevelFilter>().is_ok();
    if let Some(unknown) = level.split(',').find(|part| !is_known(part)) {
        return Err(LogError::Unknown(unknown.to_owned()));
    }
    let filter =
        EnvFilter::builder().parse(level).map_err(|source| LogError::Level { level: level.to_owned(), source })?;
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match format {
        LogFormat::Text => log.with_ansi(rustix::termios::isatty(rustix::stdio::stderr())).init(),
        LogFormat::Json => log.json().flatten_event(true).with_current_span(true).with_span_list(false).init(),
    }
    Ok(())
}
