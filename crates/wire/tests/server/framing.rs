//! Requests that two readers could read differently. Each case is followed by a canary on the same connection: a
//! refused case must be the last thing that the connection answers, and after an accepted one the canary's answer must
//! be the canary's.

use crate::support::{Raw, Setup, TestServer, echo, start};

/// The headers that make a request `Echo`, without its length.
const ECHO: &str =
    "Host: localhost\r\nX-Amz-Target: Lamps_20200101.Echo\r\nContent-Type: application/x-amz-json-1.0\r\n";
const BODY: &str = r#"{"Name":"a"}"#;
const CHUNKED: &str = "c\r\n{\"Name\":\"a\"}\r\n0\r\n\r\n";

/// `POST /` as `Echo` with more headers and a body.
fn post(headers: &str, body: &str) -> String {
    format!("POST / HTTP/1.1\r\n{ECHO}{headers}\r\n{body}")
}

/// `Echo` with a body in chunks.
fn chunks(body: &str) -> String {
    post("Transfer-Encoding: chunked\r\n", body)
}

fn get(target_to_headers: &str) -> String {
    format!("GET {target_to_headers}\r\n\r\n")
}

async fn is_refused(server: &TestServer, case: &str, status: u16) {
    let mut client = Raw::connect(server).await;
    client.send(case).await;
    client.send(echo(r#"{"Name":"canary"}"#)).await;
    let answer = client.answer().await.unwrap_or_else(|| panic!("no answer to {case:?}"));
    assert_eq!(answer.status, status, "{case:?}: {answer:?}");
    assert_eq!(client.answer().await, None, "an answer behind a refused {case:?}");
}

async fn is_in_step(server: &TestServer, case: &str, status: u16) {
    let mut client = Raw::connect(server).await;
    client.send(case).await;
    client.send(echo(r#"{"Name":"canary"}"#)).await;
    let answer = client.answer().await.unwrap_or_else(|| panic!("no answer to {case:?}"));
    assert_eq!(answer.status, status, "{case:?}: {answer:?}");
    let canary = client.answer().await.unwrap_or_else(|| panic!("no canary behind {case:?}"));
    assert_eq!((canary.status, canary.body.as_str()), (200, r#"{"Name":"canary"}"#), "behind {case:?}");
}

#[tokio::test]
async fn an_open_length_is_refused() {
    let server = start(Setup::default()).await;
    let smuggled = "0\r\n\r\nGET /_lamp/health HTTP/1.1\r\nHost: localhost\r\n\r\n";
    for headers in [
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
        "Content-Length: 0\r\nTransfer-Encoding: chunked\r\n",
        "CONTENT-LENGTH: 5\r\ntransfer-ENCODING: CHUNKED\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
        "Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: xchunked\r\n",
        "Transfer-Encoding: chunked, identity\r\n",
        "Transfer-Encoding: identity, chunked\r\n",
        "Transfer-Encoding: chunked, chunked\r\n",
        "Transfer-Encoding: gzip, chunked\r\n",
        "Transfer-Encoding: chunked,\r\n",
        "Transfer-Encoding: ,chunked\r\n",
        "Transfer-Encoding: chunked;q=1\r\n",
        "Transfer-Encoding: \"chunked\"\r\n",
        "Transfer-Encoding: identity\r\n",
        "Transfer-Encoding: \r\n",
        "Transfer-Encoding: chunked\x0b\r\n",
        "Transfer-Encoding : chunked\r\n",
        "Transfer-Encoding\t: chunked\r\n",
        "Transfer-Encoding:\r\n chunked\r\n",
        "X: y\r\n Transfer-Encoding: chunked\r\n",
        "X: y\rTransfer-Encoding: chunked\r\n",
        "X: y\nTransfer-Encoding: chunked\r\n",
        "Content-Length: 5\nTransfer-Encoding: chunked\r\n",
        "Content-Length: 5\r\nContent-Length: 5\r\n",
        "Content-Length: 5\r\nContent-Length: 6\r\n",
        "Content-Length: 5, 5\r\n",
        "Content-Length: +5\r\n",
        "Content-Length: -5\r\n",
        "Content-Length: 5 5\r\n",
        "Content-Length: 0x5\r\n",
        "Content-Length: 5.0\r\n",
        "Content-Length: 1e1\r\n",
        "Content-Length: 5;\r\n",
        "Content-Length: \r\n",
        "Content-Length: 18446744073709551621\r\n",
        "Content-Length: 9223372036854775807\r\n",
        "Content-Length : 5\r\n",
        "Content-Length\0: 5\r\n",
        "Content Length: 5\r\n",
    ] {
        is_refused(&server, &post(headers, smuggled), 400).await;
    }
}

#[tokio::test]
async fn a_malformed_request_line_is_refused() {
    let server = start(Setup::default()).await;
    let host = "\r\nHost: localhost";
    for (line, status) in [
        ("GET  / HTTP/1.1", 400),
        ("GET /  HTTP/1.1", 400),
        ("GET / HTTP/1.1 ", 400),
        (" GET / HTTP/1.1", 400),
        ("GET\t/\tHTTP/1.1", 400),
        ("GET /a b HTTP/1.1", 400),
        ("GET /\0 HTTP/1.1", 400),
        ("GET /\x7f HTTP/1.1", 400),
        ("GET /é HTTP/1.1", 400),
        ("GET HTTP/1.1", 400),
        ("GET /", 400),
        ("/ HTTP/1.1", 400),
        ("G(T / HTTP/1.1", 400),
        ("GET / http/1.1", 400),
        ("GET / XTTP/1.1", 400),
        ("GET / HTTP/1.2", 505),
        ("GET / HTTP/0.9", 505),
        ("GET / HTTP/2.0", 505),
        ("PRI * HTTP/2.0", 505),
        ("CONNECT localhost:22 HTTP/1.1", 400),
        ("\r\n\r\nGET / HTTP/1.1", 400),
        ("\nGET / HTTP/1.1", 400),
        ("GET / HTTP/1.1\n", 400),
        ("GET / HTTP/1.1\r", 400),
    ] {
        is_refused(&server, &format!("{line}{host}\r\n\r\n"), status).await;
    }
}

#[tokio::test]
async fn malformed_headers_are_refused() {
    let server = start(Setup::default()).await;
    for headers in [
        "",
        "Host: localhost\r\nHost: localhost",
        "Host: localhost\r\nHost: evil.example",
        " Host: localhost",
        "Host: localhost\r\nno colon",
        "Host: localhost\r\n: no name",
        "Host: localhost\r\na b: c",
        "Host: localhost\r\na(b): c",
        "Host: localhost\r\né: c",
        "Host: localhost\r\na: b\0c",
        "Host: localhost\r\na: b\rc",
        "Host: localhost\r\na: b\nc: d",
        "Host: localhost\r\na: b\r\n\tc",
        "Host: localhost\r\na: b\x08",
        "Host: localhost\n",
    ] {
        let lines = if headers.is_empty() { String::new() } else { format!("{headers}\r\n") };
        is_refused(&server, &format!("GET / HTTP/1.1\r\n{lines}\r\n"), 400).await;
    }
    let http10 = "POST / HTTP/1.0\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
    is_refused(&server, http10, 400).await;
}

#[tokio::test]
async fn malformed_chunks_are_refused() {
    let server = start(Setup::default()).await;
    let long_extension = format!("c;{}\r\n{BODY}\r\n0\r\n\r\n", "x".repeat(300));
    let long_trailer = format!("c\r\n{BODY}\r\n0\r\nx: {}\r\n\r\n", "x".repeat(9_000));
    for body in [
        "c\n{\"Name\":\"a\"}\r\n0\r\n\r\n",
        "c\r\n{\"Name\":\"a\"}\n0\r\n\r\n",
        "c\r\n{\"Name\":\"a\"}\r\n0\n\r\n",
        "c\r\n{\"Name\":\"a\"}\r\n0\r\n\n",
        "c\r\n{\"Name\":\"a\"}0\r\n\r\n",
        "c\r\n{\"Name\":\"a\"}xx0\r\n\r\n",
        "b\r\n{\"Name\":\"a\"}\r\n0\r\n\r\n",
        "c \r\n{\"Name\":\"a\"}\r\n0\r\n\r\n",
        " c\r\n{\"Name\":\"a\"}\r\n0\r\n\r\n",
        "0xc\r\n{\"Name\":\"a\"}\r\n0\r\n\r\n",
        "-c\r\n{\"Name\":\"a\"}\r\n0\r\n\r\n",
        "+c\r\n{\"Name\":\"a\"}\r\n0\r\n\r\n",
        "\r\n{\"Name\":\"a\"}\r\n0\r\n\r\n",
        "g\r\n{\"Name\":\"a\"}\r\n0\r\n\r\n",
        "c;\n{\"Name\":\"a\"}\r\n0\r\n\r\n",
        "c;a=b\n{\"Name\":\"a\"}\r\n0\r\n\r\n",
        "c;a=\"\n\"\r\n{\"Name\":\"a\"}\r\n0\r\n\r\n",
        "c;a=\0\r\n{\"Name\":\"a\"}\r\n0\r\n\r\n",
        "1000000000000000c\r\n{\"Name\":\"a\"}\r\n0\r\n\r\n",
        "ffffffffffffffff\r\n{\"Name\":\"a\"}\r\n0\r\n\r\n",
        "c\r\n{\"Name\":\"a\"}\r\n0\r\nx: y\n\r\n",
        "c\r\n{\"Name\":\"a\"}\r\n0\r\n x: y\r\n\r\n",
        "c\r\n{\"Name\":\"a\"}\r\n0\r\nx: \0\r\n\r\n",
        &long_extension,
        &long_trailer,
    ] {
        is_refused(&server, &chunks(body), 400).await;
    }
}

#[tokio::test]
async fn what_means_one_thing_is_served_and_the_connection_stays_in_step() {
    let server = start(Setup::default()).await;
    let inner = "GET /_lamp/health HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let length = format!("Content-Length: {}\r\n", BODY.len());
    let quoted = format!(r#"{{"Name":"{}"}}"#, inner.replace("\r\n", "\\r\\n"));
    for (case, status) in [
        (chunks(CHUNKED), 200),
        (chunks("6\r\n{\"Name\r\n06\r\n\":\"a\"}\r\n000\r\n\r\n"), 200),
        (chunks("C;name=value; other=\"quoted\"\r\n{\"Name\":\"a\"}\r\n0\r\n\r\n"), 200),
        (chunks("c\r\n{\"Name\":\"a\"}\r\n0\r\nX-Sum: 1\r\nContent-Length: 99\r\n\r\n"), 200),
        (post("Transfer-Encoding:\t CHUNKED \r\n", CHUNKED), 200),
        (post("Content-Length: \t12 \r\n", BODY), 200),
        (post("Content-Length: 0012\r\n", BODY), 200),
        (post(&format!("{length}Transfer_Encoding: chunked\r\n"), BODY), 200),
        (post(&format!("{length}Content_Length: 3\r\n"), BODY), 200),
        (post(&format!("{length}X-Content-Length: 3\r\nX-Transfer-Encoding: chunked\r\n"), BODY), 200),
        (
            post(
                &format!("{length}Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n"),
                BODY,
            ),
            200,
        ),
        (post(&format!("{length}Connection: Upgrade\r\nUpgrade: websocket\r\n"), BODY), 200),
        (post(&format!("{length}Connection: Content-Length\r\n"), BODY), 200),
        (format!("\r\n{}", post(&length, BODY)), 200),
        (post(&format!("Content-Length: {}\r\n", quoted.len()), &quoted), 200),
        (format!("POST / HTTP/1.0\r\n{ECHO}{length}Connection: keep-alive\r\n\r\n{BODY}"), 200),
        (
            format!("GET /_lamp/health HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n{inner}", inner.len()),
            200,
        ),
        (get("http://localhost/_lamp/health HTTP/1.1\r\nHost: localhost"), 200),
        (get("http://evil.example/ HTTP/1.1\r\nHost: localhost"), 400),
        (get("/_lamp/health HTTP/1.1\r\nHost: evil.example"), 403),
        (get("/_lamp/health HTTP/1.1\r\nHost: localhost\r\nExpect: 200-maybe"), 417),
        (get("/_lamp/none HTTP/1.1\r\nHost: localhost"), 404),
        ("LAMP-REFUSED / HTTP/1.1\r\nHost: localhost\r\n\r\n".to_owned(), 400),
    ] {
        is_in_step(&server, &case, status).await;
    }
}

#[tokio::test]
async fn a_request_refused_with_its_body_unread_does_not_leave_the_body_to_be_read_as_requests() {
    let server = start(Setup::default()).await;
    let body = "GET /_lamp/health HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(2_000);
    for framing in [
        format!("Content-Length: {}\r\n\r\n{body}", body.len()),
        format!("Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{body}\r\n0\r\n\r\n", body.len()),
    ] {
        let mut client = Raw::connect(&server).await;
        client.send(format!("POST / HTTP/1.1\r\nHost: evil.example\r\n{framing}")).await;
        client.send(echo(r#"{"Name":"canary"}"#)).await;
        assert_eq!(client.answer().await.unwrap().status, 403);
        // Either the connection ends here, or the body was thrown away and the canary answers.
        let next = client.answer().await.map(|answer| answer.body);
        assert!(next.is_none() || next.as_deref() == Some(r#"{"Name":"canary"}"#), "{next:?}");
    }
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order_up_to_the_bad_one() {
    let server = start(Setup::default()).await;
    let mut client = Raw::connect(&server).await;
    let good = |count| echo(&format!(r#"{{"Count":{count}}}"#));
    client.send([good(1), good(2), post("Content-Length: x\r\n", ""), good(3)].concat()).await;
    for count in 1..=2 {
        assert_eq!(client.answer().await.unwrap().body, format!(r#"{{"Count":{count}}}"#));
    }
    assert_eq!(client.answer().await.unwrap().status, 400);
    assert_eq!(client.answer().await, None);
}

#[tokio::test]
async fn bytes_that_come_one_by_one_are_one_request() {
    let server = start(Setup::default()).await;
    let mut client = Raw::connect(&server).await;
    client.0.set_nodelay(true).unwrap();
    for byte in [chunks(CHUNKED), echo(BODY)].concat().into_bytes() {
        client.send([byte]).await;
        tokio::task::yield_now().await;
    }
    assert_eq!(client.answer().await.unwrap().body, BODY);
    assert_eq!(client.answer().await.unwrap().body, BODY);
}

#[tokio::test]
async fn a_client_that_waits_is_told_to_continue_and_one_that_may_not_send_is_not() {
    let server = start(Setup::default()).await;
    let mut client = Raw::connect(&server).await;
    client.send(post("Content-Length: 12\r\nExpect: 100-continue\r\n", "")).await;
    assert_eq!(client.answer().await.unwrap().status, 100);
    client.send(BODY).await;
    assert_eq!(client.answer().await.unwrap().body, BODY);
    client.send(post("Content-Length: 99999999\r\nExpect: 100-continue\r\n", "")).await;
    assert_eq!(client.answer().await.unwrap().status, 413);
}
