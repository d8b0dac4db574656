mod property;

use std::sync::Arc;

use super::*;

/// 2024 begins.
const START: i64 = 1_704_067_200_000;

const WINDOW: Window = Window { now_ms: START + 3_600_500, start_ms: START, end_ms: START + 3_600_000 };

const LIMITS: Limits = Limits { rows_max: 10_000, groups_max: 10_000, bytes_max: 1 << 24 };

const APP: &[(i64, &str)] = &[
    (
        1_000,
        r#"{"level":"INFO","route":"/a","ms":12,"status":200,"user":{"id":"u1","tags":["x","y"]},"ip":"10.0.0.5"}"#,
    ),
    (62_000, r#"{"level":"ERROR","route":"/a","ms":250.5,"status":500,"user":{"id":"u2"},"ip":"8.8.8.8"}"#),
    (299_999, r#"{"level":"INFO","route":"/b","ms":7,"status":200,"user":{"id":"u1"},"ip":"10.0.0.6"}"#),
    (300_000, r#"{"level":"WARN","route":"/b","ms":30,"status":404,"foo-bar":"z","@x":"q","n":null,"ok":true}"#),
    (540_500, "[ERROR] user=bob, method:GET, latency := 216"),
];

const LAMBDA: &[(i64, &str)] = &[
    (10_000, "START RequestId: r1 Version: $LATEST\n"),
    (10_100, "2024-01-01T00:00:10.100Z\tr1\tINFO\thello\n"),
    (10_200, "END RequestId: r1\n"),
    (
        10_201,
        "REPORT RequestId: r1\tDuration: 102.25 ms\tBilled Duration: 103 ms\tMemory Size: 128 MB\tMax Memory Used: 70 MB\tInit Duration: 150.10 ms\t\n",
    ),
    (
        320_000,
        "REPORT RequestId: r2\tDuration: 2.03 ms\tBilled Duration: 3 ms\tMemory Size: 512 MB\tMax Memory Used: 70 MB\t\n",
    ),
];

fn events(log: &'static str, lines: &'static [(i64, &'static str)]) -> Vec<Event<'static>> {
    let event = |(pointer, (time, message)): (u128, &(i64, &'static str))| Event {
        message,
        timestamp_ms: START + time,
        ingestion_ms: START + time + 5,
        stream: "s1",
        log,
        pointer,
    };
    (1..).zip(lines).map(event).collect()
}

fn app() -> Vec<Event<'static>> {
    events("111111111111:/app", APP)
}

fn lambda() -> Vec<Event<'static>> {
    events("111111111111:/aws/lambda/f", LAMBDA)
}

fn answer(query: &str, events: &[Event<'_>]) -> Answer {
    let query = Query::parse(query).unwrap_or_else(|refused| panic!("{query}: {refused:?}"));
    let mut run = Run::new(Arc::new(query), WINDOW, LIMITS);
    events.iter().for_each(|event| run.push(event));
    run.finish()
}

/// Cells as `name=value` with `|` between, without the pointer; `E1` for the message of the first event, and for the row
/// of its time and message.
fn shown(query: &str, events: &[Event<'_>]) -> Vec<String> {
    let is_aggregate = Query::parse(query).unwrap_or_else(|refused| panic!("{query}: {refused:?}")).is_aggregate();
    let row = |mut row: Vec<(String, String)>| {
        let pointer = row.pop_if(|(name, _)| name == "@ptr").map(|(_, pointer)| pointer::read(&pointer));
        assert_eq!(pointer.is_none(), is_aggregate, "{query}");
        let short = |(name, value): &(String, String)| {
            let event = events.iter().position(|event| value == event.message);
            event.map_or(format!("{name}={value}"), |event| format!("{name}=E{}", event + 1))
        };
        let text = row.iter().map(short).collect::<Vec<_>>().join("|");
        let whole = events.iter().position(|event| {
            text == format!(
                "@timestamp={}|@message={}",
                moment::show(event.timestamp_ms).unwrap(),
                text_of(event, events)
            )
        });
        whole.map_or(text, |event| format!("E{}", event + 1))
    };
    answer(query, events).rows.into_iter().map(row).collect()
}

fn text_of(event: &Event<'_>, events: &[Event<'_>]) -> String {
    format!("E{}", events.iter().position(|other| other.message == event.message).unwrap() + 1)
}

fn check(events: &[Event<'_>], table: &[(&str, &str)]) {
    for (query, expected) in table {
        let expected: Vec<&str> = if expected.is_empty() { Vec::new() } else { expected.split("; ").collect() };
        assert_eq!(shown(query, events), expected, "{query}");
    }
}

#[test]
fn rows_are_filtered_sorted_and_shown() {
    let messages = "@message=E5; @message=E4; @message=E3; @message=E2; @message=E1";
    check(
        &app(),
        &[
            ("fields @message", messages),
            ("fields @timestamp, @message | sort @timestamp asc | limit 2", "E1; E2"),
            ("filter ms > 100", "E2"),
            ("fields ms | filter ms > 10 | sort ms", "ms=12; ms=30; ms=250.5"),
            (r#"fields level, ms | filter level = "ERROR""#, "level=ERROR|ms=250.5"),
            ("filter level = 'INFO' and ms < 10", "E3"),
            (r#"filter level in ["INFO","WARN"] | fields ms | sort ms desc"#, "ms=30; ms=12; ms=7"),
            (r#"filter level not in ["INFO"]"#, "E5; E4; E2"),
            (r#"filter level != "INFO""#, "E5; E4; E2"),
            (r#"filter @message like "ERROR""#, "E5; E2"),
            (r#"filter @message like "error""#, ""),
            ("filter @message like /(?i)error/", "E5; E2"),
            (r#"filter @message =~ /"status":2\d\d/"#, "E3; E1"),
            ("filter @message not like /level/", "E5"),
            (r"filter status like /2\d\d/", "E3; E1"),
            ("filter status in [200,404] | fields status", "status=404; status=200; status=200"),
            (r#"filter not (level = "INFO") or ms = 7"#, "E5; E4; E3; E2"),
            (r#"filter level="INFO" or level="WARN" and ms > 100"#, "E3; E1"),
            ("filter ispresent(n)", ""),
            ("fields ok | filter ispresent(ok)", "ok=1"),
            ("fields `foo-bar` | filter ispresent(`foo-bar`)", "foo-bar=z"),
            ("fields @@x | filter ispresent(@@x)", "@@x=q"),
            (
                r#"fields user.tags.0, user.tags.1 | filter user.id="u1" | sort @timestamp asc"#,
                "user.tags.0=x|user.tags.1=y; ",
            ),
            ("fields @log, @logStream | limit 1", "@log=111111111111:/app|@logStream=s1"),
            ("fields level | fields route | filter ms=12", "level=INFO|route=/a"),
            ("fields level | display route | filter ms=12", "route=/a"),
            ("fields level | display level | display ms | filter ms=12", "ms=12"),
            ("fields ispresent(ip) as p | sort @timestamp desc | limit 2", "p=0; p=0"),
            ("# note\nfields ms\n# | filter ms = 7\n| filter ms = 30", "ms=30"),
            ("FIELDS ms | FILTER ms = 30 | LIMIT 1", "ms=30"),
            ("fields ms as x | filter x = 7", "x=7"),
            ("where ms = 7", "E3"),
        ],
    );
}

#[test]
fn groups_are_counted() {
    let bins = ["00:09", "00:05", "00:04", "00:01", "00:00"];
    let minutes = bins.map(|bin| format!("bin(300s)=2024-01-01 {bin}:00.000|c=1")).join("; ");
    check(
        &app(),
        &[
            ("stats count(*)", "count(*)=5"),
            ("stats count() as n", "n=5"),
            (
                "stats count(ms) as n, sum(ms) as s, avg(ms) as a, min(ms), max(ms)",
                "n=4|s=299.5|a=74.875|min(ms)=7|max(ms)=250.5",
            ),
            (
                "filter ispresent(route) | stats avg(ms) as a by route | sort route asc",
                "route=/a|a=131.25; route=/b|a=18.5",
            ),
            (
                "stats count(*) as c by bin(5m)",
                "bin(5m)=2024-01-01 00:05:00.000|c=2; bin(5m)=2024-01-01 00:00:00.000|c=3",
            ),
            (
                "stats count(*) as c by bin(5m) as t | sort t asc",
                "t=2024-01-01 00:00:00.000|c=3; t=2024-01-01 00:05:00.000|c=2",
            ),
            ("stats count(*) as c by bin(300s)", &minutes),
            ("stats count(*) as c by bin(1h)", "bin(1h)=2024-01-01 00:00:00.000|c=5"),
            ("stats count_distinct(level)", "count_distinct(level)=3"),
            ("stats sortsFirst(level) as a, sortsLast(level) as b", "a=ERROR|b=WARN"),
            ("filter ispresent(level) | stats earliest(level) as e, latest(level) as l", "e=INFO|l=WARN"),
            ("stats earliest(@timestamp) as f", "f=1704067201000"),
            ("stats sum(ms)/count(*) as x", "x=59.9"),
            ("stats count(*) as c by level | sort c desc | limit 1", "level=INFO|c=2"),
            (
                r#"stats count(*) as c by level, route | filter level="INFO" | sort route asc"#,
                "level=INFO|route=/a|c=1; level=INFO|route=/b|c=1",
            ),
            ("filter ispresent(route) | stats sum(ms) as s by route | stats max(s) as m, min(s) as k", "m=262.5|k=37"),
            ("stats pct(ms, 100) as p", "p=250.5"),
            ("filter ms < 0 | stats count(*) as c", ""),
            ("filter ms < 100 | stats avg(ms)", "avg(ms)=16.3333"),
            (
                "stats sum(ms) as s by route | sort route | fields s / 2 as h",
                "route=/a|s=262.5|h=131.25; route=/b|s=37|h=18.5; ",
            ),
            ("stats count(*) as c by bin(5m) offset 4m | filter c = 1", "bin(5m)=2024-01-01 00:09:00.000|c=1"),
            ("sort ms desc | limit 4 | stats count(*) as c, sum(ms) as s", "c=4|s=292.5"),
        ],
    );
}

#[test]
fn functions_compute() {
    check(
        &app(),
        &[
            (r#"fields concat(level,"-",status) as x | filter ms=250.5"#, "x=ERROR-500"),
            ("fields ms*2 as d, ms/7 as q, ms%5 as r, 2^3 as p | filter ms=12", "d=24|q=1.7143|r=2|p=8"),
            (
                "fields abs(ms-20) as a, ceil(ms/5) as c, floor(ms/5) as f, sqrt(16) as s, greatest(ms,20) as g, least(ms,20) as l, log(1) as z | filter ms=12",
                "a=8|c=3|f=2|s=4|g=20|l=12|z=0",
            ),
            (r#"fields ltrim("xyZxyfooxyZ","xyZ") as a | limit 1"#, "a=fooxyZ"),
            (r#"fields rtrim("xyZfooxyxyZ","xyZ") as a | limit 1"#, "a=xyZfoo"),
            (r#"fields trim("xyZxyfooxyxyZ","xyZ") as a | limit 1"#, "a=foo"),
            (r#"fields substr("xyZfooxyZ",3,3) as a, substr("xyZfooxyZ",3) as b | limit 1"#, "a=foo|b=fooxyZ"),
            (r#"fields replace(level,"ERR","err") as a | filter ms=250.5"#, "a=errOR"),
            (r#"fields strcontains("abc","b") as a, strcontains("abc","B") as b | limit 1"#, "a=1|b=0"),
            (r#"fields strlen("héé") as a, toupper("aé") as b | limit 1"#, "a=3|b=AÉ"),
            (r#"fields isempty(zz) as a, isblank("  ") as b, isempty("x") as c | limit 1"#, "a=1|b=1|c=0"),
            (r#"fields coalesce(zz, level, "none") as a | sort @timestamp asc | limit 1"#, "a=INFO"),
            (r#"filter isIpInSubnet(ip,"10.0.0.0/8") | fields ip | sort ip asc"#, "ip=10.0.0.5; ip=10.0.0.6"),
            (
                r#"fields isValidIp("::1") as a, isValidIpV4("::1") as b, isIpv6InSubnet("2001:db8::9","2001:db8::/32") as c | limit 1"#,
                "a=1|b=0|c=1",
            ),
            (
                "fields datefloor(@timestamp,1h) as a, dateceil(@timestamp,1h) as b | filter ms=12",
                "a=2024-01-01 00:00:00.000|b=2024-01-01 01:00:00.000",
            ),
            (
                "fields toMillis(@timestamp) as a, fromMillis(1704067200000) as b | filter ms=12",
                "a=1704067201000|b=2024-01-01 00:00:00.000",
            ),
            ("filter toMillis(@timestamp) >= 1704067500000", "E5; E4"),
            ("fields 2 ^ 3 as a, 10 % 3 as b | limit 1", "a=8|b=1"),
            (
                r#"fields if(ms>100,"slow","fast") as s | filter ispresent(ms) | sort @timestamp asc | limit 2"#,
                "s=fast; s=slow",
            ),
            (r#"fields case(ms<10,"a",ms<20,"b","c") as s | filter ispresent(ms) | sort ms"#, "s=a; s=b; s=c; s=c"),
            (
                r#"fields base64encode("héj") as a, base64decode("aMOpag==") as b, urlencode("a b/é") as c, urldecode("a+b%2F%C3%A9") as d | limit 1"#,
                "a=aMOpag==|b=héj|c=a%20b%2F%C3%A9|d=a b/é",
            ),
            (
                r#"fields hexToDec("0xff") as a, decToHex(255) as b, hexToAscii("6869") as c | limit 1"#,
                "a=255|b=ff|c=hi",
            ),
            (r#"fields regexReplace(route, /[ab]/, "$") as a | filter ms = 7"#, "a=/$"),
            (r#"fields split("a,b,c", ",")[1] as a, jsonArraySize(split("a,b", ",")) as b | limit 1"#, "a=b|b=2"),
            (r#"fields jsonParse(@message).user.tags[1] as a | filter ms = 12"#, "a=y"),
            (
                "fields round(haversine(0, 0, 0, 180)) as a, round(2.345, 2) as b, isNumeric(level) as c | filter ms = 7",
                "a=20015|b=2.35|c=0",
            ),
            (
                "fields now() as a, queryTimeRange() as b, queryStartTime() = 1704067200000 as c | limit 1",
                "a=1704070800|b=3600000|c=1",
            ),
            ("fields 1/0 as a, level * 2 as b, -ms as c | filter ms = 7", "c=-7"),
            (
                r#"fields isPrivateIP(ip) as a, isPublicIP(ip) as b, ipv4ToNumber("0.0.1.0") as c | filter ms = 7"#,
                "a=1|b=0|c=256",
            ),
        ],
    );
}

#[test]
fn values_are_taken_out_and_lists_apart() {
    check(
        &app(),
        &[
            (
                r#"parse @message "user=*, method:*, latency := *" as u, m, l | filter ispresent(u)"#,
                "u=bob|m=GET|l=216",
            ),
            (
                r#"parse @message "[*] *" as lt, lm | filter lt="ERROR" | display lm"#,
                "lm=user=bob, method:GET, latency := 216",
            ),
            (r"parse @message /latency := (?<lat>\d+)/ | stats avg(lat) as a", "a=216"),
            (r#"parse route "/*" as r | stats count(r) as c by r | filter r="a""#, "r=a|c=2"),
            (r#"parse "user=*," as u | filter u="bob""#, "u=bob"),
            (r#"parse @message /"(\w)"/ multi as t | filter ms = 12"#, "t=x; t=y"),
            (
                "fields @timestamp, level | sort @timestamp desc | dedup level",
                "@timestamp=2024-01-01 00:09:00.500; \
                 @timestamp=2024-01-01 00:05:00.000|level=WARN; \
                 @timestamp=2024-01-01 00:04:59.999|level=INFO; \
                 @timestamp=2024-01-01 00:01:02.000|level=ERROR",
            ),
            ("filter ispresent(level) | fields level | dedup level | limit 1", "level=WARN"),
            ("fields ms | sort ms | dedup route | limit 2", "ms=7; ms=12"),
            ("fields jsonParse(@message) as j | unnest j.user.tags into t | display t | filter ms=12", "t=x; t=y"),
            (r#"fields jsonParse(@message) as j | fields j.user.id as i | filter i="u2" | display i"#, "i=u2"),
            ("filter ispresent(ms) | sort ms | tail 2 | fields ms, level", "ms=30|level=WARN; ms=250.5|level=ERROR"),
            ("sort ms | limit 3 | filter ms > 10 | fields ms | sort ms desc", "ms=30; ms=12"),
            ("limit 2 | limit any 1", "E5"),
        ],
    );
}

#[test]
fn platform_lines_have_fields() {
    check(
        &lambda(),
        &[
            (
                r#"filter @type="REPORT" | fields @requestId, @duration, @billedDuration, @memorySize, @maxMemoryUsed, @initDuration | sort @duration desc"#,
                "@requestId=r1|@duration=102.25|@billedDuration=103|@memorySize=128000000|@maxMemoryUsed=70000000|@initDuration=150.1; \
                 @requestId=r2|@duration=2.03|@billedDuration=3|@memorySize=512000000|@maxMemoryUsed=70000000",
            ),
            (
                r#"filter @type="REPORT" | stats max(@memorySize/1000/1000) as p, avg(@duration) as a, sum(@billedDuration) as b"#,
                "p=512|a=52.14|b=106",
            ),
            (r#"filter @type="REPORT" | stats max(@maxMemoryUsed/1024/1024) as m"#, "m=66.7572"),
            (
                r#"filter @type="REPORT" | stats max(@memorySize/1024/1024) - max(@maxMemoryUsed/1024/1024) as over by @memorySize | filter @memorySize=128000000"#,
                "@memorySize=128000000|over=55.3131",
            ),
            ("stats count(*) as c by @type | sort c desc | limit 1", "@type=REPORT|c=2"),
            ("filter ispresent(@initDuration) | stats count(*) as cold", "cold=1"),
            (
                r#"filter @requestId="r1" | fields @type | sort @timestamp asc"#,
                "@type=START; ; @type=END; @type=REPORT",
            ),
            ("filter @message like /hello/ | fields @message", "@message=E2"),
        ],
    );
}

#[test]
fn what_makes_no_sense_is_refused_in_its_place() {
    for (query, message) in [
        ("bogus x", "unexpected symbol found bogus at line 1 and position 0"),
        ("fields @timestamp | count()", "unexpected symbol found count at line 1 and position 20"),
        ("fields a,\n avg(ms)", "No aggregation function expression allowed: fieldsa,avg(ms) ([0,17])"),
        ("fields @message | dedup level | sort @timestamp", "unexpected symbol found sort at line 1 and position 32"),
        ("stats count(*) by bin(1d) | sort bin(1d) desc", "unexpected symbol found ( at line 1 and position 36"),
        ("stats count(*) by a | limit 5 | stats count(*)", "unexpected symbol found stats at line 1 and position 32"),
        (
            "stats count(*) as c | stats max(c) as d | stats max(d)",
            "unexpected symbol found stats at line 1 and position 42",
        ),
        (r#"parse @message "* *" as a"#, "Number of wildcards and of names in parse are not the same ([0,24])"),
        (r#"parse @message "x*" as u | fields u"#, "Ephemeral field is already defined: u ([27,34])"),
        (r#"parse "x*" as x | stats latest(x) as x"#, "Ephemeral field is already defined: x ([18,37])"),
        ("fields s | fields if(a, b, c) as s | stats count(*) by s", "Unknown symbols found in or after stats: s"),
        (r#"filter level = "x"#, "unexpected symbol found \"x at line 1 and position 15"),
        ("limit abc", "unexpected symbol found abc at line 1 and position 6"),
        ("limit 0", "unexpected symbol found 0 at line 1 and position 6"),
        ("limit 100001", "unexpected symbol found 100001 at line 1 and position 6"),
        (
            "stats sum(ms) as s by route | stats max(strlen(@message)) as m",
            "Unknown symbols found in or after stats: @message",
        ),
        ("stats level by route", "Unknown symbols found in or after stats: level"),
        ("stats sum(avg(ms))", "unexpected symbol found ms at line 1 and position 14"),
        (
            r#"filter level="x" | diff"#,
            "Diff compilation Failed : Diff operation has to be used after Pattern ([19,22])",
        ),
        ("fields a | pattern @message", "The command pattern is not supported yet ([11,17])"),
        ("fields nope(a)", "unexpected symbol found nope at line 1 and position 7"),
        ("fields strlen(a, b)", "Invalid number of arguments for strlen ([7,18])"),
        ("fields a like /(/", "Query cannot be compiled: invalid regular expression ([14,16])"),
        ("fields a | ", "unexpected symbol found <EOF> at line 1 and position 11"),
        ("", "unexpected symbol found <EOF> at line 1 and position 0"),
    ] {
        let refused = Query::parse(query).map(|_| ()).expect_err(query);
        assert_eq!(refused.message, message, "{query}");
        assert!(refused.start <= refused.end, "{query}");
    }
}

#[test]
fn a_query_is_bounded() {
    let deep = |depth: usize| format!("fields {}1{} as x", "(".repeat(depth), ")".repeat(depth));
    assert!(Query::parse(&deep(limits::NESTING_MAX)).is_ok());
    for long in [
        deep(limits::NESTING_MAX + 1),
        format!("filter {}a", "not ".repeat(2_000)),
        format!("fields {}a as x", "-".repeat(2_000)),
        format!("fields {}a", "1+".repeat(limits::NODES_MAX)),
        format!("filter a in [{}1]", "1,".repeat(limits::NODES_MAX)),
        format!("fields a{}", "|fields a".repeat(limits::COMMANDS_MAX)),
        format!("filter {}1", "a like /b/ or ".repeat(limits::PATTERNS_MAX + 1)),
        format!("fields {}", "a".repeat(limits::QUERY_CHARS_MAX)),
        r"filter a like /\w{500}{500}/".to_owned(),
    ] {
        assert!(Query::parse(&long).is_err(), "{}", &long[..40]);
    }
    let doubled: String = (1..90).map(|level| format!("|fields concat(a{}, a{0}) as a{level}", level - 1)).collect();
    let query = format!(r#"fields "aa" as a0 {doubled} | display strlen(a18), strlen(a89)"#);
    assert_eq!(shown(&query, &app()[..1]), ["strlen(a18)=524288|strlen(a89)=0"]);
}

#[test]
fn what_is_held_is_bounded() {
    let run = |query: &str, limits: Limits, count: u32| {
        let mut run = Run::new(Arc::new(Query::parse(query).unwrap()), WINDOW, limits);
        for number in 0..count {
            let message = format!(r#"{{"k":"k{number}","t":"{}"}}"#, "x".repeat(1_000));
            let time = i64::from(number * 7_919 % count);
            let event = Event { message: &message, timestamp_ms: time, pointer: number.into(), ..app()[0] };
            run.push(&event);
        }
        run.finish()
    };
    let small = Limits { bytes_max: 100_000, ..LIMITS };
    let rows = run("fields @message", small, 1_000);
    assert!(rows.is_cut && (30..100).contains(&rows.rows.len()) && rows.matched == 1_000, "{}", rows.rows.len());
    let newest = run("fields @message", Limits { rows_max: rows.rows.len(), ..LIMITS }, 1_000);
    assert_eq!((newest.is_cut, &newest.rows), (false, &rows.rows));
    let groups = run("stats count(*) as c by k", Limits { groups_max: 10, ..LIMITS }, 1_000);
    assert!(groups.is_cut && groups.rows.len() == 10, "{groups:?}");
    let values = run("stats latest(t) as c by k", small, 1_000);
    assert!(values.is_cut && (10..100).contains(&values.rows.len()), "{}", values.rows.len());
}

#[test]
fn a_window_of_rows_is_the_whole_answers_beginning() {
    let limit = |limit: usize, query: &str| {
        let mut run = Run::new(Arc::new(Query::parse(query).unwrap()), WINDOW, Limits { rows_max: limit, ..LIMITS });
        app().iter().for_each(|event| run.push(event));
        run.finish()
    };
    assert_eq!((limit(2, "fields ms").rows.len(), limit(2, "fields ms").matched), (2, 5));
    assert_eq!(limit(3, "fields ms | limit 2").rows.len(), 2);
    assert_eq!(limit(1, "limit 4 | stats count(*) as c").rows, [[("c".to_owned(), "4".to_owned())]]);
    let mut run = Run::new(Arc::new(Query::parse("limit any 2").unwrap()), WINDOW, LIMITS);
    let satisfied: Vec<bool> = app()
        .iter()
        .map(|event| {
            run.push(event);
            run.is_satisfied()
        })
        .collect();
    assert_eq!(satisfied, [false, true, true, true, true]);
}

#[test]
fn the_fields_of_an_event_are_told() {
    let names = |event: &Event<'_>| {
        discover::all(event).into_iter().skip(6).map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>()
    };
    assert_eq!(names(&app()[3]), ["level=WARN", "route=/b", "ms=30", "status=404", "foo-bar=z", "@@x=q", "ok=1"]);
    assert_eq!(names(&lambda()[0]), ["@type=START", "@requestId=r1"]);
    let message = r#"{"time":"t","type":"platform.report","record":{"requestId":"r9","metrics":{"durationMs":1.5,"memorySizeMB":128}}}"#;
    let report = Event { message, ..lambda()[0] };
    let expected = ["time=t", "@type=REPORT", "type=platform.report", "@requestId=r9", "record.requestId=r9"];
    assert_eq!(names(&report)[..5], expected);
    assert_eq!(names(&report)[5..7], ["@duration=1.5", "record.metrics.durationMs=1.5"]);
    assert_eq!(names(&report)[7..], ["@memorySize=128000000", "record.metrics.memorySizeMB=128"]);
    let embedded = Event { message: "2024-01-01T00:00:10.100Z\tr1\tINFO\tgot {\"a\":1} of\n", ..app()[0] };
    assert_eq!(names(&embedded), ["@requestId=r1", "a=1"]);
    assert!(names(&Event { message: "got {\"a\":1}", ..app()[0] }).is_empty());
    assert!(names(&Event { message: "{\"a\":1} of", ..app()[0] }).is_empty());
}

#[test]
fn rows_of_an_event_are_bounded() {
    let list = vec!["1"; 900].join(",");
    let message = format!(r#"{{"l":[{list}]}}"#);
    let query = "fields jsonParse(@message).l as l | unnest l into a | unnest l into b | stats count(*) as c";
    let event = Event { message: &message, ..app()[0] };
    assert_eq!(shown(query, &[event]), [format!("c={}", limits::ROWS_PER_EVENT_MAX + 1)]);
}
