//! What is taken, and its form in the journal.
//!
//! ```text
//! 'M' 1, then each datum:
//!   1 world account region | 0     another scope than before, or the same
//!   1 namespace | 0                likewise
//!   name, count of dimensions, names and values
//!   unit, resolution, time in microseconds, aggregate
//! ```

use base::{Timestamp, World, varint};
use engine::emf::UNITS;
use engine::math::Metric;
use engine::metric::aggregate::Aggregate;
use engine::metric::real::Reader;
use store::Scope;

/// Some samples of one metric at one time.
#[derive(Debug, Clone, PartialEq)]
pub struct Datum {
    pub scope: Scope,
    pub metric: Metric,
    pub unit: Unit,
    pub time: Timestamp,
    /// 1, or a minute.
    pub resolution_s: u32,
    pub aggregate: Aggregate,
}

/// One of CloudWatch's units.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Unit(u8);

impl Unit {
    pub const SECONDS: Unit = Unit(0);
    pub const MILLISECONDS: Unit = Unit(2);
    pub const BYTES: Unit = Unit(3);
    pub const MEGABYTES: Unit = Unit(5);
    pub const COUNT: Unit = Unit(14);
    /// What has none.
    pub const NONE: Unit = Unit(26);

    /// As CloudWatch writes it.
    pub fn named(name: &str) -> Option<Unit> {
        let place = UNITS.iter().position(|unit| *unit == name)?;
        u8::try_from(place).ok().map(Unit)
    }

    pub fn name(self) -> &'static str {
        UNITS.get(usize::from(self.0)).copied().unwrap_or("None")
    }

    pub(crate) fn number(self) -> u8 {
        self.0
    }

    pub(crate) fn numbered(number: u8) -> Option<Unit> {
        (usize::from(number) < UNITS.len()).then_some(Unit(number))
    }
}

impl Default for Unit {
    fn default() -> Self {
        Unit::NONE
    }
}

const KIND: u8 = b'M';
const VERSION: u8 = 1;
const SAME: u8 = 0;
const OTHER: u8 = 1;

/// No metric has more.
const DIMENSIONS_MAX: u64 = 30;

/// A note for the journal.
pub fn encode(data: &[Datum]) -> Vec<u8> {
    let mut out = vec![KIND, VERSION];
    let mut before: Option<&Datum> = None;
    for datum in data {
        match before.filter(|before| before.scope == datum.scope) {
            Some(_) => out.push(SAME),
            None => put_scope(&datum.scope, &mut out),
        }
        let Metric { namespace, name, dimensions } = &datum.metric;
        match before.filter(|before| before.metric.namespace == *namespace) {
            Some(_) => out.push(SAME),
            None => {
                out.push(OTHER);
                put_text(namespace, &mut out);
            }
        }
        put_text(name, &mut out);
        varint::put(dimensions.len() as u64, &mut out);
        for (name, value) in dimensions {
            put_text(name, &mut out);
            put_text(value, &mut out);
        }
        out.push(datum.unit.number());
        varint::put(u64::from(datum.resolution_s), &mut out);
        varint::put_signed(datum.time.as_micros(), &mut out);
        let mut aggregate = Vec::new();
        datum.aggregate.encode(&mut aggregate);
        varint::put_bytes(&aggregate, &mut out);
        before = Some(datum);
    }
    out
}

/// What [`encode`] made; `None` for all else.
pub fn decode(note: &[u8]) -> Option<Vec<Datum>> {
    let mut rest = note.strip_prefix(&[KIND, VERSION])?;
    let mut data: Vec<Datum> = Vec::new();
    while !rest.is_empty() {
        let datum = take_datum(&mut rest, data.last())?;
        data.push(datum);
    }
    Some(data)
}

fn take_datum(rest: &mut &[u8], before: Option<&Datum>) -> Option<Datum> {
    let scope = match take_byte(rest)? {
        SAME => before?.scope.clone(),
        OTHER => take_scope(rest)?,
        _ => return None,
    };
    let namespace = match take_byte(rest)? {
        SAME => before?.metric.namespace.clone(),
        OTHER => take_text(rest)?.to_owned(),
        _ => return None,
    };
    let name = take_text(rest)?.to_owned();
    let mut dimensions = Vec::new();
    for _ in 0..varint::take(rest).filter(|count| *count <= DIMENSIONS_MAX)? {
        dimensions.push((take_text(rest)?.to_owned(), take_text(rest)?.to_owned()));
    }
    let metric = Metric { namespace, name, dimensions };
    let unit = Unit::numbered(take_byte(rest)?)?;
    let resolution_s = u32::try_from(varint::take(rest)?).ok()?;
    let time = Timestamp::from_micros(varint::take_signed(rest)?);
    let mut bytes = Reader::new(varint::take_bytes(rest)?);
    let aggregate = Aggregate::decode(&mut bytes).filter(|_| bytes.is_at_end())?;
    Some(Datum { scope, metric, unit, time, resolution_s, aggregate })
}

