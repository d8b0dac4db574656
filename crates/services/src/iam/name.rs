//! How IAM tells its entities apart: names, unique ids, ARNs.

use base::Timestamp;
use ring::digest::{SHA256, digest};

use crate::Ctx;

const BASE32: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
/// What follows the prefix of a unique id.
const ID_CHARS: usize = 17;

/// The prefix of a unique id says what has it.
pub const ROLE_ID: &str = "AROA";
pub const POLICY_ID: &str = "ANPA";
pub const PROFILE_ID: &str = "AIPA";

/// The key under which a name is stored: names differ by more than case.
pub fn key(name: &str) -> String {
    name.to_ascii_lowercase()
}

/// A unique id that nothing had before and nothing will have again, whatever names are reused.
pub fn fresh_id(ctx: &Ctx, prefix: &str) -> String {
    let mut bytes = [0; ID_CHARS];
    ctx.cx.random().fill(&mut bytes);
    id(prefix, &bytes)
}

/// The unique id of what AWS has made: the same in every account.
pub fn settled_id(prefix: &str, name: &str) -> String {
    id(prefix, digest(&SHA256, name.as_bytes()).as_ref())
}

fn id(prefix: &str, bytes: &[u8]) -> String {
    let digit = |byte: &u8| BASE32.get(usize::from(byte % 32)).copied().map_or('A', char::from);
    prefix.chars().chain(bytes.iter().take(ID_CHARS).map(digit)).collect()
}

/// `arn:aws:iam::ACCOUNT:KIND/PATH/NAME`
pub fn arn(ctx: &Ctx, kind: &str, path: &str, name: &str) -> String {
    format!("arn:{}:iam::{}:{kind}{path}{name}", ctx.cx.region.partition(), ctx.cx.account)
}

/// IAM's clock shows whole seconds.
pub fn now(ctx: &Ctx) -> Timestamp {
    Timestamp::from_secs(ctx.cx.now().as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unique_ids_are_21_characters_of_base32() {
        let one = settled_id(POLICY_ID, "AWSLambdaBasicExecutionRole");
        assert_eq!(one.len(), 21);
        assert!(one.strip_prefix("ANPA").is_some_and(|rest| rest.bytes().all(|byte| BASE32.contains(&byte))), "{one}");
        assert_ne!(one, settled_id(POLICY_ID, "AWSLambdaRole"));
    }
}
