//! Scalars read as leniently as existing scripts need, and never written so: numbers for texts, `True` for true.

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::{Deserialize, Deserializer, Error, Visitor};

/// A text; numbers and booleans are taken for one, white space around it is dropped.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(transparent)]
pub struct Text(pub String);

impl From<&str> for Text {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl From<String> for Text {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl std::ops::Deref for Text {
    type Target = str;
    fn deref(&self) -> &str {
        &self.0
    }
}

impl JsonSchema for Text {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Text".into()
    }
    fn inline_schema() -> bool {
        true
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        schemars::json_schema!({ "type": "string" })
    }
}

struct TextVisitor;

impl Visitor<'_> for TextVisitor {
    type Value = Text;
    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a text")
    }
    fn visit_str<E: Error>(self, text: &str) -> Result<Text, E> {
        Ok(Text(text.trim().to_owned()))
    }
    fn visit_bool<E: Error>(self, flag: bool) -> Result<Text, E> {
        Ok(Text(flag.to_string()))
    }
    fn visit_i64<E: Error>(self, number: i64) -> Result<Text, E> {
        Ok(Text(number.to_string()))
    }
    fn visit_u64<E: Error>(self, number: u64) -> Result<Text, E> {
        Ok(Text(number.to_string()))
    }
    fn visit_f64<E: Error>(self, number: f64) -> Result<Text, E> {
        Ok(Text(number.to_string()))
    }
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(TextVisitor)
    }
}

/// True or false; `"True"` and `"false"` are taken too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, JsonSchema)]
#[serde(transparent)]
pub struct Flag(pub bool);

impl<'de> Deserialize<'de> for Flag {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = Text::deserialize(from)?;
        flag(&text).map(Self).ok_or_else(|| D::Error::custom("neither true nor false"))
    }
}

/// A number; digits in a text are taken too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, JsonSchema)]
#[serde(transparent)]
pub struct Number(pub i64);

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = Text::deserialize(from)?;
        text.parse().map(Self).map_err(|_| D::Error::custom("not a whole number"))
    }
}

/// A truth value in any case.
pub fn flag(text: &str) -> Option<bool> {
    match text.trim() {
        yes if yes.eq_ignore_ascii_case("true") => Some(true),
        no if no.eq_ignore_ascii_case("false") => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scalars_stand_in_for_each_other() {
        let texts = [
            ("\" a b \"", Some("a b")),
            ("111", Some("111")),
            ("true", Some("true")),
            ("{}", None),
            ("[1]", None),
        ];
        for (json, expected) in texts {
            let found = serde_json::from_str::<Text>(json).ok().map(|text| text.0);
            assert_eq!(found.as_deref(), expected, "{json}");
        }
        let flags = [
            ("true", Some(true)),
            ("\"True\"", Some(true)),
            ("\"FALSE\"", Some(false)),
            ("\"x\"", None),
            ("1", None),
        ];
        for (json, expected) in flags {
            assert_eq!(serde_json::from_str::<Flag>(json).ok().map(|flag| flag.0), expected, "{json}");
        }
        assert_eq!(serde_json::from_str::<Number>("\"7\"").unwrap(), Number(7));
        assert!(serde_json::from_str::<Number>("\"x\"").is_err());
    }
}
