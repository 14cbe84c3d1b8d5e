//! Requests to CaptchaAI's API. Their URLs hold the key, so nothing that names a URL leaves this file.

use std::error::Error as StdError;
use std::time::Duration;

use secrecy::ExposeSecret;

use super::answer::{self, TaskAnswer};
use super::error::{ApiError, presentable};
use crate::config::Account;
use crate::domain::task::TaskId;
use crate::notify::client::{BuildError, http_client};

/// The time for one request, from the connection to the last byte of the answer.
const TIMEOUT: Duration = Duration::from_secs(10);
/// An answer is a number or a word; a page of some proxy may come instead.
const LONGEST_ANSWER: usize = 64 * 1024;
/// A client of CaptchaAI's API. A clone shares its connections.
#[derive(Debug, Clone)]
pub struct Client {
    http: reqwest::Client,
}

impl Client {
    /// A client that waits ten seconds for an answer.
    pub fn new() -> Result<Self, BuildError> {
        Self::with_timeout(TIMEOUT)
    }

    /// A client that waits as long as it is told.
    pub fn with_timeout(timeout: Duration) -> Result<Self, BuildError> {
        http_client(timeout).map(|http| Self { http })
    }

    /// The account's balance in USD.
    pub async fn get_balance(&self, account: &Account) -> Result<f64, ApiError> {
        let (status, body) = self.ask(account, &[("action", "getbalance")]).await?;
        answer::parse_balance(status, &body, account.api_key.expose_secret())
    }

    /// What has become of a task of the account's.
    pub async fn get_result(&self, account: &Account, id: &TaskId) -> Result<TaskAnswer, ApiError> {
        let (status, body) = self.ask(account, &[("action", "get"), ("id", id.as_str())]).await?;
        answer::parse_result(status, &body, account.api_key.expose_secret())
    }

    async fn ask(&self, account: &Account, question: &[(&str, &str)]) -> Result<(u16, Vec<u8>), ApiError> {
        let key = account.api_key.expose_secret();
        let request = self.http.get(format!("{}/res.php", account.base_url));
        let request = request.query(&[("key", key)]).query(question).query(&[("json", "1")]);
        let mut response = request.send().await.map_err(|error| transport_error(&error, key))?;
        let status = response.status().as_u16();
        let mut body = Vec::new();
        while let Some(part) = response.chunk().await.map_err(|error| transport_error(&error, key))? {
            if body.len() + part.len() > LONGEST_ANSWER {
                return Err(answer::too_long(status));
            }
            body.extend_from_slice(&part);
        }
        Ok((status, body))
    }
}

fn transport_error(error: &reqwest::Error, key: &str) -> ApiError {
    if error.is_timeout() {
        return ApiError::Timeout;
    }
    let mut causes = Vec::new();
    let mut next = StdError::source(error);
    while let Some(cause) = next {
        causes.push(cause);
        next = cause.source();
    }
    if causes.iter().any(|cause| cause.downcast_ref().is_some_and(hyper::Error::is_parse)) {
        return ApiError::Malformed("it is not HTTP");
    }
    // The outermost error prints the URL; the innermost says what happened.
    let cause = causes.last().map_or_else(|| "the request cannot be sent".to_owned(), ToString::to_string);
    ApiError::Connect(presentable(&cause, key))
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    const KEY: &str = "0123456789abcdef0123456789abcdef";

    fn account(address: std::net::SocketAddr) -> Account {
        Account {
            name: "main".into(),
            api_key: KEY.into(),
            base_url: format!("http://{address}"),
            balance_interval: Duration::from_mins(1),
        }
    }

    /// The outcome of a request that is answered with these bytes, and the head of the request.
    async fn answered_with(bytes: &[u8]) -> (Result<f64, ApiError>, String) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let account = account(listener.local_addr().unwrap());
        let client = Client::new().unwrap();
        let server = async {
            let (mut connection, _) = listener.accept().await.unwrap();
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                assert_ne!(connection.read_buf(&mut head).await.unwrap(), 0, "the request was cut off");
            }
            // The client may hang up before it has read everything.
            let _ = connection.write_all(bytes).await;
            String::from_utf8(head).unwrap()
        };
        tokio::join!(client.get_balance(&account), server)
    }

    async fn check(answer: &[u8], expected: Result<f64, ApiError>) {
        assert_eq!(answered_with(answer).await.0, expected, "{}", String::from_utf8_lossy(answer));
    }

    #[tokio::test]
    async fn a_request_says_what_it_wants_and_who_it_is() {
        let (balance, head) = answered_with(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n12.50").await;
        assert_eq!(balance, Ok(12.5));
        let head = head.to_ascii_lowercase();
        assert!(head.starts_with(&format!("get /res.php?key={KEY}&action=getbalance&json=1 http/1.1\r\n")), "{head}");
        let agent = concat!("\r\nuser-agent: captchaai-exporter/", env!("CARGO_PKG_VERSION"), "\r\n");
        assert!(head.contains(agent), "{head}");
    }

    #[tokio::test]
    async fn whatever_is_no_answer_is_an_error() {
        let page = |status: &str, length: usize| {
            let head = format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\n\r\n");
            [head.into_bytes(), vec![b' '; length]].concat()
        };
        check(b"SSH-2.0-OpenSSH_9.9\r\n", Err(ApiError::Malformed("it is not HTTP"))).await;
        check(&page("200 OK", LONGEST_ANSWER), Err(ApiError::Malformed("it is empty"))).await;
        check(&page("200 OK", LONGEST_ANSWER + 1), Err(ApiError::Malformed("it is longer than 64 KiB"))).await;
        check(&page("200 OK", 10_000_000), Err(ApiError::Malformed("it is longer than 64 KiB"))).await;
        check(&page("503 Busy", 10_000_000), Err(ApiError::Http(503))).await;
        let moved = b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/elsewhere\r\nContent-Length: 0\r\n\r\n";
        check(moved, Err(ApiError::Http(302))).await;
    }

    #[tokio::test]
    async fn a_broken_connection_is_told_without_the_url() {
        let cut = answered_with(b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n12.5").await.0;
        let hung_up = answered_with(b"").await.0;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let account = account(listener.local_addr().unwrap());
        drop(listener);
        let refused = Client::new().unwrap().get_balance(&account).await;
        let nonsense = Account { base_url: "http://[".to_owned(), ..account };
        let impossible = Client::new().unwrap().get_balance(&nonsense).await;
        for outcome in [cut, hung_up, refused, impossible] {
            let Err(ApiError::Connect(why)) = &outcome else { panic!("{outcome:?}") };
            assert!(!why.is_empty() && !why.contains("http:") && !why.contains(KEY), "{why}");
        }
    }
}
