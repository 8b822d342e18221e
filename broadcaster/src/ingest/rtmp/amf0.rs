//! AMF0, the notation of RTMP commands: values out of bytes and back.
//!
//! What comes off the wire is hostile. Depth, number of values and length of strings are bounded, so that no message can
//! exhaust the stack or make the reader allocate more than a small multiple of its own size.

/// Commands of real encoders nest two deep; recursion stops well before the stack does.
const MAX_DEPTH: usize = 8;
/// A `connect` has some twenty values, an `onMetaData` some thirty.
const MAX_VALUES: usize = 1024;

const NUMBER: u8 = 0x00;
const BOOLEAN: u8 = 0x01;
const STRING: u8 = 0x02;
const OBJECT: u8 = 0x03;
const NULL: u8 = 0x05;
const UNDEFINED: u8 = 0x06;
const ECMA_ARRAY: u8 = 0x08;
const OBJECT_END: u8 = 0x09;
const STRICT_ARRAY: u8 = 0x0A;
const DATE: u8 = 0x0B;
const LONG_STRING: u8 = 0x0C;

/// One AMF0 value. `undefined` reads as `Null`, a date as its number, an ECMA array as an object.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// A double.
    Number(f64),
    /// A boolean.
    Bool(bool),
    /// A string of at most 65,535 bytes when written.
    String(String),
    /// Named values in their order.
    Object(Vec<(String, Value)>),
    /// Values in their order.
    Array(Vec<Value>),
    /// Null or undefined.
    Null,
}

impl Value {
    /// The string, if it is one.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Value::String(text) => Some(text),
            _ => None,
        }
    }

    /// The number, if it is one.
    pub fn as_number(&self) -> Option<f64> {
        match self {
            Value::Number(number) => Some(*number),
            _ => None,
        }
    }

    /// The value of a property, if this is an object that has it.
    pub fn get(&self, name: &str) -> Option<&Value> {
        match self {
            Value::Object(properties) => properties.iter().find(|(key, _)| key == name).map(|(_, value)| value),
            _ => None,
        }
    }
}

/// Why bytes are not AMF0 that this reader accepts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Amf0Error {
    /// A value runs past the end of its message.
    #[error("amf0 value runs past the end of its message")]
    Truncated,
    /// A marker outside AMF0.
    #[error("unknown amf0 marker {0:#04x}")]
    UnknownMarker(u8),
    /// Objects within objects.
    #[error("amf0 values nest deeper than {MAX_DEPTH}")]
    TooDeep,
    /// More values than any command has.
    #[error("more than {MAX_VALUES} amf0 values in one message")]
    TooMany,
}

/// Reads all the values of a message.
pub fn decode(bytes: &[u8]) -> Result<Vec<Value>, Amf0Error> {
    let mut reader = Reader { rest: bytes, budget: MAX_VALUES };
    let mut values = Vec::new();
    while !reader.rest.is_empty() {
        values.push(reader.value(0)?);
    }
    Ok(values)
}

/// Writes values one after the other. A string longer than 65,535 bytes is cut at a character's end.
pub fn encode(values: &[Value]) -> Vec<u8> {
    let mut out = Vec::new();
    for value in values {
        write(&mut out, value);
    }
    out
}

