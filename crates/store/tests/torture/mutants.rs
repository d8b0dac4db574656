//! Planted bugs: a suite that passes with one of these proves nothing.

use store::testing::Mutant;

use crate::fences::fences;
use crate::flips::flips;
use crate::order::order;
use crate::power::power_cuts;

fn assert_found(by: &str, result: Result<(), String>) {
    match result {
        Ok(()) => panic!("the planted bug passed the test of {by}"),
        Err(violation) => eprintln!("found by {by}: {violation}"),
    }
}

#[test]
fn an_acknowledgement_before_the_sync_is_found() {
    let mutant = Some(Mutant::AckBeforeSync);
    assert_found("order", order(200, mutant));
    assert_found("power cuts", power_cuts(40, 200, mutant));
}

#[test]
fn an_ignored_epoch_is_found() {
    assert_found("fences", fences(3, Some(Mutant::EpochIgnored)));
}

#[test]
fn trusted_damage_is_found() {
    assert_found("flips", flips(1_000, true, Some(Mutant::DamageTrusted)));
}
