//! Whole requests: AWS's documented examples, and the words of what is refused.

use super::label::Place;
use super::*;

const PLACE: Place<'_> = Place { account_id: "123456789012", region: "us-east-1", now_s: 0, offset_s: 0 };

fn source(name: &str, dimensions: &[(&str, &str)]) -> Source {
    let dimensions = dimensions.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
    Source { metric: Metric::new("n", name, dimensions), statistic: "Sum".into(), period_s: 60 }
}

/// `30 - 0` has points in the first and the third minute from `start_s`.
fn series(name: &str, points: &str, start_s: i64) -> Series {
    let slots = (0..).zip(points.split_whitespace());
    let points = slots.filter_map(|(slot, text)| Some((start_s + slot * 60, text.parse().ok()?))).collect();
    Series::fetched(source(name, &[]), points)
}

fn shown(series: &Series, window: Window) -> String {
    let slots = window.moments(60).map(|moment| match series.points.iter().find(|(at, _)| *at == moment) {
        Some((_, value)) => value.to_string(),
        None => "-".into(),
    });
    slots.collect::<Vec<_>>().join(" ")
}

fn metric(id: &str) -> Query<'_> {
    Query { id, label: None, asks: Asks::Metric { period_s: 60 }, is_returned: false }
}

fn expression<'a>(id: &'a str, text: &'a str) -> Query<'a> {
    Query { id, label: None, asks: Asks::Expression { text, period_s: None }, is_returned: true }
}

/// The value of an expression over metrics, an array as `label=values; …`; or what it is refused with.
fn of(metrics: &[(&str, &str)], start_s: i64, text: &str) -> String {
    let mut queries: Vec<Query<'_>> = metrics.iter().map(|(id, _)| metric(id)).collect();
    queries.push(expression("e1", text));
    let plan = match Plan::new(&queries) {
        Ok(plan) => plan,
        Err(refused) => return refused.to_string(),
    };
    let slots = metrics.iter().map(|(_, points)| points.split_whitespace().count()).max().unwrap_or(3);
    let window = Window { start_s, end_s: start_s + 60 * slots as i64 };
    let fetched = metrics.iter().map(|(id, points)| Some(series(id, points, start_s))).chain([None]).collect();
    match plan.evaluate(window, &PLACE, fetched, vec![]).unwrap().pop().unwrap() {
        Value::Series(series) => shown(&series, window),
        Value::Array(array) => {
            let each = array.iter().map(|series| format!("{}={}", series.label, shown(series, window)));
            each.collect::<Vec<_>>().join("; ")
        }
        Value::Scalar(value) => panic!("{text} is {value}"),
    }
}

fn check(metrics: &[(&str, &str)], cases: &[(&str, &str)]) {
    for (text, expected) in cases {
        assert_eq!(of(metrics, 0, text), *expected, "{text}");
    }
}

#[test]
fn operators_do_as_documented() {
    check(
        &[("m1", "30 20 0 0"), ("m2", "20 - 20 -")],
        &[
            ("m1 < m2", "0 0 1 0"),
            ("m1 >= 30", "1 0 0 0"),
            ("m1 > 15 AND m2 > 15", "1 0 0 0"),
            ("m1 > 15 && m2 > 15", "1 0 0 0"),
            ("m1 > 25 || m2 > 15", "1 0 1 0"),
            ("m1 != m2", "1 1 1 0"),
            ("m1 == 0", "0 0 1 1"),
            ("0 <= m2", "1 - 1 -"),
            ("m1 + m2", "50 20 20 0"),
            ("m1 - m2", "10 20 -20 0"),
            ("m1 / m2", "1.5 - 0 -"),
            ("m2 * 2", "40 - 40 -"),
            ("m2 ^ 2", "400 - 400 -"),
            ("-m2", "-20 - -20 -"),
            ("m1 - AVG(m1)", "17.5 7.5 -12.5 -12.5"),
            ("60 / [m1, m2]", "m1=2 3 - -; m2=3 - 3 -"),
            ("[m1, m2] + m2", "m1=50 20 20 0; m2=40 - 40 -"),
            ("m2 - [m1, m2]", "m1=-10 -20 20 0; m2=0 - 0 -"),
            ("SUM(-[m1, m2])", "-50 -20 -20 0"),
            ("METRICS() * 100", "m1=3000 2000 0 0; m2=2000 - 2000 -"),
            ("TIME_SERIES(7 - 2 * 3)", "1 1 1 1"),
            ("TIME_SERIES(1 / 0)", "- - - -"),
            ("m1 + 1 / 0", "- - - -"),
        ],
    );
}

