//! Clients that take their time: half heads, dripping bodies, answers that nobody reads, connections that wait. With
//! shortened limits, all of them are closed while others are served.

use std::time::Duration;

use tokio::net::TcpSocket;
use wire::limits::Limits;

use crate::support::{PATIENCE, Raw, Setup, TestServer, echo, scaled, start};

/// Long enough that a loaded machine does not cut honest clients off, short enough to wait for.
const SHORT: Duration = Duration::from_secs(1);

fn impatient() -> Setup {
    let limits = Limits {
        head_timeout: SHORT,
        idle_timeout: SHORT,
        idle_check: SHORT,
        write_stall_timeout: SHORT,
        body_stall_timeout: SHORT,
        body_grace: SHORT,
        ..Limits::default()
    };
    Setup { limits, ..Setup::default() }
}

/// Opens many connections that send `start`, serves another client meanwhile, and sees all of the many closed.
async fn are_closed(server: &TestServer, start: &str, drip: &str) -> Vec<Option<u16>> {
    let mut slow = Vec::new();
    for _ in 0..scaled(50, 500) {
        let mut client = Raw::connect(server).await;
        client.send(start).await;
        slow.push(client);
    }
    let mut victim = Raw::connect(server).await;
    victim.send(echo(r#"{"Count":1}"#)).await;
    assert_eq!(victim.answer().await.unwrap().body, r#"{"Count":1}"#);
    let mut statuses = Vec::new();
    for mut client in slow {
        client.send(drip).await;
        statuses.push(client.answer().await.map(|answer| answer.status));
        client.closed().await;
    }
    statuses
}

#[tokio::test]
async fn half_a_head_is_told_so_and_closed() {
    let server = start(impatient()).await;
    let statuses = are_closed(&server, "GET / HTTP/1.1\r\nHost: localhost\r\nX-A: ", "b").await;
    assert!(statuses.iter().all(|status| *status == Some(408)), "{statuses:?}");
}

#[tokio::test]
async fn a_connection_that_says_nothing_is_closed() {
    let server = start(impatient()).await;
    let statuses = are_closed(&server, "", "").await;
    assert!(statuses.iter().all(|status| status.is_none()), "{statuses:?}");
}

#[tokio::test]
async fn a_body_that_stalls_is_told_so_and_closed() {
    let server = start(impatient()).await;
    let head =
        "POST / HTTP/1.1\r\nHost: localhost\r\nX-Amz-Target: Lamps_20200101.Echo\r\nContent-Length: 100\r\n\r\n{";
    let statuses = are_closed(&server, head, "\"").await;
    assert!(statuses.iter().all(|status| *status == Some(408)), "{statuses:?}");
}

#[tokio::test]
async fn a_kept_connection_that_is_not_used_is_closed() {
    let server = start(impatient()).await;
    let mut client = Raw::connect(&server).await;
    client.send(echo("{}")).await;
    assert_eq!(client.answer().await.unwrap().status, 200);
    assert_eq!(client.answer().await, None);
}

#[tokio::test]
async fn a_long_answer_in_the_making_is_no_idleness() {
    let mut setup = impatient();
    // The operation takes longer than all of these together.
    let short = Duration::from_millis(50);
    setup.limits = Limits { idle_timeout: short, idle_check: short, ..setup.limits };
    let server = start(setup).await;
    let mut client = Raw::connect(&server).await;
    client.send(crate::support::call("Slow", r#"{"Count":2}"#)).await;
    assert_eq!(client.answer().await.unwrap().body, r#"{"Count":2}"#);
}

#[tokio::test]
async fn answers_that_nobody_reads_are_cut_off() {
    let server = start(impatient()).await;
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4_096).unwrap();
    let mut client = Raw(socket.connect(server.address).await.unwrap());
    // More than the kernel buffers between us, so that sending comes to a halt when the server's answers do.
    let large = echo(&format!(r#"{{"Name":"{}"}}"#, "x".repeat(1_000_000)));
    let flood = async {
        for _ in 0..100 {
            client.send(&large).await;
        }
    };
    let cut_off = async {
        let open = || server.metrics.render().unwrap().contains("lamp_connections_open 1");
        while !open() {
            tokio::task::yield_now().await;
        }
        while open() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    // Nothing of the answers is read in all this time.
    tokio::time::timeout(PATIENCE, async { tokio::join!(flood, cut_off) }).await.expect("the server hangs up");
}

#[tokio::test]
async fn hoarded_idle_connections_make_room_for_others() {
    let limits = Limits { connections_max: 20, idle_check: SHORT, ..Limits::default() };
    let server = start(Setup { limits, ..Setup::default() }).await;
    let mut hoard = Vec::new();
    for _ in 0..20 {
        let mut client = Raw::connect(&server).await;
        client.send(echo("{}")).await;
        assert_eq!(client.answer().await.unwrap().status, 200);
        hoard.push(client);
    }
    let mut victim = Raw::connect(&server).await;
    victim.send(echo(r#"{"Count":1}"#)).await;
    assert_eq!(victim.answer().await.unwrap().body, r#"{"Count":1}"#);
}
