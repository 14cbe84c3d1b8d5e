//! Takes away what is written for the eye only: URLs and Markdown.

/// No text that is said is longer than this before it is cut.
const LONGEST: usize = 4000;

/// The characters of a text without URLs, and without the Markdown that would be in the way of words.
pub(super) fn plain(text: &str) -> Vec<char> {
    let chars: Vec<char> = text.chars().take(LONGEST).collect();
    let lines: Vec<Vec<char>> = chars.split(|&c| c == '\n').map(|line| unlinked(without_marker(line))).collect();
    lines.join(&'\n')
}

/// A line without what makes it a heading, a quotation or an item of a list.
fn without_marker(line: &[char]) -> &[char] {
    let mut line = line.trim_start();
    loop {
        let marks = line.iter().take_while(|c| matches!(c, '#' | '>' | '-' | '*' | '•')).count();
        // A comparison such as `> 5` begins with a number.
        let compares = marks == 1 && line.first() == Some(&'>') && line.get(2).is_some_and(char::is_ascii_digit);
        match line.split_at_checked(marks) {
            Some((marker, rest)) if !marker.is_empty() && rest.first() == Some(&' ') && !compares => {
                line = rest.trim_start();
            }
            _ => return line,
        }
    }
}

trait TrimStart {
    fn trim_start(&self) -> &Self;
}

impl TrimStart for [char] {
    fn trim_start(&self) -> &Self {
        let spaces = self.iter().take_while(|c| c.is_whitespace()).count();
        self.get(spaces..).unwrap_or_default()
    }
}

/// A line in which links are their texts, and URLs are gone.
fn unlinked(line: &[char]) -> Vec<char> {
    let mut plain: Vec<char> = Vec::new();
    let mut at = 0;
    while let Some(rest) = line.get(at..).filter(|rest| !rest.is_empty()) {
        if let Some((text, length)) = link(rest) {
            plain.extend(unlinked(text));
            at += length;
        } else if rest.starts_with(&[':', '/', '/']) {
            // The scheme is behind us.
            while plain.last().is_some_and(|c| c.is_ascii_alphanumeric() || "+-.".contains(*c)) {
                plain.pop();
            }
            at += address_length(rest);
        } else if begins_with_www(rest) && !plain.last().is_some_and(|c| c.is_alphanumeric()) {
            at += address_length(rest);
        } else {
            plain.extend(rest.first());
            at += 1;
        }
    }
    plain
}

/// The text of `[TEXT](URL)` at the beginning, and the length of the whole.
fn link(text: &[char]) -> Option<(&[char], usize)> {
    let inner = text.strip_prefix(&['['])?;
    let end = inner.iter().position(|&c| c == ']' || c == '[').filter(|&end| inner.get(end) == Some(&']'))?;
    let url = inner.get(end + 1..)?.strip_prefix(&['('])?;
    let length = url.iter().position(|&c| c == ')' || c == '(').filter(|&end| url.get(end) == Some(&')'))?;
    Some((inner.get(..end)?, end + length + 4))
}

fn begins_with_www(text: &[char]) -> bool {
    "www.".chars().enumerate().all(|(index, c)| text.get(index).is_some_and(|found| found.eq_ignore_ascii_case(&c)))
}

/// The characters up to the end of a URL. What ends a sentence does not belong to it.
fn address_length(text: &[char]) -> usize {
    let ends = |c: &char| c.is_whitespace() || "<>()[]\"'`|".contains(*c);
    let length = text.iter().position(ends).unwrap_or(text.len());
    let closing = text.iter().take(length).rev().take_while(|c| ".,;!?".contains(**c)).count();
    // Something is taken in any case, so that a caller gets on.
    (length - closing).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_and_markdown_are_gone() {
        for (text, expected) in [
            ("plain text", "plain text"),
            ("see https://example.com/a?b=c#d, then call", "see , then call"),
            ("(https://example.com)", "()"),
            ("<https://example.com>", "<>"),
            ("WWW.example.com/x is down.", " is down."),
            ("ftp://x", ""),
            ("a://b://c", ""),
            ("://", ""),
            ("www", "www"),
            ("awww.x", "awww.x"),
            ("see [the runbook](https://example.com/r) now", "see the runbook now"),
            ("[https://a.example](https://b.example)", ""),
            ("[a][b](c) [d] (e)", "[a]b [d] (e)"),
            ("[[[[", "[[[["),
            ("# Heading\n## Another", "Heading\nAnother"),
            ("> quoted\n- item\n* item\n> - both", "quoted\nitem\nitem\nboth"),
            ("> 5 is too much\n-5 degrees\n#5", "> 5 is too much\n-5 degrees\n#5"),
            ("a - b > c # d", "a - b > c # d"),
            ("", ""),
        ] {
            assert_eq!(plain(text).into_iter().collect::<String>(), expected, "{text:?}");
        }
    }

    #[test]
    fn endless_text_is_cut_and_quick() {
        for text in ["[", "[a](", "a://", "www.", "> ", "- "] {
            assert!(plain(&text.repeat(1_000_000)).len() <= LONGEST, "{text}");
        }
    }
}
