//! What is configured, value by value with where it comes from, for the API.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use serde_json::Value;
use toml::Table;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{Key, Schema, Section, get};

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    /// Nobody has set it.
    Default,
    /// The configuration file; its path.
    File(String),
    /// The environment; the variable's name.
    Environment(String),
    /// The command line; the flag.
    Flag(String),
}

/// A value of the configuration.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Setting {
    /// Such as `node.http_listen`.
    pub key: String,
    /// The value; of a secret that has one, the word `set`.
    pub value: Value,
    /// What it is when nobody sets it.
    pub default: Value,
    /// Where it comes from.
    pub origin: Origin,
    /// Whether it is kept to the node.
    pub secret: bool,
    /// What it does.
    pub doc: &'static str,
}

fn routes() -> OpenApiRouter<Arc<Vec<Setting>>> {
    OpenApiRouter::new().routes(routes!(config))
}

/// What this call is.
pub fn calls() -> utoipa::openapi::OpenApi {
    routes().into_openapi()
}

/// `/v1/config`.
pub fn router(settings: Vec<Setting>) -> OpenApiRouter {
    routes().with_state(Arc::new(settings))
}

/// What the node was configured with when it started.
#[utoipa::path(get, path = "/v1/config", tag = "node", responses((status = 200, description = "In the order of the reference", body = Vec<Setting>)))]
async fn config(State(settings): State<Arc<Vec<Setting>>>) -> Json<Arc<Vec<Setting>>> {
    Json(settings)
}

impl Schema {
    /// Every value with its origin.
    pub(super) fn settings(
        &self,
        tables: &BTreeMap<&'static str, Table>,
        origins: &BTreeMap<String, Origin>,
    ) -> Vec<Setting> {
        let json =
            |value: Option<&toml::Value>| value.and_then(|value| serde_json::to_value(value).ok()).unwrap_or_default();
        let of = |section: &Section| {
            let table = tables.get(section.name);
            let told = |key: Key| {
                let (value, default) = (table.and_then(|table| get(table, key.key)), get(&section.defaults, key.key));
                let secret = section.secrets.contains(&key.key);
                let value = if secret && value != default { "set".into() } else { json(value) };
                let origin = origins.get(&key.full).cloned().unwrap_or(Origin::Default);
                Setting { key: key.full, value, default: json(default), origin, secret, doc: key.doc }
            };
            section.keys().map(told).collect::<Vec<_>>()
        };
        self.0.iter().flat_map(of).collect()
    }
}
