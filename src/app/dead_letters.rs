//! `dead-letters`: lists, tries again and discards what a running program has given up, over its API.

use std::fmt::Write as _;
use std::path::Path;

use reqwest::{Method, StatusCode};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;

use crate::cli::{DeadLetters, LetterAction};
use crate::notify::client::{self, presentable};

/// Letters that one request lists.
const PAGE: usize = 500;
/// The widest text of others in the table.
const WIDEST: usize = 48;

/// Why it did not work, for whoever asked.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// There is no such letter.
    #[error("there is no dead letter {0}")]
    Unknown(String),
    /// Something else.
    #[error("{0}")]
    Failed(String),
}

/// Does what is asked; returns what to print. `token` is that of the configuration, if there is one.
pub async fn run(options: &DeadLetters, token: Option<SecretString>) -> Result<String, Error> {
    let token = match &options.token_file {
        Some(file) => Some(read_token(file)?),
        None => token,
    };
    let http = client::http_client(client::TIMEOUT).map_err(|error| Error::Failed(error.to_string()))?;
    let api = Api { http, base: options.url.trim_end_matches('/').to_owned(), token };
    match &options.action {
        LetterAction::List { json } => list(&api, *json).await,
        LetterAction::Retry { id: Some(id), .. } => {
            api.ask(Method::POST, &format!("/{id}/retry"), id).await?;
            Ok(format!("dead letter {id} is tried again\n"))
        }
        LetterAction::Retry { id: None, .. } => {
            let answer = api.ask(Method::POST, "/retry", "").await?;
            let count = |name: &str| answer[name].as_u64().unwrap_or_default();
            Ok(format!("{} tried again, {} cannot be\n", count("retried"), count("refused")))
        }
        LetterAction::Delete { id } => {
            api.ask(Method::DELETE, &format!("/{id}"), id).await?;
            Ok(format!("dead letter {id} is discarded\n"))
        }
    }
}

fn read_token(file: &Path) -> Result<SecretString, Error> {
    let text = std::fs::read_to_string(file);
    let text =
        text.map_err(|error| Error::Failed(format!("{}: {error}; expected a file with the token", file.display())))?;
    Ok(SecretString::from(text.trim_end()))
}

async fn list(api: &Api, json: bool) -> Result<String, Error> {
    let mut text = String::new();
    let mut rows = Vec::new();
    let mut after = "0".to_owned();
    loop {
        let page = api.ask(Method::GET, &format!("?limit={PAGE}&after={after}"), "").await?;
        for letter in page["dead_letters"].as_array().into_iter().flatten() {
            if json {
                // Writing to a string does not fail.
                let _ = writeln!(text, "{letter}");
            } else {
                rows.push(row(letter));
            }
        }
        match page["next"].as_str() {
            Some(next) => next.clone_into(&mut after),
            None => break,
        }
    }
    match (json, rows.is_empty()) {
        (true, _) => Ok(text),
        (false, true) => Ok("there are no dead letters\n".to_owned()),
        (false, false) => Ok(table(rows)),
    }
}

const COLUMNS: [&str; 7] = ["ID", "ADDED", "SOURCE", "REASON", "ATTEMPTS", "WHAT", "LAST ERROR"];

fn row(letter: &Value) -> [String; 7] {
    let text = |value: &Value| presentable(value.as_str().unwrap_or("-"), WIDEST);
    let payload = &letter["payload"];
    let what = [
        &payload["common_labels"]["alertname"],
        &payload["alerts"][0]["labels"]["alertname"],
        &payload["id"],
        &payload["notice"],
        &payload["file"],
    ];
    let what = what.into_iter().find(|value| value.is_string()).unwrap_or(&Value::Null);
    [
        text(&letter["id"]),
        text(&letter["added_at"]),
        text(&letter["source"]),
        text(&letter["reason"]),
        letter["attempts"].to_string(),
        text(what),
        text(&letter["last_error"]),
    ]
}

fn table(rows: Vec<[String; 7]>) -> String {
    let all: Vec<_> = std::iter::once(COLUMNS.map(str::to_owned)).chain(rows).collect();
    let width = |column: usize| all.iter().filter_map(|row| Some(row.get(column)?.chars().count())).max().unwrap_or(0);
    let widths: Vec<_> = (0..COLUMNS.len()).map(width).collect();
    let mut text = String::new();
    for row in &all {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        let line = cells.collect::<Vec<_>>().join("  ");
        let _ = writeln!(text, "{}", line.trim_end());
    }
    text
}

struct Api {
    http: reqwest::Client,
    base: String,
    token: Option<SecretString>,
}

impl Api {
    /// Asks for `path` below the dead letters; `id` names the letter in errors.
    async fn ask(&self, method: Method, path: &str, id: &str) -> Result<Value, Error> {
        let url = format!("{}/api/v1/dead-letters{path}", self.base);
        let mut request = self.http.request(method, url);
        if let Some(token) = &self.token {
            request = request.bearer_auth(token.expose_secret());
        }
        let unreachable = |error: reqwest::Error| {
            let why = error.without_url();
            Error::Failed(format!("cannot ask {}: {why}; is the exporter running there? see --url", self.base))
        };
        // Letters may be long, and come from a program of ours.
        let answer = request.send().await.map_err(unreachable)?;
        let status = answer.status();
        let said: Value = serde_json::from_slice(&answer.bytes().await.map_err(unreachable)?).unwrap_or_default();
        match status {
            StatusCode::OK => Ok(said),
            StatusCode::NOT_FOUND => Err(Error::Unknown(id.to_owned())),
            StatusCode::UNAUTHORIZED => Err(Error::Failed(
                "the exporter wants its token; expected --config.file, WEB_AUTH_TOKEN or --token-file".to_owned(),
            )),
            _ => {
                let why = said["error"].as_str().unwrap_or("no reason given");
                Err(Error::Failed(format!("status {status}: {}", presentable(why, 200))))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_table_says_what_was_given_up() {
        let letters = [
            json!({"id": "1", "added_at": "2026-01-31T08:30:00.000Z", "source": "discord/ops", "reason": "refused",
                   "attempts": 1, "last_error": "status 400: too\nlong", "payload": {"alerts": [{"labels": {"alertname": "A"}}]}}),
            json!({"id": "12", "added_at": "2026-01-31T08:31:00.000Z", "source": "pingback", "reason": "forged",
                   "attempts": 0, "last_error": null, "payload": {"id": "2122988149"}}),
        ];
        let expected = "\
ID  ADDED                     SOURCE       REASON   ATTEMPTS  WHAT        LAST ERROR
1   2026-01-31T08:30:00.000Z  discord/ops  refused  1         A           status 400: too long
12  2026-01-31T08:31:00.000Z  pingback     forged   0         2122988149  -
";
        assert_eq!(table(letters.iter().map(row).collect()), expected);
    }
}
