//! The API document, made from a server's table and the types it names: OpenAPI 3.1 in YAML.
//!
//! Rights and audit events stand in it as `x-rights` and `x-audit-event`. What every operation may answer (401, 403, 404, 429 and so on) is the
//! one `ErrorBody`.

use std::collections::BTreeMap;

use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use crate::operation::{Access, BodyKind, Operation};
use crate::problem::ErrorBody;

/// What the document says about itself.
#[derive(Clone, Copy, Debug)]
pub struct About {
    /// Such as `Causeway Central Server Management API`.
    pub title: &'static str,
    /// Version of the interface.
    pub version: &'static str,
}

/// Media type of the document.
pub const MEDIA_TYPE: &str = "application/x-yaml";

/// The document as JSON.
pub fn document<S>(about: About, operations: &[Operation<S>]) -> Value {
    let mut settings = SchemaSettings::draft2020_12();
    settings.definitions_path = "/components/schemas".into();
    settings.meta_schema = None;
    let mut generator = settings.into_generator();
    let error = generator.subschema_for::<ErrorBody>();
    let mut paths: BTreeMap<&str, Map<String, Value>> = BTreeMap::new();
    for operation in operations {
        let request = operation.request.map(|schema| schema(&mut generator).to_value());
        let response = operation.response.map(|schema| schema(&mut generator).to_value());
        let item = described(operation, request, response, error.as_value());
        paths.entry(operation.path).or_default().insert(operation.verb.name().to_lowercase(), item);
    }
    json!({
        "openapi": "3.1.0",
        "info": { "title": about.title, "version": about.version },
        "servers": [{ "url": "/api/v1" }],
        "security": [{ "ApiKeyAuth": [] }, { "SessionAuth": [] }],
        "paths": paths,
        "components": {
            "schemas": generator.take_definitions(true),
            "securitySchemes": {
                "ApiKeyAuth": {
                    "type": "apiKey", "in": "header", "name": "Authorization",
                    "description": "X-Road-ApiKey token=<key>",
                },
                "SessionAuth": {
                    "type": "apiKey", "in": "cookie", "name": "JSESSIONID",
                    "description": "From POST /login; requests bring X-XSRF-TOKEN along.",
                },
            },
        },
    })
}

/// The document as it is served.
pub fn yaml<S>(about: About, operations: &[Operation<S>]) -> String {
    // Strings, numbers, arrays and maps with text keys always have a YAML form.
    serde_yaml_ng::to_string(&document(about, operations)).unwrap_or_default()
}

fn described<S>(
    operation: &Operation<S>,
    request: Option<Value>,
    response: Option<Value>,
    error: &Value,
) -> Value {
    let mut parameters: Vec<Value> = path_parameters(operation.path)
        .map(|name| json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string" } }))
        .collect();
    parameters.extend(
        operation
            .query
            .iter()
            .map(|name| json!({ "name": name, "in": "query", "schema": { "type": "string" } })),
    );
    let mut item = json!({
        "operationId": operation.id,
        "responses": responses(operation, response, error),
    });
    if !parameters.is_empty() {
        item["parameters"] = parameters.into();
    }
    if let Some(media_type) = operation.body.media_type() {
        let schema = request.unwrap_or_else(|| json!({ "type": "string", "format": "binary" }));
        item["requestBody"] = json!({
            "required": operation.body != BodyKind::OptionalJson,
            "content": { media_type: { "schema": schema } },
        });
    }
    match &operation.access {
        Access::SignedIn => {}
        Access::Rights(names) => item["x-rights"] = json!(names),
        Access::Nobody => item["x-rights"] = json!([]),
    }
    if let Some(event) = operation.event {
        item["x-audit-event"] = event.into();
    }
    item
}

fn responses<S>(operation: &Operation<S>, response: Option<Value>, error: &Value) -> Value {
    let mut success = json!({ "description": "done" });
    if let Some(schema) = response {
        success["content"] = json!({ operation.produces: { "schema": schema } });
    } else if operation.produces != "application/json" {
        success["content"] =
            json!({ operation.produces: { "schema": { "type": "string", "format": "binary" } } });
    }
    let refused = |description: String| json!({ "description": description, "content": { "application/json": { "schema": error } } });
    let mut responses = Map::from_iter([
        (operation.success.to_string(), success),
        ("default".to_owned(), refused("refused".to_owned())),
    ]);
    let mut by_status: BTreeMap<u16, Vec<&str>> = BTreeMap::new();
    for (status, code) in operation.refusals {
        by_status.entry(*status).or_default().push(code);
    }
    for (status, codes) in by_status {
        responses.insert(status.to_string(), refused(codes.join(", ")));
    }
    responses.into()
}

/// Names in braces.
pub fn path_parameters(template: &str) -> impl Iterator<Item = &str> {
    template.split('/').filter_map(|segment| segment.strip_prefix('{')?.strip_suffix('}'))
}
