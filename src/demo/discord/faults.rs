//! What is wrong with a body, in the form in which Discord says it.

use serde_json::{Value, json};

/// Faults, each at its place in the body.
#[derive(Debug, Default)]
pub(super) struct Faults {
    path: Vec<String>,
    errors: Value,
}

impl Faults {
    /// Looks at a part of the body: a field, or an item of a list.
    pub(super) fn within(&mut self, part: &str, look: impl FnOnce(&mut Self)) {
        self.path.push(part.to_owned());
        look(self);
        self.path.pop();
    }

    /// Something is wrong with the part that is looked at.
    pub(super) fn add(&mut self, code: &str, message: impl Into<String>) {
        let mut place = &mut self.errors;
        for part in &self.path {
            place = &mut place[part.as_str()];
        }
        let fault = json!({ "code": code, "message": message.into() });
        match &mut place["_errors"] {
            Value::Array(faults) => faults.push(fault),
            other => *other = json!([fault]),
        }
    }

    /// The body of a 400, if anything is wrong.
    pub(super) fn into_answer(self) -> Option<Value> {
        let errors = self.errors;
        (!errors.is_null()).then(|| json!({ "message": "Invalid Form Body", "code": 50035, "errors": errors }))
    }
}
