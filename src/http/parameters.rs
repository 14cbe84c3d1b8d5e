//! What a pingback says, from its query and its body. Nothing here fails: odd input is taken as far as
//! it can be read.

use std::borrow::Cow;
use std::collections::HashMap;

use serde_json::value::RawValue;

/// The parameters of a pingback that matter; `worker` may be sent and is not needed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Fields<'a> {
    /// CaptchaAI's id of the task.
    pub(super) id: Option<Cow<'a, str>>,
    /// The solution, or an error code.
    pub(super) code: Option<Cow<'a, str>>,
    /// The kind of captcha.
    pub(super) captcha: Option<Cow<'a, str>>,
    /// When the task was submitted.
    pub(super) ts: Option<Cow<'a, str>>,
    /// The account that submitted it.
    pub(super) account: Option<Cow<'a, str>>,
}

impl<'a> Fields<'a> {
    /// These fields where they are given, else those of `other`.
    pub(super) fn or(self, other: Self) -> Self {
        Self {
            id: self.id.or(other.id),
            code: self.code.or(other.code),
            captcha: self.captcha.or(other.captcha),
            ts: self.ts.or(other.ts),
            account: self.account.or(other.account),
        }
    }

    /// Takes a value; an empty one says nothing, and the last one counts.
    fn put(&mut self, name: &str, value: Cow<'a, str>) {
        let field = match name {
            "id" => &mut self.id,
            "code" => &mut self.code,
            "captcha" => &mut self.captcha,
            "ts" => &mut self.ts,
            "account" => &mut self.account,
            _ => return,
        };
        if !value.is_empty() {
            *field = Some(value);
        }
    }
}

/// Reads a query. It is not known how CaptchaAI appends its parameters to a URL that has a query
/// already, so every further `?` counts as `&`.
pub(super) fn parse_query(raw: &[u8]) -> Fields<'_> {
    parse_pairs(raw.split(|byte| matches!(byte, b'&' | b'?')))
}

/// Reads the body of a POST: a JSON object, or an array of one, if it is that, else a form. The content
/// type says less than the body itself: what is typed by hand is sent as a form, whatever it is.
pub(super) fn parse_body(raw: &[u8]) -> Fields<'_> {
    // Some put it in front of every text that they write.
    const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";
    let raw = raw.strip_prefix(BYTE_ORDER_MARK).unwrap_or(raw);
    parse_json(raw).unwrap_or_else(|| parse_pairs(raw.trim_ascii().split(|byte| *byte == b'&')))
}

fn parse_pairs<'a>(pairs: impl Iterator<Item = &'a [u8]>) -> Fields<'a> {
    let mut fields = Fields::default();
    for (name, value) in pairs.filter_map(decode_pair) {
        fields.put(&name, value);
    }
    fields
}

/// One name with its value. Most solutions are long and need no decoding.
fn decode_pair(pair: &[u8]) -> Option<(Cow<'_, str>, Cow<'_, str>)> {
    if !pair.is_empty()
        && !pair.contains(&b'%')
        && !pair.contains(&b'+')
        && let Ok(text) = str::from_utf8(pair)
    {
        let (name, value) = text.split_once('=').unwrap_or((text, ""));
        return Some((name.into(), value.into()));
    }
    form_urlencoded::parse(pair).next()
}

