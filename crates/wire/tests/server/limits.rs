//! Requests that are too much: heads, targets, bodies, nesting, compression. Each is refused with its own status, and
//! none is held in full before.

use std::io::Write;

use tokio::io::AsyncWriteExt;
use wire::limits::Limits;

use crate::support::{Answer, FILE_BYTES_MAX, PATIENCE, Raw, Setup, TestServer, call, echo, start};

async fn answer(server: &TestServer, request: impl AsRef<[u8]>) -> Answer {
    let mut client = Raw::connect(server).await;
    client.send(request).await;
    client.answer().await.expect("an answer")
}

fn with_headers(headers: &str) -> String {
    format!("GET /_lamp/health HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n")
}

#[tokio::test]
async fn heads_that_are_too_large_are_refused() {
    let server = start(Setup::default()).await;
    let many = |count: usize| (0..count).map(|index| format!("x-{index}: y\r\n")).collect::<String>();
    assert_eq!(answer(&server, with_headers(&many(99))).await.status, 200);
    assert_eq!(answer(&server, with_headers(&many(100))).await.status, 431);
    assert_eq!(answer(&server, with_headers(&many(10_000))).await.status, 431);
    assert_eq!(answer(&server, with_headers(&format!("x: {}\r\n", "y".repeat(1_000_000)))).await.status, 431);
    let target = |len: usize| format!("GET /_lamp/health?{} HTTP/1.1\r\nHost: localhost\r\n\r\n", "x".repeat(len));
    assert_eq!(answer(&server, target(16_000)).await.status, 200);
    assert_eq!(answer(&server, target(17_000)).await.status, 414);
    assert_eq!(answer(&server, target(64 * 1024)).await.status, 414);
    assert_eq!(answer(&server, target(1_000_000)).await.status, 414);
}

#[tokio::test]
async fn bodies_that_are_too_large_are_refused_however_they_are_framed() {
    let server = start(Setup::default()).await;
    let put = |framing: &str| format!("PUT /2015-03-31/files/a HTTP/1.1\r\nHost: localhost\r\n{framing}\r\n\r\n");
    let declared = put(&format!("Content-Length: {}", FILE_BYTES_MAX + 1));
    assert_eq!(answer(&server, declared).await.status, 413);
    assert_eq!(answer(&server, put("Content-Length: 1000000000000")).await.status, 413);
    // A gigabyte in chunks, of which the server takes no more than the limit and the sockets' buffers.
    let mut client = Raw::connect(&server).await;
    client.send(put("Transfer-Encoding: chunked")).await;
    let piece = [format!("{:x}\r\n", 1 << 16).into_bytes(), vec![b'x'; 1 << 16], b"\r\n".to_vec()].concat();
    let mut sent = 0_u64;
    while sent < 1 << 30 {
        let writing = client.0.write_all(&piece);
        match tokio::time::timeout(PATIENCE, writing).await {
            Ok(Ok(())) => sent += 1 << 16,
            _ => break,
        }
    }
    assert!(sent < 64 << 20, "{sent} bytes were taken");
    assert_eq!(client.answer().await.unwrap().status, 413);
}

#[tokio::test]
async fn what_still_comes_behind_a_refusal_is_taken_so_that_the_answer_is_seen() {
    let server = start(Setup::default()).await;
    let mut client = Raw::connect(&server).await;
    client.send("PUT /2015-03-31/files/a HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000000\r\n\r\n").await;
    assert_eq!(client.answer().await.unwrap().status, 413);
    for _ in 0..16 {
        client.0.write_all(&[b'x'; 1 << 16]).await.expect("the server still reads");
    }
}

#[tokio::test]
async fn json_that_costs_more_than_it_looks_is_refused() {
    let server = start(Setup::default()).await;
    let depth = 100_000;
    let nested = format!("{}{}{}", r#"{"Things":["#.repeat(depth), "{}", "]}".repeat(depth));
    let unknown = format!(r#"{{"Unknown":{}{}}}"#, "[".repeat(depth), "]".repeat(depth));
    let items = format!(r#"{{"Things":[{}{{}}]}}"#, "{},".repeat(1_000_000));
    for body in [nested.as_str(), &unknown, &items, r#"{"Count":1e400}"#, r#"{"Count":99999999999999999999}"#] {
        let answer = answer(&server, echo(body)).await;
        assert_eq!(answer.status, 400, "{:.40} {answer:?}", body);
    }
    let keys: String = (0..300_000).map(|index| format!(r#""k{index}":{index},"#)).collect();
    let answered = answer(&server, echo(&format!(r#"{{{keys}"Count":1,"Count":2}}"#))).await;
    // Unknown keys are skipped; of two values the last counts.
    assert!(answered.status == 400 || answered.body == r#"{"Count":2}"#, "{answered:?}");
}

fn gzip(plain: &[u8]) -> Vec<u8> {
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    packed.write_all(plain).unwrap();
    packed.finish().unwrap()
}

fn encoded(encoding: &str, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "POST / HTTP/1.1\r\nHost: localhost\r\nX-Amz-Target: Lamps_20200101.Echo\r\n\
         Content-Type: application/x-amz-json-1.0\r\nContent-Encoding: {encoding}\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

#[tokio::test]
async fn a_compressed_body_is_unpacked_within_its_limit() {
    let server = start(Setup::default()).await;
    let small = answer(&server, encoded("gzip", &gzip(br#"{"Count":5}"#))).await;
    assert_eq!(small.body, r#"{"Count":5}"#);
    let bomb = gzip(&vec![b' '; 64 << 20]);
    assert!(bomb.len() < 100_000);
    assert_eq!(answer(&server, encoded("gzip", &bomb)).await.status, 413);
    assert_eq!(answer(&server, encoded("gzip", b"{}")).await.status, 400);
    for encoding in ["br", "zstd", "deflate", "gzip, gzip"] {
        assert_eq!(answer(&server, encoded(encoding, b"{}")).await.status, 415, "{encoding}");
    }
}

#[tokio::test]
async fn more_requests_than_the_server_takes_are_told_to_come_back() {
    let limits = Limits { requests_max: 1, ..Limits::default() };
    let server = start(Setup { limits, ..Setup::default() }).await;
    let mut busy = Raw::connect(&server).await;
    busy.send(call("Slow", r#"{"Count":1}"#)).await;
    while !server.metrics.render().unwrap().contains("lamp_requests_in_flight 1") {
        tokio::task::yield_now().await;
    }
    assert_eq!(answer(&server, echo("{}")).await.status, 503);
    assert_eq!(busy.answer().await.unwrap().body, r#"{"Count":1}"#);
    assert_eq!(answer(&server, echo("{}")).await.status, 200);
}

#[tokio::test]
async fn a_body_for_nobody_is_not_kept_waiting_for() {
    let server = start(Setup::default()).await;
    let declared = call("Unheard", "").replace("Content-Length: 0", "Content-Length: 1000000");
    assert_eq!(answer(&server, declared).await.status, 400);
}
