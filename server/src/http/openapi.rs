//! The API described by itself: `GET /api/openapi.json`.

use std::sync::LazyLock;

use app::model::Problem;
use axum::{
    body::Bytes,
    http::header,
    response::{IntoResponse, Response},
};
use utoipa::{
    Modify, OpenApi, ToResponse,
    openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme},
};

use super::artifacts;

/// What every endpoint answers when it fails.
#[derive(ToResponse)]
#[response(description = "what went wrong", content_type = "application/problem+json")]
#[expect(dead_code, reason = "stands for `Problem` in the document only")]
pub(crate) struct ProblemAnswer(#[to_schema] Problem);

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Belay",
        description = "Runs long batch jobs, stops them with proof, removes them with a receipt. Errors are \
            `application/problem+json` with a stable code in `error`. Every answer has `x-request-id`. \
            Times are RFC 3339 UTC."
    ),
    // axum writes the rest of a path as `{*path}`; this one is not collected with its route.
    paths(artifacts::download),
    components(responses(ProblemAnswer)),
    modifiers(&Bearer),
    security(("bearer" = []))
)]
struct Document;

struct Bearer;

impl Modify for Bearer {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let scheme = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build();
        document.components.get_or_insert_default().add_security_scheme("bearer", SecurityScheme::Http(scheme));
    }
}

/// The document before the routes are collected.
pub(crate) fn document() -> utoipa::openapi::OpenApi {
    Document::openapi()
}

static JSON: LazyLock<Bytes> = LazyLock::new(|| {
    let document = super::api_routes().merge(super::open_routes()).into_openapi();
    serde_json::to_vec_pretty(&document).unwrap_or_default().into()
});

/// This document.
#[utoipa::path(get, path = "/api/openapi.json", tag = "status", responses((status = 200, description = "OpenAPI 3.1")))]
pub(crate) async fn serve() -> Response {
    ([(header::CONTENT_TYPE, "application/json")], JSON.clone()).into_response()
}

#[cfg(test)]
mod tests {
    use app::{
        model::{BulkId, BulkItemQuery, JobId, LogQuery, RequestQuery},
        paths::api,
    };

    use super::*;

    #[test]
    fn every_path_that_programs_and_console_use_is_described() {
        let document: serde_json::Value = serde_json::from_slice(&JSON).unwrap();
        let paths = document["paths"].as_object().unwrap();
        let id = JobId(0);
        let bulk = BulkId(1);
        let used = [
            api::JOBS.to_owned(),
            api::job(id),
            api::cancel(id),
            api::rerun(id),
            format!("{}/units", api::job(id)),
            api::log(id, &LogQuery::default()),
            api::artifacts(id, None),
            api::matches(id),
            api::artifact(id, "PATH").replace("PATH", "{path}"),
            api::REMOVALS.to_owned(),
            api::removal(id),
            api::retry_removal(id),
            api::BULK.to_owned(),
            api::bulk(bulk),
            api::bulk_items(bulk, &BulkItemQuery::default()),
            api::abort_bulk(bulk),
            api::retry_bulk(bulk),
            api::PROVIDERS.to_owned(),
            api::CHECK_BATCH.to_owned(),
            api::remote_batches("NAME", None).replace("NAME", "{name}"),
            api::adopt_batch("NAME", "BATCH").replace("NAME", "{name}").replace("BATCH", "{batch_id}"),
            api::cancel_remote_batch("NAME", "BATCH").replace("NAME", "{name}").replace("BATCH", "{batch_id}"),
            api::import_batches("NAME").replace("NAME", "{name}"),
            api::requests(id, &RequestQuery::default()),
            api::refresh(id),
            api::AUDIT.to_owned(),
            api::FORM_OPTIONS.to_owned(),
            api::STATUS.to_owned(),
            api::TOKENS.to_owned(),
            api::OPENAPI.to_owned(),
            "/healthz".to_owned(),
            "/readyz".to_owned(),
            "/metrics".to_owned(),
        ];
        for path in used {
            let described = path.replace(&id.to_string(), "{job_id}").replace(&bulk.to_string(), "{bulk_id}");
            assert!(paths.contains_key(&described), "{described} is not in {:?}", paths.keys());
        }
        assert!(paths["/api/jobs/{job_id}"]["delete"].is_object());
    }

    #[test]
    fn every_reference_in_the_document_leads_somewhere() {
        fn references<'a>(value: &'a serde_json::Value, found: &mut Vec<&'a str>) {
            match value {
                serde_json::Value::Object(fields) => {
                    found.extend(fields.get("$ref").and_then(|target| target.as_str()));
                    fields.values().for_each(|field| references(field, found));
                }
                serde_json::Value::Array(items) => items.iter().for_each(|item| references(item, found)),
                _ => {}
            }
        }
        let document: serde_json::Value = serde_json::from_slice(&JSON).unwrap();
        let mut found = Vec::new();
        references(&document, &mut found);
        assert!(found.len() > 20);
        for target in found {
            let pointer = target.trim_start_matches('#');
            assert!(document.pointer(pointer).is_some(), "{target}");
        }
    }
}
