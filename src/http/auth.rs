//! Who may ask for what: the bearer token and the passwords of basic auth.

use std::collections::hash_map::RandomState;
use std::collections::{HashSet, VecDeque};
use std::hash::BuildHasher;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::http::header::{AUTHORIZATION, HOST, ORIGIN};
use axum::http::{HeaderMap, StatusCode, Uri};
use base64::Engine;
use base64::engine::GeneralPurpose;
use base64::engine::{DecodePaddingMode, GeneralPurposeConfig};
use secrecy::{ExposeSecret, SecretString};
use subtle::ConstantTimeEq;
use tokio::sync::Semaphore;

use super::error::Failure;

/// What a route asks of those who call it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    /// Nothing: `CaptchaAI` cannot log in, and its URL has a token of its own.
    Anyone,
    /// Basic auth where users are configured; the bearer token does as well, because a request has
    /// only one `Authorization`.
    People,
    /// The bearer token where one is configured, else as `People`.
    Token,
}

/// Checks credentials, and remembers which were right and which were wrong: bcrypt is slow by design.
#[derive(Debug)]
pub(super) struct Gate {
    users: Arc<[(String, SecretString)]>,
    right: Mutex<Remembered>,
    wrong: Mutex<Remembered>,
    keys: [RandomState; 2],
    /// Requests that wait for bcrypt; more are turned away.
    queue: Semaphore,
    /// One hash at a time, so that guessing passwords leaves a core for the pingbacks.
    bcrypt: Arc<Semaphore>,
}

const MAX_WAITING: usize = 8;
const LONGEST_WAIT: Duration = Duration::from_secs(5);
const MAX_REMEMBERED: usize = 1024;

impl Gate {
    /// A gate for these users with their bcrypt hashes.
    pub(super) fn new(users: Vec<(String, SecretString)>) -> Self {
        Self {
            users: users.into(),
            right: Mutex::default(),
            wrong: Mutex::default(),
            keys: [RandomState::new(), RandomState::new()],
            queue: Semaphore::new(MAX_WAITING),
            bcrypt: Arc::new(Semaphore::new(1)),
        }
    }

    /// Lets a request in or says what is missing.
    pub(super) async fn admit(
        &self,
        access: Access,
        token: Option<&SecretString>,
        headers: &HeaderMap,
    ) -> Result<(), Failure> {
        if access == Access::Anyone {
            return Ok(());
        }
        if token.is_none() {
            refuse_other_sites(access, headers)?;
            if self.users.is_empty() {
                return Ok(());
            }
        }
        let given = headers.get(AUTHORIZATION).and_then(|value| Credentials::parse(value.as_bytes()));
        match (&given, token) {
            (Some(Credentials::Bearer(given)), Some(token)) if same(given, token) => return Ok(()),
            (_, Some(_)) if access == Access::Token => return Err(Failure::unauthorized("Bearer")),
            _ if self.users.is_empty() => return Ok(()),
            _ => {}
        }
        let Some(Credentials::Basic { user, password }) = given else {
            return Err(Failure::unauthorized("Basic"));
        };
        if self.password_fits(user, password).await? { Ok(()) } else { Err(Failure::unauthorized("Basic")) }
    }

    async fn password_fits(&self, user: Vec<u8>, password: SecretBytes) -> Result<bool, Failure> {
        let busy = || Failure::unavailable("too many passwords are being checked");
        let digest = self.digest(&user, &password);
        if let Some(known) = self.remembered(digest) {
            return Ok(known);
        }
        let _waiting = self.queue.try_acquire().map_err(|_| busy())?;
        let turn = tokio::time::timeout(LONGEST_WAIT, Arc::clone(&self.bcrypt).acquire_owned()).await;
        let Ok(Ok(turn)) = turn else { return Err(busy()) };
        // Whoever was first in the queue may have asked the same.
        if let Some(known) = self.remembered(digest) {
            return Ok(known);
        }
        let users = Arc::clone(&self.users);
        let check = tokio::task::spawn_blocking(move || {
            // Held here, because the client may leave while the hash is still being computed.
            let _turn = turn;
            verify(&users, &user, &password)
        });
        let fits = check.await.map_err(|_| Failure::internal())?;
        lock(if fits { &self.right } else { &self.wrong }).insert(digest);
        Ok(fits)
    }

