//! Each protocol over one small model: golden bytes, hostile bytes, and values that come back as they went.
//!
//! That every operation of every service agrees with a client is the keystone test's business.

use std::io;
use std::sync::LazyLock;

use base::{AwsError, RequestId, Timestamp, Uuid};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use proptest::prelude::*;

use super::{Recipient, Request, Response, decode, encode, encode_error};
use crate::schema::{Model, Protocol, load};
use crate::{Blob, Value};

const MODEL: &str = r#"{
"name":"toy","botocore":"0","apiVersion":"2020-01-01","serviceId":"Toy","endpointPrefix":"toy",
"targetPrefix":"Toy_20200101","xmlNamespace":"https://toy.test/","queryCompatible":true,
"protocols":["rest-json","json-1.0","query","rest-xml","rpc-v2-cbor"],
"operations":{
 "Put":{"method":"PUT","uri":"/things/{Name}?put","status":201,"input":"Thing","output":"Thing","resultWrapper":"PutResult",
  "errors":["NotThere"]},
 "Blob":{"method":"POST","uri":"/blob","input":"Payload","output":"Payload"},
 "Rpc":{"method":"POST","uri":"/","input":"Body","output":"Body","resultWrapper":"RpcResult"}
},
"shapes":{
 "Thing":{"type":"structure","members":{
  "Name":{"shape":"String","location":"uri","locationName":"Name"},
  "Tags":{"shape":"Strings","location":"querystring","locationName":"tag"},
  "Page":{"shape":"Integer","location":"querystring","locationName":"page"},
  "Since":{"shape":"Timestamp","location":"header","locationName":"If-Modified-Since"},
  "Meta":{"shape":"Map","location":"headers","locationName":"x-meta-"},
  "Status":{"shape":"Integer","location":"statusCode"},
  "Text":{"shape":"String","locationName":"text"},
  "Inner":"Body"}},
 "Payload":{"type":"structure","payload":"Content","members":{
  "Type":{"shape":"String","location":"header","locationName":"Content-Type"},"Content":"Bytes"}},
 "Body":{"type":"structure","members":{
  "S":"String","I":"Integer","L":"Long","D":"Double","T":"Timestamp","B":"Bytes","F":"Boolean",
  "List":"Strings","Named":{"shape":"Pairs","queryJsonName":"pairs"},"Flat":{"shape":"Strings","flattened":true,"locationName":"flat"},"Map":"Map","Deep":"Body","Bodies":"Bodies"}},
 "Bodies":{"type":"list","member":"Body"},
 "NotThere":{"type":"structure","error":{"code":"Toy.NotThere","status":404,"senderFault":true},
  "members":{"Message":"String","RetryAfter":{"shape":"Integer","location":"header","locationName":"Retry-After"},"Count":"Integer"}},
 "String":{"type":"string"},"Strings":{"type":"list","member":"String"},
 "Map":{"type":"map","key":"String","value":"String"},
 "Pairs":{"type":"map","key":{"shape":"String","locationName":"Name"},"value":{"shape":"String","locationName":"Value"}},
 "Integer":{"type":"integer"},"Long":{"type":"long"},"Double":{"type":"double"},"Timestamp":{"type":"timestamp"},
 "Bytes":{"type":"blob"},"Boolean":{"type":"boolean"}
}}"#;

static TOY: LazyLock<Model> = LazyLock::new(|| load("toy", MODEL, "{}").unwrap());

const XML: Recipient = Recipient { request_id: RequestId(Uuid::NIL), prefers_json: false };
const JSON: Recipient = Recipient { prefers_json: true, ..XML };

const RPC: [Protocol; 3] = [Protocol::Json10, Protocol::Query, Protocol::Cbor];

fn no_spool() -> io::Result<std::fs::File> {
    tempfile::tempfile()
}

fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
    let pair =
        |(name, value): &(&'static str, &'static str)| (HeaderName::from_static(name), HeaderValue::from_static(value));
    pairs.iter().map(pair).collect()
}

