//! What leaves the server for other systems: a collector of OpenTelemetry reads it.

use std::fs::{self, File};
use std::net::TcpListener;
use std::process::Command;

use e2e::{Lamp, client, clients, python, run, tools, wait_for};

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

#[test]
fn a_collector_gets_logs_and_spans() {
    let port = free_port();
    let lamp = Lamp::start_with(&["--otlp", &format!("http://127.0.0.1:{port}")]);
    let mut command = client(&lamp, &python());
    command.arg(clients().join("python/collector.py")).env("COLLECTOR_PORT", port.to_string());
    run(command);
}

/// The collector that OpenTelemetry ships, built of its own modules.
#[test]
fn opentelemetrys_own_collector_takes_them() {
    if std::env::var_os("LAMP_TORTURE").is_none() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (address, said) = (format!("127.0.0.1:{}", free_port()), dir.path().join("said"));
    let mut collector = Command::new(tools().join("collector/collector"))
        .args(["--config".as_ref(), clients().join("collector/config.yaml").as_os_str()])
        .env("COLLECTOR_ADDRESS", &address)
        .stderr(File::create(&said).unwrap())
        .spawn()
        .unwrap();
    let lamp = Lamp::start_with(&["--otlp", &format!("http://{address}")]);
    let mut command = client(&lamp, &python());
    command.arg(clients().join("python/say_and_fail.py"));
    run(command);
    wait_for("the collector to tell of it", || {
        let said = fs::read_to_string(&said).unwrap();
        let words = ["Body: Str(said 1)", "faas.coldstart: Bool(true)", "Status code    : Error"];
        words.iter().all(|word| said.contains(word)).then_some(())
    });
    collector.kill().unwrap();
    collector.wait().unwrap();
}

/// What functions did is in metrics, what their logs count as well, and subscribers hear of it.
#[test]
fn records_and_events_become_metrics_and_messages() {
    let lamp = Lamp::start();
    let mut command = client(&lamp, &python());
    command.arg(clients().join("python/derived.py"));
    run(command);
}