    fn remembered(&self, digest: Digest) -> Option<bool> {
        if lock(&self.right).contains(digest) {
            return Some(true);
        }
        lock(&self.wrong).contains(digest).then_some(false)
    }

    /// 128 bits under keys that never leave the process, in place of the password itself.
    fn digest(&self, user: &[u8], password: &SecretBytes) -> Digest {
        self.keys.each_ref().map(|key| key.hash_one((user, password.0.as_slice())))
    }
}

/// Without a token, the page of another site in a browser on this machine must not be able to call what
/// changes something: browsers say where a request comes from. A password is no help: once somebody has
/// typed it, a browser sends it along with the requests of other sites too.
fn refuse_other_sites(access: Access, headers: &HeaderMap) -> Result<(), Failure> {
    if access == Access::Token && is_foreign(headers) {
        return Err(Failure::new(StatusCode::FORBIDDEN, "not allowed from another site"));
    }
    Ok(())
}

/// Whether a browser says that another site sent this.
pub(super) fn is_foreign(headers: &HeaderMap) -> bool {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let site = headers.get("sec-fetch-site").and_then(|value| value.to_str().ok());
    let origin =
        text(ORIGIN).map(|origin| origin.parse::<Uri>().ok().and_then(|uri| uri.authority().map(ToString::to_string)));
    let other_origin = match (origin, text(HOST)) {
        (Some(origin), Some(host)) => origin.as_deref() != Some(host),
        _ => false,
    };
    matches!(site, Some("cross-site" | "same-site")) || (other_origin && site != Some("same-origin"))
}

/// Whether the password is the user's. An unknown user takes as long as a known one.
fn verify(users: &[(String, SecretString)], user: &[u8], password: &SecretBytes) -> bool {
    let known = users.iter().find(|(name, _)| name.as_bytes() == user);
    let Some((_, hash)) = known.or(users.first()) else { return false };
    let fits = bcrypt::verify(&password.0, hash.expose_secret()).unwrap_or(false);
    fits && known.is_some()
}

/// Whether two secrets are the same, in a time that depends on their length only.
pub(super) fn same(given: &[u8], secret: &SecretString) -> bool {
    given.ct_eq(secret.expose_secret().as_bytes()).into()
}

type Digest = [u64; 2];

/// Digests of credentials; the oldest makes room for the newest.
#[derive(Debug, Default)]
struct Remembered {
    digests: HashSet<Digest>,
    order: VecDeque<Digest>,
}

impl Remembered {
    fn contains(&self, digest: Digest) -> bool {
        self.digests.contains(&digest)
    }

    fn insert(&mut self, digest: Digest) {
        if self.digests.insert(digest) {
            self.order.push_back(digest);
        }
        if self.order.len() > MAX_REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.digests.remove(&oldest);
        }
    }
}

/// A set of digests is whole after any panic.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A password as it was sent; it does not print itself.
struct SecretBytes(Vec<u8>);

/// What `Authorization` holds. Names of schemes are case-insensitive.
enum Credentials<'a> {
    Bearer(&'a [u8]),
    Basic { user: Vec<u8>, password: SecretBytes },
}

