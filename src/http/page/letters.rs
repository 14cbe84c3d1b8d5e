//! The part of the page about dead letters: a table with buttons, and what the buttons do.

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::http::StatusCode;
use axum::http::header::LOCATION;
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use maud::{Markup, html};
use subtle::ConstantTimeEq;

use super::age;
use crate::domain::dead_letter::DeadLetter;
use crate::domain::time::elapsed;
use crate::http::auth::{is_foreign, same};
use crate::http::body;
use crate::http::dead_letters::{discard_one, retry_everything, retry_one};
use crate::http::error::{Failure, not_found};
use crate::http::state::Shared;

/// Letters that are shown.
const SHOWN: usize = 50;
/// The longest form, in bytes.
const MAX_FORM: usize = 4096;

/// What the page shows of dead letters.
#[derive(Debug, Default)]
pub(super) struct LettersView {
    now: Timestamp,
    letters: Vec<DeadLetter>,
    form_token: String,
    /// Whether the buttons ask for the bearer token.
    asks_for_token: bool,
    base: String,
}

/// Reads what to show; what the store does not say is not shown.
pub(super) async fn view(state: &Shared) -> LettersView {
    LettersView {
        now: state.clock.now(),
        letters: state.store.newest_dead_letters(SHOWN).await.unwrap_or_default(),
        form_token: state.form_token().to_owned(),
        asks_for_token: state.config().web.auth_token.is_some(),
        base: state.listen.external_url.clone().unwrap_or_default(),
    }
}

/// Shows it; nothing where nothing was given up.
pub(super) fn render(view: &LettersView) -> Markup {
    html! {
        @if !view.letters.is_empty() {
            section {
                h2 { "Dead letters" }
                table {
                    tr { th { "What" } th { "For" } th { "Why" } th { "Since" } th {} }
                    @for letter in &view.letters { (render_letter(view, letter)) }
                }
                (button(view, "/dead-letters/retry", "Retry all"))
            }
        }
    }
}

fn render_letter(view: &LettersView, letter: &DeadLetter) -> Markup {
    let payload = &letter.payload;
    let names = [&payload["alerts"][0]["labels"]["alertname"], &payload["id"], &payload["notice"], &payload["file"]];
    let what = names.into_iter().find_map(|name| name.as_str()).unwrap_or("-");
    html! {
        tr {
            td { (what) }
            td { (letter.source) }
            td { (letter.reason) @if let Some(error) = &letter.last_error { br; small { (error) } } }
            td { (age(elapsed(letter.added_at, view.now))) }
            td {
                (button(view, &format!("/dead-letters/{}/retry", letter.id), "Retry"))
                (button(view, &format!("/dead-letters/{}/discard", letter.id), "Discard"))
            }
        }
    }
}

fn button(view: &LettersView, path: &str, name: &str) -> Markup {
    html! {
        form method="post" action={ (view.base) (path) } {
            input type="hidden" name="form" value=(view.form_token);
            @if view.asks_for_token {
                input type="password" name="token" placeholder="token" autocomplete="off" required;
            }
            button { (name) }
        }
    }
}

/// The button that tries one again.
pub(in crate::http) async fn retry(
    State(state): State<Shared>,
    id: Result<Path<String>, PathRejection>,
    request: Request,
) -> Result<Response, Failure> {
    check(&state, request).await?;
    retry_one(&state, number(id)?).await?;
    Ok(back("../../"))
}

/// The button that discards one.
pub(in crate::http) async fn discard(
    State(state): State<Shared>,
    id: Result<Path<String>, PathRejection>,
    request: Request,
) -> Result<Response, Failure> {
    check(&state, request).await?;
    discard_one(&state, number(id)?).await?;
    Ok(back("../../"))
}

/// The button that tries all again.
pub(in crate::http) async fn retry_all(State(state): State<Shared>, request: Request) -> Result<Response, Failure> {
    check(&state, request).await?;
    retry_everything(&state).await?;
    Ok(back("../"))
}

fn number(id: Result<Path<String>, PathRejection>) -> Result<i64, Failure> {
    id.ok().and_then(|Path(id)| id.parse().ok()).ok_or_else(not_found)
}

/// To the page, from below it, wherever a proxy shows it.
fn back(page: &'static str) -> Response {
    (StatusCode::SEE_OTHER, [(LOCATION, page)]).into_response()
}

