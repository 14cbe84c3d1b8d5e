//! The HTTP side of the simulated service.

use std::sync::Arc;

use axum::Router;
use axum::extract::{RawQuery, State};
use axum::http::{Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use bytes::Bytes;

use super::server::{Action, Server};
use super::service::Answer;
use crate::demo::fault;

pub(super) fn router(server: Arc<Server>) -> Router {
    Router::new().route("/in.php", any(respond)).route("/res.php", any(respond)).with_state(server)
}

async fn respond(State(server): State<Arc<Server>>, uri: Uri, RawQuery(query): RawQuery, body: Bytes) -> Response {
    let mut parameters: Vec<(String, String)> = Vec::new();
    for source in [query.unwrap_or_default().as_bytes(), &body] {
        parameters.extend(form_urlencoded::parse(source).into_owned());
    }
    let action = match (uri.path(), get(&parameters, "action")) {
        ("/in.php", _) => Action::Submit,
        (_, Some("getbalance")) => Action::GetBalance,
        (_, Some("get")) => Action::Get,
        _ => Action::Other,
    };
    let fault = server.arrived(action);
    let right_answer = || {
        let json = get(&parameters, "json") == Some("1");
        // The plain text of a balance has no prefix.
        let prefix = if action == Action::GetBalance { "" } else { "OK|" };
        write(&answer(&server, action, &parameters), json, prefix)
    };
    fault::meet(fault, server.stop(), right_answer).await
}

fn get<'a>(parameters: &'a [(String, String)], name: &str) -> Option<&'a str> {
    parameters.iter().find(|(given, _)| given == name).map(|(_, value)| &**value)
}

fn answer(server: &Arc<Server>, action: Action, parameters: &[(String, String)]) -> Answer<String> {
    server.service().authorize(get(parameters, "key"))?;
    match action {
        Action::Submit => server.submit(parameters, get(parameters, "pingback")).map(|id| id.to_string()),
        Action::GetBalance => Ok(format!("{:.5}", server.service().balance_usd())),
        Action::Get => server.service().result(get(parameters, "id")),
        Action::Other => Err("ERROR_BAD_PARAMETERS".into()),
    }
}

fn write(answer: &Answer<String>, json: bool, prefix: &str) -> Response {
    if json {
        let (status, request) = match answer {
            Ok(text) => (1, text.as_str()),
            Err(code) => (0, &**code),
        };
        let body = serde_json::json!({ "status": status, "request": request }).to_string();
        return ([(header::CONTENT_TYPE, "application/json")], body).into_response();
    }
    match answer {
        Ok(text) => format!("{prefix}{text}").into_response(),
        Err(code) => code.to_string().into_response(),
    }
}
