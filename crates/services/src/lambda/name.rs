//! Function names, in every form that a caller may write them.
//!
//! `name`, `name:qualifier`, `function:name`, `ACCOUNT:function:name`, and the full ARN with or without qualifier.
//! The pattern of the model has let only these through, so what is decided here is whose function is meant.

use base::{AccountId, AwsError};

use super::{errors, function, permission, version};
use crate::Ctx;

/// The longest name of a function; the model's 140 is for names in ARN form.
const NAME_CHARS_MAX: usize = 64;

/// A function of the caller's account and region, and the version or alias asked for, if any.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FunctionRef {
    pub name: String,
    pub qualifier: Option<String>,
}

/// The parts as written.
#[derive(Debug, Default, PartialEq, Eq)]
struct Parts<'a> {
    region: Option<&'a str>,
    account: Option<&'a str>,
    name: &'a str,
    qualifier: Option<&'a str>,
}

impl FunctionRef {
    /// Parses `text` as an existing function's name. `qualifier` is the request's own parameter, which must not
    /// contradict one inside the name.
    pub fn parse(ctx: &Ctx, operation: &str, text: &str, qualifier: Option<&str>) -> Result<Self, AwsError> {
        let parts = Parts::of(text);
        if let Some(account) = parts.account.filter(|account| *account != ctx.cx.account.as_str()) {
            return Err(errors::other_account(ctx, operation, account, parts.region, parts.name));
        }
        if let Some(region) = parts.region.filter(|region| *region != ctx.cx.region.as_str()) {
            return Err(errors::other_region(ctx, region));
        }
        let qualifier = match (parts.qualifier, qualifier) {
            (Some(inside), Some(beside)) if inside != beside => return Err(errors::qualifiers_differ()),
            (inside, beside) => inside.or(beside).map(str::to_owned),
        };
        let asked = Self { name: parts.name.to_owned(), qualifier };
        // A number is written in one way, or it is no version's.
        match asked.qualifier.as_deref() {
            Some(number) if is_number(number) && Qualifier::of(number) == Qualifier::Nothing => {
                Err(errors::function_not_found(&asked.arn(ctx)))
            }
            _ => Ok(asked),
        }
    }

    /// As [`Self::parse`], for the operations that a policy may grant to other accounts. What comes back with the name
    /// is the context in which the function is: its owner's account.
    pub async fn locate(
        ctx: Ctx,
        operation: &str,
        text: &str,
        qualifier: Option<&str>,
    ) -> Result<(Ctx, Self), AwsError> {
        Self::locate_granted(ctx, operation, text, qualifier, Self::clone).await
    }

    /// As [`Self::locate`], for operations on a function as a whole: what is granted to a version or an alias of it does
    /// not grant them.
    pub async fn locate_whole(ctx: Ctx, operation: &str, text: &str) -> Result<(Ctx, Self), AwsError> {
        let whole = |asked: &Self| Self { name: asked.name.clone(), qualifier: None };
        Self::locate_granted(ctx, operation, text, None, whole).await
    }

    /// `granted` is what a policy must grant for what is asked.
    async fn locate_granted(
        ctx: Ctx,
        operation: &str,
        text: &str,
        qualifier: Option<&str>,
        granted: fn(&Self) -> Self,
    ) -> Result<(Ctx, Self), AwsError> {
        let owner = Parts::of(text).account.and_then(|account| account.parse::<AccountId>().ok());
        let Some(owner) = owner.filter(|owner| *owner != ctx.cx.account) else {
            let asked = Self::parse(&ctx, operation, text, qualifier)?;
            return Ok((ctx, asked));
        };
        let mut there = ctx.clone();
        there.cx.account = owner;
        // Nobody learns from a refusal what others have: whatever is wrong there, the caller may not see it.
        let refused = || Self::parse(&ctx, operation, text, qualifier).err();
        let asked = Self::parse(&there, operation, text, qualifier).map_err(|error| refused().unwrap_or(error))?;
        if !permission::grants(&there, &granted(&asked), operation).await? {
            return Err(refused().unwrap_or_else(|| errors::function_not_found(&asked.arn(&there))));
        }
        Ok((there, asked))
    }

