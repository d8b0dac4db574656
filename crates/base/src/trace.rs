//! X-Ray's header, `Root=..;Parent=..;Sampled=..`, as far as everybody reads it.

/// The longest that is listened to. AWS's tracers write about a hundred bytes, and a chain of functions a dozen for each of them.
const BYTES_MAX: usize = 2_048;

/// One of its fields, such as `Root`.
pub fn field<'h>(header: &'h str, name: &str) -> Option<&'h str> {
    let mut fields = header.split(';').filter_map(|field| field.trim().split_once('='));
    fields.find_map(|(found, value)| (found == name).then_some(value))
}

/// A header as a client sends it, if it is of the form and no longer than AWS's tracers write it. The bars between the functions of a lineage
/// arrive encoded from SDKs that do so with all that is special.
pub fn sent(text: &str) -> Option<String> {
    let text = text.replace("%7C", "|").replace("%7c", "|");
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"=;:-_ .|".contains(&byte);
    (text.len() <= BYTES_MAX && text.bytes().all(is_plain)).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_taken_as_tracers_and_sdks_write_them() {
        let header =
            "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1;Lineage=a87bd80c:1|68fd508a:5";
        assert_eq!(sent(header).as_deref(), Some(header));
        assert_eq!(sent(&header.replace('|', "%7C")).as_deref(), Some(header));
        assert_eq!(sent("Root=1\u{1b}"), None);
        assert_eq!(sent("Root=%00"), None);
        assert_eq!(sent(&format!("Root={}", "1".repeat(BYTES_MAX))), None);
    }
}
