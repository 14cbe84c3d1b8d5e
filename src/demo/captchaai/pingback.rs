//! Pingbacks of the simulated service.

use form_urlencoded::Serializer;

/// The URL of a pingback: `base` with `id` and `code` appended, as far as anybody knows how.
pub(super) fn url(base: &str, id: u64, code: &str, second_question_mark: bool) -> String {
    let parameters =
        Serializer::new(String::new()).append_pair("id", &id.to_string()).append_pair("code", code).finish();
    let separator = if base.contains('?') && !second_question_mark { '&' } else { '?' };
    format!("{base}{separator}{parameters}")
}

/// Sends one. Whatever becomes of it, it is not repeated.
pub(super) async fn send(http: &reqwest::Client, url: &str) -> bool {
    http.get(url).send().await.is_ok_and(|response| response.status().is_success())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_appended_to_any_url() {
        for (base, second, expected) in [
            ("http://h/p", false, "http://h/p?id=1&code=a%2Bb%26c"),
            ("http://h/p", true, "http://h/p?id=1&code=a%2Bb%26c"),
            ("http://h/p?x=y", false, "http://h/p?x=y&id=1&code=a%2Bb%26c"),
            ("http://h/p?x=y", true, "http://h/p?x=y?id=1&code=a%2Bb%26c"),
        ] {
            assert_eq!(url(base, 1, "a+b&c", second), expected);
        }
    }
}