    /// Parses `text` as the name of a function to be made.
    pub fn parse_new(ctx: &Ctx, text: &str) -> Result<String, AwsError> {
        let function = Self::parse(ctx, "CreateFunction", text, None)?;
        if function.name.len() > NAME_CHARS_MAX {
            return Err(errors::invalid_parameter(format!(
                "1 validation error detected: Value '{}' at 'functionName' failed to satisfy constraint: \
                 Member must have length less than or equal to {NAME_CHARS_MAX}",
                function.name
            )));
        }
        Ok(function.name)
    }

    /// The name, for what can be done to `$LATEST` alone.
    pub fn latest(self) -> Result<String, AwsError> {
        match self.qualifier.as_deref() {
            None | Some("$LATEST") => Ok(self.name),
            Some(_) => Err(errors::functions_only()),
        }
    }

    /// The name, for what can be done to a function as a whole alone: not even `$LATEST` is that.
    pub fn whole(self) -> Result<String, AwsError> {
        match self.qualifier {
            None => Ok(self.name),
            Some(_) => Err(errors::functions_only()),
        }
    }

    /// What was asked for, as an ARN.
    pub fn arn(&self, ctx: &Ctx) -> String {
        let qualifier = self.qualifier.as_deref().map(|qualifier| format!(":{qualifier}")).unwrap_or_default();
        format!("{}{qualifier}", function::arn(ctx, &self.name))
    }

    /// What AWS says when there is no such version or alias.
    pub fn missing(&self, ctx: &Ctx) -> AwsError {
        match self.qualifier.as_deref().map(Qualifier::of) {
            Some(Qualifier::Alias(_)) => errors::cannot_find_alias(&self.arn(ctx)),
            _ => errors::function_not_found(&self.arn(ctx)),
        }
    }
}

/// What a qualifier can mean. Whether there is such a thing is [`function::qualified`]'s to say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Qualifier<'a> {
    Latest,
    Version(u64),
    Alias(&'a str),
    /// A number that is written as no version's is, or what begins as only `$LATEST` does.
    Nothing,
}

impl<'a> Qualifier<'a> {
    pub fn of(text: &'a str) -> Self {
        match text {
            "$LATEST" => Self::Latest,
            number if is_number(number) => version::number(number).map_or(Self::Nothing, Self::Version),
            text if text.contains('$') => Self::Nothing,
            alias => Self::Alias(alias),
        }
    }
}

fn is_number(text: &str) -> bool {
    text.bytes().all(|digit| digit.is_ascii_digit())
}

impl<'a> Parts<'a> {
    fn of(text: &'a str) -> Self {
        let mut rest = text;
        let mut parts = Self::default();
        if let Some(("arn", behind)) = rest.split_once(':') {
            // `arn:PARTITION:lambda:REGION:ACCOUNT:function:NAME`
            let mut head = behind.splitn(5, ':');
            let _partition_and_service = (head.next(), head.next());
            (parts.region, parts.account) = (head.next(), head.next());
            rest = head.next().unwrap_or_default();
        } else if let Some((account, behind)) = rest.split_once(':')
            && account.len() == 12
            && account.bytes().all(|digit| digit.is_ascii_digit())
            && behind.starts_with("function:")
        {
            parts.account = Some(account);
            rest = behind;
        }
        rest = rest.strip_prefix("function:").unwrap_or(rest);
        (parts.name, parts.qualifier) = match rest.split_once(':') {
            Some((name, qualifier)) => (name, Some(qualifier)),
            None => (rest, None),
        };
        parts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_names_the_same_function() {
        let plain = |name, qualifier| Parts { name, qualifier, ..Parts::default() };
        assert_eq!(Parts::of("f"), plain("f", None));
        assert_eq!(Parts::of("f:$LATEST"), plain("f", Some("$LATEST")));
        assert_eq!(Parts::of("function:f"), plain("f", None));
        assert_eq!(Parts::of("function:f:7"), plain("f", Some("7")));
        let account = Some("000000000000");
        assert_eq!(Parts::of("000000000000:function:f"), Parts { account, ..plain("f", None) });
        let region = Some("eu-west-1");
        let arn = "arn:aws:lambda:eu-west-1:000000000000:function:f:live";
        assert_eq!(Parts::of(arn), Parts { account, region, ..plain("f", Some("live")) });
        // Twelve digits alone are a name.
        assert_eq!(Parts::of("123456789012"), plain("123456789012", None));
        assert_eq!(Parts::of("123456789012:v"), plain("123456789012", Some("v")));
    }
}