#[test]
fn arrays_are_folded_moment_by_moment() {
    check(
        &[("m1", "30 20 0 0 -"), ("m2", "20 - 20 - -")],
        &[
            ("SUM([m1, m2])", "50 20 20 0 -"),
            ("AVG(METRICS())", "25 10 10 0 -"),
            ("MIN(METRICS())", "20 20 0 0 -"),
            ("MAX(METRICS())", "30 20 20 0 -"),
            ("DATAPOINT_COUNT(METRICS())", "2 1 2 1 -"),
            ("STDDEV(METRICS())", "5 10 10 0 -"),
            ("SUM(METRICS(\"2\"))", "20 - 20 - -"),
            ("SUM([METRICS('1'), METRICS('2'), m2])", "70 20 40 0 -"),
            ("SUM(METRICS('none'))", "- - - - -"),
        ],
    );
}

#[test]
fn conditions_do_as_documented() {
    check(
        &[("m1", "1 1 0 0 -"), ("m2", "30 - 0 0 30"), ("m3", "0 0 20 - 20")],
        &[
            ("IF(m1, m2, m3)", "30 0 20 - -"),
            ("IF(m1, 5, m3)", "5 5 20 - -"),
            ("IF(m1, m2, 5)", "30 0 5 5 -"),
            ("IF(m1, m2)", "30 0 - - -"),
            ("IF(m3 > 10, 1, 0)", "0 0 1 - 1"),
            ("IF(-m1, 1)", "1 1 - - -"),
            ("IF(1, m2, m3)", "30 - 0 0 30"),
            ("IF(0, m2, m3)", "0 0 20 - 20"),
            ("IF(0, m2)", "- - - - -"),
            ("IF(1, 5, m3)", "5 5 5 5 5"),
            ("IF(AVG(m3) > 5, m1, m2)", "1 1 0 0 -"),
            ("TIME_SERIES(IF(1, 2, 3))", "2 2 2 2 2"),
            ("IF(FIRST(SORT(METRICS(), AVG, DESC)) > 10, 1, 0)", "1 - 0 0 1"),
            ("IF(METRICS() > 10, 1)", "m1=- - - - -; m2=1 - - - 1; m3=- - 1 - 1"),
            ("IF(m1, METRICS(), 7)", "m1=1 1 7 7 -; m2=30 0 7 7 -; m3=0 0 7 7 -"),
        ],
    );
}