/// A button was pressed on a page of ours, by somebody who knows the token where there is one.
async fn check(state: &Shared, request: Request) -> Result<(), Failure> {
    let refuse = |why: &'static str| Failure::new(StatusCode::FORBIDDEN, why);
    let (parts, body) = request.into_parts();
    if is_foreign(&parts.headers) {
        return Err(refuse("not allowed from another site"));
    }
    let body = body::read(state, body, MAX_FORM).await?;
    let field = |wanted: &str| {
        let (_, value) = form_urlencoded::parse(&body.bytes).find(|(name, _)| name == wanted)?;
        Some(value.into_owned())
    };
    let form = field("form").unwrap_or_default();
    if !bool::from(form.as_bytes().ct_eq(state.form_token().as_bytes())) {
        return Err(refuse("the page is too old: load it again"));
    }
    match &state.config().web.auth_token {
        Some(token) if !same(field("token").unwrap_or_default().as_bytes(), token) => Err(refuse("the token is wrong")),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use axum::http::Method;

    use crate::http::testing::{Answer, Fixture, config, receiver, request};

    async fn press(fixture: &Fixture, path: &str, body: &str, headers: &[(&'static str, &str)]) -> Answer {
        let mut request = request(Method::POST, path, body.to_owned());
        for (name, value) in headers {
            request.headers_mut().insert(*name, value.parse().unwrap());
        }
        fixture.send(request).await
    }

    /// The hidden field of the page's forms.
    fn form(page: &str) -> String {
        let rest = page.split("name=\"form\" value=\"").nth(1).unwrap();
        format!("form={}", rest.split('"').next().unwrap())
    }

    async fn with_letters() -> Fixture {
        let mut config = config();
        config.receivers = vec![receiver("default")];
        let fixture = Fixture::new(config);
        crate::http::dead_letters::tests::bury(&fixture).await;
        fixture
    }

    #[tokio::test]
    async fn letters_are_shown_with_buttons_that_work() {
        let fixture = with_letters().await;
        let shared = fixture.shared();
        let router = crate::http::router(&shared);
        let send = async |request| crate::http::testing::send(router.clone(), request).await;
        let page = send(request(Method::GET, "/", "")).await.text();
        for part in [
            "Dead letters",
            "<td>A</td>",
            "discord/default",
            "status 400",
            "forged",
            "Retry all",
            "/dead-letters/1/discard",
        ] {
            assert!(page.contains(part), "{part} in {page}");
        }
        assert!(!page.contains("03AGdBq25"));
        let form = form(&page);
        for (path, status) in
            [("/dead-letters/1/discard", 303), ("/dead-letters/1/discard", 404), ("/dead-letters/retry", 303)]
        {
            assert_eq!(send(request(Method::POST, path, form.clone())).await.status, status, "{path}");
        }
        assert!(!send(request(Method::GET, "/", "")).await.text().contains("Dead letters</h2>"));
    }

    #[tokio::test]
    async fn other_sites_and_old_pages_are_refused() {
        let fixture = with_letters().await;
        let page = fixture.get("/").await.text();
        let form = form(&page);
        for headers in [
            [("sec-fetch-site", "cross-site"), ("host", "exporter")],
            [("sec-fetch-site", "same-site"), ("host", "exporter")],
            [("origin", "https://evil.example"), ("host", "exporter")],
            [("origin", "null"), ("host", "exporter")],
        ] {
            press(&fixture, "/dead-letters/retry", &form, &headers).await.error(403);
        }
        // Each process has a token of its own, as each router of a test has.
        press(&fixture, "/dead-letters/retry", &form, &[]).await.error(403);
        press(&fixture, "/dead-letters/retry", "", &[]).await.error(403);
        assert_eq!(fixture.store.dead_letters(0, 10).await.unwrap().len(), 2);
    }

    #[tokio::test]
    async fn the_token_is_asked_for() {
        let mut config = config();
        config.web.auth_token = Some("hunter2".into());
        let fixture = Fixture::new(config);
        crate::http::dead_letters::tests::bury_pingback(&fixture).await;
        let router = crate::http::router(&fixture.shared());
        let send = async |request| crate::http::testing::send(router.clone(), request).await;
        let page = send(request(Method::GET, "/", "")).await.text();
        assert!(page.contains("type=\"password\"") && !page.contains("hunter2"), "{page}");
        let form = form(&page);
        let post = |body: String| request(Method::POST, "/dead-letters/retry", body);
        send(post(form.clone())).await.error(403);
        send(post(format!("{form}&token=wrong"))).await.error(403);
        assert_eq!(send(post(format!("{form}&token=hunter2"))).await.status, 303);
    }
}