fn put_scope(scope: &Scope, out: &mut Vec<u8>) {
    out.push(OTHER);
    varint::put(u64::from(scope.world.0), out);
    put_text(scope.account.as_str(), out);
    put_text(scope.region.as_ref().map_or("", |region| region.as_str()), out);
}

fn take_scope(rest: &mut &[u8]) -> Option<Scope> {
    let world = World(u32::try_from(varint::take(rest)?).ok()?);
    let account = take_text(rest)?.parse().ok()?;
    let region = match take_text(rest)? {
        "" => None,
        name => Some(name.parse().ok()?),
    };
    Some(Scope { world, account, region })
}

fn put_text(text: &str, out: &mut Vec<u8>) {
    varint::put_bytes(text.as_bytes(), out);
}

fn take_text<'b>(rest: &mut &'b [u8]) -> Option<&'b str> {
    std::str::from_utf8(varint::take_bytes(rest)?).ok()
}

fn take_byte(rest: &mut &[u8]) -> Option<u8> {
    let (first, behind) = rest.split_first()?;
    *rest = behind;
    Some(*first)
}

#[cfg(test)]
mod tests {
    use base::{AccountId, Region};
    use proptest::prelude::*;

    use super::*;

    fn data() -> impl Strategy<Value = Vec<Datum>> {
        let text = "[a-cé]{0,2}";
        let scope = (0..2_u32, any::<bool>()).prop_map(|(world, is_global)| Scope {
            world: World(world),
            account: AccountId::ZERO,
            region: (!is_global).then(Region::default),
        });
        let dimensions = prop::collection::vec((text, text), 0..3);
        let metric = (text, text, dimensions)
            .prop_map(|(namespace, name, dimensions)| Metric::new(&namespace, &name, dimensions));
        let samples = prop::collection::vec((-9.0..9.0_f64, 1..4_u32), 0..5).prop_map(|samples| {
            Aggregate::of_values(samples.into_iter().map(|(value, count)| (value, f64::from(count))))
        });
        let datum = (scope, metric, 0..27_u8, any::<i64>(), any::<bool>(), samples).prop_map(
            |(scope, metric, unit, micros, is_fine, aggregate)| Datum {
                scope,
                metric,
                unit: Unit(unit),
                time: Timestamp::from_micros(micros),
                resolution_s: if is_fine { 1 } else { 60 },
                aggregate,
            },
        );
        prop::collection::vec(datum, 0..8)
    }

    #[test]
    fn units_are_where_their_names_are() {
        let named = [
            (Unit::SECONDS, "Seconds"),
            (Unit::BYTES, "Bytes"),
            (Unit::MILLISECONDS, "Milliseconds"),
            (Unit::MEGABYTES, "Megabytes"),
            (Unit::COUNT, "Count"),
        ];
        for (unit, name) in named.into_iter().chain([(Unit::NONE, "None")]) {
            assert_eq!(Unit::named(name), Some(unit));
        }
    }

    proptest! {
        #[test]
        fn data_read_back(data in data()) {
            let note = encode(&data);
            prop_assert_eq!(decode(&note), Some(data));
        }

        #[test]
        fn what_is_cut_or_changed_is_read_calmly(data in data(), at in any::<prop::sample::Index>(), byte: u8) {
            let mut note = encode(&data);
            let at = at.index(note.len());
            decode(&note[..at]);
            note[at] = byte;
            decode(&note);
        }
    }

    #[test]
    fn units_have_their_names() {
        for name in UNITS {
            assert_eq!(Unit::named(name).map(Unit::name), Some(name));
        }
        assert_eq!((Unit::NONE.name(), Unit::named("count"), Unit::numbered(27)), ("None", None, None));
    }

    #[test]
    fn what_is_no_note_of_metrics_is_none() {
        for note in [&b""[..], b"M", b"N\x01", b"M\x02", b"M\x01\x00"] {
            assert_eq!(decode(note), None, "{note:?}");
        }
        assert_eq!(decode(b"M\x01"), Some(Vec::new()));
    }
}
