//! The request for a call, and what Alertalk's answers mean.

use reqwest::header::HeaderValue;
use secrecy::ExposeSecret;
use serde_json::{Value, json};

use super::policy::Callees;
use super::{PhoneNumber, Settings};
use crate::notify::client::{Answer, exchange, presentable};
use crate::notify::{Receipt, SendError};

const KEY_HEADER: &str = "X-Webhook-Key";

/// A call of one or more numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    callees: Callees,
    text: String,
}

impl Request {
    pub(super) fn new(callees: Callees, text: String) -> Self {
        Self { callees, text }
    }

    /// Who is called.
    pub fn numbers(&self) -> &[PhoneNumber] {
        &self.callees.numbers
    }

    /// What is said.
    pub fn text(&self) -> &str {
        &self.text
    }

    pub(super) fn left_out(&self) -> Option<&'static str> {
        self.callees.left_out
    }

    /// The body, exactly as it is sent.
    pub(super) fn body(&self) -> Value {
        let numbers: Vec<&str> = self.numbers().iter().map(PhoneNumber::as_str).collect();
        // The numbers with commas between them.
        json!({ "phone_number": numbers.join(","), "error_message": self.text })
    }

    pub(super) async fn send(&self, settings: &Settings, http: &reqwest::Client) -> Result<Receipt, SendError> {
        let Ok(mut key) = HeaderValue::from_str(settings.webhook_key.expose_secret()) else {
            return Err(SendError::Unusable { why: "the key has characters that a header cannot hold".to_owned() });
        };
        key.set_sensitive(true);
        let answer = exchange(http.post(&settings.url).header(KEY_HEADER, key).json(&self.body())).await?;
        // 402 means what it says nowhere else.
        if answer.status.as_u16() == 402 {
            return Err(SendError::NoCredit);
        }
        answer.classify(&said(&answer, settings.webhook_key.expose_secret()))?;
        // Whatever a success says, asking again would call again.
        let called = self.numbers().iter().map(|number| number.as_str().to_owned()).collect();
        Ok(Receipt { message_id: None, called })
    }
}

/// What an answer says to people, without what must not be shown to them.
fn said(answer: &Answer, key: &str) -> String {
    let json = answer.json();
    let words = ["message", "error", "detail"].iter().find_map(|name| json.get(name)?.as_str());
    presentable(&without_numbers(&words.unwrap_or_default().replace(key, "…")), 200)
}

/// A text without anything that may be a phone number, however it is written.
fn without_numbers(text: &str) -> String {
    const FEWEST_DIGITS: usize = 7;
    let belongs = |c: char| c.is_ascii_digit() || " +-.()".contains(c);
    let mut shown = String::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let end = rest.find(|c| belongs(c) != belongs(first)).unwrap_or(rest.len());
        let (part, behind) = rest.split_at(end);
        let digits = part.chars().filter(char::is_ascii_digit).count();
        shown.push_str(if digits >= FEWEST_DIGITS { " … " } else { part });
        rest = behind;
    }
    shown
}

#[cfg(test)]
mod tests;
