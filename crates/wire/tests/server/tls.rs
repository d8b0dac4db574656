//! Encrypted connections, and what a plain one is told where they are meant.

use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use wire::server::Tls;

use crate::support::{Raw, Setup, TestServer, echo, start};

async fn tls_server() -> (TestServer, String) {
    let (certificate, key) = Tls::make_self_signed(vec!["localhost".into(), "*.localhost".into()]).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let (certificate_file, key_file) = (dir.path().join("certificate.pem"), dir.path().join("key.pem"));
    std::fs::write(&certificate_file, &certificate).unwrap();
    std::fs::write(&key_file, key.expose()).unwrap();
    let tls = Tls::from_files(&certificate_file, &key_file).unwrap();
    (start(Setup { tls: Some(tls), ..Setup::default() }).await, certificate)
}

async fn connect(
    server: &TestServer,
    certificate: &str,
    protocols: &[&str],
) -> tokio_rustls::client::TlsStream<TcpStream> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let mut config = config.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
    let stream = TcpStream::connect(server.address).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap()
}

#[tokio::test]
async fn a_port_that_encrypts_serves_nothing_in_plain() {
    let (server, certificate) = tls_server().await;
    let mut client = connect(&server, &certificate, &["http/1.1"]).await;
    client.write_all(b"GET /_lamp/health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("fine\n"), "{answer}");
    let served = server.metrics.render().unwrap();
    let health = "GET /_lamp/health HTTP/1.1\r\nHost: localhost\r\n\r\n".to_owned();
    for request in [echo("{}"), health, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".into(), "?".into()] {
        let mut plain = Raw::connect(&server).await;
        plain.send(&request).await;
        let answer = plain.answer().await.unwrap();
        assert_eq!((answer.status, answer.body.as_str()), (400, "This port speaks HTTPS.\n"), "{request}");
        plain.closed().await;
    }
    let requests = |metrics: String| {
        metrics.lines().filter(|line| line.starts_with("lamp_requests_total")).map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(requests(server.metrics.render().unwrap()), requests(served), "nothing was served");
}

#[tokio::test]
async fn a_client_that_offers_http2_gets_it() {
    let (server, certificate) = tls_server().await;
    let client = connect(&server, &certificate, &["h2", "http/1.1"]).await;
    assert_eq!(client.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
}

#[test]
fn files_are_used_as_they_are_or_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let (certificate, key) = (dir.path().join("certificate.pem"), dir.path().join("key.pem"));
    let refused = |certificate, key| Tls::from_files(certificate, key).err().map(|error| error.to_string()).unwrap();
    assert!(refused(&certificate, &key).contains("certificate.pem"));
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    std::fs::write(&certificate, made.cert.pem()).unwrap();
    assert!(refused(&certificate, &key).contains("key.pem"));
    std::fs::write(&key, "no key").unwrap();
    assert!(refused(&certificate, &key).contains("key.pem"));
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    assert!(Tls::from_files(&certificate, &key).is_ok());
    let other = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    std::fs::write(&key, other.signing_key.serialize_pem()).unwrap();
    assert_eq!(refused(&certificate, &key), "use the certificate and its key");
}
