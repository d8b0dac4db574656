//! HTTP/2 by hand: requests in frames, and the attacks that frames allow. After each attack the connection has been
//! told to go away, and another client is served.

use std::time::Duration;

use tokio::io::AsyncReadExt;
use wire::limits::{self, Limits};

use crate::support::{PATIENCE, Raw, Setup, TestServer, echo, scaled, start};

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;

const END_STREAM: u8 = 1;
const ACK: u8 = 1;
const END_HEADERS: u8 = 4;

const INITIAL_WINDOW_SIZE: [u8; 2] = [0, 4];

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let len = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&len[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// A header as HPACK's literal without indexing, nothing compressed. Lengths below 127 only.
fn literal(name: &str, value: &str) -> Vec<u8> {
    let (name_len, value_len) = (u8::try_from(name.len()).unwrap(), u8::try_from(value.len()).unwrap());
    [&[0, name_len], name.as_bytes(), &[value_len], value.as_bytes()].concat()
}

fn head(method: &str, path: &str) -> Vec<u8> {
    [literal(":method", method), literal(":scheme", "http"), literal(":path", path), literal(":authority", "localhost")]
        .concat()
}

fn echo_head() -> Vec<u8> {
    call_head("Echo")
}

fn call_head(operation: &str) -> Vec<u8> {
    let target = literal("x-amz-target", &format!("Lamps_20200101.{operation}"));
    [head("POST", "/"), target, literal("content-type", "application/x-amz-json-1.0")].concat()
}

fn health(stream: u32) -> Vec<u8> {
    frame(HEADERS, END_HEADERS | END_STREAM, stream, &head("GET", "/_lamp/health"))
}

struct Frame {
    kind: u8,
    flags: u8,
    stream: u32,
    payload: Vec<u8>,
}

struct Client(Raw);

impl Client {
    async fn connect(server: &TestServer, settings: &[u8]) -> Self {
        let mut raw = Raw::connect(server).await;
        raw.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
        raw.send(frame(SETTINGS, 0, 0, settings)).await;
        Self(raw)
    }

    async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.0.send(bytes).await;
    }

    /// The next frame; `None` at the end of the connection.
    async fn frame(&mut self) -> Option<Frame> {
        let read = async {
            let mut head = [0; 9];
            self.0.0.read_exact(&mut head).await.ok()?;
            let [a, b, c, kind, flags, stream @ ..] = head;
            let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
            self.0.0.read_exact(&mut payload).await.ok()?;
            Some(Frame { kind, flags, stream: u32::from_be_bytes(stream), payload })
        };
        tokio::time::timeout(PATIENCE, read).await.expect("a frame or the end")
    }

    async fn next(&mut self, kind: u8) -> Option<Frame> {
        loop {
            let frame = self.frame().await?;
            if frame.kind == kind {
                return Some(frame);
            }
        }
    }

    /// The server has said that this connection is over, and ends it.
    async fn goes_away(&mut self) {
        let goaway = self.next(GOAWAY).await.map(|frame| frame.payload);
        // A peer that is still sending may see the reset before it sees the frame.
        if let Some(payload) = goaway {
            assert_ne!(payload[4..8], [0, 0, 0, 0], "no error in GOAWAY");
            while self.frame().await.is_some() {}
        }
    }
}