#[test]
fn functions_of_points_do_as_documented() {
    check(
        &[("m1", "1 - 4 -2 -"), ("m2", "- 7 - - 1"), ("m3", "1 10 100 0 -")],
        &[
            ("ABS(m1)", "1 - 4 2 -"),
            ("FLOOR(m1 / 4)", "0 - 1 -1 -"),
            ("CEIL(m1 / 4 + 1)", "2 - 2 1 -"),
            ("LOG10(m3)", "0 1 2 - -"),
            ("LOG(m3) - LOG(m3)", "0 0 0 - -"),
            ("ABS([m1, m2])", "m1=1 - 4 2 -; m2=- 7 - - 1"),
            ("DIFF(m1)", "- - 3 -6 -"),
            ("DIFF_TIME(m1)", "- - 120 60 -"),
            ("RATE(m1)", "- - 0.025 -0.1 -"),
            ("RUNNING_SUM([m1, m2])", "m1=1 - 5 3 -; m2=- 7 - - 8"),
            ("FILL(m1, 0)", "1 0 4 -2 0"),
            ("FILL(m1, MIN(m1))", "1 -2 4 -2 -2"),
            ("FILL(m1, REPEAT)", "1 1 4 -2 -2"),
            ("FILL(m1, LINEAR)", "1 2.5 4 -2 -"),
            ("FILL([m1, m2], REPEAT)", "m1=1 1 4 -2 -2; m2=- 7 7 7 1"),
            ("FILL(m2, LINEAR)", "- 7 5 3 1"),
            ("FILL(METRICS('1'), m2)", "m1=1 7 4 -2 1"),
            ("TIME_SERIES(SUM(m1))", "3 3 3 3 3"),
            ("TIME_SERIES(AVG(m1))", "1 1 1 1 1"),
            ("TIME_SERIES(MAX(m1))", "4 4 4 4 4"),
            ("TIME_SERIES(MIN(m1))", "-2 -2 -2 -2 -2"),
            ("TIME_SERIES(DATAPOINT_COUNT(m1))", "3 3 3 3 3"),
            ("m1 / PERIOD(m1) * 60", "1 - 4 -2 -"),
            ("m1 / METRIC_COUNT(METRICS()) * 3", "1 - 4 -2 -"),
        ],
    );
    check(&[("m1", "2 4 4 4 5 5 7 9")], &[("m1 * 0 + STDDEV(m1)", "2 2 2 2 2 2 2 2")]);
    check(
        &[("m1", "- - -")],
        &[
            ("FILL(m1, 0)", "0 0 0"),
            ("FILL(m1, REPEAT)", "- - -"),
            ("TIME_SERIES(AVG(m1))", "- - -"),
            ("TIME_SERIES(SUM(m1))", "0 0 0"),
            ("IF(MAX(m1), 1, m1)", "- - -"),
        ],
    );
}

#[test]
fn functions_of_arrays_do_as_documented() {
    check(
        &[("m1", "1 2"), ("m2", "- -"), ("m3", "9 -"), ("m4", "4 4")],
        &[
            ("FIRST(METRICS())", "1 2"),
            ("LAST(METRICS())", "4 4"),
            ("FIRST(METRICS('none'))", "- -"),
            ("REMOVE_EMPTY(METRICS())", "m1=1 2; m3=9 -; m4=4 4"),
            ("SLICE(METRICS(), 2)", "m3=9 -; m4=4 4"),
            ("SLICE(METRICS(), 1, 3)", "m2=- -; m3=9 -"),
            ("SLICE(METRICS(), -1, 1)", "m1=1 2"),
            ("SLICE(METRICS(), 3, 2)", ""),
            ("SORT(METRICS(), AVG, DESC)", "1 - m3=9 -; 2 - m4=4 4; 3 - m1=1 2; 4 - m2=- -"),
            ("SORT(METRICS(), MAX, ASC, 2)", "1 - m1=1 2; 2 - m4=4 4"),
            ("SORT([m1, m4], SUM, DESC, 1)", "1 - m4=4 4"),
            ("SLICE(SORT(METRICS(), MIN, DESC), 0, 1)", "1 - m3=9 -"),
        ],
    );
}

#[test]
fn clocks_show_utc_everywhere_in_the_window() {
    // A Sunday, a minute before midnight.
    let start_s = 1_795_391_940;
    for (text, expected) in [
        ("MINUTE(m1)", "59 0 1"),
        ("HOUR(m1)", "23 0 0"),
        ("DAY(m1)", "7 1 1"),
        ("DATE(m1)", "22 23 23"),
        ("MONTH(m1)", "11 11 11"),
        ("YEAR(m1)", "2026 2026 2026"),
        ("EPOCH(m1)", "1795391940 1795392000 1795392060"),
        ("IF(DAY(m1) < 6, m1)", "- 0 8"),
    ] {
        assert_eq!(of(&[("m1", "5 - 8")], start_s, text), expected, "{text}");
    }
}

