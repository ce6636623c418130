//! Random requests made from an API document: mostly what it asks for, sometimes anything. The same seed makes the same requests.

use serde_json::{Map, Value, json};

/// A small generator whose numbers are the same everywhere (SplitMix64).
#[derive(Clone, Debug)]
pub struct Random(pub u64);

impl Random {
    /// The next number.
    #[allow(clippy::should_implement_trait, reason = "it never ends, and nobody iterates over it")]
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// One below a limit.
    pub fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % (limit as u64).max(1)).unwrap_or_default()
    }

    /// One of several.
    pub fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        let index = self.below(from.len());
        from[index]
    }
}

/// What requests are made of.
#[derive(Clone, Copy, Debug)]
pub struct Maker<'a> {
    /// Texts: some that mean something to the server, some that should not.
    pub texts: &'a [&'a str],
    /// The API document.
    pub document: &'a Value,
}

impl Maker<'_> {
    /// Anything.
    pub fn value(&self, random: &mut Random, depth: usize) -> Value {
        match random.below(if depth > 3 { 6 } else { 9 }) {
            0..=3 => json!(random.pick(self.texts)),
            4 => json!(random.next().cast_signed()),
            5 => match random.below(3) {
                0 => Value::Null,
                1 => json!(1.5),
                _ => json!(random.below(2) == 0),
            },
            6 => Value::Array((0..random.below(4)).map(|_| self.value(random, depth + 1)).collect()),
            7 => json!("x".repeat(random.below(2000))),
            _ => {
                let key = random.pick(self.texts).to_owned();
                Value::Object(Map::from_iter([(key, self.value(random, depth + 1))]))
            }
        }
    }

    /// A value that a schema asks for, mostly.
    pub fn from_schema(&self, random: &mut Random, schema: &Value, depth: usize) -> Value {
        if depth > 6 || random.below(12) == 0 {
            return self.value(random, depth);
        }
        if let Some(name) = schema["$ref"].as_str() {
            let name = name.rsplit('/').next().unwrap_or_default();
            return self.from_schema(random, &self.document["components"]["schemas"][name], depth + 1);
        }
        if let Some(any) = schema["anyOf"].as_array() {
            let index = random.below(any.len());
            return self.from_schema(random, &any[index], depth + 1);
        }
        if let Some(names) = schema["enum"].as_array() {
            return names[random.below(names.len())].clone();
        }
        let kind = match &schema["type"] {
            Value::Array(kinds) => kinds[random.below(kinds.len())].as_str().unwrap_or_default(),
            kind => kind.as_str().unwrap_or_default(),
        };
        match kind {
            "object" => {
                let mut object = Map::new();
                for (key, schema) in schema["properties"].as_object().into_iter().flatten() {
                    if random.below(6) != 0 {
                        object.insert(key.clone(), self.from_schema(random, schema, depth + 1));
                    }
                }
                Value::Object(object)
            }
            "array" => {
                let count = random.below(3);
                Value::Array(
                    (0..count).map(|_| self.from_schema(random, &schema["items"], depth + 1)).collect(),
                )
            }
            "string" => json!(random.pick(self.texts)),
            "integer" | "number" => json!(i64::try_from(random.below(1000)).unwrap_or_default() - 10),
            "boolean" => json!(random.below(2) == 0),
            _ => self.value(random, depth),
        }
    }

    /// A path of a template, with these query parameters.
    pub fn target(&self, random: &mut Random, template: &str, query: &[&str]) -> String {
        let segments: Vec<String> = template
            .split('/')
            .map(
                |part| if part.starts_with('{') { escaped(random.pick(self.texts)) } else { part.to_owned() },
            )
            .collect();
        let mut target = segments.join("/");
        for (index, name) in query.iter().enumerate() {
            let sign = if index == 0 { '?' } else { '&' };
            target.push_str(&format!("{sign}{name}={}", escaped(random.pick(self.texts))));
        }
        target
    }

    /// A JSON body for an operation.
    pub fn body(&self, random: &mut Random, template: &str, method: &str) -> Vec<u8> {
        let operation = &self.document["paths"][template][method.to_lowercase()];
        let schema = &operation["requestBody"]["content"]["application/json"]["schema"];
        self.from_schema(random, schema, 0).to_string().into_bytes()
    }
}

/// A text in a path or a query.
pub fn escaped(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b":-.".contains(&byte);
    text.bytes()
        .map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}

/// A number from the environment.
pub fn number(variable: &str, otherwise: u64) -> u64 {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}