fn parse_json(raw: &[u8]) -> Option<Fields<'_>> {
    type Object<'a> = HashMap<Cow<'a, str>, &'a RawValue>;
    let object: Object<'_> = match raw.trim_ascii_start().first()? {
        b'{' => serde_json::from_slice(raw).ok()?,
        b'[' => {
            let [object] = serde_json::from_slice(raw).ok()?;
            object
        }
        _ => return None,
    };
    let mut fields = Fields::default();
    for (name, value) in object {
        let text = match value.get() {
            "null" => continue,
            text if text.starts_with('"') => match serde_json::from_str(text) {
                Ok(text) => Cow::Owned(text),
                Err(_) => continue,
            },
            // A number, or the parts of a solution: kept as it was written.
            text => Cow::Borrowed(text),
        };
        fields.put(&name, text);
    }
    Some(fields)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn fields(id: &str, code: &str) -> [Option<String>; 2] {
        [id, code].map(|text| (!text.is_empty()).then(|| text.to_owned()))
    }

    fn check(parsed: Fields<'_>, id: &str, code: &str, raw: &str) {
        assert_eq!([parsed.id, parsed.code].map(|text| text.map(Cow::into_owned)), fields(id, code), "{raw:?}");
    }

    #[test]
    fn queries_are_read_in_every_form() {
        for (raw, id, code) in [
            ("id=1&code=x", "1", "x"),
            ("captcha=image?id=1&code=x", "1", "x"),
            ("?id=1?code=x", "1", "x"),
            ("&&id=1&&code=x&", "1", "x"),
            ("code=a%2Bb%26c%3D%3F&id=1", "1", "a+b&c=?"),
            ("code=a+b=c&id=1", "1", "a b=c"),
            ("id=1&code=100%", "1", "100%"),
            ("id=1&code=%zz%4", "1", "%zz%4"),
            ("id=1&code=%ff", "1", "\u{fffd}"),
            ("id=1&code=%C3%A9", "1", "é"),
            ("i%64=1&code=x", "1", "x"),
            ("id=1&id=2&code=x&code=", "2", "x"),
            ("id=&id=1&code=", "1", ""),
            ("id&code", "", ""),
            ("ID=1&Code=x", "", ""),
            ("=1", "", ""),
            ("", "", ""),
        ] {
            check(parse_query(raw.as_bytes()), id, code, raw);
        }
    }

    #[test]
    fn bodies_are_read_in_every_form() {
        for (raw, id, code) in [
            ("id=1&code=x+y", "1", "x y"),
            ("id=1&code=what?&captcha=image\r\n", "1", "what?"),
            (r#"{"id":"1","code":"x y"}"#, "1", "x y"),
            (r#" {"id":2122988149,"code":0.50}"#, "2122988149", "0.50"),
            (r#"{"id":"1","code":"a\u00e9\n"}"#, "1", "aé\n"),
            (r#"{"id":"1","code":{"x": [1, 2]}}"#, "1", r#"{"x": [1, 2]}"#),
            (r#"{"id":"1","code":[1,"2"]}"#, "1", r#"[1,"2"]"#),
            (r#"{"id":"1","code":null,"more":{"id":"2"}}"#, "1", ""),
            (r#"{"id":"1","code":"\ud800"}"#, "1", ""),
            ("\u{feff}{\"id\":\"1\",\"code\":\"x\"}", "1", "x"),
            ("\u{feff} [{\"id\":\"1\",\"code\":\"x\"}]", "1", "x"),
            ("\u{feff}id=1&code=x", "1", "x"),
            (r#" [ {"id":1,"code":["x"]} ] "#, "1", r#"["x"]"#),
            (r#"[{"id":"1","code":"x"},{"id":"2","code":"y"}]"#, "", ""),
            (r#"[[{"id":"1","code":"x"}]]"#, "", ""),
            (r#"[{"id":"1","code":"x"}"#, "", ""),
            ("[]", "", ""),
            (r#"{"id":"1","code":"x"} trailing"#, "", ""),
            (r#"{"id":"1""#, "", ""),
            (r#"["id","code"]"#, "", ""),
            ("{", "", ""),
            ("", "", ""),
        ] {
            check(parse_body(raw.as_bytes()), id, code, raw);
        }
    }

    #[test]
    fn the_other_fields_are_read_too() {
        let parsed = parse_query(b"captcha=image&ts=5&account=main&worker=w1");
        let or = parse_query(b"captcha=bls&id=1").or(parsed.clone());
        assert_eq!((parsed.captcha.as_deref(), parsed.ts.as_deref()), (Some("image"), Some("5")));
        assert_eq!(parsed.account.as_deref(), Some("main"));
        assert_eq!((or.captcha.as_deref(), or.ts.as_deref(), or.id.as_deref()), (Some("bls"), Some("5"), Some("1")));
    }

    fn encoded(name: &str, value: &str) -> String {
        form_urlencoded::Serializer::new(String::new()).append_pair(name, value).finish()
    }

    proptest! {
        #[test]
        fn nothing_panics(raw in prop::collection::vec(any::<u8>(), 0..200)) {
            parse_query(&raw);
            parse_body(&raw);
        }

        #[test]
        fn a_query_comes_back_as_it_was_however_it_is_put_together(
            id in "[A-Za-z0-9_-]{1,64}",
            code in any::<String>().prop_filter("an empty code is none", |code| !code.is_empty()),
            before in prop::option::of("[a-z]{1,5}=[a-zA-Z0-9%+.]{0,9}"),
            separators in prop::array::uniform2("[&?]{1,2}"),
            code_first in any::<bool>(),
        ) {
            let before = before.unwrap_or_default().replace("id=", "x=").replace("code=", "x=");
            let mut pair = [encoded("id", &id), encoded("code", &code)];
            if code_first {
                pair.reverse();
            }
            let raw = format!("{before}{}{}{}{}", separators[0], pair[0], separators[1], pair[1]);
            let parsed = parse_query(raw.as_bytes());
            prop_assert_eq!(parsed.id.as_deref(), Some(id.as_str()));
            prop_assert_eq!(parsed.code.as_deref(), Some(code.as_str()));
        }

        #[test]
        fn a_body_comes_back_as_it_was(id in "[A-Za-z0-9_-]{1,64}", code in any::<String>()) {
            let json = serde_json::json!({ "id": id, "code": code }).to_string();
            let form = format!("{}&{}", encoded("code", &code), encoded("id", &id));
            for raw in [json, form] {
                let parsed = parse_body(raw.as_bytes());
                prop_assert_eq!(parsed.id.as_deref(), Some(id.as_str()));
                prop_assert_eq!(parsed.code.as_deref().unwrap_or_default(), code.as_str());
            }
        }
    }
}
