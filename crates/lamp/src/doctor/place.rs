//! Where the server is, or would be: its data directory and its port.

use std::fs::{self, Metadata};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::{Access, access};

use super::Check;
use crate::config::Config;
use crate::control::{self, Answer, Request};

pub fn checks(config: &Config) -> Vec<Check> {
    let dir = &config.data_dir;
    let state = match fs::metadata(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Directory::None { can_be_made: can_be_made(dir) },
        Err(error) => Directory::Closed { why: error.to_string() },
        Ok(metadata) => of(dir, &metadata),
    };
    let served = if let Directory::Served { endpoint } = &state { endpoint.as_deref() } else { None };
    let port = port(config.listen, served, bind(config.listen));
    vec![data(&dir.display().to_string(), &state), port]
}

/// What was found where the data is to be.
enum Directory {
    None {
        can_be_made: bool,
    },
    Closed {
        why: String,
    },
    /// Open to others, or its server hangs.
    Odd {
        why: &'static str,
        remedy: String,
    },
    /// A server has it open.
    Served {
        endpoint: Option<String>,
    },
    Idle {
        is_new: bool,
    },
}

fn of(dir: &Path, metadata: &Metadata) -> Directory {
    if access(dir, Access::READ_OK | Access::WRITE_OK | Access::EXEC_OK).is_err() {
        return Directory::Closed { why: format!("it belongs to uid {}, and you may not use it", metadata.uid()) };
    }
    match control::ask(dir, &Request::Endpoint) {
        Ok(Some(Answer::Done(done))) => {
            return Directory::Served { endpoint: done["endpoint"].as_str().map(str::to_owned) };
        }
        Ok(Some(Answer::Failed(why))) => return Directory::Closed { why },
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            return Directory::Closed { why: "a server has it that is not yours".to_owned() };
        }
        Err(error) if error.kind() == io::ErrorKind::TimedOut => {
            let remedy = "see its log, or end it and start it again".to_owned();
            return Directory::Odd { why: "a server has it that does not answer", remedy };
        }
        Ok(None) | Err(_) => {}
    }
    if metadata.mode() & 0o077 != 0 {
        let remedy = format!("chmod 700 {}", dir.display());
        return Directory::Odd { why: "other users may look into it", remedy };
    }
    Directory::Idle { is_new: !store::data_dir::exists(dir) }
}

/// Whether the nearest folder above that is there may be written to.
fn can_be_made(dir: &Path) -> bool {
    let above = dir.ancestors().skip(1).find(|above| above.exists());
    above.is_some_and(|above| access(above, Access::WRITE_OK | Access::EXEC_OK).is_ok())
}

fn data(dir: &str, state: &Directory) -> Check {
    const NAME: &str = "data directory";
    match state {
        Directory::None { can_be_made: true } => {
            Check::ok(NAME, format!("{dir}: not there yet; the first start makes it"))
        }
        Directory::None { can_be_made: false } => {
            let remedy = "make it and give it to who runs lamp, or name another with --data-dir";
            Check::fail(NAME, format!("{dir}: it is not there, and you may not make it"), remedy)
        }
        Directory::Closed { why } => {
            Check::fail(NAME, format!("{dir}: {why}"), "run lamp as its owner, or name another with --data-dir")
        }
        Directory::Odd { why, remedy } => Check::warn(NAME, format!("{dir}: {why}"), remedy),
        Directory::Served { endpoint: Some(endpoint) } => Check::ok(NAME, format!("{dir}: served at {endpoint}")),
        Directory::Served { endpoint: None } => Check::ok(NAME, format!("{dir}: a server has it open")),
        Directory::Idle { is_new: true } => Check::ok(NAME, format!("{dir}: empty yet")),
        Directory::Idle { is_new: false } => Check::ok(NAME, format!("{dir}: no server runs on it")),
    }
}

/// Whether the server's address is to be had, by having it for a moment.
fn bind(listen: SocketAddr) -> io::Result<()> {
    TcpListener::bind(listen).map(drop)
}

fn port(listen: SocketAddr, served: Option<&str>, bound: io::Result<()>) -> Check {
    const NAME: &str = "port";
    let is_ours = served.is_some_and(|endpoint| endpoint.ends_with(&format!(":{}", listen.port())));
    match bound {
        _ if listen.port() == 0 => Check::ok(NAME, "a free one, at each start"),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse && is_ours => {
            Check::ok(NAME, format!("{listen}: this server's"))
        }
        Ok(()) => Check::ok(NAME, format!("{listen}: free")),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => Check::fail(
            NAME,
            format!("{listen}: another program listens there"),
            "stop that one, or choose with --port",
        ),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            let remedy = "choose a port from 1024 on, or give lamp CAP_NET_BIND_SERVICE";
            Check::fail(NAME, format!("{listen}: only root may listen there"), remedy)
        }
        Err(error) => Check::fail(NAME, format!("{listen}: {error}"), "choose an address of this machine with --host"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::State;
    use super::*;

    #[test]
    fn a_port_is_free_or_ours_or_taken() {
        let listen: SocketAddr = "127.0.0.1:4566".parse().unwrap();
        let taken = || Err(io::ErrorKind::AddrInUse.into());
        let state = |served, bound| port(listen, served, bound).state;
        assert_eq!(state(None, Ok(())), State::Ok);
        assert_eq!(state(Some("http://127.0.0.1:4566"), taken()), State::Ok);
        assert_eq!(state(Some("http://127.0.0.1:5000"), taken()), State::Fail);
        assert_eq!(state(None, taken()), State::Fail);
        assert_eq!(state(None, Err(io::ErrorKind::PermissionDenied.into())), State::Fail);
        assert_eq!(port("127.0.0.1:0".parse().unwrap(), None, Ok(())).found, "a free one, at each start");
    }

    #[test]
    fn a_directory_is_looked_at_and_not_touched() {
        let dir = tempfile::tempdir().unwrap();
        let config = |name: &str| {
            let place = crate::cli::Place { data_dir: Some(dir.path().join(name)), config: None };
            Config::new(crate::cli::Settings { place, port: Some(0), ..Default::default() }).unwrap()
        };
        let found = |name: &str| {
            let check = checks(&config(name)).remove(0);
            (check.state, check.found.rsplit(": ").next().unwrap_or_default().to_owned())
        };
        assert_eq!(found("none/deep"), (State::Ok, "not there yet; the first start makes it".into()));
        assert!(!dir.path().join("none").exists());
        fs::create_dir(dir.path().join("open")).unwrap();
        let mode =
            |mode| fs::set_permissions(dir.path().join("open"), std::os::unix::fs::PermissionsExt::from_mode(mode));
        mode(0o755).unwrap();
        assert_eq!(found("open"), (State::Warn, "other users may look into it".into()));
        mode(0o700).unwrap();
        assert_eq!(found("open"), (State::Ok, "empty yet".into()));
        assert_eq!(fs::read_dir(dir.path().join("open")).unwrap().count(), 0);
    }

    #[test]
    fn a_server_that_hangs_does_not_hang_the_doctor() {
        let dir = tempfile::tempdir().unwrap();
        let _hangs = std::os::unix::net::UnixListener::bind(dir.path().join("control.sock")).unwrap();
        let state = of(dir.path(), &fs::metadata(dir.path()).unwrap());
        let check = data("here", &state);
        assert_eq!((check.state, check.found.as_str()), (State::Warn, "here: a server has it that does not answer"));
    }
}
