//! Outgoing HTTP, as everything in this program speaks it: no redirects, no proxies, bounded answers,
//! and errors without URLs, which hold secrets.

use std::error::Error as StdError;
use std::sync::Arc;
use std::time::Duration;

use reqwest::header::{HeaderMap, RETRY_AFTER};
use reqwest::{RequestBuilder, StatusCode};

use super::SendError;

/// The time for one request to a destination, from the connection to the last byte of the answer.
pub const TIMEOUT: Duration = Duration::from_secs(10);

/// An answer longer than this is cut off: nothing in it is needed.
const LONGEST_ANSWER: usize = 64 * 1024;

/// Servers hang up on idle connections after five seconds or more. A request that meets such an end
/// fails, so a connection is not used again as late as that.
const IDLE_CONNECTION: Duration = Duration::from_secs(3);

/// A refused request is never repeated sooner, whatever the destination says: Discord bans who is refused
/// 10,000 times in ten minutes.
const SHORTEST_PAUSE: Duration = Duration::from_millis(250);
/// Bounds of a pause that a destination asks for.
const LONGEST_PAUSE: Duration = Duration::from_hours(1);

/// Why no client could be made; told to whoever starts the program.
#[derive(Debug, thiserror::Error)]
#[error("cannot set up HTTP requests: {0}")]
pub struct BuildError(String);

/// An HTTP client that follows no redirect and uses no proxy: either would be told the secrets.
pub fn http_client(timeout: Duration) -> Result<reqwest::Client, BuildError> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        tracing::warn!("this system has no CA certificates, so every https request will fail");
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| BuildError(error.to_string()))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    reqwest::Client::builder()
        .tls_backend_preconfigured(tls)
        .user_agent(concat!("captchaai-exporter/", env!("CARGO_PKG_VERSION")))
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .pool_idle_timeout(IDLE_CONNECTION)
        .timeout(timeout)
        .build()
        .map_err(|error| BuildError(error.to_string()))
}

/// An answer of a destination.
#[derive(Debug)]
pub struct Answer {
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body, cut off where it is too long.
    pub body: Vec<u8>,
}

/// Sends a request. The error says whether it may have arrived: without a connection it has not.
pub async fn exchange(request: RequestBuilder) -> Result<Answer, SendError> {
    let mut response = request.send().await.map_err(|error| transport_error(&error))?;
    let (status, headers) = (response.status(), response.headers().clone());
    let mut body = Vec::new();
    // The status has come, so how the body ends does not matter.
    while let Ok(Some(part)) = response.chunk().await {
        let room = LONGEST_ANSWER - body.len();
        body.extend(part.iter().take(room));
        if body.len() == LONGEST_ANSWER {
            break;
        }
    }
    Ok(Answer { status, headers, body })
}

impl Answer {
    /// What the status means, where it means the same for all destinations. `said` is what the
    /// destination said of it, as far as people may read it.
    pub fn classify(&self, said: &str) -> Result<(), SendError> {
        classify(self.status, retry_after(&self.headers), said)
    }

    /// The body as JSON; null where it is none.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }
}

/// The shared table of statuses.
fn classify(status: StatusCode, after: Option<Duration>, said: &str) -> Result<(), SendError> {
    let why = if said.is_empty() { format!("status {status}") } else { format!("status {status}: {said}") };
    match status.as_u16() {
        200..=299 => Ok(()),
        429 => Err(rate_limited(after, false)),
        401 | 403 | 404 | 410 => Err(SendError::Unusable { why }),
        // A proxy or a captive portal in between, or a server that will be better soon.
        300..=399 | 408 | 425 | 500..=599 => Err(SendError::Retry { after, why }),
        _ => Err(SendError::Permanent { why }),
    }
}

/// Too fast: again after what the destination asks for.
pub fn rate_limited(after: Option<Duration>, global: bool) -> SendError {
    SendError::RateLimited { after: after.unwrap_or(Duration::from_secs(1)).max(SHORTEST_PAUSE), global }
}

/// `Retry-After` in seconds, within bounds. A date, which no destination sends, is ignored.
pub fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds: f64 = headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    bounded_pause(seconds)
}

/// A pause in seconds as a destination asks for it, within bounds.
pub fn bounded_pause(seconds: f64) -> Option<Duration> {
    let bounded = seconds.clamp(0.0, LONGEST_PAUSE.as_secs_f64());
    seconds.is_finite().then(|| Duration::from_secs_f64(bounded))
}

/// Foreign text as it may be shown: one short line.
pub fn presentable(text: &str, most: usize) -> String {
    let line: Vec<char> = text.trim().chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let mut short: String = line.iter().take(most).collect();
    if line.len() > most {
        short.push('…');
    }
    short
}

fn transport_error(error: &reqwest::Error) -> SendError {
    let mut cause: &dyn StdError = error;
    // The outermost error prints the URL; the innermost says what happened.
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    if error.is_connect() || error.is_builder() {
        return SendError::Retry {
            after: None,
            why: format!("no connection: {}", presentable(&cause.to_string(), 120)),
        };
    }
    let why = if error.is_timeout() {
        "no answer in time".to_owned()
    } else if std::ptr::addr_eq(cause, std::ptr::from_ref(error)) {
        "the request failed".to_owned()
    } else {
        format!("the connection broke: {}", presentable(&cause.to_string(), 120))
    };
    SendError::Ambiguous { why }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_status_has_one_meaning() {
        for (status, reason) in [
            (200, None),
            (204, None),
            (301, Some("retry")),
            (400, Some("permanent")),
            (401, Some("unusable")),
            (402, Some("permanent")),
            (403, Some("unusable")),
            (404, Some("unusable")),
            (405, Some("permanent")),
            (408, Some("retry")),
            (410, Some("unusable")),
            (413, Some("permanent")),
            (422, Some("permanent")),
            (425, Some("retry")),
            (429, Some("rate_limited")),
            (500, Some("retry")),
            (502, Some("retry")),
            (503, Some("retry")),
            (504, Some("retry")),
            (599, Some("retry")),
        ] {
            let outcome = classify(StatusCode::from_u16(status).unwrap(), None, "");
            assert_eq!(outcome.err().map(|error| error.reason()), reason, "{status}");
        }
    }

    #[test]
    fn pauses_have_bounds() {
        for (text, seconds) in [
            ("2", Some(2.0)),
            ("0.25", Some(0.25)),
            ("-5", Some(0.0)),
            ("1e9", Some(3600.0)),
            ("NaN", None),
            ("inf", None),
            ("Wed, 21 Oct 2026 07:28:00 GMT", None),
            ("", None),
        ] {
            let headers = HeaderMap::from_iter([(RETRY_AFTER, text.parse().unwrap())]);
            assert_eq!(retry_after(&headers).map(|pause| pause.as_secs_f64()), seconds, "{text}");
        }
    }

    #[test]
    fn foreign_text_takes_one_short_line() {
        assert_eq!(presentable(" a\nb\u{7}c ", 10), "a b c");
        assert_eq!(presentable("şşşş", 3), "şşş…");
    }
}