impl<'a> Credentials<'a> {
    fn parse(header: &'a [u8]) -> Option<Self> {
        /// Some clients leave the padding away.
        const BASE64: GeneralPurpose = GeneralPurpose::new(
            &base64::alphabet::STANDARD,
            GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
        );
        let header = header.trim_ascii();
        let end = header.iter().position(|byte| *byte == b' ')?;
        let (scheme, rest) = header.split_at(end);
        let rest = rest.trim_ascii();
        if scheme.eq_ignore_ascii_case(b"bearer") {
            return Some(Self::Bearer(rest));
        }
        if !scheme.eq_ignore_ascii_case(b"basic") {
            return None;
        }
        let pair = BASE64.decode(rest).ok()?;
        let colon = pair.iter().position(|byte| *byte == b':')?;
        let (user, password) = pair.split_at(colon);
        Some(Self::Basic { user: user.to_vec(), password: SecretBytes(password.iter().skip(1).copied().collect()) })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use axum::http::{HeaderValue, Method};

    use super::*;
    use crate::config::WebConfig;
    use crate::http::testing::{Answer, Fixture, config, request, send};

    const TOKEN: &str = "s3cret-token";

    fn hashed(password: &str) -> SecretString {
        bcrypt::hash(password, 4).unwrap().into()
    }

    fn basic(pair: &str) -> String {
        format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(pair))
    }

    fn fixture(token: bool, users: bool) -> Fixture {
        let mut config = config();
        config.web.auth_token = token.then(|| TOKEN.into());
        let mut fixture = Fixture::new(config);
        if users {
            let basic_auth_users = vec![("ann".to_owned(), hashed("pass:word")), ("bob".to_owned(), hashed("other"))];
            fixture.listen.web_config = Some(WebConfig { tls: None, basic_auth_users });
        }
        fixture
    }

    async fn ask(fixture: &Fixture, path: &str, authorization: &str) -> Answer {
        let mut request = request(Method::GET, path, "");
        if !authorization.is_empty() {
            request.headers_mut().insert(AUTHORIZATION, HeaderValue::from_str(authorization).unwrap());
        }
        send(fixture.router(), request).await
    }

    /// Which scheme is asked for at `/metrics`, at `/api` and at a path that does not exist.
    async fn check(fixture: &Fixture, authorization: &str, expected: [Option<&str>; 3]) {
        for (path, expected) in ["/metrics", "/api/v1/tasks/1", "/nothing"].into_iter().zip(expected) {
            let answer = ask(fixture, path, authorization).await;
            assert_eq!(answer.header("www-authenticate"), expected, "{path} with {authorization:?}");
            assert_eq!(answer.status == 401, expected.is_some(), "{path} with {authorization:?}");
        }
        ask(fixture, "/pingback?id=1&code=x", authorization).await.expect_ok();
    }

    #[tokio::test]
    async fn nothing_is_asked_for_where_nothing_is_configured() {
        let fixture = fixture(false, false);
        for authorization in ["", "Bearer x", "Basic x", &basic("ann:wrong")] {
            check(&fixture, authorization, [None; 3]).await;
        }
    }

    #[tokio::test]
    async fn the_token_opens_the_api() {
        let fixture = fixture(true, false);
        for right in [&format!("Bearer {TOKEN}"), &format!("bearer  {TOKEN} "), &format!("BEARER {TOKEN}")] {
            check(&fixture, right, [None; 3]).await;
        }
        let wrong =
            ["", "Bearer", "Bearer ", "Bearer s3cret-toke", "Bearer s3cret-tokenn", TOKEN, "Token s3cret-token"];
        for wrong in wrong.into_iter().chain([basic(&format!("{TOKEN}:")).as_str()]) {
            check(&fixture, wrong, [None, Some("Bearer"), None]).await;
        }
    }

    #[tokio::test]
    async fn a_password_opens_everything_where_there_is_no_token() {
        let fixture = fixture(false, true);
        let lower = basic("ann:pass:word").replacen("Basic", "basic", 1);
        let unpadded = basic("ann:pass:word").trim_end_matches('=').to_owned();
        for right in [&basic("ann:pass:word"), &basic("bob:other"), &lower, &unpadded] {
            check(&fixture, right, [None; 3]).await;
        }
        let wrong = [basic("ann:other"), basic("ann:"), basic(":"), basic("ann"), basic("eve:pass:word")];
        for wrong in wrong.iter().map(String::as_str).chain(["", "Basic", "Basic %", "Bearer x"]) {
            check(&fixture, wrong, [Some("Basic"); 3]).await;
        }
    }

