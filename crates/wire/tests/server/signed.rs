//! Who a request counts as coming from, in both modes.

use base::{Clock, Secret, SystemClock};
use http::HeaderMap;
use wire::pipeline::Mode;
use wire::sigv4::{Head, Signer, sign};

use crate::support::{Answer, KEY, Raw, SECRET, Setup, TestServer, start};

const FORM: &str = "Action=WhoAmI&Version=2011-06-15&Name=n";
const OPEN_FORM: &str = "Action=Come&Version=2011-06-15";

/// SHA-256 of `text` in hex.
fn hash(text: &str) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, text.as_bytes());
    digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// `WhoAmI` of eu-west-1, signed over `FORM` and sent with `form`.
async fn who_am_i(server: &TestServer, key: &str, secret: &str, form: &str) -> Answer {
    let mut headers = HeaderMap::new();
    headers.insert("content-type", "application/x-www-form-urlencoded".parse().unwrap());
    let head = Head { method: "POST", path: "/", query: "", host: "localhost", headers: &headers };
    let secret = Secret::new(secret.to_owned());
    let signer = Signer {
        access_key_id: key,
        secret_access_key: &secret,
        session_token: None,
        region: "eu-west-1",
        service: "queries",
        now: SystemClock.now(),
    };
    let signed = sign(&signer, &head, &hash(FORM)).unwrap();
    let lines: String = signed.iter().map(|(name, value)| format!("{name}: {}\r\n", value.to_str().unwrap())).collect();
    let len = form.len();
    let mut client = Raw::connect(server).await;
    client.send(format!("POST / HTTP/1.1\r\nHost: localhost\r\n{lines}Content-Length: {len}\r\n\r\n{form}")).await;
    client.answer().await.unwrap()
}

fn is(answer: &Answer, status: u16, parts: &[&str]) {
    assert_eq!(answer.status, status, "{answer:?}");
    for part in parts {
        assert!(answer.body.contains(part), "{part} in {}", answer.body);
    }
}

#[tokio::test]
async fn a_known_key_must_sign_right_in_both_modes() {
    for mode in [Mode::Dev, Mode::Strict] {
        let server = start(Setup { mode, ..Setup::default() }).await;
        let right = who_am_i(&server, KEY, SECRET, FORM).await;
        is(&right, 200, &["<Account>123456789012</Account>", "<Name>n of eu-west-1</Name>"]);
        let wrong = who_am_i(&server, KEY, "another secret", FORM).await;
        is(&wrong, 403, &["<Code>SignatureDoesNotMatch</Code>"]);
        let altered = who_am_i(&server, KEY, SECRET, "Action=WhoAmI&Version=2011-06-15&Name=m").await;
        is(&altered, 403, &["<Code>SignatureDoesNotMatch</Code>"]);
    }
}

#[tokio::test]
async fn an_unknown_key_is_an_account_in_dev_and_nobody_in_strict() {
    let server = start(Setup::default()).await;
    for (key, account) in [("test", "000000000000"), ("210987654321", "210987654321"), ("AKIAOTHER", "000000000000")] {
        let answer = who_am_i(&server, key, "any", FORM).await;
        is(&answer, 200, &[&format!("<Arn>arn:aws:iam::{account}:root</Arn>")]);
    }
    let server = start(Setup { mode: Mode::Strict, ..Setup::default() }).await;
    let answer = who_am_i(&server, "210987654321", "any", FORM).await;
    is(&answer, 403, &["<Code>InvalidClientTokenId</Code>"]);
}

#[tokio::test]
async fn strict_mode_reads_no_body_for_nobody() {
    let server = start(Setup { mode: Mode::Strict, ..Setup::default() }).await;
    let unknown = "Authorization: AWS4-HMAC-SHA256 Credential=AKIAOTHER/20260101/us-east-1/files/aws4_request, \
                   SignedHeaders=host, Signature=00\r\nX-Amz-Date: 20260101T000000Z\r\n";
    for authorization in ["", unknown] {
        let mut client = Raw::connect(&server).await;
        let head = "PUT /2015-03-31/files/a HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n";
        client.send(format!("{head}{authorization}\r\n")).await;
        assert_eq!(client.answer().await.unwrap().status, 403, "{authorization}");
    }
}

#[tokio::test]
async fn strict_mode_reads_no_more_of_an_unsigned_form_than_its_operations_take() {
    let server = start(Setup { mode: Mode::Strict, ..Setup::default() }).await;
    let head = "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-www-form-urlencoded\r\n";
    let mut declared = Raw::connect(&server).await;
    declared.send(format!("{head}Content-Length: 1000000\r\n\r\n")).await;
    is(&declared.answer().await.unwrap(), 403, &["<Code>MissingAuthenticationToken</Code>"]);
    // Without a length, as much is read as may be, and the end is not waited for.
    let mut chunked = Raw::connect(&server).await;
    let long = format!("{FORM}&X={}", "x".repeat(70_000));
    chunked.send(format!("{head}Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{long}\r\n", long.len())).await;
    is(&chunked.answer().await.unwrap(), 403, &["<Code>MissingAuthenticationToken</Code>"]);
    let mut short = Raw::connect(&server).await;
    short.send(format!("{head}Content-Length: {}\r\n\r\n{OPEN_FORM}", OPEN_FORM.len())).await;
    assert_eq!(short.answer().await.unwrap().status, 200);
}

