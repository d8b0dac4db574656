use super::*;

const MESSAGES: &[(&str, &str)] = &[
    ("T1", "[ERROR 400] BAD REQUEST"),
    ("T2", "[ERROR 401] UNAUTHORIZED REQUEST"),
    ("T3", "[ERROR 419] MISSING ARGUMENTS"),
    ("T4", "[ERROR 420] INVALID ARGUMENTS"),
    ("T5", "[ERROR 500] INTERNAL SERVER ERROR"),
    ("T6", "[INFO] REQUEST FAILED"),
    ("T7", "[WARN] UNAUTHORIZED REQUEST"),
    ("T8", "[ERROR] 400 BAD REQUEST"),
    ("T9", "Exiting with ERRORCODE: -1"),
    ("T10", "[SUCCESS 200] AUTHORIZED REQUEST"),
    ("T11", "02 May 2014 00:34:16,142 [ERROR] Unhanded exception: InvalidQueryException"),
    ("T12", "02 May 2014 00:34:16,224 [ERROR] Terminating the application"),
    ("T13", "02 May 2014 00:34:12,525 [INFO] Starting the application"),
    ("T14", "error lowercase"),
    (
        "J1",
        r#"{"eventType":"UpdateTrail","sourceIPAddress":"111.111.111.111","arrayKey":["value","another value"],"objectList":[{"name":"a","id":1},{"name":"b","id":2}],"SomeObject":null,"cluster.name":"c"}"#,
    ),
    (
        "J2",
        r#"{"user":{"id":1,"email":"John.Stiles@example.com"},"users":[{"id":2,"email":"John.Doe@example.com"},{"id":3,"email":"Jane.Doe@example.com"}],"actions":["GET","PUT","DELETE"],"coordinates":[[0,1,2],[4,5,6],[7,8,9]]}"#,
    ),
    ("J3", r#"{"latency":50,"requestType":"GET","number":[1000,0.001],"ok":true,"bad":false,"detail-type":"x y"}"#),
    ("J4", r#"{"errorCode":"AccessDenied","userIdentity":{"accountId":"anonymous"}}"#),
    ("S1", r#"127.0.0.1 Prod frank [10/Oct/2000:13:25:15 -0700] "GET /index.html HTTP/1.0" 404 1534"#),
    ("A1", r#"127.0.0.1 - frank [10/Oct/2000:13:25:15 -0700] "GET /apache_pb.gif HTTP/1.0" 200 1534"#),
    ("A2", r#"127.0.0.1 - frank [10/Oct/2000:13:35:22 -0700] "GET /apache_pb.gif HTTP/1.0" 500 5324"#),
    ("A3", r#"127.0.0.1 - frank [10/Oct/2000:13:50:35 -0700] "GET /apache_pb.gif HTTP/1.0" 200 4355"#),
    ("A4", r#"127.0.0.1 - frank [10/Oct/2000:13:25:15 -0700] "GET /index.html HTTP/1.0" 404 1534"#),
    ("A5", r#"127.0.0.1 - frank [10/Oct/2000:13:35:22 -0700] "GET /about-us/index.html HTTP/1.0" 200 5324"#),
    ("A6", r#"127.0.0.1 - frank [10/Oct/2000:13:50:35 -0700] "GET /apache_pb.gif HTTP/1.0" 404 4355"#),
    ("A7", r#"127.0.0.1 - frank [10/Oct/2000:13:25:15 -0700] "GET /products/index.html HTTP/1.0" 400 1534"#),
    ("W1", "INFO 09/25/2014 12:00:00 GET /service/resource/67 1200"),
    ("W2", "INFO 09/25/2014 12:00:01 POST /service/resource/67/part/111 1310"),
    ("W3", "WARNING 09/25/2014 12:00:02 Invalid user request"),
    ("W4", "ERROR 09/25/2014 12:00:02 Failed to process request"),
    ("L1", "2024-01-01T00:00:00.000Z\t8f5-1a2\tINFO\thello big world"),
    ("L2", "START RequestId: 8f5-1a2 Version: $LATEST"),
];

fn message(id: &str) -> &'static str {
    MESSAGES.iter().find(|(name, _)| *name == id).unwrap_or_else(|| panic!("no message {id}")).1
}

/// `+ID` for messages that a pattern matches, `-ID` for those that it does not.
fn check(pattern: &str, expected: &str) {
    let filter = Filter::parse(pattern).unwrap_or_else(|error| panic!("{pattern}: {error}"));
    for id in expected.split_whitespace() {
        let (sign, id) = id.split_at(1);
        agree(&filter, pattern, message(id), sign == "+");
    }
}

/// As above, with messages written out.
fn check_texts(pattern: &str, matching: &[&str], others: &[&str]) {
    let filter = Filter::parse(pattern).unwrap_or_else(|error| panic!("{pattern}: {error}"));
    matching.iter().for_each(|text| agree(&filter, pattern, text, true));
    others.iter().for_each(|text| agree(&filter, pattern, text, false));
}

fn agree(filter: &Filter, pattern: &str, text: &str, expected: bool) {
    assert_eq!(filter.matches(text), expected, "{pattern} on {text}");
    assert_eq!(filter.extract(text).is_some(), expected, "{pattern} on {text}, extracting");
    let is_candidate = filter.candidates(text.as_bytes()).next_from(0).is_some();
    assert!(is_candidate || !expected || text.is_empty(), "{pattern} on {text}: passed by");
}

fn extracted(pattern: &str, message: &str) -> String {
    let fields = Filter::parse(pattern).unwrap().extract(message).unwrap_or_else(|| panic!("{pattern} on {message}"));
    fields.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("|")
}

fn needles(pattern: &str) -> Vec<String> {
    let filter = Filter::parse(pattern).unwrap();
    filter.needles().map(|needle| String::from_utf8_lossy(needle).into_owned()).collect()
}

#[test]
fn terms() {
    for (pattern, expected) in [
        ("", "+T1 +T6 +J1 +S1"),
        (" ", "+T1 +J1"),
        ("\" \"", "+T1 +T6 +T9 +J1"),
        ("ERROR", "+T1 +T2 +T3 +T4 +T5 +T8 +T9 -T6 -T7 -T10 -T14"),
        ("ERROR ARGUMENTS", "+T3 +T4 -T1 -T2"),
        ("?ERROR ?ARGUMENTS", "+T1 +T2 +T3 +T4 -T6"),
        ("?ERROR ?ARGUMENTS REQUEST", "+T6 +T7 +T8 -T3 -T5"),
        ("REQUEST ?ERROR", "+T6 +T10 -T4"),
        ("?ERROR -ARGUMENTS", "+T1 +T6 +T14 -T3"),
        ("?\"BAD REQUEST\" ?\"REQUEST FAILED\"", "+T1 +T6 +T8 -T7"),
        ("\"INTERNAL SERVER ERROR\"", "+T5 -T1"),
        ("ERROR -ARGUMENTS", "+T1 +T2 -T3 -T4"),
        ("ERROR -Exiting", "+T1 -T9"),
        ("-ERROR", "+T6 +T7 +T10 +T14 -T1"),
        ("\"[ERROR]\"", "+T8 +T11 +T12 -T1 -T13"),
        ("\"[ERROR]\" Exception", "+T11 -T12 -T13"),
        ("error", "+T14 -T1"),
        ("ERR", "+T1 +T9"),
        ("\"-1\"", "+T9 -T1"),
        ("%AUTHORIZED%", "+T2 +T7 +T10 -T1"),
        ("%^.ERROR%", "+T1 +T8 -T9"),
        ("%ERROR$%", "+T5 -T1"),
        (r"%ERROR \d{3}%", "+T1 +T5 -T8 -T9"),
        ("%[Ee]rror|[Ff]ail%", "+T14 -T1"),
        (r"%\x5BERROR\x5D%", "+T8 +T11 -T1"),
        ("ERROR -%4[01][01]%", "+T3 -T1 -T2 -T6"),
        ("?%^Exit% ?lowercase", "+T9 +T14 -T1"),
    ] {
        check(pattern, expected);
    }
    check_texts(r#""\"level\":\"error\"""#, &[r#"{"level":"error"}"#], &[r#"{"level": "error"}"#]);
    check_texts(r#""a\\b""#, &[r"a\b"], &["ab", r"a\\b"]);
    check_texts(r#""a\nb""#, &[r"a\nb"], &["a\nb"]);
    check_texts("hello world", &["hello|world", "hello world"], &["goodbye world", "hello cruel"]);
    assert_eq!(extracted("\"[ERROR]\" Exception", message("T11")), "");
    assert_eq!(extracted("", "anything"), "");
}

#[test]
fn expressions() {
    let check = check_texts;
    check("%^[hc]at%", &["hat", "cat"], &["that"]);
    check("%[hc]at$%", &["a cat", "a cat\n"], &["cats", "cat\n\n"]);
    check("%colou?r%", &["color", "colour"], &["colr"]);
    check("%[abcx-z]%", &["y"], &["d", "-"]);
    check("%[a-]%", &["-"], &["b"]);
    check("%[+--]%", &[",", "-"], &["*"]);
    check("%a{3,5}%", &["aaa"], &["aa"]);
    check("%^a{,2}$%", &["", "a", "aa"], &["aaa"]);
    check("%^a{2,}$%", &["aa", "aaa"], &["a"]);
    check("%gra|ey%", &["gray", "grey"], &["gr"]);
    check("%ab*c%", &["ac", "abbbc"], &["ab"]);
    check("%ab[0-9]*%", &["ab", "ab129"], &["a"]);
    let starting = "%^starting|^initializing|^shutting down%";
    check(starting, &["shutting down", "initializing x"], &["skipping initializing"]);
    check("%abcc|ab[^c]$%", &["abcc x", "aba"], &["aac"]);
    check(r"%\[.\]%", &["[a]", "[ ]", "[é]", "[\n]"], &["a", "[]"]);
    check("%ab+c%", &["abbc"], &["ac"]);
    check("%.at%", &["#at", " at"], &["at"]);
    check("%10.10.0.1%", &["10010,051"], &["1001"]);
    check(r"%10\.10\.0\.1%", &["10.10.0.1"], &["10010,051"]);
    check(r"%\x3A%", &["a:b"], &["ab"]);
    check(r"%\d{1,3}\.\d{1,3}\.\d{1,3}\.\d{1,3}%", &["ip 10.0.0.1"], &["10.0.0", "١.١.١.١"]);
    check(r"%\w%", &["_"], &["-", "é"]);
    check(r"%\W%", &["-", "é"], &["_"]);
    check(r"%^[^\d-]+$%", &["ab é"], &["a1", "a-"]);
    check(r"%^[\D]$%", &["x"], &["1"]);
    check(r"%\s%", &["a b", "a\tb"], &["ab"]);
    check(r"%^\S+$%", &["ab"], &["a b"]);
    check(r"%a/b\/c\-d%", &["a/b/c-d"], &["a/bc-d"]);
    for good in ["%a?b+%", "%^x:_ #=@/;,-$%", "%]%", "%a}%"] {
        assert!(Filter::parse(good).is_ok(), "{good}");
    }
    for bad in ["%[%", "%[]%", "%a{%", "%a{}%", "%a{x}%", "%a{1,2,3}%", "%*%", r"%\q%", r"%\x8g%", r"%\xe9%", "%[b-a]%"]
    {
        assert_eq!(Filter::parse(bad).unwrap_err(), Malformed::Grammar, "{bad}");
    }
    assert!(Filter::parse("%.{9999}{9999}{9999}%").is_err(), "too large when compiled");
    assert!(Filter::parse(r"%a\w{1000}[^ab]%").is_err(), "a second of everybody's time for each megabyte");
    assert!(Filter::parse(r"%[0-9]{1,3}\.[0-9]{1,3}\.[0-9]{1,3}\.[0-9]{1,3} \w+%").is_ok());
    assert_eq!(Filter::parse("%a% b -%c%").unwrap().regex_count(), 2);
    assert!(Filter::parse("%a% %b% %c%").is_err());
}

#[test]
fn json() {
    for (pattern, expected) in [
        (r#"{ $.eventType = "UpdateTrail" }"#, "+J1 -J2 -T1"),
        ("{$.eventType=UpdateTrail}", "+J1"),
        (r#"{ $.eventType = "updatetrail" }"#, "-J1"),
        (r#"{ $.eventType = "Update*" }"#, "+J1"),
        (r#"{ $.eventType = "*Trail" }"#, "+J1"),
        (r#"{ $.eventType = "*pdate" }"#, "-J1"),
        ("{ $.eventType = %Trail% }", "+J1"),
        ("{ $.eventType != %Trail% }", "-J1"),
        ("{ $.sourceIPAddress != 123.123.* }", "+J1 -J2"),
        ("{ $.sourceIPAddress = 111.* }", "+J1"),
        (r#"{ $.arrayKey[0] = "value" }"#, "+J1"),
        (r#"{ $.arrayKey[1] = "value" }"#, "-J1"),
        (r#"{ $.arrayKey[2] = "*" }"#, "-J1"),
        ("{ $.arrayKey[*] = %val.{2}% }", "+J1"),
        (r#"{ $.arrayKey[*] = "another value" }"#, "+J1"),
        (r#"{ $.arrayKey[*] = "none" }"#, "-J1"),
        (r#"{ $.arrayKey[*] != "value" }"#, "+J1"),
        (r#"{ $.arrayKey = "value" }"#, "-J1"),
        ("{ $.objectList[1].id = 2 }", "+J1"),
        ("{ $.objectList[0].id = 2 }", "-J1"),
        ("{ $.objectList[*].id > 1 }", "+J1"),
        (r"{ $.* = %111\.111\.111\.1[0-9]{1,2}% }", "+J1"),
        (r#"{ $.* = "UpdateTrail" }"#, "+J1"),
        (r#"{ $.['cluster.name'] = "c" }"#, "+J1"),
        (r#"{ $['cluster.name'] = "c" }"#, "+J1"),
        (r#"{ $.cluster.name = "c" }"#, "-J1"),
        ("{ $.SomeObject IS NULL }", "+J1 -J2"),
        ("{ $.SomeOtherObject NOT EXISTS }", "+J1"),
        ("{ $.SomeObject NOT EXISTS }", "-J1"),
        (r#"{ $.SomeObject = "*" }"#, "-J1"),
        (r#"{ $.SomeObject != "x" }"#, "-J1"),
        (r#"{ $.eventType = "*" && $.sourceIPAddress != 123.123.* }"#, "+J1"),
        (r#"{ ($.user.id = 1) && ($.users[0].email = "John.Doe@example.com") }"#, "+J2"),
        (
            r#"{ $.user.email = "John.Stiles@example.com" || $.coordinates[0][1] = "nonmatch" && $.actions[2] = "nonmatch" }"#,
            "+J2",
        ),
        (
            r#"{ ($.user.email = "John.Stiles@example.com" || $.coordinates[0][1] = "nonmatch") && $.actions[2] = "nonmatch" }"#,
            "-J2",
        ),
        (r#"{ ($.user.id = 2 && $.users[0].email = "nonmatch") || $.actions[2] = "GET" }"#, "-J2"),
        ("{ $.coordinates[0][1] = 1 }", "+J2"),
        ("{ $.coordinates[2][2] >= 9 }", "+J2"),
        ("{ $.coordinates[2][2] > 9 }", "-J2"),
        (r#"{ $.actions[*] = "PUT" }"#, "+J2"),
        ("{ $.latency = 50 }", "+J3"),
        ("{ $.latency = 5* }", "+J3"),
        ("{ $.latency = * }", "+J3 -J1"),
        ("{ $.latency > 49.9 }", "+J3"),
        ("{ $.latency < 50 }", "-J3"),
        ("{ $.latency != 50 }", "-J3"),
        ("{ $.latency <= 5e+1 }", "+J3"),
        ("{ $.number[0] = 1e+3 }", "+J3"),
        ("{ $.number[1] = 1e-3 }", "+J3"),
        ("{ $.number[1] != 1e-3 }", "-J3"),
        ("{ $.number[0] >= +1000 }", "+J3"),
        ("{ $.ok IS TRUE }", "+J3"),
        ("{ $.ok is true }", "+J3"),
        ("{ $.ok IS FALSE }", "-J3"),
        ("{ $.ok = true }", "+J3"),
        ("{ $.bad IS FALSE }", "+J3"),
        ("{ $.latency IS TRUE }", "-J3"),
        (r#"{ $.detail-type = "x y" }"#, "+J3"),
        (r#"{($.errorCode = "*UnauthorizedOperation") || ($.errorCode = "AccessDenied*")}"#, "+J4"),
        (r#"{($.errorCode = "AccessDenied") && ($.userIdentity.invokedBy != "cloudfront.amazonaws.com")}"#, "-J4"),
        (r#"{($.errorCode = "AccessDenied") && ($.userIdentity.invokedBy NOT EXISTS)}"#, "+J4"),
        (
            r#"{$.userIdentity.type = "Root" && $.userIdentity.invokedBy NOT EXISTS && $.eventType != "AwsServiceEvent"}"#,
            "-J4 -J1",
        ),
        ("{ $.latency > 1 }", "-T1 -S1 -L1"),
    ] {
        check(pattern, expected);
    }
}

#[test]
fn json_is_the_whole_message_or_nothing() {
    let anything = "{ $.nowhere NOT EXISTS }";
    let json =
        ["{}", "[]", " {\"a\" : [ 1 , -0.5e+7 ] } \n", r#"{"a":"\u00e9\/\n\"","b":[{},[]]}"#, "[null,true,false]"];
    let others = [
        "",
        "5",
        "null",
        "\"a\"",
        "{",
        "{}x",
        "x{}",
        "{} {}",
        "{\"a\"}",
        "{\"a\":}",
        "{\"a\":1,}",
        "{a:1}",
        "{'a':1}",
        "[1,]",
        "[,1]",
        "[01]",
        "[1.]",
        "[.5]",
        "[+1]",
        "[1e]",
        "[-]",
        "[tru]",
        "[nul]",
        "[\"a]",
        r#"["\q"]"#,
        r#"["\u12g4"]"#,
        "[\"a\tb\"]",
        "[1}",
        "{\"a\":1]",
        "[NaN]",
        "2024-01-01T00:00:00Z\tid\tINFO\t{\"a\":1}",
    ];
    check_texts(anything, &json, &others);
    check_texts("{ $.a = 1 }", &["{\"a\":1}", "{\"a\":2,\"a\":1}"], &["{\"a\":1", "{\"a\":2}", "[{\"a\":1}]"]);
    check_texts("{ $[0].a = 1 }", &["[{\"a\":1}]"], &["{\"a\":1}", "[0,{\"a\":1}]"]);
    check_texts("{ $.a[0] = 1 }", &["{\"a\":[1]}"], &["{\"a\":{\"0\":1}}", "{\"a\":1}"]);
    let nested = |depth: usize| format!("{{\"a\":{}{}}}", "[".repeat(depth), "]".repeat(depth));
    check_texts(anything, &[&nested(100)], &[&nested(1_000), &nested(300_000)]);
}

#[test]
fn escapes_in_json_are_what_they_mean() {
    for pattern in
        [r#"{ $.level = "ERROR" }"#, r#"{ $.level = "E*R" }"#, r#"{ $.* = "ERROR" }"#, "{ $.level = %^ERROR$% }"]
    {
        let spelled = [r#"{"level":"ERROR"}"#, r#"{"level":"\u0045RROR"}"#, r#"{"\u006cevel":"ERROR"}"#];
        check_texts(pattern, &spelled, &[r#"{"level":"\\u0045RROR"}"#]);
    }
    check_texts(r#"{ $.url = "/a/b" }"#, &[r#"{"url":"\/a\/b"}"#, r#"{"url":"/a/b"}"#], &[r#"{"url":"a/b"}"#]);
    check_texts(r#"{ $.x = "say \"hi\"" }"#, &[r#"{"x":"say \"hi\""}"#, r#"{"x":"say \u0022hi\""}"#], &[]);
    check_texts(
        r#"{ $.x = "😀é" }"#,
        &[r#"{"x":"\ud83d\ude00\u00E9"}"#, r#"{"x":"😀é"}"#],
        &[r#"{"x":"\ud83d\u00E9"}"#],
    );
    check_texts("{ $.x = * }", &[r#"{"x":"\ud83d"}"#, r#"{"x":"\ude00\ud83d\n"}"#], &[r#"{"x":"\ud83"}"#]);
}

#[test]
fn numbers_are_what_they_are_worth() {
    let check = |condition: &str, value: &str, expected: bool| {
        let (pattern, message) = (format!("{{ $.n {condition} }}"), format!("{{\"n\":{value}}}"));
        agree(&Filter::parse(&pattern).unwrap(), &pattern, &message, expected);
    };
    check("= 1000", "1e3", true);
    check("= 1", "1.0", true);
    check("= 1", "\"1\"", true);
    check("= 1", "\"1.0\"", false);
    check("= \"1\"", "1", true);
    check("= \"1\"", "1.0", false);
    check("= 1*", "123", true);
    check("> 1", "\"2.5\"", true);
    check("> 1", "\"2s\"", false);
    check("> 1", "\"inf\"", false);
    check("> 1", "true", false);
    check("!= 1", "true", true);
    check("= 1234567890123456789", "1234567890123456789", true);
    check("= 1234567890123456789", "1234567890123456788", false);
    check("< -5", "-5.5", true);
    check("< 1e999", "1", true);
    assert_eq!(extracted("{ $.n > 1 && $.s = * }", r#"{"s":"a\nb","n":1.50e+2}"#), "$.n=1.50e+2|$.s=a\nb");
}

#[test]
fn fields_of_json() {
    assert_eq!(extracted(r#"{ $.a[*] = "c" && $.x NOT EXISTS && $.a[*] = * }"#, r#"{"a":["b","c"]}"#), "$.a[*]=b");
    assert_eq!(
        extracted("{ $.a = * || $.['b c'] IS NULL || $.d IS TRUE }", r#"{"a":{},"b c":null,"d":true}"#),
        "$.d=true"
    );
}

#[test]
fn columns() {
    for (pattern, expected) in [
        ("[ip, identity, user_id, timestamp, request, status_code, size]", "+A1 +A2 +A3"),
        ("[..., size]", "+A1 +A2 +A3"),
        ("[]", "+A1 +A2 +A3 +T14"),
        ("[..., status_code=200, size]", "+A1 -A2 +A3"),
        ("[..., request=*.html*, status_code=4*,]", "+A4 -A5 -A6 +A7"),
        (
            r"[ip=%127\.0\.0\.[1-9]%, user, username, timestamp, request =*.html*, status_code = 4*, bytes]",
            "+S1 +A4 -A1",
        ),
        ("[..., request =*.html*, status_code = 4*, bytes]", "+S1 -A5"),
        ("[ip, user, username, timestamp, request =*.html*, status_code = 404 || status_code = 410, bytes]", "+S1 -A7"),
        ("[ip, server, username, timestamp, request, status_code, bytes > 1000]", "+S1 +A1"),
        ("[ip, server, username, timestamp, request, status_code, bytes > 1534]", "-S1"),
        ("[ip, server, username, timestamp, request, status_code, bytes >= 1534]", "+S1"),
        ("[w1=ERROR, w2]", "+W4 -W1 -W3"),
        ("[w1=ERROR || w1=WARNING, w2]", "+W3 +W4 -W1"),
        ("[(w1=\"ERROR\") || (w1=\"WARNING\"), w2]", "+W3 +W4 -W1"),
        ("[w1!=ERROR && w1!=WARNING, w2]", "+W1 +W2 -W3 -W4"),
        ("[logLevel, date, time, method, url=%/service/resource/[0-9]+$%, response_time]", "+W1 -W2"),
        ("[logLevel, date, time, method, url=%/service/resource/[0-9]+/part/[0-9]+$%, response_time]", "+W2 -W1"),
        ("[timestamp=*Z, request_id=\"*-*\", event]", "+L1 -L2"),
    ] {
        check(pattern, expected);
    }
    check_texts("[a, b, c]", &["a b c", "a b c d"], &["a b", ""]);
    check_texts("[a, ..., z=9]", &["1 2 9", "1 9"], &["1", "9", "1 9 2"]);
    check_texts("[a=x, ...]", &["x", "x y z"], &["y", ""]);
    check_texts("[,b=2]", &["1 2", " 1\t2\n"], &["2 1", "1 2 3"]);
    check_texts("[n > 5]", &["6", "5.1\n"], &["x", "5", "6KB", "6 7"]);
    check_texts("[..., a=\"x y\", b]", &["\"x y\" 1", "0 [x y] 1"], &["x y 1", "\"x y 1"]);
    check_texts("[a, b=\"\", c]", &["1 \"\" 2", "1 [] 2"], &["1 2"]);
}

#[test]
fn fields_of_columns() {
    let (a1, a4) = (message("A1"), message("A4"));
    assert_eq!(
        extracted("[ip, identity, user_id, timestamp, request, status_code, size]", a1),
        "$ip=127.0.0.1|$identity=-|$user_id=frank|$timestamp=10/Oct/2000:13:25:15 -0700|\
         $request=GET /apache_pb.gif HTTP/1.0|$status_code=200|$size=1534"
    );
    let five = "$1=127.0.0.1|$2=-|$3=frank|$4=10/Oct/2000:13:25:15 -0700";
    assert_eq!(extracted("[..., size]", a1), format!("{five}|$5=GET /apache_pb.gif HTTP/1.0|$6=200|$size=1534"));
    assert_eq!(extracted("[]", a1), format!("{five}|$5=GET /apache_pb.gif HTTP/1.0|$6=200|$7=1534"));
    assert_eq!(
        extracted("[..., status_code=200, size]", a1),
        format!("{five}|$5=GET /apache_pb.gif HTTP/1.0|$status_code=200|$size=1534")
    );
    assert_eq!(
        extracted("[..., request=*.html*, status_code=4*,]", a4),
        format!("{five}|$request=GET /index.html HTTP/1.0|$status_code=404|$7=1534")
    );
    let w4 = "$w1=ERROR|$w2=09/25/2014 12:00:02 Failed to process request";
    assert_eq!(extracted("[w1=ERROR, w2]", message("W4")), w4);
    assert_eq!(
        extracted("[timestamp=*Z, request_id=\"*-*\", event]", message("L1")),
        "$timestamp=2024-01-01T00:00:00.000Z|$request_id=8f5-1a2|$event=INFO\thello big world"
    );
    assert_eq!(extracted("[a, b]", "x \"y z\"  [w] \n"), "$a=x|$b=\"y z\"  [w]");
    assert_eq!(extracted("[a, b]", "x \"y z\" \n"), "$a=x|$b=y z");
    assert_eq!(extracted("[, b]", "\"x y"), "$1=\"x|$b=y");
    assert_eq!(extracted("[a, ..., z]", "[1 \"2 3\" 4] 5 \"6"), "$a=1 \"2 3\" 4|$2=5|$z=\"6");
}

#[test]
fn malformed() {
    let grammar = [
        "{ level = \"E\" }",
        "{ $.level \"E\" }",
        "{ $.level = \"E }",
        "{ $.level = \"E\" junk }",
        "{ $.a EXISTS }",
        "{ $.a IS NOT NULL }",
        "{ $.a > \"x\" }",
        "{}",
        "{ }",
        "{ $ = 1 }",
        "{ $.a }",
        "{ $.a = }",
        "{ $.a = 1 && }",
        "{ ($.a = 1 }",
        "{ $.a = 1) }",
        "{ $.a[x] = 1 }",
        "{ $.a[99999999999999999999] = 1 }",
        "{ $.*.* = 1 }",
        "{ $.a > 4* }",
        "{ $.* = 1 || $.* = 2 || $.a.* = 3 || $.b[*] = 4 }",
        "{ $.a = %a% || $.a = %b% || $.a = %c% }",
        "{ $.a == 1 }",
        "[a, b = ]",
        "[status = 4* && bytes > 1]",
        "[a b]",
        "[..., ...]",
        "[w1=ERROR || W1=WARNING]",
        "[a > x]",
        "[a=%x%,b=%x%,c=%x%]",
        "\"open",
    ];
    for pattern in grammar {
        assert_eq!(Filter::parse(pattern).map(|_| ()), Err(Malformed::Grammar), "{pattern}");
    }
    for (pattern, message) in [
        ("{ $.\"a-b\" = 1 }", "Invalid character(s) in term '$.\"'"),
        ("{ $.a = 1, $.b = 2 }", "Invalid character(s) in term ','"),
        ("{ $.a = 'x' }", "Invalid character(s) in term '''"),
        ("{ $.a = 1", "If a filter pattern starts with '{' it must end with '}'"),
        ("{", "If a filter pattern starts with '{' it must end with '}'"),
        ("[x", "If a filter pattern starts with '[' it must end with ']'"),
        ("[a, b", "If a filter pattern starts with '[' it must end with ']'"),
        ("err:x", "Invalid character(s) in term ':'"),
        ("a(b", "Invalid character(s) in term '('"),
        ("\"\"", "Invalid character(s) in term '\"\"'"),
        ("`x", "Invalid character(s) in term '`'"),
        ("a\\b", "Invalid character(s) in term '\\'"),
        ("a→b", "Invalid character(s) in term '?'"),
        ("?", "Invalid character(s) in term '?'"),
        ("a -", "Invalid character(s) in term '-'"),
        ("%something!%", "Invalid character(s) in term '!'"),
        ("%(a|b)%", "Invalid character(s) in term '('"),
        (r"%a\(b%", "Invalid character(s) in term '('"),
        ("%é%", "Invalid character(s) in term '?'"),
        ("{ $.a = %a&b% }", "Invalid character(s) in term '&'"),
    ] {
        assert_eq!(Filter::parse(pattern).unwrap_err().to_string(), message, "{pattern}");
    }
    let long = "a".repeat(PATTERN_CHARS_MAX);
    assert!(Filter::parse(&long).is_ok());
    assert!(Filter::parse(&format!("{long}a")).is_err());
    let nested = |depth: usize| format!("{{{}$.a = 1{}}}", "(".repeat(depth), ")".repeat(depth));
    assert!(Filter::parse(&nested(60)).is_ok());
    assert!(Filter::parse(&nested(480)).is_err());
}

#[test]
fn kinds() {
    for (pattern, kind) in [
        (" ", Kind::Everything),
        (" a", Kind::Terms),
        ("%a%", Kind::Terms),
        (" {$.a=1} ", Kind::Json),
        ("\t[a]\n", Kind::Delimited),
    ] {
        assert_eq!(Filter::parse(pattern).unwrap().kind(), kind, "{pattern}");
    }
}

#[test]
fn the_best_needle_is_looked_for() {
    assert_eq!(needles(""), [""; 0]);
    assert_eq!(needles("ab abc -abcd ?abcde"), ["abc"]);
    assert_eq!(needles("?ab ?\"c d\""), ["ab", "c d"]);
    assert_eq!(needles("?ab ?%c%"), [""; 0]);
    assert_eq!(needles("-ab"), [""; 0]);
    assert_eq!(needles("%ab% cd"), ["cd"]);
    assert_eq!(needles("?a ?b ?c ?d ?e"), [""; 0]);
    assert_eq!(needles(r#"{ $.level = "ERROR" && $.requestContext.id = * }"#), ["ERROR", "\\u"]);
    assert_eq!(needles("{ $.latency > 100 }"), ["\"latency\"", "\\u"]);
    assert_eq!(needles("{ $.latency = 100 }"), ["\"latency\"", "\\u"]);
    assert_eq!(needles(r#"{ $.path = "/users/*" }"#), ["users", "\\u"]);
    assert_eq!(needles(r#"{ $.a = "x" || $.b NOT EXISTS }"#), [""; 0]);
    assert_eq!(needles(r#"{ $.a != "x" || $.b = "y*zz" }"#), ["\"a\"", "zz", "\\u"]);
    assert_eq!(needles("{ $.*[0] = 1 }").len(), 0);
    assert_eq!(needles("[..., request=*.html*, status=404, size > 100]"), [".html"]);
    assert_eq!(needles("[w1=ERROR || w1=WARNING, w2]"), ["ERROR", "WARNING"]);
}

#[test]
fn hostile_messages_take_linear_time() {
    // In quadratic time, any of these takes minutes.
    const LENGTH: usize = 1 << 19;
    let columns = ["[]", "[a, b]", "[..., z = *]", "[a = \"*a*b*c*\"]", "[..., a != %[a-z]+x%, b]"];
    let json = ["{ $.* = * }", "{ $.a[*] = 1 || $.a NOT EXISTS }", "{ $.a.a.a.a.a.a.a.a = 1 || $.b = \"*a*a*a*b\" }"];
    let terms = ["-%a.*a.*a.*b% a", "?a ?b", "-\"aaaaaaaaaaaab\""];
    let units = ["[ ", "\" ", "[\" ", "a", "a ", "\"a\"", "{\"a\":", "[", "{\"a\":1,\"a\":", "\\u0061", "[0,"];
    for pattern in columns.iter().chain(&json).chain(&terms) {
        let filter = Filter::parse(pattern).unwrap();
        for unit in units {
            let message = unit.repeat(LENGTH / unit.len());
            assert_eq!(filter.matches(&message), filter.extract(&message).is_some(), "{pattern} {unit}");
        }
        let filled =
            [format!("[{}0]", "0,".repeat(LENGTH / 2)), format!("{{\"a\":\"{}\"}}", "\\u0061".repeat(LENGTH / 6))];
        for message in filled {
            assert_eq!(filter.matches(&message), filter.extract(&message).is_some(), "{pattern}");
        }
    }
    // One needle everywhere, and one nowhere.
    let filter = Filter::parse("?ab ?nowhere").unwrap();
    let block = "ab".repeat(LENGTH / 2);
    let mut candidates = filter.candidates(block.as_bytes());
    let places = (0..LENGTH).step_by(2).take_while(|place| candidates.next_from(*place) == Some(*place));
    assert_eq!(places.count(), LENGTH / 2);
}
