//! A serde serializer that makes a [`Value`].

use base::Timestamp;
use serde::ser::{self, Impossible, Serialize, Serializer};

use super::bridge::{self, HANDOVER, TIMESTAMP};
use super::{Name, Value, ValueError};

pub struct ToValue;

fn unfit(what: &str) -> ValueError {
    ValueError::Misfit(format!("{what} has no form in an AWS protocol"))
}

impl Serializer for ToValue {
    type Ok = Value;
    type Error = ValueError;
    type SerializeSeq = Elements;
    type SerializeTuple = Elements;
    type SerializeTupleStruct = Elements;
    type SerializeTupleVariant = Impossible<Value, ValueError>;
    type SerializeMap = Members;
    type SerializeStruct = Members;
    type SerializeStructVariant = Members;

    fn serialize_bool(self, flag: bool) -> Result<Value, ValueError> {
        Ok(Value::Bool(flag))
    }

    fn serialize_i8(self, number: i8) -> Result<Value, ValueError> {
        Ok(Value::Integer(number.into()))
    }

    fn serialize_i16(self, number: i16) -> Result<Value, ValueError> {
        Ok(Value::Integer(number.into()))
    }

    fn serialize_i32(self, number: i32) -> Result<Value, ValueError> {
        Ok(Value::Integer(number.into()))
    }

    fn serialize_i64(self, number: i64) -> Result<Value, ValueError> {
        Ok(Value::Integer(number))
    }

    fn serialize_u8(self, number: u8) -> Result<Value, ValueError> {
        Ok(Value::Integer(number.into()))
    }

    fn serialize_u16(self, number: u16) -> Result<Value, ValueError> {
        Ok(Value::Integer(number.into()))
    }

    fn serialize_u32(self, number: u32) -> Result<Value, ValueError> {
        Ok(Value::Integer(number.into()))
    }

    fn serialize_u64(self, number: u64) -> Result<Value, ValueError> {
        i64::try_from(number).map(Value::Integer).map_err(|_| unfit("an integer beyond 64 bits with sign"))
    }

    fn serialize_f32(self, number: f32) -> Result<Value, ValueError> {
        Ok(Value::Float(number.into()))
    }

    fn serialize_f64(self, number: f64) -> Result<Value, ValueError> {
        Ok(Value::Float(number))
    }

    fn serialize_char(self, letter: char) -> Result<Value, ValueError> {
        Ok(Value::String(letter.into()))
    }

    fn serialize_str(self, text: &str) -> Result<Value, ValueError> {
        Ok(Value::String(text.into()))
    }

    fn serialize_bytes(self, bytes: &[u8]) -> Result<Value, ValueError> {
        Ok(Value::Blob(bytes.to_vec().into()))
    }