fn read(operation: &str, protocol: Protocol, body: impl Into<Bytes>) -> Result<Value, AwsError> {
    let request = Request {
        labels: &[("Name", "a b".into())],
        query: "put&tag=x&tag=y+z&page=7",
        headers: &headers(&[("if-modified-since", "Thu, 01 Jan 2026 00:00:00 GMT"), ("x-meta-k", "v")]),
        body: &Blob::Inline(body.into()),
        spool: &no_spool,
    };
    decode(&TOY, TOY.operation(operation).unwrap(), protocol, &request)
}

fn write(operation: &str, protocol: Protocol, value: &Value) -> Response {
    encode(&TOY, TOY.operation(operation).unwrap(), protocol, value, None, XML).unwrap()
}

fn map(members: Vec<(&'static str, Value)>) -> Value {
    Value::Map(members.into_iter().map(|(name, value)| (name.into(), value)).collect())
}

fn text(text: &str) -> Value {
    Value::String(text.into())
}

fn body(response: &Response) -> String {
    String::from_utf8(response.body().read_all().unwrap().into()).unwrap()
}

fn code(result: Result<Value, AwsError>) -> String {
    result.unwrap_err().code
}

#[test]
fn rest_gathers_an_input_from_all_places() {
    let value = read("Put", Protocol::RestJson, r#"{"text":"t","Inner":{"I":-1,"T":1.5},"Name":"elsewhere"}"#).unwrap();
    let expected = map(vec![
        ("Name", text("a b")),
        ("Tags", Value::List(vec![text("x"), text("y z")])),
        ("Page", Value::Integer(7)),
        ("Since", Value::Timestamp(Timestamp::from_secs(1_767_225_600))),
        ("Meta", map(vec![("k", text("v"))])),
        ("Text", text("t")),
        ("Inner", map(vec![("I", Value::Integer(-1)), ("T", Value::Timestamp(Timestamp::from_millis(1_500)))])),
    ]);
    assert_eq!(value, expected);
}

#[test]
fn rest_spreads_an_output_over_status_headers_and_body() {
    let since = Value::Timestamp(Timestamp::from_secs(1_767_225_600));
    let meta = map(vec![("k", text("v"))]);
    let value = map(vec![("Status", Value::Integer(202)), ("Since", since), ("Meta", meta), ("Text", text("t"))]);
    let response = write("Put", Protocol::RestJson, &value);
    assert_eq!(response.status(), 202);
    assert_eq!(response.headers()["if-modified-since"], "Thu, 01 Jan 2026 00:00:00 GMT");
    assert_eq!(response.headers()["x-meta-k"], "v");
    assert_eq!(response.headers()["content-type"], "application/json");
    assert_eq!(response.headers()["x-amzn-requestid"], "00000000-0000-0000-0000-000000000000");
    assert_eq!(body(&response), r#"{"text":"t"}"#);
    assert_eq!(write("Put", Protocol::RestJson, &Value::EMPTY).status(), 201);
}

#[test]
fn a_payload_is_the_body_as_it_is() {
    let value = read("Blob", Protocol::RestJson, "\0raw").unwrap();
    assert_eq!(value, map(vec![("Content", Value::Blob(Bytes::from_static(b"\0raw").into()))]));
    assert_eq!(body(&write("Blob", Protocol::RestJson, &value)), "\0raw");
    assert_eq!(read("Blob", Protocol::RestJson, "").unwrap(), Value::EMPTY);
}

#[test]
fn json_is_read_by_shape() {
    let json = r#" {"unknown":[{"x":[1e9,"\ud83d\ude00",null,true]}], "S":"a\u00e9\n\/", "I":1.0, "L":-9223372036854775808,
        "D":1e300, "T":1767225600.123456, "B":"UEs=", "F":false, "List":["x",null], "Map":{"k":"v","k":"w"}, "Deep":null,
        "Bodies":[{}], "S":"last"} "#;
    let value = read("Rpc", Protocol::Json10, json).unwrap();
    let expected = map(vec![
        ("S", text("last")),
        ("I", Value::Integer(1)),
        ("L", Value::Integer(i64::MIN)),
        ("D", Value::Float(1e300)),
        ("T", Value::Timestamp(Timestamp::from_micros(1_767_225_600_123_456))),
        ("B", Value::Blob(Bytes::from_static(b"PK").into())),
        ("F", Value::Bool(false)),
        ("List", Value::List(vec![text("x"), Value::Null])),
        ("Map", map(vec![("k", text("w"))])),
        ("Bodies", Value::List(vec![Value::EMPTY])),
    ]);
    assert_eq!(value, expected);
}

#[test]
fn what_is_no_json_is_refused() {
    let bad: [&[u8]; 22] = [
        b"{",
        b"}",
        b"{}}",
        b"{} x",
        b"[]",
        b"1",
        b"nul",
        b"{\"S\":}",
        b"{\"S\":\"a}",
        b"{\"S\" \"a\"}",
        b"{,}",
        b"{\"S\":\"a\",}",
        b"{\"List\":[,]}",
        b"{\"List\":[\"a\",]}",
        b"{\"S\":\"\xff\"}",
        b"{\"S\":\"\x01\"}",
        b"{\"S\":\"\\x\"}",
        b"{\"S\":\"\\ud800\"}",
        b"{\"S\":\"\\udc00\\ud800\"}",
        b"{\"I\":01}",
        b"{\"I\":1.}",
        b"{\"x\":tru}",
    ];
    for json in bad {
        assert_eq!(code(read("Rpc", Protocol::Json10, json)), "SerializationException", "{}", json.escape_ascii());
    }
    assert_eq!(read("Rpc", Protocol::Json10, "").unwrap(), Value::EMPTY);
}

#[test]
fn wrong_types_are_refused_in_awss_words() {
    for (json, message) in [
        (r#"{"S":1}"#, "NUMBER_VALUE cannot be converted to String"),
        (r#"{"S":true}"#, "TRUE_VALUE cannot be converted to String"),
        (r#"{"S":[]}"#, "Unrecognized collection type class java.lang.String"),
        (r#"{"S":{}}"#, "Start of structure or map found where not expected"),
        (r#"{"I":"1"}"#, "STRING_VALUE cannot be converted to Integer"),
        (r#"{"I":2147483648}"#, "NUMBER_VALUE cannot be converted to Integer"),
        (r#"{"I":1.5}"#, "NUMBER_VALUE cannot be converted to Integer"),
        (r#"{"L":9223372036854775808}"#, "NUMBER_VALUE cannot be converted to Long"),
        (r#"{"D":1e400}"#, "NUMBER_VALUE cannot be converted to Double"),
        (r#"{"F":"true"}"#, "Unexpected token received from parser"),
        (r#"{"B":1}"#, "only base-64-encoded strings are convertible to bytes"),
        (r#"{"B":"12345"}"#, "Base64 encoded length is expected a multiple of 4 bytes but found: 5"),
        (r#"{"List":"x"}"#, "Unexpected field type"),
        (r#"{"List":{}}"#, "Start of structure or map found where not expected"),
        (r#"{"Map":[]}"#, "Start of list found where not expected"),
        (r#"{"T":"2026-01-01T00:00:00Z"}"#, "STRING_VALUE cannot be converted to Date"),
        (r#"{"T":1e300}"#, "Invalid timestamp"),
    ] {
        assert_eq!(read("Rpc", Protocol::Json10, json).unwrap_err().message, message, "{json}");
    }
}

#[test]
fn bombs_are_refused_without_being_held() {
    let deep = |open: &str, close: &str| format!("{{\"x\":{}{}}}", open.repeat(100_000), close.repeat(100_000));
    let many = |n: usize| format!("{{\"List\":[{}\"x\"]}}", "\"\",".repeat(n));
    for (json, message) in [
        (deep("[", "]"), "the body nests too deeply"),
        (deep("{\"Deep\":", "}"), "the body nests too deeply"),
        (format!("{}1{}", "{\"Deep\":".repeat(200), "}".repeat(200)), "the body nests too deeply"),
        (many(300_000), "the body has too many elements"),
        (format!("{{\"L\":{}}}", "9".repeat(1_000)), "the body has a number of too many digits"),
        (format!("{{\"S\":\"{}\"}}", "x".repeat(17 << 20)), "the body has too much text"),
    ] {
        assert_eq!(read("Rpc", Protocol::Json10, json).unwrap_err().message, message);
    }
}

#[test]
fn a_large_blob_passes_from_spool_to_spool() {
    let content: Vec<u8> = (0..3_000_000_u32).map(|n| ((n * 31) >> 3) as u8).collect();
    let json = format!("{{\"S\":\"é\",\"B\":\"{}\"}}", super::base64::encode(&content)).replace('/', "\\/");
    let file = tempfile::tempfile().unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, json.as_bytes(), 0).unwrap();
    let body = Blob::Spooled(std::sync::Arc::new(crate::Spool { file, len: json.len() as u64 }));
    let request = Request { labels: &[], query: "", headers: &HeaderMap::new(), body: &body, spool: &no_spool };
    let value = decode(&TOY, TOY.operation("Rpc").unwrap(), Protocol::Json10, &request).unwrap();
    let Some(Value::Blob(blob @ Blob::Spooled(_))) = value.get("B") else { panic!("{value:?}") };
    assert!(blob.read_all().unwrap() == content);
    assert_eq!(value.get("S"), Some(&text("é")));
}

#[test]
fn json_errors_carry_code_message_and_members() {
    let error = AwsError::client(404, "NotThere", "gone").with_member("RetryAfter", "3").with_member("Count", "4");
    let toy = &*TOY;
    let write = |model, protocol| encode_error(model, None, protocol, &error, XML);
    let rest = write(Some(toy), Protocol::RestJson);
    assert_eq!((rest.status().as_u16(), body(&rest).as_str()), (404, r#"{"Message":"gone","Count":4}"#));
    assert_eq!(rest.headers()["x-amzn-errortype"], "NotThere");
    assert_eq!(rest.headers()["retry-after"], "3");
    assert_eq!(rest.headers()["x-amzn-query-error"], "Toy.NotThere;Sender");
    let json = write(Some(toy), Protocol::Json10);
    assert_eq!(body(&json), r#"{"__type":"NotThere","Message":"gone","RetryAfter":3,"Count":4}"#);
    let unknown = write(None, Protocol::Json11);
    assert_eq!(body(&unknown), r#"{"__type":"NotThere","RetryAfter":"3","Count":"4","message":"gone"}"#);
}

#[test]
fn a_form_is_a_tree_written_flat() {
    let form = "Action=Rpc&Version=2020-01-01&S=a%20b+c&I=-1&D=NaN&T=2026-01-01T00%3A00%3A00Z&B=UEs%3D&F=true&List.member.2=y\
        &List.member.10=z&List.member.1=x&flat.1=p&Map.entry.1.key=k&Map.entry.1.value=v&Deep.S=d&Deep.Deep.L=9\
        &Bodies.member.1.I=4&S=ignored&Unknown.1.x=1&L=";
    let value = read("Rpc", Protocol::Query, form).unwrap();
    let Some(Value::Float(number)) = value.get("D") else { panic!("{value:?}") };
    assert!(number.is_nan());
    for (name, expected) in [
        ("S", text("a b c")),
        ("I", Value::Integer(-1)),
        ("T", Value::Timestamp(Timestamp::from_secs(1_767_225_600))),
        ("B", Value::Blob(Bytes::from_static(b"PK").into())),
        ("F", Value::Bool(true)),
        ("List", Value::List(vec![text("x"), text("y"), text("z")])),
        ("Flat", Value::List(vec![text("p")])),
        ("Map", map(vec![("k", text("v"))])),
        ("Deep", map(vec![("Deep", map(vec![("L", Value::Integer(9))])), ("S", text("d"))])),
        ("Bodies", Value::List(vec![map(vec![("I", Value::Integer(4))])])),
    ] {
        assert_eq!(value.get(name), Some(&expected), "{name}");
    }
    assert_eq!(value.get("L"), None);
    assert_eq!(read("Rpc", Protocol::Query, "List=&flat=").unwrap().get("List"), Some(&Value::List(vec![])));
    for bad in ["I=x", "T=yesterday", "B=%", "B=1", "F=maybe", "I=1.5", "D=inf", "Map.entry.1.key=k", "S=%ff"] {
        assert_eq!(code(read("Rpc", Protocol::Query, bad)), "MalformedInput", "{bad}");
    }
    assert_eq!(code(read("Rpc", Protocol::Query, format!("{}S=x", "Deep.".repeat(500)))), "MalformedInput");
}

#[test]
fn query_answers_and_errors_are_wrapped() {
    let value = map(vec![("S", text("<&\">")), ("Flat", Value::List(vec![text("x"), text("y")]))]);
    let response = write("Rpc", Protocol::Query, &value);
    assert_eq!(response.headers()["content-type"], "text/xml");
    let expected = "<RpcResponse xmlns=\"https://toy.test/\"><RpcResult><S>&lt;&amp;&quot;&gt;</S><flat>x</flat><flat>y</flat>\
        </RpcResult><ResponseMetadata><RequestId>00000000-0000-0000-0000-000000000000</RequestId></ResponseMetadata></RpcResponse>";
    assert_eq!(body(&response), expected);
    let error = AwsError::client(404, "NotThere", "gone").with_member("Count", "4");
    let response = encode_error(Some(&TOY), None, Protocol::Query, &error, XML);
    let expected = "<ErrorResponse xmlns=\"https://toy.test/\"><Error><Type>Sender</Type><Code>Toy.NotThere</Code>\
        <Message>gone</Message><Count>4</Count></Error><RequestId>00000000-0000-0000-0000-000000000000</RequestId></ErrorResponse>";
    assert_eq!(body(&response), expected);
    let error = AwsError::client(404, "UnknownOperationException", "");
    let response = encode_error(None, None, Protocol::Query, &error, XML);
    assert_eq!(body(&response), "<UnknownOperationException></UnknownOperationException>");
}

#[test]
fn what_is_no_safe_xml_is_refused() {
    let deep = format!("{}{}", "<Deep>".repeat(200), "</Deep>".repeat(200));
    let wide = format!("<Body {}/>", (0..100).map(|n| format!("a{n}='x' ")).collect::<String>());
    for xml in [
        "<Body>",
        "<Body></Bodi>",
        "text",
        "<Body/><Body/>",
        "<Body/>x",
        "<!DOCTYPE Body [<!ENTITY a 'b'>]><Body><S>&a;</S></Body>",
        "<Body><S>&nbsp;</S></Body>",
        "<Body><S>&#x110000;</S></Body>",
        "<Body S=>",
        &deep,
        &wide,
    ] {
        assert_eq!(code(read("Rpc", Protocol::RestXml, xml.to_owned())), "MalformedXML", "{xml:.60}");
    }
    assert_eq!(code(read("Rpc", Protocol::RestXml, "<Body><I>x</I></Body>")), "InvalidArgument");
    let value = read(
        "Rpc",
        Protocol::RestXml,
        "<?xml version='1.0'?><!-- c --><x:Body xmlns:x='y'><x:S>a&#65;<![CDATA[<]]></x:S></x:Body>\n",
    );
    assert_eq!(value, Ok(map(vec![("S", text("aA<"))])));
}

#[test]
fn cbor_of_any_writer_is_read() {
    // Indefinite map, an indefinite string, a half float, a tagged timestamp as a float, an unknown member skipped.
    let bytes = b"\xbf\x61S\x7f\x61a\x61b\xff\x61D\xf9\x3e\x00\x61T\xc1\xfb\x3f\xf8\0\0\0\0\0\0\x61X\x9f\x82\x01\xa1\x01\x02\xff\x61I\x20\xff";
    let expected = map(vec![
        ("S", text("ab")),
        ("D", Value::Float(1.5)),
        ("T", Value::Timestamp(Timestamp::from_millis(1_500))),
        ("I", Value::Integer(-1)),
    ]);
    assert_eq!(read("Rpc", Protocol::Cbor, &bytes[..]), Ok(expected));
    let bad: [&[u8]; 8] = [
        b"\xa1",
        b"\xa0\0",
        b"\x80",
        b"\xa1\x61S\x01",
        b"\xbb\xff\xff\xff\xff\xff\xff\xff\xff",
        b"\xa1\x61I\x1a\xff\xff\xff\xff",
        b"\xa1\x61S\x7b\x7f\xff\xff\xff\xff\xff\xff\xff",
        b"\xa1\x61T\xc1\xfb\x7f\xf0\0\0\0\0\0\0",
    ];
    for bytes in bad {
        assert_eq!(code(read("Rpc", Protocol::Cbor, bytes)), "SerializationException", "{}", bytes.escape_ascii());
    }
    let deep = [&b"\xa1\x61X"[..], &[0x81; 100_000]].concat();
    assert_eq!(read("Rpc", Protocol::Cbor, deep).unwrap_err().message, "the body nests too deeply");
}

/// A body that every protocol can carry without loss.
fn any_body() -> impl Strategy<Value = Value> {
    let leaf = (
        proptest::option::of("[ -~é\n]{0,12}".prop_map(Value::String)),
        proptest::option::of(any::<i32>().prop_map(|number| Value::Integer(number.into()))),
        proptest::option::of(any::<i64>().prop_map(Value::Integer)),
        proptest::option::of(proptest::num::f64::NORMAL.prop_map(Value::Float)),
        proptest::option::of((0..4_000_000_000_000_i64).prop_map(|ms| Value::Timestamp(Timestamp::from_millis(ms)))),
        proptest::option::of(proptest::collection::vec(any::<u8>(), 0..20).prop_map(|bytes| Value::Blob(bytes.into()))),
        proptest::option::of(any::<bool>().prop_map(Value::Bool)),
        proptest::option::of(proptest::collection::vec("[a-z&<>\"' ]{1,4}".prop_map(Value::String), 1..4)),
        proptest::option::of(proptest::collection::btree_map("[a-z.&]{1,4}", "[ -~]{1,4}", 1..12)),
    );
    let leaf = leaf.prop_map(|(s, i, l, d, t, b, f, list, entries)| {
        let members = [("S", s), ("I", i), ("L", l), ("D", d), ("T", t), ("B", b), ("F", f)];
        let mut members: Vec<_> = members.into_iter().filter_map(|(name, value)| Some((name, value?))).collect();
        members.extend(list.clone().map(|list| ("List", Value::List(list))));
        members.extend(list.map(|list| ("Flat", Value::List(list))));
        members.extend(entries.map(|entries| {
            let entry = |(key, value): (String, String)| (key.into(), Value::String(value));
            ("Map", Value::Map(entries.into_iter().map(entry).collect()))
        }));
        map(members)
    });
    (leaf.clone(), proptest::option::of(leaf)).prop_map(|(mut outer, inner)| {
        if let (Value::Map(members), Some(inner)) = (&mut outer, inner) {
            members.push(("Deep".into(), inner.clone()));
            members.push(("Bodies".into(), Value::List(vec![inner.clone(), inner])));
        }
        outer
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn json_comes_back_as_it_went(value in any_body()) {
        let written = write("Rpc", Protocol::Json10, &value).into_body().read_all().unwrap();
        prop_assert_eq!(read("Rpc", Protocol::Json10, written), Ok(value));
    }

    #[test]
    fn cbor_comes_back_as_it_went(value in any_body()) {
        let written = write("Rpc", Protocol::Cbor, &value).into_body().read_all().unwrap();
        prop_assert_eq!(read("Rpc", Protocol::Cbor, written), Ok(value));
    }

    #[test]
    fn xml_comes_back_as_it_went(value in any_body()) {
        let written = write("Rpc", Protocol::RestXml, &value).into_body().read_all().unwrap();
        prop_assert_eq!(read("Rpc", Protocol::RestXml, written), Ok(value));
    }

    #[test]
    fn nothing_like_a_form_makes_the_decoder_panic(form in r#"(S|List|Map|Deep|Bodies|member|entry|key|value|[.=&%0-9]){0,40}"#) {
        let _ = read("Rpc", Protocol::Query, form);
    }

    #[test]
    fn nothing_like_xml_makes_the_decoder_panic(xml in r#"(<|>|/|<S>|</S>|<List>|</List>|<flat/>|&amp;|&#|;|<!|--|"|=| x){0,30}"#) {
        let _ = read("Rpc", Protocol::RestXml, xml);
    }

    #[test]
    fn no_bytes_make_a_decoder_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        for protocol in RPC {
            let _ = read("Rpc", protocol, bytes.clone());
        }
        for protocol in [Protocol::RestJson, Protocol::RestXml] {
            let _ = read("Put", protocol, bytes.clone());
        }
    }

    #[test]
    fn nothing_like_json_makes_the_decoder_panic(json in r#"(\{|\}|\[|\]|,|:|"|"S"|"List"|"Map"|"Deep"|-?[0-9]|\.|e|null|true|\\|\\u|d800| ){0,40}"#) {
        let _ = read("Rpc", Protocol::Json10, json);
    }
}

#[test]
fn the_query_protocol_answers_in_json_too() {
    let body = map(vec![
        ("S", text("a\"b")),
        ("T", Value::Timestamp(Timestamp::from_micros(1_500_000))),
        ("List", Value::List(vec![text("x")])),
        ("Map", map(vec![("k", text("v"))])),
        ("Named", map(vec![("k", text("v"))])),
        ("Deep", map(vec![("I", Value::Integer(7))])),
    ]);
    let answer = |operation, value| {
        let response = encode(&TOY, TOY.operation(operation).unwrap(), Protocol::Query, value, None, JSON).unwrap();
        assert_eq!(response.headers()["content-type"], "application/json");
        String::from_utf8(response.body().read_all().unwrap().to_vec()).unwrap()
    };
    let id = Uuid::NIL;
    let nulls = r#""B":null,"Bodies":null,"D":null,"Deep":null,"F":null"#;
    let deep =
        format!(r#"{{{nulls},"Flat":null,"I":7,"L":null,"List":null,"Map":null,"S":null,"T":null,"pairs":null}}"#);
    let expected = format!(
        r#"{{"RpcResponse":{{"ResponseMetadata":{{"RequestId":"{id}"}},"RpcResult":{{"B":null,"Bodies":null,"D":null,"Deep":{deep},"F":null,"Flat":null,"I":null,"L":null,"List":["x"],"Map":{{"k":"v"}},"S":"a\"b","T":1.5,"pairs":[{{"Name":"k","Value":"v"}}]}}}}}}"#
    );
    assert_eq!(answer("Rpc", &body), expected);
    // Without a result there is none.
    assert_eq!(
        answer("Blob", &Value::EMPTY),
        format!(r#"{{"BlobResponse":{{"ResponseMetadata":{{"RequestId":"{id}"}}}}}}"#)
    );

    let error = AwsError::client(404, "NotThere", "gone");
    let response = encode_error(Some(&TOY), None, Protocol::Query, &error, JSON);
    let expected =
        format!(r#"{{"Error":{{"Code":"Toy.NotThere","Message":"gone","Type":"Sender"}},"RequestId":"{id}"}}"#);
    assert_eq!((response.status().as_u16(), response.body().read_all().unwrap()), (404, Bytes::from(expected)));
    // Nobody's is a mere name.
    let error = AwsError::client(404, "UnknownOperationException", "");
    let response = encode_error(None, None, Protocol::Query, &error, JSON);
    assert_eq!(response.body().read_all().unwrap(), "<UnknownOperationException></UnknownOperationException>");
}

#[test]
fn who_likes_json_best_gets_it() {
    let prefers =
        |accept: &'static str| Recipient::of(RequestId(Uuid::NIL), &headers(&[("accept", accept)])).prefers_json;
    for accept in ["application/json", "Application/JSON; charset=utf-8", "application/json, text/plain, */*"] {
        assert!(prefers(accept), "{accept}");
    }
    assert!(prefers("text/xml;q=0.5, application/json;q=0.9"));
    let others = ["", "*/*", "text/xml, application/json", "application/json;q=0.1, */*;q=0.8", "application/json;q=0"];
    for accept in others.into_iter().chain(["text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"]) {
        assert!(!prefers(accept), "{accept}");
    }
}
