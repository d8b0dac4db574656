//! What the commands have in common that read what functions do.

use std::error::Error;
use std::io::{self, ErrorKind, Write};
use std::path::Path;

use rustix::termios::isatty;
use serde_json::Value;

use crate::control::{self, Answer, Request};

/// Asks the server that runs on a data directory. What is answered at last; `None` if nobody wants to hear more.
pub fn ask(
    dir: &Path,
    request: &Request,
    mut take: impl FnMut(Value) -> io::Result<()>,
) -> Result<Option<Value>, Box<dyn Error>> {
    let mut is_read = true;
    // Who has read enough, as `head` has, closes the pipe: that is no failure.
    let take = |value| {
        let taken = take(value);
        is_read = !matches!(&taken, Err(error) if error.kind() == ErrorKind::BrokenPipe);
        taken
    };
    let answer = match store::data_dir::exists(dir) {
        true => control::ask_on(dir, request, take),
        false => Ok(None),
    };
    match answer {
        Ok(Some(Answer::Done(done))) => Ok(Some(done)),
        Ok(Some(Answer::Failed(reason))) => Err(reason.into()),
        Ok(None) => {
            let dir = dir.display();
            Err(format!(
                "ask the server: none runs on {dir}; start it with `lamp start --data-dir {dir}`, or name the \
                 directory of one that runs with --data-dir or LAMP_DATA_DIR"
            )
            .into())
        }
        Err(_) if !is_read => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Prints what was answered, as JSON or as people read it.
pub fn print(is_json: bool, told: &Value, as_text: impl FnOnce(&Value) -> String) -> Result<(), Box<dyn Error>> {
    let text = if is_json { format!("{told}\n") } else { as_text(told) };
    match io::stdout().write_all(text.as_bytes()) {
        // Who has read enough closes the pipe.
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}

/// Whether people read what is printed, and want colours.
pub fn is_coloured() -> bool {
    isatty(rustix::stdio::stdout()) && std::env::var_os("NO_COLOR").is_none()
}
