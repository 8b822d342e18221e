//! The description of a node's calls, in OpenAPI: gathered with the routes themselves, and completed here with what holds for all.

use serde_json::{Map, Value, json};

use super::access::needs;
use crate::version;

/// The document of the calls in `calls`, of a node that is a `role`.
pub fn document(calls: utoipa::openapi::OpenApi, role: &str) -> Value {
    let mut document = serde_json::to_value(calls).unwrap_or_default(); // it is made of maps and strings
    document["info"] = json!({
        "title": format!("Millrace {role}"),
        "version": version::VERSION,
        "description": "Times are unix milliseconds unless a name says otherwise, money is wei in decimal strings. docs/api.md tells who may \
            call what.",
        "license": { "name": "MIT OR Apache-2.0" },
    });
    document["servers"] = json!([{ "url": "/api" }]);
    let components = &mut document["components"];
    components["securitySchemes"] = json!({
        "token": { "type": "http", "scheme": "bearer", "description": "Of millrace token new." },
        "session": {
            "type": "apiKey", "in": "cookie", "name": "millrace-<node>",
            "description": "Of POST /v1/session; what changes the node needs its X-CSRF-Token besides.",
        },
    });
    components["schemas"]["Problem"] = json!({
        "type": "object",
        "description": "RFC 9457: what is wrong, and the way out.",
        "required": ["type", "title", "status", "detail"],
        "properties": {
            "type": { "type": "string" },
            "title": { "type": "string" },
            "status": { "type": "integer" },
            "detail": { "type": "string" },
        },
    });
    let refusal = json!({
        "description": "Refused, or failed: the status and the words say why.",
        "content": { "application/problem+json": { "schema": { "$ref": "#/components/schemas/Problem" } } },
    });
    let paths = document["paths"].as_object_mut().into_iter().flatten();
    for (path, item) in paths {
        for (method, call) in item.as_object_mut().unwrap_or(&mut Map::new()) {
            let Some(needs) = needs(method, path) else { continue };
            call["responses"]["default"] = refusal.clone();
            call["security"] = if needs.is_empty() { json!([]) } else { json!([{ "token": [] }, { "session": [] }]) };
            if !needs.is_empty() {
                let told = call["description"].as_str().map(|told| format!("{told}\n\n")).unwrap_or_default();
                call["description"] = format!("{told}{needs}").into();
            }
        }
    }
    document
}
