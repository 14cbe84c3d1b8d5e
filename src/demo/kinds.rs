//! The kinds of captcha that the simulation knows: how they are submitted, what they cost and how long
//! they take.

use std::time::Duration;

/// One kind of captcha.
#[derive(Debug, PartialEq)]
pub struct Kind {
    /// The value of the `captcha` label.
    pub captcha: &'static str,
    /// The parameters of `in.php` that ask for it.
    pub parameters: &'static [(&'static str, &'static str)],
    /// Price of a solve in USD.
    pub price_usd: f64,
    /// Half of the solves take less than this.
    pub median: Duration,
    /// How often workers ask for it, compared with the other kinds.
    pub weight: u32,
}

const fn kind(
    captcha: &'static str,
    parameters: &'static [(&'static str, &'static str)],
    price_usd: f64,
    median_seconds: u64,
    weight: u32,
) -> Kind {
    Kind { captcha, parameters, price_usd, median: Duration::from_secs(median_seconds), weight }
}

/// All kinds; one that needs more parameters stands before those that need fewer.
pub static KINDS: [Kind; 10] = [
    kind("recaptcha_enterprise", &[("method", "userrecaptcha"), ("enterprise", "1")], 0.0024, 26, 6),
    kind("recaptcha_v3", &[("method", "userrecaptcha"), ("version", "v3")], 0.0018, 14, 14),
    kind("recaptcha_v2", &[("method", "userrecaptcha")], 0.0012, 24, 26),
    kind("turnstile", &[("method", "turnstile")], 0.0014, 12, 24),
    kind("cloudflare_challenge", &[("method", "cloudflare_challenge")], 0.002, 18, 8),
    kind("geetest_v3", &[("method", "geetest")], 0.0016, 16, 4),
    kind("geetest_v4", &[("method", "geetest_v4")], 0.0016, 18, 4),
    kind("hcaptcha", &[("method", "hcaptcha")], 0.0022, 30, 6),
    kind("bls", &[("method", "bls")], 0.001, 10, 2),
    kind("image", &[("method", "base64")], 0.0005, 8, 6),
];

/// The kind that a submission asks for, given its parameters.
pub fn asked_for(parameters: &[(String, String)]) -> Option<&'static Kind> {
    let given = |name: &str, value: &str| parameters.iter().any(|(n, v)| n == name && v == value);
    KINDS.iter().find(|kind| kind.parameters.iter().all(|&(name, value)| given(name, value)))
}

/// A kind at random, by weight.
pub fn pick(rng: &mut fastrand::Rng) -> &'static Kind {
    let mut rest = rng.u32(0..KINDS.iter().map(|kind| kind.weight).sum());
    let [first, ..] = &KINDS;
    KINDS
        .iter()
        .find(|kind| {
            let found = rest < kind.weight;
            rest = rest.saturating_sub(kind.weight);
            found
        })
        .unwrap_or(first)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::captcha;

    #[test]
    fn each_kind_is_found_by_its_own_parameters() {
        for kind in &KINDS {
            let parameters: Vec<_> =
                kind.parameters.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect();
            assert_eq!(asked_for(&parameters), Some(kind));
            assert!(captcha::BUILT_IN.contains(&kind.captcha), "{}", kind.captcha);
        }
        assert_eq!(asked_for(&[]), None);
        assert_eq!(asked_for(&[("method".to_owned(), "telepathy".to_owned())]), None);
    }

    #[test]
    fn kinds_are_picked_by_their_weight() {
        let mut rng = fastrand::Rng::with_seed(1);
        let picked: Vec<_> = (0..10_000).map(|_| pick(&mut rng).captcha).collect();
        for kind in &KINDS {
            let share = picked.iter().filter(|&&captcha| captcha == kind.captcha).count();
            let expected = kind.weight as usize * 100;
            assert!(share.abs_diff(expected) < 200, "{}: {share} for {expected}", kind.captcha);
        }
    }
}
