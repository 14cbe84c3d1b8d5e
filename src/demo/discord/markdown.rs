//! The part of Discord's Markdown that alerts use: bold, code, links, times, mentions and quotes.

use jiff::Timestamp;
use maud::{Markup, html};

use super::mentions::is_snowflake;
use crate::demo::page;

/// A text of several lines.
pub(super) fn paragraph(text: &str, now: Timestamp) -> Markup {
    let mut lines = text.trim().lines().peekable();
    let mut rendered = Vec::new();
    while let Some(line) = lines.next() {
        match line.strip_prefix("> ") {
            Some(quoted) => rendered.push(html! { blockquote { (inline(quoted, now)) } }),
            None => rendered.push(html! { (inline(line, now)) @if lines.peek().is_some() { br; } }),
        }
    }
    html! { @for line in rendered { (line) } }
}

/// A text of one line.
pub(super) fn inline(text: &str, now: Timestamp) -> Markup {
    html! {
        @for piece in pieces(text) {
            @match piece {
                Piece::Plain(text) => (text),
                Piece::Bold(inside) => strong { (inline(inside, now)) },
                Piece::Code(inside) => code { (inside) },
                Piece::Link { text, url } => a href=(url) rel="noreferrer" { (inline(text, now)) },
                Piece::Time { time, is_relative: true } => (page::time(time, &page::relative(time, now))),
                Piece::Time { time, is_relative: false } => (page::time(time, &page::minute(time))),
                Piece::Mention(name) => span.mention { "@" (name) },
            }
        }
    }
}

#[derive(Debug, PartialEq)]
enum Piece<'a> {
    Plain(String),
    Bold(&'a str),
    Code(&'a str),
    Link { text: &'a str, url: &'a str },
    Time { time: Timestamp, is_relative: bool },
    Mention(String),
}

fn pieces(text: &str) -> Vec<Piece<'_>> {
    let mut found = Vec::new();
    let mut plain = String::new();
    let mut rest = text;
    while !rest.is_empty() {
        if let Some((piece, after)) = piece_at(rest) {
            if !plain.is_empty() {
                found.push(Piece::Plain(std::mem::take(&mut plain)));
            }
            found.push(piece);
            rest = after;
        } else {
            let (character, after) = character_at(rest);
            plain.extend(character);
            rest = after;
        }
    }
    if !plain.is_empty() {
        found.push(Piece::Plain(plain));
    }
    found
}

/// What is more than plain text at the beginning of a text, and what comes after it.
fn piece_at(text: &str) -> Option<(Piece<'_>, &str)> {
    if let Some(rest) = text.strip_prefix("**") {
        let (inside, after) = until("**", rest)?;
        Some((Piece::Bold(inside), after))
    } else if let Some(rest) = text.strip_prefix('`') {
        let (inside, after) = rest.split_once('`').filter(|(inside, _)| !inside.is_empty())?;
        Some((Piece::Code(inside), after))
    } else if let Some(rest) = text.strip_prefix('[') {
        let (text, rest) = until("](", rest)?;
        let (url, after) = rest.split_once(')').filter(|(url, _)| is_link(url))?;
        Some((Piece::Link { text, url }, after))
    } else {
        let (inside, after) = text.strip_prefix('<')?.split_once('>')?;
        Some((time(inside).or_else(|| mention(inside))?, after))
    }
}

/// The character with which a text begins, or the one that a backslash takes the meaning from; and what
/// comes after it.
fn character_at(text: &str) -> (Option<char>, &str) {
    let escaped = text.strip_prefix('\\').filter(|rest| rest.starts_with(|next: char| next.is_ascii_punctuation()));
    let mut characters = escaped.unwrap_or(text).chars();
    (characters.next(), characters.as_str())
}

/// What stands before a mark, if it is something, and what comes after it.
fn until<'a>(mark: &str, text: &'a str) -> Option<(&'a str, &'a str)> {
    let mut rest = text;
    while !rest.is_empty() {
        if let Some(after) = rest.strip_prefix(mark)
            && rest.len() < text.len()
        {
            let (inside, _) = text.split_at(text.len() - rest.len());
            return Some((inside, after));
        }
        (_, rest) = character_at(rest);
    }
    None
}