#[tokio::test]
async fn a_service_that_is_not_here_is_refused_in_words_that_its_clients_read() {
    let server = start(Setup::default()).await;
    for (service, opening) in [
        ("ec2", "<Response><Errors><Error><Code>NotImplementedException</Code><Message>"),
        ("rds", "<ErrorResponse><Error><Type>Sender</Type><Code>NotImplementedException</Code>"),
    ] {
        let mut client = Raw::connect(&server).await;
        client
            .send(format!(
                "POST / HTTP/1.1\r\nHost: localhost\r\nX-Amz-Date: 20260101T000000Z\r\n\
                 Content-Type: application/x-www-form-urlencoded; charset=utf-8\r\nAuthorization: AWS4-HMAC-SHA256 \
                 Credential=test/20260101/us-east-1/{service}/aws4_request, SignedHeaders=host, Signature={}\r\n\
                 Content-Length: 42\r\n\r\nAction=DescribeInstances&Version=2016-11-15",
                "0".repeat(64)
            ))
            .await;
        let answer = client.answer().await.unwrap();
        is(&answer, 501, &[opening, &format!("Lamplight does not implement the service {service} yet.")]);
        assert_eq!(answer.header("content-type"), Some("text/xml"));
    }
}

#[tokio::test]
async fn what_an_image_of_a_page_can_ask_for_is_no_action() {
    let server = start(Setup::default()).await;
    let authorization = format!(
        "X-Amz-Date: 20260101T000000Z\r\nAuthorization: AWS4-HMAC-SHA256 \
         Credential=test/20260101/us-east-1/queries/aws4_request, SignedHeaders=host, Signature={}\r\n",
        "0".repeat(64)
    );
    let presigned = format!(
        "&X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=test%2F20260101%2Fus-east-1%2Fqueries%2Faws4_request\
         &X-Amz-Date=20260101T000000Z&X-Amz-Expires=60&X-Amz-SignedHeaders=host&X-Amz-Signature={}",
        "0".repeat(64)
    );
    for (method, query, headers, status) in [
        ("GET", "", "", 403),
        ("HEAD", "", "", 403),
        ("OPTIONS", "", "", 403),
        ("GET", "", authorization.as_str(), 200),
        ("GET", presigned.as_str(), "", 200),
        ("POST", "", "Content-Length: 0\r\n", 200),
    ] {
        let mut client = Raw::connect(&server).await;
        client.send(format!("{method} /?{FORM}{query} HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n")).await;
        let answer = client.head().await;
        assert_eq!(answer.status, status, "{method} {query} {headers}");
    }
    let mut client = Raw::connect(&server).await;
    client.send(format!("GET /?{FORM} HTTP/1.1\r\nHost: localhost\r\n\r\n")).await;
    is(&client.answer().await.unwrap(), 403, &["<Code>AccessDenied</Code>", "has to be signed"]);
}

#[tokio::test]
async fn a_broken_authorisation_is_refused_before_the_body_is_read() {
    let server = start(Setup::default()).await;
    let mut client = Raw::connect(&server).await;
    client
        .send(
            "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-www-form-urlencoded\r\n\
             Authorization: AWS4-HMAC-SHA256 Credential=x\r\nContent-Length: 1000000\r\n\r\n",
        )
        .await;
    is(&client.answer().await.unwrap(), 400, &["<Code>IncompleteSignature</Code>"]);
}

#[tokio::test]
async fn a_body_in_chunks_of_aws_arrives_without_them() {
    let server = start(Setup::default()).await;
    let put = |body: &str, decoded: usize| {
        format!(
            "PUT /2015-03-31/files/a HTTP/1.1\r\nHost: localhost\r\nX-Amz-Date: 20260101T000000Z\r\n\
             X-Amz-Content-Sha256: STREAMING-UNSIGNED-PAYLOAD-TRAILER\r\nX-Amz-Decoded-Content-Length: {decoded}\r\n\
             X-Amz-Trailer: x-amz-checksum-crc32\r\nAuthorization: AWS4-HMAC-SHA256 \
             Credential=test/20260101/us-east-1/files/aws4_request, SignedHeaders=host, Signature={}\r\n\
             Content-Length: {}\r\n\r\n{body}",
            "0".repeat(64),
            body.len()
        )
    };
    let mut client = Raw::connect(&server).await;
    // CRC-32 of "123456789" is cbf43926.
    client.send(put("5\r\n12345\r\n4\r\n6789\r\n0\r\nx-amz-checksum-crc32:y/Q5Jg==\r\n\r\n", 9)).await;
    is(&client.answer().await.unwrap(), 201, &[r#"{"Name":"a","Size":9}"#]);
    client.send(put("5\r\n12345\r\n4\r\n6780\r\n0\r\nx-amz-checksum-crc32:y/Q5Jg==\r\n\r\n", 9)).await;
    is(&client.answer().await.unwrap(), 400, &["checksum"]);
}
