//! A serde deserializer over a [`Value`].

use base::Timestamp;
use serde::de::value::{I64Deserializer, SeqDeserializer, StringDeserializer};
use serde::de::{self, DeserializeSeed, Deserializer, EnumAccess, IntoDeserializer, MapAccess, VariantAccess, Visitor};
use serde::forward_to_deserialize_any;

use super::bridge::{self, HANDOVER, TIMESTAMP};
use super::{Name, Value, ValueError};

/// A value about to become something typed.
pub struct FromValue(pub Value);

impl<'de> IntoDeserializer<'de, ValueError> for FromValue {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

fn misfit(expected: &str, found: &Value) -> ValueError {
    ValueError::Misfit(format!("expected {expected}, found {}", found.kind()))
}

impl<'de> Deserializer<'de> for FromValue {
    type Error = ValueError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        match self.0 {
            Value::Null => visitor.visit_unit(),
            Value::Bool(flag) => visitor.visit_bool(flag),
            Value::Integer(number) => visitor.visit_i64(number),
            Value::Float(number) => visitor.visit_f64(number),
            Value::String(text) => visitor.visit_string(text),
            Value::List(elements) => visitor.visit_seq(SeqDeserializer::new(elements.into_iter().map(FromValue))),
            Value::Map(members) => visitor.visit_map(Members { rest: members.into_iter(), next: None }),
            // A blob or a timestamp asked for as anything else would lose what it is.
            found @ (Value::Blob(_) | Value::Timestamp(_)) => Err(misfit("something else", &found)),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        match self.0 {
            Value::Null => visitor.visit_none(),
            value => visitor.visit_some(FromValue(value)),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, ValueError> {
        match (name, self.0) {
            (TIMESTAMP, Value::Timestamp(moment)) => {
                visitor.visit_newtype_struct(I64Deserializer::new(Timestamp::as_micros(moment)))
            }
            (TIMESTAMP, found) => Err(misfit("a timestamp", &found)),
            (HANDOVER, value) => bridge::send(value, || visitor.visit_unit()),
            (_, value) => visitor.visit_newtype_struct(FromValue(value)),
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ValueError> {
        match self.0 {
            Value::String(variant) => visitor.visit_enum(Union { variant: variant.into(), content: None }),
            Value::Map(members) => match <[(Name, Value); 1]>::try_from(members) {
                Ok([(variant, content)]) => visitor.visit_enum(Union { variant, content: Some(content) }),
                Err(members) => {
                    Err(ValueError::Misfit(format!("expected one member of a union, found {}", members.len())))
                }
            },
            found => Err(misfit("a string or a union", &found)),
        }
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        visitor.visit_unit()
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq tuple
        tuple_struct map struct identifier
    }
}

/// A member name: borrowed from the model mostly, so the common case makes no copy.
fn name(name: Name) -> NameDeserializer {
    NameDeserializer(name)
}

struct NameDeserializer(Name);

impl<'de> Deserializer<'de> for NameDeserializer {
    type Error = ValueError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        match self.0 {
            Name::Borrowed(text) => visitor.visit_borrowed_str(text),
            Name::Owned(text) => visitor.visit_string(text),
        }
    }

    /// A map whose keys are an enum.
    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ValueError> {
        let key: StringDeserializer<ValueError> = self.0.into_owned().into_deserializer();
        key.deserialize_enum(name, variants, visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, ValueError> {
        visitor.visit_newtype_struct(self)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct seq
        tuple tuple_struct map struct identifier ignored_any
    }
}

struct Members {
    rest: std::vec::IntoIter<(Name, Value)>,
    next: Option<Value>,
}

impl<'de> MapAccess<'de> for Members {
    type Error = ValueError;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, ValueError> {
        let Some((key, value)) = self.rest.next() else { return Ok(None) };
        self.next = Some(value);
        seed.deserialize(name(key)).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, ValueError> {
        seed.deserialize(FromValue(self.next.take().unwrap_or_default()))
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.rest.len())
    }
}

struct Union {
    variant: Name,
    content: Option<Value>,
}

impl<'de> EnumAccess<'de> for Union {
    type Error = ValueError;
    type Variant = Content;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Content), ValueError> {
        Ok((seed.deserialize(name(self.variant))?, Content(self.content)))
    }
}

struct Content(Option<Value>);

impl<'de> VariantAccess<'de> for Content {
    type Error = ValueError;

    fn unit_variant(self) -> Result<(), ValueError> {
        Ok(())
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, ValueError> {
        seed.deserialize(FromValue(self.0.unwrap_or_default()))
    }

    fn tuple_variant<V: Visitor<'de>>(self, _len: usize, visitor: V) -> Result<V::Value, ValueError> {
        de::Deserializer::deserialize_any(FromValue(self.0.unwrap_or_default()), visitor)
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        _fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ValueError> {
        de::Deserializer::deserialize_any(FromValue(self.0.unwrap_or_default()), visitor)
    }
}