/// Whether a URL may be followed: nothing else than HTTP.
pub(super) fn is_link(url: &str) -> bool {
    ["http://", "https://"].iter().any(|scheme| url.starts_with(scheme)) && !url.contains(char::is_whitespace)
}

fn time(inside: &str) -> Option<Piece<'static>> {
    let time = inside.strip_prefix("t:")?;
    let (seconds, style) = time.split_once(':').unwrap_or((time, "f"));
    let time = Timestamp::from_second(seconds.parse().ok()?).ok()?;
    Some(Piece::Time { time, is_relative: style == "R" })
}

fn mention(inside: &str) -> Option<Piece<'static>> {
    let id = inside.strip_prefix('@')?;
    let (kind, id) = match id.strip_prefix('&') {
        Some(id) => ("role", id),
        None => ("user", id.strip_prefix('!').unwrap_or(id)),
    };
    is_snowflake(id).then(|| Piece::Mention(format!("{kind} {id}")))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn now() -> Timestamp {
        Timestamp::from_second(1_769_848_200).unwrap()
    }

    #[test]
    fn markdown_is_rendered_and_everything_else_is_text() {
        for (text, expected) in [
            ("", ""),
            ("a < b & c", "a &lt; b &amp; c"),
            ("<script>alert(1)</script>", "&lt;script&gt;alert(1)&lt;/script&gt;"),
            ("**bold** text", "<strong>bold</strong> text"),
            ("**a `b` <c>**", "<strong>a <code>b</code> &lt;c&gt;</strong>"),
            (r"**Cut\_off\*** x", "<strong>Cut_off*</strong> x"),
            (r"\*\*no\*\* \`no\` C:\dir", r"**no** `no` C:\dir"),
            ("**open `open [open](", "**open `open [open]("),
            ("**** `` []()", "**** `` []()"),
            ("`**<b>**`", "<code>**&lt;b&gt;**</code>"),
            (
                r#"[**a**](https://x.example/?q="<&>)"#,
                r#"<a href="https://x.example/?q=&quot;&lt;&amp;&gt;" rel="noreferrer"><strong>a</strong></a>"#,
            ),
            ("[a](javascript:alert(1))", "[a](javascript:alert(1))"),
            ("[a](http://x y)", "[a](http://x y)"),
            (
                "<t:1769848080:R>",
                r#"<time datetime="2026-01-31T08:28:00Z" title="31 Jan 2026 08:28:00 UTC">2 minutes ago</time>"#,
            ),
            (
                "<t:1769848080:f>",
                "<time datetime=\"2026-01-31T08:28:00Z\" title=\"31 Jan 2026 08:28:00 UTC\">\
                 31 Jan 2026 08:28 UTC</time>",
            ),
            ("<t:x:R> <t:99999999999999:R>", "&lt;t:x:R&gt; &lt;t:99999999999999:R&gt;"),
            (
                "<@1><@!2> <@&3>",
                "<span class=\"mention\">@user 1</span><span class=\"mention\">@user 2</span> \
                                 <span class=\"mention\">@role 3</span>",
            ),
            ("<@> <@x>", "&lt;@&gt; &lt;@x&gt;"),
            ("a\nb\n> **c**\nd", "a<br>b<br><blockquote><strong>c</strong></blockquote>d"),
        ] {
            assert_eq!(paragraph(text, now()).into_string(), expected, "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_elements_of_its_own(text in r"[<>@&*`\[\]()\\\nabt:R0-9ş]{0,60}") {
            let rendered = paragraph(&text, now()).into_string();
            for name in rendered.split('<').skip(1).filter_map(|tag| tag.split(['>', ' ']).next()) {
                let name = name.trim_start_matches('/');
                prop_assert!(["strong", "code", "a", "time", "span", "blockquote", "br"].contains(&name), "{}", rendered);
            }
        }
    }
}