    fn serialize_none(self) -> Result<Value, ValueError> {
        Ok(Value::Null)
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<Value, ValueError> {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result<Value, ValueError> {
        Ok(Value::EMPTY)
    }

    fn serialize_unit_struct(self, _name: &'static str) -> Result<Value, ValueError> {
        Ok(Value::EMPTY)
    }

    fn serialize_unit_variant(self, _: &'static str, _: u32, variant: &'static str) -> Result<Value, ValueError> {
        Ok(Value::String(variant.into()))
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        inner: &T,
    ) -> Result<Value, ValueError> {
        match name {
            TIMESTAMP => match inner.serialize(self)? {
                Value::Integer(micros) => Ok(Value::Timestamp(Timestamp::from_micros(micros))),
                _ => Err(unfit("a newtype `Timestamp` that is not base's")),
            },
            HANDOVER => {
                let mut outcome = Ok(Value::Null);
                let handed = bridge::receive(|| outcome = inner.serialize(self));
                outcome.and_then(|_| handed.ok_or_else(|| unfit("a value that was not handed over")))
            }
            _ => inner.serialize(self),
        }
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
        content: &T,
    ) -> Result<Value, ValueError> {
        Ok(Value::Map(vec![(variant.into(), content.serialize(self)?)]))
    }

    fn serialize_seq(self, len: Option<usize>) -> Result<Elements, ValueError> {
        Ok(Elements(Vec::with_capacity(len.unwrap_or(0))))
    }

    fn serialize_tuple(self, len: usize) -> Result<Elements, ValueError> {
        self.serialize_seq(Some(len))
    }

    fn serialize_tuple_struct(self, _name: &'static str, len: usize) -> Result<Elements, ValueError> {
        self.serialize_seq(Some(len))
    }

    fn serialize_tuple_variant(
        self,
        _name: &'static str,
        _index: u32,
        _variant: &'static str,
        _len: usize,
    ) -> Result<Self::SerializeTupleVariant, ValueError> {
        Err(unfit("an enum variant of several unnamed fields"))
    }

    fn serialize_map(self, len: Option<usize>) -> Result<Members, ValueError> {
        Ok(Members { members: Vec::with_capacity(len.unwrap_or(0)), key: None, variant: None })
    }

    fn serialize_struct(self, _name: &'static str, len: usize) -> Result<Members, ValueError> {
        self.serialize_map(Some(len))
    }

    fn serialize_struct_variant(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
        len: usize,
    ) -> Result<Members, ValueError> {
        Ok(Members { variant: Some(variant), ..self.serialize_map(Some(len))? })
    }
}

pub struct Elements(Vec<Value>);

impl ser::SerializeSeq for Elements {
    type Ok = Value;
    type Error = ValueError;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, element: &T) -> Result<(), ValueError> {
        self.0.push(element.serialize(ToValue)?);
        Ok(())
    }

    fn end(self) -> Result<Value, ValueError> {
        Ok(Value::List(self.0))
    }
}

impl ser::SerializeTuple for Elements {
    type Ok = Value;
    type Error = ValueError;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, element: &T) -> Result<(), ValueError> {
        ser::SerializeSeq::serialize_element(self, element)
    }

    fn end(self) -> Result<Value, ValueError> {
        ser::SerializeSeq::end(self)
    }
}

impl ser::SerializeTupleStruct for Elements {
    type Ok = Value;
    type Error = ValueError;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, field: &T) -> Result<(), ValueError> {
        ser::SerializeSeq::serialize_element(self, field)
    }

    fn end(self) -> Result<Value, ValueError> {
        ser::SerializeSeq::end(self)
    }
}

pub struct Members {
    members: Vec<(Name, Value)>,
    key: Option<Name>,
    /// The union's member around it all.
    variant: Option<&'static str>,
}

impl Members {
    fn push(&mut self, name: Name, value: Value) {
        if !matches!(value, Value::Null) {
            self.members.push((name, value));
        }
    }

    fn finish(self) -> Value {
        let content = Value::Map(self.members);
        match self.variant {
            Some(variant) => Value::Map(vec![(variant.into(), content)]),
            None => content,
        }
    }
}

impl ser::SerializeMap for Members {
    type Ok = Value;
    type Error = ValueError;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), ValueError> {
        self.key = Some(match key.serialize(ToValue)? {
            Value::String(text) => text.into(),
            Value::Integer(number) => number.to_string().into(),
            _ => return Err(unfit("a map key that is not a string")),
        });
        Ok(())
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), ValueError> {
        let key = self.key.take().unwrap_or_default();
        let value = value.serialize(ToValue)?;
        self.push(key, value);
        Ok(())
    }

    fn end(self) -> Result<Value, ValueError> {
        Ok(self.finish())
    }
}

impl ser::SerializeStruct for Members {
    type Ok = Value;
    type Error = ValueError;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, name: &'static str, value: &T) -> Result<(), ValueError> {
        let value = value.serialize(ToValue)?;
        self.push(Name::Borrowed(name), value);
        Ok(())
    }

    fn end(self) -> Result<Value, ValueError> {
        Ok(self.finish())
    }
}

impl ser::SerializeStructVariant for Members {
    type Ok = Value;
    type Error = ValueError;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, name: &'static str, value: &T) -> Result<(), ValueError> {
        ser::SerializeStruct::serialize_field(self, name, value)
    }

    fn end(self) -> Result<Value, ValueError> {
        Ok(self.finish())
    }
}
