//! The kinds of captcha, as a closed set of label values.

use std::collections::HashSet;

/// The kinds that are always known.
pub const BUILT_IN: [&str; 11] = [
    "recaptcha_v2",
    "recaptcha_v3",
    "recaptcha_enterprise",
    "turnstile",
    "cloudflare_challenge",
    "geetest_v3",
    "geetest_v4",
    "hcaptcha",
    "bls",
    "image",
    OTHER,
];

/// The label value of a kind that is not known.
pub const OTHER: &str = "other";

/// The kinds that may stand in the `captcha` label: the built-in ones and those of the configuration.
#[derive(Debug, Clone)]
pub struct CaptchaKinds {
    names: Vec<String>,
    set: HashSet<String>,
}

impl CaptchaKinds {
    /// The built-in kinds and `extra`.
    pub fn new(extra: &[String]) -> Self {
        let mut set = HashSet::new();
        let names = BUILT_IN.iter().map(ToString::to_string).chain(extra.iter().cloned());
        let names = names.filter(|name| set.insert(name.clone())).collect();
        Self { names, set }
    }

    /// All of them, in a stable order.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// The label value for what a client sent: itself when known, else `other`.
    pub fn label<'a>(&self, name: &'a str) -> &'a str {
        if self.set.contains(name) { name } else { OTHER }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_kinds_are_other() {
        let kinds = CaptchaKinds::new(&["mtcaptcha".to_owned(), "image".to_owned()]);
        assert_eq!(kinds.names().len(), BUILT_IN.len() + 1);
        for (name, label) in [("turnstile", "turnstile"), ("mtcaptcha", "mtcaptcha"), ("Turnstile", OTHER), ("", OTHER)]
        {
            assert_eq!(kinds.label(name), label);
        }
    }
}