#[test]
fn what_is_wrong_is_refused_in_aws_words() {
    for (text, expected) in [
        ("m1 +", "Invalid syntax"),
        ("ASC", "Invalid syntax"),
        ("'text'", "Invalid syntax"),
        ("(SELECT AVG(Load) FROM n) * 2", "Invalid syntax"),
        ("SELECT * FROM n", "Invalid syntax"),
        ("SELECT AVG(Load) FROM n WHERE Team > 'A'", "Invalid syntax near '> 'A''"),
        ("search('x', 'Sum', 60)", "Function 'search' not found"),
        ("ANOMALY_DETECTOR(m1)", "Function 'ANOMALY_DETECTOR' not found"),
        ("ANOMALY_DETECTION_BAND(m1, 2)", "Function 'ANOMALY_DETECTION_BAND' is not supported"),
        ("m1 / SERVICE_QUOTA(m1)", "Function 'SERVICE_QUOTA' is not supported"),
        ("m1 + m9", "ID 'm9' not found"),
        ("e1 + 1", "Expressions must not use each other in a circle"),
        ("AVG(m1)", "The result must be a time series or an array of time series"),
        ("METRICS() + METRICS()", "Unsupported operand type(s) for +: '[TimeSeries[], TimeSeries[]]'"),
        ("m1 > 'x'", "Unsupported operand type(s) for >: '[TimeSeries, String]'"),
        ("SUM(1)", "Unsupported operand type(s) for SUM: '[Scalar]'"),
        ("[m1, 2]", "Unsupported operand type(s) for []: '[TimeSeries, Scalar]'"),
        ("IF(m1)", "Unsupported operand type(s) for IF: '[TimeSeries]'"),
        ("FILL(m1, NEVER)", "Unsupported operand type(s) for FILL: '[TimeSeries, Keyword]'"),
        ("SORT(METRICS(), LOG, ASC)", "Unsupported operand type(s) for SORT: '[TimeSeries[], Keyword, Keyword]'"),
        ("SEARCH()", "Unsupported operand type(s) for SEARCH: '[]'"),
        ("SEARCH('{n}')", "Unsupported operand type(s) for SEARCH: '[String]'"),
        ("SEARCH('x', 'Sum', '60')", "Unsupported operand type(s) for SEARCH: '[String, String, String]'"),
        ("SEARCH('x', 'Sum', 60, 7)", "Unsupported operand type(s) for SEARCH: '[String, String, Scalar, Scalar]'"),
        ("SEARCH('x', 'Sum', 61)", "The parameter Period must be a multiple of 60."),
        ("SEARCH('x', 'Sum', 60.5)", "The parameter Period must be a multiple of 60."),
        ("SEARCH('x', 'Sum', 7)", "The parameter Period must be a value in the set [ 1, 5, 10, 20, 30 ]."),
        (":", "Invalid syntax"),
    ] {
        assert_eq!(of(&[("m1", "1")], 0, text), format!("Error in expression 'e1': {expected}"), "{text}");
    }
    for (text, expected) in [
        ("SEARCH('x', 'Sum')", "Period is a required field when using SEARCH function within an expression"),
        ("SEARCH('x', 'Sum', 0)", "SEARCH arguments must be '[String, String, Positive Number]'"),
        ("SEARCH('x', 'Sum', -60)", "SEARCH arguments must be '[String, String, Positive Number]'"),
        ("SEARCH('{\"n\"', 'Sum', 60)", "Invalid SEARCH parameter: {\"n\""),
        ("SELECT AVG(m) FROM n", "Period is a required field when using query within an expression"),
    ] {
        assert_eq!(of(&[("m1", "1")], 0, text), expected, "{text}");
    }
}

