//! User events of a Marzban panel. Items carry credentials in `user` and `by`: what is read here holds
//! none of them.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

/// The actions that are told apart: the closed set of the `action` label.
pub const ACTIONS: [&str; 13] = [
    "user_created",
    "user_updated",
    "user_deleted",
    "user_limited",
    "user_expired",
    "user_enabled",
    "user_disabled",
    "data_usage_reset",
    "data_reset_by_next",
    "subscription_revoked",
    "reached_usage_percent",
    "reached_days_left",
    OTHER,
];

/// The label value of every other action.
const OTHER: &str = "other";

/// The longest text of others that is kept, in characters.
const LONGEST: usize = 128;

/// One event, without credentials.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// One of [`ACTIONS`].
    pub action: String,
    /// The user it is about.
    pub username: String,
    /// The name of the admin who did it.
    pub by: Option<String>,
    /// Why.
    pub reason: Option<String>,
    /// How much of the traffic is used, in per cent.
    pub percent: Option<f64>,
    /// Days that are left.
    pub days_left: Option<i64>,
}

/// An event as it was sent.
#[derive(Debug, Clone, PartialEq)]
pub struct Received {
    /// What people may see of it.
    pub event: Event,
    /// Tells it from others, apart from `tries` and `send_at`.
    pub digest: [u8; 32],
    /// Whether it was sent before, by the panel's word. Two of the same that were not are two events.
    pub repeated: bool,
}

/// Reads a body: an array of items, or one. An item that is none counts as one of an unknown action, so
/// that it does not cost its neighbours.
pub fn parse(body: &[u8]) -> Result<Vec<Received>, &'static str> {
    let body: Value = serde_json::from_slice(body).map_err(|_| "the body is not JSON; expected an array of events")?;
    match body {
        Value::Array(items) => Ok(items.iter().map(read).collect()),
        Value::Object(_) => Ok(vec![read(&body)]),
        _ => Err("the body is neither an array nor an object; expected an array of events"),
    }
}

fn read(item: &Value) -> Received {
    let nothing = Map::new();
    let fields = item.as_object().unwrap_or(&nothing);
    let text = |name: &str| fields.get(name).and_then(Value::as_str).map(cut);
    let action = fields.get("action").and_then(Value::as_str).unwrap_or_default();
    let action = ACTIONS.into_iter().find(|known| *known == action).unwrap_or(OTHER);
    let event = Event {
        action: action.to_owned(),
        username: text("username").unwrap_or_default(),
        by: fields.get("by").and_then(|by| by.as_str().or_else(|| by.get("username")?.as_str())).map(cut),
        reason: text("reason"),
        percent: fields.get("used_percent").and_then(Value::as_f64).filter(|percent| percent.is_finite()),
        days_left: fields.get("days_left").and_then(Value::as_i64),
    };
    let repeated = fields.get("tries").and_then(Value::as_f64).is_some_and(|tries| tries > 0.0);
    Received { event, digest: digest(item), repeated }
}

fn cut(text: &str) -> String {
    text.chars().take(LONGEST).collect()
}

/// Objects keep their keys in order, so that the order in which they were sent does not matter.
fn digest(item: &Value) -> [u8; 32] {
    let mut item = item.clone();
    if let Some(fields) = item.as_object_mut() {
        fields.remove("tries");
        fields.remove("send_at");
    }
    Sha256::digest(item.to_string()).into()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn one(item: &Value) -> Received {
        parse(item.to_string().as_bytes()).unwrap().remove(0)
    }

    #[test]
    fn an_event_is_read_without_its_credentials() {
        let received = one(&json!({
            "username": "ada", "action": "user_limited", "enqueued_at": 1.5, "send_at": 2.5, "tries": 0,
            "by": {"username": "root", "password": "hunter2"}, "reason": "used up", "used_percent": 80, "days_left": 3,
            "user": {"username": "ada", "proxies": {"vless": {"id": "hunter2"}}, "subscription_url": "/sub/hunter2"},
        }));
        let event = Event {
            action: "user_limited".to_owned(),
            username: "ada".to_owned(),
            by: Some("root".to_owned()),
            reason: Some("used up".to_owned()),
            percent: Some(80.0),
            days_left: Some(3),
        };
        assert_eq!((&received.event, received.repeated), (&event, false));
        assert!(!format!("{received:?}").contains("hunter2"));
        assert_eq!(one(&json!({"username": "ada", "action": "x", "by": "root"})).event.by.as_deref(), Some("root"));
    }

    #[test]
    fn arrays_and_objects_are_read_and_odd_items_cost_nobody() {
        for (body, expected) in [
            (json!([]), vec![]),
            (json!({"action": "user_created", "username": "a"}), vec!["user_created"]),
            (
                json!([{"action": "user_created"}, {"action": "new_one"}, {}, 7, null, "x"]),
                vec!["user_created", "other", "other", "other", "other", "other"],
            ),
        ] {
            let actions: Vec<_> =
                parse(body.to_string().as_bytes()).unwrap().into_iter().map(|received| received.event.action).collect();
            assert_eq!(actions, expected, "{body}");
        }
        for body in ["", "<html>", "7", "null", "\"x\"", "[{}"] {
            assert!(parse(body.as_bytes()).is_err(), "{body}");
        }
    }

    #[test]
    fn a_repeat_is_the_same_apart_from_its_tries() {
        let first = json!({"username": "a", "action": "user_deleted", "enqueued_at": 1.0, "send_at": 1.0, "tries": 0});
        let again =
            json!({"tries": 2, "send_at": 361.0, "enqueued_at": 1.0, "action": "user_deleted", "username": "a"});
        let other = json!({"username": "a", "action": "user_deleted", "enqueued_at": 2.0, "send_at": 1.0, "tries": 0});
        assert_eq!(one(&first).digest, one(&again).digest);
        assert_ne!(one(&first).digest, one(&other).digest);
        assert_eq!((one(&first).repeated, one(&again).repeated), (false, true));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(body in any::<Vec<u8>>()) {
            let _ = parse(&body);
        }
    }
}
