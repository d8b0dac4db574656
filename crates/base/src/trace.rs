//! X-Ray's header, `Root=..;Parent=..;Sampled=..`, as far as everybody reads it.

/// One of its fields, such as `Root`.
pub fn field<'h>(header: &'h str, name: &str) -> Option<&'h str> {
    let mut fields = header.split(';').filter_map(|field| field.trim().split_once('='));
    fields.find_map(|(found, value)| (found == name).then_some(value))
}
