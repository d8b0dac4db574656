//! Tags, which live in the record of what has them, in the order in which they came.

use base::AwsError;
use serde::{Deserialize, Serialize};

use super::errors;

const TAGS_MAX: usize = 50;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct Tag {
    pub key: String,
    pub value: String,
}

/// Puts `given` in the place of tags of their keys, the others behind. Keys differ by more than case.
pub fn put(tags: &mut Vec<Tag>, given: &[Tag]) -> Result<(), AwsError> {
    for (index, tag) in given.iter().enumerate() {
        if tag.key.to_lowercase().starts_with("aws:") {
            return Err(errors::invalid_input(
                "Tag keys that begin with aws: are reserved for AWS and cannot be added, changed or deleted.",
            ));
        }
        if given.iter().skip(index.saturating_add(1)).any(|other| same(&other.key, &tag.key)) {
            return Err(errors::invalid_input(
                "Duplicate tag keys found. Please note that Tag keys are case insensitive.",
            ));
        }
        match tags.iter_mut().find(|had| same(&had.key, &tag.key)) {
            Some(had) => *had = tag.clone(),
            None => tags.push(tag.clone()),
        }
    }
    if tags.len() > TAGS_MAX {
        return Err(errors::too_many_tags());
    }
    Ok(())
}

/// Takes the tags of these keys away, where there are any.
pub fn remove(tags: &mut Vec<Tag>, keys: &[String]) {
    tags.retain(|tag| !keys.iter().any(|key| same(key, &tag.key)));
}

/// As lists of tags show them.
pub fn sorted(mut tags: Vec<Tag>) -> Vec<Tag> {
    tags.sort_by(|one, other| one.key.cmp(&other.key));
    tags
}

fn same(one: &str, other: &str) -> bool {
    one == other || one.to_lowercase() == other.to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tag(key: &str, value: &str) -> Tag {
        Tag { key: key.into(), value: value.into() }
    }

    #[test]
    fn a_tag_takes_the_place_of_its_key() {
        let mut tags = vec![tag("b", "1"), tag("a", "2")];
        put(&mut tags, &[tag("B", "3"), tag("c", "")]).unwrap();
        assert_eq!(tags, [tag("B", "3"), tag("a", "2"), tag("c", "")]);
        remove(&mut tags, &["A".into(), "nothing".into()]);
        assert_eq!(tags, [tag("B", "3"), tag("c", "")]);
        assert_eq!(put(&mut tags, &[tag("d", ""), tag("D", "")]).unwrap_err().code, "InvalidInput");
        assert_eq!(put(&mut tags, &[tag("AWS:x", "")]).unwrap_err().code, "InvalidInput");
        let many: Vec<Tag> = (0..49).map(|n| tag(&format!("k{n}"), "")).collect();
        assert_eq!(put(&mut tags, &many).unwrap_err().code, "LimitExceeded");
    }
}
