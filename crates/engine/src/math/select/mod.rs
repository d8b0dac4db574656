//! Metrics Insights: `SELECT AVG(metric) FROM namespace WHERE … GROUP BY … ORDER BY … LIMIT …`, over all metrics that
//! match.
//!
//! The shell fetches what [matches](Select::matches) as [buckets](Bucket), since an average is one of all samples and
//! not of averages, and [`Select::series`] puts them together. Metrics without a dimension that is grouped by are the
//! group `Other`, the last one.
//!
//! Follows "CloudWatch Metrics Insights query components and syntax" of the CloudWatch user guide. Not here: the words
//! that AWS reserves beyond those of the language, which it wants in quotation marks; and tags, which no metric has.

mod parse;

use std::collections::{BTreeMap, BTreeSet};

use super::function::Fold;
use super::{Metric, Point, Series};

pub(super) use parse::is_select;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Select {
    aggregate: Aggregate,
    metric: String,
    namespace: String,
    /// The names of exactly the dimensions that a metric must have.
    schema: Option<BTreeSet<String>>,
    conditions: Vec<Condition>,
    group_by: Vec<String>,
    order_by: Option<Order>,
    limit: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Aggregate {
    Average,
    Count,
    Maximum,
    Minimum,
    Sum,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Condition {
    key: String,
    is_equal: bool,
    /// `None` is the account that asks.
    value: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Order {
    by: Aggregate,
    is_descending: bool,
}

/// The samples of one metric in one period.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bucket {
    pub count: f64,
    pub sum: f64,
    pub minimum: f64,
    pub maximum: f64,
}

/// `AWS.AccountId` is a key like a dimension.
const ACCOUNT_ID: &str = "AWS.AccountId";
/// Of metrics without the dimension.
const OTHER: &str = "Other";

impl Select {
    /// The message is AWS's, without the id of the query.
    pub fn parse(text: &str) -> Result<Select, String> {
        parse::select(text)
    }

    /// Whose metrics alone can match.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// The name of those that can match.
    pub fn metric(&self) -> &str {
        &self.metric
    }

    pub fn is_grouped(&self) -> bool {
        !self.group_by.is_empty()
    }

    /// `account_id` is who asks, and whose metric it is.
    pub fn matches(&self, metric: &Metric, account_id: &str) -> bool {
        let names = metric.dimensions.iter().map(|(name, _)| name);
        metric.namespace == self.namespace
            && metric.name == self.metric
            && self.schema.as_ref().is_none_or(|schema| schema.iter().eq(names))
            && self.conditions.iter().all(|condition| {
                let wanted = condition.value.as_deref().unwrap_or(account_id);
                (property(metric, &condition.key, account_id) == Some(wanted)) == condition.is_equal
            })
    }

    /// One series, called `id`, of all that match; or one for each group, the best ones first.
    pub fn series(
        &self,
        id: &str,
        period_s: u32,
        account_id: &str,
        found: impl IntoIterator<Item = (Metric, Vec<(i64, Bucket)>)>,
    ) -> Vec<Series> {
        let mut groups: BTreeMap<Vec<Group>, BTreeMap<i64, Bucket>> = BTreeMap::new();
        if !self.is_grouped() {
            groups.insert(Vec::new(), BTreeMap::new());
        }
        for (metric, buckets) in found {
            let group = |key: &String| match property(&metric, key, account_id) {
                Some(value) => Group::Named(value.to_owned()),
                None => Group::Other,
            };
            let merged = groups.entry(self.group_by.iter().map(group).collect()).or_default();
            for (at, bucket) in buckets {
                merged.entry(at).and_modify(|merged| merged.add(bucket)).or_insert(bucket);
            }
        }
        let one = |(group, buckets): (Vec<Group>, BTreeMap<i64, Bucket>)| {
            let points = buckets.into_iter().map(|(at, bucket)| (at, self.aggregate.of(bucket)));
            let points: Vec<Point> = points.filter(|(_, value)| value.is_finite()).collect();
            let names: Vec<&str> = group.iter().map(Group::shown).collect();
            let label = if names.is_empty() { id.to_owned() } else { names.join(" ") };
            Series { label, source: None, period_s, points: points.into() }
        };
        let series = groups.into_iter().map(one).filter(|series| !self.is_grouped() || !series.points.is_empty());
        self.ordered(series.collect())
    }

    /// Numbered if they are ordered, as AWS shows them.
    fn ordered(&self, mut series: Vec<Series>) -> Vec<Series> {
        if let Some(order) = self.order_by.filter(|_| self.is_grouped()) {
            let key = |series: &Series| order.by.fold().of(&series.points, 0);
            series.sort_by(|one, other| {
                let (one, other) = if order.is_descending { (other, one) } else { (one, other) };
                key(one).total_cmp(&key(other))
            });
            for (rank, series) in (1_usize..).zip(&mut series) {
                series.label = format!("{rank} - {}", series.label);
            }
        }
        series.truncate(self.limit);
        series
    }
}

fn property<'a>(metric: &'a Metric, key: &str, account_id: &'a str) -> Option<&'a str> {
    if key == ACCOUNT_ID { Some(account_id) } else { metric.dimension(key) }
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Group {
    Named(String),
    Other,
}

impl Group {
    fn shown(&self) -> &str {
        match self {
            Group::Named(name) => name,
            Group::Other => OTHER,
        }
    }
}

impl Bucket {
    fn add(&mut self, other: Bucket) {
        self.count += other.count;
        self.sum += other.sum;
        self.minimum = self.minimum.min(other.minimum);
        self.maximum = self.maximum.max(other.maximum);
    }
}

impl Aggregate {
    fn named(name: &str) -> Option<Aggregate> {
        let known = [
            ("AVG", Aggregate::Average),
            ("COUNT", Aggregate::Count),
            ("MAX", Aggregate::Maximum),
            ("MIN", Aggregate::Minimum),
            ("SUM", Aggregate::Sum),
        ];
        known.into_iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, aggregate)| aggregate)
    }

    /// NaN without samples.
    fn of(self, bucket: Bucket) -> f64 {
        match self {
            Aggregate::Average => bucket.sum / bucket.count,
            Aggregate::Count => bucket.count,
            Aggregate::Maximum => bucket.maximum,
            Aggregate::Minimum => bucket.minimum,
            Aggregate::Sum => bucket.sum,
        }
    }

    /// The same over a series' points.
    fn fold(self) -> Fold {
        match self {
            Aggregate::Average => Fold::Average,
            Aggregate::Count => Fold::Count,
            Aggregate::Maximum => Fold::Maximum,
            Aggregate::Minimum => Fold::Minimum,
            Aggregate::Sum => Fold::Sum,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metric(name: &str, dimensions: &[(&str, &str)]) -> Metric {
        let dimensions = dimensions.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        Metric::new("a/b", name, dimensions)
    }

    /// Values and counts at a minute.
    fn bucket(minute: i64, samples: &[(f64, f64)]) -> (i64, Bucket) {
        let values = || samples.iter().map(|(value, _)| *value);
        let bucket = Bucket {
            count: samples.iter().map(|(_, count)| count).sum(),
            sum: samples.iter().map(|(value, count)| value * count).sum(),
            minimum: values().fold(f64::NAN, f64::min),
            maximum: values().fold(f64::NAN, f64::max),
        };
        (minute * 60, bucket)
    }

    fn metrics() -> Vec<(Metric, Vec<(i64, Bucket)>)> {
        vec![
            (metric("Load", &[]), vec![bucket(0, &[(100.0, 1.0)]), bucket(2, &[(200.0, 1.0)])]),
            (metric("Load", &[("Team", "A")]), vec![bucket(0, &[(2.0, 3.0), (8.0, 1.0)]), bucket(1, &[(6.0, 1.0)])]),
            (metric("Load", &[("Team", "B")]), vec![bucket(0, &[(20.0, 1.0)]), bucket(2, &[(40.0, 2.0)])]),
            (
                metric("Load", &[("Team", "A"), ("Zone", "west")]),
                vec![bucket(0, &[(50.0, 2.0)]), bucket(1, &[(10.0, 1.0)])],
            ),
            (metric("Load", &[("Team", "A"), ("Zone", "east")]), vec![bucket(1, &[(30.0, 3.0)])]),
            (metric("Load", &[("Zone", "west")]), vec![bucket(0, &[(70.0, 1.0)])]),
            (metric("Bytes\"Input\"", &[("fleet.name", "O'Reilly\\blue")]), vec![bucket(0, &[(13.0, 2.0)])]),
            (metric("LIMIT", &[("Team", "Case")]), vec![bucket(0, &[(17.0, 1.0)])]),
        ]
    }

    /// Labels and values, with one decimal.
    fn of(query: &str) -> String {
        let select = match Select::parse(query) {
            Ok(select) => select,
            Err(message) => return message,
        };
        let found = metrics().into_iter().filter(|(metric, _)| select.matches(metric, "123456789012"));
        let series = select.series("q", 60, "123456789012", found);
        let shown = |series: &Series| {
            let values: Vec<String> =
                series.points.iter().map(|(at, value)| format!("{}:{value:.1}", at / 60)).collect();
            format!("{}[{}]", series.label, values.join(" "))
        };
        series.iter().map(shown).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn queries_find_what_aws_found() {
        for (query, expected) in [
            ("SELECT AVG(Load) FROM \"a/b\"", "q[0:33.8 1:21.2 2:93.3]"),
            ("select avg(Load) from \"a/b\"", "q[0:33.8 1:21.2 2:93.3]"),
            ("SELECT COUNT(Load) FROM \"a/b\"", "q[0:9.0 1:5.0 2:3.0]"),
            ("SELECT SUM(Load) FROM \"a/b\"", "q[0:304.0 1:106.0 2:280.0]"),
            ("SELECT MAX(Load) FROM \"a/b\"", "q[0:100.0 1:30.0 2:200.0]"),
            ("SELECT MIN(Load) FROM \"a/b\"", "q[0:2.0 1:6.0 2:40.0]"),
            ("SELECT SUM(Load) FROM SCHEMA(\"a/b\")", "q[0:100.0 2:200.0]"),
            ("SELECT SUM(Load) FROM SCHEMA(\"a/b\", Team, \"Zone\")", "q[0:100.0 1:100.0]"),
            ("SELECT SUM(Load) FROM SCHEMA(\"a/b\", \"Zone\", Team)", "q[0:100.0 1:100.0]"),
            ("SELECT AVG(Load) FROM SCHEMA(\"a/b\",Team,Team)", "q[0:6.8 1:6.0 2:40.0]"),
            ("SELECT SUM(Load) FROM SCHEMA(\"a/b\", Missing)", "q[]"),
            ("SELECT AVG(Load) FROM \"a/b\" WHERE Team = 'A' AND \"Zone\" != 'east'", "q[0:19.0 1:8.0]"),
            ("SELECT AVG(Load) FROM \"a/b\" WHERE Team = 'a'", "q[]"),
            ("SELECT AVG(load) FROM \"a/b\"", "q[]"),
            ("SELECT AVG(Load) FROM \"A/B\"", "q[]"),
            ("SELECT AVG(\"LIMIT\") FROM \"a/b\"", "q[0:17.0]"),
            (r#"SELECT SUM("Bytes\"Input\"") FROM "a/b" WHERE "fleet.name" = 'O\'Reilly\blue'"#, "q[0:26.0]"),
            (r#"SELECT SUM("Bytes\"Input\"") FROM "a/b" WHERE "fleet.name" = 'O\'Reilly\\blue'"#, "q[0:26.0]"),
            (r#"SELECT SUM("Bytes\"Input\"") FROM "a/b" GROUP BY "fleet.name""#, r"O'Reilly\blue[0:26.0]"),
            ("SELECT AVG(Load) FROM \"a/b\" GROUP BY Team", "A[0:19.0 1:21.2] B[0:20.0 2:40.0] Other[0:85.0 2:200.0]"),
            (
                "SELECT AVG(Load) FROM \"a/b\" GROUP BY Team, \"Zone\"",
                "A east[1:30.0] A west[0:50.0 1:10.0] A Other[0:3.5 1:6.0] B Other[0:20.0 2:40.0] \
                 Other west[0:70.0] Other Other[0:100.0 2:200.0]",
            ),
            ("SELECT AVG(Absent) FROM \"a/b\" GROUP BY Team", ""),
            ("SELECT AVG(Load) FROM \"a/b\" GROUP BY Team LIMIT 1", "A[0:19.0 1:21.2]"),
            (
                "SELECT AVG(Load) FROM \"a/b\" GROUP BY Team LIMIT 10000",
                "A[0:19.0 1:21.2] B[0:20.0 2:40.0] Other[0:85.0 2:200.0]",
            ),
            (
                "SELECT AVG(Load) FROM \"a/b\" GROUP BY Team ORDER BY MAX() DESC",
                "1 - Other[0:85.0 2:200.0] 2 - B[0:20.0 2:40.0] 3 - A[0:19.0 1:21.2]",
            ),
            ("SELECT AVG(Load) FROM \"a/b\" GROUP BY Team ORDER BY MIN() ASC LIMIT 1", "1 - A[0:19.0 1:21.2]"),
            ("SELECT AVG(Load) FROM \"a/b\" ORDER BY MAX() DESC", "q[0:33.8 1:21.2 2:93.3]"),
            ("SELECT AVG(Load) FROM \"a/b\" WHERE AWS.AccountId = '123456789012'", "q[0:33.8 1:21.2 2:93.3]"),
            ("SELECT AVG(Load) FROM \"a/b\" WHERE AWS.AccountId = current_account_id()", "q[0:33.8 1:21.2 2:93.3]"),
            ("SELECT AVG(Load) FROM \"a/b\" WHERE AWS.AccountId != '123456789012'", "q[]"),
            ("SELECT AVG(Load) FROM \"a/b\" WHERE Team = CURRENT_ACCOUNT_ID()", "q[]"),
            ("SELECT AVG(Load) FROM \"a/b\" GROUP BY tag.\"env\"", "Other[0:33.8 1:21.2 2:93.3]"),
        ] {
            assert_eq!(of(query), expected, "{query}");
        }
    }

    #[test]
    fn what_is_no_query_is_refused_in_aws_words() {
        for (query, expected) in [
            ("SELECT AVG(Load)", "Invalid syntax near 'AVG(Load)'"),
            ("SELECT MEDIAN(Load) FROM n", "Invalid syntax. 'MEDIAN' is not a valid aggregate function"),
            (
                "SELECT AVG(Load), SUM(Load) FROM \"stackd/insights/6c8\"",
                "Invalid syntax near ', SUM(Load) FROM \"stackd/insi...'",
            ),
            (
                "SELECT AVG(LIMIT) FROM \"stackd/insights/6c8\"",
                "Invalid syntax near 'LIMIT) FROM \"stackd/insights/...'",
            ),
            ("SELECT AVG(Load) FROM SCHEMA()", "Invalid syntax near '()'"),
            ("SELECT AVG(Load) FROM n WHERE Team > 'A'", "Invalid syntax near '> 'A''"),
            ("SELECT AVG(Load) FROM n WHERE Team = 'A' OR Team = 'B'", "Invalid syntax near 'OR Team = 'B''"),
            ("SELECT AVG(Load) FROM n WHERE Team IN ('A','B')", "Invalid syntax near 'IN ('A','B')'"),
            ("SELECT AVG(Load) FROM n WHERE k = 'O''Reilly\\blue'", "Invalid syntax near ''Reilly\\blue''"),
            (
                "SELECT AVG(Load) FROM n WHERE Team = \"A\"",
                "Invalid syntax. Comparing identifiers is not supported. Values must be surrounded by single quotes",
            ),
            (
                "SELECT AVG(Load) FROM n WHERE Team = A",
                "Invalid syntax. Comparing identifiers is not supported. Values must be surrounded by single quotes",
            ),
            ("SELECT AVG(Load) FROM n GROUP BY Team HAVING AVG() > 1", "Invalid syntax near 'HAVING AVG() > 1'"),
            (
                "SELECT AVG(Load) FROM n GROUP BY Team ORDER BY MEDIAN()",
                "Invalid syntax. 'MEDIAN' is not a valid ORDER BY function",
            ),
            ("SELECT AVG(Load) FROM n GROUP BY Team ORDER BY MAX(Load)", "Invalid syntax near '(Load)'"),
            ("SELECT AVG(Load) FROM n LIMIT 0", "Invalid syntax. LIMIT must be greater than 0"),
            ("SELECT AVG(Load) FROM n LIMIT -1", "Invalid syntax near '-1'"),
            ("SELECT AVG(Load) FROM n LIMIT 1.5", "Invalid syntax near '.5'"),
            ("SELECT AVG(Load) FROM n nonsense", "Invalid syntax near 'nonsense'"),
            ("SELECT AVG(Load) FROM n;", "Invalid syntax near ';'"),
            ("SELECT AVG(Load) FROM n GROUP BY", "Invalid syntax"),
        ] {
            assert_eq!(of(query), expected, "{query}");
        }
    }

    #[test]
    fn only_what_begins_with_select_and_a_word_is_a_query() {
        assert!(is_select(" select\n avg(m) FROM n"));
        for text in ["SELECT", "SELECT * FROM n", "(SELECT AVG(m) FROM n) * 2", "SELECTED m", "m1 + m2", ""] {
            assert!(!is_select(text), "{text}");
        }
    }
}
