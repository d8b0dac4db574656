//! Functions of IP addresses and subnets.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::super::value::{self, Value};
use super::get;

fn address(value: &Value<'_>) -> Option<IpAddr> {
    value.as_text()?.parse().ok()
}

pub fn is_valid<'a>(arguments: &[Value<'a>]) -> Value<'a> {
    Value::truth(address(get(arguments, 0)).is_some())
}

pub fn is_valid_v4<'a>(arguments: &[Value<'a>]) -> Value<'a> {
    Value::truth(address(get(arguments, 0)).is_some_and(|address| address.is_ipv4()))
}

pub fn is_valid_v6<'a>(arguments: &[Value<'a>]) -> Value<'a> {
    Value::truth(address(get(arguments, 0)).is_some_and(|address| address.is_ipv6()))
}

/// Whether the first argument is of the family asked for and in the subnet that the second one writes, `10.0.0.0/8`.
fn is_within(arguments: &[Value<'_>], is_family: fn(&IpAddr) -> bool) -> bool {
    let Some(address) = address(get(arguments, 0)).filter(is_family) else { return false };
    let Some(subnet) = get(arguments, 1).as_text() else { return false };
    let Some((base, length)) = subnet.split_once('/') else { return false };
    let (Ok(base), Ok(length)) = (base.parse::<IpAddr>(), length.parse::<u32>()) else { return false };
    match (address, base) {
        (IpAddr::V4(address), IpAddr::V4(base)) => {
            let rest = Ipv4Addr::BITS.checked_sub(length);
            rest.is_some_and(|rest| same(address.to_bits().into(), base.to_bits().into(), rest))
        }
        (IpAddr::V6(address), IpAddr::V6(base)) => {
            let rest = Ipv6Addr::BITS.checked_sub(length);
            rest.is_some_and(|rest| same(address.to_bits(), base.to_bits(), rest))
        }
        _ => false,
    }
}

/// Without the last bits.
fn same(left: u128, right: u128, without: u32) -> bool {
    let cut = |bits: u128| bits.checked_shr(without).unwrap_or(0);
    cut(left) == cut(right)
}

pub fn is_in_subnet<'a>(arguments: &[Value<'a>]) -> Value<'a> {
    Value::truth(is_within(arguments, |_| true))
}

pub fn is_v4_in_subnet<'a>(arguments: &[Value<'a>]) -> Value<'a> {
    Value::truth(is_within(arguments, IpAddr::is_ipv4))
}

pub fn is_v6_in_subnet<'a>(arguments: &[Value<'a>]) -> Value<'a> {
    Value::truth(is_within(arguments, IpAddr::is_ipv6))
}

pub fn v4_to_number<'a>(arguments: &[Value<'a>]) -> Value<'a> {
    match address(get(arguments, 0)) {
        Some(IpAddr::V4(address)) => Value::Number(value::float(address.to_bits().into())),
        _ => Value::Missing,
    }
}

/// Addresses that no router passes on: of private networks, of the machine itself, of its link.
fn is_inner(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_private() || address.is_loopback() || address.is_link_local(),
        IpAddr::V6(address) => address.is_loopback() || address.is_unique_local() || address.is_unicast_link_local(),
    }
}

pub fn is_private<'a>(arguments: &[Value<'a>]) -> Value<'a> {
    Value::truth(address(get(arguments, 0)).is_some_and(is_inner))
}

pub fn is_public<'a>(arguments: &[Value<'a>]) -> Value<'a> {
    Value::truth(address(get(arguments, 0)).is_some_and(|address| !is_inner(address)))
}
