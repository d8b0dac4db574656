//! The functions of metric math: their names, the types they take, and the type they come to.

use std::fmt;

/// What a part of an expression comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Type {
    /// Text and words are arguments only, and no value.
    Text,
    Word,
    Scalar,
    Series,
    Array,
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Type::Text => "String",
            Type::Word => "Keyword",
            Type::Scalar => "Scalar",
            Type::Series => "TimeSeries",
            Type::Array => "TimeSeries[]",
        })
    }
}

/// A function, by what it does with what it is given. Those of one kind take the same types.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Function {
    Each(Each),
    Fold(Fold),
    Walk(Walk),
    Clock(Clock),
    /// The first or the last series of an array.
    First,
    Last,
    RemoveEmpty,
    Slice,
    Fill,
    Sort,
    If,
    MetricCount,
    Period,
    TimeSeries,
    Metrics,
    Search,
}

/// Point by point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Each {
    Abs,
    Ceil,
    Floor,
    Log,
    Log10,
}

/// A series becomes one number, and an array one series.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fold {
    Average,
    Count,
    Maximum,
    Minimum,
    StandardDeviation,
    Sum,
}

/// Each point with the one before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Walk {
    Difference,
    DifferenceOfTime,
    Rate,
    RunningSum,
}

/// What clock and calendar show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Clock {
    Minute,
    Hour,
    Day,
    Date,
    Month,
    Year,
    Epoch,
}

const FUNCTIONS: [(&str, Function); 34] = [
    ("ABS", Function::Each(Each::Abs)),
    ("AVG", Function::Fold(Fold::Average)),
    ("CEIL", Function::Each(Each::Ceil)),
    ("DATAPOINT_COUNT", Function::Fold(Fold::Count)),
    ("DATE", Function::Clock(Clock::Date)),
    ("DAY", Function::Clock(Clock::Day)),
    ("DIFF", Function::Walk(Walk::Difference)),
    ("DIFF_TIME", Function::Walk(Walk::DifferenceOfTime)),
    ("EPOCH", Function::Clock(Clock::Epoch)),
    ("FILL", Function::Fill),
    ("FIRST", Function::First),
    ("FLOOR", Function::Each(Each::Floor)),
    ("HOUR", Function::Clock(Clock::Hour)),
    ("IF", Function::If),
    ("LAST", Function::Last),
    ("LOG", Function::Each(Each::Log)),
    ("LOG10", Function::Each(Each::Log10)),
    ("MAX", Function::Fold(Fold::Maximum)),
    ("METRICS", Function::Metrics),
    ("METRIC_COUNT", Function::MetricCount),
    ("MIN", Function::Fold(Fold::Minimum)),
    ("MINUTE", Function::Clock(Clock::Minute)),
    ("MONTH", Function::Clock(Clock::Month)),
    ("PERIOD", Function::Period),
    ("RATE", Function::Walk(Walk::Rate)),
    ("REMOVE_EMPTY", Function::RemoveEmpty),
    ("RUNNING_SUM", Function::Walk(Walk::RunningSum)),
    ("SEARCH", Function::Search),
    ("SLICE", Function::Slice),
    ("SORT", Function::Sort),
    ("STDDEV", Function::Fold(Fold::StandardDeviation)),
    ("SUM", Function::Fold(Fold::Sum)),
    ("TIME_SERIES", Function::TimeSeries),
    ("YEAR", Function::Clock(Clock::Year)),
];

/// AWS has these; they need what is not here.
pub const WITHOUT: [&str; 5] =
    ["ANOMALY_DETECTION_BAND", "DB_PERF_INSIGHTS", "INSIGHT_RULE_METRIC", "LAMBDA", "SERVICE_QUOTA"];

impl Function {
    pub fn named(name: &str) -> Option<Function> {
        FUNCTIONS.iter().find(|(known, _)| *known == name).map(|(_, function)| *function)
    }

    /// What it comes to with arguments of these types; `None` if it does not take them. The words that FILL and SORT
    /// take, and the texts of SEARCH, are looked at where they are read.
    pub fn of(self, arguments: &[Type]) -> Option<Type> {
        use Type::{Array, Scalar, Series, Text, Word};
        match (self, arguments) {
            (Function::Each(_), [one @ (Scalar | Series | Array)]) => Some(*one),
            (Function::Walk(_), [one @ (Series | Array)]) => Some(*one),
            (Function::Fold(_), [Array]) | (Function::Clock(_), [Series]) => Some(Series),
            (Function::Fold(_) | Function::Period, [Series]) | (Function::MetricCount, [Array]) => Some(Scalar),
            (Function::First | Function::Last, [Array]) | (Function::TimeSeries, [Scalar]) => Some(Series),
            (Function::RemoveEmpty, [Array]) | (Function::Slice, [Array, Scalar] | [Array, Scalar, Scalar]) => {
                Some(Array)
            }
            (Function::Sort, [Array, Word, Word] | [Array, Word, Word, Scalar]) => Some(Array),
            (Function::Fill, [one @ (Series | Array), Scalar | Series | Word]) => Some(*one),
            (Function::If, [_, _] | [_, _, _]) => together(arguments),
            (Function::Metrics, [] | [Text]) | (Function::Search, [Text, Text] | [Text, Text, Scalar]) => Some(Array),
            _ => None,
        }
    }
}

/// What values come to side by side. Two arrays do not go together: neither says which series belongs to which.
pub fn together(types: &[Type]) -> Option<Type> {
    let arrays = types.iter().filter(|one| **one == Type::Array).count();
    let are_values = types.iter().all(|one| *one >= Type::Scalar);
    types.iter().max().copied().filter(|_| are_values && arrays <= 1)
}

impl Each {
    pub fn of(self, value: f64) -> f64 {
        match self {
            Each::Abs => value.abs(),
            Each::Ceil => value.ceil(),
            Each::Floor => value.floor(),
            Each::Log => value.ln(),
            Each::Log10 => value.log10(),
        }
    }
}
