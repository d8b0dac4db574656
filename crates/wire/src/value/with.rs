//! Two structures read out of one.

use std::marker::PhantomData;

use serde::de::{Deserialize, DeserializeOwned, Deserializer, Error, Visitor};
use serde::forward_to_deserialize_any;

use super::de::FromValue;
use super::{Name, Value, ValueError};

/// An input that is two: `A` takes the members that it names, `B` gets the rest. So operations can share a part of
/// their inputs, and `B` still denies what neither knows.
#[derive(Debug)]
pub struct With<A, B>(pub A, pub B);

impl<'de, A: DeserializeOwned, B: DeserializeOwned> Deserialize<'de> for With<A, B> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut value = Value::deserialize(deserializer)?;
        let Value::Map(members) = &mut value else { return Err(D::Error::custom("a structure has members")) };
        // The errors of the parts are ours, and have to come out as they went in.
        let handed = |error: ValueError| match error {
            ValueError::NotTaken(member) => D::Error::unknown_field(&member, &[]),
            ValueError::Misfit(message) => D::Error::custom(message),
        };
        let a = A::deserialize(Taking(members, PhantomData)).map_err(handed)?;
        let b = B::deserialize(FromValue(value)).map_err(handed)?;
        Ok(Self(a, b))
    }
}

/// Gives a structure the members that it names, and leaves the others.
struct Taking<'a, 'de>(&'a mut Vec<(Name, Value)>, PhantomData<&'de ()>);

impl<'de> Deserializer<'de> for Taking<'_, 'de> {
    type Error = ValueError;

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ValueError> {
        let taken = self.0.extract_if(.., |(name, _)| fields.contains(&name.as_ref())).collect();
        FromValue(Value::Map(taken)).deserialize_struct(name, fields, visitor)
    }

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, ValueError> {
        Err(ValueError::Misfit("the first of two parts is a structure that names its members".into()))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;
    use crate::Blob;

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Own {
        name: String,
        code: Blob,
    }

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(rename_all = "PascalCase", deny_unknown_fields)]
    struct Shared {
        size: Option<u32>,
        at: base::Timestamp,
    }

    fn input(more: &[(&'static str, Value)]) -> Value {
        let at = base::Timestamp::from_millis(5);
        let mut members = vec![
            ("At".into(), Value::Timestamp(at)),
            ("Name".into(), Value::String("n".into())),
            ("Code".into(), Value::Blob(vec![1].into())),
        ];
        members.extend(more.iter().map(|(name, value)| (Name::from(*name), value.clone())));
        Value::Map(members)
    }

    #[test]
    fn each_part_takes_its_own_and_what_nobody_takes_is_named() {
        let With(own, shared): With<Own, Shared> = input(&[("Size", Value::Integer(7))]).into_typed().unwrap();
        assert_eq!(own, Own { name: "n".into(), code: vec![1].into() });
        assert_eq!(shared, Shared { size: Some(7), at: base::Timestamp::from_millis(5) });

        let strange = input(&[("Durable", Value::Bool(true))]).into_typed::<With<Own, Shared>>();
        assert_eq!(strange.unwrap_err(), ValueError::NotTaken("Durable".into()));
        let misfit = input(&[("Size", Value::Bool(true))]).into_typed::<With<Own, Shared>>();
        assert!(matches!(misfit.unwrap_err(), ValueError::Misfit(_)));
    }
}