async fn others_are_served(server: &TestServer) {
    let mut client = Raw::connect(server).await;
    client.send(echo(r#"{"Count":7}"#)).await;
    assert_eq!(client.answer().await.unwrap().body, r#"{"Count":7}"#);
}

#[tokio::test]
async fn an_operation_is_served_over_frames() {
    let server = start(Setup::default()).await;
    let mut client = Client::connect(&server, &[]).await;
    client.send(frame(HEADERS, END_HEADERS, 1, &echo_head())).await;
    client.send(frame(DATA, 0, 1, br#"{"Count""#)).await;
    client.send(frame(DATA, END_STREAM, 1, b":1}")).await;
    client.send(health(3)).await;
    let mut bodies = Vec::new();
    while bodies.len() < 2 {
        let data = client.next(DATA).await.unwrap();
        if !data.payload.is_empty() {
            bodies.push((data.stream, String::from_utf8(data.payload).unwrap()));
        }
    }
    bodies.sort();
    assert_eq!(bodies, [(1, r#"{"Count":1}"#.to_owned()), (3, "fine\n".to_owned())]);
}

#[tokio::test]
async fn what_was_asked_for_is_done_whole_though_its_stream_is_reset() {
    let server = start(Setup::default()).await;
    let mut client = Client::connect(&server, &[]).await;
    client.send(frame(HEADERS, END_HEADERS | END_STREAM, 1, &call_head("Wait"))).await;
    server.metric("lamp_requests_in_flight 1").await;
    client.send([frame(RST_STREAM, 0, 1, &8_u32.to_be_bytes()), health(3)].concat()).await;
    assert_eq!(client.next(DATA).await.unwrap().stream, 3);
    server.gate.add_permits(1);
    server.metric(r#"lamp_requests_total{service="lamps",operation="Wait",status="2xx"} 1"#).await;
}

#[tokio::test]
async fn streams_reset_as_fast_as_they_open_end_the_connection() {
    let server = start(Setup::default()).await;
    let mut client = Client::connect(&server, &[]).await;
    for index in 0..10_000_u32 {
        let stream = index * 2 + 1;
        client.send([health(stream), frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes())].concat()).await;
    }
    client.goes_away().await;
    others_are_served(&server).await;
}

#[tokio::test]
async fn streams_that_make_us_reset_them_end_the_connection() {
    let server = start(Setup::default()).await;
    let mut client = Client::connect(&server, &[]).await;
    // A window that overflows is an error of its stream, which the server answers with a reset.
    let overflow = |stream| {
        let open = frame(HEADERS, END_HEADERS, stream, &echo_head());
        [open, frame(WINDOW_UPDATE, 0, stream, &0x7fff_ffff_u32.to_be_bytes())].concat()
    };
    client.send(overflow(1)).await;
    assert_eq!(client.next(RST_STREAM).await.map(|reset| reset.stream), Some(1));
    for index in 1..u32::try_from(limits::STREAM_ERRORS_MAX + 200).unwrap() {
        client.send(overflow(index * 2 + 1)).await;
    }
    client.goes_away().await;
    others_are_served(&server).await;
}

#[tokio::test]
async fn header_blocks_without_an_end_end_the_connection() {
    let server = start(Setup::default()).await;
    for payload in [vec![], literal("a", "b"), literal("a", "b").repeat(2_000)] {
        let mut client = Client::connect(&server, &[]).await;
        client.send(frame(HEADERS, 0, 1, &head("GET", "/"))).await;
        for _ in 0..scaled(2_000, 100_000) {
            client.send(frame(CONTINUATION, 0, 1, &payload)).await;
        }
        client.goes_away().await;
    }
    others_are_served(&server).await;
}

#[tokio::test]
async fn a_small_block_that_unpacks_to_a_large_one_is_not_served() {
    let server = start(Setup::default()).await;
    let mut client = Client::connect(&server, &[]).await;
    // One entry of 3,000 bytes in the dynamic table, then named 16,000 times with a byte each: 48 MB.
    let entry = [&[0x40, 1, b'a', 0x7f, 0xb9, 0x16][..], &[b'x'; 3_000]].concat();
    let bomb = [head("GET", "/_lamp/health"), entry, vec![0xbe; 13_000]].concat();
    client.send(frame(HEADERS, END_HEADERS | END_STREAM, 1, &bomb)).await;
    let refused = loop {
        let frame = client.frame().await;
        match frame.map(|frame| (frame.kind, frame.payload)) {
            None => break true,
            Some((RST_STREAM | GOAWAY, _)) => break true,
            // `:status 431`, as a literal or not, holds these digits; 200 is one byte of the static table.
            Some((HEADERS, payload)) => break payload.first() != Some(&0x88),
            Some(_) => {}
        }
    };
    assert!(refused);
    others_are_served(&server).await;
}

#[tokio::test]
async fn streams_beyond_the_limit_are_refused() {
    let server = start(Setup::default()).await;
    let mut client = Client::connect(&server, &[]).await;
    for index in 0..=limits::STREAMS_MAX {
        client.send(frame(HEADERS, END_HEADERS, index * 2 + 1, &echo_head())).await;
    }
    let reset = client.next(RST_STREAM).await.unwrap();
    assert_eq!((reset.stream, reset.payload.as_slice()), (limits::STREAMS_MAX * 2 + 1, &[0, 0, 0, 7][..]));
}

#[tokio::test]
async fn pings_and_settings_without_end_are_answered_or_cut_off() {
    let server = start(Setup::default()).await;
    for flood in [frame(PING, 0, 0, &[0; 8]), frame(SETTINGS, 0, 0, &[])] {
        let mut client = Client::connect(&server, &[]).await;
        for _ in 0..scaled(2_000, 100_000) {
            client.send(&flood).await;
        }
        let answered = client.frame().await.is_none_or(|frame| frame.kind == SETTINGS || frame.flags == ACK);
        assert!(answered);
    }
    others_are_served(&server).await;
}

fn impatient() -> Setup {
    let short = Duration::from_millis(500);
    let limits = Limits { head_timeout: short, write_stall_timeout: short, idle_timeout: short, ..Limits::default() };
    Setup { limits, ..Setup::default() }
}

#[tokio::test]
async fn answers_that_the_client_opens_no_window_for_end_the_connection() {
    let server = start(impatient()).await;
    let settings = [&INITIAL_WINDOW_SIZE[..], &[0; 4]].concat();
    let mut client = Client::connect(&server, &settings).await;
    for stream in [1, 3, 5] {
        client.send(health(stream)).await;
    }
    // Pings show that the client is alive, which is not enough.
    let pinging = async {
        while let Some(frame) = client.frame().await {
            assert_ne!(frame.kind, DATA);
            client.send(self::frame(PING, 0, 0, &[0; 8])).await;
        }
    };
    tokio::time::timeout(PATIENCE, pinging).await.expect("the server hangs up");
}

#[tokio::test]
async fn a_connection_that_asks_nothing_is_closed() {
    let server = start(impatient()).await;
    let mut silent = Client::connect(&server, &[]).await;
    while silent.frame().await.is_some() {}
    let mut half = Client::connect(&server, &[]).await;
    half.send(frame(HEADERS, 0, 1, &head("GET", "/"))).await;
    while half.frame().await.is_some() {}
    let mut idle = Client::connect(&server, &[]).await;
    idle.send(health(1)).await;
    assert_eq!(idle.next(DATA).await.unwrap().payload, b"fine\n");
    while idle.frame().await.is_some() {}
}

#[tokio::test]
async fn more_headers_than_http1_may_have_are_refused_here_too() {
    let server = start(Setup::default()).await;
    let mut client = Client::connect(&server, &[]).await;
    let many: Vec<u8> = (0..=limits::HEADERS_MAX).flat_map(|index| literal(&format!("x-{index}"), "y")).collect();
    let block = [head("GET", "/_lamp/health"), many].concat();
    client.send(frame(HEADERS, END_HEADERS | END_STREAM, 1, &block)).await;
    let answer = client.next(HEADERS).await.unwrap();
    // The status is a literal: its index in the static table, a length, and three digits, Huffman-coded or not.
    assert_ne!(answer.payload[0], 0x88, "answered 200");
    others_are_served(&server).await;
}
