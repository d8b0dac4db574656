//! What leaves the server for other systems: a collector of OpenTelemetry reads it.

use std::ffi::OsStr;
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

/// By the variables that OpenTelemetry's programs know.
#[test]
fn a_collector_beyond_gets_them_packed_over_tls_with_a_key() {
    let (port, dir) = (free_port(), tempfile::tempdir().unwrap());
    // A certificate of this machine's: a server makes one for itself.
    drop(Lamp::start_on(&dir.path().join("other"), &["--tls-self-signed"]));
    let certificate = dir.path().join("other/tls/certificate.pem");
    let endpoint = format!("https://localhost:{port}");
    let variables: [(&str, &OsStr); 4] = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_ref()),
        ("OTEL_EXPORTER_OTLP_CERTIFICATE", certificate.as_os_str()),
        ("OTEL_EXPORTER_OTLP_HEADERS", "api-key=a%20key".as_ref()),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip".as_ref()),
    ];
    let lamp = Lamp::start_in(&dir.path().join("data"), &[], &variables);
    let mut command = client(&lamp, &python());
    command.arg(clients().join("python/collector.py")).env("COLLECTOR_PORT", port.to_string());
    command.env("COLLECTOR_CERTIFICATE", certificate);
    run(command);
}

/// One that nobody vouches for gets nothing.
#[test]
fn a_collector_that_is_not_trusted_gets_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let collector = Lamp::start_on(&dir.path().join("other"), &["--tls-self-signed"]);
    drop(Lamp::start_on(&dir.path().join("third"), &["--tls-self-signed"]));
    let (log, trusted) = (dir.path().join("log"), dir.path().join("third/tls/certificate.pem"));
    let other = collector.endpoint().replace("http://", "https://");
    let flags = ["--otlp", &other, "--otlp-certificate", trusted.to_str().unwrap(), "--log-level", "otlp=debug"];
    let lamp = Lamp::start_logging(&dir.path().join("data"), &flags, &log);
    let mut command = client(&lamp, &python());
    command.arg(clients().join("python/say_and_fail.py"));
    run(command);
    let why = "invalid peer certificate";
    wait_for("the server to tell why", || fs::read_to_string(&log).unwrap().contains(why).then_some(()));
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
