//! Chains of invocations, and which of them are loops: how often each function was invoked since the first request, as
//! the field `Lineage` of X-Ray's header carries it from hop to hop.
//!
//! ```text
//! Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=0;Lineage=a87bd80c:1|68fd508a:0
//!                                                                                    function:how often it ran again
//! ```
//!
//! Counted is by function and not by hop, so a long chain of different functions is none. SDKs send the header with what
//! functions call, queues keep it beside messages; nothing but the header is needed.
//!
//! Follows AWS: <https://docs.aws.amazon.com/lambda/latest/dg/invocation-recursion.html>.

use base::trace;

/// So often AWS invokes a function in one chain of requests.
pub const INVOCATIONS_MAX: u32 = 16;
/// Functions that one header tells of. A loop through more of them is not seen.
pub const FUNCTIONS_MAX: usize = 64;

const FIELD: &str = "Lineage";

/// What a function is known by in a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FunctionId(u32);

impl FunctionId {
    /// Of a function's ARN without version or alias: a loop is one whatever names it goes by.
    pub fn of(arn: &str) -> Self {
        // FNV-1a: the same in every release, as headers outlive servers.
        Self(arn.bytes().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)))
    }
}

/// How often a function has been invoked in the chain that a header belongs to.
pub fn invocations(header: &str, function: FunctionId) -> u32 {
    let found = read(header).find(|(other, _)| *other == function);
    found.map_or(0, |(_, again)| again.saturating_add(1))
}

/// The header that a function gets: one more invocation of it in its chain.
pub fn extend(header: &str, function: FunctionId) -> String {
    let mut others: Vec<(FunctionId, u32)> = read(header).filter(|(other, _)| *other != function).collect();
    // Those that are longest ago are forgotten first.
    let room = FUNCTIONS_MAX.saturating_sub(1);
    others.drain(..others.len().saturating_sub(room));
    others.push((function, invocations(header, function)));
    let lineage: Vec<String> = others.iter().map(|(FunctionId(id), again)| format!("{id:08x}:{again}")).collect();
    let is_other = |field: &&str| field.trim().split_once('=').is_none_or(|(name, _)| name != FIELD);
    let rest: Vec<&str> = header.split(';').filter(|field| !field.trim().is_empty()).filter(is_other).collect();
    let lineage = format!("{FIELD}={}", lineage.join("|"));
    rest.into_iter().chain([lineage.as_str()]).collect::<Vec<_>>().join(";")
}

/// What a header tells, as far as it can be read. AWS also writes a number of its own before one function.
fn read(header: &str) -> impl Iterator<Item = (FunctionId, u32)> {
    let all = trace::field(header, FIELD).unwrap_or_default().split('|');
    all.filter_map(|entry| {
        let (start, again) = entry.trim().rsplit_once(':')?;
        let id = start.rsplit(':').next()?;
        Some((FunctionId(u32::from_str_radix(id, 16).ok()?), again.parse().ok()?))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ROOT: &str = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=0";

    fn function(name: &str) -> FunctionId {
        FunctionId::of(&format!("arn:aws:lambda:us-east-1:000000000000:function:{name}"))
    }

    #[test]
    fn headers_of_aws_are_read() {
        let header = format!("{ROOT};Lineage=a87bd80c:1|68fd508a:5|c512fbe3:2");
        let times = [0xa87b_d80c, 0x68fd_508a, 0xc512_fbe3, 0].map(|id| invocations(&header, FunctionId(id)));
        assert_eq!(times, [2, 6, 3, 0]);
        assert_eq!(invocations("Lineage=1:fe460cdd:0;Root=1-2-3", FunctionId(0xfe46_0cdd)), 1);
        for odd in ["", "Lineage", "Lineage=", "Lineage=|:|a:|:1|x:1|a:-1|a:99999999999", "Root=Lineage=a:1"] {
            assert_eq!(invocations(odd, FunctionId(0xa)), 0, "{odd}");
        }
    }

    #[test]
    fn each_invocation_counts_for_its_function_alone() {
        let header = extend(ROOT, FunctionId(0xa));
        assert_eq!(header, format!("{ROOT};Lineage=0000000a:0"));
        let header = extend(&extend(&header, FunctionId(0xb)), FunctionId(0xa));
        assert_eq!(header, format!("{ROOT};Lineage=0000000b:0|0000000a:1"));
        assert_eq!(extend("Lineage=0000000b:4; Root=1-2-3;", FunctionId(0xb)), " Root=1-2-3;Lineage=0000000b:5");
    }

    #[test]
    fn a_chain_of_any_length_is_no_loop() {
        let mut header = ROOT.to_owned();
        for step in 0..1_000 {
            let next = function(&format!("f{step}"));
            assert_eq!(invocations(&header, next), 0);
            header = extend(&header, next);
            assert!(header.len() < ROOT.len() + 16 * (FUNCTIONS_MAX + 1), "it does not grow for ever");
        }
    }

    proptest! {
        /// Whatever way a chain takes through so many functions, each is counted as often as it was there.
        #[test]
        fn counts_are_those_of_the_chain(chain in prop::collection::vec(0..FUNCTIONS_MAX as u32, 0..300)) {
            let mut header = ROOT.to_owned();
            let mut counts = [0; FUNCTIONS_MAX];
            for step in chain {
                let next = function(&step.to_string());
                prop_assert_eq!(invocations(&header, next), counts[step as usize]);
                header = extend(&header, next);
                counts[step as usize] += 1;
            }
            prop_assert!(header.starts_with(ROOT));
        }

        #[test]
        fn no_header_is_too_odd(header in ".{0,200}", lineage in "[0-9a-f:|;= ]{0,200}", id: u32) {
            let header = format!("{header};Lineage={lineage}");
            let times = invocations(&header, FunctionId(id));
            let extended = extend(&header, FunctionId(id));
            prop_assert_eq!(invocations(&extended, FunctionId(id)), times.saturating_add(1));
        }
    }
}
