//! A function of one file, without dependencies: it speaks the Runtime API over one kept connection, prints a line for each
//! event, or as many as its `lines` says, and answers with it, after as many milliseconds as the event's `sleep_ms` says.
//! Called with `once` it does that for one event, without an API.

use std::io::{BufRead, BufReader, Error, ErrorKind, Result, Write};
use std::net::TcpStream;

fn main() -> Result<()> {
    if std::env::args().nth(1).as_deref() == Some("once") {
        handle(b"{}")?;
        return Ok(());
    }
    let api = std::env::var("AWS_LAMBDA_RUNTIME_API").map_err(Error::other)?;
    let stream = TcpStream::connect(&api)?;
    stream.set_nodelay(true)?;
    let mut answers = BufReader::new(stream.try_clone()?);
    let mut requests = stream;
    let mut request = Vec::new();
    loop {
        write!(request, "GET /2018-06-01/runtime/invocation/next HTTP/1.1\r\nHost: {api}\r\n\r\n")?;
        requests.write_all(&request)?;
        let (id, event) = answer(&mut answers)?;
        let response = handle(&event)?;
        request.clear();
        let path = format!("/2018-06-01/runtime/invocation/{id}/response");
        write!(request, "POST {path} HTTP/1.1\r\nHost: {api}\r\nContent-Length: {}\r\n\r\n", response.len())?;
        request.extend_from_slice(response);
        requests.write_all(&request)?;
        answer(&mut answers)?;
        request.clear();
    }
}

fn handle(event: &[u8]) -> Result<&[u8]> {
    for _ in 0..number(event, "\"lines\":").unwrap_or(1) {
        println!("an event came");
    }
    if let Some(millis) = number(event, "\"sleep_ms\":") {
        std::thread::sleep(std::time::Duration::from_millis(millis));
    }
    Ok(event)
}

/// The number behind a quoted name and its colon, if it is there.
fn number(event: &[u8], name: &str) -> Option<u64> {
    let (_, behind) = std::str::from_utf8(event).ok()?.split_once(name)?;
    let digits = behind.trim_start().split(|c: char| !c.is_ascii_digit()).next()?;
    digits.parse().ok()
}

/// An answer's request id, if it has one, and its body.
fn answer(answers: &mut impl BufRead) -> Result<(String, Vec<u8>)> {
    let (mut id, mut length) = (String::new(), 0);
    let mut line = String::new();
    loop {
        line.clear();
        if answers.read_line(&mut line)? == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        let Some((name, value)) = line.trim_end().split_once(": ") else {
            if line.trim_end().is_empty() {
                break;
            }
            continue;
        };
        match name.to_ascii_lowercase().as_str() {
            "lambda-runtime-aws-request-id" => value.clone_into(&mut id),
            "content-length" => length = value.parse().map_err(Error::other)?,
            _ => {}
        }
    }
    let mut body = vec![0; length];
    answers.read_exact(&mut body)?;
    Ok((id, body))
}
