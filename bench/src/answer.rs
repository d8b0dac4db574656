//! An HTTP answer as it comes off a socket: whole or not yet, and whether a function failed.

use anyhow::{Context, Result, bail};

/// A whole answer.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
    /// Whether the connection may be used again.
    pub stays: bool,
}

enum Length {
    Bytes(usize),
    Chunked,
}

impl Answer {
    /// The answer in `bytes`, if it is all there.
    pub fn parse(bytes: &[u8]) -> Result<Option<Answer>> {
        let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else { return Ok(None) };
        let (head, body) = bytes.split_at(end + 4);
        let head = std::str::from_utf8(head).context("read an answer's head")?;
        let is_whole = match length(head)? {
            Length::Bytes(length) => body.len() >= length,
            Length::Chunked => body.ends_with(b"0\r\n\r\n"),
        };
        if !is_whole {
            return Ok(None);
        }
        let status = head.split(' ').nth(1).unwrap_or_default().parse().context("read a status")?;
        let stays = head.starts_with("HTTP/1.1") && !head.to_ascii_lowercase().contains("connection: close");
        Ok(Some(Answer { status, head: head.to_owned(), body: body.to_vec(), stays }))
    }

    /// Fails if the server refused, or the function that it ran failed.
    pub fn check(&self) -> Result<()> {
        if self.status >= 300 || self.header("x-amz-function-error").is_some() {
            bail!("get an answer: {}{}", self.head, String::from_utf8_lossy(&self.body));
        }
        Ok(())
    }

    pub fn header(&self, wanted: &str) -> Option<&str> {
        header(&self.head, wanted)
    }
}

fn header<'h>(head: &'h str, wanted: &str) -> Option<&'h str> {
    let headers = head.lines().filter_map(|line| line.split_once(':'));
    headers.into_iter().find(|(name, _)| name.eq_ignore_ascii_case(wanted)).map(|(_, value)| value.trim())
}

fn length(head: &str) -> Result<Length> {
    if header(head, "transfer-encoding").is_some_and(|value| value.eq_ignore_ascii_case("chunked")) {
        return Ok(Length::Chunked);
    }
    let length = header(head, "content-length").map(str::parse).transpose().context("read a length")?;
    Ok(Length::Bytes(length.unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_whole_when_its_length_or_its_last_chunk_is_there() {
        let sized = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
        for end in 0..sized.len() {
            assert!(Answer::parse(&sized[..end]).unwrap().is_none(), "{end}");
        }
        let answer = Answer::parse(sized).unwrap().unwrap();
        assert_eq!((answer.status, answer.stays, answer.body.as_slice()), (200, true, b"ok".as_slice()));
        let chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n2\r\nok\r\n0\r\n\r\n";
        assert!(Answer::parse(&chunked[..chunked.len() - 5]).unwrap().is_none());
        assert!(!Answer::parse(chunked).unwrap().unwrap().stays);
    }

    #[test]
    fn what_fails_is_no_figure() {
        let check = |head: &str| Answer::parse(format!("HTTP/1.1 {head}\r\n\r\n").as_bytes()).unwrap().unwrap().check();
        assert!(check("200 OK").is_ok());
        assert!(check("500 Internal Server Error").is_err());
        assert!(check("200 OK\r\nX-Amz-Function-Error: Unhandled").is_err());
    }
}
