//! The functions of Logs Insights by name: how many arguments each takes, and what it makes of them.
//!
//! A function that is given what it has no use for makes a missing value. Those that need more than values (`bin`,
//! `regexReplace`, `now` and their like) are the parser's.
//! Follows "Supported operations and functions" of the user guide. Not yet: `parseDate`, `formatDate`, `md5`, `sha256`,
//! `isReservedIP`, `messageSize`.

mod address;
mod choice;
mod code;
mod document;
mod number;
mod text;

pub use code::{base64, from_base64};

use super::value::Value;

#[derive(Debug)]
pub struct Function {
    pub name: &'static str,
    pub arguments_min: usize,
    pub arguments_max: usize,
    pub apply: for<'a> fn(&[Value<'a>]) -> Value<'a>,
}

/// No function takes more, but for those that take any number.
const MANY: usize = usize::MAX;

pub fn find(name: &str) -> Option<&'static Function> {
    FUNCTIONS.iter().find(|function| function.name.eq_ignore_ascii_case(name))
}

const fn function(
    name: &'static str,
    arguments_min: usize,
    arguments_max: usize,
    apply: for<'a> fn(&[Value<'a>]) -> Value<'a>,
) -> Function {
    Function { name, arguments_min, arguments_max, apply }
}

static FUNCTIONS: &[Function] = &[
    function("abs", 1, 1, number::abs),
    function("ceil", 1, 1, number::ceil),
    function("floor", 1, 1, number::floor),
    function("greatest", 1, MANY, number::greatest),
    function("least", 1, MANY, number::least),
    function("log", 1, 1, number::log),
    function("sqrt", 1, 1, number::sqrt),
    function("round", 1, 2, number::round),
    function("toNumber", 1, 1, number::to_number),
    function("toDouble", 1, 1, number::to_number),
    function("toInt", 1, 1, number::to_whole),
    function("toLong", 1, 1, number::to_whole),
    function("haversine", 4, 4, number::haversine),
    function("fromMillis", 1, 1, number::from_millis),
    function("toMillis", 1, 1, number::to_number),
    function("isempty", 1, 1, text::is_empty),
    function("isblank", 1, 1, text::is_blank),
    function("concat", 1, MANY, text::concat),
    function("ltrim", 1, 2, text::trim_left),
    function("rtrim", 1, 2, text::trim_right),
    function("trim", 1, 2, text::trim),
    function("strlen", 1, 1, text::length),
    function("toupper", 1, 1, text::to_upper),
    function("tolower", 1, 1, text::to_lower),
    function("substr", 2, 3, text::part),
    function("replace", 3, 3, text::replace),
    function("strcontains", 2, 2, text::contains),
    function("startsWith", 2, 2, text::starts_with),
    function("endsWith", 2, 2, text::ends_with),
    function("split", 2, 2, text::split),
    function("urlencode", 1, 1, code::url_encode),
    function("urldecode", 1, 1, code::url_decode),
    function("base64encode", 1, 1, code::base64_encode),
    function("base64decode", 1, 1, code::base64_decode),
    function("hexToAscii", 1, 1, code::hex_to_ascii),
    function("hexToDec", 1, 1, code::hex_to_dec),
    function("decToHex", 1, 1, code::dec_to_hex),
    function("ispresent", 1, 1, choice::is_present),
    function("coalesce", 1, MANY, choice::coalesce),
    function("case", 2, MANY, choice::case),
    function("if", 3, 3, choice::case),
    function("isNumeric", 1, 1, choice::is_numeric),
    function("jsonParse", 1, 1, document::parse),
    function("jsonStringify", 1, 1, document::stringify),
    function("jsonArraySize", 1, 1, document::array_size),
    function("jsonArrayContains", 2, 2, document::array_contains),
    function("isValidIp", 1, 1, address::is_valid),
    function("isValidIpV4", 1, 1, address::is_valid_v4),
    function("isValidIpV6", 1, 1, address::is_valid_v6),
    function("isIpInSubnet", 2, 2, address::is_in_subnet),
    function("isIpv4InSubnet", 2, 2, address::is_v4_in_subnet),
    function("isIpv6InSubnet", 2, 2, address::is_v6_in_subnet),
    function("ipv4ToNumber", 1, 1, address::v4_to_number),
    function("isPrivateIP", 1, 1, address::is_private),
    function("isPublicIP", 1, 1, address::is_public),
];

/// The argument at a place; missing where it was left out.
fn get<'v, 'a>(arguments: &'v [Value<'a>], index: usize) -> &'v Value<'a> {
    const MISSING: &Value<'static> = &Value::Missing;
    arguments.get(index).unwrap_or(MISSING)
}
