//! JSON and YAML as one tree of bounded weight.
//!
//! Aliases of YAML count each time they are expanded, so that a small document does not become a large one. Keys of YAML that are
//! numbers are read as the texts they are in JSON. Depth is bounded by the readers (128 levels).

use std::cell::Cell;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde::ser::{Serialize, SerializeMap, Serializer};

/// Most nodes and bytes of text that one document becomes, together.
pub const MAX_WEIGHT: usize = 24 << 20;
/// What a node weighs beside its text.
const NODE_WEIGHT: usize = 32;

/// What a document is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// JSON.
    Json,
    /// YAML.
    Yaml,
}

impl Form {
    /// By the first character: an object of JSON is read as JSON, which YAML does not quite contain.
    pub fn of(document: &[u8]) -> Self {
        let start = document.strip_prefix("\u{feff}".as_bytes()).unwrap_or(document);
        if start.trim_ascii_start().starts_with(b"{") { Self::Json } else { Self::Yaml }
    }
}

/// Reads a document.
///
/// # Errors
/// What the reader says.
pub fn read(document: &[u8], form: Form) -> Result<Node, String> {
    let weight = Cell::new(0);
    let seed = Seed(&weight);
    match form {
        Form::Json => {
            let document = document.strip_prefix("\u{feff}".as_bytes()).unwrap_or(document);
            let mut reader = serde_json::Deserializer::from_slice(document);
            let node = seed.deserialize(&mut reader).map_err(|e| e.to_string())?;
            reader.end().map_err(|e| e.to_string())?;
            Ok(node)
        }
        Form::Yaml => {
            let reader = serde_yaml_ng::Deserializer::from_slice(document);
            seed.deserialize(reader).map_err(|e| e.to_string())
        }
    }
}

/// What both forms hold.
#[derive(Clone, Debug, PartialEq)]
pub enum Node {
    /// Nothing.
    Null,
    /// True or false.
    Bool(bool),
    /// A whole number.
    Unsigned(u64),
    /// A negative whole number.
    Signed(i64),
    /// Another number.
    Float(f64),
    /// A text.
    Text(String),
    /// A list.
    List(Vec<Node>),
    /// Keys with their values, in the order of the document.
    Map(Vec<(String, Node)>),
}

impl Node {
    /// The value of a key, to change it.
    pub fn get_mut(&mut self, key: &str) -> Option<&mut Self> {
        match self {
            Self::Map(entries) => entries.iter_mut().find(|(name, _)| name == key).map(|(_, node)| node),
            _ => None,
        }
    }
    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<&Self> {
        self.entries().find(|(name, _)| *name == key).map(|(_, node)| node)
    }
    /// Keys and values of a map; nothing of anything else.
    pub fn entries(&self) -> impl Iterator<Item = (&str, &Self)> {
        let entries = match self {
            Self::Map(entries) => &entries[..],
            _ => &[],
        };
        entries.iter().map(|(key, node)| (key.as_str(), node))
    }
    /// Items of a list; nothing of anything else.
    pub fn items(&self) -> &[Self] {
        match self {
            Self::List(items) => items,
            _ => &[],
        }
    }
    /// The text, where it is one.
    pub fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }
}

/// Reads a node and adds what it weighs.
#[derive(Clone, Copy)]
struct Seed<'a>(&'a Cell<usize>);

impl Seed<'_> {
    fn weigh<E: Error>(self, text: usize) -> Result<(), E> {
        let weight = self.0.get().saturating_add(NODE_WEIGHT).saturating_add(text);
        self.0.set(weight);
        if weight > MAX_WEIGHT { Err(E::custom("it is too large")) } else { Ok(()) }
    }
    fn node<E: Error>(self, node: Node) -> Result<Node, E> {
        self.weigh(0)?;
        Ok(node)
    }
}

impl<'de> DeserializeSeed<'de> for Seed<'_> {
    type Value = Node;
    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Node, D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seed<'_> {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value without a type of its own")
    }
    fn visit_unit<E: Error>(self) -> Result<Node, E> {
        self.node(Node::Null)
    }
    fn visit_bool<E: Error>(self, value: bool) -> Result<Node, E> {
        self.node(Node::Bool(value))
    }
    fn visit_u64<E: Error>(self, value: u64) -> Result<Node, E> {
        self.node(Node::Unsigned(value))
    }
    fn visit_i64<E: Error>(self, value: i64) -> Result<Node, E> {
        self.node(Node::Signed(value))
    }
    fn visit_f64<E: Error>(self, value: f64) -> Result<Node, E> {
        self.node(Node::Float(value))
    }
    fn visit_str<E: Error>(self, value: &str) -> Result<Node, E> {
        self.weigh(value.len())?;
        Ok(Node::Text(value.to_owned()))
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Node, A::Error> {
        self.weigh(0)?;
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(self)? {
            list.push(item);
        }
        Ok(Node::List(list))
    }
    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Node, A::Error> {
        self.weigh(0)?;
        let mut map: Vec<(String, Node)> = Vec::new();
        while let Some(key) = entries.next_key_seed(self)? {
            // A status code need not be in quotes in YAML.
            let key = match key {
                Node::Text(key) => key,
                Node::Null => "null".to_owned(),
                Node::Bool(value) => value.to_string(),
                Node::Unsigned(value) => value.to_string(),
                Node::Signed(value) => value.to_string(),
                Node::Float(value) => value.to_string(),
                Node::List(_) | Node::Map(_) => return Err(A::Error::custom("a key that is no text")),
            };
            map.push((key, entries.next_value_seed(self)?));
        }
        Ok(Node::Map(map))
    }
}

impl Serialize for Node {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Null => to.serialize_unit(),
            Self::Bool(value) => to.serialize_bool(*value),
            Self::Unsigned(value) => to.serialize_u64(*value),
            Self::Signed(value) => to.serialize_i64(*value),
            Self::Float(value) => to.serialize_f64(*value),
            Self::Text(text) => to.serialize_str(text),
            Self::List(items) => to.collect_seq(items),
            Self::Map(entries) => {
                let mut map = to.serialize_map(Some(entries.len()))?;
                for (key, value) in entries {
                    map.serialize_entry(key, value)?;
                }
                map.end()
            }
        }
    }
}
