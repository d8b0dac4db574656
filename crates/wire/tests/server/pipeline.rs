//! Operations from a socket to a handler and back.

use tokio::io::AsyncReadExt;
use wire::pipeline::Mode;

use crate::support::{FILE_ANSWER_BYTES, Raw, Setup, call, echo, start};

#[tokio::test]
async fn an_operation_is_served_over_json() {
    let server = start(Setup::default()).await;
    let mut client = Raw::connect(&server).await;
    client.send(echo(r#"{"Name":"a","Count":3}"#)).await;
    let answer = client.answer().await.unwrap();
    assert_eq!((answer.status, answer.body.as_str()), (200, r#"{"Name":"a","Count":3}"#), "{}", answer.head);
    assert_eq!(answer.header("content-type"), Some("application/x-amz-json-1.0"));
    assert_eq!(answer.header("x-amzn-requestid").map(str::len), Some(36));
    assert!(answer.header("date").is_some());
    let rendered = server.metrics.render().unwrap();
    assert!(rendered.contains(r#"lamp_requests_total{service="lamps",operation="Echo",status="2xx"} 1"#), "{rendered}");
}

#[tokio::test]
async fn an_operation_is_served_over_query() {
    let server = start(Setup::default()).await;
    let mut client = Raw::connect(&server).await;
    let form = "Action=WhoAmI&Version=2011-06-15&Name=a%20b";
    client
        .send(format!(
            "POST / HTTP/1.1\r\nHost: queries.eu-west-1.amazonaws.com\r\n\
             Content-Type: application/x-www-form-urlencoded; charset=utf-8\r\nContent-Length: {}\r\n\r\n{form}",
            form.len()
        ))
        .await;
    let answer = client.answer().await.unwrap();
    assert_eq!(answer.status, 200, "{answer:?}");
    for part in ["<WhoAmIResult>", "<Account>000000000000</Account>", "<Name>a b of eu-west-1</Name>"] {
        assert!(answer.body.contains(part), "{part} in {}", answer.body);
    }
}

#[tokio::test]
async fn a_long_body_reaches_the_handler_and_a_longer_one_does_not() {
    let server = start(Setup::default()).await;
    let mut client = Raw::connect(&server).await;
    let put = |len: usize| {
        let head = format!("PUT /2015-03-31/files/a%2Fb HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len}\r\n\r\n");
        [head.into_bytes(), vec![b'x'; len]].concat()
    };
    client.send(put(3_000_000)).await;
    let answer = client.answer().await.unwrap();
    assert_eq!((answer.status, answer.body.as_str()), (201, r#"{"Name":"a/b","Size":3000000}"#));
    client.send(put(4 * 1024 * 1024 + 1)).await;
    let answer = client.answer().await.unwrap();
    assert_eq!(answer.status, 413);
    assert!(answer.body.contains("Request must be smaller than 4194304 bytes for the PutFile operation"), "{answer:?}");
}

#[tokio::test]
async fn events_follow_the_head_as_they_are_made() {
    let server = start(Setup::default()).await;
    let mut client = Raw::connect(&server).await;
    client.send("GET /2015-03-31/files/a/content HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await;
    let head = client.head().await;
    assert_eq!((head.status, head.header("transfer-encoding")), (200, Some("chunked")), "{head:?}");
    assert_eq!(head.header("content-type"), Some("application/vnd.amazon.eventstream"));
    let mut rest = Vec::new();
    client.0.read_to_end(&mut rest).await.unwrap();
    let text = String::from_utf8_lossy(&rest);
    let mut at = 0;
    for part in ["aaa", "bbb", ":exception-type", "Gone", "the rest is gone", "\r\n0\r\n\r\n"] {
        at += text[at..].find(part).unwrap_or_else(|| panic!("{part} behind {at} in {text:?}"));
    }
}

#[tokio::test]
async fn what_is_not_built_or_not_known_says_so() {
    let server = start(Setup::default()).await;
    let mut client = Raw::connect(&server).await;
    client.send(call("Unbuilt", "{}")).await;
    let answer = client.answer().await.unwrap();
    assert_eq!(answer.status, 501);
    assert_eq!(answer.header("x-amzn-errortype"), Some("NotImplementedException"));
    assert!(answer.body.contains("lamps:Unbuilt"), "{}", answer.body);
    client.send(call("Unheard", "{}")).await;
    let answer = client.answer().await.unwrap();
    assert_eq!((answer.status, answer.header("x-amzn-errortype")), (400, Some("UnknownOperationException")));
}

#[tokio::test]
async fn a_panic_costs_one_request() {
    let server = start(Setup::default()).await;
    let mut client = Raw::connect(&server).await;
    client.send(call("Panic", "{}")).await;
    assert_eq!(client.answer().await.unwrap().status, 500);
    client.send(echo("{}")).await;
    assert_eq!(client.answer().await.unwrap().status, 200);
    assert!(server.metrics.render().unwrap().contains("lamp_request_panics_total 1"));
    assert!(server.metrics.render().unwrap().contains("lamp_requests_in_flight 0"));
}

#[tokio::test]
async fn other_hosts_and_other_pages_are_turned_away_before_their_body_is_read() {
    let server = start(Setup::default()).await;
    let big = "Content-Length: 1000000000\r\n";
    for (headers, allowed) in [
        ("Host: localhost\r\n", true),
        ("Host: evil.example\r\n", false),
        ("Host: localhost\r\nOrigin: http://evil.example\r\nContent-Type: text/plain\r\n", false),
        ("Host: localhost\r\nSec-Fetch-Site: cross-site\r\n", false),
        ("Host: localhost\r\nOrigin: https://console.example\r\n", true),
    ] {
        let mut client = Raw::connect(&server).await;
        client.send(format!("GET /_lamp/health HTTP/1.1\r\n{headers}\r\n")).await;
        let answer = client.answer().await.unwrap();
        assert_eq!(answer.status, if allowed { 200 } else { 403 }, "{headers}");
        let is_console = headers.contains("console");
        assert_eq!(answer.header("access-control-allow-origin").is_some(), is_console);
        if !allowed {
            let mut client = Raw::connect(&server).await;
            client.send(format!("POST / HTTP/1.1\r\n{headers}{big}\r\n")).await;
            assert_eq!(client.answer().await.unwrap().status, 403, "{headers}");
        }
    }
}

#[tokio::test]
async fn a_configured_page_is_told_what_it_may_send() {
    let server = start(Setup::default()).await;
    let mut client = Raw::connect(&server).await;
    let preflight = |origin: &str| {
        format!(
            "OPTIONS / HTTP/1.1\r\nHost: localhost\r\nOrigin: {origin}\r\nAccess-Control-Request-Method: POST\r\n\
             Access-Control-Request-Headers: authorization,x-amz-date\r\n\r\n"
        )
    };
    client.send(preflight("https://console.example")).await;
    let answer = client.answer().await.unwrap();
    assert_eq!(answer.status, 204);
    assert_eq!(answer.header("access-control-allow-origin"), Some("https://console.example"));
    assert_eq!(answer.header("access-control-allow-headers"), Some("authorization,x-amz-date"));
    assert_eq!(answer.head.matches("vary:").count(), 1);
    client.send(preflight("https://evil.example")).await;
    let answer = client.answer().await.unwrap();
    assert_eq!((answer.status, answer.header("access-control-allow-origin")), (403, None));
}

#[tokio::test]
async fn built_in_paths_answer_their_methods_only() {
    let server = start(Setup::default()).await;
    let mut client = Raw::connect(&server).await;
    for (line, status, len) in [
        ("GET /_lamp/health", 200, "5"),
        ("HEAD /_lamp/health", 200, "5"),
        ("POST /_lamp/health", 405, "33"),
        ("GET /_lamp/other", 404, "24"),
    ] {
        client.send(format!("{line} HTTP/1.1\r\nHost: localhost\r\n\r\n")).await;
        let answer = match line.starts_with("HEAD") {
            false => client.answer().await.unwrap(),
            // No body follows, whatever the length says.
            true => {
                client.send("GET /_lamp/health HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
                let head = client.head().await;
                assert_eq!(client.answer().await.unwrap().body, "fine\n");
                head
            }
        };
        assert_eq!((answer.status, answer.header("content-length")), (status, Some(len)), "{line}");
    }
}

#[tokio::test]
async fn strict_mode_believes_nobody_without_a_signature() {
    let server = start(Setup { mode: Mode::Strict, ..Setup::default() }).await;
    let mut client = Raw::connect(&server).await;
    client.send(echo("{}")).await;
    let answer = client.answer().await.unwrap();
    assert_eq!(answer.header("x-amzn-errortype"), Some("MissingAuthenticationTokenException"), "{answer:?}");
    client.send(call("Open", "{}")).await;
    assert_eq!(client.answer().await.unwrap().status, 200);
}

#[tokio::test]
async fn draining_ends_what_runs_and_closes_what_waits() {
    let server = start(Setup::default()).await;
    let mut idle = Raw::connect(&server).await;
    idle.send(echo("{}")).await;
    assert_eq!(idle.answer().await.unwrap().status, 200);
    let mut busy = Raw::connect(&server).await;
    busy.send(call("Slow", r#"{"Count":1}"#)).await;
    while !server.metrics.render().unwrap().contains("lamp_requests_in_flight 1") {
        tokio::task::yield_now().await;
    }
    server.stop.cancel();
    idle.closed().await;
    assert_eq!(busy.answer().await.unwrap().body, r#"{"Count":1}"#);
    assert!(server.drained.await.unwrap());
}

const WAITED: &str = r#"lamp_requests_total{service="lamps",operation="Wait",status="2xx"} 1"#;

#[tokio::test]
async fn what_was_asked_for_is_done_whole_though_the_client_hangs_up() {
    let server = start(Setup::default()).await;
    let mut client = Raw::connect(&server).await;
    client.send(call("Wait", "{}")).await;
    server.metric("lamp_requests_in_flight 1").await;
    drop(client);
    server.metric("lamp_connections_open 0").await;
    server.metric("lamp_requests_in_flight 1").await;
    server.gate.add_permits(1);
    server.metric(WAITED).await;
    server.metric("lamp_requests_in_flight 0").await;
}

#[tokio::test]
async fn draining_waits_for_what_a_client_left_behind() {
    let mut server = start(Setup::default()).await;
    let mut client = Raw::connect(&server).await;
    client.send(call("Wait", "{}")).await;
    server.metric("lamp_requests_in_flight 1").await;
    drop(client);
    server.metric("lamp_connections_open 0").await;
    server.stop.cancel();
    while tokio::net::TcpStream::connect(server.address).await.is_ok() {
        tokio::task::yield_now().await;
    }
    assert!(!server.drained.is_finished(), "a drain does not end before the request does");
    server.gate.add_permits(1);
    assert!((&mut server.drained).await.unwrap());
    server.metric(WAITED).await;
}

#[tokio::test]
async fn a_file_is_answered_whole_or_cut_off() {
    let server = start(Setup::default()).await;
    let ask = |method: &str, name: &str| format!("{method} /_lamp/file/{name} HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let mut client = Raw::connect(&server).await;
    client.send(ask("HEAD", "whole")).await;
    assert_eq!(client.head().await.header("content-length"), Some("150000"));
    client.send(ask("GET", "whole")).await;
    assert_eq!(client.answer().await.unwrap().body, "f".repeat(FILE_ANSWER_BYTES));
    client.send(ask("GET", "short")).await;
    assert_eq!(client.answer().await, None, "a part is not taken for the whole");
}