#[test]
fn requests_as_a_whole_are_refused() {
    let refused = |queries: &[Query<'_>]| Plan::new(queries).unwrap_err().to_string();
    assert_eq!(
        refused(&[metric("m1"), expression("m1", "1")]),
        "The values for parameter id in MetricDataQueries are not unique."
    );
    assert_eq!(
        refused(&[expression("b", "x"), metric("m"), expression("a", "FOO(m)")]),
        "Error in expression 'b': ID 'x' not found\nError in expression 'a': Function 'FOO' not found"
    );
    assert_eq!(
        refused(&[expression("a", "b"), expression("b", "FILL(c, 0)"), expression("c", "a + 1")]),
        "Error in expression 'a': Expressions must not use each other in a circle"
    );
    let select = |id| Query {
        asks: Asks::Expression { text: "SELECT AVG(m) FROM n", period_s: Some(60) },
        ..expression(id, "")
    };
    assert_eq!(refused(&[select("a"), select("b")]), "Maximum number of queries (1) exceeded");
    let long = format!("m{}", "+m".repeat(EXPRESSION_CHARS_MAX / 2));
    assert_eq!(refused(&[metric("m"), expression("a", &long)]), "Error in expression 'a': Invalid syntax");
    let searches = format!("[{}]", vec!["SEARCH('x','Sum',60)"; 51].join(","));
    let queries = [expression("a", &searches), expression("b", &searches)];
    assert!(Plan::new(&queries[..1]).is_ok());
    assert_eq!(refused(&queries), "Maximum number of searches (100) exceeded");
}

#[test]
fn expressions_use_each_other_in_any_order() {
    let queries = [
        expression("last", "sum / 2"),
        Query { label: Some("total ${MAX}"), is_returned: false, ..expression("sum", "SUM(both)") },
        Query { is_returned: false, ..expression("both", "[mean_difference, m1]") },
        Query { is_returned: false, ..expression("mean_difference", "m1 - mean") },
        Query { is_returned: false, ..expression("mean", "AVG(m1)") },
        Query { is_returned: true, ..metric("m1") },
        Query { label: Some("half"), ..expression("again", "sum * 0.5") },
    ];
    let plan = Plan::new(&queries).unwrap();
    assert_eq!((plan.is_array(2), plan.is_array(0), plan.period_s(0)), (true, false, 60));
    let window = Window { start_s: 0, end_s: 120 };
    let mut fetched = vec![None; queries.len()];
    fetched[5] = Some(series("Errors", "2 6", 0));
    let values = plan.evaluate(window, &PLACE, fetched, vec![]).unwrap();
    let labelled = |at: usize| match &values[at] {
        Value::Series(series) => format!("{}: {}", series.label, shown(series, window)),
        other => format!("{other:?}"),
    };
    assert_eq!(labelled(0), "last: 0 4");
    assert_eq!(labelled(1), "total 8: 0 8");
    assert_eq!(labelled(5), "Errors: 2 6");
    assert_eq!(labelled(6), "half: 0 4");
    assert_eq!(values[4], Value::Scalar(4.0));
}

#[test]
fn an_expression_has_the_shortest_period_of_what_it_uses() {
    let of = |text, period_s| {
        let hour = Query { asks: Asks::Metric { period_s: 3_600 }, ..metric("h") };
        let asks = Asks::Expression { text, period_s };
        let queries = [
            hour,
            Query { asks: Asks::Metric { period_s: 300 }, ..metric("m") },
            Query { asks, ..expression("e", "") },
        ];
        Plan::new(&queries).unwrap().period_s(2)
    };
    assert_eq!(of("h + m", Some(60)), 300);
    assert_eq!(of("h * 2", None), 3_600);
    assert_eq!(of("SUM(METRICS())", None), 300);
    assert_eq!(of("TIME_SERIES(1)", Some(120)), 120);
    assert_eq!(of("TIME_SERIES(1)", None), 60);
    assert_eq!(of("SEARCH('x', 'Sum', 10) + h", None), 10);
}

#[test]
fn what_a_search_finds_is_labelled_and_in_order() {
    let text = "SEARCH('{n,FunctionName} MetricName=\"Errors\"', 'Sum', 60)";
    let sum = format!("SUM({text})");
    let queries = [
        expression("e1", text),
        expression("e2", &sum),
        Query { label: Some("${PROP('Dim.FunctionName')}: ${SUM}"), ..expression("e3", "e1 * 2") },
    ];
    let plan = Plan::new(&queries).unwrap();
    let needs: Vec<(&str, u32)> = plan.needs().iter().map(|need| (need.id.as_str(), need.period_s)).collect();
    assert_eq!(needs, [("e1", 60), ("e2", 60)]);
    let Wanted::Search { search, statistic } = &plan.needs()[0].wanted else { panic!() };
    assert_eq!(statistic, "Sum");
    let function = |name: &str, value| {
        let source = source("Errors", &[("FunctionName", name)]);
        assert!(search.matches(&source.metric, PLACE.account_id));
        Series::fetched(source, vec![(0, value)])
    };
    let found = || vec![function("b", 1.0), function("a", 2.0)];
    let window = Window { start_s: 0, end_s: 60 };
    let values = plan.evaluate(window, &PLACE, vec![], vec![found(), found()]).unwrap();
    let labels = |value: &Value| match value {
        Value::Array(array) => array.iter().map(|series| series.label.clone()).collect::<Vec<_>>(),
        Value::Series(series) => vec![series.label.clone()],
        Value::Scalar(_) => vec![],
    };
    assert_eq!(labels(&values[0]), ["a", "b"]);
    assert_eq!(labels(&values[1]), ["e2"]);
    assert_eq!(labels(&values[2]), ["a: 4", "b: 2"]);
}

#[test]
fn what_insights_finds_is_used_like_any_other() {
    let select = |text| {
        [Query { asks: Asks::Expression { text, period_s: Some(30) }, ..expression("q", "") }, expression("e", "q * 2")]
    };
    let window = Window { start_s: 0, end_s: 60 };
    let evaluated = |text| {
        let plan = Plan::new(&select(text)).unwrap();
        assert_eq!(plan.needs()[0].period_s, 60);
        let Wanted::Select(select) = &plan.needs()[0].wanted else { panic!() };
        let bucket = select::Bucket { count: 2.0, sum: 6.0, minimum: 1.0, maximum: 5.0 };
        let found = ["x", "y"].map(|zone| (source("m", &[("Zone", zone)]).metric, vec![(0, bucket)]));
        let series = select.series("q", 60, PLACE.account_id, found);
        let values = plan.evaluate(window, &PLACE, vec![], vec![series]).unwrap();
        let shown = |value: &Value| match value {
            Value::Array(array) => {
                array.iter().map(|series| format!("{}={}", series.label, shown(series, window))).collect::<Vec<_>>()
            }
            Value::Series(series) => vec![format!("{}={}", series.label, shown(series, window))],
            Value::Scalar(_) => vec![],
        };
        values.iter().map(shown).collect::<Vec<_>>().concat().join(" ")
    };
    assert_eq!(evaluated("SELECT SUM(m) FROM n"), "q=12 e=24");
    assert_eq!(evaluated("SELECT AVG(m) FROM n GROUP BY Zone"), "x=3 y=3 x=6 y=6");
}

#[test]
fn the_number_of_points_is_bounded() {
    let plan = Plan::new(&[expression("e", "TIME_SERIES(1)")]).unwrap();
    let window = |seconds| Window { start_s: 0, end_s: seconds };
    let refused = plan.evaluate(window(i64::MAX), &PLACE, vec![], vec![]).unwrap_err();
    assert_eq!(refused.0, "Error in expression 'e': It needs more data points than can be computed");
    assert!(plan.evaluate(window(60 * 10_000), &PLACE, vec![], vec![]).is_ok());
    let array = format!("[{}]", vec!["m"; SERIES_MAX].join(","));
    let queries = [metric("m"), expression("e1", &array), expression("e2", "[e1,m]")];
    assert!(Plan::new(&queries[..2]).unwrap().evaluate(window(60), &PLACE, vec![], vec![]).is_ok());
    assert!(Plan::new(&queries).unwrap().evaluate(window(60), &PLACE, vec![], vec![]).is_err());
}