    #[tokio::test]
    async fn a_password_that_a_browser_sends_along_does_not_open_the_api_to_other_sites() {
        let fixture = fixture(false, true);
        for (path, site, status) in [
            ("/alertmanager/watchdog", "cross-site", 403),
            ("/alertmanager/watchdog", "same-site", 403),
            ("/alertmanager/watchdog", "same-origin", 200),
            ("/-/healthy", "cross-site", 200),
        ] {
            let method = if path.starts_with("/-") { Method::GET } else { Method::POST };
            let mut request = request(method, path, "{}");
            let password = HeaderValue::from_str(&basic("ann:pass:word")).unwrap();
            request.headers_mut().insert(AUTHORIZATION, password);
            request.headers_mut().insert("sec-fetch-site", HeaderValue::from_static(site));
            assert_eq!(send(fixture.router(), request).await.status, status, "{path} {site}");
        }
    }

    /// Browsers name the site to which they send a form, but say nothing of where it is from on plain HTTP.
    #[tokio::test]
    async fn a_form_of_another_origin_is_refused() {
        let fixture = fixture(false, false);
        for (origin, status) in
            [("http://10.0.0.5:9877", 200), ("http://evil.example", 403), ("http://10.0.0.5", 403), ("null", 403)]
        {
            let mut request = request(Method::POST, "/alertmanager/watchdog", "{}");
            request.headers_mut().insert(ORIGIN, HeaderValue::from_static(origin));
            request.headers_mut().insert(HOST, HeaderValue::from_static("10.0.0.5:9877"));
            assert_eq!(send(fixture.router(), request).await.status, status, "{origin}");
        }
    }

    #[tokio::test]
    async fn with_both_the_api_wants_the_token_and_the_token_opens_everything() {
        let fixture = fixture(true, true);
        check(&fixture, &format!("Bearer {TOKEN}"), [None; 3]).await;
        check(&fixture, &basic("ann:pass:word"), [None, Some("Bearer"), None]).await;
        check(&fixture, "Bearer wrong", [Some("Basic"), Some("Bearer"), Some("Basic")]).await;
    }

    #[tokio::test]
    async fn a_refusal_says_nothing_of_the_reason() {
        let fixture = fixture(true, true);
        for authorization in ["", "Bearer wrong", &basic("ann:wrong"), &basic("eve:wrong")] {
            let error = ask(&fixture, "/metrics", authorization).await.error(401);
            assert_eq!(error, "missing or wrong credentials");
        }
    }

    #[tokio::test]
    async fn passwords_are_hashed_once_and_turned_away_when_too_many_wait() {
        let gate = Gate::new(vec![("ann".to_owned(), hashed("right"))]);
        let check = |password: &str| gate.password_fits(b"ann".to_vec(), SecretBytes(password.into()));
        assert_eq!(check("right").await, Ok(true));
        assert_eq!(check("wrong").await, Ok(false));
        let _turn = gate.bcrypt.acquire().await;
        let _queue = gate.queue.acquire_many(u32::try_from(MAX_WAITING).unwrap()).await;
        assert_eq!(check("right").await, Ok(true));
        assert_eq!(check("wrong").await, Ok(false));
        assert!(!check("other").await.unwrap_err().is_clients_fault());
    }

    #[test]
    fn an_unknown_user_costs_as_much_as_a_known_one() {
        let users = [("ann".to_owned(), SecretString::from(bcrypt::hash("right", 8).unwrap()))];
        let time = |user: &str| {
            let started = Instant::now();
            assert!(!verify(&users, user.as_bytes(), &SecretBytes(b"wrong".to_vec())));
            started.elapsed()
        };
        assert!(time("eve") > time("ann") / 4);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut remembered = Remembered::default();
        for number in 0..2 * MAX_REMEMBERED as u64 {
            remembered.insert([number, 0]);
            remembered.insert([number, 0]);
        }
        assert_eq!((remembered.order.len(), remembered.digests.len()), (MAX_REMEMBERED, MAX_REMEMBERED));
        assert!(remembered.contains([2 * MAX_REMEMBERED as u64 - 1, 0]));
        assert!(!remembered.contains([0, 0]));
    }
}
