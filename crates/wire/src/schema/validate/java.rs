//! Orders and texts that AWS's messages inherit from Java.

/// Java's `String.hashCode`.
fn hash(text: &str) -> u32 {
    text.encode_utf16().fold(0_u32, |hash, unit| hash.wrapping_mul(31).wrapping_add(u32::from(unit)))
}

/// The order in which a Java `HashMap` or `HashSet` (since Java 8) yields these keys, put in one by one.
///
/// AWS's services keep members and enum values in such maps, and list violations and value sets in their order: the
/// runtimes in Lambda's messages come in exactly this one.
pub fn hash_order<T>(mut entries: Vec<T>, key: impl Fn(&T) -> &str) -> Vec<T> {
    // The table doubles when it is three quarters full; 16 buckets to begin with.
    let mut buckets = 16_usize;
    while entries.len().saturating_mul(4) > buckets.saturating_mul(3) {
        buckets = buckets.saturating_mul(2);
    }
    let mask = u32::try_from(buckets).unwrap_or(u32::MAX).wrapping_sub(1);
    // A stable sort: keys of one bucket stay in the order they came.
    entries.sort_by_key(|entry| {
        let hash = hash(key(entry));
        (hash ^ (hash >> 16)) & mask
    });
    entries
}

/// A name as messages write it: the first letter small, the rest as it is.
pub fn lower_first(name: &str) -> String {
    let mut chars = name.chars();
    match chars.next() {
        Some(first) => first.to_lowercase().chain(chars).collect(),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::Kind;
    use crate::schema::testing::model;

    /// Declared order (it decides within a bucket) on the left, the order in a message of AWS on the right.
    #[test]
    fn orders_are_those_that_were_seen_in_messages_of_aws() {
        let runtime = model("lambda").shapes.iter().find(|shape| shape.name == "Runtime").unwrap();
        let Kind::String { values: runtimes, .. } = &runtime.kind else { panic!("an enum") };
        for (declared, seen) in [
            // Lambda: CreateFunction with an unknown runtime, in 2022.
            (
                runtimes.as_slice(),
                "nodejs12.x, provided, nodejs16.x, nodejs14.x, ruby2.7, java11, dotnet6, go1.x, provided.al2, java8, \
                 java8.al2, dotnetcore3.1, python3.7, python3.8, python3.9",
            ),
            (&["x86_64", "arm64"], "x86_64, arm64"),
            (&["None", "Tail"], "Tail, None"),
            // DynamoDB: the members of a provisioned throughput when both are missing.
            (&["readCapacityUnits", "writeCapacityUnits"], "writeCapacityUnits, readCapacityUnits"),
            // Cognito: MfaConfiguration.
            (&["OFF", "ON", "OPTIONAL"], "OPTIONAL, OFF, ON"),
        ] {
            let declared = declared.iter().copied().filter(|one| seen.split(", ").any(|other| other == *one));
            assert_eq!(hash_order(declared.collect(), |name| name).join(", "), seen);
        }
    }

    #[test]
    fn only_the_first_letter_changes() {
        assert_eq!([lower_first("SSEKey"), lower_first("name"), lower_first("")], ["sSEKey", "name", ""]);
    }
}