struct Reader<'a> {
    rest: &'a [u8],
    budget: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], Amf0Error> {
        let (head, tail) = self.rest.split_at_checked(count).ok_or(Amf0Error::Truncated)?;
        self.rest = tail;
        Ok(head)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Amf0Error> {
        let (head, tail) = self.rest.split_first_chunk::<N>().ok_or(Amf0Error::Truncated)?;
        self.rest = tail;
        Ok(*head)
    }

    fn text(&mut self, length: usize) -> Result<String, Amf0Error> {
        Ok(String::from_utf8_lossy(self.take(length)?).into_owned())
    }

    fn short_text(&mut self) -> Result<String, Amf0Error> {
        let length = u16::from_be_bytes(self.array()?);
        self.text(length.into())
    }

    fn value(&mut self, depth: usize) -> Result<Value, Amf0Error> {
        if depth > MAX_DEPTH {
            return Err(Amf0Error::TooDeep);
        }
        self.budget = self.budget.checked_sub(1).ok_or(Amf0Error::TooMany)?;
        let [marker] = self.array()?;
        Ok(match marker {
            NUMBER => Value::Number(f64::from_be_bytes(self.array()?)),
            BOOLEAN => Value::Bool(self.array::<1>()? != [0]),
            STRING => Value::String(self.short_text()?),
            LONG_STRING => {
                let length = u32::from_be_bytes(self.array()?);
                Value::String(self.text(length as usize)?)
            }
            NULL | UNDEFINED => Value::Null,
            OBJECT => self.object(depth)?,
            ECMA_ARRAY => {
                self.take(4)?; // the count is only a hint: the end marker rules
                self.object(depth)?
            }
            STRICT_ARRAY => {
                let count = u32::from_be_bytes(self.array()?);
                let mut values = Vec::new();
                for _ in 0..count {
                    values.push(self.value(depth + 1)?);
                }
                Value::Array(values)
            }
            DATE => {
                let number = f64::from_be_bytes(self.array()?);
                self.take(2)?; // a time zone that nobody uses
                Value::Number(number)
            }
            other => return Err(Amf0Error::UnknownMarker(other)),
        })
    }

    fn object(&mut self, depth: usize) -> Result<Value, Amf0Error> {
        let mut properties = Vec::new();
        loop {
            // Some encoders leave the end marker out of the last object of a message.
            if self.rest.is_empty() {
                return Ok(Value::Object(properties));
            }
            let name = self.short_text()?;
            if name.is_empty() && self.rest.first() == Some(&OBJECT_END) {
                self.take(1)?;
                return Ok(Value::Object(properties));
            }
            properties.push((name, self.value(depth + 1)?));
        }
    }
}

fn write(out: &mut Vec<u8>, value: &Value) {
    match value {
        Value::Number(number) => {
            out.push(NUMBER);
            out.extend(number.to_be_bytes());
        }
        Value::Bool(flag) => out.extend([BOOLEAN, u8::from(*flag)]),
        Value::String(text) => {
            out.push(STRING);
            write_text(out, text);
        }
        Value::Object(properties) => {
            out.push(OBJECT);
            for (name, value) in properties {
                write_text(out, name);
                write(out, value);
            }
            out.extend([0, 0, OBJECT_END]);
        }
        Value::Array(values) => {
            out.push(STRICT_ARRAY);
            out.extend((values.len() as u32).to_be_bytes());
            for value in values {
                write(out, value);
            }
        }
        Value::Null => out.push(NULL),
    }
}

fn write_text(out: &mut Vec<u8>, text: &str) {
    let end = text.floor_char_boundary(usize::from(u16::MAX));
    out.extend((end as u16).to_be_bytes());
    out.extend(&text.as_bytes()[..end]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_survive_a_round_trip() {
        let values = vec![
            Value::String("connect".into()),
            Value::Number(1.0),
            Value::Object(vec![
                ("app".into(), Value::String("live".into())),
                ("list".into(), Value::Array(vec![Value::Bool(true), Value::Null])),
            ]),
        ];
        assert_eq!(decode(&encode(&values)).unwrap(), values);
    }

    #[test]
    fn an_array_nested_a_million_deep_is_refused_without_recursing() {
        let bytes: Vec<u8> = [STRICT_ARRAY, 0, 0, 0, 1].repeat(1_000_000);
        assert_eq!(decode(&bytes), Err(Amf0Error::TooDeep));
    }

    #[test]
    fn a_count_beyond_the_message_allocates_nothing() {
        assert_eq!(decode(&[STRICT_ARRAY, 0xFF, 0xFF, 0xFF, 0xFF]), Err(Amf0Error::Truncated));
        assert_eq!(decode(&[NULL; MAX_VALUES + 1]), Err(Amf0Error::TooMany));
        assert_eq!(decode(&[LONG_STRING, 0xFF, 0xFF, 0xFF, 0xFF, b'a']), Err(Amf0Error::Truncated));
    }
}
