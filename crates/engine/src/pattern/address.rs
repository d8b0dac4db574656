//! Addresses of hosts, and blocks of them: `10.0.0.0/24`, `2001:db8::/32`.
//!
//! A text of a pattern that looks like an address is one for AWS: it equals every text that means the same address.

use std::net::{Ipv4Addr, Ipv6Addr};

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Address {
    V4(u32),
    V6(u128),
}

/// Addresses whose first bits are the same.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Block {
    base: Address,
    fixed_bits: u32,
}

impl Address {
    /// Nothing for names, and numbers that are too large.
    pub fn read(text: &str) -> Option<Address> {
        if text.contains(':') {
            return text.parse::<Ipv6Addr>().ok().filter(|_| !text.contains('.')).map(Address::from_v6);
        }
        let mut parts = text.split('.');
        let mut octets = [0_u8; 4];
        for octet in &mut octets {
            let part = parts.next().filter(|part| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit()))?;
            let digits = part.trim_start_matches('0');
            *octet = if digits.is_empty() { 0 } else { digits.parse().ok()? };
        }
        parts.next().is_none().then(|| Address::V4(Ipv4Addr::from(octets).to_bits()))
    }

    /// An address of version 4 may be written as one of version 6.
    fn from_v6(address: Ipv6Addr) -> Address {
        match address.to_ipv4_mapped() {
            Some(address) => Address::V4(address.to_bits()),
            None => Address::V6(address.to_bits()),
        }
    }

    /// What is wrong with one, in AWS's words.
    fn read_or_say(text: &str) -> Result<Address, String> {
        let is_shaped_v4 = {
            let mut parts = text.split('.');
            let is_digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
            parts.clone().count() == 4 && parts.all(is_digits)
        };
        let is_shaped_v6 = text.contains(':') && text.bytes().all(|b| b == b':' || b.is_ascii_hexdigit());
        if !is_shaped_v4 && !is_shaped_v6 {
            return Err(format!("Nonstandard IP address: {text}"));
        }
        Address::read(text).ok_or_else(|| format!("Invalid IP address: {text}"))
    }
}

impl Block {
    /// The block of one address alone.
    pub fn of(address: Address) -> Block {
        let fixed_bits = match address {
            Address::V4(_) => u32::BITS,
            Address::V6(_) => u128::BITS,
        };
        Block { base: address, fixed_bits }
    }

    /// What is wrong with it, in AWS's words.
    pub fn read(text: &str) -> Result<Block, String> {
        let say = |what: &str| Err(what.to_owned());
        let (address, bits) = match text.trim_end_matches('/').split_once('/') {
            Some((address, bits)) if !bits.contains('/') => (address, bits),
            _ => return say("Malformed CIDR, one '/' required"),
        };
        let Ok(bits) = bits.parse::<i32>() else { return say("Malformed CIDR, mask bits must be an integer") };
        let Ok(fixed_bits) = u32::try_from(bits) else { return say("Malformed CIDR, mask bits must not be negative") };
        let base = Address::read_or_say(address)?;
        match base {
            Address::V4(_) if fixed_bits >= u32::BITS => say("IPv4 mask bits must be < 32"),
            Address::V6(_) if fixed_bits >= u128::BITS => say("IPv6 mask bits must be < 128"),
            base => Ok(Block { base, fixed_bits }),
        }
    }

    pub fn contains(&self, address: Address) -> bool {
        let differing_from = match (self.base, address) {
            (Address::V4(own), Address::V4(other)) => (own ^ other).leading_zeros(),
            (Address::V6(own), Address::V6(other)) => (own ^ other).leading_zeros(),
            _ => return false,
        };
        differing_from >= self.fixed_bits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_in(block: &str, address: &str) -> bool {
        Address::read(address).is_some_and(|address| Block::read(block).unwrap().contains(address))
    }

    #[test]
    fn a_block_holds_the_addresses_that_begin_as_it_does() {
        assert!(is_in("10.0.0.0/24", "10.0.0.255") && is_in("10.0.0.7/24", "010.0.0.1"));
        assert!(!is_in("10.0.0.0/24", "10.0.1.0") && !is_in("10.0.0.0/24", "10.0.0.256"));
        assert!(
            is_in("0.0.0.0/0", "255.1.2.3") && is_in("10.0.0.0/31", "10.0.0.1") && !is_in("10.0.0.0/31", "10.0.0.2")
        );
        assert!(is_in("2001:db8::/32", "2001:0DB8:1::") && !is_in("::/0", "10.0.0.1"));
        assert!(is_in("10.0.0.0/8", "::ffff:0a01:0203"));
    }

    #[test]
    fn what_is_no_block_is_told_in_words_of_aws() {
        for (text, words) in [
            ("10.0.0.0", "Malformed CIDR, one '/' required"),
            ("10.0.0.0/", "Malformed CIDR, one '/' required"),
            ("10.0.0.0/1/2", "Malformed CIDR, one '/' required"),
            ("10.0.0.0/x", "Malformed CIDR, mask bits must be an integer"),
            ("10.0.0.0/-1", "Malformed CIDR, mask bits must not be negative"),
            ("10.0.0.0/32", "IPv4 mask bits must be < 32"),
            ("::/128", "IPv6 mask bits must be < 128"),
            ("localhost/8", "Nonstandard IP address: localhost"),
            ("10.0.0.256/8", "Invalid IP address: 10.0.0.256"),
        ] {
            assert_eq!(Block::read(text), Err(words.to_owned()), "{text}");
        }
    }
}
