//! What the outside world can call. The whole route table is in this file; each endpoint has a file.
//!
//! A request passes [`server`] (sockets, TLS, time-outs) and [`request_line`], then one layer,
//! [`observe`], that asks [`auth`], measures and bounds it, then its endpoint.

mod alertmanager;
mod auth;
mod bind;
mod body;
mod client;
mod connection;
mod dead_letters;
mod error;
mod health;
mod limits;
mod marzban;
mod metrics;
mod observe;
mod page;
mod parameters;
mod pingback;
mod registrations;
mod reload;
mod request_line;
mod server;
mod stall;
mod state;
mod tasks;
#[cfg(test)]
mod testing;
mod tls;

use axum::Router;
use axum::handler::Handler;
use axum::http::Method;
use axum::routing::{MethodRouter, delete, get, post};

use auth::Access;
use error::{Failure, not_found};
use observe::Observe;
use state::Shared;

pub use bind::bind;
pub use server::{ServeError, serve};
pub use state::{AppState, BuildInfo, ReloadRequest};

/// A route: its pattern is also its `handler` label, and `codes` are the statuses it can answer with,
/// next to those of [`EVERY_ROUTE`].
struct Route {
    pattern: &'static str,
    access: Access,
    codes: &'static [u16],
    methods: MethodRouter<Shared>,
}

/// Slips of the pen in the URLs that workers give to CaptchaAI, and the route that takes them: without a
/// configured token their results are as good as others, and with one they are counted as refused.
const ALSO: [(&str, &str); 3] = [
    ("/pingback/", "/pingback/{token}"),
    ("/pingback/{token}/", "/pingback/{token}"),
    ("/pingback/{token}/{*rest}", "/pingback/{token}"),
];

/// Statuses that every route can answer with: wrong method, panic, deadline.
const EVERY_ROUTE: [u16; 3] = [405, 500, 503];

/// Statuses that a notification can be answered with.
const NOTIFICATION: [u16; 7] = [200, 400, 401, 403, 404, 408, 413];

/// Statuses that a button of the page can be answered with.
const FORM: [u16; 7] = [303, 401, 403, 404, 408, 409, 413];

/// The `handler` label of paths that no route has, and of what is no request.
const OTHER: &str = "other";

/// Statuses of [`OTHER`]. 400, 414 and 431 are hyper's own answers, which [`connection`] counts.
const OTHER_CODES: [u16; 7] = [400, 401, 404, 414, 431, 500, 503];

fn routes() -> Vec<Route> {
    let route = |pattern, access, codes, methods| Route { pattern, access, codes, methods };
    let pingbacks = get(pingback::plain).post(pingback::plain);
    let pingbacks_with_token = get(pingback::with_token).post(pingback::with_token);
    vec![
        route("/", Access::People, &[200, 401], get(page::page)),
        route("/metrics", Access::People, &[200, 401], get(metrics::metrics)),
        route("/-/healthy", Access::People, &[200, 401], get(health::healthy)),
        route("/-/ready", Access::People, &[200, 401], get(health::ready)),
        route("/-/reload", Access::Token, &[200, 400, 401, 403], post(reload::reload)),
        route("/pingback", Access::Anyone, &[200, 400, 403, 404, 408, 413], pingbacks),
        route("/pingback/{token}", Access::Anyone, &[200, 400, 403, 404, 408, 413], pingbacks_with_token),
        route("/alertmanager", Access::Token, &NOTIFICATION, post(alertmanager::plain)),
        route("/alertmanager/watchdog", Access::Token, &NOTIFICATION, post(alertmanager::watchdog)),
        route("/alertmanager/{receiver}", Access::Token, &NOTIFICATION, post(alertmanager::with_receiver)),
        route("/api/v1/dead-letters", Access::Token, &[200, 400, 401, 403], get(dead_letters::list)),
        route("/api/v1/dead-letters/retry", Access::Token, &[200, 401, 403], post(dead_letters::retry_all)),
        route("/api/v1/dead-letters/{id}", Access::Token, &[200, 401, 403, 404], delete(dead_letters::discard)),
        route("/api/v1/dead-letters/{id}/retry", Access::Token, &[200, 401, 403, 404, 409], post(dead_letters::retry)),
        route("/dead-letters/retry", Access::People, &FORM, post(page::letters::retry_all)),
        route("/dead-letters/{id}/retry", Access::People, &FORM, post(page::letters::retry)),
        route("/dead-letters/{id}/discard", Access::People, &FORM, post(page::letters::discard)),
        route("/marzban", Access::Anyone, &[200, 400, 403, 404, 408, 413], post(marzban::events)),
        route("/api/v1/tasks", Access::Token, &[200, 400, 401, 403, 408, 413], post(tasks::register)),
        route("/api/v1/tasks/{id}", Access::Token, &[200, 400, 401, 403, 404], get(tasks::show)),
    ]
}

/// The router over [`routes`], each behind the one layer that observes it.
fn router(state: &Shared) -> Router {
    let mut router = Router::new();
    for Route { pattern, access, codes, methods } in routes() {
        let codes = [codes, &EVERY_ROUTE].concat();
        let observe = Observe::new(state.clone(), pattern, access, &codes);
        let methods = methods.fallback(wrong_method).layer(observe);
        for also in ALSO.iter().filter(|(_, of)| *of == pattern).map(|(also, _)| also) {
            router = router.route(also, methods.clone());
        }
        router = router.route(pattern, methods);
    }
    let observe = Observe::new(state.clone(), OTHER, Access::People, &OTHER_CODES);
    router.fallback(unknown_path.layer(observe)).with_state(state.clone())
}

async fn unknown_path() -> Failure {
    not_found()
}

/// The `Allow` header is added by axum, which knows the methods of the path.
async fn wrong_method(method: Method) -> Failure {
    Failure::wrong_method(&method)
}

#[cfg(test)]
mod tests;
