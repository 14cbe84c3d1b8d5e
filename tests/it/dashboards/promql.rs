//! As much of `PromQL` as the rules need: which metrics a query selects, and how.

/// One selector of a query.
#[derive(Debug, PartialEq)]
pub(super) struct Selector<'q> {
    /// Empty where only labels select.
    pub(super) metric: &'q str,
    /// What stands between the braces.
    pub(super) matchers: &'q str,
    /// What stands between the brackets behind them.
    pub(super) window: Option<&'q str>,
    /// The function whose first argument it is.
    pub(super) function: &'q str,
}

/// All selectors. A name is one if braces follow, or if it is written as the program's metrics are.
pub(super) fn selectors(query: &str) -> Vec<Selector<'_>> {
    let mut found = Vec::new();
    let mut rest = query;
    let mut function = "";
    while let Some(first) = rest.chars().next() {
        let (name, behind) = split_name(rest);
        let (braces, after_braces) = enclosed(behind.trim_start(), '{', '}');
        if name.is_empty() && braces.is_none() {
            function = if first == '(' || first.is_whitespace() { function } else { "" };
            rest = if first == '"' { enclosed(rest, '"', '"').1 } else { rest.split_at(first.len_utf8()).1 };
        } else if braces.is_some() || name.starts_with("captchaai_") || name.starts_with("process_") {
            let (window, after_window) = enclosed(after_braces, '[', ']');
            found.push(Selector { metric: name, matchers: braces.unwrap_or_default(), window, function });
            (rest, function) = (after_window, "");
        } else {
            (rest, function) = (behind, name);
        }
    }
    found
}

/// The name at the beginning, which may be empty, and what follows.
fn split_name(text: &str) -> (&str, &str) {
    let part_of_name = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    if !text.starts_with(|c: char| part_of_name(c) && !c.is_ascii_digit()) {
        return ("", text);
    }
    text.split_at(text.find(|c| !part_of_name(c)).unwrap_or(text.len()))
}

/// What the two signs at the beginning enclose, and what follows; signs in strings do not count.
fn enclosed(text: &str, open: char, close: char) -> (Option<&str>, &str) {
    let Some(inside) = text.strip_prefix(open) else { return (None, text) };
    let mut quoted = false;
    let end = inside.find(|c: char| {
        let ends = c == close && !quoted;
        quoted ^= c == '"';
        ends
    });
    end.and_then(|end| Some((Some(inside.get(..end)?), inside.get(end + close.len_utf8()..)?))).unwrap_or((None, ""))
}

#[test]
fn selectors_are_found_with_what_surrounds_them() {
    let selector = |metric, matchers, window, function| Selector { metric, matchers, window, function };
    for (query, expected) in [
        ("sum by (code) (up{a=\"}\"})", vec![selector("up", "a=\"}\"", None, "")]),
        (
            "sum(rate(x_total{}[5m])) / captchaai_up",
            vec![selector("x_total", "", Some("5m"), "rate"), selector("captchaai_up", "", None, "")],
        ),
        ("increase( process_x [1h])", vec![selector("process_x", "", Some("1h"), "increase")]),
        (
            "{job=\"x\"} or label_replace(y{}, \"a{}\", \"captchaai_z\", \"\", \"\")",
            vec![selector("", "job=\"x\"", None, ""), selector("y", "", None, "label_replace")],
        ),
    ] {
        assert_eq!(selectors(query), expected, "{query}");
    }
}
